"""训练之前的一切准备：分词器、数据、模型配置、运行文件夹、要接着走的检查点。

流入：``TrainConfig``；流出：``Session``，两个引擎拿它就能开训。下一站：``loop.py``。
所有用户可能弄错的事都在这里、在写下任何文件之前查出来。
"""

from __future__ import annotations

import hashlib
import math
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from numpy.typing import NDArray

from tinygrad_llm.common.batches import Ids, Stream, TokenDataset, Tokens, encode_corpus
from tinygrad_llm.common.batches.sources import (
    data_digest,
    epochs_summary,
    open_sources,
    training_stream,
    validation_tokens,
)
from tinygrad_llm.common.checkpoint import (
    LATEST,
    SPARE_BYTES,
    Checkpoint,
    check_tensors,
    list_checkpoints,
    load_checkpoint,
)
from tinygrad_llm.common.config import GPTConfig, parameter_count, parameter_shapes
from tinygrad_llm.common.engine import Engine
from tinygrad_llm.common.errors import CheckpointError, DataError, OutOfDiskError, UserError
from tinygrad_llm.common.lineage import Ancestor, load_ancestor
from tinygrad_llm.common.partial import completed, is_partial
from tinygrad_llm.common.quantization.storage import expected_shapes
from tinygrad_llm.common.sharded import refuse_newer_shards
from tinygrad_llm.common.standing import Standing
from tinygrad_llm.common.tokenizers import Tokenizer, load_tokenizer, train_bpe
from tinygrad_llm.common.toml import load_toml
from tinygrad_llm.common.train_config import TrainConfig
from tinygrad_llm.common.update_rules import state_shapes

TOKENIZER = "tokenizer.json"


class Looks(NamedTuple):
    """方法自己的评估有多大；``--dry-run`` 由此知道要多少内存。

    Attributes:
        rows: 一批几行。
        width: 最长的一行有几个 token。
        slots: 同时写几个答案。
        length: 题目连同答案最长有几个 token。
    """

    rows: int
    width: int
    slots: int
    length: int


@dataclass(frozen=True)
class Session:
    """开训所需的一切。

    Attributes:
        settings: 训练设置。
        model: 模型配置。
        tokenizer: 分词器。
        train: 训练批次。
        validation: 验证集的 token；方法另有评估办法（``examine``）时可以为空。
        train_text: 训练文本；数据来自分片时为空。
        validation_text: 验证文本；数据来自分片时为空。
        checkpoint: 要接着走的检查点；从头训练时为 ``None``。
        train_tokens: 训练用的 token 数。
        data_digest: 分片的摘要；数据来自文本时为空。
        data_summary: 各来源要走几轮，写成一句；数据来自文本时为空。
        initial: 从别处得来的初始权重（``--from``）；``None`` 表示由种子决定。
        source: 初始权重的出处，记进检查点；没有则为空。
        watched: 另外几个验证集，名字到 token；每次评估都量，记作 ``val_loss_名字``。
        rate: 第几步用多大的学习率，代替设置里的；``None`` 表示照设置。
        method: 训练方法的自述（写得成 JSON），记进检查点；语言模型为空。
        trained: 检查点里存的参数与形状；``None`` 表示模型的全部参数。
        examine: 每次评估另外量的数字，如精确匹配；没有 ``validation`` 时其中的 ``val_loss`` 决定哪一步最好。
        show: 怎样写样本；``None`` 表示照设置里的开头续写。
        looks: ``examine`` 有多大；没有则为 ``None``。
        prefetches: 批次能不能提前取；由眼下的模型写出来的不能。
        pace: 每几步是一组，只在组的末尾评估、存档、停下。
    """

    settings: TrainConfig
    model: GPTConfig
    tokenizer: Tokenizer
    train: Stream
    validation: Ids | Tokens
    train_text: str
    validation_text: str
    checkpoint: Checkpoint | None
    train_tokens: int
    data_digest: str = ""
    data_summary: str = ""
    initial: Mapping[str, NDArray[Any]] | None = None
    source: Mapping[str, Any] = field(default_factory=dict)
    watched: Mapping[str, Ids | Tokens] = field(default_factory=dict)
    rate: Callable[[int], float] | None = None
    method: Mapping[str, Any] = field(default_factory=dict)
    trained: Mapping[str, tuple[int, ...]] | None = None
    examine: Callable[[Engine], Mapping[str, float]] | None = None
    show: Callable[[Engine], str] | None = None
    looks: Looks | None = None
    prefetches: bool = True
    pace: int = 1

    @property
    def first_step(self) -> int:
        """从哪一步开始。"""
        return 0 if self.checkpoint is None else self.checkpoint.step

    @cached_property
    def text_digest(self) -> str:
        """全文或分片的 SHA-256：续训时据此发现语料已经变了。"""
        return self.data_digest or hashlib.sha256((self.train_text + self.validation_text).encode()).hexdigest()


