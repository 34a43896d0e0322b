"""任意方法的 NumPy 引擎：语言模型时与另外两个引擎一步一步相同；别的方法与 torch 相同；状态可以互换。

流入：小模型与随机的批次；流出：损失、范数、权重与状态的差。
"""

from __future__ import annotations

from contextlib import closing
from typing import Any

import numpy as np
import pytest

from tinygrad_llm.common.config import GPTConfig
from tinygrad_llm.common.engine import Batch, LanguageModelling, averaged, micro_batches, summed
from tinygrad_llm.common.torch_config import TorchConfig
from tinygrad_llm.train import NumpyEngine
from tinygrad_llm.tuning import MethodEngine
from torch_llm.loop import TorchEngine

CONFIG = GPTConfig(vocab_size=13, context=8, n_layer=2, n_head=2, n_embd=8)
ENGINES: dict[str, Any] = {"numpy": MethodEngine, "torch": TorchEngine}


def settings(**changed: Any) -> TorchConfig:
    """float64 的设置，在 CPU 上。"""
    return TorchConfig(**{"dtype": "float64", "batch_size": 4, "device": "cpu", "workers": 1, "seed": 2, **changed})


def batch(step: int) -> Batch:
    """一个批次：x、y 与每行的权重；y 里有不计的位置。"""
    draw = np.random.default_rng(step)
    x, y = draw.integers(0, 13, (2, 4, 8))
    y[draw.random(y.shape) < 0.3] = -100
    return x, y, draw.uniform(0.5, 2.0, 4)


class Weighted(LanguageModelling):
    """只学末一层：每行的损失各有权重，另外报告 logits 的平方和；每行是一个单位。"""

    def attach(self, model: Any) -> dict[str, Any]:
        """只学末一层。"""
        for p in model.parameters():
            p.requires_grad_(False)
        for p in model.h[1].parameters():
            p.requires_grad_(True)
        return {name: p for name, p in model.named_parameters() if p.requires_grad}

    def units(self, batch: Batch) -> int:
        """行数。"""
        return len(batch[0])

    def loss(self, model: Any, *batch: Any) -> tuple[Any, dict[str, Any]]:
        """各行 logits 的平方和，乘以权重。"""
        squares = (model(batch[0]) ** 2).sum((1, 2))
        return (squares * batch[2]).sum(), {"squares": squares.sum().detach()}


def walked(engine: Any, steps: int, arity: int, first: int = 0) -> list[tuple[Any, ...]]:
    """走几步，各步的结果。"""
    found = []
    for step in range(first, first + steps):
        result = engine.train_step(step, batch(step)[:arity], 1e-2)
        found.append((result.loss, result.grad_norm, *result.figures.values()))
    return found


@pytest.mark.parametrize("optimizer", ["adamw", "muon", "sgd"])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_language_modelling_differs_between_the_three_engines(optimizer: str, accumulate: int) -> None:
    """同样的批次走四步，三个引擎的损失、范数、权重、状态有差别。"""
    chosen = settings(optimizer=optimizer, accumulate=accumulate)
    with closing(NumpyEngine(CONFIG, chosen)) as fast:
        general, torch = MethodEngine(CONFIG, chosen), TorchEngine(CONFIG, chosen, lambda _: None)
        curves = [walked(engine, 4, 2) for engine in (fast, general, torch)]
        assert np.allclose(curves[0], curves[1], rtol=1e-11)
        # torch 的 Muon 在 bfloat16 里正交化，末位的差会被舍入放大
        assert np.allclose(curves[1], curves[2], rtol=1e-4 if optimizer == "muon" else 1e-11)
        (weights, states, updates), (ours, our_states, our_updates) = fast.export(), general.export()
        assert updates == our_updates == 4
        assert weights.keys() == ours.keys()
        assert states.keys() == our_states.keys()
        bound = 1e-3 if optimizer == "muon" else 1e-10
        assert all(np.allclose(weights[name], ours[name], atol=bound) for name in weights)


@pytest.mark.parametrize("accumulate", [1, 4])
def test_another_method_differs_between_the_engines(accumulate: int) -> None:
    """只学末一层、每行有权重、另外报告数字的方法：两个引擎相同，别的参数没有动，导出的只有学的参数。"""
    chosen = settings(accumulate=accumulate)
    engines = [ENGINES[name](CONFIG, chosen, method=Weighted()) for name in ENGINES]
    before = {name: np.array(p.tolist()) for name, p in engines[0].model.named_parameters()}
    curves = [walked(engine, 3, 3) for engine in engines]
    assert np.allclose(curves[0], curves[1], rtol=1e-10)
    assert len(curves[0][0]) == 3
    ours, theirs = (engine.export()[0] for engine in engines)
    assert {name.split(".")[1] for name in ours} == {"1"}
    assert ours.keys() == theirs.keys()
    assert all(np.allclose(ours[name], theirs[name], atol=1e-10) for name in ours)
    for name, p in engines[0].model.named_parameters():
        assert (np.array(p.tolist()) == before[name]).all() == (name not in ours), name


@pytest.mark.parametrize("there", ENGINES)
@pytest.mark.parametrize("here", ENGINES)
def test_a_handed_over_state_goes_on_differently(here: str, there: str) -> None:
    """走两步交给另一个引擎再走两步，与不交一样。"""
    straight = ENGINES[here](CONFIG, settings(), method=Weighted())
    whole = walked(straight, 4, 3)
    first, second = (ENGINES[name](CONFIG, settings(seed=9), method=Weighted()) for name in (here, there))
    same = ENGINES[here](CONFIG, settings(), method=Weighted())
    for engine in (first, second):  # 冻结的参数不在检查点里，由出发点给
        engine.model.load_state_dict(_as(engine.name, same.model.state_dict()))
    walked(first, 2, 3)
    second.restore(*first.export())
    assert np.allclose(walked(second, 2, 3, first=2), whole[2:], rtol=1e-10)


def test_examine_differs_from_the_training_loss() -> None:
    """不求导的一遍，与训练时报告的损失、数字相同；参数没有动。"""
    for name in ENGINES:
        engine = ENGINES[name](CONFIG, settings(), method=Weighted())
        found = engine.examine(batch(0))
        result = engine.train_step(0, batch(0), 1e-2)
        assert found.units == 4
        assert found.loss / 4 == pytest.approx(result.loss, rel=1e-12)
        assert found.figures["squares"] / 4 == pytest.approx(result.figures["squares"], rel=1e-12)


def test_micro_batches_lose_a_row() -> None:
    """切成几份再接起来，各个数组都与原来相同；和的平均照单位数。"""
    parts = micro_batches(batch(0), 2)
    assert [len(part[0]) for part in parts] == [2, 2]
    assert all((np.concatenate(both) == whole).all() for *both, whole in zip(*parts, batch(0), strict=True))
    assert averaged(summed([{"a": 1.0, "b": 2.0}, {"a": 3.0}]), 4) == {"a": 1.0, "b": 0.5}
    assert averaged({"a": 3.0}, 0) == {"a": 3.0}


def _as(engine: str, state: dict[str, Any]) -> dict[str, Any]:
    """另一个引擎的 ``state_dict``。"""
    import torch

    import tinygrad_llm as tg

    module: Any = {"numpy": tg, "torch": torch}[engine]
    return {name: module.tensor(p.tolist(), dtype=module.float64) for name, p in state.items()}
