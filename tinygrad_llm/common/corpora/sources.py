"""一道门：语料名或路径，一律成为 ``Document`` 的流。

流入：用户写的语料名、文件、文件夹或通配式；流出：次序固定的文档流，内存只与一片、一行或一个 row group 有关。
下一个文件：``corpus.py``（小规模训练要的一整段文本）。
"""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path

from tinygrad_llm.common.corpora.cache import cached_files
from tinygrad_llm.common.corpora.catalogue import CATALOGUE
from tinygrad_llm.common.corpora.document import Document
from tinygrad_llm.common.corpora.faults import Faults
from tinygrad_llm.common.corpora.folders import files_of, is_pattern, known_suffixes
from tinygrad_llm.common.corpora.opening import kind_of
from tinygrad_llm.common.corpora.python_texts import python_docs, python_source
from tinygrad_llm.common.corpora.record_files import json_documents, parquet_documents
from tinygrad_llm.common.corpora.story_names import STORY_NAMES, is_story_name, story_documents
from tinygrad_llm.common.corpora.text_files import PIECE_BYTES, text_documents
from tinygrad_llm.common.errors import DataError, UserError

__all__ = ["CORPUS_NAMES", "documents", "file_documents", "is_named"]

BUILT_IN = {"python-docs": python_docs, "python-source": python_source}
DEFAULT_FIELD = "text"
CORPUS_NAMES = (*BUILT_IN, *STORY_NAMES)  # 不联网也有的语料


def documents(
    source: str, *, on_error: str | Faults = "stop", field: str = "", piece_bytes: int = PIECE_BYTES
) -> Iterator[Document]:
    """把一份语料读成文档流。

    Args:
        source: ``python-docs``、``python-source``；``storyworld``、``storyworld-en``、``storyworld-zh``，
            可以写明长短与种子（``story_names.py``）；目录里的名字（``catalogue.py``，须已下载）；
            或一个文件、文件夹、通配式（``"data/*.parquet"``）。文件的格式由后缀断定，不认识的当作文本。
        on_error: 坏输入的处置，``"stop"`` 或 ``"skip"``；要看计数，就传入自己的 ``Faults``。
        field: 记录里正文的字段；几个字段用逗号隔开。默认为目录所记的，或 ``text``。
        piece_bytes: 文本文件一片至多多少字节；更长的文本在段落之间切成几份文档。

    Yields:
        各份文档，次序每次相同。

    Raises:
        UserError: 既不是语料名，也不像路径；缺少可选的库。
        DataError: 文件缺失、为空或坏了；具名语料还没有下载；一份文档也没有。
    """
    faults = on_error if isinstance(on_error, Faults) else Faults(on_error)
    if source in BUILT_IN:
        yield from BUILT_IN[source]()
        return
    if is_story_name(source):
        yield from story_documents(source)
        return
    if source in CATALOGUE:
        entry = CATALOGUE[source]
        paths, field, separator = cached_files(entry), field or entry.field, entry.separator
    else:
        _check_path(source)
        paths, separator = files_of(source, faults), ""
    is_empty = True
    for path in paths:
        for document in file_documents(path, faults, field=field, separator=separator, piece_bytes=piece_bytes):
            is_empty = False
            yield document
    if is_empty:
        raise _nothing(source, len(paths), faults)


def file_documents(
    path: Path, faults: Faults, *, field: str = "", separator: str = "", piece_bytes: int = PIECE_BYTES
) -> Iterator[Document]:
    """按后缀读一个文件。

    Args:
        path: 文件。
        faults: 坏输入的处置。
        field: 记录里正文的字段，默认 ``text``。
        separator: 文本文件里文档之间的记号；空串表示没有。
        piece_bytes: 文本文件一片至多多少字节。

    Yields:
        各份文档。

    Raises:
        DataError: 文件坏了，而 ``faults`` 不许略过。
    """
    kind = kind_of(path)
    if kind == "json lines":
        yield from json_documents(path, field or DEFAULT_FIELD, faults)
    elif kind == "parquet":
        yield from parquet_documents(path, field or DEFAULT_FIELD, faults)
    else:
        yield from text_documents(path, faults, separator=separator, piece_bytes=piece_bytes)


def is_named(source: str) -> bool:
    """是否语料名：不联网也有的，或目录里的。"""
    return source in BUILT_IN or source in CATALOGUE or is_story_name(source)


def _check_path(source: str) -> None:
    """确认路径存在，或是通配式；分清「打错了语料名」与「文件不在」。"""
    path = Path(source)
    try:
        if source.strip() and (path.exists() or is_pattern(source)):
            return
    except OSError as error:  # 名字过长，或没有权限
        raise DataError(f"not a usable path: {error.strerror}", where=source[:80], fix="check the path") from error
    if path.suffix or len(path.parts) > 1:
        raise DataError("no such file or folder", where=source[:200], fix="check the path")
    names = [*CORPUS_NAMES, *CATALOGUE]
    near = get_close_matches(source, names, n=1)
    hint = f'did you mean "{near[0]}"? ' if near else ""
    fix = f'{hint}use {", ".join(CORPUS_NAMES)}, a name from "python -m torch_llm data list", or a path'
    raise UserError(f"unknown corpus or missing file: {source[:80]!r}", where="corpus", fix=fix)


def _nothing(source: str, files: int, faults: Faults) -> DataError:
    """一份文档也没有：分清没有文件、全都坏了，与全是空白。"""
    if not files and not faults.counts:
        if is_pattern(source) and not Path(source).exists():
            return DataError("no file matches the pattern", where=source, fix="check the pattern")
        suffixes = known_suffixes()
        return DataError(f"the folder has no {suffixes} files", where=source, fix="put files of these kinds into it")
    if skipped := sum(faults.counts.values()):
        reason = faults.counts.most_common(1)[0][0]
        problem = f"nothing is left to read: {skipped:,} inputs were skipped, most for: {reason}"
        return DataError(problem, where=source, fix="repair the input, or choose another --field")
    return DataError("the corpus is empty", where=source, fix="use a file with some text in it")
