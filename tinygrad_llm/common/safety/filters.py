"""服务器用的过滤器：个人信息、守则里的秘密、金丝雀。

流入：一句提问或一段回答；流出：不放行的原因，放行为 ``None``。约定见 ``serving/filters.py``；服务器的 flag 写作
``personal``、``secrets:FILE``（一行一个词）与 ``canaries:FILE``（``canary plant`` 写下的）。
原因里从不引用被拦下的文字。

它们拦的是写出来的字：换成别的编码、别的语言就拦不住，是最后一道网，不是第一道。
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tinygrad_llm.common.cleaning.pii import found_in, scrub
from tinygrad_llm.common.corpora.storyworld.checks import gives_away
from tinygrad_llm.common.errors import DataError, UserError
from tinygrad_llm.common.safety.canaries import Canary, load_canaries
from tinygrad_llm.common.safety.leaks import KINDS

__all__ = ["CanaryFilter", "PersonalDataFilter", "SecretFilter", "named_filter"]

_IGNORED = re.compile(r"[\W_]+")


@dataclass(frozen=True)
class PersonalDataFilter:
    """文字里有个人信息就不放行。

    Attributes:
        kinds: 哪几种，取自 ``leaks.KINDS``。
        holds: 一处至多多少个字；逐段给出回答时压住末尾这么多。
    """

    kinds: tuple[str, ...] = KINDS
    holds: int = 320

    def __post_init__(self) -> None:
        if unknown := sorted(set(self.kinds) - set(KINDS)):
            raise UserError(f"unknown kind {unknown[0]!r}", where="filter", fix=f"use some of {', '.join(KINDS)}")

    def check(self, text: str) -> str | None:
        """不放行的原因。"""
        found = sorted({kind for _, _, kind in found_in(text, self.kinds)})
        return f"personal data: {', '.join(found)}" if found else None

    def redact(self, text: str) -> str:
        """不拦下，只把个人信息换成占位符。"""
        return scrub(text, self.kinds)[0]


@dataclass(frozen=True)
class SecretFilter:
    """文字里有不许说的词就不放行：大小写、空格、标点、全角、逐字隔开与倒写都不影响。

    Attributes:
        words: 不许说的词。
    """

    words: tuple[str, ...]

    @property
    def holds(self) -> int:
        """一处至多多少个字：字与字之间容得下十来个空格与标点。"""
        return 12 * max(map(len, self.words))

    def __post_init__(self) -> None:
        if not self.words or not all(any(map(str.isalnum, word)) for word in self.words):
            raise UserError("a secret word needs a letter or digit", where="filter", fix="give at least one such word")

    def check(self, text: str) -> str | None:
        """不放行的原因。"""
        plain = unicodedata.normalize("NFKC", text)
        return "a word that must not be said" if gives_away(plain, self.words) else None


@dataclass(frozen=True)
class CanaryFilter:
    """文字里有埋过的金丝雀就不放行：模型在背训练文本。

    Attributes:
        canaries: 埋过的各句。
        whole: 整句才算；否则单有号码就算（号码短时容易误伤）。
    """

    canaries: Sequence[Canary]
    whole: bool = True

    @property
    def holds(self) -> int:
        """一处至多多少个字。"""
        return 2 * max((len(canary.text) for canary in self.canaries), default=1)

    def check(self, text: str) -> str | None:
        """不放行的原因。"""
        letters = _IGNORED.sub("", text.casefold())
        for canary in self.canaries:
            held = _IGNORED.sub("", (canary.prefix + canary.secret if self.whole else canary.secret).casefold())
            if held in letters:
                return "a planted canary from the training text"
        return None


def named_filter(kind: str, rest: str) -> PersonalDataFilter | SecretFilter | CanaryFilter:
    """由命令行的写法造一个。

    Args:
        kind: ``personal``、``secrets`` 或 ``canaries``。
        rest: 冒号之后的文件；``personal`` 可以列出种类，逗号隔开。

    Raises:
        DataError: 文件读不了。
        UserError: 不认识的种类，或一个词也没有。
    """
    if kind == "personal":
        return PersonalDataFilter(tuple(filter(None, rest.split(","))) or KINDS)
    if kind == "canaries":
        return CanaryFilter(load_canaries(Path(rest)))
    try:
        lines = Path(rest).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read the words: {error}", where=rest, fix="check the path") from error
    return SecretFilter(tuple(line.strip() for line in lines if line.strip()))
