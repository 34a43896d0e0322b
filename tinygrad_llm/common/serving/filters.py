"""内容过滤的接口与现成的两种：一串词，或一个正则；别处的过滤器照同样的接口写。

流入：用户的话，或模型写出的文字；流出：不许的理由，许可则为 ``None``。下一个文件：``routes.py``。
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tinygrad_llm.common.errors import DataError, UserError

__all__ = ["Filter", "RegexFilter", "first_reason", "holds", "load_filter", "words_filter"]

SAFETY = ("personal", "secrets", "canaries")
"""写在 ``safety/filters.py`` 里的几种。"""
_KINDS = "use words:FILE, regex:PATTERN, python:MODULE:NAME, personal, secrets:FILE or canaries:FILE"
_HOLD = 200
"""过滤器没有说自己要看多长时，逐段给出的文字压住末尾这么多个字不放。"""


class Filter(Protocol):
    """一道过滤；许多请求同时用它，所以不能有随请求变化的状态。

    可以另有 ``holds``：一处违规至多多少个字。逐段给出回答时，末尾这么多个字压住不放，违规的话因此一个字也不会先露出去。
    """

    def check(self, text: str) -> str | None:
        """不许的理由，一句英文；许可则为 ``None``。"""


@dataclass(frozen=True)
class RegexFilter:
    """文字里有一处匹配就不许。

    Attributes:
        pattern: 正则。
        reason: 理由。
        holds: 一处匹配至多多少个字。
    """

    pattern: re.Pattern[str]
    reason: str = "the text matches a blocked pattern"
    holds: int = _HOLD

    def check(self, text: str) -> str | None:
        """见 ``Filter``。"""
        return self.reason if self.pattern.search(text) else None


def words_filter(words: Sequence[str]) -> RegexFilter:
    """有其中一个词就不许；不分大小写，西文的词须是整个的词。

    Raises:
        UserError: 一个词也没有。
    """
    kept = [word.strip() for word in words if word.strip()]
    if not kept:
        raise UserError("the list of blocked words is empty", fix="write one word or phrase per line")
    parts = [_edge(word[0]) + re.escape(word) + _edge(word[-1]) for word in kept]
    pattern = re.compile("|".join(parts), re.IGNORECASE)
    return RegexFilter(pattern, "the text holds a blocked word", max(map(len, kept)) + 1)


def load_filter(spec: str) -> Filter:
    """由命令行的写法造一道过滤。

    Args:
        spec: ``words:FILE``（一行一个）、``regex:PATTERN``、``python:MODULE:NAME``（一个不带参数的函数或类，
            造出过滤器），或 ``safety/filters.py`` 的 ``personal``、``secrets:FILE`` 与 ``canaries:FILE``。

    Raises:
        UserError: 写法不对，文件读不了，或造出来的不是过滤器。
    """
    kind, _, rest = spec.partition(":")
    if kind == "words" and rest:
        try:
            return words_filter(Path(rest).read_text(encoding="utf-8").splitlines())
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"cannot read the words: {error}", where=rest, fix="check the path") from error
    if kind == "regex" and rest:
        try:
            return RegexFilter(re.compile(rest))
        except re.error as error:
            raise UserError(f"the pattern is not a regular expression: {error}", where=spec[:200]) from error
    if kind in SAFETY:
        from tinygrad_llm.common.safety.filters import named_filter

        return named_filter(kind, rest)
    module, _, name = rest.partition(":")
    if kind != "python" or not module or not name:
        raise UserError(f"unknown filter {spec[:100]!r}", fix=_KINDS)
    try:
        made: Filter = getattr(importlib.import_module(module), name)()
    except (ImportError, AttributeError) as error:
        raise UserError(f"cannot load the filter: {error}", where=spec[:200], fix="check the module's name") from error
    if not callable(getattr(made, "check", None)):
        raise UserError("the filter has no method check(text)", where=spec[:200])
    return made


def first_reason(filters: Sequence[Filter], text: str) -> str | None:
    """头一道不许的理由；都许可则为 ``None``。"""
    return next((reason for one in filters if (reason := one.check(text)) is not None), None)


def holds(filters: Sequence[Filter]) -> int:
    """逐段给出时，末尾要压住多少个字。"""
    return max((int(getattr(one, "holds", _HOLD)) for one in filters), default=0)


def _edge(char: str) -> str:
    return r"\b" if char.isascii() and (char.isalnum() or char == "_") else ""
