"""练习 3、4、6 的判分：裁剪、累积、更新——答案是数组的三题。

流入：读者的函数；流出：一句英文提示，空串表示通过。练习 3 与 6 以 ``tinygrad_llm`` 的裁剪与 AdamW 为准。
下一个文件：``grade.py``。
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

import tinygrad_llm as tg
from tinygrad_llm.common.update_rules import decay_groups
from tinygrad_llm.ops.op import Array

Weights = dict[str, Array]


def _draw(seed: int, *shape: int) -> Array:
    """固定种子的正态数。"""
    return np.random.default_rng(seed).standard_normal(shape)


def _is_close(a: Any, b: Any) -> bool:
    a, b = np.asarray(a), np.asarray(b)
    return a.shape == b.shape and bool(np.allclose(a, b, rtol=1e-5, atol=1e-9))  # 库的裁剪在分母里多加了 1e-6


def _all_close(got: Iterable[Any], right: Iterable[Any]) -> bool:
    return all(_is_close(a, b) for a, b in zip(got, right, strict=True))


def _scaled(grads: Sequence[Array], norms: Sequence[float], limit: float) -> list[Array]:
    return [g * min(1.0, limit / norm) for g, norm in zip(grads, norms, strict=True)]


def check_clip(answer: Callable[..., Any]) -> str:
    """练习 3：一次要裁、一次不必裁、一次全是 0。"""
    grads = [_draw(0, 3, 4), _draw(1, 5), 0.1 * _draw(2, 2, 2)]
    own = [float(np.linalg.norm(g)) for g in grads]
    norm = math.sqrt(sum(n * n for n in own))
    for limit in (1.0, 2 * norm):
        given = [g.copy() for g in grads]
        got = answer(given, limit)
        if not isinstance(got, tuple) or len(got) != 2 or len(got[0]) != len(grads):
            return "should return the clipped gradients and the norm before clipping"
        if not _all_close(given, grads):
            return "the given gradients were changed in place: return new arrays"
        problem = _clip_problem([np.asarray(g) for g in got[0]], got[1], grads, own, limit)
        if problem:
            return problem
    zeros, zero_norm = answer([np.zeros(3)], 1.0)
    if not np.isfinite(zeros[0]).all() or zero_norm != 0:
        return "gradients that are all 0 have norm 0: do not divide by it"
    return ""


def _clip_problem(got: list[Array], got_norm: float, grads: list[Array], own: list[float], limit: float) -> str:
    norm = math.sqrt(sum(n * n for n in own))
    size = sum(g.size for g in grads)
    right = _scaled(grads, [norm] * len(grads), limit)
    if not _all_close(got, right):
        known = [
            ("each array was clipped by its own norm: the norm is one number for all of them",
             _scaled(grads, own, limit)),
            ("elements were cut off one by one: scale all of them by the same factor",
             [np.clip(g, -limit, limit) for g in grads]),
            ("norms do not add up: add their squares, then take the root",
             _scaled(grads, [sum(own)] * len(grads), limit)),
            ("the root is missing: this scaled by the squared norm", _scaled(grads, [norm**2] * len(grads), limit)),
            ("root mean square is not a norm: do not divide by the number of elements",
             _scaled(grads, [norm / math.sqrt(size)] * len(grads), limit)),
            ("a norm below the limit must leave the gradients alone", [g * (limit / norm) for g in grads]),
            ("nothing was clipped", grads),
        ]  # fmt: skip
        found = [hint for hint, value in known if _all_close(got, value)]
        return found[0] if found else f"wrong gradients for max_norm = {limit:g}"
    if not math.isclose(got_norm, norm, rel_tol=1e-9):
        after = "return the norm before clipping, not after it"
        return after if math.isclose(got_norm, limit, rel_tol=1e-4) else f"norm {got_norm:g}, should be {norm:g}"
    return ""


def check_accumulate(answer: Callable[..., Any]) -> str:
    """练习 4：有效个数参差不齐；再来一个全被掩住的微批；最后全部掩住。"""
    sizes, width = (5, 6, 4), 3
    draw = np.random.default_rng(4)
    masks = [np.arange(n) < keep for n, keep in zip(sizes, (1, 6, 2), strict=True)]
    losses = [np.where(mask, draw.uniform(1, 3, n), 99.0) for mask, n in zip(masks, sizes, strict=True)]
    grads = [
        np.where(mask[:, None], draw.standard_normal((n, width)), 99.0) for mask, n in zip(masks, sizes, strict=True)
    ]
    problem = _accumulate_problem(answer, losses, grads, masks)
    if problem:
        return problem
    hidden = [masks[0], masks[1], np.zeros(sizes[2], dtype=bool)]
    problem = _accumulate_problem(answer, losses, grads, hidden)
    if problem:
        return f"a micro-batch without any valid token should add nothing: {problem}"
    empty = [np.zeros(n, dtype=bool) for n in sizes]
    problem = _accumulate_problem(answer, losses, grads, empty)
    return f"without any valid token, loss and gradient are 0: {problem}" if problem else ""


def _accumulate_problem(answer: Callable[..., Any], losses: list[Array], grads: list[Array], masks: list[Array]) -> str:
    got = answer(losses, grads, masks)
    if not isinstance(got, tuple) or len(got) != 2:
        return f"should return the loss and the gradient, got {type(got).__name__}"
    mask, loss, grad = np.concatenate(masks), np.concatenate(losses), np.concatenate(grads)
    n = max(1, int(mask.sum()))
    if _is_close(got[0], loss[mask].sum() / n) and _is_close(got[1], grad[mask].sum(0) / n):
        return ""
    if mask.all() or not all(one.any() for one in masks):
        return f"got loss {got[0]:g}, should be {loss[mask].sum() / n:g}"
    parts = list(zip(losses, grads, masks, strict=True))
    means = [(one[m].mean(), g[m].mean(0)) for one, g, m in parts]
    known = [
        ("a mean of micro-batch means: divide every sum by the valid tokens of the whole batch",
         np.mean([a for a, _ in means]), np.mean([b for _, b in means], axis=0)),
        ("the means were added up, not averaged", sum(a for a, _ in means), sum(b for _, b in means)),
        ("masked positions were counted in the divisor", loss[mask].sum() / mask.size, grad[mask].sum(0) / mask.size),
        ("masked positions were not left out", loss.mean(), grad.mean(0)),
        ("sums were not divided by the number of valid tokens", loss[mask].sum(), grad[mask].sum(0)),
        ("the loss is right, the gradient was not divided", loss[mask].sum() / n, grad[mask].sum(0)),
    ]  # fmt: skip
    found = [hint for hint, a, b in known if _is_close(got[0], a) and _is_close(got[1], b)]
    return found[0] if found else f"got loss {got[0]:g}, should be {loss[mask].sum() / n:g}"


_HYPER: dict[str, Any] = {"betas": (0.8, 0.95), "eps": 0.05, "weight_decay": 0.3, "max_norm": 2.0}
_RATES = (0.1, 0.2, 0.05)


def _by_engine(weights: Weights, grads: Sequence[Weights], rates: Sequence[float], *, shuffle: str = "") -> Weights:
    """引擎走同样的几步；``shuffle`` 指出要模仿的常见错误，空串即正确的做法。"""
    model = tg.nn.Module()
    for name, value in weights.items():
        model.register_parameter(name, tg.nn.Parameter(tg.tensor(value)))
    decay = 0.0 if shuffle == "none" else _HYPER["weight_decay"]
    groups = (
        decay_groups(model.parameters(), decay)
        if shuffle != "all"
        else [{"params": list(model.parameters()), "weight_decay": decay}]
    )
    optimizer = tg.optim.AdamW(groups, betas=_HYPER["betas"], eps=_HYPER["eps"])
    for grad, lr in zip(grads, rates, strict=True):
        for name, p in model.named_parameters():
            p.grad = tg.tensor(grad[name])
        if shuffle == "own":
            for p in model.parameters():
                tg.nn.utils.clip_grad_norm_([p], _HYPER["max_norm"])
        elif shuffle != "unclipped":
            tg.nn.utils.clip_grad_norm_(model.parameters(), _HYPER["max_norm"])
        if shuffle == "forgetful":
            optimizer.state.clear()
        for group in optimizer.param_groups:
            group["lr"] = rates[0] if shuffle == "constant" else lr
        optimizer.step()
    return {name: p.detach().numpy().copy() for name, p in model.named_parameters()}


def check_train_weights(answer: Callable[..., Any]) -> str:
    """练习 6：三步，学习率各不相同，只有一步需要裁剪。"""
    weights: Weights = {"w": _draw(5, 2, 3), "b": _draw(6, 3)}
    grads = [{name: scale * _draw(10 * i + k, *value.shape) for k, (name, value) in enumerate(weights.items())}
             for i, scale in enumerate((0.3, 3.0, 0.2))]  # fmt: skip
    given = {name: value.copy() for name, value in weights.items()}
    given_grads = [{name: g.copy() for name, g in grad.items()} for grad in grads]
    got = answer(given, given_grads, _RATES, **_HYPER)
    if not isinstance(got, dict) or set(got) != set(weights):
        return f"should return a dict with the keys {sorted(weights)}, got {type(got).__name__}"
    pairs = [(given, weights), *zip(given_grads, grads, strict=True)]
    if any(not _is_close(a[name], b[name]) for a, b in pairs for name in weights):
        return "the given weights or gradients were changed in place: work on copies"
    if _same(got, _by_engine(weights, grads, _RATES)):
        return ""
    known = {
        "the biases were decayed too: only arrays with ndim >= 2": "all",
        "forgot the weight decay": "none",
        "forgot to clip": "unclipped",
        "each gradient was clipped by its own norm: the norm is one number for all of them": "own",
        "m and v were reset at every step: keep them, and t, across steps": "forgetful",
        "every step used the first learning rate": "constant",
    }
    for hint, shuffle in known.items():
        if _same(got, _by_engine(weights, grads, _RATES, shuffle=shuffle)):
            return hint
    return _wrong_formula(got, weights, grads) or "wrong weights: compare each step with section 5 of the chapter"


def _same(got: Weights, right: Weights) -> bool:
    return all(_is_close(got[name], right[name]) for name in right)


def _wrong_formula(got: Weights, weights: Weights, grads: Sequence[Weights]) -> str:
    """公式写错一处：纠偏、eps 的位置、衰减的方式，每次只错一样。"""
    hints = {
        "correction": "no bias correction: divide m by 1 - beta1**t and v by 1 - beta2**t",
        "step": "bias correction counts from t = 1 and grows with every step",
        "eps": "eps belongs outside the square root",
        "coupled": "weight decay went into the gradient (that is Adam with L2): decay the weights themselves",
        "unscaled": "the decay must be scaled by the learning rate",
        "order": "clip before the moments see the gradient, and decay the old weights",
    }
    return next((hint for flaw, hint in hints.items() if _same(got, _by_formula(weights, grads, flaw))), "")


def _by_formula(weights: Weights, grads: Sequence[Weights], flaw: str) -> Weights:
    """照公式走几步，但故意犯 ``flaw`` 这一种错。"""
    (beta1, beta2), eps, decay = _HYPER["betas"], _HYPER["eps"], _HYPER["weight_decay"]
    theta = {name: value.copy() for name, value in weights.items()}
    moments = {name: (np.zeros_like(value), np.zeros_like(value)) for name, value in weights.items()}
    for t, grad, lr in zip((1, 2, 3), grads, _RATES, strict=True):
        scale = min(1.0, _HYPER["max_norm"] / math.sqrt(sum(float((g**2).sum()) for g in grad.values())))
        for name, value in theta.items():
            rate = decay if value.ndim >= 2 else 0.0
            g = grad[name] * scale + (rate * value if flaw == "coupled" else 0.0)
            m, v = beta1 * moments[name][0] + (1 - beta1) * g, beta2 * moments[name][1] + (1 - beta2) * g * g
            moments[name] = (m, v)
            power = {"correction": math.inf, "step": 1}.get(flaw, t)
            m_hat, v_hat = m / (1 - beta1**power), v / (1 - beta2**power)
            step = m_hat / (np.sqrt(v_hat + eps) if flaw == "eps" else np.sqrt(v_hat) + eps)
            shrink = {"coupled": 0.0, "unscaled": rate}.get(flaw, lr * rate)
            after = value - lr * step
            theta[name] = after - shrink * (after if flaw == "order" else value)
    return theta
