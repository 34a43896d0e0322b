"""激活函数：逐元素的非线性。沿一轴归一化的 softmax 一族在 ``softmaxes.py``。

流入：浮点 Tensor；流出：同形状的 Tensor。公式与导数在 ``ops/activation.py`` 与 ``ops/piecewise.py``。
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygrad_llm.autograd.graph import apply
from tinygrad_llm.methods.shaping import axis
from tinygrad_llm.ops import activation, piecewise
from tinygrad_llm.ops import gelu as gelus
from tinygrad_llm.ops.op import Op
from tinygrad_llm.random import default_generator
from tinygrad_llm.tensor import Tensor

_SELU = {"alpha": 1.6732632423543772848170429916717, "scale": 1.0507009873554804934193349852946}


def _activate(op: Op, inputs: tuple[Any, ...], inplace: bool = False, **attrs: Any) -> Tensor:
    """执行一个激活算子；就地时先拷一份原值，反向要用的是写入之前的数。"""
    x: Tensor = inputs[0]
    if x.array.dtype.kind != "f":
        raise RuntimeError(f"{op.name}: not implemented for {x.dtype}, expected a floating point tensor")
    if not inplace:
        return apply(op, inputs, attrs)  # type: ignore[no-any-return]
    return x.write(apply(op, (x.clone(), *inputs[1:]), attrs))  # type: ignore[no-any-return]


def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """``max(x, 0)``。"""
    y: Tensor = input.relu()
    return input.write(y) if inplace else y


def relu6(input: Tensor, inplace: bool = False) -> Tensor:
    """``min(max(x, 0), 6)``。"""
    return hardtanh(input, 0.0, 6.0, inplace)


def hardtanh(input: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Tensor:
    """截断到 ``[min_val, max_val]``；整数保持整数。

    Raises:
        ValueError: 下界大于上界。
        RuntimeError: 布尔输入。
    """
    if min_val > max_val:
        raise ValueError(f"hardtanh: min_val {min_val} cannot be greater than max_val {max_val}")
    if input.array.dtype.kind == "b":
        raise RuntimeError("Bool inputs not supported for hardtanh")
    number = float if input.array.dtype.kind == "f" else int
    source = input.clone() if inplace else input
    y: Tensor = apply(piecewise.hardtanh, (source,), {"lo": number(min_val), "hi": number(max_val)})
    return input.write(y) if inplace else y


def leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """负半轴的斜率为 ``negative_slope``。"""
    return _activate(piecewise.prelu, (input, float(negative_slope)), inplace)


def prelu(input: Tensor, weight: Tensor) -> Tensor:
    """负半轴的斜率 ``weight`` 可学习：一个数，或每个通道（第 1 轴）一个。

    Raises:
        RuntimeError: ``weight`` 多于一维，或个数既不是 1 也不是通道数。
    """
    if input.dtype is not weight.dtype:
        raise RuntimeError(f"prelu: input is {input.dtype}, weight is {weight.dtype}; they must have the same dtype")
    if weight.ndim > 1:
        raise RuntimeError(f"prelu: expected weight to be a scalar or 1D tensor, got shape {weight.array.shape}")
    if weight.numel() != 1:
        channels = 1 if input.ndim < 2 else input.array.shape[1]
        if input.ndim == 0 or weight.numel() != channels:
            raise RuntimeError(f"prelu: {weight.numel()} weights do not fit {channels} channels of {input.array.shape}")
    lead = 1 if input.ndim >= 2 else 0
    shape = [1] * lead + [-1] + [1] * (input.ndim - lead - 1) if input.ndim else []
    return _activate(piecewise.prelu, (input, weight.reshape(shape)))


def rrelu(
    input: Tensor, lower: float = 1.0 / 8, upper: float = 1.0 / 3, training: bool = False, inplace: bool = False
) -> Tensor:
    """负半轴的斜率：训练时每个元素在 ``[lower, upper)`` 里抽一个，评估时取中点。

    Raises:
        RuntimeError: 下界大于上界，或不是有限的数。
    """
    if not (math.isfinite(lower) and math.isfinite(upper) and lower <= upper):
        raise RuntimeError(f"rrelu: bounds must be finite, the lower at most the upper, got {lower} and {upper}")
    if not training:
        return leaky_relu(input, (lower + upper) / 2, inplace)
    x = np.ascontiguousarray(input.array).reshape(input.array.shape)
    below = x <= 0
    slope = np.ones_like(x)
    slope[below] = default_generator.uniform((int(below.sum()),), np.float64) * (upper - lower) + lower
    return _activate(piecewise.prelu, (input, slope), inplace)


def elu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """``x > 0 ? x : α(eˣ - 1)``。"""
    return _activate(activation.elu, (input,), inplace, alpha=float(alpha))


def selu(input: Tensor, inplace: bool = False) -> Tensor:
    """使均值与方差逐层保持不变的 ELU（Klambauer 等，2017）。"""
    return _activate(activation.elu, (input,), inplace, **_SELU)


def celu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """``x > 0 ? x : α(e^{x/α} - 1)``，在 0 处连续可导。

    Raises:
        RuntimeError: ``alpha`` 为 0。
    """
    if alpha == 0:
        raise RuntimeError("ZeroDivisionError: alpha cannot be 0 for CELU")
    return _activate(activation.elu, (input,), inplace, alpha=float(alpha), input_scale=1 / alpha)


def gelu(input: Tensor, approximate: str = "none") -> Tensor:
    """GELU；``approximate="tanh"`` 为 GPT-2 的近似。

    Raises:
        RuntimeError: 未知的近似名。
    """
    if approximate not in ("none", "tanh"):
        raise RuntimeError(f"approximate argument must be either none or tanh, got {approximate!r}")
    return _activate(gelus.gelu_tanh if approximate == "tanh" else gelus.gelu, (input,))


def silu(input: Tensor, inplace: bool = False) -> Tensor:
    """``x σ(x)``。"""
    return _activate(gelus.silu, (input,), inplace)


def mish(input: Tensor, inplace: bool = False) -> Tensor:
    """``x · tanh(softplus(x))``。"""
    return _activate(activation.mish, (input,), inplace)


def softplus(input: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """``ln(1 + e^{βx}) / β``；``βx`` 超过 ``threshold`` 时就取 ``x``。"""
    return _activate(activation.softplus, (input,), beta=beta, threshold=threshold)


def softsign(input: Tensor) -> Tensor:
    """``x / (1 + |x|)``。"""
    return input / (input.abs() + 1)  # type: ignore[no-any-return]


def tanhshrink(input: Tensor) -> Tensor:
    """``x - tanh x``。"""
    return input - input.tanh()  # type: ignore[no-any-return]


def softshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """``[-λ, λ]`` 之内置 0，之外向 0 挪 ``λ``。

    Raises:
        RuntimeError: ``lambd`` 为负。
    """
    if lambd < 0:
        raise RuntimeError(f"lambda must be greater or equal to 0, but found to be {lambd}")
    return _activate(piecewise.softshrink, (input,), lambd=lambd)


def hardshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """``[-λ, λ]`` 之内置 0，之外不变。"""
    return _activate(piecewise.hardshrink, (input,), lambd=lambd)


def hardsigmoid(input: Tensor, inplace: bool = False) -> Tensor:
    """``min(max(x + 3, 0), 6) / 6``。"""
    return _activate(piecewise.hardsigmoid, (input,), inplace)


def hardswish(input: Tensor, inplace: bool = False) -> Tensor:
    """``x · hardsigmoid(x)``。"""
    return _activate(piecewise.hardswish, (input,), inplace)


def threshold(input: Tensor, threshold: float, value: float, inplace: bool = False) -> Tensor:
    """不大于 ``threshold`` 的换成 ``value``；整数保持整数。

    Raises:
        RuntimeError: 布尔输入。
    """
    if input.array.dtype.kind == "b":
        raise RuntimeError("threshold: not implemented for bool")
    y: Tensor = apply(
        piecewise.threshold, (input.clone() if inplace else input,), {"threshold": threshold, "value": value}
    )
    return input.write(y) if inplace else y


_threshold = threshold  # 参数 ``threshold`` 会遮住同名的函数


def glu(input: Tensor, dim: int = -1) -> Tensor:
    """沿 ``dim`` 对半分，``a · σ(b)``。

    Raises:
        RuntimeError: 零维，那一轴的长度是奇数，或不是浮点。
    """
    if input.ndim == 0:
        raise RuntimeError("glu does not support scalars because halving size must be even")
    d = axis(dim, input.ndim)
    size = input.array.shape[d]
    if size % 2 or input.array.dtype.kind != "f":
        raise RuntimeError(f"glu: dimension {dim} of size {size} must be even and {input.dtype} floating point")
    return input.narrow(d, 0, size // 2) * input.narrow(d, size // 2, size // 2).sigmoid()  # type: ignore[no-any-return]


def logsigmoid(input: Tensor) -> Tensor:
    """``ln σ(x)``，不上溢。"""
    return _activate(activation.logsigmoid, (input,))


def tanh(input: Tensor) -> Tensor:
    """双曲正切。"""
    return input.tanh()  # type: ignore[no-any-return]


def sigmoid(input: Tensor) -> Tensor:
    """``1/(1 + e⁻ˣ)``。"""
    return input.sigmoid()  # type: ignore[no-any-return]


def relu_(input: Tensor) -> Tensor:
    """就地的 ``relu``。"""
    return relu(input, inplace=True)


def hardtanh_(input: Tensor, min_val: float = -1.0, max_val: float = 1.0) -> Tensor:
    """就地的 ``hardtanh``。"""
    return hardtanh(input, min_val, max_val, inplace=True)


def leaky_relu_(input: Tensor, negative_slope: float = 0.01) -> Tensor:
    """就地的 ``leaky_relu``。"""
    return leaky_relu(input, negative_slope, inplace=True)


def rrelu_(input: Tensor, lower: float = 1.0 / 8, upper: float = 1.0 / 3, training: bool = False) -> Tensor:
    """就地的 ``rrelu``。"""
    return rrelu(input, lower, upper, training, inplace=True)


def elu_(input: Tensor, alpha: float = 1.0) -> Tensor:
    """就地的 ``elu``。"""
    return elu(input, alpha, inplace=True)


def selu_(input: Tensor) -> Tensor:
    """就地的 ``selu``。"""
    return selu(input, inplace=True)


def celu_(input: Tensor, alpha: float = 1.0) -> Tensor:
    """就地的 ``celu``。"""
    return celu(input, alpha, inplace=True)


def threshold_(input: Tensor, threshold: float, value: float) -> Tensor:
    """就地的 ``threshold``。"""
    return _threshold(input, threshold, value, inplace=True)
