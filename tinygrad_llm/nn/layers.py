"""带权重的层与占位：与 ``torch.nn`` 同名同义，初始化也逐个数相同。

流入：超参数；流出：Module。激活、损失、容器等另有 ``*_layers.py``。下一站：``tinygrad_llm/optim/``。
"""

from __future__ import annotations

import math
from typing import Any

from tinygrad_llm.autograd import no_grad
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


class Bilinear(Module):
    """双线性层 ``yₖ = x₁ᵀ Wₖ x₂ + bₖ``。

    Args:
        in1_features: 第一个输入的宽度。
        in2_features: 第二个输入的宽度。
        out_features: 输出宽度。
        bias: 是否有偏置。
        device: 只能是 CPU。
        dtype: 参数类型。

    Attributes:
        weight: ``(out, in1, in2)``。
        bias: ``(out,)`` 或 ``None``。

    Raises:
        ValueError: ``in1_features`` 不是正数。
    """

    def __init__(
        self,
        in1_features: int,
        in2_features: int,
        out_features: int,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.in1_features, self.in2_features, self.out_features = in1_features, in2_features, out_features
        self.weight = Parameter(empty(out_features, in1_features, in2_features, device=device, dtype=dtype))
        if bias:
            self.bias = Parameter(empty(out_features, device=device, dtype=dtype))
        else:
            self.register_parameter("bias", None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """``U(-1/√in1, 1/√in1)``，与 torch 相同。"""
        if self.in1_features <= 0:
            raise ValueError(f"in1_features must be > 0, but got (in1_features={self.in1_features})")
        bound = 1 / math.sqrt(self.in1_features)
        init.uniform_(self.weight, -bound, bound)
        if self.bias is not None:
            init.uniform_(self.bias, -bound, bound)

    def forward(self, input1: Tensor, input2: Tensor) -> Tensor:
        """``(..., in1)``、``(..., in2) → (..., out)``。"""
        return F.bilinear(input1, input2, self.weight, self.bias)

    def extra_repr(self) -> str:
        """打印形状。"""
        return (
            f"in1_features={self.in1_features}, in2_features={self.in2_features}, "
            f"out_features={self.out_features}, bias={self.bias is not None}"
        )


class Embedding(Module):
    """查表层。

    Args:
        num_embeddings: 表长 V。
        embedding_dim: 宽度 D。
        padding_idx: 该行初值为 0 且不接收梯度；可以是负数。
        max_norm: 用到的行，范数超过它的先就地缩到它。
        norm_type: ``max_norm`` 用哪种 p-范数。
        scale_grad_by_freq: 每行的梯度除以它在这一批里出现的次数。
        sparse: 只能是 ``False``；这里的梯度都是稠密的。
        _weight: 现成的表，共享内存。
        _freeze: 表是否不训练。
        device: 只能是 CPU。
        dtype: 参数类型。

    Attributes:
        weight: ``(V, D)``。

    Raises:
        AssertionError: ``padding_idx`` 越界，或 ``_weight`` 的形状不符。
        NotImplementedError: 要稀疏的梯度。
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
        _weight: Tensor | None = None,
        _freeze: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        if sparse:
            raise NotImplementedError("Embedding: gradients are dense here; drop sparse=True")
        self.num_embeddings, self.embedding_dim = num_embeddings, embedding_dim
        if padding_idx is not None:
            if not -num_embeddings <= padding_idx < num_embeddings:
                raise AssertionError(f"Padding_idx must be within num_embeddings, got {padding_idx}")
            padding_idx %= num_embeddings
        self.padding_idx, self.max_norm, self.norm_type = padding_idx, max_norm, norm_type
        self.scale_grad_by_freq, self.sparse = scale_grad_by_freq, sparse
        if _weight is not None:
            if _weight.array.shape != (num_embeddings, embedding_dim):
                raise AssertionError(f"weight {_weight.array.shape} is not {(num_embeddings, embedding_dim)}")
            self.weight = Parameter(_weight, requires_grad=not _freeze)
            return
        table = empty(num_embeddings, embedding_dim, device=device, dtype=dtype)
        self.weight = Parameter(table, requires_grad=not _freeze)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """标准正态；``padding_idx`` 那一行为 0。"""
        init.normal_(self.weight)
        if self.padding_idx is not None:
            with no_grad():
                self.weight[self.padding_idx] = 0.0

    @classmethod
    def from_pretrained(
        cls,
        embeddings: Tensor,
        freeze: bool = True,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
    ) -> Embedding:
        """用现成的表 ``(V, D)``；``freeze`` 则不训练。

        Raises:
            AssertionError: 表不是二维。
        """
        if embeddings.ndim != 2:
            raise AssertionError(f"Embeddings parameter is expected to be 2-dimensional, got {embeddings.array.shape}")
        rows, width = embeddings.array.shape
        return cls(
            rows, width, padding_idx, max_norm, norm_type, scale_grad_by_freq, _weight=embeddings, _freeze=freeze
        )

    def forward(self, input: Tensor) -> Tensor:
        """整数 ``(...) → (..., D)``。"""
        return F.embedding(input, self.weight, self.padding_idx, self.max_norm, self.norm_type, self.scale_grad_by_freq)

    def extra_repr(self) -> str:
        """打印形状与不同于缺省的参数。"""
        usual = {"padding_idx": None, "max_norm": None, "norm_type": 2, "scale_grad_by_freq": False}
        given = [f"{name}={getattr(self, name)}" for name, value in usual.items() if getattr(self, name) != value]
        return ", ".join([str(self.num_embeddings), str(self.embedding_dim), *given])


class Identity(Module):
    """原样返回；参数一概不看。"""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()

    def forward(self, input: Tensor) -> Tensor:
        """原样返回。"""
        return input
