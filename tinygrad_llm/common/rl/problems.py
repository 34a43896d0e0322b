"""可以核对的题目：算术、抄写、格式、故事世界的问题，自己的 JSONL 文件，或 reasoning-gym 的一种。

流入：题目的名字与种子；流出：``Problems``，第 i 题是参数的纯函数，训练与留出的题没有一道相同。
下一个文件：``rewards.py``（一个回答得几分）。

JSONL 每行一题：``prompt``、``answer``，与可有可无的 ``check``（``exact``、``number``、``contains``）；
``data storyworld instructions --out`` 写出的文件（带着 ``rule``）也认得。
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_llm.common.errors import DataError, UserError
from tinygrad_llm.common.rl.rewards import CHECKS, Check, Problem

__all__ = ["TASKS", "Problems", "open_problems"]

TASKS: dict[str, tuple[str, ...]] = {
    "arithmetic": ("add", "subtract", "multiply"),
    "copy": ("copy", "reverse"),
    "format": ("json", "bullets", "words"),
    "questions": (),
}
"""题目的名字，与它用到的故事世界的题型；``questions`` 是关于短文与世界的问题。"""
WORLD, GYM = "storyworld:", "gym:"
"""``storyworld:first+last`` 是点名的几个题型，``gym:NAME`` 是 reasoning-gym 的一种题目。"""
GYM_SIZE = 100_000


@dataclass(frozen=True)
class Problems:
    """一组题目。

    Attributes:
        name: 名字。
        at: 取第 i 题。
        size: 有几题；``None`` 表示要多少有多少。
        digest: 内容的摘要；由程序出的题就是名字与参数。
    """

    name: str
    at: Callable[[int], Problem]
    size: int | None
    digest: str

    def draw(self, first: int, count: int, seed: int) -> list[Problem]:
        """训练时的第 ``first`` 题起的几题：题有限时每轮打乱一次，无限时依次往下取。

        Args:
            first: 从第几题起。
            count: 几题。
            seed: 打乱的种子。
        """
        from tinygrad_llm.common.batches.order import drawn

        if self.size is None:
            return [self.at(first + i) for i in range(count)]
        return [self.at(int(i)) for i in drawn(first, np.arange(count), self.size, seed)]

    def head(self, count: int) -> list[Problem]:
        """前几题：每次评估都用同样的。"""
        return [self.at(i) for i in range(count if self.size is None else min(count, self.size))]


def open_problems(
    task: str, *, lang: str = "en", level: int = 0, seed: int = 0, val_fraction: float = 0.1
) -> tuple[Problems, Problems]:
    """训练用的与留出的题目。

    Args:
        task: ``TASKS`` 里的名字、``storyworld:题型+题型``、JSONL 文件的路径，或 ``gym:NAME``。
        lang: 故事世界的语言。
        level: 故事世界的难度，0 为混合；``questions`` 不分难度。
        seed: 出题的种子。
        val_fraction: 文件末尾留出的比例。

    Raises:
        UserError: 没有这种题目，或没有装 reasoning-gym。
        DataError: 文件打不开，或某一行不是一道题。
    """
    if task in TASKS or task.startswith(WORLD):
        return _storyworld(task, lang, level, seed, "train"), _storyworld(task, lang, level, seed, "test")
    if task.startswith(GYM):
        return _gym(task.removeprefix(GYM), seed), _gym(task.removeprefix(GYM), seed + 1)
    if not Path(task).suffix:
        raise UserError(
            f"no such task: {task[:60]!r}",
            fix=f"use {', '.join(TASKS)}, {WORLD}TYPE+TYPE, {GYM}NAME, or the path of a JSONL file",
        )
    return _from_file(Path(task), val_fraction)


def _storyworld(task: str, lang: str, level: int, seed: int, split: str) -> Problems:
    from tinygrad_llm.common.corpora import storyworld as world

    if task.startswith(WORLD):
        types = tuple(task.removeprefix(WORLD).split("+"))
    else:
        types = TASKS[task]
    if not types:
        items: Any = world.questions(seed, lang, split)
    else:
        items = world.instructions(seed, lang, split, tasks=types, level=level or None)

    def at(index: int) -> Problem:
        item = items[index]
        return Problem(item.prompt, item.answer, item.id, lambda text: float(world.check(item, text).ok))

    return Problems(task, at, None, f"storyworld {world.VERSION} {task} {lang} {level} {seed} {split}")


def _gym(name: str, seed: int) -> Problems:
    """reasoning-gym 的一种；它自己出题，自己评分（0 到 1）。用 0.1.19 版真跑过。"""
    import importlib

    try:
        gym = importlib.import_module("reasoning_gym")
    except ModuleNotFoundError as error:
        raise UserError(
            "reasoning-gym is not installed", where=f"--task {GYM}{name}", fix="pip install reasoning-gym"
        ) from error
    try:
        made = gym.create_dataset(name, size=GYM_SIZE, seed=seed)
    except ValueError as error:
        raise UserError(
            f"reasoning-gym: {error}", where=f"--task {GYM}{name}", fix="use one of its datasets"
        ) from error

    def at(index: int) -> Problem:
        entry = made[index % GYM_SIZE]
        score: Check = lambda text: float(made.score_answer(answer=text.strip(), entry=entry))
        return Problem(entry["question"], str(entry["answer"]), f"{GYM}{name}/{seed}/{index}", score)

    return Problems(f"{GYM}{name}", at, None, f"{GYM}{name} {getattr(gym, '__version__', '')} {seed}")


def _from_file(path: Path, val_fraction: float) -> tuple[Problems, Problems]:
    """整个文件读进来，末尾的一部分留出。"""
    import hashlib

    try:
        text = path.read_bytes()
        lines = text.decode("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read the problems: {error}", where=str(path), fix="give a UTF-8 JSONL file") from error
    found = [_problem(line, f"{path}:{number}") for number, line in enumerate(lines, start=1) if line.strip()]
    held = max(1, round(len(found) * val_fraction))
    if len(found) < 2:
        raise DataError(
            f"{len(found)} problems are too few: some are held out", where=str(path), fix="give two or more"
        )
    digest, cut = hashlib.sha256(text).hexdigest(), len(found) - held
    parts = found[:cut], found[cut:]
    train, val = (Problems(str(path), part.__getitem__, len(part), f"{digest} {held}") for part in parts)
    return train, val


def _problem(line: str, where: str) -> Problem:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"malformed JSON: {error}", where=where, fix="write one problem a line") from error
    wanted = 'write {"prompt": "...", "answer": "...", "check": "exact"}'
    if not isinstance(record, dict) or not all(isinstance(record.get(key), str) for key in ("prompt", "answer")):
        raise DataError('a problem needs the strings "prompt" and "answer"', where=where, fix=wanted)
    if not record["prompt"].strip():
        raise DataError("the prompt is empty", where=where, fix=wanted)
    if "rule" in record and "check" not in record:
        return _ruled(record, where)
    check = record.get("check", "exact")
    if check not in CHECKS:
        raise DataError(f"unknown check {str(check)[:40]!r}", where=where, fix=f"use one of {', '.join(CHECKS)}")
    answer, judge = record["answer"], CHECKS[check]
    return Problem(record["prompt"], answer, where, lambda text: judge(text, answer))


def _ruled(record: dict[str, Any], where: str) -> Problem:
    """故事世界写出的一题：照它带着的规则核对。"""
    from tinygrad_llm.common.corpora.storyworld.items import Answerable, Rule

    rule = record["rule"]
    names = ("exact", "json", "words", "bullets", "refuse", "comply")
    try:
        made = Rule(rule["name"], str(rule.get("value", "")), int(rule.get("count", 0)), tuple(rule.get("words", ())))
        if made.name not in names:
            raise ValueError(made.name)
        if made.name == "json":
            json.loads(made.value)
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise DataError(
            f"the rule is malformed: {error}", where=where, fix=f"name one of {', '.join(names)}"
        ) from error
    item = Answerable(where, "en", "train", "file", record["prompt"], record["answer"], made)
    from tinygrad_llm.common.corpora.storyworld.checks import check_answer

    return Problem(item.prompt, item.answer, where, lambda text: float(check_answer(item, text).ok))
