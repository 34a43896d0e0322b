"""GPT-2 的两个文件：``vocab.bpe``（合并的次序）与 ``encoder.json``（token 到 id）。

流入：两个文件的内容；流出：``Tokenizer``。HF 把它们称作 ``merges.txt`` 与 ``vocab.json``。token 写成可见字符
（见 ``symbols.py``），``Ġ`` 就是空格；没有合并造得出、也不是单个字节的那些名字是特殊 token。
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tinygrad_llm.common.errors import DataError
from tinygrad_llm.common.tokenizers.assemble import VocabularyFile, from_merges
from tinygrad_llm.common.tokenizers.bpe import Tokenizer
from tinygrad_llm.common.tokenizers.symbols import byte_of

__all__ = ["byte_ids", "merge_line", "parse_gpt2", "parse_json", "raw_bytes"]

_FIX = "fetch the file again"


def parse_gpt2(merges: bytes, merges_path: str, ids: bytes, ids_path: str, pattern: str = "gpt2") -> Tokenizer:
    """由两个文件的内容拼成分词器。

    Raises:
        DataError: 内容不合法，指名文件与行。
    """
    try:
        lines = merges.decode().split("\n")
    except UnicodeDecodeError as error:
        raise DataError("not UTF-8", where=merges_path, fix=_FIX) from error
    pairs = [
        merge_line(line.rstrip("\r"), f"{merges_path}:{number}")
        for number, line in enumerate(lines, start=1)
        if line.strip() and not (number == 1 and line.startswith("#version"))
    ]
    if not pairs:
        raise DataError("no merges", where=merges_path, fix=_FIX)
    table = parse_json(ids, ids_path)
    built = {left + right for left, right in pairs}
    known, names = byte_ids(table, ids_path)
    specials = {name: id for name, id in table.items() if name in names or _is_special(name, known, built)}
    ordinary = {token: id for token, id in known.items() if len(token) == 1 or token in built}
    return from_merges(
        VocabularyFile(ordinary, dict(sorted(specials.items(), key=lambda item: item[1])), pattern, ids_path), pairs
    )


def _is_special(name: str, known: Mapping[bytes, int], built: set[bytes]) -> bool:
    token = raw_bytes(name)
    return token is None or (len(token) > 1 and token not in built)


def merge_line(line: str, where: str) -> tuple[bytes, bytes]:
    """一行合并：左右两半，以一个空格隔开。

    Raises:
        DataError: 不是两个可见字符写成的 token。
    """
    halves = [raw_bytes(half) for half in line.split(" ")]
    if len(halves) != 2 or not halves[0] or not halves[1]:
        raise DataError(f"not a merge of two tokens: {line[:60]!r}", where=where, fix=_FIX)
    return halves[0], halves[1]


def raw_bytes(token: str) -> bytes | None:
    """可见字符写成的 token 的字节；有一个字符不在那 256 个之内就是 ``None``。"""
    values = [byte_of(char) for char in token]
    return None if None in values else bytes(value for value in values if value is not None)


def byte_ids(table: Mapping[str, int], where: str) -> tuple[dict[bytes, int], set[str]]:
    """写法到 id 的表 → 字节到 id 的表，外加不是可见字符写成的名字。"""
    found: dict[bytes, int] = {}
    others: set[str] = set()
    for name, id in table.items():
        token = raw_bytes(name)
        if token:
            found[token] = id
        elif name:
            others.add(name)
        else:
            raise DataError("a token is empty", where=where, fix=_FIX)
    return found, others


def parse_json(data: bytes, where: str) -> dict[str, Any]:
    """一个 JSON 对象；``encoder.json`` 的值都应是 id。

    Raises:
        DataError: 不是 JSON、不是对象，或值不是非负整数。
    """
    try:
        table = json.loads(data)
    except (ValueError, RecursionError) as error:
        line = getattr(error, "lineno", 1)
        raise DataError("not JSON", where=f"{where}:{line}", fix=_FIX) from error
    if not isinstance(table, dict) or not table:
        raise DataError("not a table of tokens and ids", where=where, fix=_FIX)
    for name, id in table.items():
        if type(id) is not int or id < 0:
            raise DataError(f"the id of {name[:40]!r} is not a whole number", where=where, fix=_FIX)
    return table
