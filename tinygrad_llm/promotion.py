"""dtype 之间的规则与极限值：``promote_types``、``result_type``、``can_cast``、``finfo``、``iinfo``。

流入：dtype、Tensor 或 Python 数；流出：dtype，或一种类型的极限值。
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_llm import dtypes
from tinygrad_llm.tensor import Tensor


def _rank(d: dtypes.dtype) -> int:
    return dtypes.RANK[d.numpy.kind]


def promote_types(type1: dtypes.dtype, type2: dtypes.dtype) -> dtypes.dtype:
    """两种 dtype 相遇的结果：先比类别（布尔 < 整数 < 浮点 < 复数），同类别取装得下两者的。

    Raises:
        TypeError: 不是 dtype。
    """
    first, second = dtypes.as_numpy(type1), dtypes.as_numpy(type2)
    return dtypes.of(np.empty(0, dtypes.promote(np.empty(1, first), np.empty(1, second))))


def result_type(tensor1: Any, tensor2: Any) -> dtypes.dtype:
    """两个操作数（Tensor 或数）运算结果的 dtype：数让着 0 维，0 维让着有维的，除非类别更高。

    Raises:
        TypeError: 不是 Tensor 或数。
    """
    (first, order1), (second, order2) = _operand(tensor1), _operand(tensor2)
    a = np.empty(() if order1 < order2 else 0, first.numpy)
    b = np.empty(() if order2 < order1 else 0, second.numpy)
    return dtypes.of(np.empty(0, dtypes.promote(a, b)))


def _operand(x: Any) -> tuple[dtypes.dtype, int]:
    """dtype，以及它在同类别里的分量：数 0、0 维 1、有维 2。"""
    if isinstance(x, Tensor):
        return x.dtype, 2 if x.array.ndim else 1
    plain = x.item() if isinstance(x, np.generic) else x
    wide = (float, dtypes.get_default_dtype()), (complex, dtypes.default_complex())
    for kind, found in ((bool, dtypes.bool), (int, dtypes.int64), *wide):
        if isinstance(plain, kind):
            return found, 0
    raise TypeError(f"result_type(): expected a Tensor or a number, got {type(x).__name__}")


def can_cast(from_: dtypes.dtype, to: dtypes.dtype) -> bool:
    """能不能就地换成 ``to``：复数不能变实数，浮点不能变整数，别的不能变布尔。"""
    return _rank(from_) <= _rank(to)


class finfo:  # noqa: N801  与 torch 同名
    """浮点类型的极限值。

    Args:
        type: 浮点 dtype；缺省为缺省浮点类型；复数取它实部的类型。

    Attributes:
        bits: 位数。
        eps: 1 与下一个可表示数之差。
        max: 最大有限值。
        min: 最小有限值。
        tiny: 最小正规数。
        smallest_normal: 同 ``tiny``。
        resolution: 十进制的分辨率。
        dtype: 类型的名字。

    Raises:
        TypeError: 不是浮点 dtype。
    """

    def __init__(self, type: dtypes.dtype | None = None) -> None:
        found = dtypes.get_default_dtype() if type is None else type
        if dtypes.as_numpy(found).kind not in "fc":
            raise TypeError(f"torch.finfo() requires a floating point input type, got {found}; use torch.iinfo")
        found = found.to_real()
        self.dtype, self.bits = found.name, 8 * found.itemsize
        if found is dtypes.bfloat16:  # 8 位指数、7 位尾数
            self.eps, self.max, self.resolution = 2.0**-7, 2.0**127 * (2 - 2.0**-7), 0.01
            self.min, self.tiny, self.smallest_normal = -self.max, 2.0**-126, 2.0**-126
            return
        info: Any = np.finfo(found.numpy)
        self.eps, self.max, self.min = info.eps.item(), info.max.item(), info.min.item()
        self.tiny = self.smallest_normal = info.tiny.item()
        self.resolution = float(f"1e-{info.precision}")

    def __repr__(self) -> str:
        numbers = ("resolution", "min", "max", "eps", "smallest_normal", "tiny")
        return f"finfo({', '.join(f'{n}={getattr(self, n):g}' for n in numbers)}, dtype={self.dtype})"


class iinfo:  # noqa: N801  与 torch 同名
    """整数类型的极限值。

    Args:
        type: 整数 dtype。

    Attributes:
        bits: 位数。
        max: 最大值。
        min: 最小值。
        dtype: 类型的名字。

    Raises:
        TypeError: 不是整数 dtype。
    """

    def __init__(self, type: dtypes.dtype) -> None:
        if dtypes.as_numpy(type).kind not in "iu":
            raise TypeError(f"torch.iinfo() requires an integer input type, got {type}; use torch.finfo")
        info = np.iinfo(type.numpy)
        self.bits, self.max, self.min, self.dtype = int(info.bits), int(info.max), int(info.min), type.name

    def __repr__(self) -> str:
        return f"iinfo(min={self.min}, max={self.max}, dtype={self.dtype})"
