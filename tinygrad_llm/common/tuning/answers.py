"""让模型答留作评估的题，再照规则核对：贪心解码，许多题一起写。

流入：引擎与一道道题；流出：答案，与对了几道。每次评估都是同样的题，所以训练前后可以比较。下一个文件：``sft.py``。
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tinygrad_llm.common.corpora.storyworld.checks import check_by_rule
from tinygrad_llm.common.corpora.storyworld.items import Rule
from tinygrad_llm.common.decoding.request import Request, Sampling
from tinygrad_llm.common.decoding.scheduler import Scheduler
from tinygrad_llm.common.engine import Engine
from tinygrad_llm.common.tokenizers import Tokenizer

__all__ = ["SLOTS", "Answered", "Quiz", "answer_all", "by_task"]

SLOTS = 16
"""同时写几个答案。"""


@dataclass(frozen=True)
class Quiz:
    """一道题。

    Attributes:
        prompt: 到回答开口之处的 id。
        rule: 怎样核对。
        question: 给人看的问题。
        task: 题型；可以为空。
        level: 难度；没有为 0。
    """

    prompt: tuple[int, ...]
    rule: Rule
    question: str
    task: str = ""
    level: int = 0


@dataclass(frozen=True)
class Answered:
    """答过的一道题。

    Attributes:
        quiz: 题。
        text: 模型写的。
        is_right: 合不合规则。
    """

    quiz: Quiz
    text: str
    is_right: bool


def answer_all(
    engine: Engine,
    tokenizer: Tokenizer,
    quizzes: Sequence[Quiz],
    *,
    stop: frozenset[int],
    max_tokens: int,
    context: int,
) -> list[Answered]:
    """逐题贪心地答，再核对。

    Args:
        engine: 引擎；用它眼下的权重。
        tokenizer: 分词器。
        quizzes: 题；开头都装得进上下文。
        stop: 停止 token。
        max_tokens: 一题至多写几个 token。
        context: 模型的上下文。

    Returns:
        与 ``quizzes`` 同样次序的答案。
    """
    if not quizzes:
        return []
    longest = min(context, max(len(one.prompt) for one in quizzes) + max_tokens)
    scheduler = Scheduler(engine.slots(min(SLOTS, len(quizzes)), longest), tokenizer, chunk=max(256, longest))
    sampling = Sampling(temperature=0.0)
    order = [scheduler.submit(Request(one.prompt, max_tokens, sampling, (), stop)) for one in quizzes]
    texts: dict[int, list[str]] = {id: [] for id in order}
    for event in scheduler.run():
        if event.step is not None:
            texts[event.id].append(event.step.text)
    written = ["".join(texts[id]) for id in order]
    return [
        Answered(quiz, text, check_by_rule(quiz.rule, text).ok) for quiz, text in zip(quizzes, written, strict=True)
    ]


def by_task(answered: Sequence[Answered]) -> Mapping[str, tuple[int, int]]:
    """每个题型对了几道、共几道；按名字排列。"""
    found: dict[str, tuple[int, int]] = {}
    for one in sorted(answered, key=lambda one: one.quiz.task):
        right, total = found.get(one.quiz.task, (0, 0))
        found[one.quiz.task] = right + one.is_right, total + 1
    return found
