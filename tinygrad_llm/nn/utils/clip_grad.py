"""梯度裁剪：按全局范数，或逐元素。

流入：参数；流出：就地缩小的梯度与裁剪前的范数。
"""

from __future__ import annotations

import math
import types
import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np

from tinygrad_llm import dtypes
from tinygrad_llm.methods.operands import refuse
from tinygrad_llm.ops.bfloat16 import narrowed, same_dtype
from tinygrad_llm.ops.op import Array
from tinygrad_llm.tensor import Tensor

Tensors = Tensor | Iterable[Tensor]


def get_total_norm(
    tensors: Tensors, norm_type: float = 2.0, error_if_nonfinite: bool = False, foreach: bool | None = None
) -> Tensor:
    """若干张量合起来的范数：先各求各的，再求这些范数的范数。

    Args:
        tensors: 张量。
        norm_type: 范数的阶，可以是 ``inf``。
        error_if_nonfinite: 范数为 NaN 或 inf 时是否报错。
        foreach: 与 torch 同名；这里只有一种实现。

    Returns:
        0 维张量。

    Raises:
        RuntimeError: 范数非有限且 ``error_if_nonfinite``。
    """
    arrays = [tensor.array for tensor in _listed(tensors)]
    if not arrays:
        return Tensor.wrap(np.zeros((), dtypes.get_default_dtype().numpy))
    order = float(norm_type)
    with np.errstate(all="ignore"):
        total = _norm(np.array([_norm(array, order) for array in arrays]), order)
    if error_if_nonfinite and not math.isfinite(total):
        raise RuntimeError(
            f"The total norm of order {order} for gradients from `parameters` is non-finite ({total}), so it cannot be "
            "clipped; set `error_if_nonfinite=False` to scale the gradients by it anyway"
        )
    kinds = [array.real.dtype for array in arrays]
    shared = all(same_dtype(kinds[0], kind) for kind in kinds)
    return Tensor.wrap(narrowed(total, kinds[0] if shared else np.result_type(*kinds)))


def _norm(array: Array, order: float) -> float:
    """一个数组的范数；平方和在自己的精度里算，其余以 float64 相加。"""
    flat = array.reshape(-1)
    flat = np.abs(flat) if flat.dtype.kind == "c" else flat
    if order == 2:
        return math.sqrt(float(np.dot(flat, flat))) if flat.dtype != np.float16 else _norm(flat.astype(np.float32), 2)
    if math.isinf(order):
        sizes = np.abs(flat)
        return float(sizes.max(initial=0) if order > 0 else sizes.min(initial=math.inf))
    if order == 0:
        return float(np.count_nonzero(flat))
    return float(np.sum(np.abs(flat) ** order, dtype=np.float64) ** (1 / order))


def clip_grads_with_norm_(
    parameters: Tensors, max_norm: float, total_norm: Tensor, foreach: bool | None = None
) -> None:
    """总范数已知时的裁剪：超过 ``max_norm`` 就把所有梯度按同一比例缩小。"""
    total = total_norm.array
    with np.errstate(all="ignore"):
        scale = float(max_norm) / (total + total.dtype.type(1e-6))
        if scale >= 1.0:
            return
        for grad in _grads(parameters):
            grad.array *= grad.array.dtype.type(scale)
            grad.touch()


def clip_grad_norm_(
    parameters: Tensors,
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """全局范数裁剪：总范数超过 ``max_norm`` 时，把所有梯度按同一比例缩小。

    Args:
        parameters: 参数。
        max_norm: 上限。
        norm_type: 范数的阶，可以是 ``inf``。
        error_if_nonfinite: 范数为 NaN 或 inf 时是否报错。
        foreach: 与 torch 同名；这里只有一种实现。

    Returns:
        裁剪前的总范数。

    Raises:
        RuntimeError: 范数非有限且 ``error_if_nonfinite``。
    """
    members = _listed(parameters)
    if isinstance(parameters, types.GeneratorType) and not members:
        message = "`parameters` is an empty generator, no gradient clipping will occur."
        warnings.warn(message, stacklevel=2)
    total = get_total_norm(_grads(members), norm_type, error_if_nonfinite, foreach)
    clip_grads_with_norm_(members, max_norm, total, foreach)
    return total


def clip_grad_norm(
    parameters: Tensors,
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """``clip_grad_norm_`` 的旧名。"""
    message = "`torch.nn.utils.clip_grad_norm` is now deprecated in favor of `torch.nn.utils.clip_grad_norm_`."
    warnings.warn(message, FutureWarning, stacklevel=2)
    return clip_grad_norm_(parameters, max_norm, norm_type, error_if_nonfinite, foreach)


def clip_grad_value_(parameters: Tensors, clip_value: float, foreach: bool | None = None) -> None:
    """逐元素截断到 ``[-clip_value, clip_value]``；复数没有大小。"""
    limit = float(clip_value)
    for grad in _grads(parameters):
        refuse("clip_grad_value_", grad, "c")
        np.clip(grad.array, -limit, limit, out=grad.array)
        grad.touch()


def _listed(tensors: Tensors) -> list[Any]:
    return [tensors] if isinstance(tensors, Tensor) else list(tensors)


def _grads(parameters: Tensors) -> list[Tensor]:
    return [p.grad for p in _listed(parameters) if p.grad is not None]
