"""玩具模型：教科书上的数、torch 的数与各自的公式；文件短小，读者改得动。"""

from __future__ import annotations

import ast
import functools
import math
from typing import Any

import numpy as np
import pytest
import torch

from parity_tests.tolerances import TABLE
from parity_tests.tracing.documented import FOLDER
from tinygrad_llm.ops.op import Array
from tinygrad_llm.tracing import Trace
from tinygrad_llm.tracing.programs import list_toys, run_program
from tinygrad_llm.tracing.toys import TOYS

_RTOL, _ATOL = TABLE["float64"]
_MOST_LINES = 130


@functools.cache
def _run(name: str) -> Trace:
    return run_program(name)


def _data(trace: Trace, label: str) -> Array:
    return np.asarray(trace[label].data)


def _grad(trace: Trace, label: str) -> Array:
    assert trace[label].grad is not None
    return np.asarray(trace[label].grad)


def _printed(array: Any) -> list[str]:
    return [f"{x:.8g}" for x in np.asarray(array).reshape(-1).tolist()]


@pytest.mark.parametrize("toy", TOYS)
def test_a_gradient_is_printed_otherwise_than_torchs(toy: str) -> None:
    """某个值的梯度打印出来与 torch 的不同，或者 torch 那一列空着。"""
    trace = _run(toy)
    assert "torch_note" not in trace.extensions
    compared = 0
    for value in trace.values:
        assert (value.grad is None) == (value.torch_grad is None), value.label
        if value.grad is not None:
            assert _printed(value.grad) == _printed(value.torch_grad), value.label
            compared += 1
    assert compared >= 4


@pytest.mark.parametrize("toy", TOYS)
def test_a_toy_computes_in_less_than_float64(toy: str) -> None:
    """玩具里有不是 float64 的浮点数：位数一少，就与 torch 对不齐。"""
    assert {value.dtype for value in _run(toy).values} <= {"float64", "int64", "bool"}


def test_the_neuron_has_other_numbers_than_the_textbook() -> None:
    """w = 2.2、x = 1.1、b = 0、y = 1：损失 0.0852，梯度 -0.0898 与 -0.0817。"""
    trace = _run("neuron")
    assert f"{_data(trace, 'loss'):.4f}" == "0.0852"
    assert f"{_grad(trace, 'w'):.4f}" == "-0.0898"
    assert f"{_grad(trace, 'b'):.4f}" == "-0.0817"
    a = 1 / (1 + math.exp(-2.2 * 1.1))
    np.testing.assert_allclose(_grad(trace, "w"), (a - 1) * 1.1, rtol=_RTOL)
    np.testing.assert_allclose(_grad(trace, "b"), a - 1, rtol=_RTOL)
    np.testing.assert_allclose(_data(trace, "loss"), -math.log(a), rtol=_RTOL)


def test_the_gradient_of_softmax_is_not_p_minus_onehot() -> None:
    """softmax 之后交叉熵：梯度是 p 减去 one-hot。"""
    trace = _run("softmax")
    p = np.exp([2.0, 1.0, 0.1]) / np.exp([2.0, 1.0, 0.1]).sum()
    np.testing.assert_allclose(_grad(trace, "z"), p - [1.0, 0.0, 0.0], rtol=_RTOL, atol=_ATOL)


def test_the_mlp_has_other_gradients_than_the_matrix_formulas() -> None:
    """``∂L/∂W = Hᵀ G``，``∂L/∂H = G Wᵀ``，偏置对样本求和。"""
    trace = _run("mlp")
    X, T, W1, b1, W2, b2 = (_data(trace, name) for name in ("X", "T", "W1", "b1", "W2", "b2"))
    H = np.tanh(X @ W1 + b1)
    dY = 2 * (H @ W2 + b2 - T) / 4
    dZ = dY @ W2.T * (1 - H**2)
    by_hand = {"W1": X.T @ dZ, "b1": dZ.sum(0), "W2": H.T @ dY, "b2": dY.sum(0)}
    for name, g in by_hand.items():
        np.testing.assert_allclose(_grad(trace, name), g, rtol=_RTOL, atol=_ATOL, err_msg=name)


def test_layernorm_gradients_do_not_cancel_along_a_shift() -> None:
    """整行平移不改变输出，所以每一行的梯度之和是 0；公式也对得上。"""
    trace = _run("layernorm")
    xhat, w, target = (_data(trace, name) for name in ("xhat", "w", "target"))
    dy = 2 * (xhat * w + _data(trace, "b") - target) / 6
    dxhat, std = dy * w, np.sqrt(_data(trace, "var") + 1e-5)
    inner = (dxhat - dxhat.mean(1, keepdims=True) - xhat * (dxhat * xhat).mean(1, keepdims=True)) / std
    np.testing.assert_allclose(_grad(trace, "x"), inner, rtol=1e-9, atol=_ATOL)
    np.testing.assert_allclose(_grad(trace, "x").sum(1), 0.0, atol=1e-12)


def test_a_word_that_occurs_twice_does_not_get_both_gradients() -> None:
    """词 2 出现两次，两份相加；没出现的词是 0。"""
    assert _grad(_run("embedding"), "table").tolist() == [[3.0, 4.0], [0.0, 0.0], [11.0, 22.0], [0.0, 0.0]]


