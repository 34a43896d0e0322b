"""激活函数：逐元素的非线性，与沿一轴归一化的 softmax。

流入：Tensor；流出：同形状的 Tensor。
"""

from __future__ import annotations

from typing import Any

from tinygrad_llm.autograd.graph import apply
from tinygrad_llm.ops import activation
from tinygrad_llm.ops import elementwise as ew
from tinygrad_llm.tensor import Tensor


def gelu(input: Tensor, approximate: str = "none") -> Tensor:
    """GELU；``approximate="tanh"`` 为 GPT-2 的近似。

    Raises:
        RuntimeError: 未知的近似名。
    """
    if approximate not in ("none", "tanh"):
        raise RuntimeError(f"approximate argument must be either none or tanh, got {approximate!r}")
    return apply(activation.gelu_tanh if approximate == "tanh" else activation.gelu, (input,), {})  # type: ignore[no-any-return]


def silu(input: Tensor, inplace: bool = False) -> Tensor:
    """``x σ(x)``。"""
    y: Tensor = apply(ew.silu, (input.clone() if inplace else input,), {})
    return input.write(y) if inplace else y


def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """``max(x, 0)``。"""
    y: Tensor = input.relu()
    return input.write(y) if inplace else y


def tanh(input: Tensor) -> Tensor:
    """双曲正切。"""
    return input.tanh()  # type: ignore[no-any-return]


def sigmoid(input: Tensor) -> Tensor:
    """``1/(1 + e⁻ˣ)``。"""
    return input.sigmoid()  # type: ignore[no-any-return]


def softmax(input: Tensor, dim: int, *, dtype: Any = None) -> Tensor:
    """沿 ``dim`` 归一化成概率。"""
    return input.softmax(dim, dtype)  # type: ignore[no-any-return]


def log_softmax(input: Tensor, dim: int, *, dtype: Any = None) -> Tensor:
    """softmax 的对数。"""
    return input.log_softmax(dim, dtype)  # type: ignore[no-any-return]
