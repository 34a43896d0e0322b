"""dtype 的规则：两个张量、0 维张量、Python 数、NumPy 标量相遇时，结果类型与 torch 相同。"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import tinygrad_llm as tg
from parity_tests.engine.twins import same, table

DTYPES = ["float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "bool"]
OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "add": operator.add,
    "mul": operator.mul,
    "div": operator.truediv,
    "floordiv": operator.floordiv,
    "maximum": lambda a, b: a.maximum(b),
    "greater": operator.gt,
    "equal": operator.eq,
}


@pytest.mark.parametrize("name", sorted(OPERATORS))
@pytest.mark.parametrize("left", DTYPES)
def test_two_tensors_promote_as_in_torch(left: str, name: str) -> None:
    """某两种 dtype（含 0 维）相遇的结果类型与 torch 不同。"""
    for right in DTYPES:
        if name == "floordiv" and "bool" in (left, right):
            continue
        for shapes in [((2,), (2,)), ((2,), ()), ((), (2,)), ((), ())]:

            def run(m: Any, shapes: Any = shapes, right: str = right) -> Any:
                a, b = (m.ones(s, dtype=getattr(m, d)) for s, d in zip(shapes, (left, right), strict=True))
                return OPERATORS[name](a, b)

            same(run, what=f"{left}{shapes[0]} {name} {right}{shapes[1]}")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scalar", [True, 3, 2.5, np.float32(2.5), np.float64(2.5), np.int64(3)], ids=repr)
def test_scalars_do_not_widen(dtype: str, scalar: Any) -> None:
    """Python 数或 NumPy 标量把张量的精度抬高了（或没有抬高类别）。"""

    def run(m: Any) -> Any:
        x = m.ones(2, dtype=getattr(m, dtype))
        return x + scalar, scalar + x, x * scalar, scalar * x, x / scalar, scalar / x

    same(run, "float32")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("method", ["exp", "sum", "cumsum", "sigmoid", "abs", "sqrt", "amax", "neg", "sign", "square"])
def test_one_tensor_results_have_torchs_dtype(dtype: str, method: str) -> None:
    """一元函数或归约的结果类型与 torch 不同。"""
    if dtype == "bool" and method in ("neg", "abs", "sign", "amax", "square"):
        pytest.skip("torch refuses, or treats bool in its own way")
    arguments = (0,) if method == "cumsum" else ()
    same(lambda m: getattr(m.ones(3, dtype=getattr(m, dtype)), method)(*arguments), "float32")


@pytest.mark.parametrize("source", DTYPES)
@pytest.mark.parametrize("target", DTYPES)
def test_casts_equal_torch(source: str, target: str) -> None:
    """换类型后的值与 torch 不同（截断、布尔化）。"""
    numbers = [0, 1, 1, 0] if source == "bool" else [0, 1, 2.75, 100]
    same(lambda m: m.tensor(numbers).to(getattr(m, source)).to(getattr(m, target)))


TENSORS: dict[str, Callable[[Any], Any]] = {
    "integers": lambda m: m.tensor([1, 2]),
    "floats": lambda m: m.tensor([1.0, 2]),
    "booleans": lambda m: m.tensor([True, False]),
    "mixed": lambda m: m.tensor([True, 2, 3.5]),
    "nested": lambda m: m.tensor([[1, 2], [3, 4]]),
    "scalar": lambda m: (m.tensor(3), m.tensor(3.5), m.tensor(True)),
    "empty": lambda m: (m.tensor([]), m.tensor([[]])),
    "numpy": lambda m: (m.tensor(np.ones(2)), m.tensor(np.arange(3, dtype=np.int32)), m.tensor(np.float32(2))),
    "explicit": lambda m: (m.tensor([1, 2], dtype=m.float64), m.tensor([1.7], dtype=m.int64), m.tensor(1,
        dtype=m.bool)),
    "list of tensors": lambda m: m.tensor([m.tensor(1.5), m.tensor(2)]),
    "as_tensor": lambda m: (m.as_tensor([1, 2]), m.as_tensor([1, 2], dtype=m.float32), m.as_tensor(m.ones(1),
        dtype=m.int8)),
    "cat promotes": lambda m: m.cat([m.ones(1), m.ones(1, dtype=m.int64), m.ones(1, dtype=m.float64)]),
    "stack promotes": lambda m: m.stack([m.ones(1, dtype=m.int64), m.ones(1)]),
    "where promotes": lambda m: m.where(m.tensor([True]), m.ones(1, dtype=m.int64), m.ones(1)),
    "in place keeps": lambda m: m.ones(2).add_(m.ones(2, dtype=m.float64)).mul_(2).div_(m.tensor(3)),
    "in place on integers": lambda m: m.ones(2, dtype=m.int64).add_(True).mul_(3),
    "copy_ casts": lambda m: (m.zeros(2).copy_(m.tensor([1, 2])), m.zeros(2, dtype=m.int64).copy_(m.tensor([1.7,
        -1.7]))),
    "setitem casts": lambda m: _set(m),
    "fill_ casts": lambda m: m.zeros(2, dtype=m.int64).fill_(1.7),
}  # fmt: skip


def _set(m: Any) -> Any:
    x = m.zeros(3, dtype=m.int64)
    x[0] = 1.7
    x[1:] = m.tensor([2.9, -2.9])
    return x


@pytest.mark.parametrize("case", table(TENSORS))
def test_inferred_dtypes_equal_torch(case: Callable[[Any], Any]) -> None:
    """从列表、数组、混合类型推出的 dtype 与 torch 不同。"""
    same(case)


def test_default_dtype_is_switchable() -> None:
    """``set_default_dtype`` 没有生效，或没有复原。"""

    def run(m: Any) -> Any:
        m.set_default_dtype(m.float64)
        try:
            found = m.tensor([1.5]), m.zeros(1), m.arange(0, 1, 0.5), m.tensor([1]) / 2, m.nn.Linear(1, 1).weight.dtype
        finally:
            m.set_default_dtype(m.float32)
        return *found, m.get_default_dtype(), m.zeros(1)

    same(run)
    for m in (tg, torch):
        with pytest.raises(TypeError):
            m.set_default_dtype(m.int64)


def test_finfo_equals_torch() -> None:
    """``finfo`` 的数不对。"""

    def run(m: Any) -> Any:
        infos = [m.finfo(d) for d in (m.float16, m.float32, m.float64)]
        return [(info.eps, info.max, info.min, info.tiny, info.bits) for info in infos]

    same(run)
    assert tg.finfo().bits == 32


def test_unsupported_numpy_dtypes_are_refused() -> None:
    """扩展精度、字符串数组被悄悄收下。"""
    for bad in (np.ones(1, np.longdouble), np.array(["a"]), np.array([object()])):
        with pytest.raises(TypeError, match="unsupported NumPy dtype"):
            tg.tensor(bad)
        with pytest.raises(TypeError, match="unsupported NumPy dtype"):
            tg.from_numpy(bad)
