"""题：选择题、有标准答案的题、写程序的题、给裁判看的题；从 JSON lines 读来，种类由它有哪些字段认出。

流入：文件；流出：``Task``。下一个文件：``stories.py``（不必有文件的题），``prompts.py``（题怎样变成 id）。

===========  =====================================================================================
选择题        ``{"prompt", "options": [...], "answer": 序号、字母或选项原文}``；``choices`` 与 ``options`` 同义
自由作答      ``{"prompt", "answer": 文字或一列可接受的文字, "rule": "text"}``；规则见 ``rules.py``
写程序        ``{"prompt", "tests": "assert ..."}``；写出的程序接上 ``tests`` 在沙箱里运行
给裁判        ``{"prompt", "response", "label": 数}``：一个回答与人给它的分
===========  =====================================================================================

没有 ``prompt`` 的，由 ``context``（可以没有）与 ``question`` 拼成，以「Answer:」结尾；有中文时以「答案：」结尾。
``id`` 可以不写；``group`` 把题分成几类，各报一个成绩。
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tinygrad_llm.common.corpora.faults import BadInput
from tinygrad_llm.common.corpora.opening import BROKEN_STREAM, explain, open_bytes
from tinygrad_llm.common.errors import DataError

__all__ = ["Item", "Kind", "Task", "asked", "read_task"]

Kind = Literal["choice", "answer", "code", "judge"]
RULES = ("exact", "text", "contains", "number", "regex")
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_ENDING = re.compile(r"\s*(?:Answer:|答案：|Label:|类别：)\s*\Z")
_CHINESE = re.compile(r"[\u3400-\u9fff\u3000-\u303f\uff00-\uffef]")


@dataclass(frozen=True)
class Item:
    """一道题。

    Attributes:
        id: 名字，一个任务里各不相同。
        kind: 种类。
        prompt: 题面，模型从它的结尾写起。
        options: 选项；只有选择题有。
        answers: 可接受的答案；选择题是正确的那个选项。
        right: 选择题里正确选项的序号。
        rule: 怎样判；``storyworld`` 表示照 ``check`` 核对。
        check: 故事世界的核对规则。
        tests: 写程序的题的检查。
        response: 给裁判看的回答。
        label: 人给这个回答的分。
        group: 类别；空表示不分。
        user: 以对话来问时，用户说的话；空表示就是题面。
        system: 以对话来问时的 system；空表示没有。
    """

    id: str
    kind: Kind
    prompt: str
    options: tuple[str, ...] = ()
    answers: tuple[str, ...] = ()
    right: int = 0
    rule: str = "text"
    check: Mapping[str, Any] | None = None
    tests: str = ""
    response: str = ""
    label: float = 0.0
    group: str = ""
    user: str = ""
    system: str = ""

    @property
    def question(self) -> str:
        """题面，不含「Answer:」之类的结尾。"""
        return self.user or _ENDING.sub("", self.prompt).strip()

    @property
    def contents(self) -> tuple[str, ...]:
        """查泄题时找的几段：题面，题面连同答案，检查与回答。"""
        return tuple(
            filter(None, (self.question, "\n".join([self.question, *self.answers[:1]]), self.tests, self.response))
        )


@dataclass(frozen=True)
class Task:
    """一项任务。

    Attributes:
        name: 名字。
        items: 各道题，同一种类。
        pool: 示例从这里抽；与 ``items`` 是同一批时，不抽正在考的那一道。
    """

    name: str
    items: tuple[Item, ...]
    pool: tuple[Item, ...]

    @property
    def kind(self) -> Kind:
        """种类。"""
        return self.items[0].kind

    @property
    def chance(self) -> float:
        """靠猜的正确率：选择题是选项数倒数的平均，自由作答是 0，裁判的次序是 0。"""
        return sum(1 / len(item.options) for item in self.items) / len(self.items) if self.kind == "choice" else 0.0

    @property
    def digest(self) -> str:
        """各题内容的 SHA-256：只有同样的题才能逐题相比。"""
        parts = [(item.id, item.prompt, item.options, item.answers, item.tests, item.response) for item in self.items]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def read_task(path: Path, limit: int | None = None, pool: Path | None = None) -> Task:
    """从 JSON lines 文件读一项任务。

    Args:
        path: 文件，可以是 ``.gz`` 与 ``.zst``。
        limit: 至多几题；``None`` 不限。
        pool: 示例取自这个文件；缺省取自同一个文件。

    Returns:
        任务。

    Raises:
        DataError: 读不了，没有题，有一行不是题，或混着几个种类；消息里有行号。
    """
    items = _read(path)
    examples = items if pool is None else _read(pool)
    if examples[0].kind != items[0].kind:
        raise DataError(f"the examples are of kind {examples[0].kind!r}, not {items[0].kind!r}", where=str(pool))
    return Task(path.stem.partition(".")[0], items[:limit], examples)


def _read(path: Path) -> tuple[Item, ...]:
    found: list[Item] = []
    number = 0
    try:
        with open_bytes(path) as stream:
            for number, line in enumerate(stream, start=1):
                if line.strip():
                    found.append(_item(json.loads(line.decode("utf-8-sig")), str(number)))
    except BROKEN_STREAM as error:
        raise _broken(explain(error), path, number) from error
    except BadInput as bad:
        raise _broken(bad, path, number) from bad
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"not a JSON object: {str(error)[:80]}", where=f"{path}:{number}", fix="write one item a line"
        ) from error
    kinds, ids = {item.kind for item in found}, [item.id for item in found]
    if not found or len(kinds) > 1:
        raise DataError(
            f"the file mixes {' and '.join(sorted(kinds))} items" if found else "the file has no items",
            where=str(path), fix="put items of one kind into a file",
        )  # fmt: skip
    if len(set(ids)) < len(ids):
        raise DataError("two items have the same id", where=str(path), fix="make the ids distinct, or leave them out")
    return tuple(found)


def _broken(bad: BadInput, path: Path, number: int) -> DataError:
    return DataError(bad.problem, where=f"{path}:{number}" if number else str(path), fix=bad.fix)


def _item(record: Any, number: str) -> Item:
    """一条记录变成一道题。

    Raises:
        BadInput: 认不出，或缺了什么。
    """
    if not isinstance(record, dict):
        raise _bad("the line does not hold a JSON object")
    prompt, user = _prompt(record)
    common: dict[str, Any] = {
        "id": str(record.get("id", number)), "prompt": prompt, "user": user,
        "group": str(record.get("group", record.get("task", ""))), "system": str(record.get("system", "")),
    }  # fmt: skip
    options = record.get("options", record.get("choices"))
    if options is not None:
        return _choice(record, options, common)
    if "tests" in record or "test" in record:
        tests = str(record.get("tests", record.get("test")))
        if name := record.get("entry_point"):  # 另一种常见的写法：tests 定义 check(candidate)
            tests += f"\ncheck({name})"
        return Item(kind="code", tests=tests, **common)
    if "response" in record and "label" in record:
        if not isinstance(record["response"], str) or not isinstance(record["label"], int | float):
            raise _bad('"response" must be a string and "label" a number')
        return Item(kind="judge", response=record["response"], label=float(record["label"]), **common)
    if "answer" not in record:
        raise _bad(f"no answer, options, tests or response; the fields are {', '.join(map(str, record))[:80]}")
    answers = record["answer"] if isinstance(record["answer"], list) else [record["answer"]]
    rule = record.get("rule", "text")
    if isinstance(rule, dict):
        return Item(kind="answer", answers=tuple(map(str, answers)), rule="storyworld", check=rule, **common)
    if rule not in RULES or not answers:
        raise _bad(f"unknown rule {str(rule)[:40]!r}: use one of {', '.join(RULES)}" if answers else "no answer")
    return Item(kind="answer", answers=tuple(map(str, answers)), rule=rule, **common)


def _prompt(record: Mapping[str, Any]) -> tuple[str, str]:
    """题面，与以对话来问时用户说的话。"""
    context, question = (str(record.get(name, "")) for name in ("context", "question"))
    if question and ("options" in record or "choices" in record or "prompt" not in record):
        return asked(context, question), "\n".join(part for part in (context, question) if part)
    if not isinstance(record.get("prompt"), str):
        raise _bad('the record needs the string "prompt" or "question"')
    return record["prompt"], ""


def asked(context: str, question: str) -> str:
    """短文与问句拼成题面。"""
    ending = "答案：" if _CHINESE.search(question) else "Answer:"
    return "\n".join(part for part in (context, question, ending) if part)


def _choice(record: Mapping[str, Any], options: Any, common: dict[str, Any]) -> Item:
    if not isinstance(options, list) or len(options) < 2 or not all(isinstance(one, str) and one for one in options):
        raise _bad("the options must be two or more non-empty strings")
    right = _right(record, options)
    return Item(kind="choice", options=tuple(options), right=right, answers=(options[right],), **common)


def _right(record: Mapping[str, Any], options: Sequence[str]) -> int:
    """正确选项的序号：写成序号、字母或原文都认得。"""
    answer = record.get("answer_index", record.get("answer", record.get("label")))
    if isinstance(answer, int) and not isinstance(answer, bool) and 0 <= answer < len(options):
        return answer
    if isinstance(answer, str):
        if answer in options:
            return options.index(answer)
        letter = _LETTERS.find(answer) if len(answer) == 1 else -1
        if 0 <= letter < len(options):
            return letter
    raise _bad(f"the answer {str(answer)[:40]!r} names none of the {len(options)} options")


def _bad(problem: str) -> BadInput:
    return BadInput(problem, "see the formats in the documentation of common/evaluation/items.py", "not an item")
