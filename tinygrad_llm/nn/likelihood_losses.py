"""似然的损失：二元交叉熵、KL 散度、高斯与泊松的负对数似然。

流入：分布的参数与观测；流出：损失。
"""

from __future__ import annotations

import math
import warnings

from tinygrad_llm.autograd import no_grad
from tinygrad_llm.autograd.graph import apply
from tinygrad_llm.autograd.precision import full_precision
from tinygrad_llm.creation import full_like
from tinygrad_llm.methods.arithmetic import ordered
from tinygrad_llm.nn.activations import logsigmoid
from tinygrad_llm.nn.losses import need_float, reduced
from tinygrad_llm.ops import loss as loss_ops
from tinygrad_llm.tensor import Tensor


def _need_same_size(name: str, input: Tensor, target: Tensor) -> None:
    if target.array.shape != input.array.shape:
        raise ValueError(f"{name}: target {target.array.shape} must be the same size as input {input.array.shape}")


@full_precision
def binary_cross_entropy(
    input: Tensor, target: Tensor, weight: Tensor | None = None, *, reduction: str = "mean"
) -> Tensor:
    """``-(t ln p + (1 - t) ln(1 - p))``，对数截断在 -100。

    Args:
        input: 概率，在 ``[0, 1]`` 内。
        target: 同形状，通常是 0 或 1。
        weight: 可广播成同形状的权重。
        reduction: ``"mean"``、``"sum"`` 或 ``"none"``。

    Returns:
        标量；``"none"`` 时与 ``input`` 同形状。

    Raises:
        ValueError: 形状不同，或未知的 ``reduction``。
        RuntimeError: 概率或目标超出 ``[0, 1]``，或 dtype 不同。
    """
    _need_same_size("binary_cross_entropy", input, target)
    if input.dtype is not target.dtype or input.array.dtype.kind != "f":
        raise RuntimeError(f"binary_cross_entropy: found dtype {target.dtype} but expected {input.dtype}")
    for name, given in (("input", input.array), ("target", target.array)):
        if not ((given >= 0) & (given <= 1)).all():
            raise RuntimeError(f"binary_cross_entropy: all elements of {name} should be between 0 and 1")
    value: Tensor = apply(loss_ops.binary_cross_entropy, (input, target), {})
    return reduced(value if weight is None else value * weight.to(value.dtype), reduction)


@full_precision
def binary_cross_entropy_with_logits(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    *,
    reduction: str = "mean",
    pos_weight: Tensor | None = None,
) -> Tensor:
    """logits 上的二元交叉熵：``(1 - t) x - ln σ(x)``，不上溢。

    Args:
        input: logits。
        target: 同形状，通常是 0 或 1。
        weight: 可广播成同形状的权重。
        reduction: ``"mean"``、``"sum"`` 或 ``"none"``。
        pos_weight: 正例的权重，可广播。

    Returns:
        标量；``"none"`` 时与 ``input`` 同形状。

    Raises:
        ValueError: 形状不同，或未知的 ``reduction``。
        RuntimeError: 不是浮点。
    """
    _need_same_size("binary_cross_entropy_with_logits", input, target)
    need_float("binary_cross_entropy_with_logits", target)
    log_p = logsigmoid(input)
    if pos_weight is not None:
        log_p = log_p * ((pos_weight - 1) * target + 1)
    value = (1 - target) * input - log_p
    return reduced(value if weight is None else value * weight, reduction)


@full_precision
def soft_margin_loss(input: Tensor, target: Tensor, *, reduction: str = "mean") -> Tensor:
    """``ln(1 + e^{-t x})``，目标是 ±1。

    Raises:
        ValueError: 未知的 ``reduction``。
    """
    return reduced((-target.to(input.dtype) * input).exp().log1p(), reduction)