class _Start(NamedTuple):
    """从哪里开始：接着走的检查点，或别的运行的权重；两者都没有就从头。"""

    settings: TrainConfig
    checkpoint: Checkpoint | None
    ancestor: Ancestor | None
    tokenizer: Tokenizer | None = None

    def model(self, tokenizer: Tokenizer) -> GPTConfig:
        """模型配置：词表大小与文档的开头由分词器决定。"""
        settings, config = self.settings, None
        if settings.from_run and self.checkpoint is not None:
            config = GPTConfig.from_dict(model_of(self.checkpoint.state))
        elif self.ancestor is not None:
            config = self.ancestor.model
            if settings.dropout is not None:
                config = replace(config, dropout=settings.dropout)
        start = tokenizer.eot if settings.document_mask else None
        return replace(config or settings.model(tokenizer.vocab_size), document_start=start)


def prepare(
    settings: TrainConfig, blend: Callable[[Session], Session] | None = None, tokenizer: Tokenizer | None = None
) -> Session:
    """备齐一次训练。

    Args:
        settings: 训练设置。
        blend: 在核对检查点之前，给数据添上别的来源；见 ``midtraining.py``。
        tokenizer: 从头训练而语料是文本时用的分词器；``None`` 表示在文本上训练一个。

    Returns:
        ``Session``；此时除了（续训时）读文件，什么也没写。它的 ``settings`` 补全了由 ``--from`` 决定的几项。

    Raises:
        UserError: 设置之间矛盾，或续训时改了不许改的设置。
        DataError: 文本缺失、为空或太短，或续训时已不是原来的文本。
        CheckpointError: 检查点损坏，或与模型、分词器不符。
        OutOfDiskError: 剩余空间放不下检查点。
    """
    check_folder(settings)
    start = _start(settings)._replace(tokenizer=tokenizer)
    session = _from_shards(start) if settings.data else _from_text(start)
    if blend is not None:
        session = blend(session)
    checkpoint = session.checkpoint
    if checkpoint is not None:
        check_resumable(session, checkpoint)
    check_space(session)
    return session


def _start(settings: TrainConfig) -> _Start:
    checkpoint = load_checkpoint(settings.folder) if has_checkpoint(settings) else None
    if checkpoint is not None or not settings.from_run:
        return _Start(settings, checkpoint, None)
    ancestor = load_ancestor(settings)
    return _Start(ancestor.inherited(settings), None, ancestor)


def _from_text(start: _Start) -> Session:
    """语料是一段文本：切成训练与验证，训练分词器，编码。"""
    from tinygrad_llm.common.corpora import load_corpus, split_text  # 用到才导入，``--help`` 因此立即可答

    settings = start.settings
    train_text, validation_text = split_text(load_corpus(settings.corpus).text, settings.val_fraction)
    if start.checkpoint is not None:
        tokenizer = load_tokenizer(settings.folder / TOKENIZER)
    elif start.ancestor is not None:
        tokenizer = start.ancestor.tokenizer
    elif start.tokenizer is not None:
        tokenizer = start.tokenizer
    else:
        settings.model(settings.vocab_size)  # 先查模型配置：训练分词器要花时间
        tokenizer = train_bpe(train_text, settings.vocab_size)
    model = start.model(tokenizer)
    train = TokenDataset(
        encode_corpus(train_text, tokenizer),
        vocab_size=model.vocab_size,
        context=model.context,
        batch_size=settings.batch_size,
        seed=settings.seed,
    )
    validation = encode_corpus(validation_text, tokenizer)
    session = Session(
        settings, model, tokenizer, train, validation, train_text, validation_text, start.checkpoint, train.ids.size
    )
    return _descended(session, start)


