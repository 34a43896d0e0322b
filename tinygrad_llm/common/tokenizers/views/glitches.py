"""罕见与失灵的 token：词表里有它，训练却几乎见不到它，模型见了它就会胡说。

流入：分词器、一份语料，可选的词嵌入矩阵；流出：``Inspection``，写成终端的表格或网页。
下一个文件：``command.py``。

四种毛病，各有各的来历：写得出却切不到（它自己的字节编码出来不是它），只是半个字（UTF-8 的碎片），很长的空白，
以及这份语料里从没或很少用到。

给了词嵌入，还能看出谁没怎么训练过。没见过的 token 只被动地挨着「别选我」的梯度，各行便朝同一个方向走，彼此越来越像；
所以把语料里没用到的行取平均，谁与它相像，谁就多半没有训练过。范数一并列出，但单看范数分不清：词嵌入与输出层共用权重时，
没见过的行反而可能更长。来历：Land 与 Bartolo 2024。
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tinygrad_llm.common.checkpoint import load_checkpoint
from tinygrad_llm.common.errors import DataError
from tinygrad_llm.common.report import Section, page, table, tiles
from tinygrad_llm.common.safetensors import read_safetensors
from tinygrad_llm.common.tokenizers.interface import TextTokenizer, TokenIdError
from tinygrad_llm.common.tokenizers.views.tokens import (
    HUES,
    Chip,
    html_text,
    one_line,
    origins,
    terminal_text,
    token_style,
)

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["KINDS", "Inspection", "glitch_page", "glitch_table", "inspect_tokens", "read_embedding"]

RARE = 2
LONG_SPACE = 8
EXAMPLES = 40
KINDS = {
    "unreachable": ("切不到的", "它自己的字节编码出来不是它：任何文本都很难得到这个 id。"),
    "fragment": ("半个字", "单独解码不成整字，只能和邻居合用；256 个单字节里不成字的必在其中。"),
    "long-space": ("很长的空白", f"至少 {LONG_SPACE} 个空白字符，多半来自表格或缩进。"),
    "unused": ("没用到的", "这份语料里一次也没有出现。"),
    "rare": ("很少用到的", f"这份语料里至多出现 {RARE} 次。"),
    "unassigned": ("空着的 id", "词表大小之内，却没有任何 token。"),
}


@dataclass(frozen=True)
class Inspection:
    """检查的结果。

    Attributes:
        counts: 每个 id 在语料里出现几次，形状 (vocab_size,)。
        found: 毛病的种类（``KINDS`` 的键）到有这种毛病的 id；特殊 token 不算。
        norms: 每个 id 的词嵌入的 L2 范数，形状 (vocab_size,)；没有给词嵌入时为 None。
        likeness: 每一行与「没用到的行的平均」的余弦，形状 (vocab_size,)；没有词嵌入，或没用到的不足两个时为 None。
    """

    counts: npt.NDArray[np.int64]
    found: dict[str, list[int]]
    norms: npt.NDArray[np.float64] | None = None
    likeness: npt.NDArray[np.float64] | None = None

    def least_trained(self, count: int = EXAMPLES) -> list[int]:
        """最像没训练过的几个 id，由像到不像；用到过的在前面才有看头，所以没用到的不列。无从判断时为空。"""
        if self.likeness is None:
            return []
        order = np.argsort(-self.likeness, kind="stable")
        return [int(id) for id in order if self.counts[id] > 0][:count]


def inspect_tokens(
    tokenizer: TextTokenizer, texts: Iterable[str], embedding: npt.NDArray[Any] | None = None
) -> Inspection:
    """检查一个分词器的每一个 token。

    Args:
        tokenizer: 子词分词器。
        texts: 语料，逐份编码。
        embedding: 词嵌入，形状 (V, C)，V 不小于词表大小。

    Raises:
        DataError: 词嵌入的行数不够。
    """
    size = tokenizer.vocab_size
    if embedding is not None and (embedding.ndim != 2 or len(embedding) < size):
        raise DataError(
            f"the embedding has shape {tuple(embedding.shape)}, the vocabulary has {size} tokens",
            fix="use the tokenizer that the run was trained with",
        )
    counts = np.zeros(size, np.int64)
    for text in texts:
        counts += np.bincount(tokenizer.encode(text), minlength=size)
    found: dict[str, list[int]] = {kind: [] for kind in KINDS}
    special = {tokenizer.special(name) for name in tokenizer.specials}
    tokens = [_data(tokenizer, id) for id in range(size)]
    for id in sorted(range(size), key=lambda id: len(tokens[id]) == 1):  # 单个字节人人都有，排在合并出的后面
        for kind in () if id in special else _faults(tokenizer, id, tokens[id], int(counts[id])):
            found[kind].append(id)
    if embedding is None:
        return Inspection(counts, found)
    rows = embedding[:size].astype(np.float64)
    return Inspection(counts, found, np.linalg.norm(rows, axis=1), _likeness(rows, found["unused"]))


def _likeness(rows: npt.NDArray[np.float64], unused: list[int]) -> npt.NDArray[np.float64] | None:
    """每一行与 ``unused`` 各行之平均的余弦；比较之前减去全体的平均，``unused`` 里的一行不与自己比。"""
    if len(unused) < 2:
        return None
    centred = rows - rows.mean(axis=0)
    total = centred[unused].sum(axis=0)
    directions = np.broadcast_to(total, centred.shape).copy()
    directions[unused] -= centred[unused]
    lengths = np.linalg.norm(centred, axis=1) * np.linalg.norm(directions, axis=1)
    likeness: npt.NDArray[np.float64] = (centred * directions).sum(axis=1) / np.maximum(lengths, 1e-300)
    return likeness


def _data(tokenizer: TextTokenizer, id: int) -> bytes:
    """一个 token 的字节；空着的 id 是空串。"""
    try:
        return tokenizer.token_bytes(id)
    except TokenIdError:
        return b""


def _faults(tokenizer: TextTokenizer, id: int, data: bytes, count: int) -> list[str]:
    if not data:
        return ["unassigned"]
    kinds = []
    try:
        text = data.decode()
    except UnicodeDecodeError:
        kinds.append("fragment")
    else:
        if tokenizer.encode(text) != [id]:
            kinds.append("unreachable")
        if re.fullmatch(rf"\s{{{LONG_SPACE},}}", text):
            kinds.append("long-space")
    if count <= RARE:
        kinds.append("rare" if count else "unused")
    return kinds


def read_embedding(path: Path) -> npt.NDArray[Any]:
    """从一次运行里取出词嵌入。

    Args:
        path: 运行文件夹、检查点文件夹，或一个 ``.safetensors`` 文件。

    Returns:
        形状 (V, C)。

    Raises:
        CheckpointError: 打不开或坏了。
        DataError: 里面没有词嵌入。
    """
    tensors = load_checkpoint(path).model if path.is_dir() else read_safetensors(path)[0]
    for name, tensor in tensors.items():
        if name.endswith(("wte.weight", "embed_tokens.weight", "tok_embeddings.weight")):
            return tensor
    raise DataError("no token embedding in the weights", where=str(path), fix="use a run of this project's GPT")


def glitch_table(tokenizer: TextTokenizer, inspection: Inspection, examples: int = 8) -> RenderableType:
    """终端的表格：每种毛病几个，举几个例子。"""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    shown = Table(box=SIMPLE_HEAD, pad_edge=False)
    shown.add_column("kind", no_wrap=True)
    shown.add_column("tokens", justify="right", no_wrap=True)
    shown.add_column("examples", overflow="fold")
    for kind, ids in inspection.found.items():
        found = _chips(tokenizer, inspection, ids[:examples])
        shown.add_row(kind, f"{len(ids):,}", terminal_text(found, separator=" "))
    if least := inspection.least_trained(examples):
        shown.add_row("least trained", "", terminal_text(_chips(tokenizer, inspection, least), separator=" "))
    return shown


def glitch_page(tokenizer: TextTokenizer, inspection: Inspection, *, subtitle: str) -> str:
    """网页：每种毛病一节，悬停看每个 token 的来历与次数。"""
    figures = {KINDS[kind][0]: f"{len(ids):,}" for kind, ids in inspection.found.items()}
    used = int(np.count_nonzero(inspection.counts))
    overview = tiles({"词表": f"{tokenizer.vocab_size:,}", "用到的": f"{used:,}", **figures})
    sections = [Section("概览", token_style() + overview, f"语料共 {int(inspection.counts.sum()):,} 个 token。")]
    for kind, ids in inspection.found.items():
        if not ids:
            continue
        title, note = KINDS[kind]
        more = f"共 {len(ids):,} 个，列出前 {EXAMPLES} 个。" if len(ids) > EXAMPLES else f"共 {len(ids):,} 个。"
        body = html_text(_chips(tokenizer, inspection, ids[:EXAMPLES]))
        sections.append(Section(title, body, note + more))
    if inspection.norms is not None and inspection.likeness is not None:
        rows: list[Sequence[Any]] = [
            (
                id,
                _name(tokenizer, id),
                int(inspection.counts[id]),
                round(float(inspection.likeness[id]), 3),
                round(float(inspection.norms[id]), 3),
            )
            for id in inspection.least_trained()
        ]
        note = "余弦是词嵌入与「没用到的各行之平均」的夹角：越接近 1，越像没有训练过。没用到的 token 不再列出。"
        sections.append(Section("最像没训练过的", table(("id", "token", "次数", "余弦", "L2 范数"), rows), note))
    return page("罕见与失灵的 token", sections, subtitle=subtitle)


def _chips(tokenizer: TextTokenizer, inspection: Inspection, ids: Iterable[int]) -> list[Chip]:
    found = []
    origin = origins(tokenizer)
    for position, id in enumerate(ids):
        name = _name(tokenizer, id)
        tip = f"id {id}\n{origin(id)}\nseen {int(inspection.counts[id]):,} times" if name else f"id {id}"
        if inspection.norms is not None:
            tip += f"\nembedding norm {inspection.norms[id]:.4g}"
        found.append(Chip(name or f"#{id}", str(position % HUES), tip))
    return found


def _name(tokenizer: TextTokenizer, id: int) -> str:
    """一个 token 写成看得见的一行字：空格写成 ``␣``；空着的 id 是空串。"""
    return one_line(_data(tokenizer, id))
