"""由偏好微调（DPO、IPO、KTO、ORPO）与奖励模型：备齐一次训练。

流入：设置、偏好对与出发点；流出：``Session``，交给同一个循环。批次见 ``preference_batches.py``，损失见两个引擎的
``objectives_preferences.py``。
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from numpy.typing import NDArray

from tinygrad_llm.common.batches import IGNORE_INDEX
from tinygrad_llm.common.batches.preferences import PreferencePair, Preferences
from tinygrad_llm.common.chat.templates import template_for
from tinygrad_llm.common.config import GPTConfig, parameter_shapes
from tinygrad_llm.common.corpora.faults import Faults
from tinygrad_llm.common.engine import Engine
from tinygrad_llm.common.session import Session
from tinygrad_llm.common.tuning.lessons import held_out_lessons
from tinygrad_llm.common.tuning.policy_kl import policy_kl
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
from tinygrad_llm.common.tuning.quiz_log import note_answers
from tinygrad_llm.common.tuning.session import Base, steps_of, tuning_session
from tinygrad_llm.common.tuning.sft import answered, exact_match, quizzes_of, transcript

__all__ = ["REWARD_HEAD", "OpenScorer", "dpo_session", "reward_session"]

REWARD_HEAD, OUTPUT = "reward_head.weight", "lm_head.weight"
OpenScorer = Callable[[GPTConfig, Mapping[str, NDArray[Any]]], Scorer]
"""由模型配置与权重造出一个会算对数概率的函数；两个引擎各有一个。"""


def dpo_session(base: Base[Any], open_scorer: OpenScorer) -> Session:
    """备齐一次由偏好微调的训练；要参考模型的，在这里把每一对算一遍。

    Args:
        base: 出发点；它的设置是 ``DpoConfig`` 一类。
        open_scorer: 由权重造出参考模型。

    Returns:
        ``Session``。

    Raises:
        UserError: 没有这个文件，或分词器缺少模板的特殊 token。
        DataError: 数据是坏的，或续训时已不是原来的。
        CheckpointError: 检查点与这次训练不符。
    """
    settings: DpoConfig = base.settings
    train, held_out, base, skipped = _pairs(base, base.model.context)
    score = open_scorer(base.model, base.weights()) if settings.needs_reference or settings.kl_answers else None
    references: list[Any] = [None, None]
    if settings.needs_reference and score is not None:
        references = [reference_of(pairs, score, base.tokenizer.eot) for pairs in (train, held_out)]
    rows, watched = (
        PairRows(pairs, one, settings.dtype) for pairs, one in zip((train, held_out), references, strict=True)
    )
    method = {"name": settings.loss, "beta": settings.beta_or_default}
    template = template_for(base.tokenizer.specials, settings.template)
    lessons = held_out_lessons(settings.quiz_source, Faults(settings.on_error)) if settings.quiz else []
    quizzes = tuple(quizzes_of(lessons, base, template))
    prompts = _prompts(held_out, settings.kl_answers)
    stop = frozenset({base.tokenizer.special(template.stop), base.tokenizer.eot})
    most, context = settings.answer_tokens, base.model.context

    def examine(engine: Engine) -> Mapping[str, float]:
        answers = answered(engine, base, template, quizzes)
        note_answers(settings.folder, answers)
        found = exact_match(answers)
        if score is None or not prompts:
            return found
        kl = policy_kl(engine, base.tokenizer, prompts, score, stop=stop, max_tokens=most, context=context)
        return {**kl, **found}

    def show(engine: Engine) -> str:
        return transcript(answered(engine, base, template, quizzes[: settings.shown]))

    shapes = settings.scope.shapes(base.model)
    return _session(base, rows, watched, method, skipped, shapes, examine, show if quizzes else lambda _: "")


def reward_session(base: Base[Any]) -> Session:
    """备齐一次奖励模型的训练；头总是要学的。

    Args:
        base: 出发点；它的设置是 ``RewardConfig`` 一类。

    Raises:
        UserError: 没有这个文件，或分词器缺少模板的特殊 token。
        DataError: 数据是坏的，或续训时已不是原来的。
        CheckpointError: 检查点与这次训练不符。
    """
    settings: RewardConfig = base.settings
    train, held_out, base, skipped = _pairs(base, base.model.context - 1)
    chosen = settings.scope.shapes(base.model) or parameter_shapes(base.model)
    shapes = {name: shape for name, shape in chosen.items() if name != OUTPUT}  # 输出层用不着
    shapes[REWARD_HEAD] = (1, base.model.n_embd)
    method = {"name": "reward", "margin": settings.margin}
    return _session(base, RewardRows(train), RewardRows(held_out), method, skipped, shapes)


def _session(
    base: Base[Any],
    rows: Rows,
    watched: Rows,
    method: Mapping[str, Any],
    skipped: str,
    trained: Mapping[str, tuple[int, ...]] | None,
    more: Callable[[Engine], Mapping[str, float]] = lambda _: {},
    show: Callable[[Engine], str] = lambda _: "",
) -> Session:
    settings, train = base.settings, rows.pairs
    template = template_for(base.tokenizer.specials, settings.template)
    return tuning_session(
        base,
        stream=rows,
        digest=digest_of(train, watched.pairs),
        method={**method, "template": template.name, **settings.scope.describe()},
        tokens=int(sum(side.lengths.sum() for side in train.sides)),
        trained=trained,
        examine=lambda engine: {**examined(engine, watched), **more(engine)},
        show=show,
        summary=_summary(train, settings.steps, skipped),
    )


def _prompts(pairs: Preferences, count: int) -> list[list[int]]:
    """前几对的提示的 id，相同的只取一次。"""
    side, found = pairs.sides[0], dict[tuple[int, ...], None]()
    for start, length in zip(side.starts, side.lengths, strict=True):
        targets = side.y[start : start + length]
        found[tuple(side.x[start : start + int((targets != IGNORE_INDEX).argmax()) + 1].tolist())] = None
    return [list(one) for one in list(found)[:count]]


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
