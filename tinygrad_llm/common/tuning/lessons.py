"""指令微调的数据：一次次对话，与最后一句回答怎样核对。

流入：JSONL 文件（自己的格式、ShareGPT、Alpaca），或 ``storyworld:KIND:COUNT``；流出：训练与留作评估的 ``Lesson``。
指令可以只取一级难度，写作 ``storyworld:instructions@1:COUNT``。
下一个文件：``answers.py``（让模型答，再核对）。
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from tinygrad_llm.common.chat import Conversation, Message
from tinygrad_llm.common.chat.loading import conversation_of, load_records
from tinygrad_llm.common.corpora.faults import BadInput, Faults
from tinygrad_llm.common.corpora.storyworld.checks import rule_names
from tinygrad_llm.common.corpora.storyworld.items import Rule
from tinygrad_llm.common.errors import DataError, UserError

__all__ = ["Lesson", "Lessons", "StoryKind", "held_out_lessons", "lesson_of", "load_lessons", "prompt_of", "story_kind"]

KINDS = ("instructions", "questions", "choices", "policy", "dialogues")
GRADED = "instructions"
"""分难度的一种。"""
STORY = re.compile(r"storyworld:([a-z]+)(?:@([1-3]))?(?::(\d+))?")
STORY_COUNT, GRADED_COUNT = 4000, 24000
"""没有写明时，取故事世界的多少项；指令有四十来种题型，每种几百道才学得会。"""
STORY_HELD_OUT = 400
"""故事世界留作评估的，取它 val 划分的多少项。"""


@dataclass(frozen=True)
class Lesson:
    """一次对话，与它最后一句回答的核对办法。

    Attributes:
        conversation: 对话，以 assistant 的话结尾。
        rule: 核对办法。
        task: 题型，记录里写了语言的连同语言；没有写明为空。
        level: 难度；没有写明为 0。
    """

    conversation: Conversation
    rule: Rule
    task: str = ""
    level: int = 0


class Lessons(NamedTuple):
    """训练用的与留作评估的。"""

    train: list[Lesson]
    held_out: list[Lesson]


class StoryKind(NamedTuple):
    """故事世界的一种数据：种类、项数与难度（``None`` 表示各级都有）。"""

    name: str
    items: int
    level: int | None = None


class _Settings(Protocol):
    data: str
    val_data: str
    val_fraction: float


def load_lessons(settings: _Settings, faults: Faults) -> Lessons:
    """读出全部数据，分成训练与留作评估的两份。

    没有 ``--val-data`` 时，文件留下末尾 ``--val-fraction`` 的一段，故事世界用它的 val 划分（与训练没有一项相同）。

    Args:
        settings: 设置。
        faults: 坏数据的处置。

    Returns:
        两份数据。

    Raises:
        UserError: 没有这个文件，或写法不对。
        DataError: 文件里有坏的，而设置不许略过；或一条也不剩。
    """
    train: list[Lesson] = []
    held_out: list[Lesson] = []
    for part in map(str.strip, settings.data.split(",")):
        kind = story_kind(part, KINDS)
        found = list(_lessons(part, kind, "train", faults))
        if settings.val_data:
            train += found
        elif kind is not None:
            train += found
            held_out += _lessons(part, kind._replace(items=STORY_HELD_OUT), "val", faults)
        else:
            kept = len(found) - max(1, round(len(found) * settings.val_fraction))
            train += found[:kept]
            held_out += found[kept:]
    held_out += held_out_lessons(settings.val_data, faults)
    if not train or not held_out:
        raise DataError(
            f"too few conversations: {len(train)} to train on, {len(held_out)} held out",
            where=settings.data,
            fix="give more data, or held-out data of its own with --val-data",
        )
    return Lessons(train, held_out)


def held_out_lessons(data: str, faults: Faults) -> list[Lesson]:
    """只用来评估的数据：文件全取，故事世界取它的 val 划分。

    Args:
        data: 写法同 ``--data``；可以为空。
        faults: 坏数据的处置。
    """
    parts = filter(None, map(str.strip, data.split(",")))
    return [
        lesson for part in parts for lesson in _lessons(part, story_kind(part, KINDS, STORY_HELD_OUT), "val", faults)
    ]


def story_kind(text: str, kinds: tuple[str, ...], count: int = 0) -> StoryKind | None:
    """``storyworld:KIND:COUNT`` 或 ``storyworld:instructions@LEVEL:COUNT``；不是这样写的（是文件）为 ``None``。

    Args:
        text: ``--data`` 的一项。
        kinds: 认得的种类。
        count: 没有写明时的项数；0 表示由种类而定。

    Raises:
        UserError: 种类不认识，不分难度的写了难度，或一项也不要。
    """
    if not text.startswith("storyworld:"):
        return None
    match = STORY.fullmatch(text)
    is_ungraded = match is not None and match[2] is not None and match[1] != GRADED
    if match is None or match[1] not in kinds or is_ungraded or not int(match[3] or 1):
        graded = f"; {GRADED}@1 (to @3) takes one level only" if GRADED in kinds else ""
        raise UserError(
            f"cannot read {text[:60]!r}",
            where="--data",
            fix=f"write storyworld:KIND:COUNT, KIND one of {', '.join(kinds)}{graded}",
        )
    usual = count or (GRADED_COUNT if match[1] == GRADED else STORY_COUNT)
    return StoryKind(match[1], int(match[3] or usual), int(match[2]) if match[2] else None)


def _lessons(text: str, kind: StoryKind | None, split: str, faults: Faults) -> Iterator[Lesson]:
    if kind is not None:
        from tinygrad_llm.common.corpora import storyworld  # 用到才导入，``--help`` 因此立即可答

        graded = {} if kind.level is None else {"level": kind.level}
        sequence = getattr(storyworld, kind.name)(split=split, **graded)
        for index in range(kind.items):
            item = sequence[index]
            yield lesson_of(item.to_json(), item.id)
        return
    path = Path(text)
    if not path.is_file():
        raise UserError("no such data file", where=text, fix="give a .jsonl file, or storyworld:instructions:4000")
    yield from load_records(path, lesson_of, faults)


def lesson_of(record: object, source: str = "") -> Lesson:
    """一条记录变成一课；有 ``rule`` 的照它核对，否则要与最后一句回答一字不差（首尾的空白不计）。

    Args:
        record: 解析好的 JSON。
        source: 出处。

    Raises:
        BadInput: 不是一次对话，不以 assistant 的话结尾，或 ``rule`` 写得不对。
    """
    conversation = conversation_of(record, source)
    last = conversation.messages[-1]
    if last.role != "assistant":
        raise BadInput("the conversation does not end with an answer", "add the answer", "no answer")
    fields: dict[str, Any] = record if isinstance(record, dict) else {}
    rule = _rule(fields["rule"]) if isinstance(fields.get("rule"), dict) else Rule("exact", last.content.strip())
    named = [fields[name] for name in ("task", "lang") if isinstance(fields.get(name), str)]
    level = fields.get("level")
    return Lesson(conversation, rule, " ".join(named) if "task" in fields else "", level if type(level) is int else 0)


def _rule(fields: dict[str, Any]) -> Rule:
    """记录里的规则；``storyworld`` 写出的数据自带着它。"""
    name, value, count = fields.get("name"), fields.get("value", ""), fields.get("count", 0)
    words = fields.get("words", [])
    fits = name in rule_names() and isinstance(value, str) and type(count) is int and isinstance(words, list)
    if not fits or not all(isinstance(word, str) for word in words):
        known = ", ".join(rule_names())
        raise BadInput('"rule" is malformed', f"give a name ({known}), a value, a count and words", "malformed rule")
    if name == "json":
        try:
            json.loads(value)
        except (ValueError, RecursionError) as error:
            raise BadInput('the value of "rule" is no JSON', "repair the record", "malformed rule") from error
    return Rule(str(name), value, count, tuple(words))


def prompt_of(lesson: Lesson) -> Conversation:
    """最后一句回答之前的对话。"""
    messages: tuple[Message, ...] = lesson.conversation.messages[:-1]
    return Conversation(messages, lesson.conversation.source)
