"""带参数的层：与 ``torch.nn`` 同名同义，初始化分布也相同。

流入：超参数；流出：Module。下一站：``tinygrad_llm/optim/``。
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tinygrad_llm.creation import empty, ones, zeros
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
        """打印形状。"""
        return f"{self.normalized_shape}, eps={self.eps}"


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
        """打印形状。"""
        return f"{self.normalized_shape}, eps={self.eps}"


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


class GELU(Module):
    """GELU 激活。

    Args:
        approximate: ``"none"`` 或 ``"tanh"``。
    """

    def __init__(self, approximate: str = "none") -> None:
        super().__init__()
        self.approximate = approximate

    def forward(self, input: Tensor) -> Tensor:
        """形状不变。"""
        return F.gelu(input, self.approximate)


class SiLU(Module):
    """SiLU 激活。"""

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace

    def forward(self, input: Tensor) -> Tensor:
        """形状不变。"""
        return F.silu(input, self.inplace)


class ReLU(Module):
    """ReLU 激活。"""

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace

    def forward(self, input: Tensor) -> Tensor:
        """形状不变。"""
        return F.relu(input, self.inplace)


class Tanh(Module):
    """双曲正切。"""

    def forward(self, input: Tensor) -> Tensor:
        """形状不变。"""
        return F.tanh(input)


class Sigmoid(Module):
    """``1/(1 + e⁻ˣ)``。"""

    def forward(self, input: Tensor) -> Tensor:
        """形状不变。"""
        return F.sigmoid(input)


class Softmax(Module):
    """沿 ``dim`` 归一化成概率。"""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, input: Tensor) -> Tensor:
        """形状不变。"""
        return F.softmax(input, self.dim)


class Identity(Module):
    """原样返回。"""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()

    def forward(self, input: Tensor) -> Tensor:
        """原样返回。"""
        return input


class CrossEntropyLoss(Module):
    """交叉熵损失，参数同 ``F.cross_entropy``。"""

    def __init__(
        self,
        weight: Tensor | None = None,
        *,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.ignore_index, self.reduction, self.label_smoothing = ignore_index, reduction, label_smoothing

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """``(N, C)``、``(N,)`` → 标量。"""
        return F.cross_entropy(
            input,
            target,
            self.weight,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
            label_smoothing=self.label_smoothing,
        )


class MSELoss(Module):
    """均方误差。"""

    def __init__(self, *, reduction: str = "mean") -> None:
        super().__init__()
        self.reduction = reduction

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """同形状 → 标量。"""
        return F.mse_loss(input, target, reduction=self.reduction)


class Sequential(Module):
    """依次执行若干模块。"""

    def __init__(self, *args: Any) -> None:
        super().__init__()
        named = args[0].items() if len(args) == 1 and isinstance(args[0], Mapping) else enumerate(args)
        for name, module in named:
            self.register_module(str(name), module)

    def forward(self, input: Any) -> Any:
        """依次执行。"""
        for module in self.children():
            input = module(input)
        return input

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[Module]:
        return self.children()

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return Sequential(dict(list(self._modules.items())[index]))
        return list(self.children())[index]

    def append(self, module: Module) -> Sequential:
        """在末尾加一个模块。"""
        self.register_module(str(len(self)), module)
        return self


class ModuleList(Module):
    """一列子模块。"""

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        super().__init__()
        self.extend(modules)

    def append(self, module: Module) -> ModuleList:
        """在末尾加一个。"""
        self.register_module(str(len(self)), module)
        return self

    def extend(self, modules: Iterable[Module]) -> ModuleList:
        """在末尾加若干个。"""
        for module in modules:
            self.append(module)
        return self

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[Module]:
        return self.children()

    def __getitem__(self, index: Any) -> Any:
        found = list(self.children())[index]
        return ModuleList(found) if isinstance(index, slice) else found

    def __setitem__(self, index: int, module: Module) -> None:
        self.register_module_at(index, module)

    def register_module_at(self, index: int, module: Module) -> None:
        """换掉第 ``index`` 个。"""
        self._modules[str(range(len(self))[index])] = module


class ModuleDict(Module):
    """一组有名字的子模块。"""

    def __init__(self, modules: Mapping[str, Module] | None = None) -> None:
        super().__init__()
        for name, module in (modules or {}).items():
            self.register_module(name, module)

    def __getitem__(self, name: str) -> Module:
        found = self._modules[name]
        assert found is not None
        return found

    def __setitem__(self, name: str, module: Module) -> None:
        self.register_module(name, module)

    def __contains__(self, name: str) -> bool:
        return name in self._modules

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def keys(self) -> Iterable[str]:
        """名字。"""
        return self._modules.keys()

    def values(self) -> Iterable[Module | None]:
        """子模块。"""
        return self._modules.values()

    def items(self) -> Iterable[tuple[str, Module | None]]:
        """名字与子模块。"""
        return self._modules.items()
