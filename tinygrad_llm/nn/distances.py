"""两个向量有多远：归一化、余弦相似度、p-范数距离。

流入：Tensor；流出：沿一根轴归约之后的距离或相似度。
"""

from __future__ import annotations

import numpy as np

from tinygrad_llm.out import write_out
from tinygrad_llm.promotion import result_type
from tinygrad_llm.tensor import Tensor


def normalize(input: Tensor, p: float = 2.0, dim: int = 1, eps: float = 1e-12, out: Tensor | None = None) -> Tensor:
    """沿 ``dim`` 除以 p-范数；范数小于 ``eps`` 时除以 ``eps``。

    Args:
        input: 浮点或复数。
        p: 哪种范数。
        dim: 沿哪个轴。
        eps: 范数的下限。
        out: 结果写在这里，不能再求导。

    Raises:
        RuntimeError: 不是浮点或复数。
    """
    _need_float("normalize", input)
    length = input.norm(p, dim, keepdim=True)
    result = input / length.clamp(min=eps)
    return result if out is None else write_out("normalize", out, result)  # type: ignore[no-any-return]


def cosine_similarity(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """两个方向的夹角余弦，沿 ``dim`` 归约；可广播。

    Raises:
        RuntimeError: 没有一个是浮点，或形状不能广播。
    """
    if "f" not in (x1.array.dtype.kind, x2.array.dtype.kind):
        raise RuntimeError(f"cosine_similarity: expected floating point tensors, got {x1.dtype} and {x2.dtype}")
    try:
        shape = np.broadcast_shapes(x1.array.shape, x2.array.shape)
    except ValueError:
        raise RuntimeError(f"cosine_similarity: {x1.array.shape} and {x2.array.shape} do not broadcast") from None
    common = result_type(x1, x2)
    a, b = (x.to(common).expand(shape) for x in (x1, x2))
    return (a / _floored(a, dim, eps) * (b / _floored(b, dim, eps))).sum(dim)  # type: ignore[no-any-return]


def _floored(x: Tensor, dim: int, eps: float) -> Tensor:
    """2-范数，不小于 ``eps``；截断只改值，不改梯度。"""
    length: Tensor = x.norm(2, dim, keepdim=True)
    missing = np.maximum(eps - length.array, 0).astype(length.array.dtype)
    return length + Tensor.wrap(missing)  # type: ignore[no-any-return]


def pairwise_distance(x1: Tensor, x2: Tensor, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> Tensor:
    """逐行的 p-范数距离 ``‖x₁ - x₂ + ε‖``，沿最后一轴。"""
    return (x1 - x2 + eps).norm(p, -1, keepdim=keepdim)  # type: ignore[no-any-return]


def pdist(input: Tensor, p: float = 2.0) -> Tensor:
    """一组向量两两之间的 p-范数距离。

    Args:
        input: ``(N, D)``。
        p: 非负。

    Returns:
        ``(N(N-1)/2,)``，次序是 (0,1)、(0,2) … (1,2) …。

    Raises:
        RuntimeError: 不是二维浮点，或 ``p`` 为负。
    """
    _need_float("pdist", input)
    if input.ndim != 2 or p < 0:
        raise RuntimeError(f"pdist expects a 2D tensor and p >= 0, got shape {input.array.shape} and p={p}")
    first, second = (Tensor.wrap(ids) for ids in np.triu_indices(len(input.array), 1))
    gap = input.index_select(0, first) - input.index_select(0, second)
    if not input.array.shape[1]:  # 没有坐标：距离都是 0
        return gap.sum(1)  # type: ignore[no-any-return]
    return gap.norm(p, 1)  # type: ignore[no-any-return]


def _need_float(name: str, x: Tensor) -> None:
    if x.array.dtype.kind not in "fc":
        raise RuntimeError(f"{name}: expected a floating point tensor, got {x.dtype}")
