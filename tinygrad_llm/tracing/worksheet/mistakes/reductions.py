"""求和、求平均、softmax、归一化与损失：1/n、one-hot、逐元素的误会、求和的轴。

流入：一格的处境；流出：犯错的人会写下的数。下一站：``selection.py``。
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

import numpy as np

from tinygrad_llm.tracing.worksheet.catalogue import Array, Case, mistake

_REDUCTIONS = ("sum", "mean", "amax", "amin", "logsumexp", "var", "std")
_ALONG = ("softmax", "log_softmax")


def _count(case: Case) -> int:
    """平均或求和了几个数；不是这一类的是 1。"""
    if case.op in ("mean", "sum"):
        return prod(np.shape(case.inputs[0])[axis] for axis in case.attrs["dim"])
    if case.op == "sum_all":
        return int(np.size(case.inputs[0]))
    if case.op in ("cross_entropy", "linear_cross_entropy") and case.attrs.get("reduction", "mean") == "mean":
        target = next(one for one in case.inputs[1:] if isinstance(one, np.ndarray) and one.dtype.kind == "i")
        return int(np.sum(target != case.attrs.get("ignore_index", -100)))
    return 1


@mistake("missing-mean-factor", on="FDC")
def missing_mean_factor(case: Case) -> Iterator[Array]:
    """平均写成了求和。"""
    n = _count(case) if case.op not in ("sum", "sum_all") else 1
    if n > 1:
        yield case.correct * n


@mistake("extra-mean-factor", on="FDC")
def extra_mean_factor(case: Case) -> Iterator[Array]:
    """求和写成了平均；或者除了两次。"""
    n = _count(case)
    if n > 1:
        yield case.correct / n


@mistake("wrong-axis", on="F")
def wrong_axis(case: Case) -> Iterator[Array]:
    """沿别的轴求和、求平均或做 softmax。"""
    if case.call is None:
        return
    ndim = np.ndim(case.inputs[0]) if case.inputs else 0
    if case.op in _REDUCTIONS and len(case.attrs["dim"]) == 1:
        for axis in range(ndim):
            found = case.call.replaced(dim=(axis,)).forward()
            if axis != case.attrs["dim"][0] % ndim and found is not None:
                yield found
    elif case.op in _ALONG:
        for axis in range(ndim):
            found = case.call.replaced(dim=axis).forward()
            if axis != case.attrs["dim"] % ndim and found is not None:
                yield found


@mistake("wrong-denominator", on="F")
def wrong_denominator(case: Case) -> Iterator[Array]:
    """方差的分母差一。"""
    if case.op in ("var", "std") and case.call is not None:
        found = case.call.replaced(correction=0 if case.attrs["correction"] else 1).forward()
        if found is not None:
            yield found
    elif case.op == "layer_norm":
        x, weight, bias = case.inputs
        y = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, ddof=1, keepdims=True) + case.attrs["eps"])
        y = y if weight is None else y * weight
        yield y if bias is None else y + bias


@mistake("forgot-normalise", on="F")
def forgot_normalise(case: Case) -> Iterator[Array]:
    """写下的是 ``eˣ``；log_softmax 写下的是 ``x``。"""
    if case.op == "softmax":
        x, dim = case.inputs[0], case.attrs["dim"]
        yield np.exp(x)
        yield x / x.sum(axis=dim, keepdims=True)
    elif case.op == "log_softmax":
        yield case.inputs[0]


@mistake("softmax-elementwise", on="C")
def softmax_elementwise(case: Case) -> Iterator[Array]:
    """只算了雅可比矩阵的对角线。"""
    g, y = case.g, case.y
    if g is None or y is None:
        return
    if case.op == "softmax":
        yield g * y * (1 - y)
        yield g * y
    elif case.op == "log_softmax":
        yield g * (1 - np.exp(y))


@mistake("forgot-one-hot", on="C")
def forgot_one_hot(case: Case) -> Iterator[Array]:
    """只写了 softmax。"""
    g = case.g
    if case.op != "cross_entropy" or g is None:
        return
    logits, target = case.inputs
    valid = target != case.attrs["ignore_index"]
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    weight = np.where(valid, g / _count(case), 0)[:, None]
    yield shifted / shifted.sum(axis=1, keepdims=True) * weight
    hot = np.zeros_like(logits)
    hot[np.arange(len(target)), np.where(valid, target, 0)] = 1
    yield -hot * weight


@mistake("statistics-as-constants", on="C")
def statistics_as_constants(case: Case) -> Iterator[Array]:
    """``∂L/∂x`` 只写了 ``g ⊙ w / σ``；或者只漏了其中一项。"""
    g = case.g
    if case.op not in ("layer_norm", "rms_norm") or case.position != 0 or g is None:
        return
    x, weight = case.inputs[:2]
    centred = x - x.mean(-1, keepdims=True) if case.op == "layer_norm" else x
    rstd = 1 / np.sqrt((centred * centred).mean(-1, keepdims=True) + case.attrs["eps"])
    t = g if weight is None else g * weight
    yield t * rstd
    if case.op == "layer_norm":
        hat = centred * rstd
        yield (t - t.mean(-1, keepdims=True)) * rstd
        yield (t - hat * (t * hat).mean(-1, keepdims=True)) * rstd


@mistake("forgot-local", on="C")
def forgot_weight(case: Case) -> Iterator[Array]:
    """归一化的 ``∂L/∂w`` 忘了乘 ``x̂``：写成了 ``Σ g``。"""
    if case.op in ("layer_norm", "rms_norm") and case.position == 1 and case.g is not None:
        yield case.g.reshape(-1, case.g.shape[-1]).sum(axis=0)


@mistake("forgot-broadcast-sum", on="C")
def forgot_rows(case: Case) -> Iterator[Array]:
    """归一化的 ``∂L/∂w = Σ g ⊙ x̂`` 没有对各行求和。"""
    g = case.g
    if case.op not in ("layer_norm", "rms_norm") or case.position != 1 or g is None:
        return
    x = case.inputs[0]
    centred = x - x.mean(-1, keepdims=True) if case.op == "layer_norm" else x
    rstd = 1 / np.sqrt((centred * centred).mean(-1, keepdims=True) + case.attrs["eps"])
    each = g * centred * rstd
    rows = each.reshape(-1, each.shape[-1])
    if len(rows) > 1:
        yield from (each, rows[0], rows[-1], rows.mean(axis=0))
