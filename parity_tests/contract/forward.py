"""整个模型的前向与梯度：因果、批独立、补齐独立、批的次序，以及两个引擎相同。

流入：实现与例子；流出：各处的误差与界。下一站：``training.py``。
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

from parity_tests.contract.cases import Case, Ids, changed, ids_of, masked
from parity_tests.contract.gaps import (
    Gap,
    backward_roundings,
    close,
    close_all,
    exact,
    exact_all,
    forward_roundings,
    size_of,
)
from parity_tests.contract.implementation import Functions, Implementation
from parity_tests.contract.property import Property
from tinygrad_llm.common.batches import IGNORE_INDEX, Batch
from tinygrad_llm.common.config import GPTConfig
from tinygrad_llm.common.engine import Arrays

Results = tuple[NDArray[Any], NDArray[Any], Arrays]
"""logits、损失、各参数的梯度。"""


class _OtherAttention(Implementation):
    """注意力换成 ``attention`` 的孪生。"""

    def running(self) -> AbstractContextManager[Any]:
        """把模型用的 ``scaled_dot_product_attention`` 换掉。"""
        changed = Functions(self.functional, scaled_dot_product_attention=self.attention)
        return patch.multiple(self.gpt, F=changed, sliding_attention=self.sliding)

    def sliding(self, q: Any, k: Any, v: Any, window: int, dropout_p: float) -> Any:
        """滑动窗口的注意力，也经换上的那一个。"""
        seen = self.seen(q, k) & ~np.tri(q.shape[-2], k.shape[-2], -window, dtype=bool)
        return self.attention(q, k, v, attn_mask=self.tensor(seen), dropout_p=dropout_p, enable_gqa=True)

    def seen(self, q: Any, k: Any) -> NDArray[Any]:
        """因果掩码 ``(T, S)``：``True`` 处看得见。"""
        return np.tri(q.shape[-2], k.shape[-2], dtype=bool)

    def attention(self, q: Any, k: Any, v: Any, **options: Any) -> Any:
        """换上的注意力。"""
        raise NotImplementedError


class LooksAhead(_OtherAttention):
    """因果掩码差一格：每个位置多看见一个未来的 token。"""

    def attention(self, q: Any, k: Any, v: Any, **options: Any) -> Any:
        """掩码换成错的那一个。"""
        if options.pop("is_causal", False):
            options["attn_mask"] = self.tensor(self.seen(q, k))
        return self.functional.scaled_dot_product_attention(q, k, v, **options)

    def seen(self, q: Any, k: Any) -> NDArray[Any]:
        """对角线错成了 1。"""
        return np.tri(q.shape[-2], k.shape[-2], 1, dtype=bool)


class MixesRows(_OtherAttention):
    """合并多头时把批轴与头轴弄反了：形状对，内容错了行。"""

    def attention(self, q: Any, k: Any, v: Any, **options: Any) -> Any:
        """多了一次转置。"""
        y = self.functional.scaled_dot_product_attention(q, k, v, **options)
        return y.transpose(0, 1).reshape(y.shape)


class ForgetsScale(_OtherAttention):
    """注意力的分数没有除以 √D。"""

    def attention(self, q: Any, k: Any, v: Any, **options: Any) -> Any:
        """系数错成了 1。"""
        return self.functional.scaled_dot_product_attention(q, k, v, **{**options, "scale": 1.0})


class CountsPadding(Implementation):
    """补齐时把目标也补成 0，而不是「不计」：模型被教着去预测空位。"""

    def pad(self, rows: Sequence[Ids]) -> Batch:
        """目标的空位是 0。"""
        x, y = super().pad(rows)
        return x, np.where(y == IGNORE_INDEX, 0, y)

    def windows(self, ids: Ids, context: int, batch: int) -> Iterator[Batch]:
        """同上。"""
        return ((x, np.where(y == IGNORE_INDEX, 0, y)) for x, y in super().windows(ids, context, batch))


class DropsLastRow(Implementation):
    """遍历一批时上界差一：最后一行没有算。"""

    def loss_and_gradients(self, model: Any, ids: Ids, targets: Ids) -> tuple[NDArray[Any], Arrays]:
        """少了一行。"""
        return super().loss_and_gradients(model, ids[:-1], targets[:-1])


def causality(one: Implementation, case: Case) -> list[Gap]:
    """换掉后面的 token，前面的 logits、前面的损失对各参数的梯度，一位也不变。"""
    config, rng = replace(case.config, n_layer=1) if case.harmless else case.config, case.rng()
    model, length = one.model(config), config.context
    cut = int(rng.integers(1, length))
    later = cut + 1 if case.harmless else cut  # 一层、再隔一格：多看一格的掩码还看不到
    ids = ids_of(rng, config, case.batch, length)
    targets = ids_of(rng, config, case.batch, length)
    targets[:, cut:] = IGNORE_INDEX
    other = np.concatenate([ids[:, :later], changed(rng, config, ids[:, later:])], 1)
    gradients = [one.loss_and_gradients(model, x, targets)[1] for x in (other, ids)]
    return [
        exact("logits before the change", one.logits(model, other)[:, :cut], one.logits(model, ids)[:, :cut]),
        *exact_all("gradient of", *gradients),
    ]


def batch_independence(one: Implementation, case: Case) -> list[Gap]:
    """换掉别的行，这一行的 logits、损失与梯度一位也不变。"""
    config, rng = _one_head(case.config) if case.harmless else case.config, case.rng()
    model, row = one.model(config), int(rng.integers(case.batch))
    ids, targets = (ids_of(rng, config, case.batch, config.context) for _ in range(2))
    others = np.arange(case.batch) != row
    targets[others] = IGNORE_INDEX
    other = np.where(others[:, None], changed(rng, config, ids), ids)
    (loss, gradients), (same, expected) = (one.loss_and_gradients(model, x, targets) for x in (other, ids))
    return [
        exact("logits of the row", one.logits(model, other)[row], one.logits(model, ids)[row]),
        exact("loss of the row", loss, same),
        *exact_all("gradient of", gradients, expected),
    ]


def _one_head(config: GPTConfig) -> GPTConfig:
    return replace(config, n_head=1, n_kv_head=None)


def padding_independence(one: Implementation, case: Case) -> list[Gap]:
    """参差的几行补齐成一批：损失与梯度是各行单独算的和，补上的内容无关；评估的窗口也一样。"""
    config, rng = case.config, case.rng()
    model, near = one.model(config), one.model(config, nudged=True)
    lengths = [config.context + 1] * case.batch if case.harmless else rng.integers(2, config.context + 2, case.batch)
    rows = [rng.integers(0, config.vocab_size, n) for n in lengths]
    x, y = one.pad(rows)
    alone = [one.loss_and_gradients(model, row[None, :-1], row[None, 1:]) for row in rows]
    (loss, gradients), (other_loss, nudged) = (one.loss_and_gradients(m, x, y) for m in (model, near))
    roundings = backward_roundings(config, x.size, x.shape[1])
    expected = {name: sum(g[name] for _, g in alone) for name in gradients}
    real = np.arange(x.shape[1]) < np.array([len(row) - 1 for row in rows])[:, None]
    other = np.where(real, x, changed(rng, config, x))
    return [
        close("loss", loss, np.asarray(sum(part for part, _ in alone)), roundings, size_of(loss, other_loss)),
        *close_all("gradient of", gradients, expected, roundings, size_of(gradients, nudged)),
        exact("logits with other padding", one.logits(model, other)[real], one.logits(model, x)[real]),
        *exact_all("with other padding, gradient of", one.loss_and_gradients(model, other, y)[1], gradients),
        _evaluation_windows(one, case, model, near),
    ]


def _evaluation_windows(one: Implementation, case: Case, model: Any, near: Any) -> Gap:
    config, rng = case.config, case.rng()
    tokens = int(rng.integers(2, 3 * config.context))
    if case.harmless:
        tokens = 2 * config.context + 1  # 恰好装满两个窗口
    ids = rng.integers(0, config.vocab_size, tokens)
    starts = range(0, tokens - 1, config.context)
    windows = [ids[start : start + config.context + 1] for start in starts]
    alone = sum(one.loss_and_gradients(model, w[None, :-1], w[None, 1:])[0] for w in windows)
    batches = list(one.windows(ids, config.context, case.batch))
    total, nudged = (np.asarray(sum(one.loss_and_gradients(m, x, y)[0] for x, y in batches)) for m in (model, near))
    roundings = forward_roundings(config, config.context) + 2 * tokens
    return close("evaluation loss", total, np.asarray(alone), roundings, size_of(total, nudged))


def batch_order(one: Implementation, case: Case) -> list[Gap]:
    """打乱一批里各行的次序：logits 跟着换位，损失与梯度不变。"""
    config, rng = case.config, case.rng()
    model, near = one.model(config), one.model(config, nudged=True)
    ids = ids_of(rng, config, case.batch, config.context)
    targets = masked(rng, ids_of(rng, config, case.batch, config.context))
    fixed = 1 if case.harmless else 0  # 末行不动：少算的总是它，看不出来
    order = np.append(rng.permutation(case.batch - fixed), np.arange(case.batch - fixed, case.batch))
    found = one.logits(model, ids[order]), *one.loss_and_gradients(model, ids[order], targets[order])
    expected = one.logits(model, ids)[order], *one.loss_and_gradients(model, ids, targets)
    nudged = one.logits(near, ids)[order], *one.loss_and_gradients(near, ids, targets)
    return _all_close(config, ids, found, expected, nudged)


def _all_close(config: GPTConfig, ids: Ids, found: Results, expected: Results, nudged: Results) -> list[Gap]:
    """logits、损失与每个梯度都只差舍入。"""
    forward, backward = forward_roundings(config, ids.shape[1]), backward_roundings(config, ids.size, ids.shape[1])
    sizes = [size_of(a, b) for a, b in zip(expected, nudged, strict=True)]
    return [
        close("logits", found[0], expected[0], forward, sizes[0]),
        close("loss", found[1], expected[1], forward + 2 * ids.size, sizes[1]),
        *close_all("gradient of", found[2], expected[2], backward, sizes[2]),
    ]


def engines_agree(one: Implementation, case: Case) -> list[Gap]:
    """另一个引擎的同一个模型：logits、损失与每个梯度都相同。"""
    config, rng = case.config, case.rng()
    if case.harmless:
        config = replace(config, head_dim=1, position="learned")  # √D = 1
    other = Implementation("torch" if one.engine == "numpy" else "numpy", dtype=one.dtype)
    ids = ids_of(rng, config, case.batch, int(rng.integers(1, config.context + 1)))
    targets = masked(rng, ids_of(rng, config, *ids.shape))
    models = one.model(config), other.model(config), other.model(config, nudged=True)
    found, expected, nudged = (
        (who.logits(m, ids), *who.loss_and_gradients(m, ids, targets))
        for who, m in zip((one, other, other), models, strict=True)
    )
    return _all_close(config, ids, found, expected, nudged)


PROPERTIES = (
    Property(
        "causality",
        "a later token changes no earlier logit, nor the gradient of an earlier loss",
        causality,
        LooksAhead,
        "causal mask off by one",
        ("logits before the change", "gradient of"),  # float32 里多看到的那一点可以只露在梯度里
    ),
    Property(
        "batch independence",
        "the other rows change nothing in this one",
        batch_independence,
        MixesRows,
        "batch and head axes swapped when heads are merged",
        ("logits of the row", "loss of the row", "gradient of"),
    ),
    Property(
        "padding independence",
        "rows padded into one batch = each row alone; what the padding holds is of no matter",
        padding_independence,
        CountsPadding,
        "padded targets are 0 instead of ignored",
        ("loss", "evaluation loss", "gradient of"),
    ),
    Property(
        "order of a batch",
        "rows in another order: logits move along, loss and gradients stay",
        batch_order,
        DropsLastRow,
        "the last row is left out",
        ("loss", "gradient of"),
    ),
    Property(
        "both engines agree",
        "logits, loss and every gradient equal the other engine's",
        engines_agree,
        ForgetsScale,
        "attention scores not divided by sqrt(D)",
        ("logits", "loss", "gradient of"),
    ),
)
