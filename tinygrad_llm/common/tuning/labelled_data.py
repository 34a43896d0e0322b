"""分类的数据：文字与它的类别。

流入：JSONL 文件（每行 ``{"text": …, "label": …}``），或 ``storyworld:TASK:COUNT``；流出：训练与留作评估的
``LabelledText``。
下一个文件：``classification.py``。
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tinygrad_llm.common.chat.loading import load_records
from tinygrad_llm.common.corpora.faults import BadInput, Faults
from tinygrad_llm.common.errors import DataError, UserError
from tinygrad_llm.common.tuning.lessons import STORY_HELD_OUT, StoryKind, story_kind

__all__ = ["LabelledData", "LabelledText", "load_labelled"]

TASKS = ("topic", "sentiment", "spam")


@dataclass(frozen=True)
class LabelledText:
    """一段文字与它的类别。

    Attributes:
        text: 文字。
        label: 类别的名字。
        source: 出处。
    """

    text: str
    label: str
    source: str


@dataclass(frozen=True)
class LabelledData:
    """训练的与留作评估的。

    Attributes:
        train: 训练的。
        held_out: 留作评估的。
        labels: 全部类别，次序固定。
    """

    train: list[LabelledText]
    held_out: list[LabelledText]
    labels: tuple[str, ...]


def load_labelled(settings: Any, faults: Faults) -> LabelledData:
    """读出全部数据。

    Args:
        settings: 有 ``data``、``val_data``、``val_fraction``、``labels`` 的设置。
        faults: 坏数据的处置。

    Raises:
        UserError: 没有这个文件，写法不对。
        DataError: 有坏的，而设置不许略过；或不足两类。
    """
    train: list[LabelledText] = []
    held_out: list[LabelledText] = []
    labels = list(settings.labels)
    for part in map(str.strip, settings.data.split(",")):
        kind = story_kind(part, TASKS)
        found = list(_read(part, kind, "train", tuple(labels), faults))
        if settings.val_data:
            train += found
        elif kind is not None:
            train += found
            held_out += _read(part, StoryKind(kind.name, STORY_HELD_OUT), "val", tuple(labels), faults)
        else:
            kept = len(found) - max(1, round(len(found) * settings.val_fraction))
            train, held_out = train + found[:kept], held_out + found[kept:]
    known = tuple(labels or sorted({one.label for one in train}))
    for part in filter(None, map(str.strip, settings.val_data.split(","))):
        held_out += _read(part, story_kind(part, TASKS, STORY_HELD_OUT), "val", known, faults)
    kept_out = []
    for one in held_out:
        if one.label in known:
            kept_out.append(one)
        else:
            faults.report(f"the label {one.label[:40]!r} never occurs in training", one.source, reason="unknown label")
    if len(known) < 2 or not kept_out:
        raise DataError(
            f"classification needs two labels and held-out texts, got {len(known)} and {len(kept_out)}",
            where=settings.data,
            fix="give more data, or held-out data of its own with --val-data",
        )
    return LabelledData(train, kept_out, known)


def _read(
    text: str, kind: StoryKind | None, split: str, labels: tuple[str, ...], faults: Faults
) -> Iterator[LabelledText]:
    if kind is not None:
        from tinygrad_llm.common.corpora import storyworld  # 用到才导入，``--help`` 因此立即可答

        names, sequence = storyworld.labels_of("en", kind.name), storyworld.labelled(split=split, task=kind.name)
        for index in range(kind.items):
            item = sequence[index]
            yield LabelledText(item.text, names[item.label_id], item.id)
        return
    path = Path(text)
    if not path.is_file():
        raise UserError("no such data file", where=text, fix="give a .jsonl file, or storyworld:topic:4000")
    yield from load_records(path, partial(_labelled, labels=labels), faults)


def _labelled(record: object, source: str, *, labels: tuple[str, ...]) -> LabelledText:
    """一条记录；类别可以是名字，或（给了 ``--labels`` 时）它的序号。"""
    if not isinstance(record, dict):
        raise BadInput("the line does not hold a JSON object", "write one text a line", "not an object")
    for name in ("text", "label"):
        if name not in record:
            raise BadInput(f'the field "{name}" is missing', 'write {"text": ..., "label": ...}', "missing field")
    text, label = record["text"], record["label"]
    if not isinstance(text, str) or not text.strip():
        raise BadInput("the text is empty, or no string", "fill it in, or drop the line", "empty text")
    if labels and type(label) is int and 0 <= label < len(labels):
        label = labels[label]
    if type(label) is int and not labels:
        label = str(label)
    if not isinstance(label, str) or (labels and label not in labels):
        known = f"use one of {', '.join(labels)}" if labels else "give a name or a number"
        raise BadInput(f"the label {str(label)[:40]!r} is out of range", known, "label out of range")
    return LabelledText(text, label, source)
