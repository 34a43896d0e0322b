"""一段文本的困惑度与每字节的比特：与批大小、打包、分词器都无关的三条约定。

流入：文档；流出：``TextScore``。下一个文件：``items.py``。

1. 每份文档各自开头，前面放一个文本起始符；文档里的每个 token 恰好预测一次。起始符与一切特殊 token 不是文字，
   不预测，也没有字节。总和除以总数，不是各批平均数的平均。
2. 文档比上下文长时，窗口每次往前滑 ``stride`` 个 token：头一窗预测满一个上下文，以后每窗只预测新来的 ``stride`` 个，
   它们至少看得见 ``context - stride`` 个前文。步幅只由设置决定，所以结果与怎样分批无关。
3. 字节数是原文的 UTF-8 字节数。误差的区间由每份文档切成的 ``BLOCK`` 字节一块的小块重抽得来：块按原文的字节切，
   两个分词器不同的模型也能逐块相比。
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinygrad_llm.common.batches import IGNORE_INDEX
from tinygrad_llm.common.errors import DataError, UserError
from tinygrad_llm.common.evaluation.likelihood import Likelihood, Row, pack_rows, score_rows, start_id
from tinygrad_llm.common.scoring.intervals import Interval
from tinygrad_llm.common.scoring.ratios import ratio_interval
from tinygrad_llm.common.session import bits_per_byte
from tinygrad_llm.common.tokenizers import Tokenizer
from tinygrad_llm.common.tokenizers.interface import well_formed

__all__ = ["BLOCK", "CHANCE_BITS", "TextScore", "score_texts", "windows_of"]

BLOCK = 1024
"""区间由这么多字节一块的小块重抽得来。"""
CHANCE_BITS = 8.0
"""什么也不懂的模型每字节用 8 比特。"""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class TextScore:
    """一份文本的成绩。

    Attributes:
        name: 名字。
        documents: 几份文档。
        tokens: 预测了几个 token。
        n_bytes: 原文几个字节。
        nats: 负对数似然之和。
        context: 上下文。
        stride: 窗口的步幅。
        vocab_size: 词表大小。
        digest: 原文的 SHA-256：只有同样的文本才能逐块相比。
        block_nats: 各块的负对数似然 ``(blocks,)``。
        block_bytes: 各块的字节数。
        block_tokens: 各块的 token 数。
    """

    name: str
    documents: int
    tokens: int
    n_bytes: int
    nats: float
    context: int
    stride: int
    vocab_size: int
    digest: str
    block_nats: Floats
    block_bytes: Floats
    block_tokens: Floats

    @property
    def perplexity(self) -> float:
        """``exp(总纳特 / 总 token 数)``。"""
        with np.errstate(over="ignore"):
            return float(np.exp(np.float64(self.nats / self.tokens)))

    @property
    def bits_per_byte(self) -> float:
        """``总比特 / 总字节数``。"""
        return bits_per_byte(self.nats, self.n_bytes)

    @property
    def bits_interval(self) -> Interval:
        """每字节的比特与 95 % 区间。"""
        return ratio_interval(self.block_nats / math.log(2), self.block_bytes)

    @property
    def perplexity_interval(self) -> Interval:
        """困惑度与 95 % 区间。"""
        found = ratio_interval(self.block_nats, self.block_tokens)
        with np.errstate(over="ignore"):
            low, value, high = (float(np.exp(one)) for one in (found.low, found.value, found.high))
        return Interval(value, low, high, found.n)

    def to_json(self) -> dict[str, Any]:
        """可以写成 JSON 的字典。"""
        bits, perplexity = self.bits_interval, self.perplexity_interval
        return {
            "kind": "text", "documents": self.documents, "tokens": self.tokens, "bytes": self.n_bytes,
            "nats": self.nats, "context": self.context, "stride": self.stride, "digest": self.digest,
            "bits_per_byte": self.bits_per_byte, "bits_interval": [bits.low, bits.high], "chance_bits": CHANCE_BITS,
            "centred": 1 - self.bits_per_byte / CHANCE_BITS, "perplexity": self.perplexity,
            "perplexity_interval": [perplexity.low, perplexity.high], "chance_perplexity": self.vocab_size,
            "n": len(self.block_nats),
            "blocks": {"nats": self.block_nats.tolist(), "bytes": self.block_bytes.tolist()},
        }  # fmt: skip


def score_texts(
    name: str,
    texts: Iterable[str],
    tokenizer: Tokenizer,
    model: Likelihood,
    *,
    stride: int | None = None,
    batch_size: int = 16,
    is_packed: bool = False,
) -> TextScore:
    """量一份文本。

    Args:
        name: 名字。
        texts: 各份文档；空的略去。
        tokenizer: 模型的分词器。
        model: 模型。
        stride: 窗口的步幅，1 到上下文；缺省是半个上下文。
        batch_size: 一次至多算几行；不影响结果。
        is_packed: 把短文档首尾相接装进一行，互相看不见；不影响结果。

    Returns:
        成绩。

    Raises:
        UserError: 步幅越界。
        DataError: 没有文字，或分词器写不出这份文本。
    """
    context = model.context
    stride = max(1, context // 2) if stride is None else stride
    if not 1 <= stride <= context:
        raise UserError(f"the stride must be from 1 to the context of {context}, got {stride}", fix="leave it out")
    start = start_id(tokenizer)
    rows: list[Row] = []
    places: list[NDArray[np.int64]] = []  # 每行各个要预测的 token 属于哪一块
    sizes: list[int] = []
    count, digest, blocks = 0, hashlib.sha256(), 0
    for text in texts:
        if not text:
            continue
        data = well_formed(text).encode()
        digest.update(len(data).to_bytes(8, "little") + data)
        ids, lengths = _encoded(text, data, tokenizer, name)
        block = blocks + (np.cumsum(lengths) - lengths) // BLOCK
        for row, (first, stop) in windows_of(ids, start, context, stride):
            rows.append(row)
            places.append(block[first:stop])
        blocks, count = int(block[-1]) + 1, count + 1
        sizes += lengths.tolist()
    if not rows:
        raise DataError("the text is empty", where=name, fix="use a text with some words in it")
    nats = _nats(model, rows, start, batch_size, is_packed)
    place = np.concatenate(places).astype(np.int64)
    of_nats, of_bytes = (np.asarray(np.bincount(place, one, blocks), np.float64) for one in (nats, np.array(sizes)))
    per_block = np.bincount(place, minlength=blocks).astype(np.float64)
    return TextScore(
        name, count, nats.size, sum(sizes), math.fsum(nats), context, stride, tokenizer.vocab_size, digest.hexdigest(),
        of_nats, of_bytes, per_block,
    )  # fmt: skip


def windows_of(ids: NDArray[np.int64], start: int, context: int, stride: int) -> list[tuple[Row, tuple[int, int]]]:
    """一份文档切成的窗口，与各窗预测的是第几到第几个 token。

    Args:
        ids: 文档的 token，不含起始符。
        start: 文本起始符。
        context: 一行最长几个 token。
        stride: 步幅。

    Returns:
        各窗；合起来每个 token 恰好预测一次，次序不变。
    """
    whole, found, done = np.concatenate([[start], ids]), [], 0
    while done < len(ids):
        stop = min(done + (stride if done else context), len(ids))
        first = max(0, stop - context)
        y = ids[first:stop].copy()
        y[: done - first] = IGNORE_INDEX
        found.append((Row(whole[first:stop], y), (done, stop)))
        done = stop
    return found


def _nats(model: Likelihood, rows: Sequence[Row], start: int, batch_size: int, is_packed: bool) -> Floats:
    """逐 token 的负对数似然，按文档的次序。"""
    if not is_packed:
        return -np.concatenate([one.logprobs for one in score_rows(model, rows, batch_size)])
    packed, members = pack_rows(rows, model.context, start)
    found: list[Floats] = [np.empty(0)] * len(rows)
    for scored, inside in zip(score_rows(model, packed, batch_size, is_packed=True), members, strict=True):
        ends = np.cumsum([rows[i].wanted for i in inside])
        for i, part in zip(inside, np.split(scored.logprobs, ends[:-1]), strict=True):
            found[i] = part
    return -np.concatenate(found)


def _encoded(text: str, data: bytes, tokenizer: Tokenizer, name: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """一份文档的 token 与各自的字节数；合起来必须恰是原文的字节。"""
    ids = np.asarray(tokenizer.encode(text), np.int64)
    lengths = tokenizer.byte_lengths[ids]
    if lengths.sum() == len(data):
        return ids, lengths
    if not lengths.size:
        raise DataError(
            "the tokenizer has no token for this text", where=name, fix="use a model with a fuller vocabulary"
        )
    # 规范化过或缺字节的分词器：按比例摊回原文的字节，总数仍是原文的
    ends = np.rint(np.cumsum(lengths) * (len(data) / lengths.sum())).astype(np.int64)
    return ids, np.diff(ends, prepend=0)
