"""训练数据的写法 ``A=0.7,B=0.3`` → 打开的分片 → 批次流。

流入：命令行上的一个字符串；流出：训练的批次流、验证的 token，与续训时认数据用的摘要。
下一个文件：``tinygrad_llm/common/session.py``。
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from tinygrad_llm.common.batches.mixture import Mixture, Source
from tinygrad_llm.common.batches.store import Store, open_store
from tinygrad_llm.common.batches.stream import Shuffled
from tinygrad_llm.common.batches.tokens import Tokens
from tinygrad_llm.common.errors import DataError, UserError

__all__ = ["ShardSource", "data_digest", "epochs_summary", "open_sources", "training_stream", "validation_tokens"]


@dataclass(frozen=True)
class ShardSource:
    """一个来源。

    Attributes:
        name: 用户写下的路径。
        store: 打开了的分片。
        weight: 权重。
    """

    name: str
    store: Store
    weight: Fraction


def open_sources(text: str) -> list[ShardSource]:
    """打开逗号隔开的几个分片文件夹。

    Args:
        text: ``DIR`` 或 ``DIR=权重,DIR=权重``；不写权重就是 1。

    Returns:
        各个来源，次序如写下的。

    Raises:
        UserError: 写法不对，或几个来源的分词器不同。
        DataError: 打不开某个文件夹。
    """
    sources = []
    for part in text.split(","):
        path, equals, number = part.strip().rpartition("=")
        if not equals:
            path, number = number, "1"
        try:
            weight = Fraction(number)
        except (ValueError, ZeroDivisionError):
            weight = Fraction(0)
        if not path or weight <= 0:
            raise UserError(
                f"cannot read the data source {part.strip()[:80]!r}",
                where="--data",
                fix="write DIR, or DIR=0.7,DIR=0.3",
            )
        sources.append(ShardSource(path, open_store(Path(path)), weight))
    for source in sources[1:]:
        if source.store.index.tokenizer != sources[0].store.index.tokenizer:
            raise UserError(
                f"{sources[0].name} and {source.name} were made with different tokenizers",
                where="--data",
                fix="shard both with the same --tokenizer",
            )
    return sources


def training_stream(
    sources: list[ShardSource], *, packing: str, context: int, batch_size: int, seed: int
) -> Shuffled | Mixture:
    """训练的批次流：一个来源直接打乱，几个来源按权重混合。

    Args:
        sources: 来源。
        packing: 见 ``Split.samples``。
        context: 行长 T。
        batch_size: 所有进程合起来的批大小。
        seed: 打乱用的种子。

    Returns:
        批次流。

    Raises:
        UserError: 参数越界，或某个来源不足一个窗口。
    """
    samples = [source.store.split("train").samples(packing, context) for source in sources]
    if len(sources) == 1:
        return Shuffled(samples[0], batch_size=batch_size, seed=seed)
    mixed = [Source(source.name, one, source.weight) for source, one in zip(sources, samples, strict=True)]
    return Mixture(mixed, batch_size=batch_size, seed=seed)


def validation_tokens(sources: list[ShardSource]) -> Tokens:
    """各来源的验证集，首尾相接。

    Raises:
        DataError: 哪个来源都没有验证集。
    """
    found = [source.store.splits["val"].tokens for source in sources if "val" in source.store.splits]
    if not found:
        raise DataError(
            "the shards have no val split to evaluate on",
            where=sources[0].name,
            fix="make them again: data shard … --val-fraction 0.01",
        )
    return Tokens([part for tokens in found for part in tokens.parts])


def epochs_summary(sources: list[ShardSource], stream: Shuffled | Mixture, steps: int) -> str:
    """一次训练把每个来源走过几轮，写成一句。"""
    if isinstance(stream, Shuffled):
        return f"{sources[0].name}: {stream.epochs(steps):.2f} epochs"
    named = zip(sources, stream.shares, stream.epochs(steps), strict=True)
    return "; ".join(
        f"{source.name}: {share / stream.period:.1%} of the samples, {epochs:.2f} epochs"
        for source, share, epochs in named
    )


def data_digest(sources: list[ShardSource]) -> str:
    """数据与权重的摘要：续训时据此发现它们变了；与文件夹放在哪里无关。"""
    parts = [f"{source.store.index.data_digest}={source.weight}" for source in sources]
    return hashlib.sha256(",".join(parts).encode()).hexdigest()
