"""循环网络与单元：参数名、初值、输出、梯度、长短不一的批次与报错都与 torch 相同。"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_llm as tg
from parity_tests.engine.twins import ENGINES, same, same_error, table, values
from parity_tests.tolerances import assert_close


def _filled(m: Any, layer: Any) -> Any:
    """参数换成固定的 float64 数。"""
    layer = layer.to(m.float64)
    with m.no_grad():
        for i, p in enumerate(layer.parameters()):
            p.copy_(m.tensor(values(i + 1, *p.shape) / 2))
    return layer


def _flat(result: Any) -> list[Any]:
    """嵌套的输出与状态排成一列。"""
    return [t for part in result for t in _flat(part)] if isinstance(result, (tuple, list)) else [result]


def _settings(draw: Any, kind: str) -> dict[str, Any]:
    flags = st.booleans()
    settings = {"num_layers": draw(st.integers(1, 3)), "bias": draw(flags), "batch_first": draw(flags)}
    settings["bidirectional"] = draw(flags)
    if kind == "LSTM":
        settings["proj_size"] = draw(st.sampled_from([0, 0, 1, 2]))
    if kind == "RNN":
        settings["nonlinearity"] = draw(st.sampled_from(["tanh", "relu"]))
    return settings


def _start(m: Any, kind: str, settings: dict[str, Any], *batch: int) -> Any:
    """初始状态，需要梯度。"""
    places = settings["num_layers"] * (1 + settings["bidirectional"])
    widths = [settings.get("proj_size") or 3, 3][: 1 + (kind == "LSTM")]
    states = tuple(m.tensor(values(i + 50, places, *batch, n), requires_grad=True) for i, n in enumerate(widths))
    return states if kind == "LSTM" else states[0]


@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
@given(data=st.data())
def test_networks_equal_torch(kind: str, data: st.DataObject) -> None:
    """随机的层数、方向、形状之下，输出、最后的状态或任一梯度与 torch 不同。"""
    settings = _settings(data.draw, kind)
    length, batch = data.draw(st.integers(1, 5)), data.draw(st.sampled_from([(), (1,), (2,)]))
    lead = (*batch, length) if settings["batch_first"] else (length, *batch)
    with_state = data.draw(st.booleans())

    def run(m: Any) -> Any:
        layer = _filled(m, getattr(m.nn, kind)(2, 3, **settings))
        x, state = m.tensor(values(0, *lead, 2), requires_grad=True), _start(m, kind, settings, *batch)
        found = _flat(layer(x, state) if with_state else layer(x))
        sum((t * t.cos()).sum() for t in found).backward()
        leaves = [x, *(_flat(state) if with_state else []), *layer.parameters()]
        return found, [leaf.grad for leaf in leaves], repr(layer)

    same(run, what=f"{settings} {lead}")


@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
@pytest.mark.parametrize("enforce_sorted", [True, False])
def test_packed_sequences_equal_torch(kind: str, enforce_sorted: bool) -> None:
    """排紧的、长短不一的一批，输出、状态或梯度与 torch 不同。"""
    lengths = [4, 3, 3, 1] if enforce_sorted else [2, 4, 1, 4]
    settings = {"num_layers": 2, "bidirectional": True}

    def run(m: Any) -> Any:
        layer, rnn = _filled(m, getattr(m.nn, kind)(2, 3, **settings)), m.nn.utils.rnn
        x, state = m.tensor(values(0, 4, 4, 2), requires_grad=True), _start(m, kind, settings, 4)
        packed, last = layer(rnn.pack_padded_sequence(x, lengths, enforce_sorted=enforce_sorted), state)
        bare = layer(rnn.pack_padded_sequence(x, lengths, enforce_sorted=enforce_sorted))[0].data
        padded, _ = rnn.pad_packed_sequence(packed)
        found = [padded, bare, *_flat(last)]
        sum((t * t.cos()).sum() for t in found).backward()
        return found, [leaf.grad for leaf in (x, *_flat(state), *layer.parameters())]

    same(run)


CELLS: dict[str, Callable[[Any], Any]] = {
    "RNNCell": lambda nn: nn.RNNCell(2, 3),
    "RNNCell relu": lambda nn: nn.RNNCell(2, 3, False, "relu"),
    "GRUCell": lambda nn: nn.GRUCell(2, 3),
    "LSTMCell": lambda nn: nn.LSTMCell(2, 3, bias=False),
}


@pytest.mark.parametrize("batch", [(), (4,)])
@pytest.mark.parametrize("build", table(CELLS))
def test_cells_equal_torch(build: Callable[[Any], Any], batch: tuple[int, ...]) -> None:
    """一个单元的打印、输出或梯度与 torch 不同，有没有批次轴、给没给状态都一样。"""

    def run(m: Any) -> Any:
        cell = _filled(m, build(m.nn))
        x, h, c = (m.tensor(values(i, *batch, n), requires_grad=True) for i, n in enumerate((2, 3, 3)))
        state = (h, c) if "LSTM" in type(cell).__name__ else h
        found = [*_flat(cell(x, state)), *_flat(cell(x))]
        sum((t * t.cos()).sum() for t in found).backward()
        return found, [leaf.grad for leaf in (x, *_flat(state), *cell.parameters())], repr(cell)

    same(run)


NETWORKS: dict[str, Callable[[Any], Any]] = {
    "RNN": lambda nn: nn.RNN(3, 4, 2, "relu", False),
    "GRU": lambda nn: nn.GRU(3, 4, 2, bidirectional=True),
    "LSTM": lambda nn: nn.LSTM(3, 4, 2, True, True, 0.25, True, 2),
    "cells": lambda nn: nn.ModuleList([nn.RNNCell(3, 4), nn.GRUCell(3, 4, False), nn.LSTMCell(3, 4)]),
}


@pytest.mark.parametrize("build", table(NETWORKS))
def test_initial_weights_and_names_equal_torch(build: Callable[[Any], Any]) -> None:
    """同一种子之下，参数的名字、次序、分组或初值与 torch 不同。"""

    def run(m: Any) -> Any:
        m.manual_seed(6)
        layer = build(m.nn)
        grouped = [] if isinstance(layer, m.nn.ModuleList) else [[tuple(p.shape) for p in g] for g in layer.all_weights]
        return list(layer.state_dict()), list(layer.state_dict().values()), grouped, repr(layer)

    same(run, "random normal")


def test_second_derivatives_equal_torch() -> None:
    """经过循环网络的二阶导与 torch 不同。"""

    def run(m: Any) -> Any:
        cell = _filled(m, m.nn.LSTMCell(2, 3))
        x, h = m.tensor(values(0, 2, 2), requires_grad=True), m.tensor(values(1, 2, 3), requires_grad=True)
        state = (h, h * h)
        for _ in range(3):
            state = cell(x, state)
        first = m.autograd.grad((state[0] * state[1]).sum(), [x, h, *cell.parameters()], create_graph=True)
        return first, m.autograd.grad(sum((g * g).sum() for g in first), [x, h, *cell.parameters()])

    same(run, "float64 second order")


def test_dropout_acts_between_layers_in_training_only() -> None:
    """层间的 dropout 在评估时仍起作用，或落到了最后一层之后。"""
    layer, x = tg.nn.GRU(2, 8, 2, dropout=0.5), tg.ones(4, 3, 2)
    layer.flatten_parameters()
    first, second = layer(x)[0], layer(x)[0]
    assert (first != second).any().item()
    assert (first != 0).all().item()
    assert_close(layer.eval()(x)[0], layer(x)[0], "exact")
    for m in ENGINES:
        with pytest.warns(UserWarning, match="dropout"):
            m.nn.RNN(2, 3, dropout=0.5)


WRONG: dict[str, Callable[[Any], Any]] = {
    "rank": lambda m: m.nn.LSTM(2, 3)(m.ones(2)),
    "width": lambda m: m.nn.GRU(2, 3)(m.ones(4, 1, 3)),
    "dtype": lambda m: m.nn.RNN(2, 3)(m.ones(4, 1, 2).double()),
    "no steps": lambda m: m.nn.RNN(2, 3)(m.ones(0, 1, 2)),
    "state shape": lambda m: m.nn.GRU(2, 3)(m.ones(4, 1, 2), m.ones(1, 2, 3)),
    "state rank": lambda m: m.nn.RNN(2, 3)(m.ones(4, 1, 2), m.ones(1, 3)),
    "cell state shape": lambda m: m.nn.LSTM(2, 3)(m.ones(4, 1, 2), (m.ones(1, 1, 3), m.ones(1, 1, 2))),
    "cell rank": lambda m: m.nn.GRUCell(2, 3)(m.ones(1, 1, 2)),
    "cell width": lambda m: m.nn.RNNCell(2, 3)(m.ones(1, 3)),
    "cell hidden": lambda m: m.nn.LSTMCell(2, 3)(m.ones(1, 2), (m.ones(1, 2), m.ones(1, 2))),
    "cell nonlinearity": lambda m: m.nn.RNNCell(2, 3, nonlinearity="sin")(m.ones(1, 2)),
    "nonlinearity": lambda m: m.nn.RNN(2, 3, nonlinearity="sin"),
    "sizes": lambda m: m.nn.GRU(2, 0),
    "layers": lambda m: m.nn.GRU(2, 3, 0),
    "size type": lambda m: m.nn.GRU(2.0, 3),
    "bias type": lambda m: m.nn.GRU(2, 3, bias=1),
    "dropout": lambda m: m.nn.GRU(2, 3, dropout=1.5),
    "projection": lambda m: m.nn.LSTM(2, 3, proj_size=3),
}


@pytest.mark.parametrize("mistake", table(WRONG))
def test_wrong_networks_raise_as_in_torch(mistake: Callable[[Any], Any]) -> None:
    """写错的循环网络没有报错，或报错的类型与 torch 不同。"""
    same_error(mistake)
