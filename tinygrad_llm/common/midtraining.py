"""中段训练：训练好的模型换一种（或几种）数据接着学，掺一份旧数据，量它忘了多少。

流入：出发点的运行、新数据与重放的份额；流出：``Session``，其余与预训练是同一个循环、同一个损失（每个 token 都学）。
学习率重新预热：从接近 0 升到峰值再降，见 ``schedule.py``。新数据的验证集在日志里是 ``val_loss``，旧数据的是
``val_loss_old``；训练之前先量一次，记在第 -1 步。下一个文件：``forgetting.py``（由这些数字画出遗忘曲线）。
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import ClassVar, NamedTuple, cast

from tinygrad_llm.common.batches import Ids, Mixture, Source, Stream, Tokens, Windows, encode_corpus
from tinygrad_llm.common.batches.index import INDEX
from tinygrad_llm.common.batches.sources import data_digest, open_sources, validation_tokens
from tinygrad_llm.common.batches.stream import Shuffled
from tinygrad_llm.common.errors import UserError
from tinygrad_llm.common.schedule import learning_rate
from tinygrad_llm.common.session import Session, prepare
from tinygrad_llm.common.torch_config import TorchConfig
from tinygrad_llm.common.train_config import FIXED_ON_RESUME, TrainConfig

__all__ = ["OLD", "MidtrainConfig", "TorchMidtrainConfig", "prepare_midtraining"]

OLD = "old"
"""旧数据的验证集在日志里的名字：``val_loss_old``。"""


@dataclass(frozen=True)
class MidtrainConfig(TrainConfig):
    """中段训练的全部设置：训练的设置，加上重放。"""

    fixed_on_resume: ClassVar[tuple[str, ...]] = (*FIXED_ON_RESUME, "replay", "replay_data")

    run: str = "midtrained"
    """运行名；结果写在 ``RUNS_DIR/RUN/``。"""
    lr: float = 5e-4
    """重新预热到的峰值学习率。"""
    replay: float = 0.2
    """训练样本里旧数据占的份额；0 表示不重放，照样量遗忘。"""
    replay_data: str = ""
    """旧数据：分片文件夹（写法同 ``--data``）或语料；缺省为出发点训练时用的。"""

    def __post_init__(self) -> None:
        super().__post_init__()
        problems = []
        if not self.from_run:
            problems.append("--from is missing: midtraining starts from a trained run")
        if not 0 <= self.replay < 1:
            problems.append(f"--replay must be at least 0 and below 1, got {self.replay}")
        if problems:
            raise UserError("; ".join(problems), where="midtraining settings", fix="correct the flags named above")


@dataclass(frozen=True)
class TorchMidtrainConfig(MidtrainConfig, TorchConfig):
    """torch 上一次中段训练的全部设置。"""


class _Material(NamedTuple):
    """一份数据：训练的来源，验证的 token，摘要。"""

    sources: list[Source]
    validation: Ids | Tokens
    digest: str


def prepare_midtraining(settings: MidtrainConfig) -> Session:
    """备齐一次中段训练。

    Args:
        settings: 设置。

    Returns:
        ``Session``：批次是新旧数据的混合，旧数据的验证集也在其中。

    Raises:
        UserError: 不知道旧数据是什么，或旧数据的分片用的是另一个分词器。
        DataError: 数据打不开或变了。
        CheckpointError: 出发点缺失或坏了。
    """
    return prepare(settings, _with_replay)


def _with_replay(session: Session) -> Session:
    settings = cast(MidtrainConfig, session.settings)
    before = session.source.get("settings", {})
    text = settings.replay_data or str(before.get("data") or before.get("corpus") or "")
    if not text and settings.replay:
        raise UserError(
            "the source run does not say which data it was trained on",
            where=str(session.source.get("run", settings.from_run)),
            fix="name it with --replay-data, or give --replay 0",
        )
    session = replace(session, settings=replace(settings, replay_data=text))
    if not text:
        return replace(session, data_summary=_rewarming(settings, before))
    old = _open(text, session, float(before.get("val_fraction", settings.val_fraction)))
    fresh = session.train.sources if isinstance(session.train, Mixture) else [_only(session.train, settings)]
    mixed = _scaled(fresh, 1 - Fraction(str(settings.replay)))
    if settings.replay:
        mixed += _scaled([replace(one, name=f"{one.name} (replay)") for one in old.sources], settings.replay)
    stream = Mixture(mixed, batch_size=settings.batch_size, seed=settings.seed)
    digest = hashlib.sha256(f"{session.text_digest}+{old.digest}@{settings.replay}".encode()).hexdigest()
    return replace(
        session,
        train=stream,
        watched={OLD: old.validation},
        data_digest=digest,
        data_summary=f"{_shares(stream, settings.steps)}; {_rewarming(settings, before)}",
    )


def _open(text: str, session: Session, val_fraction: float) -> _Material:
    """打开旧数据：分片，或一段文本。"""
    settings, context = session.settings, session.model.context
    first = text.split(",")[0].rpartition("=")[0] or text.split(",")[0]
    if not (Path(first.strip()) / INDEX).is_file():
        from tinygrad_llm.common.corpora import load_corpus, split_text  # 用到才导入，``--help`` 因此立即可答

        train, validation = split_text(load_corpus(text).text, val_fraction)
        windows = Windows(encode_corpus(train, session.tokenizer), context)
        digest = hashlib.sha256(f"{train}{validation}".encode()).hexdigest()
        return _Material([Source(text, windows)], encode_corpus(validation, session.tokenizer), digest)
    opened = open_sources(text)
    if opened[0].store.tokenizer.digest != session.tokenizer.digest:
        raise UserError(
            "the old data was sharded with another tokenizer than the model's",
            where=text,
            fix="name shards made with the model's tokenizer in --replay-data",
        )
    sources = [
        Source(one.name, one.store.split("train").samples(settings.packing, context), one.weight) for one in opened
    ]
    return _Material(sources, validation_tokens(opened), data_digest(opened))


def _only(stream: Stream, settings: TrainConfig) -> Source:
    """不是混合的批次流，当作一个来源。"""
    if not isinstance(stream, Shuffled):
        raise TypeError(f"cannot mix a {type(stream).__name__}")
    return Source(settings.data or settings.corpus, stream.samples)


def _scaled(sources: list[Source], share: float | Fraction) -> list[Source]:
    """几个来源的权重按比例放大，合起来等于 ``share``。"""
    weights = [Fraction(str(one.weight)) for one in sources]
    whole = Fraction(str(share)) / sum(weights)
    return [replace(one, weight=weight * whole) for one, weight in zip(sources, weights, strict=True)]


def _shares(stream: Mixture, steps: int) -> str:
    named = zip(stream.sources, stream.shares, stream.epochs(steps), strict=True)
    return "; ".join(f"{one.name}: {share / stream.period:.1%}, {epochs:.2f} epochs" for one, share, epochs in named)


def _rewarming(settings: TrainConfig, before: object) -> str:
    """学习率怎样重新预热，与出发点停在哪里相比。"""
    first = settings.lr / max(settings.warmup_steps, 1)
    text = f"re-warm: learning rate {first:g} to {settings.lr:g} over {settings.warmup_steps} steps"
    if not isinstance(before, dict) or "lr" not in before:
        return text
    peak, steps = float(before["lr"]), int(before["steps"])
    last = learning_rate(
        steps - 1,
        peak=peak,
        minimum=peak * float(before["min_lr_ratio"]),
        warmup_steps=int(before["warmup_steps"]),
        total_steps=steps,
        shape=before.get("schedule", "cosine"),
        decay_fraction=float(before.get("decay_fraction", 0.2)),
    )
    return f"{text} (the source peaked at {peak:g} and ended at {last:g})"
