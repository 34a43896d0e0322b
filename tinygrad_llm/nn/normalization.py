"""按批、按组、按样本标准化，以及局部响应归一化。

流入：``(N, C, *空间)``；流出：同形状的 Tensor。三种标准化都是「把要一起算的元素排成一行，再做 LayerNorm」，
只是行的分法不同，所以共用同一个融合算子。沿最后几轴的 LayerNorm 与 RMSNorm 在 ``norms.py``。
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygrad_llm.autograd import no_grad
from tinygrad_llm.autograd.graph import apply
from tinygrad_llm.methods.shaping import shaped
from tinygrad_llm.nn.memory_order import like_input
from tinygrad_llm.nn.pooling import summed
from tinygrad_llm.ops import norm
from tinygrad_llm.ops.op import Array
from tinygrad_llm.tensor import Tensor


@like_input
def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """每个通道在整批数据上标准化。

    Args:
        input: ``(N, C, *空间)``。
        running_mean: ``(C,)`` 均值的滑动平均，训练时就地更新。
        running_var: ``(C,)`` 方差（除以 ``n - 1``）的滑动平均，训练时就地更新。
        weight: ``(C,)`` 缩放。
        bias: ``(C,)`` 平移。
        training: 用这一批的统计量；否则用滑动平均。
        momentum: 新统计量在滑动平均里占的比例。
        eps: 加在方差上的小数。

    Returns:
        与 ``input`` 同形状。

    Raises:
        ValueError: 训练时每个通道只有一个数，或 ``eps`` 不合。
        RuntimeError: 参数的长度不等于通道数，或评估时没有滑动平均。
    """
    shape = input.array.shape
    if shape == (0,):
        return input.clone()  # type: ignore[no-any-return]
    if len(shape) < 2:
        raise RuntimeError(f"batch_norm: expected at least 2 dimensions, got {shape}")
    if training and math.prod(shape) == shape[1]:
        raise ValueError(f"Expected more than 1 value per channel when training, got input size {shape}")
    if eps < 0 or (training and eps == 0):
        raise ValueError(f"batch_norm: eps must be positive during training and never negative, got {eps}")
    _check_lengths("batch_norm", input, running_mean, running_var, weight, bias)
    if not training:
        return _by_running_stats("batch_norm", input, running_mean, running_var, weight, bias, eps)
    rows = input.transpose(0, 1).reshape(shape[1], math.prod(shape) // max(shape[1], 1))
    if running_mean is not None or running_var is not None:
        mean, var = _statistics(rows.array)
        _track(running_mean, mean, momentum)
        _track(running_var, var, momentum)
    standard = _standardized(rows, eps).reshape(shape[1], shape[0], *shape[2:]).transpose(0, 1).contiguous()
    return _affine(standard, weight, bias)


def instance_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """每个样本的每个通道各自标准化；参数同 ``batch_norm``，滑动平均取各样本统计量的平均。

    Raises:
        ValueError: 用输入的统计量，而每个通道只有一个数。
        RuntimeError: 参数的长度不等于通道数，或不用输入的统计量却没有滑动平均。
    """
    shape = input.array.shape
    if use_input_stats and math.prod(shape[2:]) == 1:
        raise ValueError(f"Expected more than 1 spatial element when training, got input size {shape}")
    if len(shape) < 2:
        raise RuntimeError(f"instance_norm: expected at least 2 dimensions, got {shape}")
    _check_lengths("instance_norm", input, running_mean, running_var, weight, bias)
    if not use_input_stats:
        return _by_running_stats("instance_norm", input, running_mean, running_var, weight, bias, eps)
    rows = input.reshape(shape[0] * shape[1], math.prod(shape[2:]))
    if running_mean is not None or running_var is not None:
        mean, var = (values.reshape(shape[:2]).mean(0) for values in _statistics(rows.array))
        _track(running_mean, mean, momentum)
        _track(running_var, var, momentum)
    return _affine(shaped(_standardized(rows, eps), shape), weight, bias)


@like_input
def group_norm(
    input: Tensor, num_groups: int, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    """每个样本的通道分成 ``num_groups`` 组，每组一起标准化；缩放与平移仍逐通道。

    Raises:
        ValueError: 每组只有一个数。
        RuntimeError: 通道数不能分成这么多组，或参数的长度不等于通道数。
    """
    shape = input.array.shape
    if len(shape) < 2:
        raise RuntimeError(f"group_norm: expected at least 2 dimensions, got {shape}")
    if num_groups < 1 or shape[1] % num_groups:
        raise RuntimeError(f"group_norm: {shape[1]} channels of {shape} cannot be divided into {num_groups} groups")
    if shape[0] * shape[1] // num_groups * math.prod(shape[2:]) == 1:
        raise ValueError(f"Expected more than 1 value per channel when training, got input size {shape}")
    _check_lengths("group_norm", input, weight, bias)
    rows = input.reshape(shape[0] * num_groups, shape[1] // num_groups * math.prod(shape[2:]))
    return _affine(shaped(_standardized(rows, eps), shape), weight, bias)


def local_response_norm(input: Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> Tensor:
    """除以邻近 ``size`` 个通道的平方和的幂：``x / (k + α · Σx²/size)^β``。

    Raises:
        ValueError: 少于三维。
    """
    if input.array.ndim < 3:
        raise ValueError(f"local_response_norm: expected 3D or higher dimensionality input, got {input.array.shape}")
    if input.array.size == 0:
        return input
    channels = input.array.shape[1]
    starts = np.arange(channels) - size // 2
    total = summed(input * input, 1, np.maximum(starts, 0), np.minimum(starts + size, channels))
    return input / ((total / size) * alpha + k).pow(beta)  # type: ignore[no-any-return]


def _standardized(rows: Tensor, eps: float) -> Tensor:
    """每一行减去均值、除以标准差。"""
    return apply(norm.layer_norm, (rows, None, None), {"eps": eps}) if rows.array.size else rows


def _affine(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    """逐通道缩放平移。"""
    if weight is not None:
        x = x * _per_channel(weight, x)
    return x if bias is None else x + _per_channel(bias, x)


def _per_channel(values: Any, x: Tensor) -> Any:
    return values.reshape(1, len(values), *(1,) * (x.array.ndim - 2))


def _by_running_stats(
    name: str,
    x: Tensor,
    mean: Tensor | None,
    var: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
) -> Tensor:
    if mean is None or var is None:
        raise RuntimeError(f"{name}: expected running_mean and running_var to be defined when not training")
    standard = (x - _per_channel(mean, x)) * _per_channel((var + eps).rsqrt(), x)
    return _affine(standard, weight, bias)


def _statistics(rows: Array) -> tuple[Array, Array]:
    """每一行的均值与方差（除以 ``n - 1``）。"""
    mean = rows.mean(1)
    centred = rows - mean[:, None]
    return mean, np.vecdot(centred, centred) / rows.dtype.type(rows.shape[1] - 1)


def _track(running: Tensor | None, fresh: Array, momentum: float) -> None:
    """滑动平均向这一批的统计量靠近一步，就地写入。"""
    if running is None or not fresh.size:
        return
    with no_grad():
        running.copy_(running * (1 - momentum) + Tensor.wrap(fresh) * momentum)


def _check_lengths(name: str, x: Tensor, *vectors: Tensor | None) -> None:
    for vector in vectors:
        if vector is None:
            continue
        if vector.array.shape != x.array.shape[1:2]:
            raise RuntimeError(f"{name}: input {x.array.shape} needs one value per channel, got {vector.array.shape}")
        if vector.array.dtype != x.array.dtype and x.array.dtype != np.float16:
            raise RuntimeError(f"{name}: all inputs must share one dtype, got {x.dtype} and {vector.dtype}")
