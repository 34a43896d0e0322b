"""``out=``：把算好的结果写进给定的张量。

流入：函数的结果与 ``out``；流出：``out`` 自己。自己写的优化器常用它省下一次赋值：``maximum(a, b, out=a)``。
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any, TypeVar, cast

from tinygrad_llm.autograd import is_grad_enabled, no_grad
from tinygrad_llm.promotion import can_cast
from tinygrad_llm.tensor import Tensor

F = TypeVar("F", bound=Callable[..., Any])

WITHOUT_OUT = frozenset([
    "adjoint", "allclose", "argsort", "argwhere", "as_strided", "as_strided_scatter", "bincount", "broadcast_to",
    "chunk", "clone", "corrcoef", "count_nonzero", "cov", "detach", "diag_embed", "diagflat", "diagonal",
    "diagonal_scatter", "dist", "dsplit", "equal", "flatten", "flip", "fliplr", "flipud", "hsplit", "index_fill",
    "index_put", "is_floating_point", "is_inference", "is_nonzero", "is_same_size", "isclose", "isfinite", "isinf",
    "isnan", "isreal", "logdet", "masked_fill", "masked_scatter", "matrix_exp", "moveaxis", "movedim", "narrow",
    "numel", "permute", "pinverse", "positive", "put", "ravel", "relu", "repeat_interleave", "reshape", "roll",
    "rot90", "select", "select_scatter", "split_with_sizes", "squeeze", "swapaxes", "swapdims", "t", "tensor_split",
    "tile", "trace", "transpose", "unbind", "unflatten", "unique", "unique_consecutive", "unsafe_chunk",
    "unsafe_split", "unsafe_split_with_sizes", "unsqueeze", "vsplit",
])  # fmt: skip
"""torch 里没有 ``out`` 的函数：大多返回视图、数或形状由数据决定的结果。"""


def write_out(name: str, out: Any, result: Any) -> Any:
    """把结果写进 ``out``，返回 ``out``。

    Args:
        name: 函数名，报错用。
        out: 一个张量；结果是几个时为同样多个张量。
        result: 函数的结果。

    Raises:
        RuntimeError: 有一方需要梯度，结果的类型放不进 ``out``，或给的个数不对。
        TypeError: ``out`` 不是张量，或函数没有 ``out``。
    """
    if name in WITHOUT_OUT:
        raise TypeError(f"{name}() got an unexpected keyword argument 'out'")
    if out is None:
        return result
    if isinstance(result, (tuple, list)):
        if not isinstance(out, (tuple, list)) or len(out) != len(result):
            raise TypeError(f"{name}(): argument 'out' must be a tuple of {len(result)} Tensors")
        return type(result)([write_out(name, o, r) for o, r in zip(out, result, strict=True)])
    if not isinstance(out, Tensor):
        raise TypeError(f"{name}(): argument 'out' must be Tensor, not {type(out).__name__}")
    if result.requires_grad or (out.requires_grad and is_grad_enabled()):
        raise RuntimeError(
            f"{name}(): functions with out=... arguments don't support automatic differentiation, "
            "but one of the arguments requires grad."
        )
    if not can_cast(result.dtype, out.dtype):
        raise RuntimeError(f"{name}(): result type {result.dtype} can't be cast to the output type {out.dtype}")
    with no_grad():
        return out.copy_(result) if out.shape == result.shape else _resized(name, out, result)


def _resized(name: str, out: Tensor, result: Tensor) -> Tensor:
    """形状不同就换成结果的形状；原来有元素则提醒一声。"""
    if out.numel():
        warnings.warn(
            f"{name}(): an output with one or more elements was resized from {tuple(out.shape)} to "
            f"{tuple(result.shape)}, since it did not match the required output shape.",
            UserWarning,
            stacklevel=4,
        )
    out.data = result.to(out.dtype, copy=True)
    return out


def with_out(function: F) -> F:
    """给一个函数加上 ``out``。"""

    @functools.wraps(function)
    def call(*args: Any, out: Any = None, **kwargs: Any) -> Any:
        return write_out(function.__name__, out, function(*args, **kwargs))

    return cast(F, call)


def made_into(factory: F) -> F:
    """给一个工厂函数加上 ``out``：没写 ``dtype`` 就取 ``out`` 的。"""

    @functools.wraps(factory)
    def call(*args: Any, **kwargs: Any) -> Any:
        out = kwargs.pop("out", None)
        if out is None:
            return factory(*args, **kwargs)
        name = factory.__name__
        if not isinstance(out, Tensor):
            raise TypeError(f"{name}(): argument 'out' must be Tensor, not {type(out).__name__}")
        if kwargs.get("dtype") is None:
            kwargs["dtype"] = out.dtype
        elif kwargs["dtype"] != out.dtype:
            raise RuntimeError(f"{name}(): dtype {kwargs['dtype']} does not match dtype of out parameter ({out.dtype})")
        return write_out(name, out, factory(*args, **kwargs))

    return cast(F, call)
