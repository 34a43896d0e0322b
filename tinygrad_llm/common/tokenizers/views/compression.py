"""压缩率：同样的文本，几种分词器各要多少个 token。

流入：几个分词器与各领域的样本；流出：``Compression`` 的表，写成终端的表格或网页。
下一个文件：``animation.py``。

三个互补的数：``bytes/tok`` 越大越省；``tok/char`` 与语言的写法有关；``tok/word``（fertility）里一个汉字算一个词。
另报不认识的、或不成整字的 token 占多少：字节回退越多，模型要从碎片里猜的越多。
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tinygrad_llm.common.errors import UserError
from tinygrad_llm.common.report import Section, bar_chart, page, side_by_side, table
from tinygrad_llm.common.tokenizers.interface import TextTokenizer
from tinygrad_llm.common.tokenizers.views.domains import DOMAINS
from tinygrad_llm.common.tokenizers.vocabulary import UNKNOWN
from tinygrad_llm.common.tokenizers.words import split_words

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["Compression", "compression_of", "compression_page", "compression_table"]

HEADERS = ("domain", "tokenizer", "tokens", "bytes/tok", "tok/char", "tok/word", "fallback %")
FORMS = ("{:,}", "{:.2f}", "{:.3f}", "{:.2f}", "{:.1f}")


@dataclass(frozen=True)
class Compression:
    """一个分词器在一段文本上的表现。

    Attributes:
        characters: 字符数。
        bytes: UTF-8 的字节数。
        words: 词数；一串字母或数字、一个汉字各算一个，标点不算。
        tokens: token 数。
        fallback: 其中不认识的，或单独解码不成整字的。
    """

    characters: int
    bytes: int
    words: int
    tokens: int
    fallback: int

    @property
    def bytes_per_token(self) -> float:
        """每个 token 几个字节。"""
        return self.bytes / self.tokens

    @property
    def tokens_per_character(self) -> float:
        """每个字符几个 token。"""
        return self.tokens / self.characters

    @property
    def fertility(self) -> float | None:
        """每个词几个 token；没有词时为 None。"""
        return self.tokens / self.words if self.words else None

    @property
    def fallback_share(self) -> float:
        """不认识的、不成整字的 token 占多少。"""
        return self.fallback / self.tokens

    def row(self) -> tuple[int | float | None, ...]:
        """与 ``HEADERS`` 的后五列对应的数；比例写成百分数。"""
        fertility = None if self.fertility is None else round(self.fertility, 2)
        ratios = (round(self.bytes_per_token, 2), round(self.tokens_per_character, 3), fertility)
        return (self.tokens, *ratios, round(100 * self.fallback_share, 1))


def compression_of(tokenizer: TextTokenizer, text: str) -> Compression:
    """量一段文本。

    Args:
        tokenizer: 任意分词器。
        text: 不为空、能切出 token 的文本。

    Raises:
        UserError: 文本切不出 token。
    """
    ids = tokenizer.encode(text)
    if not ids:
        raise UserError("the text gives no tokens", fix="use a text with some words in it")
    words = sum(word[0].isalnum() for word in split_words(text))
    whole: dict[int, bool] = {}
    for id in set(ids):
        whole[id] = _is_whole(tokenizer, id)
    fallback = sum(not whole[id] for id in ids)
    return Compression(len(text), len(text.encode("utf-8", "replace")), words, len(ids), fallback)


def _is_whole(tokenizer: TextTokenizer, id: int) -> bool:
    """这个 token 自己就是几个完整的字；不认识的与字节的碎片都不是。"""
    with suppress(UserError):
        if id == tokenizer.special(UNKNOWN):
            return False
    try:
        tokenizer.token_bytes(id).decode()
    except UnicodeDecodeError:
        return False
    return True


def compression_table(results: Mapping[str, Mapping[str, Compression]]) -> Table:
    """终端的表格。

    Args:
        results: 领域到（分词器名到结果）。
    """
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    shown = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for header in HEADERS:
        shown.add_column(header, justify="left" if header in HEADERS[:2] else "right", no_wrap=header != "tokenizer")
    for domain, by_name in results.items():
        for i, (name, one) in enumerate(by_name.items()):
            last = i == len(by_name) - 1 > 0
            cells = ["–" if value is None else form.format(value) for value, form in zip(one.row(), FORMS, strict=True)]
            shown.add_row(domain if i == 0 else "", name, *cells, end_section=last)
    return shown


def compression_page(results: Mapping[str, Mapping[str, Compression]]) -> str:
    """一个自足的网页：每个领域一张条形图，再加全部数字。"""
    names = list(next(iter(results.values())))
    x_label = "bytes/token，越大越省"
    if len(names) == 1:
        values = [by_name[names[0]].bytes_per_token for by_name in results.values()]
        charts = [bar_chart(list(results), values, title=names[0], x_label=x_label)]
    else:
        charts = [
            bar_chart(
                names,
                [one.bytes_per_token for one in by_name.values()],
                title=f"{DOMAINS.get(domain, '文本')}（{domain}）",
                x_label=x_label,
            )
            for domain, by_name in results.items()
        ]
    rows = [(domain, name, *one.row()) for domain, by_name in results.items() for name, one in by_name.items()]
    note = "tok/word 里一个汉字算一个词；fallback 是不认识的、或单独解码不成整字的 token 所占的比例。"
    sections = [
        Section("每个 token 装得下几个字节", side_by_side(charts)),
        Section("全部数字", table(HEADERS, rows), note),
    ]
    return page("分词器的压缩率", sections, subtitle="、".join(names))
