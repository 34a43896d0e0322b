"""线性代数函数的入口检查：形状与 dtype 不合时，抛出点名函数、形状与 dtype 的 ``RuntimeError``。

流入：函数名与 Tensor；流出：无。下一站：``solving.py``。
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_llm import dtypes
from tinygrad_llm.autograd import graph
from tinygrad_llm.autograd.function import Function


def wrap(array: Any) -> Any:
    """数组或 NumPy 标量 → Tensor。"""
    return graph.tensor_type.wrap(np.asarray(array))


class _WithoutDerivative(Function):
    """前向给出算好的值，反向报错。"""

    @staticmethod
    def forward(ctx: Any, why: str, array: Any, *inputs: Any) -> Any:
        """``array``。"""
        ctx.why = why
        return wrap(array)

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        """不可导。

        Raises:
            RuntimeError: 总是。
        """
        raise RuntimeError(f"{ctx.why} is not differentiable")


def undifferentiable(why: str, array: Any, *inputs: Any) -> Any:
    """由 ``inputs`` 算出、但没有导数的值：仍连在图上，反传到这里才报错。"""
    return _WithoutDerivative.apply(why, array, *inputs)


def identity_like(x: Any) -> Any:
    """与方阵 ``x`` 的最后两轴同样大小、同一类型的单位阵。"""
    return wrap(np.eye(x.array.shape[-1], dtype=x.array.dtype))


def require_float(name: str, *tensors: Any, half: bool = False, complex: bool = False) -> None:
    """都是浮点；``half``、``complex`` 说明是否也接受 float16、复数。

    Raises:
        RuntimeError: 整数、布尔或精度不够。
    """
    for x in tensors:
        if complex and x.array.dtype.kind == "c":
            continue
        if x.array.dtype.kind != "f" or (x.array.itemsize < 4 and not half):
            raise RuntimeError(
                f"{name}: expected a {'floating-point' if half else 'float32 or float64'} tensor, "
                f"got {dtypes.of(x.array)} of shape {x.array.shape}"
            )


def require_same(name: str, *tensors: Any) -> None:
    """dtype 都相同。

    Raises:
        RuntimeError: 有两种 dtype。
    """
    found = [dtypes.of(x.array) for x in tensors]
    if any(d is not found[0] for d in found):
        raise RuntimeError(f"{name}: expected all tensors to have the same dtype, got {found}")


def require_matrix(name: str, x: Any, *, square: bool = False) -> None:
    """至少二维；``square`` 时最后两轴等长。

    Raises:
        RuntimeError: 轴数不够，或不是方阵。
    """
    shape = x.array.shape
    if len(shape) < 2:
        raise RuntimeError(f"{name}: the input tensor must have at least 2 dimensions, got shape {shape}")
    if square and shape[-1] != shape[-2]:
        raise RuntimeError(f"{name}: the input must be batches of square matrices, got shape {shape}")


def require_square(name: str, x: Any, *, complex: bool = False) -> None:
    """浮点方阵（或一批方阵）；``complex`` 说明是否也接受复数。"""
    require_matrix(name, x, square=True)
    require_float(name, x, complex=complex)


def is_vector_side(a: Any, b: Any) -> bool:
    """方程 ``a x = b`` 的右边是不是（一批）向量：一维，或形状恰是 ``a`` 去掉最后一轴。"""
    return b.array.ndim == 1 or bool(b.array.shape == a.array.shape[:-1])
