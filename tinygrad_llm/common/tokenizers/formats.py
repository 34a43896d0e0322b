"""读入任何一种词表文件：看内容认出格式，全部来自本机，什么也不下载。

流入：文件、文件夹，或知名词表的名字；流出：``Tokenizer``。写出另一种格式用 ``save_as``。
下一个文件：``formats_tiktoken.py``、``formats_gpt2.py``、``formats_hf.py`` 与 ``gguf_vocab.py``，一种格式一个。
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from tinygrad_llm.common.errors import DataError, UserError
from tinygrad_llm.common.tokenizers.bpe import Tokenizer
from tinygrad_llm.common.tokenizers.formats_gpt2 import parse_gpt2
from tinygrad_llm.common.tokenizers.formats_hf import hf_json, parse_hf
from tinygrad_llm.common.tokenizers.formats_tiktoken import parse_tiktoken, tiktoken_text
from tinygrad_llm.common.tokenizers.gguf_vocab import load_gguf_vocabulary
from tinygrad_llm.common.tokenizers.known import KNOWN, find_known
from tinygrad_llm.common.tokenizers.saved import FORMAT, from_json, to_json, write_text

__all__ = ["FORMATS", "load_any", "load_named", "save_as"]

FORMATS = ("json", "hf", "tiktoken")
MAX_FILE_BYTES = 256 << 20
_SIBLINGS = {"vocab.bpe": "encoder.json", "merges.txt": "vocab.json"}
_CANDIDATES = ("tokenizer.json", *_SIBLINGS)


def load_named(source: str, pattern: str | None = None) -> Tokenizer:
    """按名字或路径载入。

    Args:
        source: ``gpt2``、``cl100k`` 等知名词表，或一个文件、文件夹。
        pattern: 切法的名字；只有不认得的 ``.tiktoken`` 文件需要。

    Raises:
        DataError: 名字或路径指向的文件不在本机，或不合法。
        UserError: 需要说明切法而没有说。
    """
    path = Path(source)
    if source in KNOWN and not path.exists():
        return load_any(find_known(source), pattern)
    return load_any(path, pattern)


def load_any(path: Path, pattern: str | None = None) -> Tokenizer:
    """载入任何一种认得的词表文件。

    认得我们的 JSON、HF 的 ``tokenizer.json``、``.tiktoken``、``vocab.bpe``（旁边要有 ``encoder.json``）与 GGUF；
    文件夹则在里面找。

    Args:
        path: 文件或文件夹。
        pattern: 切法的名字；只有不认得的 ``.tiktoken`` 文件需要。

    Raises:
        DataError: 缺失、读不了、认不出，或内容不合法；指名文件与行。
        UserError: 需要说明切法而没有说。
    """
    if path.is_dir():
        path = _inside(path)
    head = _read(path, 4)
    if head == b"GGUF":
        return load_gguf_vocabulary(path)
    data = _read(path)
    if data.startswith(b"#version") or path.name in _SIBLINGS:
        return _load_gpt2(path, data)
    if data.lstrip()[:1] == b"{":
        return _load_json(path, data)
    return parse_tiktoken(data, str(path), pattern)


def save_as(tokenizer: Tokenizer, path: Path, format: str) -> None:
    """写成一种格式；原子地写。

    Args:
        tokenizer: 分词器。
        path: 目标文件。
        format: ``json``（我们的）、``hf``（``tokenizer.json``）或 ``tiktoken``。

    Raises:
        UserError: 没有这种格式，或这份词表用它写不全。
        DataError: 写不了。
    """
    if format not in FORMATS:
        raise UserError(f"unknown format {format[:40]!r}", fix=f"use one of {', '.join(FORMATS)}")
    if format == "hf":
        write_text(path, hf_json(tokenizer))
    elif format == "tiktoken":
        write_text(path, tiktoken_text(tokenizer))
    else:
        write_text(path, json.dumps(to_json(tokenizer)))


def _inside(folder: Path) -> Path:
    found = [folder / name for name in _CANDIDATES if (folder / name).is_file()]
    found += sorted(folder.glob("*.tiktoken"))[:1]
    if not found:
        raise DataError(
            "the folder has no vocabulary file",
            where=str(folder),
            fix=f"it should hold {', '.join(_CANDIDATES)} or a .tiktoken file",
        )
    return found[0]


def _load_gpt2(path: Path, data: bytes) -> Tokenizer:
    ids = path.with_name(_SIBLINGS.get(path.name, "encoder.json"))
    if not ids.is_file():
        raise DataError(
            "the merges come without their ids", where=str(path), fix=f"put {ids.name} into the same folder"
        )
    return parse_gpt2(data, str(path), _read(ids), str(ids))


def _load_json(path: Path, data: bytes) -> Tokenizer:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        line = getattr(error, "lineno", 1)
        raise DataError("the JSON is broken or cut off", where=f"{path}:{line}", fix="fetch the file again") from error
    if found.get("format") == FORMAT:
        return from_json(found, str(path))
    if "model" in found:
        return parse_hf(found, str(path))
    for merges, ids in _SIBLINGS.items():
        if path.name == ids and path.with_name(merges).is_file():
            return _load_gpt2(path.with_name(merges), _read(path.with_name(merges)))
    raise DataError(
        "this JSON is not a byte-level BPE vocabulary",
        where=str(path),
        fix="use our own JSON, an HF tokenizer.json, or encoder.json beside its vocab.bpe",
    )


def _read(path: Path, count: int | None = None) -> bytes:
    try:
        with path.open("rb") as file:
            room = min(os.fstat(file.fileno()).st_size, MAX_FILE_BYTES) + 1  # ``read`` 先按声明的数分配
            data = file.read(room if count is None else count)
    except OSError as error:
        raise DataError(
            f"cannot read the vocabulary: {error.strerror}", where=str(path), fix="check the path"
        ) from error
    if len(data) > MAX_FILE_BYTES:
        raise DataError("too large for a vocabulary", where=str(path), fix="is this the right file?")
    return data
