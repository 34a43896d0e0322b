"""自由作答与写程序：成批地写出几个回答，逐个判，估计 pass@k。

流入：任务与受测的模型；流出：``AnswerScores``。下一个文件：``judging.py``。

一个样本、温度 0：就是通常的精确匹配。n 个样本：pass@k 用无偏估计，逐题算，再由各题重抽得到区间；同一题的样本并不独立，
所以区间按题、不按样本。几个种子各写一遍，看成绩随种子变多少。
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinygrad_llm.common.advantages import pass_at_k
from tinygrad_llm.common.decoding.request import Request, Sampling
from tinygrad_llm.common.decoding.scheduler import Scheduler
from tinygrad_llm.common.errors import UserError
from tinygrad_llm.common.evaluation.items import Item, Task
from tinygrad_llm.common.evaluation.likelihood import Candidate, start_id
from tinygrad_llm.common.evaluation.prompts import Prompter
from tinygrad_llm.common.evaluation.rules import is_right
from tinygrad_llm.common.sandbox import Limits, run_python
from tinygrad_llm.common.scoring import bootstrap_interval, score_of, seed_interval

__all__ = ["AnswerScores", "Sampled", "finished_texts", "program_of", "runs_ok", "score_answer_task", "write_answers"]

_FENCE = re.compile(r"```(?:python|py)?[ \t]*\n(.*?)(?:```|\Z)", re.DOTALL)
_CODE_STOPS = ("\nclass ", "\ndef ", "\n#", "\nif ", "\nprint(", "\nassert ", "\n@", "\n```\n")
_LINES = "\n\n"
SLOTS = 16


@dataclass(frozen=True)
class Sampled:
    """怎样写回答。

    Attributes:
        samples: 每题写几个。
        temperature: 温度；0 表示总取最可能的，那时写几个都一样。
        max_tokens: 一个回答至多几个 token。
        seed: 头一个样本的种子。
        stop: 停止串；空表示按题定：答案只有一行就停在换行，写程序的停在下一个顶格的语句，其余停在空行。
        seconds: 写程序的题，每次运行至多几秒。
    """

    samples: int = 1
    temperature: float = 0.0
    max_tokens: int = 64
    seed: int = 0
    stop: tuple[str, ...] = ()
    seconds: float = 5.0


@dataclass(frozen=True)
class AnswerScores:
    """一项自由作答或写程序的任务的结果。

    Attributes:
        task: 任务。
        texts: 每题写出的各个回答。
        correct: 每题各个回答对不对。
        truncated: 几题的题面太长，去掉了开头。
    """

    task: Task
    texts: tuple[tuple[str, ...], ...]
    correct: tuple[tuple[bool, ...], ...]
    truncated: int

    @property
    def shares(self) -> np.ndarray[Any, np.dtype[np.float64]]:
        """每题对了几成。"""
        return np.array([np.mean(row) for row in self.correct])

    def to_json(self, ks: tuple[int, ...] = ()) -> dict[str, Any]:
        """可以写成 JSON 的字典。

        Args:
            ks: 报哪几个 pass@k；只报不大于样本数的。
        """
        samples, task = len(self.correct[0]), self.task
        score = score_of(task.name, [row[0] for row in self.correct], task.chance)
        by_sample = np.array(self.correct, np.float64).mean(0)
        wanted = sorted({1, samples, *(k for k in ks if k <= samples)})
        groups = sorted({item.group for item in task.items} - {""})
        firsts = {name: [row[0] for row, item in zip(self.correct, task.items, strict=True) if item.group == name]
                  for name in groups}  # fmt: skip
        found: dict[str, Any] = {
            "kind": task.kind, "n": len(task.items), "digest": task.digest, "score": score.to_json(),
            "samples": samples, "truncated": self.truncated,
            "groups": {name: score_of(name, rows).to_json() for name, rows in firsts.items() if len(groups) > 1},
            "items": {
                "ids": [item.id for item in task.items], "values": self.shares.tolist(),
                "answers": [row[0][:400] for row in self.texts], "right": [item.answers[:1] for item in task.items],
            },
        }  # fmt: skip
        if samples > 1:
            found["pass_at_k"] = {str(k): self._pass_at(k) for k in wanted}
            spread = seed_interval(by_sample)
            found["seeds"] = {
                "values": by_sample.tolist(),
                "mean": spread.value,
                "low": spread.low,
                "high": spread.high,
            }
        return found

    def _pass_at(self, k: int) -> dict[str, float]:
        found = bootstrap_interval(np.array([pass_at_k(sum(row), len(row), k) for row in self.correct]))
        return {"value": found.value, "low": found.low, "high": found.high}


def score_answer_task(
    task: Task, candidate: Candidate, prompter: Prompter, how: Sampled, slots: int = SLOTS
) -> AnswerScores:
    """让模型作答，逐个判。

    Args:
        task: 自由作答或写程序的任务。
        candidate: 受测的模型。
        prompter: 怎样把题写成 id。
        how: 怎样写。
        slots: 同时写几个；不影响写出什么。

    Returns:
        结果。
    """
    texts, truncated = write_answers(task, candidate, prompter, how, slots)
    correct = tuple(
        tuple(
            runs_ok(item, answer, how.seconds) if item.kind == "code" else is_right(item, answer) for answer in answers
        )
        for item, answers in zip(task.items, texts, strict=True)
    )
    return AnswerScores(task, texts, correct, truncated)


def write_answers(
    task: Task, candidate: Candidate, prompter: Prompter, how: Sampled, slots: int = SLOTS
) -> tuple[tuple[tuple[str, ...], ...], int]:
    """每题写 ``how.samples`` 个回答；种子由 ``how.seed``、第几题、第几个样本决定，与同时还写着谁无关。

    Returns:
        各题的回答，与几题的题面太长而去掉了开头。

    Raises:
        UserError: 一个也写不下。
    """
    scheduler = Scheduler(candidate.open_slots(min(slots, len(task.items) * how.samples)), candidate.tokenizer)
    room = candidate.likelihood.context - how.max_tokens
    if room < 1:
        raise UserError(
            f"{how.max_tokens} tokens leave no room for a prompt in a context of {candidate.likelihood.context}",
            fix="lower --max-tokens",
        )
    owner: dict[int, tuple[int, int]] = {}
    truncated = 0
    ends = frozenset(candidate.tokenizer.special(name) for name in candidate.tokenizer.specials)
    for number, item in enumerate(task.items):
        prompt = prompter.prompt(task, item) or [start_id(candidate.tokenizer)]
        truncated += len(prompt) > room
        sampling = Sampling(temperature=how.temperature, seed=(how.seed + 1_000_003 * number) % 2**63)
        stop = how.stop or _stops(item)
        request = Request(tuple(prompt[-room:]), how.max_tokens, sampling, stop, ends)
        for copy, id in enumerate(scheduler.submit_copies(request, how.samples)):
            owner[id] = number, copy
    texts = [[""] * how.samples for _ in task.items]
    for id, text in finished_texts(scheduler):
        number, copy = owner[id]
        texts[number][copy] = text
    return tuple(map(tuple, texts)), truncated


def finished_texts(scheduler: Scheduler) -> Iterator[tuple[int, str]]:
    """让排着的请求都写完。

    Args:
        scheduler: 已经交过请求的调度器。

    Yields:
        写完的请求的号与它的全文，先写完的在前。

    Raises:
        UserError: 有一个请求走不下去。
    """
    written: dict[int, str] = {}
    for event in scheduler.run():
        if event.error is not None:
            raise event.error
        assert event.step is not None
        written[event.id] = written.get(event.id, "") + event.step.text
        if event.is_last:
            yield event.id, written.pop(event.id)


def _stops(item: Item) -> tuple[str, ...]:
    if item.kind == "code":
        return _CODE_STOPS
    return (_LINES,) if any("\n" in answer for answer in item.answers) or item.rule == "regex" else ("\n",)


def program_of(item: Item, answer: str) -> str:
    """回答变成可以运行的程序：有代码块就取头一块，它自成一个程序；否则接在题面之后。"""
    fenced = _FENCE.search(answer)
    return fenced[1] if fenced else item.prompt + answer


def runs_ok(item: Item, answer: str, seconds: float = 5.0) -> bool:
    """程序在沙箱里通过了全部检查吗。

    结尾印出一个临时的暗号，没有印出就不算：中途退出的程序也以 0 结束。

    Args:
        item: 写程序的题。
        answer: 回答。
        seconds: 至多运行几秒。
    """
    secret = secrets.token_hex(16)
    program = f"{program_of(item, answer)}\n\n{item.tests}\nprint({secret!r})\n"
    outcome = run_python(program, Limits(seconds=seconds))
    return outcome.ending == "ok" and outcome.stdout.rstrip().endswith(secret)
