"""第六个练习的判分：AdamW 走三步，与优化器逐个元素对照。

流入：读者的函数；流出：一句英文提示，空串表示通过。对照取 torch 的 AdamW，没有安装 torch 时取 tinygrad_llm 的。
下一个文件：``grade.py``。
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
from check_vjps import draw, is_close, shape_problem

from tinygrad_llm.ops.op import Array

_LR, _BETAS, _EPS, _DECAY, _STEPS = 0.1, (0.8, 0.95), 0.05, 0.3, 3  # 都取得很大，漏掉哪一项都看得出来
State = tuple[Array, Array, Array]  # θ、m、v


def _library() -> Any:
    for name in ("torch", "tinygrad_llm"):
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    raise AssertionError("tinygrad_llm itself is missing")


def _by_library(theta: Array, grads: list[Array]) -> list[State]:
    """优化器走过的每一步。"""
    lib = _library()
    p = lib.nn.Parameter(lib.tensor(theta))
    optimizer = lib.optim.AdamW([p], lr=_LR, betas=_BETAS, eps=_EPS, weight_decay=_DECAY)
    states = []
    for g in grads:
        p.grad = lib.tensor(g)
        optimizer.step()
        kept = [p.detach(), optimizer.state[p]["exp_avg"], optimizer.state[p]["exp_avg_sq"]]
        states.append(tuple(np.array(one.numpy()) for one in kept))
    return states  # type: ignore[return-value]  # 元组恰有三项


def _wrong_thetas(theta: Array, g: Array, m: Array, v: Array, t: int) -> list[tuple[str, Array]]:
    """各种常见错误走完第 ``t`` 步会得到的 θ；``m`` 与 ``v`` 是更新后的矩。"""
    mhat, vhat = m / (1 - _BETAS[0] ** t), v / (1 - _BETAS[1] ** t)
    kept, step = theta * (1 - _LR * _DECAY), _LR * mhat / (np.sqrt(vhat) + _EPS)
    return [
        ("wrong sign: step against the gradient", kept + step),
        ("no bias correction: divide m by 1 - beta1**t and v by 1 - beta2**t", kept - _LR * m / (np.sqrt(v) + _EPS)),
        ("only m is bias-corrected: v needs it too", kept - _LR * mhat / (np.sqrt(v) + _EPS)),
        ("only v is bias-corrected: m needs it too", kept - _LR * m / (np.sqrt(vhat) + _EPS)),
        ("eps belongs outside the square root", kept - _LR * mhat / np.sqrt(vhat + _EPS)),
        ("missing square root of v", kept - _LR * mhat / (vhat + _EPS)),
        ("forgot eps", kept - _LR * mhat / np.sqrt(vhat)),
        ("forgot the weight decay", theta - step),
        ("the decay must be scaled by lr: theta * (1 - lr * weight_decay)", theta * (1 - _DECAY) - step),
        ("weight decay has the wrong sign", theta * (1 + _LR * _DECAY) - step),
        ("decay the old theta, not the stepped one", (theta - step) * (1 - _LR * _DECAY)),
        ("the moments are right but theta has not moved", theta),
    ]


def _wrong_moments(theta: Array, g: Array, m: Array, v: Array) -> tuple[list[tuple[str, Array]], ...]:
    """各种常见错误会得到的 m 与 v；``m`` 与 ``v`` 是更新前的矩。"""
    (b1, b2), coupled = _BETAS, g + _DECAY * theta
    swapped = "beta1 and beta2 are swapped"
    weights = "the weights are swapped: beta * old + (1 - beta) * new"
    of_m = [
        ("weight decay went into the gradient (that is Adam with L2): decay theta itself", b1 * m + (1 - b1) * coupled),
        (swapped, b2 * m + (1 - b2) * g),
        (weights, (1 - b1) * m + b1 * g),
        ("forgot the factor 1 - beta1", b1 * m + g),
        ("forgot to accumulate: the old m is lost", (1 - b1) * g),
    ]
    of_v = [
        ("v averages the square of the gradient", b2 * v + (1 - b2) * g),
        (swapped, b1 * v + (1 - b1) * g**2),
        (weights, (1 - b2) * v + b2 * g**2),
        ("forgot the factor 1 - beta2", b2 * v + g**2),
        ("forgot to accumulate: the old v is lost", (1 - b2) * g**2),
    ]
    return of_m, of_v


def check_adamw(answer: Callable[..., Any]) -> str:
    """练习 6：每一步都从正确的状态出发，错误不会滚大，便于辨认。"""
    theta, grads = draw(10, 5), [draw(11 + i, 5) for i in range(_STEPS)]
    before: State = (theta, np.zeros(5), np.zeros(5))
    hints: list[str] = []
    for t, (g, after) in enumerate(zip(grads, _by_library(theta, grads), strict=True), 1):
        given = [part.copy() for part in (before[0], g, before[1], before[2])]
        got = answer(*given, t, lr=_LR, betas=_BETAS, eps=_EPS, weight_decay=_DECAY)
        if not isinstance(got, tuple) or len(got) != 3:
            return f"should return theta, m, v, got {type(got).__name__}"
        of_m, of_v = _wrong_moments(before[0], g, before[1], before[2])
        of_theta = _wrong_thetas(before[0], g, after[1], after[2], t)
        hints += [
            _hint("m", got[1], after[1], of_m, t),
            _hint("v", got[2], after[2], of_v, t),
            _hint("theta", got[0], after[0], of_theta, t),
        ]
        before = after
    # 第一步矩还是 0，许多错误看不出分别；后面的步说得更准，所以从最后一步的提示里取第一条。
    return next((hint for hint in hints[-3:] + hints if hint), "")


def _hint(name: str, got: Any, right: Array, wrong: list[tuple[str, Array]], t: int) -> str:
    problem = shape_problem(name, got, right)
    if problem or is_close(got, right):
        return problem
    found = [hint for hint, value in wrong if is_close(got, value)]
    return f"{name} at step {t}: " + (found[0] if found else f"got {got[0]:.6g}, should be {right[0]:.6g} at [0]")
