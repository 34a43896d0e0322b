"""``data list``、``data fetch`` 与 ``data peek``：看有什么语料，取来，先看几眼。

流入：命令行；流出：终端上的表与文字。实现见 ``catalogue.py``、``cache.py`` 与 ``sources.py``。
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from statistics import median
from typing import ClassVar, Literal

from tinygrad_llm.common import environment
from tinygrad_llm.common.corpora.cache import CHECKSUMS, entry_folder, present_files
from tinygrad_llm.common.corpora.catalogue import CATALOGUE, Entry
from tinygrad_llm.common.corpora.document import Document
from tinygrad_llm.common.corpora.faults import Faults
from tinygrad_llm.common.corpora.fetching import fetch
from tinygrad_llm.common.corpora.sources import documents
from tinygrad_llm.common.errors import UserError
from tinygrad_llm.common.progress import format_bytes

__all__ = ["FetchOptions", "ListOptions", "PeekOptions", "fetch_corpus", "list_corpora", "peek"]

MAX_FIELDS = 12
# 许可与一句话；名字与 ``sources.CORPUS_NAMES`` 一致
_BUILT_IN = {
    "python-docs": ("PSF-2.0", "Python's language reference"),
    "python-source": ("PSF-2.0", "Python's standard library"),
    "storyworld": ("MIT", "stories made here, English and Chinese"),
    "storyworld-en": ("MIT", "English stories; any size: NAME:20M"),
    "storyworld-zh": ("MIT", "Chinese stories; any size: NAME:20M"),
}


@dataclass(frozen=True)
class ListOptions:
    """列出语料，不需要参数。"""


@dataclass(frozen=True)
class FetchOptions:
    """下载的选项。"""

    cli_markers: ClassVar[tuple[str, ...]] = ("PositionalRequiredArgs", "FlagCreatePairsOff")

    name: str
    """语料名，见 data list。"""
    files: int = 0
    """下载前几个文件；0 表示目录的默认值。"""
    mirror: str = ""
    """代替原站的网址前缀，如 https://hf-mirror.com；默认取自环境变量 ZERO_ONE_LLM_MIRROR。"""
    offline: bool = False
    """不联网：缓存里没有就报错。"""


@dataclass(frozen=True)
class PeekOptions:
    """看几眼的选项。"""

    cli_markers: ClassVar[tuple[str, ...]] = ("PositionalRequiredArgs", "FlagCreatePairsOff")

    source: str
    """语料名、文件、文件夹或通配式。"""
    documents: int = 3
    """显示前几份文档。"""
    characters: int = 400
    """每份至多显示多少字符。"""
    scan: int = 10_000
    """统计前多少份文档；0 表示全部。"""
    field: str = ""
    """记录里正文的字段，几个用逗号隔开；默认为 text，或目录所记的。"""
    on_error: Literal["stop", "skip"] = "stop"
    """坏输入：stop 就此停下，skip 计数并略过。"""

    def __post_init__(self) -> None:
        if min(self.documents, self.characters, self.scan) < 0:
            raise UserError("--documents, --characters and --scan must be 0 or more", fix="use a count")


def list_corpora(options: ListOptions) -> None:
    """列出自带的与可下载的语料，以及各自是否已在缓存里。"""
    rows = [("name", "size", "cached", "sha256", "licence", "what it is")]
    rows += [(name, "", "built in", "", licence, summary) for name, (licence, summary) in _BUILT_IN.items()]
    rows += [
        (entry.name, _size(entry), _cached(entry), _checksum(entry), entry.licence, entry.summary)
        for entry in CATALOGUE.values()
    ]
    _print_table(rows)
    print("\nsha256: known = in the catalogue; first = recorded at the first download, checked ever after")
    print(f"cache:  {environment.cache_folder()} (set {environment.CACHE} to move it)")
    print("next:   python -m torch_llm data fetch NAME; python -m torch_llm data peek NAME")