def _from_shards(start: _Start) -> Session:
    """语料是分片：分词器、训练与验证都已备好，只须打开。"""
    settings = start.settings
    sources = open_sources(settings.data)
    tokenizer = sources[0].store.tokenizer
    if start.ancestor is not None:
        start.ancestor.check_tokenizer(tokenizer, settings.data)
    model = start.model(tokenizer)
    train = training_stream(
        sources,
        packing=settings.packing,
        context=model.context,
        batch_size=settings.batch_size,
        seed=settings.seed,
    )
    validation, digest = validation_tokens(sources), data_digest(sources)
    tokens = sum(source.store.split("train").tokens.size for source in sources)
    summary = epochs_summary(sources, train, settings.steps)
    session = Session(settings, model, tokenizer, train, validation, "", "", start.checkpoint, tokens, digest, summary)
    return _descended(session, start)


def _descended(session: Session, start: _Start) -> Session:
    """记上初始权重与它的出处。"""
    if start.ancestor is not None:
        initial = start.ancestor.initial(start.settings.dtype)
        return replace(session, initial=initial, source=start.ancestor.record())
    kept = start.checkpoint.state.get("source") if start.checkpoint is not None else None
    return replace(session, source=kept) if isinstance(kept, dict) else session


def check_folder(settings: TrainConfig) -> None:
    """运行文件夹：新的运行不许已有，续训须有，而且设置没有改过不许改的。

    Raises:
        UserError: 不是这样。
        CheckpointError: 没有可以续的运行。
    """
    folder = settings.folder
    if settings.resume:
        if not (folder / "config.toml").is_file():
            raise CheckpointError("there is no run to resume", where=str(folder), fix="check --run, or drop --resume")
        before = load_toml(folder / "config.toml", type(settings))
        changed = [name for name in settings.fixed_on_resume if getattr(before, name) != getattr(settings, name)]
        if changed:
            flags = ", ".join(f"--{name.replace('_', '-')}" for name in changed)
            raise UserError(
                f"these settings cannot change on resume: {flags}", where=str(folder), fix="drop these flags"
            )
        refuse_newer_shards(folder)
    elif (folder / "config.toml").exists() or (folder / "checkpoints").exists():
        raise UserError(
            "this folder already holds a run",
            where=str(folder),
            fix="continue it with --resume, or give the new run another name with --run",
        )


def has_checkpoint(settings: TrainConfig) -> bool:
    """续训时有没有检查点可接；还没存过就停下的运行，从第 0 步重来，结果仍与从未中断的一样。"""
    return settings.resume and ((settings.folder / LATEST).exists() or bool(list_checkpoints(settings.folder)))


def model_of(state: Mapping[str, Any]) -> dict[str, Any]:
    """检查点的模型配置；较早的检查点没有后来才有的字段，那时的模型就是缺省值的样子。"""
    saved = state.get("model")
    return {**GPTConfig().to_dict(), **(saved if isinstance(saved, dict) else {"": saved})}


def check_resumable(session: Session, checkpoint: Checkpoint) -> None:
    """检查点确实属于这次训练，而且后面还有步可走。"""
    settings, state = session.settings, checkpoint.state
    _check_tokenizer(session.tokenizer, checkpoint, settings.folder)
    where = settings.folder / "checkpoints" / f"step_{checkpoint.step:06d}"
    shapes = parameter_shapes(session.model) if session.trained is None else session.trained
    check_tensors(checkpoint.model, shapes, where=str(where / "model.safetensors"))
    check_tensors(checkpoint.optim, state_shapes(shapes, settings.optimizer), where=str(where / "optim.safetensors"))
    dtypes = {array.dtype.name for array in (*checkpoint.model.values(), *checkpoint.optim.values())}
    is_ours = dtypes == {settings.dtype} and model_of(state) == session.model.to_dict()
    if not is_ours or type(state.get("optimizer_step")) is not int:
        raise CheckpointError("this checkpoint is another run's", where=str(where), fix="restore the run's own one")
    if state.get("text") != session.text_digest:
        raise DataError(
            "the text has changed since the run began",
            where=settings.data or settings.corpus,
            fix="restore it, or start a new run",
        )
    if checkpoint.step >= settings.last_step:
        stop = "" if settings.stop_at is None else f" and --stop-at {settings.stop_at}"
        raise UserError(
            f"nothing left to do: the run already has {checkpoint.step} steps, with --steps {settings.steps}{stop}",
            where=str(settings.folder),
            fix=f"raise --steps{' and --stop-at' if stop else ''} to train further",
        )
    standing = Standing.of_state(state)
    if standing.is_exhausted(settings.patience):
        raise UserError(
            f"this run stopped early: {standing.stale} evaluations without improvement on step {standing.best_step}",
            where=str(settings.folder),
            fix="train further with --patience 0, or with a larger --patience",
        )


