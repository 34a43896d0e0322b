"""分词器的 JSON：原子地写下，读回来时检查每一处。

流入：``Tokenizer`` 或一个文件；流出：JSON 或 ``Tokenizer``。版本 1 只有合并与特殊 token 的名字；id 另有编排的词表
（见 ``layout.py``）写成版本 2。别的软件的格式见 ``formats.py``。
"""

from __future__ import annotations

import base64
import binascii
import json
from itertools import chain
from pathlib import Path
from typing import Any

from tinygrad_llm.common.errors import DataError
from tinygrad_llm.common.files import write_atomically
from tinygrad_llm.common.tokenizers.bpe import Tokenizer, specials_problem
from tinygrad_llm.common.tokenizers.layout import ODD_PAIR, Layout
from tinygrad_llm.common.tokenizers.split import PATTERNS

__all__ = ["FORMAT", "from_json", "load_tokenizer", "save_tokenizer", "to_json", "write_text"]

FORMAT = "tinygrad_llm.tokenizer"
NORMALIZATIONS = ("", "NFC", "NFKC")
MAX_TOTAL_BYTES = 16 << 20  # 全部 token 的字节数之和：防止文件用连环合并造出天文长度的 token
_FIX = "restore the file, or train the tokenizer again"


def to_json(tokenizer: Tokenizer) -> dict[str, Any]:
    """可写成 JSON 的字典；``from_json`` 还原。"""
    found: dict[str, Any] = {
        "format": FORMAT,
        "version": 1,
        "pattern": tokenizer.pattern,
        "merges": [list(pair) for pair in tokenizer.merges],
        "specials": list(tokenizer.specials),
    }
    if tokenizer.is_plain and not tokenizer.normalization:
        return found
    layout = tokenizer.layout
    return found | {
        "version": 2,
        "normalization": tokenizer.normalization,
        "symbol_ids": list(layout.symbol_ids),
        "special_ids": list(layout.special_ids),
        "odd": [[number, base64.b64encode(token).decode()] for number, token in sorted(layout.odd.items())],
        "unused": [[id, base64.b64encode(token).decode()] for id, token in sorted(layout.unused.items())],
    }


def from_json(data: object, where: str = "tokenizer", known: str | None = None) -> Tokenizer:
    """从字典还原，并检查每一处。

    Args:
        data: 字典。
        where: 它从哪里来，写进错误里。
        known: 查过的那一份的摘要；摘要相同，就不必再逐个 token 查它到不到得了。

    Raises:
        DataError: 内容不合法，``where`` 指明来处。
    """
    problem = _header_problem(data)
    if isinstance(data, dict) and not problem:
        layout = None
        if data["version"] == 2:
            layout, problem = _layout(data)
        odd = {} if layout is None else dict(layout.odd)
        problem = problem or _merges_problem(data["merges"], odd)
        if not problem:
            merges = [(left, right) for left, right in data["merges"]]
            normalization = data.get("normalization", "") if layout else ""
            tokenizer = Tokenizer(merges, data["specials"], data["pattern"], normalization, layout)
            bad = None if tokenizer.digest == known else tokenizer.unreachable()
            if bad is None:
                return tokenizer
            pair = list(merges[bad - 256])
            problem = f"merge {bad - 256} {pair} duplicates another token or can never be reached"
    raise DataError(problem, where=where, fix=_FIX)


def save_tokenizer(tokenizer: Tokenizer, path: Path) -> None:
    """原子地写成 JSON：先写临时文件并落盘，再改名，中途断电也不会留下半个文件。

    Raises:
        DataError: 写不了。
    """
    write_text(path, json.dumps(to_json(tokenizer)))


def write_text(path: Path, text: str) -> None:
    """原子地写下一个词表文件。

    Raises:
        DataError: 写不了。
    """
    try:
        write_atomically(path, text.encode())
    except OSError as error:
        raise DataError(
            f"cannot write the tokenizer: {error.strerror}", where=str(path), fix="check the folder"
        ) from error


