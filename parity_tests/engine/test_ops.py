"""每个算子：前向、梯度、二阶导与 torch 相同，也与中心差分相同。

流入：``op_table.TABLE`` 的一行与 hypothesis 抽到的输入；流出：第一处不同。
"""

from __future__ import annotations

import inspect
import itertools
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_llm as tg
from parity_tests.engine.op_table import TABLE
from parity_tests.tolerances import TABLE as TOLERANCES
from parity_tests.tolerances import assert_close
from tinygrad_llm.autograd.graph import apply
from tinygrad_llm.ops import REGISTRY

SOME = settings(max_examples=min(50, settings().max_examples))
"""每个算子 500 例由 ``python -m parity_tests ledger --full`` 去走，比的也是 torch 与中心差分；这里不重复。"""
FEWER = settings(max_examples=max(4, SOME.max_examples // 4))
"""二阶导与子集每个例子要反传几十遍；float32 只看 dtype 与舍入：取四分之一的例子。"""

each_op = pytest.mark.parametrize("name", sorted(TABLE))


def _is_float(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind in "fc"


def _single(array: Any) -> Any:
    return array.astype(np.complex64 if array.dtype.kind == "c" else np.float32)


def _wanted(name: str, args: list[Any]) -> list[int]:
    """可求导的输入的位置。"""
    op = REGISTRY[name]
    names = op.inputs * len(args) if op.variadic else op.inputs
    return [i for i, a in enumerate(args) if _is_float(a) and names[i] in op.vjps]


def _ours(args: list[Any], wanted: Any) -> list[Any]:
    return [tg.Tensor.wrap(a).requires_grad_(i in wanted) if _is_float(a) else a for i, a in enumerate(args)]


def _theirs(args: list[Any], wanted: Any) -> list[Any]:
    tensors = [torch.from_numpy(np.array(a)) if isinstance(a, np.ndarray) else a for a in args]
    return [t.requires_grad_(i in wanted) if _is_float(args[i]) else t for i, t in enumerate(tensors)]


def _seed(y: Any) -> Any:
    draw = np.random.default_rng(0)
    parts = [draw.standard_normal(tuple(y.shape)) for _ in range(2)]
    return np.asarray(parts[0] + 1j * parts[1] if y.is_complex() else parts[0]).astype(y.array.dtype)


def _gradients(name: str, args: list[Any], attrs: dict[str, Any], wanted: list[int]) -> tuple[Any, list[Any]]:
    inputs = _ours(args, wanted)
    y = apply(REGISTRY[name], inputs, attrs)
    targets = [inputs[i] for i in wanted]
    return y, list(tg.autograd.grad(y, targets, tg.tensor(_seed(y)), allow_unused=True))


def _torch_gradients(name: str, args: list[Any], attrs: dict[str, Any], wanted: list[int], seed: Any) -> Any:
    inputs = _theirs(args, wanted)
    y = TABLE[name].twin(*inputs, **attrs)
    return y, torch.autograd.grad(y, [inputs[i] for i in wanted], torch.from_numpy(seed), allow_unused=True)


def _compare(name: str, args: list[Any], attrs: dict[str, Any], kind: str) -> None:
    wanted = _wanted(name, args)
    before = [np.array(a) if isinstance(a, np.ndarray) else a for a in args]
    y, ours = _gradients(name, args, attrs, wanted)
    y_torch, theirs = _torch_gradients(name, args, attrs, wanted, _seed(y))
    assert_close(y, y_torch, kind, f"{name} forward")
    for i, mine, expected in zip(wanted, ours, theirs, strict=True):
        assert_close(mine, expected, kind, f"gradient of {name} with respect to input {i}")
    for i, (now, then) in enumerate(zip(args, before, strict=True)):
        if isinstance(now, np.ndarray):
            np.testing.assert_array_equal(now, then, err_msg=f"{name} wrote to its input {i}")


def test_every_op_has_a_row() -> None:
    """有算子没有对照（或表里有已经不存在的算子）。"""
    assert set(TABLE) == set(REGISTRY)


@each_op
@SOME
@given(data=st.data())
def test_forward_and_gradient_equal_torch(name: str, data: st.DataObject) -> None:
    """float64 的前向或梯度与 torch 不同，或输入被改写。"""
    args, attrs = TABLE[name].draw(data.draw, False)
    _compare(name, args, attrs, "float64")


@each_op
@FEWER
@given(data=st.data())
def test_float32_stays_float32(name: str, data: st.DataObject) -> None:
    """float32 的前向或梯度与 torch 不同，或悄悄变成 float64。"""
    args, attrs = TABLE[name].draw(data.draw, True)
    if "dtype" in attrs:
        attrs = {"dtype": np.float32}
    _compare(name, [_single(a) if _is_float(a) else a for a in args], attrs, "float32")


@each_op
@SOME
@given(data=st.data())
def test_gradient_equals_central_difference(name: str, data: st.DataObject) -> None:
    """解析导数与中心差分不同：求导表写错了，或 torch 也错。"""
    args, attrs = TABLE[name].draw(data.draw, True)
    rtol, atol = TOLERANCES["central difference"]
    assert tg.gradcheck(
        lambda *inputs: apply(REGISTRY[name], inputs, attrs), _ours(args, _wanted(name, args)), rtol=rtol, atol=atol
    )


@each_op
@FEWER
@given(data=st.data())
def test_second_order_equals_torch_and_central_difference(name: str, data: st.DataObject) -> None:
    """二阶导与 torch 或中心差分不同。"""
    args, attrs = TABLE[name].draw(data.draw, True)
    wanted = _wanted(name, args)
    inputs, twins = _ours(args, wanted), _theirs(args, wanted)
    y, y_torch = apply(REGISTRY[name], inputs, attrs), (TABLE[name].second or TABLE[name].twin)(*twins, **attrs)
    seed = _seed(y)
    ours = _second(tg, y, [inputs[i] for i in wanted], tg.tensor(seed, requires_grad=True))
    theirs = _second(torch, y_torch, [twins[i] for i in wanted], torch.tensor(seed, requires_grad=True))
    for mine, expected in zip(ours, theirs, strict=True):
        assert_close(mine, expected, "float64 second order", f"second derivative of {name}")
    rtol, atol = TOLERANCES["central difference second order"]
    assert tg.gradgradcheck(lambda *a: apply(REGISTRY[name], a, attrs), inputs, rtol=rtol, atol=atol)


def _second(engine: Any, y: Any, inputs: list[Any], seed: Any) -> list[Any]:
    """梯度的加权和再对输入与上游梯度求导；不依赖的记作全 0。"""
    first = engine.autograd.grad(y, inputs, seed, create_graph=True)
    first = [engine.view_as_real(g) if g.is_complex() else g for g in first]
    total = sum((g * g).sum() + g.sum() for g in first)
    if not total.requires_grad:  # 例如 sign：梯度恒为 0，torch 干脆不记图
        return [engine.zeros_like(x) for x in [*inputs, seed]]
    found = engine.autograd.grad(total, [*inputs, seed], allow_unused=True)
    return [engine.zeros_like(x) if g is None else g for x, g in zip([*inputs, seed], found, strict=True)]


@each_op
@FEWER
@given(data=st.data())
def test_any_subset_of_inputs_gets_the_same_gradients(name: str, data: st.DataObject) -> None:
    """只有一部分输入需要梯度时，那一部分的梯度变了。"""
    args, attrs = TABLE[name].draw(data.draw, False)
    wanted = _wanted(name, args)
    full = dict(zip(wanted, _gradients(name, args, attrs, wanted)[1], strict=True))
    for size in range(1, len(wanted)):
        for subset in itertools.combinations(wanted, size):
            for i, found in zip(subset, _gradients(name, args, attrs, list(subset))[1], strict=True):
                assert_close(found, full[i], "exact", f"{name}: input {i} alone in {subset}")


@pytest.mark.parametrize("name", sorted(n for n, op in REGISTRY.items() if op.composed is not None))
@given(data=st.data())
def test_fused_op_equals_its_composed_twin(name: str, data: st.DataObject) -> None:
    """融合算子与它自己的普通写法不同：二阶导走的是后者，一阶导走的是前者。"""
    args, attrs = TABLE[name].draw(data.draw, False)
    if name == "cross_entropy" and attrs["reduction"] == "mean" and (args[1] == attrs["ignore_index"]).all():
        attrs = {**attrs, "reduction": "sum"}  # 没有有效行的均值是 NaN，梯度两种约定都说得通
    wanted = _wanted(name, args)
    y, ours = _gradients(name, args, attrs, wanted)
    inputs = _ours(args, wanted)
    composed = REGISTRY[name].composed
    assert composed is not None
    again = composed(*inputs, **attrs)
    assert_close(y, again, "float64", f"{name} forward")
    found = tg.autograd.grad(again, [inputs[i] for i in wanted], tg.tensor(_seed(y)))
    for i, mine, expected in zip(wanted, ours, found, strict=True):
        assert_close(mine, expected, "float64", f"{name}: input {i}")


@pytest.mark.parametrize("name", sorted(n for n, op in REGISTRY.items() if op.plain is not None))
@given(data=st.data())
def test_the_other_forwards_give_the_same_values(name: str, data: st.DataObject) -> None:
    """不记图时的前向（``plain``）、由留下的东西重算出的输出（``rebuild``）与记图时的前向不同。"""
    args, attrs = TABLE[name].draw(data.draw, False)
    op, attrs = REGISTRY[name], {**REGISTRY[name].defaults, **attrs}
    y, *kept = op.forward(*args, **attrs)
    assert op.plain is not None
    np.full_like(y, np.nan)  # 刚释放的内存里可能正好是对的答案
    assert_close(op.plain(*args, **attrs), y, "float64", name)
    if op.rebuild is not None:
        known = {**dict(zip(op.inputs, args, strict=True)), **dict(zip(op.keeps, kept, strict=True)), **attrs}
        np.full_like(y, np.nan)
        again = op.rebuild(*[known[n] for n in inspect.signature(op.rebuild).parameters])
        np.testing.assert_array_equal(again, y)


REPEATED = ["add", "sub", "mul", "div", "pow", "maximum", "minimum", "matmul", "cat", "where", "attention", "index_put"]
REPEATED_ATTRS: dict[str, dict[str, Any]] = {
    "cat": {"dim": 0},
    "attention": {"is_causal": True, "scale": 0.5},
    "index_put": {"key": (slice(None),)},
}


@pytest.mark.parametrize("name", REPEATED)
def test_one_tensor_in_two_places_gets_the_sum(name: str) -> None:
    """同一个 Tensor 出现在两个位置时，两份梯度没有相加。"""
    shape = (2, 3, 3) if name == "attention" else (3, 3)
    x = np.random.default_rng(1).uniform(0.5, 2.0, shape)
    attrs = REPEATED_ATTRS.get(name, {})
    ours, theirs = tg.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    cond = [x > 1] if name == "where" else []
    times = 3 if name == "attention" else 2
    y = apply(REGISTRY[name], [*cond, *[ours] * times], attrs)
    expected = TABLE[name].twin(*[torch.from_numpy(c) for c in cond], *[theirs] * times, **attrs)
    y.backward(tg.tensor(_seed(y)))
    expected.backward(torch.from_numpy(_seed(y)))
    assert_close(ours.grad, theirs.grad, "float64", name)
