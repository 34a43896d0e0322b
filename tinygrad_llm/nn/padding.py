"""补边：常数、镜像、复制与循环四种。

流入：Tensor 与从最后一轴往前数的 ``(左, 右, 上, 下, …)``；流出：同轴数的 Tensor。负数表示裁去。
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import index

import numpy as np

from tinygrad_llm.autograd.graph import apply
from tinygrad_llm.nn.memory_order import like_input
from tinygrad_llm.ops.op import Array
from tinygrad_llm.ops.resampling import Pads, Sparse, pad_constant, resample
from tinygrad_llm.tensor import Tensor


@like_input
def pad(input: Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Tensor:
    """补边。

    Args:
        input: 任意形状；非常数的补边要求最后一到三轴是空间轴，前面至多两根。
        pad: 从最后一轴往前，每轴两个数（前、后）。
        mode: ``"constant"``、``"reflect"``、``"replicate"`` 或 ``"circular"``。
        value: 常数补边的值，缺省为 0。

    Returns:
        补边后的 Tensor。

    Raises:
        RuntimeError: ``pad`` 的长度不对、补得太多，或给了多余的 ``value``。
        TypeError: ``pad`` 里有小数。
        NotImplementedError: 不支持的模式或轴数。
    """
    if len(pad) % 2:
        raise RuntimeError(f"pad: padding length must be divisible by 2, got {list(pad)}")
    if len(pad) > 2 * input.array.ndim:
        raise RuntimeError(f"pad: {list(pad)} has more entries than twice the dimensions of {input.array.shape}")
    if mode == "constant":
        return constant_pad_nd(input, pad, 0 if value is None else value)
    if mode not in _SOURCES:
        raise NotImplementedError(f"pad: unrecognised padding mode {mode!r}")
    if value is not None and value != 0:
        raise RuntimeError(f"pad: padding mode {mode!r} doesn't take in value argument")
    axes = len(pad) // 2
    if not 1 <= axes <= 3 or input.array.ndim - axes not in (1, 2):
        raise NotImplementedError(
            f"pad: only the last 1, 2 or 3 of 2 to 5 dimensions can be padded with mode {mode!r}, "
            f"got {list(pad)} for {input.array.shape}"
        )
    for i in range(axes):
        input = _extend(input, input.array.ndim - 1 - i, index(pad[2 * i]), index(pad[2 * i + 1]), mode)
    return input


def constant_pad_nd(input: Tensor, pad: Sequence[int], value: float = 0) -> Tensor:
    """各轴两端补常数；负数表示裁去。

    Raises:
        RuntimeError: ``pad`` 的长度不对，或裁得太多。
    """
    shape = input.array.shape
    if len(pad) % 2 or len(pad) > 2 * len(shape):
        raise RuntimeError(f"constant_pad_nd: padding {list(pad)} does not fit a tensor of shape {shape}")
    pairs = [(index(pad[i]), index(pad[i + 1])) for i in range(0, len(pad), 2)]
    pads: Pads = ((0, 0),) * (len(shape) - len(pairs)) + tuple(reversed(pairs))
    if any(n + a + b < 0 or n + min(a, 0) + min(b, 0) < 0 for n, (a, b) in zip(shape, pads, strict=True)):
        raise RuntimeError(f"constant_pad_nd: padding {list(pad)} of shape {shape} gives a negative size")
    fill = value.item() if isinstance(value, Tensor) else value
    return apply(pad_constant, (input,), {"pads": pads, "value": fill})  # type: ignore[no-any-return]


def _reflect(places: Array, length: int) -> Array:
    places = np.abs(places)
    return np.where(places >= length, 2 * (length - 1) - places, places)


_SOURCES: dict[str, Callable[[Array, int], Array]] = {
    "reflect": _reflect,
    "replicate": lambda places, length: np.clip(places, 0, length - 1),
    "circular": lambda places, length: places % max(length, 1),
}
"""模式 → 补边之后的每个位置取自原来的哪里。"""


def _extend(x: Tensor, dim: int, before: int, after: int, mode: str) -> Tensor:
    length = x.array.shape[dim]
    limit = {"reflect": length - 1, "circular": length, "replicate": max(before, after)}[mode]
    wanted = length + before + after
    if max(before, after) > limit or wanted < 0 or (mode != "circular" and 0 in (length, wanted)):
        raise RuntimeError(f"pad: ({before}, {after}) does not fit dimension {dim} of {x.array.shape} in mode {mode!r}")
    cut = -min(before, 0) if mode == "circular" else 0  # 循环补边先裁后接：接上的是裁剩的部分
    rest = length - cut + min(after, 0) if mode == "circular" else length
    columns = cut + _SOURCES[mode](np.arange(wanted) - before - cut, rest)
    matrix = Sparse(np.arange(wanted), columns, np.ones(wanted), (wanted, length))
    return apply(resample, (x,), {"matrix": matrix, "dim": dim})  # type: ignore[no-any-return]
