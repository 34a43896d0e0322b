"""``make_tensor``：写测试用的随机 Tensor，形状、dtype 与取值范围任选。"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygrad_llm import dtypes
from tinygrad_llm.creation import empty
from tinygrad_llm.promotion import finfo, iinfo
from tinygrad_llm.sampling import randint
from tinygrad_llm.tensor import Tensor


def make_tensor(
    *shape: Any,
    dtype: Any,
    device: Any = "cpu",
    low: float | None = None,
    high: float | None = None,
    requires_grad: bool = False,
    noncontiguous: bool = False,
    exclude_zero: bool = False,
    memory_format: Any = None,
) -> Tensor:
    """``[low, high)`` 上的随机 Tensor；不给范围时约为 -9 到 9，布尔则各半。

    Args:
        *shape: 形状。
        dtype: 元素类型。
        device: 只能是 CPU。
        low: 下界。
        high: 上界，不含。
        requires_grad: 是否需要梯度。
        noncontiguous: 是否在内存里隔一个放一个。
        exclude_zero: 是否把 0 换成 1（浮点数则换成最小的正规数）。
        memory_format: 内存排布；不能与 ``noncontiguous`` 同用。

    Raises:
        TypeError: 不支持的 dtype。
        ValueError: 范围是空的或超出 dtype，整数却要梯度，或两种排布都要。
    """
    size = tuple(shape[0]) if len(shape) == 1 and isinstance(shape[0], Sequence) else shape
    if noncontiguous and memory_format is not None:
        raise ValueError(f"make_tensor: noncontiguous and memory_format={memory_format!r} are mutually exclusive")
    is_whole = not (dtype.is_floating_point or dtype.is_complex)
    if requires_grad and is_whole:
        raise ValueError(f"`requires_grad=True` is not supported for boolean and integral dtypes, but got {dtype!r}")
    is_spread = noncontiguous and math.prod(size) > 1
    stored = (*size[:-1], 2 * size[-1]) if is_spread else size
    result = _whole(stored, dtype, device, low, high) if is_whole else _real(stored, dtype, device, low, high)
    if is_spread:
        result = result[..., 1::2]
    elif memory_format is not None:
        result = result.clone(memory_format=memory_format)
    if exclude_zero:
        result[result == 0] = 1 if is_whole else finfo(dtype).tiny
    return result.requires_grad_(requires_grad)  # type: ignore[no-any-return]


def _whole(size: tuple[int, ...], dtype: Any, device: Any, low: Any, high: Any) -> Tensor:
    if dtype is dtypes.bool:
        first, last = _bounds(low, high, (0, 2), (0, 2), dtype)
    else:
        limits = iinfo(dtype)
        first, last = _bounds(low, high, (limits.min, limits.max + (dtype is not dtypes.int64)), (-9, 10), dtype)
    return randint(math.ceil(first), math.ceil(last), size, device=device, dtype=dtype)


def _real(size: tuple[int, ...], dtype: Any, device: Any, low: Any, high: Any) -> Tensor:
    limits, result = finfo(dtype), empty(size, dtype=dtype, device=device)
    first, last = _bounds(low, high, (limits.min, limits.max), (-9, 9), dtype)
    target = result if dtype.is_floating_point else Tensor.wrap(result.array.view(np.dtype(f"f{dtype.itemsize // 2}")))
    if last - first >= limits.max:
        target.uniform_(first / 2, last / 2).mul_(2)
    else:
        target.uniform_(first, last)
    return result


def _bounds(low: Any, high: Any, limits: tuple[Any, Any], usual: tuple[int, int], dtype: Any) -> tuple[float, float]:
    """取值范围：给定的或缺省的，截到 dtype 容得下的范围。"""
    first, last = usual[0] if low is None else low, usual[1] if high is None else high
    if first != first or last != last:
        raise ValueError(f"`low` and `high` cannot be NaN, but got low={low!r} and high={high!r}")
    if first >= last:
        raise ValueError(f"`low` must be less than `high`, but got {first} >= {last}")
    if last < limits[0] or first >= limits[1]:
        raise ValueError(f"[{first}, {last}) lies outside [{limits[0]}, {limits[1]}), which {dtype!r} supports")
    return max(first, limits[0]), min(last, limits[1])
