"""Dropout：训练时随机置 0。掩码与 torch 的 CPU 生成器逐个相同。

流入：浮点 Tensor；流出：同形状的 Tensor。不训练、``p`` 为 0 或没有元素时原样返回输入。
"""

from __future__ import annotations

import math
import warnings

import numpy as np

from tinygrad_llm.ops.op import Array
from tinygrad_llm.random import default_generator
from tinygrad_llm.tensor import Tensor

_ALPHA = 1.7580993408473766
"""SELU 在负无穷处的极限的相反数，``alpha · scale``。"""


def _check(p: float) -> None:
    if not 0 <= p <= 1:
        raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")


def _keep_mask(x: Tensor, p: float, by_channel: bool) -> Array:
    """``1`` 为留下。按内存的次序抽数：转置过的输入，torch 也是这样抽的。"""
    if by_channel:
        if x.ndim < 2:
            raise RuntimeError(
                f"feature dropout requires at least 2 dimensions in the input, got shape {x.array.shape}"
            )
        shape = x.array.shape[:2] + (1,) * (x.ndim - 2)
        return (default_generator.uniform(shape, np.float64) < 1 - p).astype(x.array.dtype)
    mask = np.empty_like(x.array)
    outer_first = sorted(range(x.ndim), key=lambda d: -abs(mask.strides[d]))
    in_memory_order = mask.transpose(outer_first)
    in_memory_order[...] = default_generator.uniform(in_memory_order.shape, np.float64) < 1 - p
    return mask


def _idle(x: Tensor, p: float, training: bool) -> bool:
    return not training or p == 0 or x.array.size == 0


def _dropout(x: Tensor, p: float, training: bool, inplace: bool, by_channel: bool) -> Tensor:
    _check(p)
    if _idle(x, p, training):
        return x
    if x.array.dtype.kind != "f":
        raise RuntimeError(f"dropout: result type Float can't be cast to the desired output type {x.dtype}")
    if p == 1:
        y = x * 0.0
    else:
        y = x * Tensor.wrap(_keep_mask(x, p, by_channel) / x.array.dtype.type(1 - p))
    return x.write(y) if inplace else y  # type: ignore[no-any-return]


def _alpha_dropout(x: Tensor, p: float, training: bool, inplace: bool, by_channel: bool) -> Tensor:
    """置成 SELU 的负饱和值而不是 0，再仿射一下，使均值与方差不变。"""
    _check(p)
    if _idle(x, p, training):
        return x
    if x.array.dtype.kind != "f":
        raise RuntimeError(f"alpha_dropout: result type Float can't be cast to the desired output type {x.dtype}")
    if p == 1:
        y = x * 0.0
    else:
        a = 1 / math.sqrt((_ALPHA * _ALPHA * p + 1) * (1 - p))
        keep = _keep_mask(x, p, by_channel)
        y = x * Tensor.wrap(keep * a) + Tensor.wrap((keep - 1) * (_ALPHA * a) + _ALPHA * a * p)
    return x.write(y) if inplace else y  # type: ignore[no-any-return]


def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """以概率 ``p`` 置 0，其余放大 ``1/(1-p)``，使期望不变。

    Raises:
        ValueError: ``p`` 不在 ``[0, 1]``。
    """
    return _dropout(input, p, training, inplace, by_channel=False)


def dropout1d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """整条通道一起置 0；输入 ``(N, C, L)`` 或 ``(C, L)``。

    Raises:
        ValueError: ``p`` 不在 ``[0, 1]``。
        RuntimeError: 不是二维或三维。
    """
    _check(p)
    if input.ndim not in (2, 3):
        raise RuntimeError(f"dropout1d: Expected 2D or 3D input, but received a {input.ndim}D input")
    return _by_channel(input, p, training, inplace, batched=input.ndim == 3)


def dropout2d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """整张特征图一起置 0；输入 ``(N, C, H, W)``，三维时当作 ``(N, C, L)`` 并警告。

    Raises:
        ValueError: ``p`` 不在 ``[0, 1]``。
        RuntimeError: 不足二维。
    """
    _check(p)
    if input.ndim not in (3, 4):
        _warn_dims("dropout2d", input.ndim)
    if input.ndim == 3:
        warnings.warn(
            "dropout2d: Received a 3D input to dropout2d and assuming that channel-wise 1D dropout behavior is "
            "desired - input is interpreted as shape (N, C, L). Use dropout1d instead.",
            stacklevel=2,
        )
    return _dropout(input, p, training, inplace, by_channel=True)


def dropout3d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """整个体素块一起置 0；输入 ``(N, C, D, H, W)`` 或 ``(C, D, H, W)``。

    Raises:
        ValueError: ``p`` 不在 ``[0, 1]``。
    """
    _check(p)
    if input.ndim not in (4, 5):
        _warn_dims("dropout3d", input.ndim)
    return _by_channel(input, p, training, inplace, batched=input.ndim == 5)


def _warn_dims(name: str, ndim: int) -> None:
    warnings.warn(
        f"{name}: Received a {ndim}-D input to {name}, which is deprecated and will result in an error in a future "
        "release. To retain the behavior and silence this warning, please use dropout instead.",
        stacklevel=3,
    )


def _by_channel(x: Tensor, p: float, training: bool, inplace: bool, batched: bool) -> Tensor:
    """没有批轴时先补上。"""
    if batched:
        return _dropout(x, p, training, inplace, by_channel=True)
    y: Tensor = _dropout(x.unsqueeze(0), p, training, False, by_channel=True).squeeze(0)
    return x.write(y) if inplace else y


def feature_dropout(input: Tensor, p: float, training: bool, inplace: bool = False) -> Tensor:
    """整条通道一起置 0：输入 ``(N, C, *空间)``，维数不限。

    Raises:
        ValueError: ``p`` 不在 ``[0, 1]``。
        RuntimeError: 不足二维。
    """
    return _dropout(input, p, training, inplace, by_channel=True)


def alpha_dropout(input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False) -> Tensor:
    """与 SELU 搭配的 dropout：均值与方差都不变（Klambauer 等，2017）。

    Raises:
        ValueError: ``p`` 不在 ``[0, 1]``。
    """
    return _alpha_dropout(input, p, training, inplace, by_channel=False)


def feature_alpha_dropout(input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False) -> Tensor:
    """整条通道一起的 ``alpha_dropout``。

    Raises:
        ValueError: ``p`` 不在 ``[0, 1]``。
        RuntimeError: 不足二维。
    """
    return _alpha_dropout(input, p, training, inplace, by_channel=True)
