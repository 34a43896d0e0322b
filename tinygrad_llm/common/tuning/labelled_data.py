"""分类的数据：文字与它的类别。

流入：JSONL 文件（每行 ``{"text": …, "label": …}``），或 ``storyworld:TASK:COUNT``；流出：训练与留作评估的
``LabelledText``。
下一个文件：``classification.py``。
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tinygrad_llm.common.chat.loading import load_records
from tinygrad_llm.common.corpora.faults import BadInput, Faults
from tinygrad_llm.common.errors import DataError, UserError
from tinygrad_llm.common.tuning.lessons import STORY_HELD_OUT, StoryKind, story_kind

__all__ = ["LabelledData", "LabelledText", "label_of", "load_labelled", "text_of"]

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
            for one, is_held_out in zip(found, _held_out(found, settings.val_fraction), strict=True):
                (held_out if is_held_out else train).append(one)
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
        named = ", ".join(map(repr, known)) or "none"
        problem = f"classification needs two labels, the data has {named}" if len(known) < 2 else "no text is held out"
        raise DataError(
            "; ".join([problem, *faults.summary().splitlines()]),
            where=settings.data,
            fix="give more data, or held-out data of its own with --val-data",
        )
    return LabelledData(train, kept_out, known)


def _held_out(texts: Sequence[LabelledText], fraction: float) -> list[bool]:
    """哪几段留作评估：每一类里各取一份，由文字的摘要定。

    与文件里的次序、与种子都无关：照类别排好的文件不会只留下末一类，几个种子考的是同样的题。相同的文字总在同一边。
    """
    names = {one.text: hashlib.sha256(one.text.encode("utf-8", "surrogatepass")).hexdigest() for one in texts}
    chosen: set[str] = set()
    for label in sorted({one.label for one in texts}):
        own = sorted({names[one.text] for one in texts if one.label == label})
        chosen.update(own[: max(1, round(len(own) * fraction)) if len(own) > 1 else 0])
    return [names[one.text] in chosen for one in texts]


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
    text = text_of(record)
    if not isinstance(record, dict) or "label" not in record:
        raise BadInput('the field "label" is missing', 'write {"text": ..., "label": ...}', "missing field")
    return LabelledText(text, label_of(record["label"], labels), source)


def text_of(record: object) -> str:
    """一条记录的文字。

    Args:
        record: 解析好的 JSON。

    Raises:
        BadInput: 不是对象，或没有文字。
    """
    if not isinstance(record, dict):
        raise BadInput("the line does not hold a JSON object", "write one text a line", "not an object")
    if "text" not in record:
        raise BadInput('the field "text" is missing', 'write {"text": ..., "label": ...}', "missing field")
    text = record["text"]
    if not isinstance(text, str) or not text.strip():
        raise BadInput("the text is empty, or no string", "fill it in, or drop the line", "empty text")
    return text


def label_of(label: object, labels: Sequence[str]) -> str:
    """一条记录的类别：名字，或它在 ``labels`` 里的序号。

    Args:
        label: 记录里写的。
        labels: 全部类别；空表示还不知道有哪些。

    Raises:
        BadInput: 不在其中，或既不是名字也不是整数。
    """
    known = f"use one of {', '.join(labels)}" if labels else "give a name or a whole number"
    if type(label) is int and (not labels or str(label) in labels):
        return str(label)
    if type(label) is int and 0 <= label < len(labels):
        return labels[label]
    if type(label) is int or (isinstance(label, str) and label and labels and label not in labels):
        raise BadInput(f"the label {str(label)[:40]!r} is out of range", known, "label out of range")
    if not isinstance(label, str) or not label:
        raise BadInput(f"the label is {json.dumps(label)[:40]}, no name and no whole number", known, "malformed label")
    return label
