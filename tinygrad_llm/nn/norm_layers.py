"""标准化的层：LayerNorm 与 RMSNorm。

流入：超参数；流出：Module。
"""

from __future__ import annotations

from typing import Any

from tinygrad_llm.creation import ones, zeros
from tinygrad_llm.nn import functional as F
from tinygrad_llm.nn.module import Module, Parameter
from tinygrad_llm.tensor import Tensor


class LayerNorm(Module):
    """沿最后几轴标准化，再缩放平移。

    Args:
        normalized_shape: 末尾形状。
        eps: 加在方差上的小数。
        elementwise_affine: 是否有缩放。
        bias: 是否有平移。
        device: 只能是 CPU。
        dtype: 参数类型。

    Attributes:
        weight: 缩放，初值 1。
        bias: 平移，初值 0。
    """

    def __init__(
        self,
        normalized_shape: Any,
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.normalized_shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
        self.eps = eps
        shape = self.normalized_shape
        self.register_parameter(
            "weight", Parameter(ones(shape, device=device, dtype=dtype)) if elementwise_affine else None
        )
        affine_bias = elementwise_affine and bias
        self.register_parameter("bias", Parameter(zeros(shape, device=device, dtype=dtype)) if affine_bias else None)

    def forward(self, input: Tensor) -> Tensor:
        """形状不变。"""
        return F.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        """打印形状与参数。"""
        affine = f"elementwise_affine={self.weight is not None}, bias={self.bias is not None}"
        return f"{self.normalized_shape}, eps={self.eps}, {affine}"


class RMSNorm(Module):
    """沿最后几轴除以均方根，再缩放。

    Args:
        normalized_shape: 末尾形状。
        eps: 加在均方上的小数；缺省为 dtype 的机器精度。
        elementwise_affine: 是否有缩放。
        device: 只能是 CPU。
        dtype: 参数类型。

    Attributes:
        weight: 缩放，初值 1。
    """

    def __init__(
        self,
        normalized_shape: Any,
        eps: float | None = None,
        elementwise_affine: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.normalized_shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
        self.eps = eps
        weight = Parameter(ones(self.normalized_shape, device=device, dtype=dtype)) if elementwise_affine else None
        self.register_parameter("weight", weight)

    def forward(self, x: Tensor) -> Tensor:
        """形状不变。"""
        return F.rms_norm(x, self.normalized_shape, self.weight, self.eps)

    def extra_repr(self) -> str:
        """打印形状与参数。"""
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.weight is not None}"
