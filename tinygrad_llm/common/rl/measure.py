"""考试：留出的题上每题写几个回答，估计 pass@k，带区间。

流入：题目与眼下的模型；流出：每题对了几个，pass@1 到 pass@N。下一个文件：``curves.py``（训练前后的曲线）。
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinygrad_llm.common.advantages import pass_at_k
from tinygrad_llm.common.decoding.request import Sampling
from tinygrad_llm.common.initial import philox
from tinygrad_llm.common.rl.problems import Problems
from tinygrad_llm.common.rl.rewards import REWARDS, Problem
from tinygrad_llm.common.rl.rollouts import Answer, Decoders, Scoring, padded, write_answers
from tinygrad_llm.common.rl.settings import RLConfig
from tinygrad_llm.common.rl.speaking import Speaker

__all__ = ["Exam", "powers", "solve_rates"]

_SHOWN = 4
_HALF = 0.5
"""核对得 0.5 分以上算对；故事世界的题只有 0 与 1。"""


def powers(most: int) -> list[int]:
    """1、2、4……直到 ``most``。"""
    return [1 << i for i in range(most.bit_length())]


def solve_rates(correct: NDArray[np.int64], samples: int, k: int) -> NDArray[np.float64]:
    """每道题的 pass@k。

    Args:
        correct: 每道题对了几个 ``(n,)``。
        samples: 每题写了几个。
        k: k。
    """
    return np.array([pass_at_k(int(count), samples, k) for count in correct])


class Exam:
    """一场考试，每次都是同样的题、同样的随机数：两次之差只来自模型。

    Args:
        problems: 留出的题。
        speaker: 分词器与对话的格式。
        settings: 设置。

    Attributes:
        problems: 考的题。
        decoders: 造批解码器；开训之前装上。
        scorer: 眼下的模型与参考模型的对数概率；开训之前装上。
    """

    def __init__(self, problems: Problems, speaker: Speaker, settings: RLConfig) -> None:
        self.problems, self.speaker, self.settings = problems.head(settings.eval_problems), speaker, settings
        self.decoders: Decoders | None = None
        self.scorer: Scoring | None = None

    def figures(self, engine: Any = None) -> dict[str, float]:
        """考一次：pass@k、平均的奖励、长度、答案出现过的比例，与离参考模型多远。

        ``val_loss`` 是 1 减 pass@1，由它决定哪一步最好。
        """
        copies, reward = self.settings.eval_samples, REWARDS[self.settings.reward]
        answers = self.written(self.problems, copies)
        pairs = list(zip([problem for problem in self.problems for _ in range(copies)], answers, strict=True))
        correct = _correct(pairs, copies)
        passed = {f"pass_at_{k}": float(solve_rates(correct, copies, k).mean()) for k in powers(copies)}
        return {
            "val_loss": 1 - passed["pass_at_1"],
            **passed,
            "val_reward": float(np.mean([reward(problem, answer.text) for problem, answer in pairs])),
            "val_contains": float(np.mean([REWARDS["contains"](problem, answer.text) for problem, answer in pairs])),
            "val_length": float(np.mean([len(answer.tokens) for answer in answers])),
            **self.distance(answers, copies),
        }

    def distance(self, answers: Sequence[Answer], copies: int) -> dict[str, float]:
        """离参考模型多远：``KL(π‖π_ref) = E_{y~π}[log π(y|x) - log π_ref(y|x)]``，每个回答几纳特。

        Args:
            answers: 眼下的模型在采样的温度下写的回答，同一道题的相邻。
            copies: 每题几个；同一道题的回答相关，误差按题来算。

        Returns:
            ``policy_kl``、它的标准误差 ``policy_kl_se`` 与回答数 ``policy_kl_n``，名字与由偏好学的方法一样。
        """
        if self.scorer is None:
            raise RuntimeError("the exam has no reference model to compare with")
        x, y = padded(answers, self.speaker.tokenizer.eot)
        gaps = (self.scorer.policy(x, y)[0] - self.scorer.base(x, y)).sum(1)
        each = gaps.reshape(-1, copies).mean(1)
        error = float(each.std(ddof=1)) / math.sqrt(len(each)) if len(each) > 1 else 0.0
        return {"policy_kl": float(gaps.mean()), "policy_kl_se": error, "policy_kl_n": len(gaps)}

    def correct(self, decoders: Decoders) -> NDArray[np.int64]:
        """另一个模型考同样的题：每道题对了几个 ``(n,)``。"""
        mine, self.decoders = self.decoders, decoders
        answers = self.written(self.problems, self.settings.eval_samples)
        self.decoders = mine
        asked = [problem for problem in self.problems for _ in range(self.settings.eval_samples)]
        return _correct(list(zip(asked, answers, strict=True)), self.settings.eval_samples)

    def show(self, engine: Any = None) -> str:
        """头几道题的问、答与对错。"""
        problems = self.problems[:_SHOWN]
        return "\n\n".join(
            f"{problem.prompt}\n-> {answer.text}   [{'right' if problem.verify(answer.text) > _HALF else 'wrong'}, "
            f"expected {problem.answer}]"
            for problem, answer in zip(problems, self.written(problems, 1), strict=True)
        )

    def written(self, problems: Sequence[Problem], copies: int) -> list[Answer]:
        """每题写几个回答。"""
        if self.decoders is None:
            raise RuntimeError("the exam has no model to write with")
        seeds = philox(self.settings.seed, "exam").integers(1 << 62, size=len(problems))
        how = [Sampling(temperature=self.settings.temperature, seed=int(seed)) for seed in seeds]
        prompts = [problem.prompt for problem in problems]
        return write_answers(self.decoders, self.speaker, prompts, how, copies, self.settings.answer_tokens)


def _correct(pairs: Sequence[tuple[Problem, Answer]], copies: int) -> NDArray[np.int64]:
    solved = np.array([problem.verify(answer.text) > _HALF for problem, answer in pairs])
    return np.asarray(solved.reshape(-1, copies).sum(1))
