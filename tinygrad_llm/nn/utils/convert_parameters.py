"""全部参数与一个向量之间的转换。

流入：参数；流出：向量。
"""

from __future__ import annotations

from collections.abc import Iterable

from tinygrad_llm.joining import cat
from tinygrad_llm.tensor import Tensor


def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    """全部参数排成一个向量（可导）。"""
    return cat([p.reshape(-1) for p in parameters])


def vector_to_parameters(vec: Tensor, parameters: Iterable[Tensor]) -> None:
    """把一个向量按次序切给各参数；与 torch 相同，此后参数与向量共享内存。

    Raises:
        TypeError: ``vec`` 不是 Tensor。
    """
    if not isinstance(vec, Tensor):
        raise TypeError(f"expected torch.Tensor, but got: {type(vec).__name__}")
    start = 0
    for parameter in parameters:
        stop = start + parameter.numel()
        parameter.data = vec.detach()[start:stop].view(parameter.shape)
        start = stop