def _check_tokenizer(tokenizer: Tokenizer, checkpoint: Checkpoint, run: Path) -> None:
    if tokenizer.digest != checkpoint.state.get("tokenizer"):
        raise CheckpointError(
            "the tokenizer is not the one that the model was trained with",
            where=str(run / TOKENIZER),
            fix="restore the run's own tokenizer.json",
        )


def check_space(session: Session) -> None:
    """检查点含参数与两个矩；轮换时新旧并存，另留着最好的与退回时要用的。

    Raises:
        OutOfDiskError: 剩余空间放不下检查点。
    """
    settings, shapes = session.settings, session.trained
    count = parameter_count(session.model) if shapes is None else sum(math.prod(shape) for shape in shapes.values())
    itemsize = 4 if settings.dtype == "float32" else 8
    needed = count * 3 * itemsize * (settings.keep + 3) + SPARE_BYTES
    existing = next(path for path in [settings.folder, *settings.folder.absolute().parents] if path.exists())
    free = shutil.disk_usage(existing).free
    if free < needed:
        raise OutOfDiskError(
            f"not enough disk space for the checkpoints (needs {needed:,} bytes, {free:,} free)",
            where=str(settings.folder),
            fix="free some space, lower --keep, or choose another --runs-dir",
        )


def bits_per_byte(nats: float, n_bytes: float) -> float:
    """总的负对数似然（纳特）换算成每字节比特数。"""
    return nats / math.log(2) / n_bytes


def load_trained(folder: Path) -> tuple[GPTConfig, Tokenizer, Checkpoint]:
    """为生成载入一个训练好的模型。

    Args:
        folder: 运行文件夹，或其中的某个检查点文件夹。

    Returns:
        模型配置、分词器、检查点。

    Raises:
        CheckpointError: 缺失、损坏，或与配置不符。
    """
    config, checkpoint = load_weights(folder)
    if "tokenizer" in checkpoint.state and checkpoint.state["tokenizer"] is None:
        raise CheckpointError(
            "this run has no tokenizer", where=str(folder), fix="convert the model again, with --tokenizer FILE"
        )
    run = folder.parent.parent if folder.parent.name == "checkpoints" else folder
    tokenizer = load_tokenizer(run / TOKENIZER, checkpoint.state.get("tokenizer"))
    _check_tokenizer(tokenizer, checkpoint, run)
    return config, tokenizer, checkpoint


def load_weights(folder: Path) -> tuple[GPTConfig, Checkpoint]:
    """只载入模型的配置与权重；优化器的状态不读，内存里只有一份权重。

    Args:
        folder: 运行文件夹，或其中的某个检查点文件夹。

    Returns:
        模型配置、检查点（``optim`` 为空）。

    Raises:
        CheckpointError: 缺失、损坏，或与配置不符。
    """
    if not folder.exists():
        raise CheckpointError("no such run", where=str(folder), fix="check --run, or train it first")
    run = folder.parent.parent if folder.parent.name == "checkpoints" else folder
    if run == folder:
        refuse_newer_shards(run)
    checkpoint = load_checkpoint(folder, weights_only=True)
    model = checkpoint.state.get("model")
    if not isinstance(model, dict):
        raise CheckpointError("the checkpoint names no model configuration", where=str(folder), fix="train it again")
    config = GPTConfig.from_dict(model)
    if is_partial(checkpoint.state):
        return config, completed(config, checkpoint, folder)
    check_tensors(checkpoint.model, expected_shapes(config, checkpoint.state, where=str(folder)), where=str(folder))
    return config, checkpoint
