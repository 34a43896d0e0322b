"""光滑的激活函数的层：每个类只记住参数，计算在 ``activations.py``。

流入：超参数；流出：Module。折线的在 ``piecewise_layers.py``，softmax 一族在 ``softmax_layers.py``。
"""

from __future__ import annotations

from tinygrad_llm.nn import functional as F
from tinygrad_llm.nn.module import Module
from tinygrad_llm.tensor import Tensor


class InPlace(Module):
    """除了「是否就地」之外没有参数的激活。"""

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace

    def extra_repr(self) -> str:
        """打印是否就地。"""
        return "inplace=True" if self.inplace else ""


def inplace_tail(inplace: bool) -> str:
    """打印参数时接在末尾的一段。"""
    return ", inplace=True" if inplace else ""


class SiLU(InPlace):
    """``x σ(x)``。"""

    def forward(self, input: Tensor) -> Tensor:
        """形状不变。"""
        return F.silu(input, self.inplace)


class Mish(InPlace):
    """``x · tanh(softplus(x))``。"""

    def forward(self, input: Tensor) -> Tensor:
        """形状不变。"""
        return F.mish(input, self.inplace)


class SELU(InPlace):
    """使均值与方差逐层保持不变的 ELU。"""

    def forward(self, input: Tensor) -> Tensor:
        """形状不变。"""
        return F.selu(input, self.inplace)


class Sigmoid(Module):
    """``1/(1 + e⁻ˣ)``。"""

    def forward(self, input: Tensor) -> Tensor:
        """形状不变。"""
        return F.sigmoid(input)


class Tanh(Module):
    """双曲正切。"""

    def forward(self, input: Tensor) -> Tensor:
        """形状不变。"""
        return F.tanh(input)


class LogSigmoid(Module):
    """``ln σ(x)``。"""

    def forward(self, input: Tensor) -> Tensor:
        """形状不变。"""
        return F.logsigmoid(input)


class Softsign(Module):
    """``x / (1 + |x|)``。"""

    def forward(self, input: Tensor) -> Tensor:
        """形状不变。"""
        return F.softsign(input)


class Tanhshrink(Module):
    """``x - tanh x``。"""

    def forward(self, input: Tensor) -> Tensor:
        """形状不变。"""
        return F.tanhshrink(input)


class ELU(Module):
    """``x > 0 ? x : α(eˣ - 1)``。

    Args:
        alpha: 负无穷处的极限是 ``-alpha``。
        inplace: 是否就地。
    """

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        super().__init__()
        self.alpha, self.inplace = alpha, inplace

    def forward(self, input: Tensor) -> Tensor:
        """形状不变。"""
        return F.elu(input, self.alpha, self.inplace)

    def extra_repr(self) -> str:
        """打印参数。"""
        return f"alpha={self.alpha}{inplace_tail(self.inplace)}"


class CELU(Module):
    """``x > 0 ? x : α(e^{x/α} - 1)``。

    Args:
        alpha: 负无穷处的极限是 ``-alpha``。
        inplace: 是否就地。
    """

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        super().__init__()
        self.alpha, self.inplace = alpha, inplace

    def forward(self, input: Tensor) -> Tensor:
        """形状不变。"""
        return F.celu(input, self.alpha, self.inplace)

    def extra_repr(self) -> str:
        """打印参数。"""
        return f"alpha={self.alpha}{inplace_tail(self.inplace)}"


class GELU(Module):
    """``x Φ(x)``。

    Args:
        approximate: ``"none"`` 或 ``"tanh"``。
    """

    def __init__(self, approximate: str = "none") -> None:
        super().__init__()
        self.approximate = approximate

    def forward(self, input: Tensor) -> Tensor:
        """形状不变。"""
        return F.gelu(input, self.approximate)

    def extra_repr(self) -> str:
        """打印参数。"""
        return f"approximate={self.approximate!r}"


class GLU(Module):
    """沿一轴对半分，``a · σ(b)``。

    Args:
        dim: 对半分的轴。
    """

    def __init__(self, dim: int = -1) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, input: Tensor) -> Tensor:
        """``dim`` 的长度减半。"""
        return F.glu(input, self.dim)

    def extra_repr(self) -> str:
        """打印参数。"""
        return f"dim={self.dim}"


class Softplus(Module):
    """光滑的 ReLU ``ln(1 + e^{βx}) / β``。

    Args:
        beta: 越大越像 ReLU。
        threshold: ``βx`` 超过它就取 ``x``。
    """

    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        super().__init__()
        self.beta, self.threshold = beta, threshold

    def forward(self, input: Tensor) -> Tensor:
        """形状不变。"""
        return F.softplus(input, self.beta, self.threshold)

    def extra_repr(self) -> str:
        """打印参数。"""
        return f"beta={self.beta}, threshold={self.threshold}"
