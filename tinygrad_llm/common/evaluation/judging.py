"""模型当裁判：不让它写评语，只看它给「对」与「错」、给「甲」与「乙」各多大的概率。

流入：题与回答，一个当裁判的运行；流出：每个回答的分，与人的分排出来的次序一致吗。下一个文件：``contamination.py``。

=============  =====================================================================================
``verdict``     「回答对不对？」之后，``log p(Yes) - log p(No)``
``pairwise``    同一题的几个回答两两相比：「哪个好？」之后，``log p(A) - log p(B)``，两种次序各问一遍取平均；
                一个回答的分是它对其余各个的平均。两种次序判得一样的比例，就是位置一致率：总说 A 的裁判只有 0
``likelihood``  裁判自己接着题面写出这个回答的对数概率，除以 token 数
=============  =====================================================================================

任何运行都可以当裁判，不必与受测的同一个；分词器不同也无妨，交过去的是文字。
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tinygrad_llm.common.evaluation.items import Task
from tinygrad_llm.common.evaluation.likelihood import Candidate, continuation, score_rows, start_id
from tinygrad_llm.common.evaluation.prompts import encode_pair, joint
from tinygrad_llm.common.initial import philox
from tinygrad_llm.common.scoring import Interval, kendall_tau, spearman_rho, wilson_interval

__all__ = ["Judge", "JudgeMethod", "Judgement", "judge_task", "rank_interval"]

JudgeMethod = Literal["verdict", "pairwise", "likelihood"]
_VERDICT = "Question: {prompt}\nProposed answer: {response}\nIs the proposed answer correct? Answer Yes or No.\nAnswer:"
_PAIR = "Question: {prompt}\nAnswer A: {first}\nAnswer B: {second}\nWhich answer is better, A or B?\nAnswer:"


@dataclass(frozen=True)
class Judgement:
    """裁判的结果。

    Attributes:
        scores: 每个回答的分，越大越好。
        consistent: 成对比过几对，其中几对与次序无关；没有成对比时为 ``(0, 0)``。
        first_wins: 成对比时，放在前面的得胜的比例；不偏不倚是 0.5。
    """

    scores: NDArray[np.float64]
    consistent: tuple[int, int] = (0, 0)
    first_wins: float = 0.5


class Judge:
    """一个当裁判的模型。

    Args:
        candidate: 模型。
        method: 怎样问。
        batch_size: 一次至多算几行；不影响结果。
    """

    def __init__(self, candidate: Candidate, method: JudgeMethod = "verdict", batch_size: int = 16) -> None:
        self.candidate, self.method, self.batch_size = candidate, method, batch_size

    def judge(self, prompts: Sequence[str], responses: Sequence[str]) -> Judgement:
        """给每个回答一个分。

        Args:
            prompts: 各个回答所答的题；成对比时，题面相同的回答互相比。
            responses: 各个回答。

        Returns:
            分，与两种次序是否一致。
        """
        if self.method == "pairwise":
            return self._pairwise(prompts, responses)
        if self.method == "likelihood":
            texts = [(prompt, joint(prompt) + answer) for prompt, answer in zip(prompts, responses, strict=True)]
            return Judgement(self._logprobs(texts, is_mean=True))
        asked = [_VERDICT.format(prompt=p, response=r) for p, r in zip(prompts, responses, strict=True)]
        return Judgement(self._contrast(asked, " Yes", " No"))

    def _pairwise(self, prompts: Sequence[str], responses: Sequence[str]) -> Judgement:
        together: dict[str, list[int]] = {}
        for i, prompt in enumerate(prompts):
            together.setdefault(prompt, []).append(i)
        pairs = [pair for members in together.values() for pair in combinations(members, 2)]
        both = [(i, j) for pair in pairs for i, j in (pair, pair[::-1])]
        asked = [_PAIR.format(prompt=prompts[i], first=responses[i], second=responses[j]) for i, j in both]
        leads = self._contrast(asked, " A", " B").reshape(-1, 2)  # 每对两行：甲在前，乙在前
        wins, games = np.zeros(len(prompts)), np.zeros(len(prompts))
        for (i, j), (forward, backward) in zip(pairs, leads.tolist(), strict=True):
            margin = (forward - backward) / 2
            wins[i] += margin
            wins[j] -= margin
            games[[i, j]] += 1
        agreed = int((leads[:, 0] * leads[:, 1] < 0).sum())
        first = float((leads > 0).mean()) if leads.size else 0.5
        return Judgement(wins / np.maximum(games, 1), (agreed, len(pairs)), first)

    def _contrast(self, prompts: Sequence[str], yes: str, no: str) -> NDArray[np.float64]:
        found = self._logprobs([(prompt, word) for prompt in prompts for word in (yes, no)])
        return found[::2] - found[1::2]

    def _logprobs(self, texts: Sequence[tuple[str, str]], *, is_mean: bool = False) -> NDArray[np.float64]:
        tokenizer, model = self.candidate.tokenizer, self.candidate.likelihood
        start = start_id(tokenizer)
        # 空的回答没有可打分的 token：当作只写了结束符
        pairs = [(prompt, answer or [start]) for prompt, answer in (encode_pair(tokenizer, *text) for text in texts)]
        rows = [continuation(prompt, answer[: model.context], model.context, start)[0] for prompt, answer in pairs]
        scored = score_rows(model, rows, self.batch_size)
        return np.array([one.logprobs.mean() if is_mean else one.logprobs.sum() for one in scored], np.float64)


def judge_task(task: Task, judge: Judge) -> dict[str, Any]:
    """裁判与人的分排出来的次序一致吗。

    Args:
        task: ``judge`` 种类的任务：题、回答与人给的分。
        judge: 裁判。

    Returns:
        可以写成 JSON 的字典：Spearman 的 ρ 与区间、Kendall 的 τ、位置一致率；靠猜的 ρ 是 0。
    """
    found = judge.judge([item.prompt for item in task.items], [item.response for item in task.items])
    labels = np.array([item.label for item in task.items])
    rho = rank_interval(found.scores, labels)
    result: dict[str, Any] = {
        "kind": "judge", "n": len(task.items), "digest": task.digest, "method": judge.method, "chance": 0.0,
        "spearman": {"value": rho.value, "low": rho.low, "high": rho.high, "n": rho.n},
        "kendall": kendall_tau(found.scores, labels),
        "items": {"ids": [item.id for item in task.items], "values": found.scores.tolist(), "labels": labels.tolist()},
    }  # fmt: skip
    agreed, pairs = found.consistent
    if pairs:
        share = wilson_interval(agreed, pairs)
        result["consistency"] = {"value": share.value, "low": share.low, "high": share.high, "n": pairs}
        result["first_wins"] = found.first_wins
    return result


def rank_interval(scores: NDArray[Any], labels: NDArray[Any], resamples: int = 1000, seed: int = 0) -> Interval:
    """Spearman 的 ρ 与区间：成对地重抽。

    Args:
        scores: ``(n,)``。
        labels: ``(n,)``。
        resamples: 重抽几次。
        seed: 抽样的种子。

    Returns:
        ρ 与区间。

    Raises:
        UserError: 个数不同，或不足两个。
    """
    value, draw = spearman_rho(scores, labels), philox(seed, "rank bootstrap")
    places = draw.integers(0, len(scores), (resamples, len(scores)))
    drawn = [spearman_rho(scores[place], labels[place]) for place in places]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Interval(value, float(low), float(high), len(scores))
