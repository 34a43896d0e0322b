"""采样：眼下的模型给一批题目各写几个回答，打分，算优势，排成批次。

流入：题目、（权重，种子，步号）；流出：``batch(step)``，是它们的纯函数，断点续训因此逐位相同。
回答由批解码器写（``common/decoding/scheduler.py``），对数概率由整个前向在采样的温度下重算；优势见 ``advantages.py``。
下一个文件：``session.py``。
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tinygrad_llm.common.advantages import (
    baseline_advantages,
    generalized_advantages,
    group_advantages,
    token_rewards,
)
from tinygrad_llm.common.batches import IGNORE_INDEX
from tinygrad_llm.common.decoding.request import MAX_SEED, Request, Sampling
from tinygrad_llm.common.decoding.scheduler import Scheduler
from tinygrad_llm.common.decoding.slots import BatchDecoder
from tinygrad_llm.common.engine import Batch
from tinygrad_llm.common.errors import UserError
from tinygrad_llm.common.initial import philox
from tinygrad_llm.common.rl.objective import METHODS, NOTES
from tinygrad_llm.common.rl.problems import Problems
from tinygrad_llm.common.rl.rewards import REWARDS, Problem
from tinygrad_llm.common.rl.settings import RLConfig
from tinygrad_llm.common.rl.speaking import Speaker

__all__ = ["Actor", "Answer", "Decoders", "Rollouts", "write_answers"]

Array = NDArray[Any]
Decoders = Callable[[int, int], BatchDecoder]
"""造一个批解码器，参数是几个槽、每个槽至多几个 token；用眼下的权重。"""
_SLOTS = 64
_CHUNK = 2048
"""一步里读提示的合起来至多这么多 token；提示短，多读几个比多走几步快。"""


class Scoring(Protocol):
    """逐 token 的对数概率；见 ``objectives_policy.py`` 的 ``Scorer``。"""

    def policy(self, x: Array, y: Array) -> tuple[Array, Array]:
        """眼下的模型：对数概率与价值，各 ``(B, T)``。"""

    def base(self, x: Array, y: Array) -> Array:
        """参考模型的对数概率 ``(B, T)``。"""


@dataclass(frozen=True)
class Actor:
    """正在学的模型：会写，会打分。

    Attributes:
        decoders: 造批解码器。
        scorer: 逐 token 的对数概率。
    """

    decoders: Decoders
    scorer: Scoring


@dataclass(frozen=True)
class Answer:
    """一个回答。

    Attributes:
        prompt: 提示的 id。
        tokens: 写出的 id，自己停下的含结束 token。
        text: 文字，不含结束 token。
        is_stopped: 是自己停下的，不是写满了。
    """

    prompt: tuple[int, ...]
    tokens: tuple[int, ...]
    text: str
    is_stopped: bool


def write_answers(
    decoders: Decoders, speaker: Speaker, prompts: Sequence[str], sampling: Sequence[Sampling],
    copies: int, max_tokens: int,
) -> list[Answer]:  # fmt: skip
    """每个提示写几个回答，种子依次加一；同一个提示的相邻。

    Args:
        decoders: 造批解码器。
        speaker: 分词器与对话的格式。
        prompts: 提示。
        sampling: 每个提示怎样抽，含种子。
        copies: 每个提示写几个。
        max_tokens: 每个至多几个 token。
    """
    ids = [tuple(speaker.prompt(text)) for text in prompts]
    made = decoders(min(_SLOTS, len(ids) * copies), max(map(len, ids)) + max_tokens)
    scheduler, order = Scheduler(made, speaker.tokenizer, chunk=_CHUNK), list[int]()
    for prompt, how in zip(ids, sampling, strict=True):
        order += scheduler.submit_copies(Request(prompt, max_tokens, how, stop_ids=speaker.stop_ids), copies)
    tokens: dict[int, list[int]] = {id: [] for id in order}
    texts, ends = dict.fromkeys(order, ""), dict.fromkeys(order, "")
    for event in scheduler.run():
        if event.step is None:
            raise event.error or UserError("an answer could not be written")
        tokens[event.id].append(event.step.token)
        texts[event.id] += event.step.text
        ends[event.id] = event.step.finish
    return [
        Answer(ids[row // copies], tuple(tokens[id]), texts[id], ends[id] == "stop") for row, id in enumerate(order)
    ]


class Rollouts:
    """批次流：每 ``settings.pace`` 步采样一次，其余几步重用。

    Args:
        problems: 训练的题目。
        speaker: 分词器与对话的格式。
        settings: 设置。

    Attributes:
        actor: 正在学的模型；开训之前由引擎的一边装上。
    """

    def __init__(self, problems: Problems, speaker: Speaker, settings: RLConfig) -> None:
        self.problems, self.speaker, self.settings = problems, speaker, settings
        self.actor: Actor | None = None
        self._number, self._rows = -1, list[Batch]()

    def batch(self, step: int, rank: int = 0, world: int = 1) -> Batch:
        """第 ``step`` 步的批次；一组的头一步由眼下的模型采样，所以只能依次取，或从一组的头一步取起。

        Raises:
            UserError: 几个进程合训。
        """
        if world > 1:
            raise UserError("reinforcement learning runs in one process", fix="start it without torchrun")
        number, place = divmod(step, self.settings.pace)
        if place == 0 and number != self._number:
            self._rows = self.sampled(number)
            self._number = number
        if number != self._number:
            raise RuntimeError(f"step {step} is in the middle of a rollout that was not sampled")
        return self._rows[place % len(self._rows)]

    def sampled(self, number: int) -> list[Batch]:
        """第 ``number`` 次采样，切成几个批次。"""
        settings, actor = self.settings, self.actor
        if actor is None:
            raise RuntimeError("the rollouts have no model to write with")
        count = settings.prompts_per_rollout
        problems = self.problems.draw(number * count, count, settings.seed)
        seeds = philox(settings.seed, f"rollout {number}").integers(MAX_SEED >> 1, size=count)
        answers = write_answers(
            actor.decoders,
            self.speaker,
            [problem.prompt for problem in problems],
            [Sampling(temperature=settings.temperature, seed=int(seed)) for seed in seeds],
            settings.group,
            settings.answer_tokens,
        )
        return self.batches(problems, answers, actor.scorer)

    def batches(self, problems: Sequence[Problem], answers: Sequence[Answer], scorer: Scoring) -> list[Batch]:
        """打分，算优势，排成 ``minibatches`` 个批次。"""
        settings, preset = self.settings, METHODS[self.settings.method]
        asked = [problem for problem in problems for _ in range(settings.group)]
        reward = REWARDS[settings.reward]
        rewards = np.array([reward(problem, answer.text) for problem, answer in zip(asked, answers, strict=True)])
        truth = np.array([problem.verify(answer.text) for problem, answer in zip(asked, answers, strict=True)])
        x, y = padded(answers, self.speaker.tokenizer.eot)
        mask = y != IGNORE_INDEX
        (old, values), reference = scorer.policy(x, y), scorer.base(x, y)
        returns = np.zeros_like(values)
        if preset.has_critic:
            each = token_rewards(rewards, old - reference, mask, settings.kl_in_reward)
            advantages, returns = generalized_advantages(each, values, mask, settings.gamma, settings.lam)
            if settings.whiten:
                advantages = np.where(mask, whitened(advantages, mask), 0)
        else:
            if preset.is_grouped:
                one = group_advantages(rewards, settings.group, settings.scale_or_default)
            else:
                one = baseline_advantages(rewards)
            advantages = np.where(mask, one[:, None], 0)
        lengths = mask.sum(1)
        weights = mask / lengths[:, None] if settings.average_or_default == "sequence" else mask * 1.0
        spread = np.full(len(answers), advantages[mask].std())
        notes = np.stack([rewards, truth, lengths, [answer.is_stopped for answer in answers], spread], 1)
        assert notes.shape[1] == len(NOTES)
        floats = [weights, old, reference, advantages]
        critic = [values, returns] if preset.has_critic else []
        return [self.one_batch(x, y, floats, notes, critic, rows) for rows in self.parts(len(answers))]

    def parts(self, rows: int) -> list[Array]:
        """各个批次是哪几行：题目交错着分，每批的题目种类因此相近。"""
        return [np.arange(rows)[start :: self.settings.minibatches] for start in range(self.settings.minibatches)]

    def one_batch(
        self, x: Array, y: Array, floats: Sequence[Array], notes: Array, critic: Sequence[Array], rows: Array
    ) -> Batch:
        """取出几行；记下的数换算成「逐列相加再除以单位数，就是平均」。"""
        weights = floats[0][rows]
        scale = round(float(weights.sum())) / len(rows)
        dtype = self.settings.dtype
        parts = [*(one[rows] for one in floats), notes[rows] * scale, *(one[rows] for one in critic)]
        return (x[rows], y[rows], *(part.astype(dtype) for part in parts))


def padded(answers: Sequence[Answer], pad: int) -> tuple[Array, Array]:
    """提示与回答排成 x 与 y，右边填充；不是回答的位置 y 为 -100。"""
    width = max(len(one.prompt) + len(one.tokens) for one in answers) - 1
    x = np.full((len(answers), width), pad, np.int64)
    y = np.full_like(x, IGNORE_INDEX)
    for row, one in enumerate(answers):
        ids = np.array([*one.prompt, *one.tokens])
        x[row, : len(ids) - 1] = ids[:-1]
        y[row, len(one.prompt) - 1 : len(ids) - 1] = one.tokens
    return x, y


def whitened(advantages: Array, mask: NDArray[np.bool_]) -> Array:
    """有效处的均值变成 0，标准差变成 1。"""
    chosen = advantages[mask]
    return np.asarray((advantages - chosen.mean()) / (chosen.std() + 1e-8))
