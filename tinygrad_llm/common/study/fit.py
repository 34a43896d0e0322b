r"""伸缩律的拟合：L(N, D) = E + A / N^α + B / D^β，对数残差的最小二乘，Levenberg–Marquardt，全部用 NumPy。

流入：各次训练的（参数数 N，token 数 D，损失 L）；流出：五个参数、自助法（bootstrap）的区间、算力最优的前沿。
公式出自 Hoffmann 等（2022，Training Compute-Optimal Large Language Models）；那里用 Huber 损失，这里点少而干净，
用平方。

参数取 θ = (ln E, ln A, ln B, ln α, ln β)，于是五个量恒正。记 u = E/L，v = A·N^{-α}/L，w = B·D^{-β}/L（u + v + w = 1），
残差 r = ln L(N, D) - ln L 的导数就是 u、v、w、-α·ln N·v、-β·ln D·w。

训练一个 token 约要 6N 次浮点运算，C = 6ND。C 给定时令 ∂L/∂N = 0，得
N* = G·(C/6)^{β/(α+β)}，D* = (C/6)/N*，G = (αA / βB)^{1/(α+β)}。
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tinygrad_llm.common.errors import UserError
from tinygrad_llm.common.initial import philox

__all__ = ["Law", "bootstrap", "fit_law"]

Floats = NDArray[np.float64]
LEAST_CELLS = 6
"""五个参数，至少要六个点。"""
STEPS = 400
_LN_E, _LN_A, _LN_B, _LN_SLOPE = (-1.0, 0.5), (2.0, 5.0), (3.0, 6.0), (-1.2, -0.7)
"""多处起步：局部的最小值不止一个。"""


class Law(NamedTuple):
    """拟合好的伸缩律。

    Attributes:
        E: 不可约的损失（纳特每 token）。
        A: 参数一项的系数。
        B: 数据一项的系数。
        alpha: 参数一项的指数。
        beta: 数据一项的指数。
    """

    E: float
    A: float
    B: float
    alpha: float
    beta: float

    def loss(self, n: Floats | float, d: Floats | float) -> Floats:
        """预测的损失。"""
        return np.asarray(self.E + self.A * np.power(n, -self.alpha) + self.B * np.power(d, -self.beta))

    def optimal_size(self, compute: Floats | float) -> Floats:
        """给定算力（浮点运算次数）时最好的参数数。"""
        total = self.alpha + self.beta
        scale = (self.alpha * self.A / (self.beta * self.B)) ** (1 / total)
        return np.asarray(scale * np.power(np.asarray(compute) / 6, self.beta / total))


def fit_law(n: Floats, d: Floats, loss: Floats) -> Law:
    """拟合。

    Args:
        n: 各次训练的参数数。
        d: 各次训练的 token 数。
        loss: 各次训练的损失，都是正的有限数。

    Returns:
        残差平方和最小的伸缩律。

    Raises:
        UserError: 点太少，或只有一种大小、一种 token 数。
    """
    if len(loss) < LEAST_CELLS or len(np.unique(n)) < 2 or len(np.unique(d)) < 2:
        raise UserError(
            f"{len(loss)} finished runs do not determine five parameters",
            where="study scaling",
            fix=f"use at least two sizes, two budgets and {LEAST_CELLS} runs that do not diverge",
        )
    starts = itertools.product(_LN_E, _LN_A, _LN_B, _LN_SLOPE, _LN_SLOPE)
    fits = [_refined(np.array(start), n, d, loss, STEPS // 20) for start in starts]
    best = sorted(fits, key=lambda pair: pair[1])[:3]
    theta, _ = min((_refined(one, n, d, loss, STEPS) for one, _ in best), key=lambda pair: pair[1])
    return _law(theta)


def bootstrap(law: Law, n: Floats, d: Floats, loss: Floats, *, draws: int, seed: int) -> list[Law]:
    """自助法：残差放回重抽，加回拟合值，再拟合；得到的散布就是参数的不确定度。

    Args:
        law: 全部点的拟合。
        n: 参数数。
        d: token 数。
        loss: 损失。
        draws: 重抽几次。
        seed: 种子。

    Returns:
        各次的拟合。
    """
    rng = philox(seed, "bootstrap")
    fitted = np.log(law.loss(n, d))
    freedom = np.sqrt(len(loss) / max(len(loss) - 5, 1))  # 五个参数吃掉了一部分残差，放大补回
    residuals = (np.log(loss) - fitted) * freedom
    start = np.log(np.array(law))
    found = []
    for _ in range(draws):
        again = np.exp(fitted + rng.choice(residuals, len(loss)))
        found.append(_law(_refined(start, n, d, again, STEPS // 4)[0]))
    return found


def _law(theta: Floats) -> Law:
    return Law(*(float(value) for value in np.exp(theta)))


def _residuals(theta: Floats, n: Floats, d: Floats, loss: Floats) -> tuple[Floats, Floats]:
    """残差，形状 (K,)；与它对 θ 的导数，形状 (K, 5)。"""
    E, A, B, alpha, beta = np.exp(theta)
    parts = np.stack([np.full_like(loss, E), A * n**-alpha, B * d**-beta])
    predicted = parts.sum(0)
    u, v, w = parts / predicted
    jacobian = np.stack([u, v, w, -alpha * np.log(n) * v, -beta * np.log(d) * w], axis=1)
    return np.log(predicted / loss), jacobian


def _refined(theta: Floats, n: Floats, d: Floats, loss: Floats, steps: int) -> tuple[Floats, float]:
    """Levenberg–Marquardt：(JᵀJ + λ·diag) δ = -Jᵀr；变好就减小 λ，变坏就放大。"""
    damping = 1e-2
    r, J = _residuals(theta, n, d, loss)
    cost = float(r @ r)
    for _ in range(steps):
        normal = J.T @ J
        damped = normal + damping * (np.diag(np.diag(normal)) + 1e-12 * np.eye(5))
        delta = np.clip(np.linalg.lstsq(damped, -J.T @ r, rcond=None)[0], -1.0, 1.0)
        trial = np.clip(theta + delta, -20.0, 20.0)
        r_new, J_new = _residuals(trial, n, d, loss)
        cost_new = float(r_new @ r_new)
        if cost_new >= cost:
            damping *= 4.0
            if damping > 1e12:
                break
            continue
        done = cost - cost_new <= 1e-14 * cost
        theta, r, J, cost, damping = trial, r_new, J_new, cost_new, max(damping / 4.0, 1e-12)
        if done:
            break
    return theta, cost
