"""选择题：每个选项当作题面的下文，看模型给它多大的概率。

流入：任务与受测的模型；流出：``ChoiceScores``。下一个文件：``rules.py``（自由作答怎样判）。

三种比法一起报：``sum`` 是对数似然之和，``token`` 除以 token 数，``byte`` 除以选项的字节数（题面与选项之间的空格不算）。
把握是选项之间的 softmax：同一种比法的分数作 logits，所以长选项不因为长而显得没有把握。
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinygrad_llm.common.evaluation.items import Task
from tinygrad_llm.common.evaluation.likelihood import Candidate, Row, continuation, score_rows, start_id
from tinygrad_llm.common.evaluation.prompts import Prompter
from tinygrad_llm.common.scoring import Score, calibration, score_choices, score_of
from tinygrad_llm.common.scoring.scores import Normalisation

__all__ = ["NORMALISATIONS", "ChoiceScores", "score_choice_task"]

NORMALISATIONS: tuple[Normalisation, ...] = ("sum", "token", "byte")


@dataclass(frozen=True)
class ChoiceScores:
    """一项选择题任务的结果。

    Attributes:
        task: 任务（按字母作答时是改写过的）。
        logprobs: 每题各选项的对数似然之和。
        tokens: 每题各选项的 token 数。
        n_bytes: 每题各选项的字节数。
        truncated: 几题的题面太长，去掉了开头。
    """

    task: Task
    logprobs: tuple[tuple[float, ...], ...]
    tokens: tuple[tuple[int, ...], ...]
    n_bytes: tuple[tuple[int, ...], ...]
    truncated: int

    def chosen(self, normalisation: Normalisation) -> NDArray[np.int64]:
        """每题选了第几个。"""
        rows = zip(self.logprobs, self.tokens, self.n_bytes, strict=True)
        return np.array([score_choices(*row, normalisation) for row in rows], np.int64)

    def correct(self, normalisation: Normalisation) -> NDArray[np.bool_]:
        """每题对不对。"""
        found: NDArray[np.bool_] = self.chosen(normalisation) == np.array([item.right for item in self.task.items])
        return found

    def confidence(self, normalisation: Normalisation) -> NDArray[np.float64]:
        """每题对自己所选的有几成把握。"""
        sizes: Any = {"sum": [[1] * len(row) for row in self.tokens], "token": self.tokens, "byte": self.n_bytes}
        found = []
        for logprobs, size in zip(self.logprobs, sizes[normalisation], strict=True):
            scores = np.array(logprobs) / np.array(size)
            found.append(1 / np.exp(scores - scores.max()).sum())
        return np.array(found)

    def score(self, normalisation: Normalisation) -> Score:
        """成绩。"""
        return score_of(self.task.name, self.correct(normalisation), self.task.chance)

    def to_json(self, headline: Normalisation) -> dict[str, Any]:
        """可以写成 JSON 的字典。

        Args:
            headline: 以哪一种比法为准。
        """
        correct, confidence = self.correct(headline), self.confidence(headline)
        trust = calibration(confidence, correct)
        groups = sorted({item.group for item in self.task.items} - {""})
        place = np.array([item.group for item in self.task.items])
        return {
            "kind": "choice", "n": len(self.task.items), "digest": self.task.digest, "headline": headline,
            "score": self.score(headline).to_json(), "truncated": self.truncated,
            "scores": {name: self.score(name).to_json() for name in NORMALISATIONS},
            "calibration": {
                "ece": trust.ece, "brier": trust.brier, "counts": trust.counts.tolist(),
                "confidence": _finite(trust.confidence), "accuracy": _finite(trust.accuracy),
            },
            "groups": {
                name: score_of(name, correct[place == name], self._chance(name)).to_json() for name in groups
            } if len(groups) > 1 else {},
            "items": {
                "ids": [item.id for item in self.task.items], "values": correct.astype(float).tolist(),
                "chosen": self.chosen(headline).tolist(), "confidence": confidence.tolist(),
            },
        }  # fmt: skip

    def _chance(self, group: str) -> float:
        inside = [item for item in self.task.items if item.group == group]
        return sum(1 / len(item.options) for item in inside) / len(inside)


def score_choice_task(task: Task, candidate: Candidate, prompter: Prompter, batch_size: int = 16) -> ChoiceScores:
    """给一项选择题任务打分。

    Args:
        task: 任务。
        candidate: 受测的模型。
        prompter: 怎样把题写成 id。
        batch_size: 一次至多算几行；不影响结果。

    Returns:
        结果。

    Raises:
        UserError: 有一个选项自己就超出上下文。
    """
    task = prompter.shaped(task)
    start, context = start_id(candidate.tokenizer), candidate.likelihood.context
    rows: list[Row] = []
    spans: list[slice] = []
    truncated = 0
    for item in task.items:
        pairs = zip(*prompter.choices(task, item, item.options), strict=True)
        made = [continuation(prompt, answer, context, start) for prompt, answer in pairs]
        truncated += any(dropped for _, dropped in made)
        spans.append(slice(len(rows), len(rows) + len(made)))
        rows += [row for row, _ in made]
    scored = score_rows(candidate.likelihood, rows, batch_size)
    return ChoiceScores(
        task,
        tuple(tuple(float(one.logprobs.sum()) for one in scored[span]) for span in spans),
        tuple(tuple(one.logprobs.size for one in scored[span]) for span in spans),
        tuple(tuple(len(option.encode()) for option in item.options) for item in task.items),
        truncated,
    )


def _finite(values: NDArray[np.float64]) -> list[float | None]:
    """JSON 写不了 NaN：空的组写作 null。"""
    return [None if np.isnan(value) else float(value) for value in values]
