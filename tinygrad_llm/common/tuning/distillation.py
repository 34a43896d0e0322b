"""蒸馏：大的老师教小的学生，学它每个位置的整个分布（``logits``），或学它写的文字（``sequence``）。

流入：设置、老师的运行与语料；流出：``Session`` 与老师。学生可以小得多，分词器须是老师的；缺省用老师训练时的语料。
损失见两个引擎的 ``objectives_distillation.py``；评估与预训练的相同，于是可以与没有老师的那次运行比较。
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple, cast

import numpy as np

from tinygrad_llm.common.batches import Example, Examples, Padded, Stream
from tinygrad_llm.common.decoding.request import Request, Sampling
from tinygrad_llm.common.decoding.scheduler import Scheduler
from tinygrad_llm.common.decoding.slots import BatchDecoder
from tinygrad_llm.common.errors import UserError
from tinygrad_llm.common.initial import philox
from tinygrad_llm.common.lineage import Ancestor, load_ancestor, weights_digest
from tinygrad_llm.common.session import Session, prepare
from tinygrad_llm.common.tuning.distillation_config import DistillConfig
from tinygrad_llm.common.tuning.watched import watched_sets

__all__ = ["Distillation", "OpenTeacher", "prepare_distillation"]

OpenTeacher = Callable[[Ancestor], Callable[[int, int], BatchDecoder]]
"""由老师造出「同时写几个序列、各至多多长」的生成器；两个引擎各有一个。"""
SLOTS = 16


class Distillation(NamedTuple):
    """备好的一次蒸馏。

    Attributes:
        session: 学生的训练。
        teacher: 老师。
    """

    session: Session
    teacher: Ancestor


def prepare_distillation(settings: DistillConfig, open_teacher: OpenTeacher) -> Distillation:
    """备齐一次蒸馏；``sequence`` 的文字在这里由老师写好，续训时重写一遍，逐字相同。

    Args:
        settings: 设置。
        open_teacher: 由老师造出生成器。

    Returns:
        学生的训练，与老师。

    Raises:
        UserError: 设置之间矛盾，老师与学生的分词器不同，或老师的上下文太短。
        DataError: 语料缺失，或续训时已不是原来的。
        CheckpointError: 老师、出发点或检查点缺失、损坏，或续训时老师已不是原来的。
    """
    teacher = load_ancestor(replace(settings, from_run=settings.teacher))
    settings = _with_corpus(settings, teacher)

    def blend(session: Session) -> Session:
        return _taught(session, teacher, open_teacher)

    return Distillation(prepare(settings, blend, teacher.tokenizer), teacher)


def _with_corpus(settings: DistillConfig, teacher: Ancestor) -> DistillConfig:
    settings = replace(settings, vocab_size=teacher.tokenizer.vocab_size)
    if settings.data or settings.corpus:
        return settings
    data, corpus = (str(teacher.settings.get(name) or "") for name in ("data", "corpus"))
    if not data and not corpus:
        raise UserError(
            "the teacher does not say which data it was trained on",
            where=str(teacher.folder),
            fix="name a corpus with --corpus, or shards with --data",
        )
    kept = {name: teacher.settings[name] for name in ("val_fraction", "packing") if name in teacher.settings}
    return replace(settings, data=data, corpus="" if data else corpus, **kept)


def _taught(session: Session, teacher: Ancestor, open_teacher: OpenTeacher) -> Session:
    settings = cast(DistillConfig, session.settings)
    where = str(teacher.folder)
    if session.tokenizer.digest != teacher.tokenizer.digest:
        raise UserError(
            "teacher and student have different tokenizers",
            where=where,
            fix="use data and a student made with the teacher's tokenizer",
        )
    if teacher.model.context < session.model.context:
        raise UserError(
            f"the teacher's context of {teacher.model.context} is shorter than the student's {session.model.context}",
            where=where,
            fix=f"give --context {teacher.model.context}",
        )
    mark = weights_digest(teacher.weights)
    method = {"name": "distill", "level": settings.level, "teacher": {"run": where, "weights_sha256": mark}}
    digest = hashlib.sha256(f"{session.text_digest}+{mark}".encode()).hexdigest()
    watched, notes = watched_sets(settings, session.source, session.tokenizer) if session.source else ({}, [])
    summary = "; ".join(filter(None, [session.data_summary, *notes]))
    session = replace(session, method=method, data_digest=digest, watched=watched, data_summary=summary)
    if settings.level == "logits":
        return session
    decoder = open_teacher(teacher)
    stream, digest = _written(session, settings, decoder, mark)
    return replace(session, train=stream, data_digest=digest)


def _written(
    session: Session, settings: DistillConfig, decoder: Callable[[int, int], BatchDecoder], mark: str
) -> tuple[Stream, str]:
    """老师写好的文字，作成批次；只学它写的部分。"""
    context, start = session.model.context, settings.prompt_tokens
    if start >= context - 1:
        raise UserError(
            f"--prompt-tokens {start} leaves the teacher nothing to write in a context of {context}",
            where="distillation settings",
            fix="give fewer",
        )
    steps = -(-settings.sequences // settings.batch_size)
    opening = np.concatenate([session.train.batch(step)[0][:, :start] for step in range(steps)])[: settings.sequences]
    scheduler = Scheduler(decoder(min(SLOTS, len(opening)), context), session.tokenizer, chunk=max(256, context))
    requests = []
    for number, ids in enumerate(opening):
        seed = int(philox(settings.seed, f"teacher's text {number}").integers(1 << 62))
        sampling = Sampling(temperature=settings.sampling_temperature, seed=seed)
        requests.append(scheduler.submit(Request(tuple(ids.tolist()), context - start, sampling)))
    written: dict[int, list[int]] = {id: [] for id in requests}
    for event in scheduler.run():
        if event.error is not None:
            raise event.error
        if event.step is not None:
            written[event.id].append(event.step.token)
    rows = [[*ids.tolist(), *written[id]] for ids, id in zip(opening, requests, strict=True)]
    examples = Examples(
        (Example(row, [False] * start + [True] * (len(row) - start)) for row in rows),
        vocab_size=session.model.vocab_size,
        context=context,
    )
    stream = Padded(examples, batch_size=settings.batch_size, seed=settings.seed, pad=session.tokenizer.eot)
    return stream, hashlib.sha256(examples.x.tobytes() + mark.encode()).hexdigest()
