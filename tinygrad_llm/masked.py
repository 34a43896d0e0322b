"""带掩码的归约与归一化（``torch.masked``）：掩码为假的元素当作不存在。

流入：Tensor 与可广播成它形状的布尔掩码；流出：Tensor。做法：掩去的元素换成该运算的单位元，再做普通的运算。
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_llm import dtypes
from tinygrad_llm.autograd.graph import apply
from tinygrad_llm.methods.reducing import dims
from tinygrad_llm.methods.shaping import axis
from tinygrad_llm.ops import exponential, reduce
from tinygrad_llm.tensor import Tensor


def _canonical(input: Tensor, mask: Tensor) -> Tensor:
    """广播成输入形状的布尔掩码。

    Raises:
        IndexError: 掩码的轴比输入还多。
    """
    if mask.ndim > input.ndim:
        raise IndexError(f"masked: mask of shape {mask.array.shape} has more dimensions than {input.array.shape}")
    return mask.to(dtypes.bool).expand(input.array.shape)  # type: ignore[no-any-return]


def _filled(input: Tensor, mask: Tensor | None, identity: float) -> Tensor:
    """掩去的元素换成单位元；整数没有无穷，换成该类型的极值。

    Raises:
        NotImplementedError: 布尔没有极值。
    """
    if mask is None:
        return input
    if math.isinf(identity) and input.array.dtype.kind != "f":
        if input.array.dtype.kind == "b":
            raise NotImplementedError("masked: no identity on bool input")
        limits = np.iinfo(input.array.dtype)
        identity = limits.max if identity > 0 else limits.min
    return input.masked_fill(~_canonical(input, mask), identity)  # type: ignore[no-any-return]


def sum(input: Tensor, dim: Any = None, *, keepdim: bool = False, dtype: Any = None, mask: Any = None) -> Any:
    """和。"""
    return _filled(input, mask, 0).sum(dim, keepdim, dtype=dtype)


def prod(input: Tensor, dim: Any = None, *, keepdim: bool = False, dtype: Any = None, mask: Any = None) -> Any:
    """积。"""
    integer = input.array.dtype.kind not in "fc"
    result = _filled(input, mask, 1).to(dtype or (dtypes.int64 if integer else input.dtype))
    for d in reversed(dims(dim, input.ndim)):
        result = result.prod(d, keepdim, dtype=dtype)
    return result


def cumsum(input: Tensor, dim: int, *, dtype: Any = None, mask: Any = None) -> Any:
    """累加。"""
    return _filled(input, mask, 0).cumsum(dim, dtype=dtype or input.dtype)


def cumprod(input: Tensor, dim: int, *, dtype: Any = None, mask: Any = None) -> Any:
    """累乘。"""
    return _filled(input, mask, 1).cumprod(dim, dtype=dtype or input.dtype)


def amax(input: Tensor, dim: Any = None, *, keepdim: bool = False, dtype: Any = None, mask: Any = None) -> Any:
    """最大值；全被掩去时是 -inf。"""
    return _filled(input, mask, -math.inf).amax(dims(dim, input.ndim), keepdim).to(dtype or input.dtype)


def amin(input: Tensor, dim: Any = None, *, keepdim: bool = False, dtype: Any = None, mask: Any = None) -> Any:
    """最小值；全被掩去时是 inf。"""
    return _filled(input, mask, math.inf).amin(dims(dim, input.ndim), keepdim).to(dtype or input.dtype)


def argmax(input: Tensor, dim: Any = None, *, keepdim: bool = False, dtype: Any = None, mask: Any = None) -> Any:
    """最大值的下标；dtype 缺省同输入，与 torch 一致。"""
    return _filled(input, mask, -math.inf).argmax(dim, keepdim).to(dtype or input.dtype)


def argmin(input: Tensor, dim: Any = None, *, keepdim: bool = False, dtype: Any = None, mask: Any = None) -> Any:
    """最小值的下标；dtype 缺省同输入，与 torch 一致。"""
    return _filled(input, mask, math.inf).argmin(dim, keepdim).to(dtype or input.dtype)


def _count(input: Tensor, dim: Any, keepdim: bool, mask: Any) -> Any:
    """留下的元素个数：没有掩码就是一个数。"""
    if mask is None:
        return reduce.count(input.array.shape, dims(dim, input.ndim))
    return _canonical(input, mask).sum(dim, keepdim)


def mean(input: Tensor, dim: Any = None, *, keepdim: bool = False, dtype: Any = None, mask: Any = None) -> Any:
    """均值；全被掩去时是 NaN。

    Raises:
        ValueError: 不是浮点或复数类型。
    """
    if not ((dtype or input.dtype).is_floating_point or (dtype or input.dtype).is_complex):
        raise ValueError(f"masked mean: expected a floating-point dtype, got {dtype or input.dtype}")
    return sum(input, dim, keepdim=keepdim, dtype=dtype, mask=mask) / _count(input, dim, keepdim, mask)


def median(input: Tensor, dim: int = -1, *, keepdim: bool = False, dtype: Any = None, mask: Any = None) -> Any:
    """中位数；全被掩去时是 NaN。

    Raises:
        ValueError: 整数输入的某一行全被掩去。
    """
    whole = not input.is_floating_point()
    x = input.to(dtypes.float32) if whole else input
    result = _filled(x, mask, math.nan).nanmedian(dim, keepdim).values
    if not whole:
        return result
    if np.isnan(result.array).any():
        raise ValueError("masked median expects no fully masked out rows if dtype is not floating point")
    return result.to(dtype or input.dtype)


def norm(
    input: Tensor, ord: Any = 2.0, dim: Any = None, *, keepdim: bool = False, dtype: Any = None, mask: Any = None
) -> Any:
    """``ord`` 范数。"""
    identity = math.inf if ord == -math.inf else 0
    return _filled(input, mask, identity).norm(ord, dims(dim, input.ndim), keepdim, dtype)


def _deviation(
    input: Tensor, dim: Any, unbiased: bool | None, correction: float | None, keepdim: bool, dtype: Any, mask: Any
) -> Any:
    """方差：分子与个数都只计留下的元素。"""
    if correction is None:
        correction = 0 if unbiased is False else 1
    wanted = dtype or (input.dtype if input.array.dtype.kind in "fc" else dtypes.float32)
    total = sum(input, dim, keepdim=True, dtype=wanted, mask=mask)
    x = input - total / _count(input, dim, True, mask)
    squares = sum(x * x.conj(), dim, keepdim=keepdim, dtype=wanted, mask=mask)
    count = _count(input, dim, keepdim, mask)
    free = max(count - correction, 0) if mask is None else (count - correction).clamp(min=0)
    return (squares / free).to(wanted)


def var(
    input: Tensor,
    dim: Any = None,
    unbiased: bool | None = None,
    *,
    correction: float | None = None,
    keepdim: bool = False,
    dtype: Any = None,
    mask: Any = None,
) -> Any:
    """方差；全被掩去时是 NaN。"""
    return _deviation(input, dim, unbiased, correction, keepdim, dtype, mask)


def std(
    input: Tensor,
    dim: Any = None,
    unbiased: bool | None = None,
    *,
    correction: float | None = None,
    keepdim: bool = False,
    dtype: Any = None,
    mask: Any = None,
) -> Any:
    """标准差；全被掩去时是 NaN。"""
    return _deviation(input, dim, unbiased, correction, keepdim, dtype, mask).sqrt()


def logsumexp(input: Tensor, dim: Any = None, *, keepdim: bool = False, dtype: Any = None, mask: Any = None) -> Any:
    """``ln Σ eˣ``；全被掩去时是 -inf。"""
    return _filled(input, mask, -math.inf).logsumexp(dims(dim, input.ndim), keepdim).to(dtype or input.dtype)


def logaddexp(
    input: Tensor, other: Tensor, *, dtype: Any = None, input_mask: Any = None, other_mask: Any = None
) -> Any:
    """``ln(eᵃ + eᵇ)``，两边各有自己的掩码。"""
    pair = _filled(input, input_mask, -math.inf), _filled(other, other_mask, -math.inf)
    return apply(exponential.logaddexp, pair, {}).to(dtype or input.dtype)


def _normalized(function: Callable[..., Any], input: Tensor, dim: int, dtype: Any) -> Any:
    return function(input, axis(dim, input.ndim), dtype=dtype or input.dtype)


def softmax(input: Tensor, dim: int, *, dtype: Any = None, mask: Any = None) -> Any:
    """softmax；全被掩去的行是 NaN。"""
    return _normalized(Tensor.softmax, _filled(input, mask, -math.inf), dim, dtype)


def log_softmax(input: Tensor, dim: int, *, dtype: Any = None, mask: Any = None) -> Any:
    """softmax 的对数；全被掩去的行是 NaN。"""
    return _normalized(Tensor.log_softmax, _filled(input, mask, -math.inf), dim, dtype)


def softmin(input: Tensor, dim: int, *, dtype: Any = None, mask: Any = None) -> Any:
    """``softmax(-x)``；全被掩去的行是 NaN。"""
    return _normalized(Tensor.softmax, -_filled(input, mask, math.inf), dim, dtype)


def normalize(input: Tensor, ord: float, dim: int, *, eps: float = 1e-12, dtype: Any = None, mask: Any = None) -> Any:
    """除以范数；掩去的元素成为 0。"""
    size = norm(input, ord, dim, keepdim=True, dtype=dtype, mask=mask)
    return _filled(input, mask, 0) / size.maximum(Tensor.wrap(np.asarray(eps, size.array.dtype)))