@full_precision
def kl_div(input: Tensor, target: Tensor, *, reduction: str = "mean", log_target: bool = False) -> Tensor:
    """``t (ln t - x)``：KL 散度逐点的项。

    Args:
        input: 对数概率。
        target: 概率；``log_target`` 时也是对数概率。
        reduction: ``"mean"``、``"batchmean"``、``"sum"`` 或 ``"none"``；数学上的 KL 散度是 ``"batchmean"``。
        log_target: ``target`` 是否已取对数。

    Returns:
        标量；``"none"`` 时与 ``input`` 同形状。

    Raises:
        ValueError: 未知的 ``reduction``。
        RuntimeError: 不是浮点。
    """
    need_float("kl_div", input)
    need_float("kl_div", target)
    if reduction == "mean":
        warnings.warn(
            "kl_div: reduction 'mean' divides the total loss by both the batch size and the support size. "
            "'batchmean' divides only by the batch size, and aligns with the KL div math definition.",
            stacklevel=2,
        )
    if log_target:
        value = target.exp() * (target - input)
    else:
        value = ordered(_x_log_x(target) - target * input, target, input)
    if reduction != "batchmean":
        return reduced(value, reduction)
    total = value.sum()
    return total / input.array.shape[0] if input.ndim else total  # type: ignore[no-any-return]


def _x_log_x(x: Tensor) -> Tensor:
    """``x ln x``，在 0 处取 0。"""
    zero = x == 0
    return (x * x.masked_fill(zero, 1.0).log()).masked_fill(zero, 0.0)  # type: ignore[no-any-return]


@full_precision
def poisson_nll_loss(
    input: Tensor,
    target: Tensor,
    log_input: bool = True,
    full: bool = False,
    *,
    eps: float = 1e-8,
    reduction: str = "mean",
) -> Tensor:
    """泊松分布的负对数似然。

    Args:
        input: 速率的对数；``log_input=False`` 时是速率。
        target: 计数。
        log_input: ``input`` 是否已取对数。
        full: 是否加上 ``ln t!`` 的 Stirling 近似。
        eps: ``log_input=False`` 时加在速率上，避开 ``ln 0``。
        reduction: ``"mean"``、``"sum"`` 或 ``"none"``。

    Returns:
        标量；``"none"`` 时与 ``input`` 同形状。

    Raises:
        ValueError: 未知的 ``reduction``。
    """
    value = input.exp() - target * input if log_input else input - target * (input + eps).log()
    if full:
        stirling = target * target.log() - target + 0.5 * (2 * math.pi * target).log()
        value = value + stirling.masked_fill(target <= 1, 0.0)
    return reduced(value, reduction)


def gaussian_nll_loss(
    input: Tensor,
    target: Tensor,
    var: Tensor | float,
    full: bool = False,
    eps: float = 1e-6,
    reduction: str = "mean",
) -> Tensor:
    """高斯分布的负对数似然 ``(ln σ² + (x - t)²/σ²)/2``。

    Args:
        input: 均值。
        target: 观测。
        var: 方差：同形状，或少最后一轴，或有一轴为 1；也可以是一个数。
        full: 是否加上 ``ln(2π)/2``。
        eps: 方差的下限；截断不改变方差的梯度。
        reduction: ``"mean"``、``"sum"`` 或 ``"none"``。

    Returns:
        标量；``"none"`` 时与 ``input`` 同形状。

    Raises:
        ValueError: 方差为负、形状不合，或未知的 ``reduction``。
    """
    spread = var if isinstance(var, Tensor) else full_like(input, var)
    if (spread.array < 0).any():
        raise ValueError("gaussian_nll_loss: var has negative entry/entries")
    wanted, found = input.array.shape, spread.array.shape
    if found != wanted:
        differing = [b for a, b in zip(wanted, found, strict=False) if a != b]
        if wanted[:-1] == found:
            spread = spread.unsqueeze(-1)
        elif len(wanted) != len(found) or sum(differing) != 1:
            raise ValueError(f"gaussian_nll_loss: var {found} is of incorrect size for input {wanted}")
    spread = spread.clone()
    with no_grad():
        spread.clamp_(min=eps)
    value = 0.5 * (spread.log() + (input - target) ** 2 / spread)
    return reduced(value + 0.5 * math.log(2 * math.pi) if full else value, reduction)