def fetch_corpus(options: FetchOptions) -> None:
    """下载一份语料，或核对已经下载的。

    Args:
        options: 见 ``FetchOptions``。

    Raises:
        UserError: 名字或选项不对。
        DataError: 下载失败，或内容不符。
    """
    paths = fetch(options.name, files=options.files, mirror=options.mirror, offline=options.offline)
    entry = CATALOGUE[options.name]
    total = 0
    for path in paths:
        total += path.stat().st_size
        print(path)
    print(f"{len(paths):,} of {len(entry.files):,} files, {format_bytes(total)}, checksums verified ({CHECKSUMS})")
    print(f"licence: {entry.licence}; see {entry.homepage}")
    print(f"next:    python -m torch_llm data peek {entry.name}")


def peek(options: PeekOptions) -> None:
    """显示前几份文档，并数一数。

    Args:
        options: 见 ``PeekOptions``。

    Raises:
        UserError: 来源不认识。
        DataError: 来源缺失、为空或坏了。
    """
    faults = Faults(options.on_error)
    stream = documents(options.source, on_error=faults, field=options.field)
    tally = _Tally()
    for document in islice(stream, options.scan or None):
        if len(tally.lengths) < options.documents:
            _show(document, options.characters)
        tally.add(document)
    is_more = bool(options.scan) and next(stream, None) is not None
    _print_tally(tally, is_more=is_more)
    if skipped := faults.summary():
        print(skipped)


@dataclass
class _Tally:
    """边读边数：每份的字符数、UTF-8 字节数与随行的字段。"""

    lengths: array[int] = field(default_factory=lambda: array("Q"))
    size: int = 0
    fields: Counter[str] = field(default_factory=Counter)

    def add(self, document: Document) -> None:
        self.lengths.append(len(document.text))
        self.size += len(document.text.encode())
        self.fields.update(document.meta.keys())


def _show(document: Document, characters: int) -> None:
    text = document.text
    more = f"\n… {len(text) - characters:,} more characters" if len(text) > characters else ""
    print(f"── {document.source} ({len(text):,} characters)\n{text[:characters].rstrip()}{more}\n")


def _print_tally(tally: _Tally, *, is_more: bool) -> None:
    count, lengths = len(tally.lengths), tally.lengths
    rows = [("documents", f"{count:,}" + (" read; there are more (see --scan)" if is_more else ""))]
    if count:
        rows += [
            ("characters", f"{sum(lengths):,}"),
            ("utf-8 bytes", f"{tally.size:,} ({format_bytes(tally.size)})"),
            (
                "length",
                f"shortest {min(lengths):,}, median {median(lengths):,.0f}, longest {max(lengths):,} characters",
            ),
        ]
    if tally.fields:
        names = [name if seen == count else f"{name} ({seen:,})" for name, seen in tally.fields.most_common(MAX_FIELDS)]
        rest = len(tally.fields) - len(names)
        rows.append(("other fields", ", ".join(names) + (f", {rest} more" if rest else "")))
    for name, value in rows:
        print(f"{name:<13}{value}")


# ---- data list 的各格 ----


def _size(entry: Entry) -> str:
    total = sum(file.size for file in entry.files[: entry.default_files])
    approximate = "" if all(file.is_exact for file in entry.files) else "~"
    times = f" x {len(entry.files):,}" if len(entry.files) > 1 else ""
    return f"{approximate}{format_bytes(total)}{times}"


def _checksum(entry: Entry) -> str:
    return "known" if all(file.sha256 for file in entry.files) else "first"


def _cached(entry: Entry) -> str:
    present = len(present_files(entry))
    if present:
        return "yes" if len(entry.files) == 1 else f"{present:,} of {len(entry.files):,}"
    parts = [entry_folder(entry) / f"{file.name}.part" for file in entry.files[: entry.default_files]]
    return "partly" if any(part.exists() for part in parts) else "no"


def _print_table(rows: Sequence[Sequence[str]]) -> None:
    """对齐各列；最后一列不补空格。"""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())
