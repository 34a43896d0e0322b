"""由偏好微调（DPO、IPO、KTO、ORPO）与奖励模型：备齐一次训练。

流入：设置、偏好对与出发点；流出：``Session``，交给同一个循环。批次见 ``preference_batches.py``，损失见两个引擎的
``objectives_preferences.py``。
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinygrad_llm.common.batches.preferences import PreferencePair, Preferences
from tinygrad_llm.common.chat.templates import template_for
from tinygrad_llm.common.config import GPTConfig, parameter_shapes
from tinygrad_llm.common.corpora.faults import Faults
from tinygrad_llm.common.engine import Engine
from tinygrad_llm.common.session import Session
from tinygrad_llm.common.tuning.answers import Quiz
from tinygrad_llm.common.tuning.lessons import held_out_lessons
from tinygrad_llm.common.tuning.preference_batches import (
    PairRows,
    RewardRows,
    Rows,
    Scorer,
    digest_of,
    examined,
    reference_of,
)
from tinygrad_llm.common.tuning.preference_config import DpoConfig, RewardConfig
from tinygrad_llm.common.tuning.preference_data import encoded_pairs, load_compared, mismatched_pairs
from tinygrad_llm.common.tuning.session import Base, open_base, steps_of, tuning_session
from tinygrad_llm.common.tuning.sft import answered, exact_match, quizzes_of, transcript

__all__ = ["REWARD_HEAD", "OpenScorer", "prepare_dpo", "prepare_reward"]

REWARD_HEAD = "reward_head.weight"
OpenScorer = Callable[[GPTConfig, Mapping[str, NDArray[Any]]], Scorer]
"""由模型配置与权重造出一个会算对数概率的函数；两个引擎各有一个。"""


def prepare_dpo(settings: DpoConfig, open_scorer: OpenScorer) -> Session:
    """备齐一次由偏好微调的训练；要参考模型的，在这里把每一对算一遍。

    Args:
        settings: 设置。
        open_scorer: 由权重造出参考模型。

    Returns:
        ``Session``。

    Raises:
        UserError: 设置之间矛盾，或续训时改了不许改的设置。
        DataError: 数据是坏的，或续训时已不是原来的。
        CheckpointError: 出发点或检查点缺失、损坏。
    """
    base = open_base(settings)
    train, held_out, base, skipped = _pairs(base, base.model.context)
    references: list[Any] = [None, None]
    if settings.needs_reference:
        score = open_scorer(base.model, base.weights())
        references = [reference_of(pairs, score, base.tokenizer.eot) for pairs in (train, held_out)]
    rows, watched = (
        PairRows(pairs, one, settings.dtype) for pairs, one in zip((train, held_out), references, strict=True)
    )
    return _session(base, rows, watched, {"name": settings.loss, "beta": settings.beta}, skipped)


def prepare_reward(settings: RewardConfig) -> Session:
    """备齐一次奖励模型的训练；参数与异常同 ``prepare_dpo``。"""
    base = open_base(settings)
    train, held_out, base, skipped = _pairs(base, base.model.context - 1)
    shapes = {**parameter_shapes(base.model), REWARD_HEAD: (1, base.model.n_embd)}
    shapes.pop("lm_head.weight", None)
    method = {"name": "reward", "margin": settings.margin}
    session = _session(base, RewardRows(train), RewardRows(held_out), method, skipped, shapes)
    if base.checkpoint is not None:
        return session
    head = np.zeros(shapes[REWARD_HEAD], settings.dtype)
    weights = {**base.weights(), REWARD_HEAD: head}
    return replace(session, initial={name: weights[name] for name in shapes})


def _session(
    base: Base[Any],
    rows: Rows,
    watched: Rows,
    method: Mapping[str, Any],
    skipped: str,
    trained: Mapping[str, tuple[int, ...]] | None = None,
) -> Session:
    settings, train = base.settings, rows.pairs
    template = template_for(base.tokenizer.specials, settings.template)
    quizzes: tuple[Quiz, ...] = ()
    if getattr(settings, "quiz", 0):
        lessons = held_out_lessons(settings.quiz_source, Faults(settings.on_error))
        quizzes = tuple(quizzes_of(lessons, base, template))

    def examine(engine: Engine) -> Mapping[str, float]:
        found = examined(engine, watched)
        return {**found, **exact_match(answered(engine, base, template, quizzes))} if quizzes else found

    def show(engine: Engine) -> str:
        return transcript(answered(engine, base, template, quizzes[: settings.shown]))

    return tuning_session(
        base,
        stream=rows,
        digest=digest_of(train, watched.pairs),
        method={**method, "template": template.name},
        tokens=int(sum(side.lengths.sum() for side in train.sides)),
        trained=trained,
        examine=examine,
        show=show if quizzes else _nothing,
        summary=_summary(train, settings.steps, skipped),
    )


def _nothing(_: Engine) -> str:
    return ""


def _pairs(base: Base[Any], context: int) -> tuple[Preferences, Preferences, Base[Any], str]:
    """训练与留作评估的偏好对，换算过步数的出发点，以及略过了什么。"""
    settings, tokenizer = base.settings, base.tokenizer
    template, faults = template_for(tokenizer.specials, settings.template), Faults(settings.on_error)
    both = []
    for items in load_compared(settings, faults):
        pairs: Iterable[PreferencePair] = (
            mismatched_pairs(items, tokenizer, template, settings.seed)
            if getattr(settings, "loss", "") == "kto"
            else encoded_pairs(items, tokenizer, template, faults)
        )
        both.append(_collected(pairs, settings, base.model.vocab_size, context, tokenizer.eot, faults))
    train, held_out = both
    return train, held_out, replace(base, settings=steps_of(settings, train.size)), faults.summary()


def _collected(
    pairs: Iterable[PreferencePair], settings: Any, vocab_size: int, context: int, pad: int, faults: Faults
) -> Preferences:
    most = context if settings.max_tokens is None else min(context, settings.max_tokens - 1)
    return Preferences(
        pairs,
        vocab_size=vocab_size,
        context=most,
        batch_size=settings.batch_size,
        seed=settings.seed,
        pad=pad,
        overflow=settings.overflow,
        faults=faults,
    )


def _summary(train: Preferences, steps: int, skipped: str) -> str:
    counts = [f"{name} {count:,}" for name, count in train.counts.items() if count]
    lines = [f"{train.size:,} pairs, {train.epochs(steps):.2f} epochs", *counts, *skipped.splitlines()]
    return "; ".join(lines)
