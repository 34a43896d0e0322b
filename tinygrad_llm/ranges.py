"""等差与等比数列、单位阵、三角的下标，以及各列是一个向量的幂的矩阵。

流入：端点、步长或个数；流出：Tensor。个数与舍入的次序同 torch 的 CPU 实现。
"""

from __future__ import annotations

import math
import warnings
from operator import index as as_int
from typing import Any

import numpy as np

from tinygrad_llm import dtypes
from tinygrad_llm.creation import finish, float_type
from tinygrad_llm.joining import cat
from tinygrad_llm.layouts import strided
from tinygrad_llm.methods.scalars import NUMBERS, as_element
from tinygrad_llm.ops.bfloat16 import is_bfloat16, rounded
from tinygrad_llm.ops.op import Array
from tinygrad_llm.out import made_into
from tinygrad_llm.tensor import Tensor


def _number(value: Any, name: str) -> Any:
    """Python 数；0 维 Tensor 取它的值。

    Raises:
        RuntimeError: Tensor 不是 0 维。
        TypeError: 不是数。
    """
    if isinstance(value, Tensor):
        if value.array.ndim:
            raise RuntimeError(f"{name} only supports 0-dimensional tensors, got shape {value.array.shape}")
        return value.item()
    if not isinstance(value, NUMBERS):
        raise TypeError(f"{name}(): expected a number, got {type(value).__name__}")
    return value.item() if isinstance(value, np.generic) else value


def _inside(low: Any, high: Any, step: Any, name: str) -> None:
    """端点有限，步长不为 0 且方向一致。"""
    if not (math.isfinite(low) and math.isfinite(high)):
        raise RuntimeError(f"{name}: unsupported range: {low} -> {high}")
    if step == 0:
        raise RuntimeError(f"{name}: step must be nonzero")
    if (high - low) * step < 0:
        raise RuntimeError(f"{name}: upper bound {high} and lower bound {low} inconsistent with step sign of {step}")


