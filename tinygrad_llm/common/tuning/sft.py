"""指令微调：只学回答。批次是一次次对话，损失就是语言模型的交叉熵，不学的位置不计。

流入：对话与出发点；流出：``Session``。一条对话一行，填充到这一批里最长的那么长；或几条装进一行，互相看不见。
下一个文件：``scope.py``（学哪些参数）。
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from tinygrad_llm.common.batches import IGNORE_INDEX, Example, Examples, Padded
from tinygrad_llm.common.batches.packed import Isolated
from tinygrad_llm.common.batches.supervised import padded_rows
from tinygrad_llm.common.chat import ConversationTooLongError, Rendered, render, render_prompt
from tinygrad_llm.common.chat.templates import Template, template_for
from tinygrad_llm.common.corpora.faults import Faults
from tinygrad_llm.common.engine import Engine
from tinygrad_llm.common.errors import DataError
from tinygrad_llm.common.session import Looks, Session, bits_per_byte
from tinygrad_llm.common.tokenizers import Tokenizer
from tinygrad_llm.common.tokenizers.bpe import END_OF_TEXT
from tinygrad_llm.common.tuning.answers import SLOTS, Answered, Quiz, answer_all
from tinygrad_llm.common.tuning.config import SftConfig
from tinygrad_llm.common.tuning.lessons import Lesson, load_lessons, prompt_of
from tinygrad_llm.common.tuning.quiz_log import note_answers
from tinygrad_llm.common.tuning.scope import Scope
from tinygrad_llm.common.tuning.session import Base, open_base, steps_of, tuning_session

__all__ = [
    "Material", "answered", "exact_match", "gather", "held_out_figures", "prepare_sft", "quizzes_of",
    "sft_session", "transcript",
]  # fmt: skip

EVALUATION_ROWS = 16
MULTIPLE = 8
"""行长取整到它的倍数：形状少了，内存的空闲块才能重复使用。

