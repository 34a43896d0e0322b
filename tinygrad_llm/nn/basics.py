"""全连接与双线性：输入乘上权重。

流入：Tensor；流出：Tensor。查表在 ``lookups.py``。
"""

from __future__ import annotations

from tinygrad_llm.autograd.graph import apply
from tinygrad_llm.autograd.mode import switch
from tinygrad_llm.ops import linear as linear_ops
from tinygrad_llm.ops.bfloat16 import same_dtype
from tinygrad_llm.tensor import Tensor


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``y = x Wᵀ + b``。

    Args:
        input: ``(..., in)``。
        weight: ``(out, in)``。
        bias: ``(out,)``。

    Returns:
        ``(..., out)``。

    Raises:
        RuntimeError: 内侧长度或 dtype 不符。
    """
    x, w = input.array, weight.array
    if not same_dtype(x.dtype, w.dtype) and switch.autocast is None:
        raise RuntimeError(f"linear: input is {input.dtype}, weight is {weight.dtype}; they must have the same dtype")
    if x.ndim == 0 or x.shape[-1] != w.shape[-1]:
        raise RuntimeError(f"linear: input {x.shape} does not fit weight {w.shape}: last dimensions must be equal")
    if not x.shape[-1]:  # 没有输入：全 0 加偏置
        y = input @ weight.t()
        return y if bias is None else y + bias  # type: ignore[no-any-return]
    if bias is not None and bias.array.dtype is not x.dtype:
        _check_bias(input, bias)
    return apply(linear_ops.linear, (input, weight, bias), {})  # type: ignore[no-any-return]


def _check_bias(x: Tensor, bias: Tensor) -> None:
    """偏置是一维、输入按行连续（或不足三维）时，torch 不替它换 dtype。"""
    if same_dtype(bias.array.dtype, x.array.dtype) or switch.autocast is not None:
        return
    if bias.ndim == 1 and (x.ndim < 3 or x.array.flags.c_contiguous):
        raise RuntimeError(f"linear: input is {x.dtype}, bias is {bias.dtype}; they must have the same dtype")


def bilinear(input1: Tensor, input2: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``yₖ = x₁ᵀ Wₖ x₂ + bₖ``。

    Args:
        input1: ``(..., in1)``。
        input2: ``(..., in2)``，前面的轴与 ``input1`` 相同。
        weight: ``(out, in1, in2)``。
        bias: ``(out,)``。

    Returns:
        ``(..., out)``。

    Raises:
        RuntimeError: 形状或 dtype 不符。
    """
    a, b, w = input1.array.shape, input2.array.shape, weight.array.shape
    if a[:-1] != b[:-1] or w[1:] != (*a[-1:], *b[-1:]) or len({t.dtype for t in (input1, input2, weight)}) > 1:
        raise RuntimeError(f"bilinear: inputs {a} and {b} do not fit weight {w}, or their dtypes differ")
    if bias is not None and bias.array.shape != w[:1]:
        raise RuntimeError(f"bilinear: bias {bias.array.shape} does not fit weight {w}")
    out, wide1, wide2 = w
    halves = input2.reshape(-1, wide2) @ weight.reshape(out * wide1, wide2).t()  # 每个 k 的 Wₖ x₂
    y = (halves.reshape(-1, out, wide1) @ input1.reshape(-1, wide1, 1)).reshape(*a[:-1], out)
    return y if bias is None else y + bias  # type: ignore[no-any-return]