@made_into
def arange(
    start: Any = 0,
    end: Any = None,
    step: Any = 1,
    *,
    dtype: Any = None,
    layout: Any = strided,
    device: Any = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
) -> Tensor:
    """等差数列 ``[start, end)``；全是整数时为 int64，否则为缺省浮点类型。

    Raises:
        RuntimeError: 端点不是有限数，或步长为 0、方向不对。
    """
    first, last = (0, start) if end is None else (start, end)
    low, high, by = (_number(v, "arange") for v in (first, last, step))
    integral = not any(isinstance(v, float) for v in (low, high, by))
    wanted = (np.dtype(np.int64) if integral else float_type(None)) if dtype is None else dtypes.as_numpy(dtype)
    if wanted.kind in "bc":
        raise NotImplementedError(f"arange is not implemented for {wanted}")
    if wanted == np.int64 and math.isfinite(low) and math.isfinite(high):
        low, high, by = int(low), int(high), int(by)  # torch 先换成目标类型，再数个数
    _inside(low, high, by, "arange")
    count = -(-(high - low) // by) if isinstance(low + high + by, int) else math.ceil((high - low) / by)
    return finish(_steps(low, by, count, wanted), requires_grad, device, layout, pin_memory)


def _steps(low: Any, by: Any, count: int, wanted: Any) -> Array:
    """``low + i · by``；整数类型先把端点与步长截断。"""
    if wanted.kind in "iu":
        return int(low) + np.arange(count).astype(wanted) * wanted.type(int(by)) if count else np.empty(0, wanted)
    return np.asarray(low + np.arange(count) * by, dtype=wanted)


@made_into
def range(
    start: Any = 0,
    end: Any = None,
    step: Any = 1,
    *,
    dtype: Any = None,
    layout: Any = strided,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """含终点的等差数列；torch 已不推荐，请用 ``arange``。

    Raises:
        RuntimeError: 端点不是有限数，或步长为 0、方向不对。
    """
    warnings.warn("torch.range is deprecated; use torch.arange, [start, end)", UserWarning, stacklevel=2)
    first, last = (0, start) if end is None else (start, end)
    low, high, by = (_number(v, "range") for v in (first, last, step))
    _inside(low, high, by, "range")
    count = math.floor((high - low) / by + 1)
    return finish(_steps(low, by, count, float_type(dtype)), requires_grad, device, layout)


@made_into
def linspace(
    start: Any,
    end: Any,
    steps: int,
    *,
    dtype: Any = None,
    layout: Any = strided,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """首尾在内的等分点；前一半从起点往后数，后一半从终点往前数。

    Raises:
        RuntimeError: 个数为负，或端点不是 0 维。
    """
    wanted = _float_or_complex(dtype, start, end)
    count = _count(steps, wanted, "linspace")
    if is_bfloat16(wanted):
        return finish(_rounded_linspace(start, end, count), requires_grad, device, layout)
    low, high = (as_element(_number(v, "linspace"), wanted)[()] for v in (start, end))
    if count == 1:
        return finish(np.full(1, low), requires_grad, device, layout)
    front, back, by = _two_halves(low, high, count, wanted)
    if wanted.kind in "iu":
        found = [(int(low) + by * front).astype(wanted), (int(high) - by * back).astype(wanted)]  # 先算完再截断
    else:
        found = [low + by * front.astype(wanted), high - by * back.astype(wanted)]
    return finish(np.concatenate(found), requires_grad, device, layout)


def _float_or_complex(dtype: Any, *ends: Any) -> Any:
    """没写 ``dtype`` 时：端点有复数就是复数，否则是缺省浮点类型。"""
    if dtype is None and any(x.is_complex() if isinstance(x, Tensor) else isinstance(x, complex) for x in ends):
        return dtypes.default_complex().numpy
    return float_type(dtype)


def _rounded_linspace(start: Any, end: Any, count: int) -> Array:
    """bfloat16 的 ``linspace``：每一步都舍入。"""
    low, high = (rounded(np.asarray(_number(v, "linspace"), np.float32)).view(np.float32) for v in (start, end))
    front, back, by = _two_halves(low, high, count, np.dtype(np.float32))
    step = rounded(np.asarray(by)).view(np.float32)
    moves = [rounded(step * side.astype(np.float32)).view(np.float32) for side in (front, back)]
    return rounded(np.concatenate([low + moves[0], high - moves[1]]))


def _count(steps: Any, wanted: Any, name: str) -> int:
    count = as_int(steps)
    if count < 0 or wanted.kind == "b":
        raise RuntimeError(f"{name}: number of steps must be non-negative and dtype not bool, got {count} and {wanted}")
    return count


def _two_halves(low: Any, high: Any, count: int, wanted: Any) -> tuple[Array, Array, Any]:
    """前一半的序号、后一半到终点的距离与步长；整数类型的步长是 float64。"""
    middle, last = count // 2, max(count - 1, 1)
    ends = (float(low), float(high)) if wanted.kind in "iu" else (low, high)
    with np.errstate(over="ignore", invalid="ignore"):
        by = (ends[1] - ends[0]) / (last if wanted.kind in "iu" else wanted.type(last))
    return np.arange(middle), np.arange(count - middle)[::-1], by


@made_into
def logspace(
    start: Any,
    end: Any,
    steps: int,
    base: float = 10.0,
    *,
    dtype: Any = None,
    layout: Any = strided,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """等比数列：以 ``base`` 为底、``start`` 到 ``end`` 等分点为指数的幂。

    Raises:
        RuntimeError: 个数为负，或端点不是 0 维。
    """
    wanted = _float_or_complex(dtype, start, end)
    first, last = (_number(v, "logspace") for v in (start, end))
    count = _count(steps, wanted, "logspace")
    with np.errstate(all="ignore"):
        if count == 1:
            found = np.power(float(base), np.full(1, float(first)))
        elif wanted.kind in "iu":
            lowest, highest = (int(as_element(v, wanted)) for v in (first, last))
            front, back, by = _two_halves(lowest, highest, count, wanted)
            found = np.power(float(base), np.concatenate([lowest + by * front, highest - by * back]))
        else:
            low, high = (as_element(v, wanted)[()] for v in (first, last))
            front, back, by = _two_halves(low, high, count, wanted)
            exponents = [low + by * front.astype(wanted), high - by * back.astype(wanted)]
            found = np.power(wanted.type(base), np.concatenate(exponents))
        return finish(found.astype(wanted), requires_grad, device, layout)


@made_into
def eye(
    n: int,
    m: int | None = None,
    *,
    dtype: Any = None,
    layout: Any = strided,
    device: Any = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
) -> Tensor:
    """单位阵。

    Raises:
        RuntimeError: 长度为负。
    """
    rows, columns = as_int(n), as_int(n if m is None else m)
    if rows < 0 or columns < 0:
        raise RuntimeError(f"eye: n and m must be greater or equal to 0, got {rows} and {columns}")
    return finish(np.eye(rows, columns, dtype=float_type(dtype)), requires_grad, device, layout, pin_memory)


def tril_indices(
    row: int, col: int, offset: int = 0, *, dtype: Any = dtypes.int64, device: Any = None, layout: Any = strided
) -> Tensor:
    """下三角各元素的行号与列号，形状 ``(2, 个数)``。

    Raises:
        RuntimeError: 长度为负，或 dtype 不是整数。
    """
    return _indices("tril_indices", np.tril, row, col, offset, dtype, device, layout)


def triu_indices(
    row: int, col: int, offset: int = 0, *, dtype: Any = dtypes.int64, device: Any = None, layout: Any = strided
) -> Tensor:
    """上三角各元素的行号与列号，形状 ``(2, 个数)``。

    Raises:
        RuntimeError: 长度为负，或 dtype 不是整数。
    """
    return _indices("triu_indices", np.triu, row, col, offset, dtype, device, layout)


def _indices(name: str, triangle: Any, row: int, col: int, offset: int, dtype: Any, device: Any, layout: Any) -> Tensor:
    wanted = dtypes.as_numpy(dtype)
    if row < 0 or col < 0 or wanted.kind not in "iu":
        raise RuntimeError(f"{name}: row and col must be non-negative integers of an integer dtype, got {row}, {col}")
    found = np.array(np.nonzero(triangle(np.ones((row, col), bool), offset)), dtype=wanted)
    return finish(found, False, device, layout)


def vander(x: Tensor, N: int | None = None, increasing: bool = False) -> Tensor:
    """Vandermonde 矩阵：各列是 ``x`` 的幂，缺省从高次到 0 次；整数算在 int64 里。

    Raises:
        RuntimeError: 不是一维，或 ``N`` 为负。
    """
    if x.array.ndim != 1:
        raise RuntimeError(f"vander: x must be a one-dimensional tensor, got shape {x.array.shape}")
    columns = len(x.array) if N is None else as_int(N)
    if columns < 0:
        raise RuntimeError(f"vander: N must be non-negative, got {columns}")
    base = x if x.array.dtype.kind in "fc" else x.long()
    powers = [Tensor.wrap(np.ones((len(x.array), min(columns, 1)), base.array.dtype))]
    if columns > 1:
        powers.append(base.unsqueeze(-1).expand(-1, columns - 1).cumprod(-1))
    found = cat(powers, 1)
    return found if increasing else found.flip(1)