长短相近的不凑成一批：填充是少了一半，可是一种题一个长度，一批便只有一种题，学了这种忘那种，答对的从 76 % 跌到 45 %。
"""
SHOWN_CHARS = 300


def prepare_sft(settings: SftConfig) -> Session:
    """备齐一次指令微调。

    Args:
        settings: 设置。

    Returns:
        ``Session``；每次评估量留作评估的对话的损失与精确匹配。

    Raises:
        UserError: 设置矛盾，没有这个文件，或分词器缺少模板的特殊 token。
        DataError: 数据坏了、超长而不许略过，或续训时已不是原来的。
        CheckpointError: 出发点或检查点缺失、损坏。
    """
    base = open_base(settings)
    return sft_session(base, gather(base))


@dataclass(frozen=True)
class Material:
    """写成 id 的数据。

    Attributes:
        template: 对话的模板。
        train: 训练的样本。
        held_out: 留作评估的样本。
        quizzes: 留作评估的题。
        skipped: 略过了什么，几行；没有为空。
    """

    template: Template
    train: Examples
    held_out: Examples
    quizzes: tuple[Quiz, ...]
    skipped: str

    @property
    def digest(self) -> str:
        """两份样本的摘要。"""
        digest = hashlib.sha256()
        for one in (self.train, self.held_out):
            for array in (one.x, one.y, one.lengths):
                digest.update(np.ascontiguousarray(array).data.cast("B"))
        return digest.hexdigest()


def gather(base: Base[Any]) -> Material:
    """读出数据，写成 id。

    Args:
        base: 出发点；它的设置是 ``SftConfig`` 一类。

    Raises:
        UserError: 没有这个文件，或分词器缺少模板的特殊 token。
        DataError: 数据坏了或超长，而设置不许略过。
    """
    settings, tokenizer = base.settings, base.tokenizer
    template = template_for(tokenizer.specials, settings.template)
    faults = Faults(settings.on_error)
    lessons = load_lessons(settings, faults)
    width = min(settings.max_tokens or base.model.context, base.model.context)
    writer = _Writer(tokenizer, template, settings, width, faults)
    train, held_out = (
        Examples(writer.examples(part), vocab_size=base.model.vocab_size, context=width, overflow="crop", faults=faults)
        for part in lessons
    )
    if not (held_out.y != IGNORE_INDEX).any():
        raise DataError("the held-out conversations have nothing to predict", where=settings.val_data or settings.data)
    quizzes = tuple(quizzes_of(lessons.held_out, base, template))
    counts = [f"skipped {writer.skipped:,}: too long"] if writer.skipped else []
    return Material(template, train, held_out, quizzes, "; ".join([*counts, *faults.summary().splitlines()]))


def sft_session(base: Base[Any], material: Material) -> Session:
    """由写成 id 的数据备好一次训练。

    Args:
        base: 出发点。
        material: 数据。
    """
    train, pad = material.train, base.tokenizer.eot
    packed = train.packed(pad=pad) if base.settings.packing == "bos" else None
    base = replace(base, settings=steps_of(base.settings, packed.size if packed else train.size))
    settings = base.settings
    size, seed = settings.batch_size, settings.seed
    stream: Isolated | Padded = (
        Isolated(packed, batch_size=size, seed=seed)
        if packed
        else Padded(train, batch_size=size, seed=seed, pad=pad, multiple=MULTIPLE)
    )
    rows = f" in {packed.size:,} rows, {packed.plan.utilisation:.1%} full" if packed else ""
    scope: Scope = settings.scope
    method = {"name": "sft", "template": material.template.name, "train_on": settings.train_on, **scope.describe()}
    examine = partial(_examine, base=base, material=material)
    summary = (
        f"{train.size:,} conversations{rows}, {stream.epochs(settings.steps):.2f} epochs; "
        f"{material.held_out.size:,} held out, {len(material.quizzes)} of them as questions"
    )
    return tuning_session(
        base,
        stream=stream,
        digest=material.digest,
        method=method,
        tokens=int(train.lengths.sum()),
        trained=scope.shapes(base.model),
        examine=examine,
        show=partial(_show, base=base, material=material) if settings.shown and material.quizzes else None,
        looks=_looks(base, material),
        summary="; ".join(filter(None, [summary, material.skipped])),
    )


def _looks(base: Base[Any], material: Material) -> Looks:
    """评估的一批与答题各有多大；与 ``held_out_figures``、``answer_all`` 一致。"""
    lengths = [len(one.prompt) for one in material.quizzes]
    longest = min(base.model.context, max(lengths, default=0) + base.settings.answer_tokens)
    return Looks(EVALUATION_ROWS, int(material.held_out.lengths.max()), min(SLOTS, len(lengths)), longest)


class _Writer:
    """对话写成样本，超长的照设置处置。"""

    def __init__(
        self, tokenizer: Tokenizer, template: Template, settings: SftConfig, width: int, faults: Faults
    ) -> None:
        self.tokenizer, self.template, self.settings, self.faults = tokenizer, template, settings, faults
        self.most, self.skipped = width + 1, 0

    def examples(self, lessons: Sequence[Lesson]) -> Iterator[Example]:
        """逐个写出。"""
        for lesson in lessons:
            found = self.rendered(lesson)
            if found is not None:
                yield Example(found.ids, found.loss_mask, lesson.conversation.source)

    def rendered(self, lesson: Lesson) -> Rendered | None:
        """一次对话的 id；要略过的为 ``None``。"""
        conversation, overflow = lesson.conversation, self.settings.overflow
        write = partial(render, conversation, self.tokenizer, self.template, train_on=self.settings.train_on)
        try:
            found = write(max_tokens=self.most if overflow == "crop" else None)
        except ConversationTooLongError:
            return write()  # 去掉了旧的几轮还太长：由 Examples 裁掉结尾
        if len(found.ids) <= self.most:
            return found
        if overflow == "skip":
            self.skipped += 1
            return None
        said = f"the sample has {len(found.ids):,} tokens, at most {self.most:,} fit"
        fix = "raise --max-tokens (at most the model's context), cut such samples with --overflow crop"
        self.faults.report(said, conversation.source, fix, reason="too long")
        return None


def quizzes_of(lessons: Sequence[Lesson], base: Base[Any], template: Template) -> Iterator[Quiz]:
    """留作评估的前几次对话，问到最后一句回答之前；装不下的不问。

    Args:
        lessons: 留作评估的对话。
        base: 出发点；它的设置里有 ``quiz``（至多几题）与 ``answer_tokens``。
        template: 对话的模板。
    """
    settings, context = base.settings, base.model.context
    room = context - min(settings.answer_tokens, context // 2)
    for lesson in lessons[: settings.quiz]:
        prompt = prompt_of(lesson)
        try:
            ids = render_prompt(prompt, base.tokenizer, template, max_tokens=room).ids
        except ConversationTooLongError:
            continue
        yield Quiz(tuple(ids), lesson.rule, prompt.messages[-1].content, lesson.task, lesson.level)


def held_out_figures(engine: Engine, examples: Examples, tokenizer: Tokenizer) -> dict[str, float]:
    """留作评估的样本上，每个要学的 token 的损失；长短相近的一批，少填充。"""
    order = np.argsort(examples.lengths, kind="stable")
    nats, count, n_bytes = 0.0, 0, 0
    for start in range(0, order.size, EVALUATION_ROWS):
        rows = order[start : start + EVALUATION_ROWS]
        x, y = padded_rows(examples, rows, int(examples.lengths[rows].max()), tokenizer.eot)
        valid = y[y != IGNORE_INDEX]
        if valid.size:
            nats += engine.evaluate(x, y)
            count += valid.size
            n_bytes += int(tokenizer.byte_lengths[valid].sum())
    found = {"val_loss": nats / count}
    return {**found, "val_bits_per_byte": bits_per_byte(nats, n_bytes)} if n_bytes else found


def _examine(engine: Engine, *, base: Base[Any], material: Material) -> Mapping[str, float]:
    found = held_out_figures(engine, material.held_out, base.tokenizer)
    answers = answered(engine, base, material.template, material.quizzes)
    if not base.settings.dry_run:  # 续训的估计也不改动那次运行
        note_answers(base.settings.folder, answers)
    return {**found, **exact_match(answers)}


def _show(engine: Engine, *, base: Base[Any], material: Material) -> str:
    """前几题的问与答。"""
    return transcript(answered(engine, base, material.template, material.quizzes[: base.settings.shown]))


def answered(engine: Engine, base: Base[Any], template: Template, quizzes: Sequence[Quiz]) -> list[Answered]:
    """让眼下的模型答这些题。

    Args:
        engine: 引擎。
        base: 出发点；它的设置里有 ``answer_tokens``。
        template: 对话的模板。
        quizzes: 题。
    """
    tokenizer, names = base.tokenizer, {template.stop, END_OF_TEXT}
    stop = frozenset(tokenizer.special(name) for name in names if name in tokenizer.specials)
    settings, context = base.settings, base.model.context
    return answer_all(engine, tokenizer, quizzes, stop=stop, max_tokens=settings.answer_tokens, context=context)


def exact_match(found: Sequence[Answered]) -> dict[str, float]:
    """答对几成，共几题；没有题为空。"""
    if not found:
        return {}
    return {"exact_match": sum(one.is_right for one in found) / len(found), "exact_match_n": len(found)}


def transcript(found: Sequence[Answered]) -> str:
    """问与答，写进样本。"""
    return "\n\n".join(
        f"[{'right' if one.is_right else 'wrong'}] {one.quiz.question[:SHOWN_CHARS]}\n> {one.text[:SHOWN_CHARS]}"
        for one in found
    )
