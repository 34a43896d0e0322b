"""备齐一次强化学习：出发点、题目、评估，装成 ``Session`` 交给同一个循环。

流入：``RLConfig``；流出：``Prepared``。下一站：``torch_llm/rl.py``、``tinygrad_llm/rl.py``（装上引擎）。
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from tinygrad_llm.common.batches import Stream
from tinygrad_llm.common.checkpoint import load_checkpoint
from tinygrad_llm.common.config import parameter_shapes
from tinygrad_llm.common.errors import CheckpointError
from tinygrad_llm.common.lineage import load_ancestor, weights_digest
from tinygrad_llm.common.rl.measure import Exam
from tinygrad_llm.common.rl.objective import METHODS
from tinygrad_llm.common.rl.problems import open_problems
from tinygrad_llm.common.rl.rollouts import Actor, Rollouts
from tinygrad_llm.common.rl.settings import RLConfig
from tinygrad_llm.common.rl.speaking import Speaker
from tinygrad_llm.common.session import Session, check_folder, check_resumable, check_space, has_checkpoint
from tinygrad_llm.common.tuning.watched import watched_sets

__all__ = ["Prepared", "prepare_rl"]

VALUE_HEAD = "value_head.weight"


class Prepared(NamedTuple):
    """备好的一次强化学习。

    Attributes:
        session: 交给循环的。
        rollouts: 采样的批次流，即 ``session.train``。
        exam: 留出的题上的考试。
        reference: 参考模型的权重，即出发点的。
    """

    session: Session
    rollouts: Rollouts
    exam: Exam
    reference: dict[str, NDArray[Any]]

    def give(self, actor: Actor) -> None:
        """装上正在学的模型。"""
        self.rollouts.actor = actor
        self.exam.decoders, self.exam.scorer = actor.decoders, actor.scorer


def prepare_rl(settings: RLConfig) -> Prepared:
    """备齐一次强化学习。

    Args:
        settings: 设置。

    Returns:
        见 ``Prepared``；什么文件也还没写。

    Raises:
        UserError: 设置不对，或模型的分词器没有对话的特殊 token。
        DataError: 题目打不开，或续训时变了。
        CheckpointError: 出发点缺失、坏了，或续训时变了。
        OutOfDiskError: 剩余空间放不下检查点。
    """
    check_folder(settings)
    checkpoint = load_checkpoint(settings.folder) if has_checkpoint(settings) else None
    ancestor = load_ancestor(settings)
    source = ancestor.record()
    if checkpoint is not None:
        kept = checkpoint.state.get("source") or {}
        if kept.get("weights_sha256") != weights_digest(ancestor.weights):
            raise CheckpointError(
                "the run that this one started from has changed, and it is the reference",
                where=settings.from_run,
                fix="restore the weights that it had then",
            )
        source = kept
    settings = cast(RLConfig, ancestor.inherited(settings))
    model, tokenizer = replace(ancestor.model, dropout=0.0), ancestor.tokenizer
    speaker = Speaker(tokenizer, settings.template)
    train, held_out = open_problems(
        settings.task, lang=settings.lang, level=settings.level, val_fraction=settings.val_fraction
    )
    initial = ancestor.initial(settings.dtype)
    reference = dict(initial)
    watched, notes = watched_sets(settings, source, tokenizer)
    shapes = dict(parameter_shapes(model))
    if METHODS[settings.method].has_critic:
        shapes[VALUE_HEAD] = (1, model.n_embd)
        initial[VALUE_HEAD] = np.zeros(shapes[VALUE_HEAD], settings.dtype)
    rollouts, exam = Rollouts(train, speaker, settings), Exam(held_out, speaker, settings)
    session = Session(
        settings,
        model,
        tokenizer,
        cast(Stream, rollouts),  # 批次不止 x 与 y
        np.empty(0, np.int64),
        "",
        "",
        checkpoint,
        train.size or 0,
        data_digest=hashlib.sha256(f"{train.digest}+{held_out.digest}".encode()).hexdigest(),
        data_summary="; ".join([_summary(settings, train.size), *notes]),
        initial=initial,
        source=source,
        watched=watched,
        method=_described(settings, shapes),
        trained=shapes,
        examine=exam.figures,
        show=exam.show,
        prefetches=False,
        pace=settings.pace,
    )
    if checkpoint is not None:
        check_resumable(session, checkpoint)
    check_space(session)
    speaker.prompt(train.head(1)[0].prompt)  # 分词器没有对话的特殊 token，现在就说
    return Prepared(session, rollouts, exam, reference)


def _described(settings: RLConfig, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    """写进检查点的自述；有价值头时检查点比模型多一个张量，要列出各个形状。"""
    told: dict[str, Any] = {"name": settings.method, "task": settings.task, "reward": settings.reward}
    if METHODS[settings.method].has_critic:
        told["trained"] = {name: list(shape) for name, shape in shapes.items()}
    return told


def _summary(settings: RLConfig, size: int | None) -> str:
    """一次采样多少、一共用到多少题。"""
    count = settings.prompts_per_rollout
    asked = settings.steps // settings.pace * count
    rounds = "" if size is None else f", {asked / size:.2f} epochs"
    return f"{settings.task}: {count} problems x {settings.group} answers a rollout, {asked:,} problems in all{rounds}"