def read_json(path: Path) -> Any:
    """读入一个分词器的 JSON 文件。

    Raises:
        DataError: 文件缺失，或不是 JSON。
    """
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise DataError(
            f"cannot read the tokenizer: {error.strerror}", where=str(path), fix="check the path"
        ) from error
    except (ValueError, RecursionError) as error:  # 后者：嵌套极深的 JSON
        raise DataError("the tokenizer file is not JSON", where=str(path), fix="train the tokenizer again") from error


def load_tokenizer(path: Path, known: str | None = None) -> Tokenizer:
    """读入 ``Tokenizer.save`` 写下的文件。

    Args:
        path: 文件。
        known: 写下时查过的那一份的摘要，见 ``from_json``。

    Raises:
        DataError: 文件缺失、不是 JSON 或内容不合法。
    """
    return from_json(read_json(path), str(path), known)


def _header_problem(data: object) -> str:
    """形状不合法的第一处；空串表示没有。"""
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        return f"not a tokenizer file (expected format {FORMAT!r})"
    version, pattern = data.get("version"), data.get("pattern")
    if version not in (1, 2) or not isinstance(pattern, str) or pattern not in PATTERNS:
        return f"unknown version or pattern (expected 1 or 2, and one of {', '.join(PATTERNS)})"
    if data.get("normalization", "") not in NORMALIZATIONS:
        return f"unknown normalization (expected one of {NORMALIZATIONS})"
    if not isinstance(data.get("merges"), list) or not isinstance(data.get("specials"), list):
        return "merges and specials must be lists"
    return specials_problem(data["specials"])


def _merges_problem(merges: list[Any], odd: dict[int, bytes]) -> str:
    """合并列表里第一处不合法的地方。"""
    lengths = [1] * 256
    for i, pair in enumerate(merges):
        if 256 + i in odd:
            if pair != list(ODD_PAIR):
                return f"merge {i} is both a pair and an odd token"
            lengths.append(len(odd[256 + i]))
            continue
        known = isinstance(pair, list) and len(pair) == 2 and all(type(id) is int and 0 <= id < 256 + i for id in pair)
        if not known:
            return f"merge {i} is not a pair of ids below {256 + i}"
        lengths.append(lengths[pair[0]] + lengths[pair[1]])
        if lengths[-1] > MAX_TOTAL_BYTES:
            return f"merge {i} builds a token of {lengths[-1]} bytes"
    if sum(lengths) > MAX_TOTAL_BYTES:
        return f"the tokens have {sum(lengths)} bytes in all, the limit is {MAX_TOTAL_BYTES}"
    return ""


def _layout(data: dict[str, Any]) -> tuple[Layout | None, str]:
    """版本 2 的编号，或它的第一处毛病。"""
    symbol_ids, special_ids = data.get("symbol_ids"), data.get("special_ids")
    if not isinstance(symbol_ids, list) or not isinstance(special_ids, list):
        return None, "symbol_ids and special_ids must be lists"
    if not all(type(id) is int for id in chain(symbol_ids, special_ids)):
        return None, "an id is not an integer"
    tables = []
    for name in ("odd", "unused"):
        table = _decoded(data.get(name, []))
        if table is None:
            return None, f"{name} must be a list of [number, base64]"
        tables.append(table)
    layout = Layout(tuple(symbol_ids), tuple(special_ids), *tables)
    return layout, layout.problem(len(data["merges"]), len(data["specials"]))


def _decoded(rows: object) -> dict[int, bytes] | None:
    """``[[number, base64], …]`` → 字典；形状不对时为 ``None``。"""
    if not isinstance(rows, list):
        return None
    found: dict[int, bytes] = {}
    for row in rows:
        if not (isinstance(row, list) and len(row) == 2 and type(row[0]) is int and isinstance(row[1], str)):
            return None
        try:
            found[row[0]] = base64.b64decode(row[1], validate=True)
        except (binascii.Error, ValueError):
            return None
    return found
