"""读分片：内存映射，开门时核对。

流入：分片文件夹；流出：``Store``，其中每个集合都是一长串 ``Tokens`` 与文档的起点。
下一个文件：``verify.py``（逐字节核对）；样本怎样取，见 ``windows.py`` 与 ``packing.py``。
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tinygrad_llm.common.batches.checks import check_contents, check_sizes
from tinygrad_llm.common.batches.index import (
    DTYPES,
    TOKENIZER,
    Index,
    documents_name,
    read_index,
    refuse,
    shard_name,
)
from tinygrad_llm.common.batches.order import Numbers
from tinygrad_llm.common.batches.packed import Packed
from tinygrad_llm.common.batches.packing import plan_rows
from tinygrad_llm.common.batches.stream import Samples
from tinygrad_llm.common.batches.tokens import Tokens
from tinygrad_llm.common.batches.windows import Windows
from tinygrad_llm.common.errors import DataError, UserError

if TYPE_CHECKING:
    from tinygrad_llm.common.tokenizers import Tokenizer

__all__ = ["PACKINGS", "Split", "Store", "open_store"]

PACKINGS = ("windows", "bos", "split")


@dataclass(frozen=True)
class Split:
    """一个集合。

    Attributes:
        name: ``"train"`` 或 ``"val"``。
        tokens: 全部 token：每篇文档以 ``eot`` 开头，末尾再有一个。
        starts: 每篇文档从第几个 token 开始，形状 (N,)。
        eot: 文档开头的 id。
        text_bytes: 原文的 UTF-8 字节数。
    """

    name: str
    tokens: Tokens
    starts: Numbers
    eot: int
    text_bytes: int

    @property
    def lengths(self) -> Numbers:
        """每篇文档的 token 数，含开头的 ``eot``，形状 (N,)。"""
        return np.diff(self.starts, append=self.tokens.size - 1)

    def windows(self, context: int, *, stride: int | None = None, drop_last: bool = True) -> Windows:
        """切成窗口；文档首尾相接，窗口不管边界。"""
        return Windows(self.tokens, context, stride=stride, drop_last=drop_last, eot=self.eot)

    def packed(self, context: int, *, fill: str = "pad", long: str = "crop") -> Packed:
        """打包成行；选项见 ``packing.plan_rows``。"""
        plan = plan_rows(self.starts, self.lengths, context, fill=fill, long=long)
        return Packed(self.tokens, plan, pad=self.eot)

    def samples(self, packing: str, context: int) -> Samples:
        """按名字选成行的方法。

        Args:
            packing: ``"windows"`` 文档首尾相接，每 T 个 token 切一刀；``"bos"`` 整篇整篇地装行，每段从文档开头开始，
                长过一行的只留开头；``"split"`` 同样装行，但长过一行的切成几段，不丢 token。
            context: 行长 T。

        Returns:
            样本。

        Raises:
            UserError: 名字不认识，或数据不足一行。
        """
        if packing not in PACKINGS:
            raise UserError(f"unknown packing {packing!r}", fix=f"use one of {', '.join(PACKINGS)}")
        if packing == "windows":
            return self.windows(context)
        return self.packed(context, long="crop" if packing == "bos" else "split")


@dataclass(frozen=True)
class Store:
    """打开了的分片文件夹。

    Attributes:
        folder: 文件夹。
        index: 索引。
        tokenizer: 分词器。
        splits: 集合名到集合。
    """

    folder: Path
    index: Index
    tokenizer: Tokenizer
    splits: dict[str, Split]

    def split(self, name: str) -> Split:
        """按名字取一个集合。

        Raises:
            DataError: 没有这个集合。
        """
        if name not in self.splits:
            raise DataError(
                f"these shards have no {name} split", where=str(self.folder), fix="make them with --val-fraction"
            )
        return self.splits[name]

    def raw_text(self, name: str) -> bytes:
        """一个集合的原文，文档之间一个换行；整个读进内存，供算 n-gram 之类的基线用。

        Args:
            name: ``train`` 或 ``val``。

        Raises:
            DataError: 没有这个集合。
        """
        found, tokenizer = self.split(name), self.tokenizer
        table = [b"\n" if id == tokenizer.eot else tokenizer.token_bytes(id) for id in range(tokenizer.vocab_size)]
        return b"".join(table[id] for id in found.tokens.read(0, found.tokens.size).tolist())


def open_store(folder: Path) -> Store:
    """打开一个分片文件夹。

    每次都核对索引与全部文件的大小。内容（摘要、id 是否都在词表内、文档的起点）在第一次打开时逐字节核对，
    通过后在文件夹里留下记号；以后只要大小与修改时间未变，就不再重读。要再查一遍，用 ``data verify``。

    Args:
        folder: 分片文件夹。

    Returns:
        只读的、内存映射的数据。

    Raises:
        DataError: 缺文件、大小或内容不对、id 超出词表、分词器不符；消息里有文件名。
    """
    from tinygrad_llm.common.tokenizers import load_tokenizer  # 用到才导入：多数训练不读分片

    index = read_index(folder)
    check_sizes(folder, index)
    check_contents(folder, index)
    tokenizer = load_tokenizer(folder / TOKENIZER)
    if tokenizer.digest != index.tokenizer or tokenizer.vocab_size != index.vocab_size:
        refuse(folder / TOKENIZER, "is not the tokenizer that the shards were made with")
    return Store(folder, index, tokenizer, {name: _split(folder, index, name) for name in index.splits})


def _split(folder: Path, index: Index, name: str) -> Split:
    entry = index.splits[name]
    dtype = f"<u{DTYPES[index.dtype]}"
    try:
        parts = [np.memmap(folder / shard_name(name, i), dtype, "r") for i in range(entry.shards)]
        starts = np.fromfile(folder / documents_name(name), "<u8").astype(np.int64)
    except OSError as error:
        raise DataError(
            f"cannot open the shards: {error.strerror}", where=str(folder), fix="check the permissions"
        ) from error
    return Split(name, Tokens(parts), starts, index.eot, entry.text_bytes)
