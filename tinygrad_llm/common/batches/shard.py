"""``python -m torch_llm data shard SOURCE``：文档 → id → 分片，一遍流过，内存有界。

流入：语料名或路径；流出：训练与验证的分片文件夹。下一个文件：``store.py``（怎样读回来）。
"""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from math import ceil
from pathlib import Path
from typing import ClassVar, Literal

from tinygrad_llm.common.batches.dialogues import Dialogues
from tinygrad_llm.common.batches.index import TOKENIZER, FileEntry, Index, dtype_for
from tinygrad_llm.common.batches.tokenise import encoded
from tinygrad_llm.common.batches.writer import SHARD_TOKENS, SplitWriter, hashed, publish, unfinished_folder
from tinygrad_llm.common.corpora import Document, Faults, documents, split_text
from tinygrad_llm.common.errors import DataError, UserError
from tinygrad_llm.common.progress import format_bytes, format_duration
from tinygrad_llm.common.system import usable_cpus
from tinygrad_llm.common.tokenizers import Tokenizer, load_tokenizer

__all__ = ["ShardConfig", "main", "write_shards"]

_REPORT_EVERY_S = 5.0


@dataclass(frozen=True)
class ShardConfig:
    """把语料做成分片。"""

    cli_markers: ClassVar[tuple[str, ...]] = ("PositionalRequiredArgs",)

    source: str
    """语料名，或文件、文件夹、通配式。"""
    tokenizer: Path = Path("tokenizer.json")
    """分词器的文件；它的副本随分片一起保存。"""
    out: Path = Path("shards")
    """放分片的文件夹；须还不存在。"""
    val_fraction: float = 0.0
    """留作验证的文档的比例，均匀地取自各处；0 表示不留。"""
    workers: int | None = None
    """用几个线程分词；缺省为可用的核数。结果与此无关。"""
    shard_tokens: int = SHARD_TOKENS
    """一片有多少 token。"""
    field: str = ""
    """jsonl 与 parquet 里正文的字段；几个用逗号隔开，缺省为 ``text``。"""
    chat: str = ""
    """语料是一个对话文件（JSONL）：用这个模板（ours、alpaca 或 chatml）写成 id，角色的标记也要学。"""
    on_error: Literal["stop", "skip"] = "stop"
    """坏输入：停下，或按原因计数并略过。"""

    def __post_init__(self) -> None:
        problems = []
        if not 0 <= self.val_fraction < 1:
            problems.append(f"--val-fraction must lie in [0, 1), got {self.val_fraction}")
        if self.workers is not None and self.workers < 1:
            problems.append(f"--workers must be at least 1, got {self.workers}")
        if self.shard_tokens < 1:
            problems.append(f"--shard-tokens must be at least 1, got {self.shard_tokens}")
        if problems:
            raise UserError("; ".join(problems), where="data shard", fix="correct the flags named above")


def write_shards(
    stream: Iterable[Document],
    tokenizer: Tokenizer,
    out: Path,
    *,
    source: str,
    val_fraction: float = 0.0,
    workers: int = 1,
    shard_tokens: int = SHARD_TOKENS,
    on_document: Callable[[int, int, int], None] | None = None,
    dialogues: Dialogues | None = None,
) -> Index:
    """把一串文档写成分片文件夹；要么整个写好，要么什么也没有。

    Args:
        stream: 文档；空的略过。
        tokenizer: 分词器，须有 ``<|endoftext|>``。
        out: 目标，须还不存在。
        source: 写进索引的出处。
        val_fraction: 留作验证的比例；只有一篇文档时按字数切开，否则整篇整篇地留。
        workers: 用几个线程分词；文件的内容与此无关。
        shard_tokens: 一片有多少 token。
        on_document: 每写完一篇调用一次，参数是至今的文档数、token 数、原文字节数。
        dialogues: 文档是写成一行 JSON 的对话，由它编码。

    Returns:
        写下的索引。

    Raises:
        UserError: 目标已存在，或分词器没有结束符。
        DataError: 没有文档，或写不了。
        OutOfDiskError: 盘满。
    """
    eot, dtype = tokenizer.eot, dtype_for(tokenizer.vocab_size)
    with unfinished_folder(out) as folder, ExitStack() as opened:
        tokenizer.save(folder / TOKENIZER)
        writers: dict[str, SplitWriter] = {}
        pending: deque[tuple[str, int]] = deque()
        totals = [0, 0, 0]
        encode_one = tokenizer.encode_to_numpy if dialogues is None else dialogues.encode
        for ids in encoded(_texts(stream, val_fraction, pending, dialogues), encode_one, workers):
            split, text_bytes = pending.popleft()
            if split not in writers:
                writers[split] = SplitWriter(folder, split, dtype=dtype, eot=eot, shard_tokens=shard_tokens)
                opened.callback(writers[split].abandon)
            writers[split].add(ids, text_bytes)
            totals = [totals[0] + 1, totals[1] + ids.size + 1, totals[2] + text_bytes]
            if on_document is not None:
                on_document(*totals)
        if "train" not in writers:
            raise DataError("there are no documents to train on", where=source, fix="use a corpus with more text")
        splits = {name: writers[name].close() for name in sorted(writers)}
        files: dict[str, FileEntry] = {TOKENIZER: hashed(folder / TOKENIZER)}
        for writer in writers.values():
            files |= writer.files
        index = Index(
            tokenizer=tokenizer.digest,
            vocab_size=tokenizer.vocab_size,
            eot=eot,
            dtype=dtype,
            shard_tokens=shard_tokens,
            splits=splits,
            files=files,
            source=source,
        )
        publish(folder, out, index)
    return index


