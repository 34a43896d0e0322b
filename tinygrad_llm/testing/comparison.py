"""``assert_close``：两个值在容差之内相等，否则报出差多少、差在哪里。

流入：Tensor、数组、数、布尔、``None``，或它们的列表与字典；流出：无，或一条 ``AssertionError``。
容差、检查的次序与消息同 torch。
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from tinygrad_llm import dtypes
from tinygrad_llm.creation import as_tensor
from tinygrad_llm.creation import tensor as new_tensor
from tinygrad_llm.promotion import promote_types
from tinygrad_llm.tensor import Tensor

_TOLERANCES = {
    "float16": (1e-3, 1e-5), "bfloat16": (1.6e-2, 1e-5), "float32": (1.3e-6, 1e-5), "float64": (1e-7, 1e-7),
    "complex64": (1.3e-6, 1e-5), "complex128": (1e-7, 1e-7),
}  # fmt: skip
"""每种 dtype 缺省的相对与绝对容差；整数与布尔须相等。"""
_NUMBER_DTYPES = {int: "int64", float: "float64", complex: "complex128"}


class _Rules(NamedTuple):
    """怎样才算相等，各项同 ``assert_close`` 的参数。"""

    rtol: float | None
    atol: float | None
    equal_nan: bool
    allow_subclasses: bool
    check_device: bool
    check_dtype: bool
    check_layout: bool
    check_stride: bool

    def tolerances(self, *names: str) -> tuple[float, float]:
        """相对与绝对容差：给定的，或几种 dtype 里较宽的。"""
        if self.rtol is not None and self.atol is not None:
            return self.rtol, self.atol
        pairs = [_TOLERANCES.get(name, (0.0, 0.0)) for name in names]
        return max(rtol for rtol, _ in pairs), max(atol for _, atol in pairs)


Message = str | Callable[[str], str] | None
_Pair = tuple[str, Callable[[], str | None]]
"""在容器里的位置，与一个函数：返回哪里不同，全同则为 ``None``。"""


def assert_close(
    actual: Any,
    expected: Any,
    *,
    allow_subclasses: bool = True,
    rtol: float | None = None,
    atol: float | None = None,
    equal_nan: bool = False,
    check_device: bool = True,
    check_dtype: bool = True,
    check_layout: bool = True,
    check_stride: bool = False,
    msg: Message = None,
) -> None:
    """断言 ``|actual - expected| ≤ atol + rtol · |expected|`` 处处成立。

    Args:
        actual: 得到的值。
        expected: 应有的值。
        allow_subclasses: 类型是否可以是对方的子类，如 Parameter 与 Tensor。
        rtol: 相对容差；与 ``atol`` 要么都给，要么都由 dtype 决定。
        atol: 绝对容差。
        equal_nan: NaN 是否等于 NaN。
        check_device: 是否比较设备。
        check_dtype: 是否比较 dtype；数则比较类型。
        check_layout: 是否比较存放方式。
        check_stride: 是否比较步长。
        msg: 代替消息的文字，或由消息得出文字的函数。

    Raises:
        AssertionError: 不相等，或形状、长度、键不同。
        TypeError: 这两种类型没法比较。
        ValueError: ``rtol`` 与 ``atol`` 只给了一个。
    """
    rules = _Rules(rtol, atol, equal_nan, allow_subclasses, check_device, check_dtype, check_layout, check_stride)
    if (rtol is None) != (atol is None):
        missing = "rtol" if rtol is None else "atol"
        raise ValueError(f"Both 'rtol' and 'atol' must be either specified or omitted, but got no {missing}.")
    for where, compare in list(_pairs(actual, expected, "", rules)):
        found = compare()
        if found is not None:
            whole = found + _at(where)
            raise AssertionError(msg if isinstance(msg, str) else msg(whole) if msg is not None else whole)


def _at(where: str) -> str:
    return f"\n\nThe failure occurred for item {where}" if where else ""


def _pairs(actual: Any, expected: Any, where: str, rules: _Rules) -> Iterator[_Pair]:
    """容器里一对一对的叶子；容器本身对不上就报错。"""
    both = (actual, expected)
    if all(isinstance(one, Sequence) and not isinstance(one, str) for one in both):
        if len(actual) != len(expected):
            raise AssertionError(f"The length of the sequences mismatch: {len(actual)} != {len(expected)}" + _at(where))
        for i, pair in enumerate(zip(actual, expected, strict=True)):
            yield from _pairs(*pair, f"{where}[{i}]", rules)
    elif all(isinstance(one, Mapping) for one in both):
        if set(actual) != set(expected):
            missing, extra = sorted(set(expected) - set(actual)), sorted(set(actual) - set(expected))
            raise AssertionError(
                f"The keys of the mappings do not match:\nMissing keys in the actual mapping: {missing}\n"
                f"Additional keys in the actual mapping: {extra}" + _at(where)
            )
        for key in actual:
            yield from _pairs(actual[key], expected[key], f"{where}[{key!r}]", rules)
    else:
        yield where, _leaf(actual, expected, where, rules)


def _leaf(actual: Any, expected: Any, where: str, rules: _Rules) -> Callable[[], str | None]:
    both = (actual, expected)
    if actual is None or expected is None:
        return lambda: None if actual is expected else f"None mismatch: {actual} is not {expected}"
    if all(isinstance(one, (bool, np.bool_)) for one in both):
        a, b = bool(actual), bool(expected)
        return lambda: None if a is b else f"Booleans mismatch: {a} is not {b}"
    if all(isinstance(one, (int, float, complex, np.number)) for one in both):
        numbers = [one.item() if isinstance(one, np.generic) else one for one in both]
        return lambda: _numbers(numbers[0], numbers[1], rules)
    related = isinstance(actual, type(expected)) or isinstance(expected, type(actual))
    same_kind = rules.allow_subclasses or type(actual) is type(expected)
    tensors = [_tensor_like(one) for one in both] if related and same_kind else [None]
    if None in tensors:
        kinds = f"{type(actual)} and {type(expected)}"
        raise TypeError(f"No comparison pair was able to handle inputs of type {kinds}." + _at(where))
    return lambda: _tensors(tensors[0], tensors[1], rules)


def _tensor_like(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value
    return as_tensor(value) if isinstance(value, np.ndarray) else None


def _numbers(actual: Any, expected: Any, rules: _Rules) -> str | None:
    if rules.check_dtype and type(actual) is not type(expected):
        return f"The (d)types do not match: {type(actual)} != {type(expected)}."
    rtol, atol = rules.tolerances(*[_NUMBER_DTYPES.get(type(one), "int64") for one in (actual, expected)])
    if actual == expected or (rules.equal_nan and actual != actual and expected != expected):
        return None
    away = abs(actual - expected)
    if math.isfinite(away) and away <= atol + rtol * abs(expected):
        return None
    return _scalar_message(actual, expected, rtol, atol)


def _tensors(actual: Any, expected: Any, rules: _Rules) -> str | None:
    checks = {"shape": True, "layout": rules.check_layout, "stride()": rules.check_stride,
        "device": rules.check_device, "dtype": rules.check_dtype}  # fmt: skip
    for name, is_checked in checks.items():
        a, b = (one.stride() if name == "stride()" else getattr(one, name) for one in (actual, expected))
        if is_checked and a != b:
            return f"The values for attribute '{name}' do not match: {a} != {b}."
    rtol, atol = rules.tolerances(actual.dtype.name, expected.dtype.name)
    if actual.dtype != expected.dtype:
        common = promote_types(actual.dtype, expected.dtype)
        actual, expected = actual.to(common), expected.to(common)
    matches = actual.isclose(expected, rtol=rtol, atol=atol, equal_nan=rules.equal_nan)
    if matches.all():
        return None
    if actual.ndim == 0:
        return _scalar_message(actual.item(), expected.item(), rtol, atol)
    return _tensor_message(actual.detach(), expected.detach(), matches, rtol, atol)


# ---- 消息


def _scalar_message(actual: Any, expected: Any, rtol: float, atol: float) -> str:
    away = abs(actual - expected)
    relative = math.inf if expected == 0 else away / abs(expected)
    told = f"Expected {expected} but got {actual}."
    return _message("Scalars", told, ("Absolute", away, ""), ("Relative", relative, ""), rtol, atol)


def _tensor_message(actual: Any, expected: Any, matches: Any, rtol: float, atol: float) -> str:
    if actual.array.dtype.kind in "bui":
        actual, expected = actual.long(), expected.long()
    wrong, total = int((~matches.array).sum()), matches.numel()
    away = (actual - expected).abs().masked_fill(matches, 0)
    relative = (away / expected.abs()).masked_fill(matches, 0)
    differences = []
    for name, values in (("absolute", away), ("relative", relative)):
        flat = int(values.flatten().argmax())
        index = tuple(int(i) for i in np.unravel_index(flat, values.array.shape))
        differences.append((f"Greatest {name}", values.flatten()[flat].item(), f" at index {index}"))
    told = f"Mismatched elements: {wrong} / {total} ({wrong / total:.1%})"
    return _message("Tensor-likes", told, differences[0], differences[1], rtol, atol)


_Difference = tuple[str, Any, str]


def _message(what: str, told: str, absolute: _Difference, relative: _Difference, rtol: float, atol: float) -> str:
    is_equality = rtol == 0 and atol == 0
    lines = [f"{what} are not {'equal' if is_equality else 'close'}!\n", told]
    for (name, value, index), tolerance in ((absolute, atol), (relative, rtol)):
        lines.append(f"{name} difference: {value}{index}" + ("" if is_equality else f" (up to {tolerance} allowed)"))
    return "\n".join(lines)


def assert_allclose(
    actual: Any,
    expected: Any,
    rtol: float | None = None,
    atol: float | None = None,
    equal_nan: bool = True,
    msg: str = "",
) -> None:
    """``assert_close`` 从前的名字：不比较 dtype，容差更宽。

    Raises:
        AssertionError: 不相等。
    """
    warnings.warn("assert_allclose() is deprecated, please use assert_close() instead", FutureWarning, stacklevel=2)
    actual = actual if isinstance(actual, Tensor) else new_tensor(actual)
    expected = expected if isinstance(expected, Tensor) else new_tensor(expected, dtype=actual.dtype)
    if rtol is None and atol is None:
        wide = {dtypes.float16: (1e-3, 1e-3), dtypes.float32: (1e-4, 1e-5), dtypes.float64: (1e-5, 1e-8)}
        pairs = [wide.get(one.dtype, (0.0, 0.0)) for one in (actual, expected)]
        rtol, atol = (max(values) for values in zip(*pairs, strict=True))
    assert_close(actual, expected, rtol=rtol, atol=atol, equal_nan=equal_nan, check_dtype=False, msg=msg or None)
