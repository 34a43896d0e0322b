"""备齐一次微调：出发点、数据、要接着走的检查点。各种方法都经过这里，于是查得一样严、续得一样准。

流入：设置与某种方法造好的批次；流出：``Session``。用法分两步：``open_base`` 交出分词器与模型配置，方法据此造批次，
再交给 ``tuning_session``。下一个文件：``watched.py``（量遗忘的数据）。
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from tinygrad_llm.common.batches import Stream
from tinygrad_llm.common.checkpoint import Checkpoint, load_checkpoint
from tinygrad_llm.common.config import GPTConfig
from tinygrad_llm.common.engine import Engine
from tinygrad_llm.common.errors import CheckpointError
from tinygrad_llm.common.lineage import Ancestor, load_ancestor
from tinygrad_llm.common.partial import base_weights, find_base
from tinygrad_llm.common.session import (
    TOKENIZER,
    Looks,
    Session,
    check_folder,
    check_resumable,
    check_space,
    has_checkpoint,
    model_of,
)
from tinygrad_llm.common.tokenizers import Tokenizer, load_tokenizer
from tinygrad_llm.common.tuning.config import TuneConfig
from tinygrad_llm.common.tuning.watched import watched_sets

__all__ = ["Base", "open_base", "steps_of", "tuning_session"]

Config = TypeVar("Config", bound=TuneConfig)
NO_TOKENS: NDArray[np.int64] = np.empty(0, np.int64)
"""没有语言模型的验证集：评估由 ``examine`` 来做。"""


@dataclass(frozen=True)
class Base(Generic[Config]):
    """出发点，或要接着走的检查点。

    Attributes:
        settings: 补全了由出发点决定的几项的设置。
        model: 模型配置。
        tokenizer: 分词器。
        checkpoint: 要接着走的检查点；从头开始为 ``None``。
        source: 出发点的记录：运行、步数、权重的摘要、它自己的设置。
        ancestor: 载入的出发点；续训时为 ``None``。
    """

    settings: Config
    model: GPTConfig
    tokenizer: Tokenizer
    checkpoint: Checkpoint | None
    source: Mapping[str, Any]
    ancestor: Ancestor | None

    @property
    def folder(self) -> Path:
        """出发点的检查点文件夹。

        Raises:
            CheckpointError: 它不在了。
        """
        return find_base({"source": self.source}, self.settings.folder)

    def weights(self) -> dict[str, NDArray[Any]]:
        """出发点的权重；冻结的模型、参考模型都由它来，续训时也要重新载入。

        Raises:
            CheckpointError: 出发点不在了，或已不是原来的权重。
        """
        if self.ancestor is not None:
            return self.ancestor.initial(self.settings.dtype)
        found = base_weights({"source": self.source}, self.settings.folder)
        return {name: array.astype(self.settings.dtype, copy=False) for name, array in found.items()}


def open_base(settings: Config) -> Base[Config]:
    """打开出发点；续训时打开自己的检查点。

    Args:
        settings: 设置。

    Returns:
        出发点。

    Raises:
        UserError: 设置之间矛盾，或续训时改了不许改的设置。
        CheckpointError: 出发点或检查点缺失、损坏。
    """
    check_folder(settings)
    if has_checkpoint(settings):
        checkpoint = load_checkpoint(settings.folder)
        source = checkpoint.state.get("source")
        if not isinstance(source, dict) or "run" not in source:
            raise CheckpointError(
                "this run did not start from another one",
                where=str(settings.folder),
                fix="resume it with the verb that began it",
            )
        config = GPTConfig.from_dict(model_of(checkpoint.state))
        tokenizer = load_tokenizer(settings.folder / TOKENIZER)
        return Base(settings, config, tokenizer, checkpoint, source, None)
    ancestor = load_ancestor(settings)
    completed: Any = ancestor.inherited(settings)
    model = ancestor.model if settings.dropout is None else replace(ancestor.model, dropout=settings.dropout)
    return Base(completed, model, ancestor.tokenizer, None, ancestor.record(), ancestor)


def tuning_session(
    base: Base[Config],
    *,
    stream: Stream,
    digest: str,
    method: Mapping[str, Any],
    tokens: int,
    trained: Mapping[str, tuple[int, ...]] | None = None,
    examine: Callable[[Engine], Mapping[str, float]] | None = None,
    show: Callable[[Engine], str] | None = None,
    looks: Looks | None = None,
    summary: str = "",
    prefetches: bool = True,
    pace: int = 1,
) -> Session:
    """一次微调所需的一切，都已查过。

    Args:
        base: ``open_base`` 的结果；步数已定的 ``settings`` 在其中。
        stream: 批次流，``batch(step, rank, world)`` 是参数的纯函数。
        digest: 数据的摘要；续训时据此发现数据变了。
        method: 方法的自述，写得成 JSON；``name`` 必有，``adapter`` 是 LoRA 的设置。
        tokens: 一轮有几个 token。
        trained: 检查点里只存这些参数（名字到形状），其余的在出发点里；``None`` 表示学全部参数。
        examine: 每次评估量的数字，其中的 ``val_loss`` 决定哪一步最好。
        show: 怎样写样本。
        looks: ``examine`` 有多大。
        summary: 数据的一句说明。
        prefetches: 批次能不能提前取。
        pace: 每几步是一组。

    Returns:
        ``Session``；什么也没写。

    Raises:
        DataError: 续训时数据已不是原来的。
        CheckpointError: 检查点与这次训练不符。
        OutOfDiskError: 剩余空间放不下检查点。
    """
    settings = base.settings
    described = dict(method) if trained is None else {**method, "trained": {n: list(s) for n, s in trained.items()}}
    watched, notes = watched_sets(settings, base.source, base.tokenizer)
    is_whole = trained is None and base.ancestor is not None
    session = Session(
        settings, base.model, base.tokenizer, stream, NO_TOKENS, "", "", base.checkpoint, tokens, digest,
        "; ".join(filter(None, [summary, *notes])), base.weights() if is_whole else None, base.source, watched,
        method=described, trained=trained, examine=examine, show=show, looks=looks, prefetches=prefetches, pace=pace,
    )  # fmt: skip
    if base.checkpoint is not None:
        check_resumable(session, base.checkpoint)
    check_space(session)
    return session


def steps_of(settings: Config, samples: int) -> Config:
    """``--epochs`` 换算成步数；算过之后它归零，续训时改 ``--steps`` 才算数。

    Args:
        settings: 设置。
        samples: 一轮有几个样本。
    """
    if not settings.epochs:
        return settings
    steps = max(1, math.ceil(settings.epochs * samples / settings.batch_size))
    return replace(settings, steps=steps, epochs=0.0)