def test_broadcasting_is_undone_along_the_wrong_axes() -> None:
    """w 加掉行，b 加掉列，s 全部加掉。"""
    trace = _run("broadcast")
    x, h = _data(trace, "x"), _data(trace, "h")
    dh = 0.5 * 2 * (0.5 * h) / 6
    np.testing.assert_allclose(_grad(trace, "w"), (dh * x).sum(0), rtol=_RTOL)
    np.testing.assert_allclose(_grad(trace, "b"), dh.sum(1, keepdims=True), rtol=_RTOL)
    np.testing.assert_allclose(_grad(trace, "s"), (2 * 0.5 * h / 6 * h).sum(), rtol=_RTOL)


def test_attention_differs_from_the_fused_one_of_torch() -> None:
    """逐步写出的因果注意力，与 torch 一步算出的输出和梯度不同。"""
    trace = _run("attention")
    leaves = {name: torch.tensor(_data(trace, name), requires_grad=True) for name in ("x", "Wq", "Wk", "Wv")}
    x, Wq, Wk, Wv = leaves.values()
    out = torch.nn.functional.scaled_dot_product_attention(x @ Wq, x @ Wk, x @ Wv, is_causal=True)
    ((out - torch.tensor(_data(trace, "target"))) ** 2).sum().backward()
    np.testing.assert_allclose(_data(trace, "out"), out.detach().numpy(), rtol=_RTOL)
    for name, leaf in leaves.items():
        assert leaf.grad is not None
        np.testing.assert_allclose(_grad(trace, name), leaf.grad.numpy(), rtol=_RTOL, atol=_ATOL, err_msg=name)
    assert np.triu(_data(trace, "p"), 1).tolist() == np.zeros((3, 3)).tolist()


def test_the_gpt_sees_the_future() -> None:
    """后面的词变了，前面的预测也变了；或者头一个位置看见了别的位置。"""
    trace = _run("gpt")
    p = _data(trace, "p")
    assert p.shape == (2, 3, 3)
    assert np.triu(p, 1).tolist() == np.zeros((2, 3, 3)).tolist()
    np.testing.assert_allclose(p.sum(-1), 1.0, rtol=_RTOL)


def test_the_tied_weight_of_the_gpt_gets_one_of_its_two_gradients() -> None:
    """共用的权重应当收到两份：查表的（词 1 两次）与输出层的。"""
    trace = _run("gpt")
    wte = trace["wte.weight"]
    (backward,) = trace.backwards
    given = [edge for step in backward.steps for edge in step.edges if edge.value == wte.id]
    assert [trace.nodes[step.node].op for step in backward.steps for e in step.edges if e in given] == [
        "linear",
        "embedding",
    ]
    dlogits, x = _grad(trace, "logits"), _data(trace, "x_3")
    onehot = np.eye(5)[[1, 3, 1]]
    by_hand = dlogits.T @ x + onehot.T @ _grad(trace, "embedding_1")
    np.testing.assert_allclose(_grad(trace, "wte.weight"), by_hand, rtol=_RTOL, atol=_ATOL)


def test_the_gpt_is_not_one_block_of_width_four() -> None:
    """块数、宽度、头数、词表与说明不符。"""
    trace = _run("gpt")
    assert _data(trace, "wte.weight").shape == (5, 4)
    assert sum(node.op == "softmax" for node in trace.nodes) == 1
    assert {node.module for node in trace.nodes} >= {"wte", "block.ln_1", "block.attn", "block.mlp", "ln_f"}


def test_adamw_steps_otherwise_than_its_formulas_and_torch() -> None:
    """手写的一步、公式与 ``torch.optim.AdamW`` 三者不同。"""
    trace = _run("adamw")
    p, g = np.array([1.0, -2.0]), np.array([0.02, -40.0])
    m, v = 0.1 * g, 0.001 * g * g
    update = (m / 0.1) / (np.sqrt(v / 0.001) + 1e-8)
    by_hand = {"g": g, "m": m, "v": v, "m_hat": g, "v_hat": g * g, "update": update, "decay": 0.01 * p}
    by_hand["p_new"] = p - 0.1 * 0.01 * p - 0.1 * update
    for name, number in by_hand.items():
        np.testing.assert_allclose(_data(trace, name), number, rtol=_RTOL, err_msg=name)
    theirs = torch.tensor(p, requires_grad=True)
    theirs.grad = torch.tensor(g)
    torch.optim.AdamW([theirs], lr=0.1, weight_decay=0.01).step()
    np.testing.assert_allclose(_data(trace, "p_new"), theirs.detach().numpy(), rtol=1e-15)


def test_a_toy_is_missing_from_the_list() -> None:
    """列表与文件不一致，或者少了一句说明。"""
    assert {path.stem for path in FOLDER.glob("*.py")} == {"__init__", *TOYS}
    assert [name for name, _ in list_toys()] == list(TOYS)
    assert all(text and text.isascii() for _, text in list_toys())


@pytest.mark.parametrize("toy", TOYS)
def test_a_toy_is_more_than_a_small_plain_file(toy: str) -> None:
    """玩具用了别的库、带下划线的名字，太长，或者没有同名的函数。"""
    text = (FOLDER / f"{toy}.py").read_text(encoding="utf-8")
    tree = ast.parse(text)
    froms = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    plain = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    tops = {name.partition(".")[0] for name in froms | plain}
    assert tops <= {"tinygrad_llm", "typing", "__future__"}
    attributes = {one.attr for one in ast.walk(tree) if isinstance(one, ast.Attribute)}
    assert not {name for name in attributes if name.startswith("_")} - {"__init__"}
    assert len(text.splitlines()) <= _MOST_LINES
    assert toy in [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