def _texts(
    stream: Iterable[Document],
    val_fraction: float,
    pending: deque[tuple[str, int]],
    dialogues: Dialogues | None,
) -> Iterator[str]:
    """送去分词的文本；各属于哪个集合、有多少字节，按同样的次序记在 ``pending`` 里。"""
    size = _utf8_bytes if dialogues is None else dialogues.size
    found = (document.text for document in stream if document.text)
    for split, text in _assigned(found, val_fraction, dialogues is None):
        pending.append((split, size(text)))
        yield text


def _utf8_bytes(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))


def _assigned(texts: Iterator[str], val_fraction: float, divisible: bool) -> Iterator[tuple[str, str]]:
    """每篇归训练还是验证：第一篇归验证，此后每 1/比例 篇归一篇，与文档总数无关；仅有的一篇若切得开就切开。"""
    share = Fraction(str(val_fraction))
    first, second = next(texts, None), next(texts, None)
    if first is None:
        return
    if second is None and share and divisible:
        train, validation = split_text(first, val_fraction)
        yield from (("train", train), ("val", validation))
        return
    for i, text in enumerate(chain([first], [] if second is None else [second], texts)):
        yield ("val" if ceil((i + 1) * share) > ceil(i * share) else "train"), text


def main(config: ShardConfig) -> None:
    """``python -m torch_llm data shard``：写分片，印出摘要。"""
    faults = Faults(config.on_error)
    started_at = last_at = time.monotonic()

    def report(n_documents: int, n_tokens: int, n_bytes: int) -> None:
        nonlocal last_at
        if (now := time.monotonic()) - last_at >= _REPORT_EVERY_S:
            last_at = now
            rate = format_bytes(n_bytes / (now - started_at))
            print(f"shard documents={n_documents:,} tokens={n_tokens:,} text/s={rate}", file=sys.stderr, flush=True)

    tokenizer = load_tokenizer(config.tokenizer)
    dialogues = Dialogues(tokenizer, config.chat) if config.chat else None
    stream = documents(config.source, on_error=faults, field=config.field)
    index = write_shards(
        stream if dialogues is None else dialogues.documents(Path(config.source), faults),
        tokenizer,
        config.out,
        source=config.source,
        val_fraction=config.val_fraction,
        workers=config.workers or usable_cpus(),
        shard_tokens=config.shard_tokens,
        on_document=report,
        dialogues=dialogues,
    )
    elapsed_s = time.monotonic() - started_at
    for name, entry in index.splits.items():
        print(
            f"{name}: {entry.documents:,} documents, {entry.tokens:,} tokens in {entry.shards} {index.dtype} shard(s), "
            f"{entry.text_bytes / entry.tokens:.2f} bytes per token"
        )
    text_bytes = sum(entry.text_bytes for entry in index.splits.values())
    print(f"wrote {config.out} in {format_duration(elapsed_s)} ({format_bytes(text_bytes / elapsed_s)} of text per s)")
    if faults.counts:
        print(faults.summary())
