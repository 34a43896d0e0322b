"""AdamW 与 Adam：从公式写起。

流入：梯度；流出：更新后的参数。下一站：``sgd.py``。

Loshchilov 与 Hutter（2019）算法 2，第 t 步：

    θ ← θ - lr·λ·θ                       解耦的权重衰减：不经过矩估计
    m ← β₁ m + (1 - β₁) g                 一阶矩：梯度的滑动平均
    v ← β₂ v + (1 - β₂) g²                二阶矩：梯度平方的滑动平均
    m̂ = m/(1 - β₁ᵗ)，v̂ = v/(1 - β₂ᵗ)       矩从 0 起步，开头偏小，除以累计权重纠偏
    θ ← θ - lr · m̂/(√v̂ + ε)
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from tinygrad_llm.ops.cores import split
from tinygrad_llm.ops.op import Array
from tinygrad_llm.optim.arrays import (
    advance,
    blocks,
    require,
    require_betas,
    require_one_kind,
    require_rate,
    scalar,
    start,
    zeros_like,
)
from tinygrad_llm.optim.optimizer import Optimizer
from tinygrad_llm.tensor import Tensor


def adamw_update(
    x: Array,
    g: Array,
    m: Array,
    v: Array,
    top: Array | None = None,
    *,
    t: float,
    lr: float,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
    scale: float = 1.0,
) -> None:
    """一段参数的一步更新，就地；一段装得进缓存，十来步逐元素运算就只读写一遍内存。

    分母的两处纠偏挪到步长与 ε 上：``m̂/(√v̂ + ε) = √c₂/c₁ · m/(√v + √c₂ ε)``，``cᵢ = 1 - βᵢᵗ``，少除一遍。

    Args:
        x: 参数 θ。
        g: 梯度。
        m: 一阶矩。
        v: 二阶矩。
        top: 二阶矩至今的最大值（AMSGrad），可以没有。
        t: 第几步，从 1 起。
        lr: 学习率。
        betas: 两个矩的衰减率。
        eps: ε。
        weight_decay: 解耦的衰减系数 λ。
        scale: 梯度先乘上它（裁剪）。
    """
    (beta1, beta2), root = betas, math.sqrt(1 - betas[1] ** t)
    if scale != 1:
        g = g * scale
    if weight_decay:
        x *= 1 - lr * weight_decay
    work = g - m
    work *= 1 - beta1
    m += work
    np.multiply(g, g, out=work)
    work *= 1 - beta2
    v *= beta2
    v += work
    if top is not None:
        v = np.maximum(top, v, out=top)
    np.sqrt(v, out=work)
    work += eps * root
    np.divide(m, work, out=work)
    work *= lr * root / (1 - beta1**t)
    x -= work


class Adam(Optimizer):
    """Adam：权重衰减加在梯度上（L2 正则），缺省不衰减。

    Args:
        params: 参数或参数组。
        lr: 学习率。
        betas: 两个矩的衰减率 ``(β₁, β₂)``。
        eps: 分母里的小数 ε。
        weight_decay: 衰减系数 λ。
        amsgrad: 分母用二阶矩至今的最大值。
        foreach: 与 torch 同名；这里只有一种实现。
        maximize: 是否求最大。
        capturable: 与 torch 同名；为真时不能 ``step``。
        differentiable: 与 torch 同名；为真时不能 ``step``。
        fused: 与 torch 同名；这里总是分块融合的。
        decoupled_weight_decay: 权重衰减不经过矩估计，就是 AdamW。

    Raises:
        ValueError: 超参数不合法。
        RuntimeError: 几种执行方式互相矛盾。
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1e-3,
        betas: tuple[float | Tensor, float | Tensor] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        amsgrad: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        decoupled_weight_decay: bool = False,
    ) -> None:
        if foreach and not capturable and any(isinstance(value, Tensor) for value in (lr, *betas)):
            raise ValueError("lr or betas as a Tensor is not supported for capturable=False and foreach=True")
        require_rate(lr)
        require(eps >= 0, "epsilon value", eps)
        if any(beta.numel() != 1 for beta in betas if isinstance(beta, Tensor)):
            raise ValueError("Tensor betas must be 1-element")
        require_betas(betas)
        require(weight_decay >= 0, "weight_decay value", weight_decay)
        if {isinstance(beta, float) for beta in betas} != {True} and not all(isinstance(b, Tensor) for b in betas):
            raise ValueError("betas must be either both floats or both Tensors")
        defaults = {
            "lr": lr, "betas": tuple(betas), "eps": eps, "weight_decay": weight_decay,
            "amsgrad": amsgrad, "maximize": maximize, "foreach": foreach, "capturable": capturable,
            "differentiable": differentiable, "fused": fused, "decoupled_weight_decay": decoupled_weight_decay,
        }  # fmt: skip
        super().__init__(params, defaults)
        require_one_kind(fused, foreach, differentiable)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:  # 较早的存档里没有这两项
            group.setdefault("amsgrad", False)
            group.setdefault("decoupled_weight_decay", isinstance(self, AdamW))

    def update(self, theta: Array, grad: Array, state: dict[str, Any], group: dict[str, Any]) -> None:
        """一个参数的一步更新。"""
        start(state, theta, "exp_avg", "exp_avg_sq")
        tops = _tops(state, theta) if group["amsgrad"] else ()
        t, lr, decay, eps = advance(state), scalar(group["lr"]), group["weight_decay"], group["eps"]
        beta1, beta2 = map(scalar, group["betas"])
        decoupled = group["decoupled_weight_decay"]
        shrink = decay if decoupled else 0.0
        flats = [a.reshape(-1) for a in (theta, grad, state["exp_avg"].array, state["exp_avg_sq"].array, *tops)]

        def part(first: int, last: int) -> None:
            for x, g, m, v, *top in blocks(*[flat[first:last] for flat in flats]):
                if decay and not decoupled:
                    g = g + x * decay
                adamw_update(x, g, m, v, *top, t=t, lr=lr, betas=(beta1, beta2), eps=eps, weight_decay=shrink)

        split(part, theta.size, 8 * theta.size)


class AdamW(Adam):
    """AdamW：解耦的权重衰减。

    Args:
        params: 参数或参数组。
        lr: 学习率。
        betas: 两个矩的衰减率 ``(β₁, β₂)``。
        eps: 分母里的小数 ε。
        weight_decay: 衰减系数 λ。
        amsgrad: 分母用二阶矩至今的最大值。
        maximize: 是否求最大。
        foreach: 与 torch 同名；这里只有一种实现。
        capturable: 与 torch 同名；为真时不能 ``step``。
        differentiable: 与 torch 同名；为真时不能 ``step``。
        fused: 与 torch 同名；这里总是分块融合的。
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1e-3,
        betas: tuple[float | Tensor, float | Tensor] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        super().__init__(
            params, lr, betas, eps, weight_decay, amsgrad, foreach=foreach, maximize=maximize, capturable=capturable,
            differentiable=differentiable, fused=fused, decoupled_weight_decay=True,
        )  # fmt: skip


def _tops(state: dict[str, Any], theta: Array) -> tuple[Array]:
    """二阶矩至今的最大值。"""
    if "max_exp_avg_sq" not in state:
        state["max_exp_avg_sq"] = zeros_like(theta)
    return (state["max_exp_avg_sq"].array,)
