"""分类：数据、评估与旁边的词袋基线。

流入：带标签的文字与出发点；流出：``Session``。一段文字怎样读成特征见 ``labelled_rows.py``。
下一个文件：两边的 ``tune.py`` 与 ``tuning.py``。
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinygrad_llm.common.config import parameter_shapes
from tinygrad_llm.common.corpora.faults import Faults
from tinygrad_llm.common.engine import Batch, Engine
from tinygrad_llm.common.errors import DataError
from tinygrad_llm.common.session import Session
from tinygrad_llm.common.tokenizers import Tokenizer
from tinygrad_llm.common.tuning.confusion import (
    HeldOut,
    confusion,
    confusion_text,
    largest_share,
    macro_f1,
    save_held_out,
)
from tinygrad_llm.common.tuning.labelled_data import LabelledText, load_labelled
from tinygrad_llm.common.tuning.labelled_rows import LabelledRows, Reading
from tinygrad_llm.common.tuning.session import Base, steps_of, tuning_session

__all__ = ["ROWS", "bag_of_words", "classification_session", "fitted", "prepare_rows"]

Ids = NDArray[np.int64]
ROWS = 32
"""评估时每批几行。"""


@dataclass(frozen=True)
class Prepared:
    """写成 id 的数据。

    Attributes:
        train: 训练的行。
        held_out: 留作评估的行。
        labels: 全部类别。
        weights: 各类的权重。
        baseline: 词袋基线在留作评估的行上猜的类别。
        skipped: 略过了什么；没有为空。
    """

    train: LabelledRows
    held_out: LabelledRows
    labels: tuple[str, ...]
    weights: tuple[float, ...]
    baseline: Ids
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
    reading = Reading.of(settings)
    most = min(filter(None, (settings.max_tokens, settings.pad_to, base.model.context)))

    def rows_of(texts: Sequence[LabelledText]) -> LabelledRows:
        rows, labels = [], []
        for one in texts:
            row = fitted(base.tokenizer, one, most, settings.overflow, faults)
            if row is not None:
                rows.append(row)
                labels.append(data.labels.index(one.label))
        if not rows:
            raise DataError("no texts are left", where=settings.data, fix="raise --max-tokens, or mend the data")
        size, seed, pad = settings.batch_size, settings.seed, base.tokenizer.eot
        return LabelledRows(
            rows, labels, batch_size=size, seed=seed, pad=pad, reading=reading, window=base.model.window
        )

    train, held_out = rows_of(data.train), rows_of(data.held_out)
    counts = np.bincount(train.labels, minlength=len(data.labels)).clip(min=1)
    weights = counts.sum() / (len(counts) * counts) if settings.class_weights else np.ones(len(counts))
    baseline = bag_of_words(train, len(data.labels), base.model.vocab_size, held_out)
    skipped = "; ".join(faults.summary().splitlines())
    return Prepared(train, held_out, data.labels, tuple(weights.tolist()), baseline, skipped)


def fitted(tokenizer: Tokenizer, one: LabelledText, most: int, overflow: str, faults: Faults) -> Ids | None:
    """一段文字的 id；太长而设置要略过的为 ``None``。

    Args:
        tokenizer: 分词器。
        one: 文字。
        most: 至多几个 token。
        overflow: 超长的怎么办：``error``、``skip`` 或 ``crop``。
        faults: 坏数据的处置。

    Raises:
        DataError: 太长，而设置不许略过。
    """
    ids = np.array(tokenizer.encode(one.text), np.int64)
    if len(ids) <= most:
        return ids
    if overflow == "error":
        fix = "shorten it, or use --overflow crop"
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


def classification_session(base: Base[Any], prepared: Prepared, predict: Callable[[Engine, Batch], Any]) -> Session:
    """由写成 id 的数据备好一次训练。

    Args:
        base: 出发点。
        prepared: 数据。
        predict: 引擎眼下的模型给一批行的对数概率 ``(B, K)``。
    """
    settings = steps_of(base.settings, len(prepared.train.rows))
    base = replace(base, settings=settings)
    classes, held_out = len(prepared.labels), prepared.held_out
    shapes = settings.scope.shapes(base.model)
    head = {"classifier.weight": (classes, base.model.n_embd), "classifier.bias": (classes,)}
    examine = _examiner(settings, prepared, predict)
    summary = (
        f"{len(prepared.train.rows):,} texts in {classes} classes, {len(held_out.rows):,} held out; "
        f"always the largest class {largest_share(held_out.labels):.1%}, bag of words {_accuracy(prepared):.1%}"
    )
    return tuning_session(
        base,
        stream=prepared.train,
        digest=hashlib.sha256((prepared.train.digest + held_out.digest).encode()).hexdigest(),
        method={
            "name": "classify",
            "labels": list(prepared.labels),
            **held_out.reading.describe(),
            "max_tokens": settings.max_tokens,
            "weights": prepared.weights,
            **settings.scope.describe(),
        },
        tokens=sum(len(row) for row in prepared.train.rows),
        trained={**(parameter_shapes(base.model) if shapes is None else shapes), **head},
        examine=lambda engine: examine(engine)[1],
        show=lambda engine: examine(engine)[0],
        summary="; ".join(filter(None, [summary, prepared.skipped])),
    )


def _examiner(
    settings: Any, prepared: Prepared, predict: Callable[[Engine, Batch], Any]
) -> Callable[[Engine], tuple[str, dict[str, float]]]:
    """考一遍留作评估的行，存下每一行猜的类别；返回混淆表与各项数字。同一步考过的不再考。"""
    held_out, labels = prepared.held_out, prepared.held_out.labels
    order = np.argsort([len(row) for row in held_out.rows], kind="stable")  # 长短相近的同批，填充最少
    parts = [order[i : i + ROWS] for i in range(0, order.size, ROWS)]
    weights, kept = np.array(prepared.weights)[labels], dict[int, tuple[str, dict[str, float]]]()

    def examine(engine: Engine) -> tuple[str, dict[str, float]]:
        if engine.updates in kept:
            return kept[engine.updates]
        scores = np.empty((labels.size, len(prepared.labels)))
        for part in parts:
            scores[part] = predict(engine, held_out.take(part))
        found = HeldOut(prepared.labels, labels, scores.argmax(1), prepared.baseline, engine.updates)
        save_held_out(settings.folder, found)
        table = confusion(labels, found.guesses, len(prepared.labels))
        loss = -(weights * scores[np.arange(labels.size), labels]).sum() / weights.sum()
        figures = {"val_loss": float(loss), "accuracy": float((found.guesses == labels).mean())}
        figures |= {"accuracy_n": labels.size, "macro_f1": macro_f1(table)}
        figures |= {"bag_of_words": _accuracy(prepared), "chance": found.chance}
        kept.clear()
        kept[engine.updates] = confusion_text(table, prepared.labels), figures
        return kept[engine.updates]

    return examine


def _accuracy(prepared: Prepared) -> float:
    """词袋基线的正确率。"""
    return float((prepared.baseline == prepared.held_out.labels).mean())
