"""分段的激活函数的层：每个类只记住参数，计算在 ``activations.py``。

流入：超参数；流出：Module。
"""

from __future__ import annotations

from typing import Any

from tinygrad_llm.creation import empty
from tinygrad_llm.nn import functional as F
from tinygrad_llm.nn import init
from tinygrad_llm.nn.activation_layers import InPlace, inplace_tail
from tinygrad_llm.nn.module import Module, Parameter
from tinygrad_llm.tensor import Tensor


class ReLU(InPlace):
    """``max(x, 0)``。"""

    def forward(self, input: Tensor) -> Tensor:
        """形状不变。"""
        return F.relu(input, self.inplace)


class LeakyReLU(Module):
    """负半轴的斜率不为 0 的 ReLU。

    Args:
        negative_slope: 负半轴的斜率。
        inplace: 是否就地。
    """

    def __init__(self, negative_slope: float = 0.01, inplace: bool = False) -> None:
        super().__init__()
        self.negative_slope, self.inplace = negative_slope, inplace

    def forward(self, input: Tensor) -> Tensor:
        """形状不变。"""
        return F.leaky_relu(input, self.negative_slope, self.inplace)

    def extra_repr(self) -> str:
        """打印参数。"""
        return f"negative_slope={self.negative_slope}{inplace_tail(self.inplace)}"


class RReLU(Module):
    """负半轴的斜率：训练时随机，评估时取中点。

    Args:
        lower: 斜率的下界。
        upper: 斜率的上界。
        inplace: 是否就地。
    """

    def __init__(self, lower: float = 1.0 / 8, upper: float = 1.0 / 3, inplace: bool = False) -> None:
        super().__init__()
        self.lower, self.upper, self.inplace = lower, upper, inplace

    def forward(self, input: Tensor) -> Tensor:
        """形状不变。"""
        return F.rrelu(input, self.lower, self.upper, self.training, self.inplace)

    def extra_repr(self) -> str:
        """打印参数。"""
        return f"lower={self.lower}, upper={self.upper}{inplace_tail(self.inplace)}"


class PReLU(Module):
    """负半轴的斜率可学习的 ReLU。

    Args:
        num_parameters: 斜率的个数：1，或通道数。
        init: 斜率的初值。
        device: 只能是 CPU。
        dtype: 参数类型。

    Attributes:
        weight: ``(num_parameters,)``。
    """

    def __init__(self, num_parameters: int = 1, init: float = 0.25, device: Any = None, dtype: Any = None) -> None:
        super().__init__()
        self.num_parameters, self.init = num_parameters, init
        self.weight = Parameter(empty(num_parameters, device=device, dtype=dtype))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """全部斜率取 ``init``。"""
        init.constant_(self.weight, self.init)

    def forward(self, input: Tensor) -> Tensor:
        """形状不变。"""
        return F.prelu(input, self.weight)

    def extra_repr(self) -> str:
        """打印个数。"""
        return f"num_parameters={self.num_parameters}"


class Threshold(Module):
    """不大于 ``threshold`` 的换成 ``value``。

    Args:
        threshold: 门槛。
        value: 换成的常数。
        inplace: 是否就地。
    """

    def __init__(self, threshold: float, value: float, inplace: bool = False) -> None:
        super().__init__()
        self.threshold, self.value, self.inplace = threshold, value, inplace

    def forward(self, input: Tensor) -> Tensor:
        """形状不变。"""
        return F.threshold(input, self.threshold, self.value, self.inplace)

    def extra_repr(self) -> str:
        """打印参数。"""
        return f"threshold={self.threshold}, value={self.value}{inplace_tail(self.inplace)}"


class Hardtanh(Module):
    """截断到 ``[min_val, max_val]``。

    Args:
        min_val: 下界。
        max_val: 上界。
        inplace: 是否就地。

    Raises:
        AssertionError: 下界不小于上界。
    """

    def __init__(self, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> None:
        super().__init__()
        self.min_val, self.max_val, self.inplace = min_val, max_val, inplace
        if max_val <= min_val:
            raise AssertionError(f"max_val ({max_val}) must be greater than min_val ({min_val})")

    def forward(self, input: Tensor) -> Tensor:
        """形状不变。"""
        return F.hardtanh(input, self.min_val, self.max_val, self.inplace)

    def extra_repr(self) -> str:
        """打印参数。"""
        return f"min_val={self.min_val}, max_val={self.max_val}{inplace_tail(self.inplace)}"


class ReLU6(Hardtanh):
    """``min(max(x, 0), 6)``。

    Args:
        inplace: 是否就地。
    """

    def __init__(self, inplace: bool = False) -> None:
        super().__init__(0.0, 6.0, inplace)

    def extra_repr(self) -> str:
        """打印是否就地。"""
        return "inplace=True" if self.inplace else ""


class Hardsigmoid(InPlace):
    """sigmoid 的折线近似。"""

    def forward(self, input: Tensor) -> Tensor:
        """形状不变。"""
        return F.hardsigmoid(input, self.inplace)

    def extra_repr(self) -> str:
        """torch 不打印它的参数。"""
        return ""


class Hardswish(InPlace):
    """SiLU 的折线近似。"""

    def forward(self, input: Tensor) -> Tensor:
        """形状不变。"""
        return F.hardswish(input, self.inplace)

    def extra_repr(self) -> str:
        """torch 不打印它的参数。"""
        return ""


class Hardshrink(Module):
    """``[-λ, λ]`` 之内置 0，之外不变。

    Args:
        lambd: ``λ``。
    """

    def __init__(self, lambd: float = 0.5) -> None:
        super().__init__()
        self.lambd = lambd

    def forward(self, input: Tensor) -> Tensor:
        """形状不变。"""
        return F.hardshrink(input, self.lambd)

    def extra_repr(self) -> str:
        """打印参数。"""
        return str(self.lambd)


class Softshrink(Module):
    """``[-λ, λ]`` 之内置 0，之外向 0 挪 ``λ``。

    Args:
        lambd: ``λ``。
    """

    def __init__(self, lambd: float = 0.5) -> None:
        super().__init__()
        self.lambd = lambd

    def forward(self, input: Tensor) -> Tensor:
        """形状不变。"""
        return F.softshrink(input, self.lambd)

    def extra_repr(self) -> str:
        """打印参数。"""
        return str(self.lambd)
