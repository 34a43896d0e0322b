"""带权重的层、Dropout 与占位：与 ``torch.nn`` 同名同义，初始化分布也相同。

流入：超参数；流出：Module。激活、损失、容器另有文件。下一站：``tinygrad_llm/optim/``。
"""

from __future__ import annotations

import math
from typing import Any

from tinygrad_llm.creation import empty
from tinygrad_llm.nn import functional as F
from tinygrad_llm.nn import init
from tinygrad_llm.nn.module import Module, Parameter
from tinygrad_llm.tensor import Tensor


class Linear(Module):
    """全连接层 ``y = x Wᵀ + b``。

    Args:
        in_features: 输入宽度。
        out_features: 输出宽度。
        bias: 是否有偏置。
        device: 只能是 CPU。
        dtype: 参数类型。

    Attributes:
        weight: ``(out, in)``。
        bias: ``(out,)`` 或 ``None``。
    """

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        self.weight = Parameter(empty(out_features, in_features, device=device, dtype=dtype))
        if bias:
            self.bias = Parameter(empty(out_features, device=device, dtype=dtype))
        else:
            self.register_parameter("bias", None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """``U(-1/√in, 1/√in)``，与 torch 相同。"""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            bound = 1 / math.sqrt(self.in_features) if self.in_features else 0.0
            init.uniform_(self.bias, -bound, bound)

    def forward(self, input: Tensor) -> Tensor:
        """``(..., in) → (..., out)``。"""
        return F.linear(input, self.weight, self.bias)

    def extra_repr(self) -> str:
        """打印形状。"""
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


class Embedding(Module):
    """查表层。

    Args:
        num_embeddings: 表长 V。
        embedding_dim: 宽度 D。
        padding_idx: 该行初值为 0 且不接收梯度。
        device: 只能是 CPU。
        dtype: 参数类型。

    Attributes:
        weight: ``(V, D)``。
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        *,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.num_embeddings, self.embedding_dim, self.padding_idx = num_embeddings, embedding_dim, padding_idx
        self.weight = Parameter(empty(num_embeddings, embedding_dim, device=device, dtype=dtype))
        init.normal_(self.weight)
        if padding_idx is not None:
            self.weight.array[padding_idx] = 0

    def forward(self, input: Tensor) -> Tensor:
        """整数 ``(...) → (..., D)``。"""
        return F.embedding(input, self.weight, self.padding_idx)

    def extra_repr(self) -> str:
        """打印形状。"""
        return f"{self.num_embeddings}, {self.embedding_dim}"


class Dropout(Module):
    """训练时以概率 ``p`` 置 0。

    Args:
        p: 概率。
        inplace: 是否就地。
    """

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        super().__init__()
        self.p, self.inplace = p, inplace

    def forward(self, input: Tensor) -> Tensor:
        """形状不变。"""
        return F.dropout(input, self.p, self.training, self.inplace)

    def extra_repr(self) -> str:
        """打印概率。"""
        return f"p={self.p}"


class Identity(Module):
    """原样返回。"""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()

    def forward(self, input: Tensor) -> Tensor:
        """原样返回。"""
        return input
