"""``.tiktoken`` 文件：每行一个 token 的 base64 与它的名次，名次就是 id；特殊 token 与切法不在文件里。

流入：文件与切法；流出：``Tokenizer``，或反过来。几个知名的词表凭 SHA-256 认出，切法与特殊 token 随之而来，
见 ``known.py``。
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping

from tinygrad_llm.common.errors import DataError, UserError
from tinygrad_llm.common.tokenizers.assemble import VocabularyFile, from_ranks
from tinygrad_llm.common.tokenizers.bpe import Tokenizer
from tinygrad_llm.common.tokenizers.known import by_digest
from tinygrad_llm.common.tokenizers.layout import MISSING
from tinygrad_llm.common.tokenizers.split import PATTERNS, check_pattern

__all__ = ["parse_tiktoken", "tiktoken_text"]


def parse_tiktoken(
    data: bytes, where: str, pattern: str | None = None, specials: Mapping[str, int] | None = None
) -> Tokenizer:
    """由文件的内容拼成分词器。

    Args:
        data: 文件的全部字节。
        where: 文件名，用于报错。
        pattern: 切法的名字；认得的词表可以不给。
        specials: 特殊 token 的名字到 id；认得的词表可以不给。

    Raises:
        DataError: 内容不合法，指名文件与行。
        UserError: 不认得的词表没有说明切法。
    """
    ranks = _ranks(data, where)
    known = by_digest(hashlib.sha256(data).hexdigest())
    if pattern is None and known is None:
        raise UserError(
            "a .tiktoken file does not say how text is split",
            where=where,
            fix=f"add --pattern with one of {', '.join(PATTERNS)}",
        )
    chosen = pattern or (known.pattern if known else "")
    check_pattern(chosen)
    names = specials if specials is not None else (known.specials if known else {})
    ordered = sorted((token for token in ranks if len(token) > 1), key=ranks.__getitem__)
    return from_ranks(VocabularyFile(ranks, dict(names), chosen, where), ordered)


def tiktoken_text(tokenizer: Tokenizer) -> str:
    """写成 ``.tiktoken``；特殊 token 与切法要由读它的程序自己知道。

    Raises:
        UserError: id 的次序不是合并的次序：这个格式只有一个数，两者无法兼顾。
    """
    ids = tokenizer.layout.symbol_ids
    merged = ids[256:]
    if list(merged) != sorted(merged) or tokenizer.normalization:
        raise UserError(
            "this vocabulary cannot be written as .tiktoken: its ids do not follow the order of its merges",
            fix="write tokenizer.json instead",
        )
    rows = sorted((id, token) for id, token in zip(ids, tokenizer.symbols, strict=True) if id != MISSING)
    return "".join(f"{base64.b64encode(token).decode()} {id}\n" for id, token in rows)


def _ranks(data: bytes, where: str) -> dict[bytes, int]:
    ranks: dict[bytes, int] = {}
    used: set[int] = set()
    for number, line in enumerate(data.splitlines(), start=1):
        if not line.strip():
            continue
        problem = ""
        try:
            encoded, rank = line.split()
            token = base64.b64decode(encoded, validate=True)
            value = int(rank) if len(rank) < 9 and rank.isdigit() else -1
        except (ValueError, binascii.Error):
            problem = "not a line of base64 and rank"
        else:
            if value < 0 or not token:
                problem = "the rank must be a number and the token must not be empty"
            elif token in ranks or value in used:
                problem = "the token or the rank appears twice"
        if problem:
            raise DataError(problem, where=f"{where}:{number}", fix="fetch the file again")
        ranks[token] = value
        used.add(value)
    if not ranks:
        raise DataError("the vocabulary is empty", where=where, fix="fetch the file again")
    return ranks
