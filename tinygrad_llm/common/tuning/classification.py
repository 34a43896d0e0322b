"""分类：批次、评估与旁边的词袋基线。

流入：带标签的文字与出发点；流出：``Session``。特征取哪个位置由 ``--pool`` 定，写在 y 里，见
``objectives_classification.py``。
下一个文件：两边的 ``tune.py`` 与 ``tuning.py``。
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinygrad_llm.common.batches import IGNORE_INDEX
from tinygrad_llm.common.batches.order import drawn, share
from tinygrad_llm.common.config import parameter_shapes
from tinygrad_llm.common.corpora.faults import Faults
from tinygrad_llm.common.engine import Batch, Engine
from tinygrad_llm.common.errors import DataError
from tinygrad_llm.common.session import Session
from tinygrad_llm.common.tokenizers import Tokenizer
from tinygrad_llm.common.tuning.labelled_data import LabelledText, load_labelled
from tinygrad_llm.common.tuning.session import Base, steps_of, tuning_session

__all__ = ["LabelledRows", "bag_of_words", "classification_session", "macro_f1"]

ROWS = 32
"""评估时每批几行。"""
Ids = NDArray[np.int64]


class LabelledRows:
    """带标签的行，打乱了一批批取；填充到这一批里最长的那么长。

    Args:
        rows: 各行的 id。
        labels: 各行的类别。
        batch_size: 所有进程合起来的批大小。
        seed: 打乱用的种子。
        pad: 填充处的 x。
        pool: 特征取哪里：``last``、``first`` 或 ``mean``。
    """

    def __init__(
        self, rows: Sequence[Ids], labels: Sequence[int], *, batch_size: int, seed: int, pad: int, pool: str
    ) -> None:
        self.rows, self.labels = list(rows), np.array(labels, np.int64)
        self.batch_size, self._seed, self._pad, self._pool = batch_size, seed, pad, pool

    def batch(self, step: int, rank: int = 0, world: int = 1) -> Batch:
        """第 ``step`` 步中第 ``rank`` 个进程的那一份。"""
        first, count = share(step, rank, world, self.batch_size)
        return self.take(drawn(first, np.arange(count), len(self.rows), self._seed))

    def take(self, chosen: Ids) -> Batch:
        """各个序号的行：x 与 y ``(B, T)``；y 在取特征的位置上是类别，别处不计。"""
        rows = [self.rows[i] for i in chosen]
        width = max(len(row) for row in rows)
        x, y = np.full((len(rows), width), self._pad, np.int64), np.full((len(rows), width), IGNORE_INDEX, np.int64)
        for i, (row, label) in enumerate(zip(rows, self.labels[chosen], strict=True)):
            x[i, : len(row)] = row
            where = {"last": slice(len(row) - 1, len(row)), "first": slice(0, 1), "mean": slice(0, len(row))}
            y[i, where[self._pool]] = label
        return x, y

    @property
    def digest(self) -> str:
        """内容的摘要。"""
        digest = hashlib.sha256(self.labels.tobytes())
        for row in self.rows:
            digest.update(row.tobytes() + b";")
        return digest.hexdigest()


@dataclass(frozen=True)
class Prepared:
    """写成 id 的数据。

    Attributes:
        train: 训练的行。
        held_out: 留作评估的行。
        labels: 全部类别。
        weights: 各类的权重。
        baseline: 词袋基线在留作评估的行上的正确率。
        skipped: 略过了什么；没有为空。
    """

    train: LabelledRows
    held_out: LabelledRows
    labels: tuple[str, ...]
    weights: tuple[float, ...]
    baseline: float
    skipped: str


def prepare_rows(base: Base[Any]) -> Prepared:
    """读出数据，写成 id。

    Args:
        base: 出发点；它的设置是 ``ClassifyConfig`` 一类。

    Raises:
        UserError: 没有这个文件。
        DataError: 数据坏了或超长，而设置不许略过。
    """
    settings = base.settings
    faults = Faults(settings.on_error)
    data = load_labelled(settings, faults)
    most = min(settings.max_tokens or base.model.context, base.model.context)

    def rows_of(texts: Sequence[LabelledText]) -> LabelledRows:
        rows, labels = [], []
        for one in texts:
            row = _fitted(base.tokenizer, one, most, settings.overflow, faults)
            if row is not None:
                rows.append(row)
                labels.append(data.labels.index(one.label))
        if not rows:
            raise DataError("no texts are left", where=settings.data, fix="raise --max-tokens, or mend the data")
        size, seed, pad = settings.batch_size, settings.seed, base.tokenizer.eot
        return LabelledRows(rows, labels, batch_size=size, seed=seed, pad=pad, pool=settings.pool)

    train, held_out = rows_of(data.train), rows_of(data.held_out)
    counts = np.bincount(train.labels, minlength=len(data.labels)).clip(min=1)
    weights = counts.sum() / (len(counts) * counts) if settings.class_weights else np.ones(len(counts))
    guesses = bag_of_words(train, len(data.labels), base.model.vocab_size, held_out)
    baseline = float((guesses == held_out.labels).mean())
    skipped = "; ".join(faults.summary().splitlines())
    return Prepared(train, held_out, data.labels, tuple(weights.tolist()), baseline, skipped)


def _fitted(tokenizer: Tokenizer, one: LabelledText, most: int, overflow: str, faults: Faults) -> Ids | None:
    ids = np.array(tokenizer.encode(one.text), np.int64)
    if len(ids) <= most:
        return ids
    if overflow == "error":
        fix = "raise --max-tokens, or use --overflow crop"
        faults.report(f"the text has {len(ids):,} tokens, at most {most:,} fit", one.source, fix, reason="too long")
    return ids[:most] if overflow == "crop" else None


def bag_of_words(train: LabelledRows, classes: int, vocab_size: int, held_out: LabelledRows) -> Ids:
    """词袋基线：不看次序的朴素贝叶斯，``argmax_k log p(k) + Σ log p(token|k)``，计数加一。

    Args:
        train: 训练的行。
        classes: 几类。
        vocab_size: 词表大小。
        held_out: 要猜的行。

    Returns:
        猜的类别 ``(N,)``。
    """
    counts = np.ones((classes, vocab_size))
    for row, label in zip(train.rows, train.labels, strict=True):
        np.add.at(counts[label], row, 1)
    scores = np.log(counts / counts.sum(1, keepdims=True))
    prior = np.log(np.bincount(train.labels, minlength=classes) + 1.0)
    return np.array([int((prior + scores[:, row].sum(1)).argmax()) for row in held_out.rows])


def macro_f1(confusion: NDArray[np.int64]) -> float:
    """各类的 F1 的平均；``confusion[i, j]`` 是真类 i 猜作 j 的个数。"""
    right = np.diag(confusion).astype(np.float64)
    return float((2 * right / np.maximum(confusion.sum(0) + confusion.sum(1), 1)).mean())


def classification_session(base: Base[Any], prepared: Prepared, predict: Callable[[Engine, Batch], Ids]) -> Session:
    """由写成 id 的数据备好一次训练。

    Args:
        base: 出发点。
        prepared: 数据。
        predict: 引擎眼下的模型对一批行的猜测 ``(B,)``。
    """
    settings = steps_of(base.settings, len(prepared.train.rows))
    base = replace(base, settings=settings)
    classes, held_out = len(prepared.labels), prepared.held_out
    shapes = settings.scope.shapes(base.model)
    head = {"classifier.weight": (classes, base.model.n_embd), "classifier.bias": (classes,)}
    order = np.argsort([len(row) for row in held_out.rows], kind="stable")
    parts = [order[i : i + ROWS] for i in range(0, order.size, ROWS)]

    def confusion(engine: Engine) -> NDArray[np.int64]:
        table = np.zeros((classes, classes), np.int64)
        for part in parts:
            np.add.at(table, (held_out.labels[part], predict(engine, held_out.take(part))), 1)
        return table

    def examine(engine: Engine) -> dict[str, float]:
        table = confusion(engine)
        sums = [engine.examine(held_out.take(part)) for part in parts]
        loss = sum(one.loss for one in sums) / sum(one.units for one in sums)
        accuracy = np.trace(table) / table.sum()
        figures = {"val_loss": loss, "accuracy": float(accuracy), "accuracy_n": int(table.sum())}
        return {**figures, "macro_f1": macro_f1(table), "bag_of_words": prepared.baseline}

    known = Counter(held_out.labels.tolist())
    chance = max(known.values()) / len(held_out.rows)
    summary = (
        f"{len(prepared.train.rows):,} texts in {classes} classes, {len(held_out.rows):,} held out; "
        f"always the largest class {chance:.1%}, bag of words {prepared.baseline:.1%}"
    )
    return tuning_session(
        base,
        stream=prepared.train,
        digest=hashlib.sha256((prepared.train.digest + held_out.digest).encode()).hexdigest(),
        method={
            "name": "classify",
            "labels": list(prepared.labels),
            "pool": settings.pool,
            "weights": prepared.weights,
            **settings.scope.describe(),
        },
        tokens=sum(len(row) for row in prepared.train.rows),
        trained={**(parameter_shapes(base.model) if shapes is None else shapes), **head},
        examine=examine,
        show=lambda engine: confusion_text(confusion(engine), prepared.labels),
        summary="; ".join(filter(None, [summary, prepared.skipped])),
    )


def confusion_text(table: NDArray[np.int64], labels: Sequence[str]) -> str:
    """混淆表：一行一个真类，一列一个猜的类，末列是召回率。"""
    width = max(6, *(len(name) for name in labels))
    lines = ["".rjust(width) + "".join(name[:8].rjust(9) for name in labels) + "   recall"]
    for name, row in zip(labels, table, strict=True):
        recall = row[labels.index(name)] / max(int(row.sum()), 1)
        lines.append(name.rjust(width) + "".join(f"{count:9d}" for count in row.tolist()) + f"{recall:9.1%}")
    return "\n".join(lines)
