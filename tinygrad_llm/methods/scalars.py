"""一个 Python 数按 torch 的规则变成某种元素类型：小数截断，NaN 与放不下的数报错。

流入：数与 NumPy dtype；流出：0 维数组。
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygrad_llm.ops.op import Array

NUMBERS = (bool, int, float, complex, np.generic)
_LARGEST = {np.dtype(kind): float(np.finfo(kind).max) for kind in (np.float16, np.float32, np.float64)}


def as_element(value: Any, dtype: Any) -> Array:
    """``value`` 变成 ``dtype`` 的一个元素。

    Raises:
        RuntimeError: ``dtype`` 放不下它。
    """
    plain = value.item() if isinstance(value, np.generic) else value
    if dtype.kind == "b":
        return np.asarray(bool(plain))
    if dtype.kind == "c":
        return np.asarray(plain, dtype)
    if isinstance(plain, complex):
        if plain.imag:
            raise _overflow(plain, dtype)
        plain = plain.real
    try:
        if dtype.kind == "f":
            return _as_float(plain, dtype)
        whole = int(plain)
    except (OverflowError, ValueError):  # NaN、inf 不是整数；太大的整数不是浮点数
        raise _overflow(plain, dtype) from None
    high = int(np.iinfo(dtype).max)
    if not (-high - (dtype.kind == "i")) <= whole <= high:
        raise _overflow(plain, dtype)
    return np.asarray(whole).astype(dtype)  # 负数在 uint8 里回绕，与 torch 相同


def _as_float(value: Any, dtype: Any) -> Array:
    number = float(value)
    if abs(number) > _LARGEST[dtype] and math.isfinite(number):
        raise _overflow(value, dtype)
    return np.asarray(number, dtype=dtype)


def _overflow(value: Any, dtype: Any) -> RuntimeError:
    return RuntimeError(f"value {value} cannot be converted to type {dtype} without overflow")
