"""奖励：一个回答得几分。核对得来的分（对 1 错 0）是我们真正要的；别的奖励只是它的近似，有空子可钻。

流入：题目与回答的文字；流出：分数。下一个文件：``rollouts.py``。
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

__all__ = ["CHECKS", "REWARDS", "Check", "Problem", "RewardName"]

Check = Callable[[str], float]
RewardName = Literal["verified", "contains", "short"]

_NUMBER = re.compile(r"[-+]?\d+(?:[.,]\d+)*")


@dataclass(frozen=True)
class Problem:
    """一道题。

    Attributes:
        prompt: 提示。
        answer: 标准答案。
        source: 出处。
        verify: 核对一个回答，0 到 1；对任何文字都有结果。
    """

    prompt: str
    answer: str
    source: str
    verify: Check


def exact(text: str, answer: str) -> float:
    """首尾的空白不计，与答案一字不差。"""
    return float(text.strip() == answer.strip())


def number(text: str, answer: str) -> float:
    """回答里的最后一个数等于答案里的最后一个；写法不同（``1,000`` 与 ``1000.0``）不要紧。"""
    ours, wanted = _last_number(text), _last_number(answer)
    return float(ours is not None and ours == wanted)


def contains(text: str, answer: str) -> float:
    """回答里出现过答案。"""
    return float(answer.strip() in text)


def _last_number(text: str) -> float | None:
    found = _NUMBER.findall(text)
    if not found:
        return None
    try:
        return float(found[-1].replace(",", ""))
    except ValueError:  # 1.2.3 之类
        return None


CHECKS: dict[str, Callable[[str, str], float]] = {"exact": exact, "number": number, "contains": contains}
"""JSONL 里 ``check`` 的几种：标准答案怎样核对。"""


def _short(problem: Problem, text: str) -> float:
    """核对对了才有分，越长越少：每个字符扣 1 %，至多扣一半。"""
    return problem.verify(text) * (1 - 0.5 * min(len(text) / 50, 1))


REWARDS: dict[RewardName, Callable[[Problem, str], float]] = {
    "verified": lambda problem, text: problem.verify(text),
    "contains": lambda problem, text: contains(text, problem.answer),
    "short": _short,
}
"""拿什么当奖励：核对的结果；答案出现过就算（会被钻空子，见 ``hacking.py``）；核对对了而且短。"""
