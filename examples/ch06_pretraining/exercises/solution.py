"""练习的参考答案：与 ``exercise.py`` 函数相同、已经补完，得满分。

流入与流出见各函数。请先自己做，再来对照。
判分：``python examples/ch06_pretraining/exercises/grade.py examples/ch06_pretraining/exercises/solution.py``。
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tinygrad_llm.ops.op import Array


def nats_to_bits_per_byte(nats_per_token: float, tokens: int, text: str) -> float:
    """练习 1（10 分）：把每个 token 的平均损失换算成每字节比特数。

    Args:
        nats_per_token: 平均每个 token 的交叉熵，纳特（自然对数）。
        tokens: 预测了多少个 token。
        text: 这些 token 合起来的文字；字节数按 UTF-8 计。

    Returns:
        每字节比特数。
    """
    return nats_per_token * tokens / math.log(2) / len(text.encode("utf-8"))


def warmup_cosine(step: int, peak: float, minimum: float, warmup_steps: int, total_steps: int) -> float:
    """练习 2（15 分）：线性预热加余弦，首步大于 0，第 W - 1 步恰为峰值，最后一步恰为最小值。

    Args:
        step: 步号，从 0 到 ``total_steps - 1``。
        peak: 峰值。
        minimum: 最小值。
        warmup_steps: 预热的步数 W，至少为 1，小于 ``total_steps``。
        total_steps: 总步数。

    Returns:
        这一步的学习率。
    """
    if step < warmup_steps:
        return peak * ((step + 1) / warmup_steps)
    progress = (step - (warmup_steps - 1)) / (total_steps - 1 - (warmup_steps - 1))
    return minimum + (peak - minimum) * (1 + math.cos(math.pi * progress)) / 2


def clip_by_global_norm(grads: Sequence[Array], max_norm: float) -> tuple[list[Array], float]:
    """练习 3（15 分）：全局范数裁剪。

    Args:
        grads: 各个参数的梯度，形状不一；不要改动它们。
        max_norm: 全局范数的上限。

    Returns:
        裁剪后的梯度，以及裁剪**前**的全局范数。范数不超过上限时梯度原样返回。
    """
    norm = math.sqrt(sum(float((g * g).sum()) for g in grads))
    scale = min(1.0, max_norm / norm) if norm > 0 else 1.0
    return [g * scale for g in grads], norm


def accumulate(losses: Sequence[Array], grads: Sequence[Array], masks: Sequence[Array]) -> tuple[float, Array]:
    """练习 4（20 分）：把几个微批累积成一个批次，结果与不切微批时相同。

    Args:
        losses: 各微批里每个 token 的损失，形状 ``(n_k,)``；被掩住的位置是任意数。
        grads: 各微批里每个 token 的损失对参数的梯度，形状 ``(n_k, P)``；被掩住的位置是任意数。
        masks: 各微批里哪些 token 有效，布尔，形状 ``(n_k,)``。

    Returns:
        全部有效 token 的平均损失，以及它对参数的梯度 ``(P,)``；一个有效 token 也没有时都是 0。
    """
    valid = max(1, sum(int(mask.sum()) for mask in masks))
    loss = sum(float(one[mask].sum()) for one, mask in zip(losses, masks, strict=True)) / valid
    gradient: Array = np.zeros(grads[0].shape[1])
    for one, mask in zip(grads, masks, strict=True):
        gradient += one[mask].sum(axis=0) / valid
    return loss, gradient


def gpt2_parameter_count(vocab_size: int, context: int, n_layer: int, n_embd: int) -> int:
    """练习 5（20 分）：GPT-2 的参数个数，不准查库，自己数。

    位置是可学习的表；每层两个 LayerNorm（缩放与偏置）、一个 ``C → 3C`` 的 q、k、v 投影、一个 ``C → C`` 的输出投影、
    一个 ``C → 4C → C`` 的 MLP，线性层都带偏置；末尾一个 LayerNorm。输出层与词嵌入共用权重。

    Args:
        vocab_size: 词表大小 V。
        context: 上下文长度。
        n_layer: 层数 L。
        n_embd: 宽度 C。

    Returns:
        参数个数。
    """
    norm = 2 * n_embd
    attention = n_embd * 3 * n_embd + 3 * n_embd + n_embd * n_embd + n_embd
    mlp = n_embd * 4 * n_embd + 4 * n_embd + 4 * n_embd * n_embd + n_embd
    return (vocab_size + context) * n_embd + n_layer * (2 * norm + attention + mlp) + norm


def train_weights(
    weights: dict[str, Array],
    grads: Sequence[dict[str, Array]],
    rates: Sequence[float],
    *,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
    max_norm: float,
) -> dict[str, Array]:
    """练习 6（20 分）：从头写出训练循环里的更新：先裁剪，再 AdamW，连走几步。

    权重衰减是解耦的，只作用于矩阵（``ndim >= 2``）。裁剪可以调用练习 3。

    Args:
        weights: 参数名到初值；不要改动它们。
        grads: 每一步的梯度，参数名到数组；不要改动它们。
        rates: 每一步的学习率，与 ``grads`` 等长。
        betas: 两个矩的衰减率。
        eps: 分母里的小数，在根号之外。
        weight_decay: 衰减系数。
        max_norm: 梯度全局范数的上限。

    Returns:
        全部走完之后的参数。
    """
    beta1, beta2 = betas
    theta = {name: value.copy() for name, value in weights.items()}
    m = {name: np.zeros_like(value) for name, value in weights.items()}
    v = {name: np.zeros_like(value) for name, value in weights.items()}
    for t, (grad, lr) in enumerate(zip(grads, rates, strict=True), 1):
        clipped, _ = clip_by_global_norm([grad[name] for name in theta], max_norm)
        for name, g in zip(theta, clipped, strict=True):
            m[name] = beta1 * m[name] + (1 - beta1) * g
            v[name] = beta2 * v[name] + (1 - beta2) * g * g
            m_hat, v_hat = m[name] / (1 - beta1**t), v[name] / (1 - beta2**t)
            decay = lr * weight_decay * theta[name] if theta[name].ndim >= 2 else 0.0
            theta[name] = theta[name] - decay - lr * m_hat / (np.sqrt(v_hat) + eps)
    return theta
