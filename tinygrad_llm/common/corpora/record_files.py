"""记录文件：JSON lines 一行一份文档，parquet 一行一份文档。

流入：文件与正文的字段名；流出：``Document``，其余字段放在 ``meta`` 里。内存只与一行或一个 row group 有关。
下一个文件：``sources.py``。
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from tinygrad_llm.common.corpora.document import Document
from tinygrad_llm.common.corpora.faults import BadInput, Faults
from tinygrad_llm.common.corpora.opening import BROKEN_STREAM, explain, open_bytes, optional
from tinygrad_llm.common.corpora.text_files import decoded, unix_newlines

__all__ = ["MAX_LINE_BYTES", "json_documents", "parquet_documents"]

MAX_LINE_BYTES = 64 << 20
PARQUET_ROWS = 256
_MAX_NAMES = 8


def json_documents(
    path: Path, field: str, faults: Faults, *, max_line_bytes: int = MAX_LINE_BYTES
) -> Iterator[Document]:
    """读一个 JSON lines 文件：一行一个对象。

    Args:
        path: 文件，可以是 ``.gz`` 与 ``.zst``。
        field: 正文的字段；几个字段用逗号隔开，以空行相接。字段也可以是 ``{"role", "content"}`` 的列表。
        faults: 坏输入的处置；略过时，损失的是那一行。
        max_line_bytes: 一行至多多少字节。

    Yields:
        各份文档，出处是「文件:行号」；空行与正文空白的略去。

    Raises:
        DataError: 打不开、坏了，或某一行不是含有该字段的对象，而 ``faults`` 不许略过。
    """
    try:
        stream = open_bytes(path)
    except BROKEN_STREAM as error:
        return faults.take(explain(error), path)
    with stream:
        for number, offset, line in _lines(stream, path, faults, max_line_bytes):
            try:
                text = decoded(line, offset)
                document = _document(_parsed(text, number), field, f"{path}:{number}") if text.strip() else None
            except BadInput as bad:
                faults.take(bad, path, number)
                continue
            if document:
                yield document


def parquet_documents(path: Path, field: str, faults: Faults) -> Iterator[Document]:
    """读一个 parquet 文件，逐个 row group。

    Args:
        path: 文件。
        field: 正文的列，写法与 ``json_documents`` 相同。
        faults: 坏输入的处置；文件坏了时，损失的是余下的各行。

    Yields:
        各份文档，出处是「文件:行号」，行号从 1 起。

    Raises:
        DataError: 打不开、坏了、没有这一列，或某一行的正文不是文本，而 ``faults`` 不许略过。
        UserError: 没有装 pyarrow。
    """
    parquet = optional("pyarrow.parquet", "reading parquet files", path)
    row = 0
    try:
        with path.open("rb") as stream, parquet.ParquetFile(stream) as file:
            _check_columns(field, file.schema_arrow.names)
            for record in _rows(file):
                row += 1
                try:
                    document = _document(record, field, f"{path}:{row}")
                except BadInput as bad:
                    faults.take(bad, path, row)
                    continue
                if document:
                    yield document
    except BadInput as bad:
        faults.take(bad, path)
    except (PermissionError, FileNotFoundError) as error:
        faults.take(explain(error), path)
    except (OSError, ValueError) as error:  # pyarrow 的格式错误是 ValueError
        problem = f"corrupt parquet file: {' '.join(str(error).split())[:120]}"
        faults.take(
            BadInput(problem, "fetch the file again; it may be cut short", "corrupt parquet file"), path, row + 1
        )


def _check_columns(field: str, columns: Sequence[str]) -> None:
    for name in _names(field):
        if name not in columns:
            raise BadInput(f'no column "{name}"', f"use --field with one of: {_listed(columns)}", "missing field")


def _rows(file: Any) -> Iterator[dict[str, Any]]:
    """逐个 row group、逐批解码：手里至多有一批行。"""
    for group in range(file.num_row_groups):
        for batch in file.iter_batches(PARQUET_ROWS, row_groups=[group], use_threads=False):
            yield from batch.to_pylist()


# ---- JSON lines ----


def _lines(stream: BinaryIO, path: Path, faults: Faults, limit: int) -> Iterator[tuple[int, int, bytes]]:
    """逐行：行号、首字节的偏移与内容；太长的一行读过去而不留在内存里。"""
    number = offset = 0
    try:
        while line := stream.readline(limit):
            number += 1
            if len(line) == limit and not line.endswith(b"\n"):
                offset += len(line)
                while (rest := stream.readline(limit)) and not rest.endswith(b"\n"):
                    offset += len(rest)
                offset += len(rest)
                fix = "check that the file has one record a line"
                faults.take(BadInput(f"line longer than {limit:,} bytes", fix, "line too long"), path, number)
                continue
            yield number, offset, line
            offset += len(line)
    except BROKEN_STREAM as error:
        faults.take(explain(error), path, number + 1)


def _parsed(text: str, number: int) -> Mapping[str, Any]:
    """一行 JSON 解析成对象。"""
    one_a_line = "write one object a line, e.g. with jq -c '.[]'"
    try:
        record = json.loads(text.rstrip())
    except json.JSONDecodeError as error:
        if number == 1 and text.strip() in ("[", "{"):
            raise BadInput("one JSON document over many lines, not JSON lines", one_a_line, "malformed JSON") from error
        problem = f"malformed JSON at column {error.colno}: {error.msg}"
        raise BadInput(problem, "repair the line", "malformed JSON") from error
    except (ValueError, RecursionError) as error:
        problem = "malformed JSON: nested too deeply, or a number too long"
        raise BadInput(problem, "repair the line", "malformed JSON") from error
    if not isinstance(record, dict):
        raise BadInput(f"the line holds a JSON {_json_type(record)}, not an object", one_a_line, "not an object")
    return record


def _json_type(value: Any) -> str:
    names = {dict: "object", list: "array", str: "string", bool: "boolean", type(None): "null"}
    return names.get(type(value), "number")


# ---- 记录变成文档 ----


def _document(record: Mapping[str, Any], field: str, where: str) -> Document | None:
    """从记录里取出正文，其余的随行；正文空白时为 ``None``。"""
    names = _names(field)
    parts = []
    for name in names:
        if name not in record:
            raise BadInput(f'no field "{name}"', f"use --field with one of: {_listed(record)}", "missing field")
        part = _text_of(record[name])
        if part is None:
            problem = f'field "{name}" holds a {_json_type(record[name])}, not text'
            raise BadInput(problem, "choose a field that holds text with --field", "field is not text")
        parts.append(part)
    text = unix_newlines("\n\n".join(filter(None, parts)))
    if problem := _unusable(text):
        raise BadInput(problem, "repair the record", problem)
    if not text or text.isspace():
        return None
    is_plain = len(names) == 1 and isinstance(record[names[0]], str)
    return Document(text, where, {name: record[name] for name in record if not (is_plain and name == names[0])})


def _names(field: str) -> list[str]:
    return [name.strip() for name in field.split(",")]


def _listed(names: Any) -> str:
    listed = [str(name)[:40] for name in names]
    return ", ".join(listed[:_MAX_NAMES]) + (", …" if len(listed) > _MAX_NAMES else "") if listed else "(no fields)"


def _text_of(value: Any) -> str | None:
    """字段的值写成文本；对话写作逐轮的 ``role: content``，结构仍在 ``meta`` 里。"""
    if isinstance(value, str):
        return value
    if not isinstance(value, list) or not value:
        return None
    turns = []
    for turn in value:
        if not isinstance(turn, dict) or not isinstance(turn.get("role"), str):
            return None
        if not isinstance(turn.get("content"), str):
            return None
        turns.append(f"{turn['role']}: {turn['content']}")
    return "\n\n".join(turns)


def _unusable(text: str) -> str:
    r"""JSON 的转义能写出 UTF-8 存不下的文本：孤立的代理项（``\ud800``）与 NUL。"""
    if "\0" in text:
        return "the text holds a NUL character"
    if text.isascii():
        return ""
    try:
        text.encode()
    except UnicodeEncodeError:
        return "the text holds a lone surrogate"
    return ""
