"""偏好的数据：一问两答（一好一坏），或一问一答与它的好坏。

流入：JSONL 文件或故事世界；流出：一条条 ``Compared``，以及它们的 id。下一个文件：``preferences.py``。

==========  ==============================================================================================
成对         ``{"prompt": "…", "chosen": "…", "rejected": "…"}``
对话形式     ``prompt`` 是消息的列表，``chosen``、``rejected`` 各是只有一句 assistant 的话的列表
不写提示     ``chosen``、``rejected`` 各是整个对话，只有最后一句不同
不成对       ``{"prompt": "…", "completion": "…", "label": true}``，也可以是对话形式；只有 KTO 用得上
==========  ==============================================================================================
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from tinygrad_llm.common.batches.preferences import PreferencePair
from tinygrad_llm.common.chat import Conversation, Message, Template, render, render_prompt
from tinygrad_llm.common.chat.conversation import order_problem
from tinygrad_llm.common.chat.loading import SPEAKERS, load_records
from tinygrad_llm.common.corpora.faults import BadInput, Faults
from tinygrad_llm.common.errors import DataError, UserError
from tinygrad_llm.common.tokenizers.interface import TextTokenizer
from tinygrad_llm.common.tuning.lessons import StoryKind, story_kind

__all__ = ["Compared", "compared_of", "encoded_pairs", "load_compared", "mismatched_pairs"]

KINDS = ("preferences",)
STORY_HELD_OUT = 200
"""故事世界留作评估的，取它 val 划分的多少对。"""
_FORMATS = 'use {"prompt": "...", "chosen": "...", "rejected": "..."}'


class _Settings(Protocol):
    data: str
    val_data: str
    val_fraction: float
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Compared:
    """一个提示与它的回答。

    Attributes:
        prompt: 提示，最后一句是 user 的。
        good: 好的回答；只有一个回答而它不好时为空串。
        bad: 差的回答；只有一个回答而它好时为空串。
        source: 出处，「文件:行号」或数据项的名字。
    """

    prompt: tuple[Message, ...]
    good: str
    bad: str
    source: str

    @property
    def is_paired(self) -> bool:
        """两个回答是不是都有。"""
        return bool(self.good and self.bad)


def load_compared(settings: _Settings, faults: Faults) -> tuple[list[Compared], list[Compared]]:
    """读出全部偏好，分成训练与留作评估的两份。

    没有 ``--val-data`` 时，文件留下末尾 ``--val-fraction`` 的一段，故事世界用它的 val 划分（与训练没有一项相同）。

    Args:
        settings: 设置。
        faults: 坏数据的处置。

    Raises:
        UserError: 没有这个文件，或写法不对。
        DataError: 文件里有坏的，而设置不许略过；或一条也不剩。
    """
    train: list[Compared] = []
    held_out: list[Compared] = []
    for part in map(str.strip, settings.data.split(",")):
        kind = story_kind(part, KINDS)
        found = list(_items(part, kind, "train", settings.reasons, faults))
        kept = len(found)
        if kind is not None and not settings.val_data:
            held_out += _items(part, kind._replace(items=STORY_HELD_OUT), "val", settings.reasons, faults)
        elif not settings.val_data:
            kept -= max(1, round(len(found) * settings.val_fraction))
        train += found[:kept]
        held_out += found[kept:]
    for part in filter(None, map(str.strip, settings.val_data.split(","))):
        held_out += _items(part, story_kind(part, KINDS, STORY_HELD_OUT), "val", settings.reasons, faults)
    if not train or not held_out:
        raise DataError(
            f"too few preferences: {len(train)} to train on, {len(held_out)} held out",
            where=settings.data,
            fix="give more data, or held-out data of its own with --val-data",
        )
    return train, held_out


def _items(
    text: str, kind: StoryKind | None, split: str, reasons: tuple[str, ...], faults: Faults
) -> Iterator[Compared]:
    if kind is None:
        if not Path(text).is_file():
            raise UserError("no such data file", where=text, fix="give a .jsonl file, or storyworld:preferences:2000")
        yield from load_records(Path(text), compared_of, faults)
        return
    from tinygrad_llm.common.corpora import storyworld  # 用到才导入，``--help`` 因此立即可答

    items = (one for one in storyworld.preferences(split=split) if not reasons or one.reason in reasons)
    for item in islice(items, kind.items):
        yield Compared((Message("user", item.prompt),), item.chosen, item.rejected, item.id)


def compared_of(record: object, source: str = "") -> Compared:
    """一条记录；格式由它有哪些字段认出。

    Args:
        record: 解析好的 JSON。
        source: 出处。

    Raises:
        BadInput: 不是认得的格式，缺了字段，或回答是空的。
    """
    if not isinstance(record, dict):
        raise BadInput("the line does not hold a JSON object", _FORMATS, "not an object")
    if "completion" in record:
        if not isinstance(record.get("label"), bool):
            raise BadInput('the field "label" must be true or false', "repair the record", "missing field")
        prompt, (answer,) = _sides(record, ("completion",))
        good, bad = (answer, "") if record["label"] else ("", answer)
    else:
        prompt, (good, bad) = _sides(record, ("chosen", "rejected"))
        if good == bad:
            raise BadInput("the chosen and the rejected answer are the same", "drop the record", "same answers")
    problem = order_problem([*prompt, Message("assistant", good or bad)])
    if problem:
        raise BadInput(problem, "the prompt must end with user", "wrong order, or an empty message")
    return Compared(tuple(prompt), good, bad, source)


def _sides(record: dict[str, Any], names: tuple[str, ...]) -> tuple[list[Message], list[str]]:
    """提示与各个回答。"""
    for name in names:
        if name not in record:
            raise BadInput(f'the field "{name}" is missing', _FORMATS, "missing field")
    said = [_messages(record[name], name, "assistant") for name in names]
    if "prompt" in record:
        prompt = _messages(record["prompt"], "prompt", "user")
        if any(len(one) != 1 for one in said):
            raise BadInput("an answer must be one assistant message", "repair the record", "malformed message")
    else:
        prompt = said[0][:-1]
        if not prompt:
            raise BadInput('the field "prompt" is missing', _FORMATS, "missing field")
        if any(one[:-1] != prompt for one in said):
            problem = "the chosen and the rejected conversation differ before their last message"
            raise BadInput(problem, "give both the same prompt", "different prompts")
    for name, one in zip(names, said, strict=True):
        if one[-1].role != "assistant":
            raise BadInput(f'the last message of "{name}" is not from assistant', "repair the record", "unknown role")
        if not one[-1].content.strip():
            raise BadInput(f'the answer "{name}" is empty', "fill it in, or drop the record", "empty answer")
    return prompt, [one[-1].content for one in said]


def _messages(value: object, name: str, role: Any) -> list[Message]:
    """一段文字，或一列消息。"""
    if isinstance(value, str):
        return [Message(role, value)]
    if not isinstance(value, list) or not value:
        raise BadInput(f'"{name}" is neither a string nor a list of messages', _FORMATS, "malformed message")
    found = []
    for number, turn in enumerate(value, start=1):
        fields = [turn.get("role"), turn.get("content")] if isinstance(turn, dict) else [None, None]
        if not all(isinstance(one, str) for one in fields) or fields[0] not in SPEAKERS:
            problem = f'message {number} of "{name}" needs a known "role" and a string "content"'
            raise BadInput(problem, "repair the record", "malformed message")
        found.append(Message(SPEAKERS[str(fields[0])], str(fields[1])))
    return found


# ---- 文字变成 id ----


def encoded_pairs(
    items: Iterable[Compared], tokenizer: TextTokenizer, template: Template, faults: Faults
) -> Iterator[PreferencePair]:
    """成对的偏好的 id；每个回答以恰好一个结束 token 收尾。

    Args:
        items: 偏好，须都成对。
        tokenizer: 分词器。
        template: 模板。
        faults: 不成对的怎样处置。
    """
    for item in items:
        if not item.is_paired:
            faults.report(
                "the record has one answer only", item.source, "use --loss kto", reason="one answer instead of two"
            )
            continue
        prompt = render_prompt(Conversation(item.prompt, item.source), tokenizer, template).ids
        good, bad = (_answer(item, text, len(prompt), tokenizer, template) for text in (item.good, item.bad))
        yield PreferencePair(prompt, good, bad, item.source)


def mismatched_pairs(
    items: Iterable[Compared], tokenizer: TextTokenizer, template: Template, seed: int
) -> Iterator[PreferencePair]:
    """KTO 的数据：每个回答单独一条，``rejected`` 一边是配错的——别的提示的回答。

    配给谁由种子决定，与步号、批次都无关，参考模型因此只须算一遍。

    Args:
        items: 偏好，成对的算两条。
        tokenizer: 分词器。
        template: 模板。
        seed: 种子。

    Raises:
        DataError: 只有一个提示，配不出错的。
    """
    from tinygrad_llm.common.initial import philox

    rows: list[tuple[Compared, str, bool]] = []
    for item in items:
        rows += [(item, text, good) for text, good in ((item.good, True), (item.bad, False)) if text]
    if not rows:
        return
    turn = int(philox(seed, "mismatched answers").integers(len(rows)))
    for number, (item, text, is_good) in enumerate(rows):
        other = _other_prompt(rows, number, turn)
        prompt = render_prompt(Conversation(item.prompt, item.source), tokenizer, template).ids
        own, theirs = (_answer(item, one, len(prompt), tokenizer, template) for one in (text, other))
        yield PreferencePair(prompt, own, theirs, item.source, is_good)


def _other_prompt(rows: Sequence[tuple[Compared, str, bool]], number: int, turn: int) -> str:
    """从相隔 ``turn`` 处往后，第一个提示不同的回答。"""
    prompt = rows[number][0].prompt
    for step in range(len(rows)):
        item, text, _ = rows[(number + turn + step) % len(rows)]
        if item.prompt != prompt:
            return text
    raise DataError(
        "all records share one prompt: KTO needs answers to other prompts for its baseline",
        where=rows[number][0].source,
        fix="add other prompts, or use another --loss",
    )


def _answer(item: Compared, text: str, start: int, tokenizer: TextTokenizer, template: Template) -> list[int]:
    """一个回答要学的 id，含结束符。"""
    whole = render(
        Conversation((*item.prompt, Message("assistant", text)), item.source), tokenizer, template, train_on="last"
    )
    return [id_ for id_, is_trained in zip(whole.ids[start:], whole.loss_mask[start:], strict=True) if is_trained]
