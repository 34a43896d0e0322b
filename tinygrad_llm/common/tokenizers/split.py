r"""切块：合并从不跨块，所以先按一条正则把文本切成词、数字、标点与空白。

流入：文本与切法的名字；流出：首尾相接即为原文的块。下一个文件：``merges.py``（在这些块里学出合并）。

标准库的 ``re`` 没有 ``\p{L}``，它的 ``\s`` 也比 Unicode 多出 U+001C–001F，所以字符类都按本机的 Unicode 表展开成区间；
展开后的同一条正则也交给 tiktoken。两条编码路径用同一张表，结果才会处处相等；Python 升级带来的新字符只影响它们
自己的切块，不影响还原。
"""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Iterator
from functools import cache
from itertools import groupby

from tinygrad_llm.common.errors import UserError

__all__ = ["PATTERNS", "SPACE", "check_pattern", "pieces", "pretokenize", "split_pattern", "tiktoken_pattern"]

SPACE = r"\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"  # Unicode White_Space，写在 [] 里用

# 不分大小写的 's 't …；U+017F（长 s）折叠之后也是 s
_SUFFIX = r"'(?:[sS\u017fdDmMtT]|[lL][lL]|[vV][eE]|[rR][eE])"
_UPPER, _LOWER = r"\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}", r"\p{Ll}\p{Lm}\p{Lo}\p{M}"
_WORDS = r"[^\r\n\p{L}\p{N}]?+[\p{L}]++"
_MARKS = r" ?[^\s\p{L}\p{N}]++[\r\n]*+"
_SPACES = r"[\s]*[\r\n]+|[\s]+(?![^\s])|[\s]+"  # 到最后一个换行为止；留一个空格给后面的词；只有一个

PATTERNS = {
    "gpt2": r"'(?:[sdmt]|ll|ve|re)| ?[\p{L}]++| ?[\p{N}]++| ?[^\s\p{L}\p{N}]++|[\s]++\z|[\s]+(?![^\s])|[\s]+",
    "gpt4": rf"{_SUFFIX}|{_WORDS}|[\p{{N}}]{{1,3}}+|{_MARKS}|[\s]++\z|{_SPACES}",
    "o200k": rf"[^\r\n\p{{L}}\p{{N}}]?[{_UPPER}]*[{_LOWER}]+(?:{_SUFFIX})?"
    rf"|[^\r\n\p{{L}}\p{{N}}]?[{_UPPER}]+[{_LOWER}]*(?:{_SUFFIX})?"
    rf"|[\p{{N}}]{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{_SPACES}",
    "llama3": rf"{_SUFFIX}|{_WORDS}|[\p{{N}}]{{1,3}}+|{_MARKS}|{_SPACES}",
    "qwen2": rf"{_SUFFIX}|{_WORDS}|[\p{{N}}]|{_MARKS}|{_SPACES}",
    # 先把每个数字单独切开，再在其余的各段里照 GPT-2 切：数字前的空白因此自成一块
    "smollm": r"'(?:[sdmt]|ll|ve|re)| ?[\p{L}]++|[\p{N}]| ?[^\s\p{L}\p{N}]++|[\s]+(?![^\s\p{N}])|[\s]+",
}
r"""切法的名字到正则，写法照 tiktoken：``++`` 一类是占有式（不回溯），``\z`` 是文本的末尾；``\p`` 与 ``\s`` 只写在
``[]`` 里。

``gpt2`` 把词、数字、标点各连带一个前导空格切下；``gpt4``（cl100k）让数字至多三位一块、标点吞下其后的换行；``o200k``
还按大小写切开驼峰。``llama3`` 与 ``gpt4`` 只在文末的空白上不同，``qwen2`` 每个数字一块，
``smollm`` 是数字各自一块的 ``gpt2``。
"""

PIECE_CHARS = 1 << 20
_BORDER = re.compile(rf"(?<=[^{SPACE}])(?= )|(?<=[^{SPACE}]\n)(?=[^{SPACE}/])")


def check_pattern(name: str) -> None:
    """确认认得这个切法。

    Raises:
        UserError: 没有这个名字。
    """
    if name not in PATTERNS:
        raise UserError(f"unknown split pattern {name[:40]!r}", fix=f"use one of {', '.join(PATTERNS)}")


@cache
def tiktoken_pattern(name: str) -> str:
    """字符类已展开的正则，用于 tiktoken（Rust 的 ``fancy-regex``）。"""
    expanded = re.sub(r"\\p\{(\w+)\}", lambda found: _class(found[1]), PATTERNS[name])
    return expanded.replace(r"\s", SPACE)


@cache
def split_pattern(name: str = "gpt2") -> str:
    r"""同一条正则，用于标准库的 ``re``：Python 3.10 还没有占有式，``\z`` 写作 ``\Z``。

    去掉占有式不改变切法：占有的那一类字符与它后面的从不相交，回溯也不会成功。
    """
    return re.sub(r"([+*?}])\+", r"\1", tiktoken_pattern(name)).replace(r"\z", r"\Z")


@cache
def _splitter(name: str) -> re.Pattern[str]:
    return re.compile(split_pattern(name))


def pretokenize(text: str, pattern: str = "gpt2") -> list[str]:
    """把文本切成块：首尾相接即为原文，合并从不跨块。"""
    return _splitter(pattern).findall(text)


def pieces(text: str, size: int = PIECE_CHARS) -> Iterator[str]:
    """把长文本切成大段，处处切在块的边界上：逐段切块与整篇切块结果相同，内存却只要一段的。

    哪一种切法都不会让一个块里有「非空白 + 空格」，也不会让非空白之间的单个换行与后一个字同块（``/`` 除外），
    这两处必是边界；每一段都以非空白或单个换行结尾，段末的规则因此也不会改变结果。

    Args:
        text: 全文。
        size: 每段大约多少个字符；找不到边界时更长。
    """
    start = 0
    while len(text) - start > size and (border := _BORDER.search(text, start + size)):
        yield text[start : border.start()]
        start = border.start()
    yield text[start:]


def _class(name: str) -> str:
    """Unicode 类别（``L``、``Lu`` 等）的全部字符，写成 ``[]`` 里的区间。"""
    ranges: list[list[int]] = []
    for start, stop, category in _categories():
        if not category.startswith(name):
            continue
        if ranges and ranges[-1][1] == start:
            ranges[-1][1] = stop
        else:
            ranges.append([start, stop])
    return "".join(f"\\U{start:08x}-\\U{stop - 1:08x}" for start, stop in ranges)


@cache
def _categories() -> list[tuple[int, int, str]]:
    """全部码位按类别连成的段：（起，止，类别）。"""
    found, start = [], 0
    for category, run in groupby(map(unicodedata.category, map(chr, range(sys.maxunicode + 1)))):
        stop = start + sum(1 for _ in run)
        found.append((start, stop, category))
        start = stop
    return found
