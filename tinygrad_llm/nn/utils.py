"""训练时的小工具：与 ``torch.nn.utils`` 同名同义。"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from tinygrad_llm.tensor import Tensor


def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor],
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: Any = None,
) -> Tensor:
    """全局范数裁剪：总范数超过 ``max_norm`` 时，把所有梯度按同一比例缩小。

    Args:
        parameters: 参数。
        max_norm: 上限。
        norm_type: 2 或 inf。
        error_if_nonfinite: 范数为 NaN 或 inf 时是否报错。
        foreach: 与 torch 同名；这里只有一种实现。

    Returns:
        裁剪前的总范数。

    Raises:
        RuntimeError: 范数非有限且 ``error_if_nonfinite``。
    """
    grads = [
        p.grad.array for p in ([parameters] if isinstance(parameters, Tensor) else parameters) if p.grad is not None
    ]
    norm = total_norm(grads, norm_type)
    if error_if_nonfinite and not math.isfinite(norm):
        raise RuntimeError(
            f"The total norm of order {norm_type} for gradients from `parameters` is non-finite ({norm})"
        )
    scale = max_norm / (norm + 1e-6)
    if not scale >= 1.0:
        for grad in grads:
            grad *= grad.dtype.type(scale)
    return Tensor.wrap(np.asarray(norm, dtype=grads[0].dtype if grads else np.float32))


def total_norm(grads: Iterable[Any], norm_type: float = 2.0) -> float:
    """若干数组合起来的范数；各数组的平方和在自己的精度里算，再以 float64 相加。"""
    if norm_type == math.inf:
        return max((float(np.abs(g).max(initial=0)) for g in grads), default=0.0)
    if norm_type != 2:
        total = sum(float(np.sum(np.abs(g) ** norm_type, dtype=np.float64)) for g in grads)
        return math.pow(total, 1 / norm_type)
    return math.sqrt(sum(float(np.dot(g.reshape(-1), g.reshape(-1))) for g in grads))


def clip_grad_value_(parameters: Iterable[Tensor], clip_value: float) -> None:
    """逐元素截断到 ``[-clip_value, clip_value]``。"""
    for parameter in parameters:
        if parameter.grad is not None:
            np.clip(parameter.grad.array, -clip_value, clip_value, out=parameter.grad.array)


def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    """全部参数排成一个向量（可导）。"""
    from tinygrad_llm.creation import cat

    return cat([p.reshape(-1) for p in parameters])


def vector_to_parameters(vec: Tensor, parameters: Iterable[Tensor]) -> None:
    """把一个向量按次序写回各参数。"""
    start = 0
    for parameter in parameters:
        stop = start + parameter.numel()
        parameter.array[...] = vec.array[start:stop].reshape(parameter.array.shape)
        start = stop
