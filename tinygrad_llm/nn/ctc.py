"""CTC 损失：不知道对齐方式时的序列标注（Graves 等，2006）。

流入：每一步的对数概率与目标序列；流出：全部对齐方式的总概率的负对数。前向递推由普通算子写成，梯度由引擎求出。
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_llm.joining import cat, stack, where
from tinygrad_llm.nn.losses import reduced
from tinygrad_llm.ops.op import Array
from tinygrad_llm.tensor import Tensor

_NEVER = -1e30
"""代替 -inf 的对数概率：足够小，又不会在相减时得出 NaN。"""


def ctc_loss(
    log_probs: Tensor,
    targets: Tensor,
    input_lengths: Any,
    target_lengths: Any,
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
) -> Tensor:
    """CTC 损失。

    与 torch 相同，``log_probs`` 的梯度按「它是 ``log_softmax`` 的输出」给出：比真正的偏导数多一项 ``exp(log_probs)``，
    经过 ``log_softmax`` 之后两者没有差别。

    Args:
        log_probs: ``(T, N, C)`` 或 ``(T, C)``。
        targets: ``(N, S)``，或首尾相接的一维；不含 ``blank``。
        input_lengths: 各序列的长度，Tensor 或整数的元组。
        target_lengths: 各目标的长度，Tensor 或整数的元组。
        blank: 空白符的类别号。
        reduction: ``"mean"``（先各自除以目标长度）、``"sum"`` 或 ``"none"``。
        zero_infinity: 无法对齐的序列（损失为 inf）是否记作 0，梯度也为 0。

    Returns:
        标量；``"none"`` 时为 ``(N,)``。

    Raises:
        RuntimeError: 长度或类别号不合。
        ValueError: 未知的 ``reduction``。
    """
    batched = log_probs.ndim == 3
    scores = log_probs if batched else log_probs.unsqueeze(1)
    steps, spans = _lengths(input_lengths), _lengths(target_lengths)
    labels = _padded(targets.array, spans, len(spans) if batched else 1)
    _check(scores, labels, steps, spans, blank)
    value = -_log_likelihood(scores, _with_blanks(labels, blank), steps, spans, blank)
    value = value + _as_if_normalised(scores, steps)
    impossible = Tensor.wrap(value.array > -_NEVER / 2)
    value = value.masked_fill(impossible, 0.0 if zero_infinity else float("inf"))
    if reduction == "mean":
        return (value / Tensor.wrap(np.maximum(spans, 1).astype(scores.array.dtype))).mean()  # type: ignore[no-any-return]
    return reduced(value if batched or reduction != "none" else value.squeeze(0), reduction)


def _lengths(given: Any) -> Array:
    lengths = np.asarray(given.array if isinstance(given, Tensor) else given)
    if lengths.size and lengths.dtype.kind not in "iu":
        raise RuntimeError(f"ctc_loss: lengths must be integral, got {lengths.dtype}")
    return lengths.reshape(-1).astype(np.int64)


def _padded(targets: Array, spans: Array, batch: int) -> Array:
    """目标 → ``(N, S)``；首尾相接的写法先切开。"""
    if targets.ndim == 2:
        return targets
    if batch == 1:
        return targets[None]
    if int(spans.sum()) != len(targets):
        raise RuntimeError(f"ctc_loss: {len(targets)} concatenated targets, target_lengths add up to {spans.sum()}")
    rows = np.zeros((batch, int(spans.max(initial=0))), targets.dtype)
    rows[np.arange(rows.shape[1]) < spans[:, None]] = targets
    return rows


def _check(scores: Tensor, labels: Array, steps: Array, spans: Array, blank: int) -> None:
    length, batch, classes = scores.array.shape
    if scores.array.dtype.kind != "f" or labels.dtype not in (np.int32, np.int64):
        raise RuntimeError(f"ctc_loss: needs float log_probs and integer targets, got {scores.dtype}, {labels.dtype}")
    if not len(labels) == len(steps) == len(spans) == batch:
        counts = (len(labels), len(steps), len(spans))
        raise RuntimeError(f"ctc_loss: batch of {batch}, but (targets, input_lengths, target_lengths) hold {counts}")
    if not 0 <= blank < classes:
        raise RuntimeError(f"ctc_loss: blank must be in label range [0, {classes}), got {blank}")
    if ((steps < 0) | (steps > length)).any() or ((spans < 0) | (spans > labels.shape[1])).any():
        raise RuntimeError(
            f"ctc_loss: lengths {steps.tolist()} or {spans.tolist()} exceed {length} and {labels.shape[1]}"
        )


def _with_blanks(labels: Array, blank: int) -> Array:
    """目标的前后与之间都插进空白：``(N, 2S + 1)``。"""
    states = np.full((len(labels), 2 * labels.shape[1] + 1), blank, np.int64)
    states[:, 1::2] = labels
    return states


def _log_likelihood(scores: Tensor, states: Array, steps: Array, spans: Array, blank: int) -> Tensor:
    """前向递推：``αₜ(s)`` 是「第 ``t`` 步停在状态 ``s``」的对数概率。

    从 ``s``、``s-1`` 来；``s`` 不是空白、与 ``s-2`` 也不同时，还能跳过中间的空白从 ``s-2`` 来。
    """
    length, batch, _ = scores.array.shape
    dtype = scores.array.dtype
    may_skip = np.zeros(states.shape, bool)
    may_skip[:, 2:] = (states[:, 2:] != blank) & (states[:, 2:] != states[:, :-2])
    no_skip = Tensor.wrap(np.where(may_skip, 0, _NEVER).astype(dtype))
    emitted = scores.gather(2, Tensor.wrap(np.broadcast_to(states, (length, *states.shape)))).clamp(min=_NEVER)
    edge = Tensor.wrap(np.full((batch, 2), _NEVER, dtype))
    start = np.full(states.shape, _NEVER, dtype)
    start[:, 0] = 0
    alpha = Tensor.wrap(start)
    for t, score in enumerate(emitted.unbind(0)):
        padded = cat([edge, alpha], 1)
        routes = stack([alpha, padded[:, 1:-1], padded[:, :-2] + no_skip], 0)
        moved = routes.logsumexp(0) + score
        alpha = moved if (t < steps).all() else where(Tensor.wrap(t < steps[:, None]), moved, alpha)
    last = Tensor.wrap(2 * spans[:, None])
    ends = cat([alpha.gather(1, last), alpha.gather(1, (last - 1).clamp(min=0))], 1)
    only_blank = np.stack([np.zeros_like(spans), spans == 0], 1).astype(bool)
    return ends.masked_fill(Tensor.wrap(only_blank), _NEVER).logsumexp(1)  # type: ignore[no-any-return]


def _as_if_normalised(scores: Tensor, steps: Array) -> Tensor:
    """值为 0、梯度为 ``exp(log_probs)`` 的一项，``(N,)``。"""
    running = Tensor.wrap(np.arange(len(scores.array))[:, None] < steps)
    mass = scores.exp().sum(2).masked_fill(~running, 0.0).sum(0)
    return mass - mass.detach()  # type: ignore[no-any-return]
