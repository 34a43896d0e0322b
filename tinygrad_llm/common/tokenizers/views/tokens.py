"""着色的 token：一个 token 一块底色，终端与网页同一副样子。

流入：分词器与文本；流出：``Chip`` 的序列，以及它们在终端（``rich.Text``）与网页（HTML 片段）里的样子。
下一个文件：``compression.py``。
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from tinygrad_llm.common.tokenizers.bpe import Tokenizer
from tinygrad_llm.common.tokenizers.interface import TextTokenizer

if TYPE_CHECKING:
    from rich.text import Text

__all__ = [
    "Chip",
    "chips",
    "html_text",
    "legend",
    "one_line",
    "origins",
    "readable",
    "readable_run",
    "styled",
    "terminal_text",
    "token_style",
]

HUES = 6
STYLE_SHEET = Path(__file__).with_name("tokens.css")
# 终端的底色取 256 色里偏暗的几种，配白字；浅色与深色的终端上都读得清
TERMINAL_HUES = ("color(24)", "color(94)", "color(22)", "color(89)", "color(58)", "color(60)")
REST = "◦"
LONGEST_RUN = 8
_MARKS: Mapping[int, str] = {ord("\n"): "⏎\n", ord("\t"): "⇥"}


@dataclass(frozen=True)
class Chip:
    """画出来的一个 token。

    Attributes:
        text: 画成什么字；换行画成 ``⏎`` 再换行，不成字的字节画成十六进制。
        style: 样式名：``"0"`` 到 ``"5"`` 是轮换的底色，或 ``tokens.css`` 里的一个名字。
        tip: 鼠标停留或点按时显示的几行。
        starts_line: 是否画在新的一行；只为好读，不属于 token。
    """

    text: str
    style: str
    tip: str = ""
    starts_line: bool = False


def readable(data: bytes) -> str:
    """一个 token 的字节写成看得见的字；不是完整的 UTF-8 时写成 ``⟨e4 bd⟩``。"""
    if not _is_text(data):
        return f"⟨{data.hex(' ')}⟩"
    text = data.decode().translate(_MARKS)
    return "".join(letter if letter.isprintable() or letter == "\n" else f"⟨U+{ord(letter):04X}⟩" for letter in text)


def one_line(data: bytes) -> str:
    """同 ``readable``，用在规则与表格里：空格写成 ``␣``，换行只写 ``⏎``。"""
    shown = readable(data)
    return shown.replace("\n", "").replace(" ", "␣") if _is_text(data) else shown


def readable_run(tokens: Sequence[bytes]) -> list[str]:
    """一串 token 写成看得见的字：一个字的字节散在几个 token 里时，字写在头一个上，其余写作 ``◦``。"""
    shown: list[str] = []
    while (start := len(shown)) < len(tokens):
        for stop in range(start + 1, min(start + LONGEST_RUN, len(tokens)) + 1):
            joined = b"".join(tokens[start:stop])
            if _is_text(joined):
                shown += [readable(joined), *[REST] * (stop - start - 1)]
                break
        else:
            shown.append(readable(tokens[start]))
    return shown


def _is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def origins(tokenizer: TextTokenizer) -> Callable[[int], str]:
    """说得出每个 id 从哪里来的函数：特殊 token、单个字节、第几次合并与它的两半，或词表里的一项。"""
    special = {tokenizer.special(name) for name in tokenizer.specials}
    merges: dict[int, tuple[int, str]] = {}
    if isinstance(tokenizer, Tokenizer):
        for number, (left, right) in enumerate(tokenizer.merges):
            if left >= 0:  # 个别词表里有不是合并而来的，见 ``layout.ODD_PAIR``
                halves = f"{one_line(tokenizer.symbols[left])} + {one_line(tokenizer.symbols[right])}"
                merges[int(tokenizer.layout.symbol_ids[256 + number])] = (number, halves)

    def origin(id: int) -> str:
        if id in special:
            return "special token"
        if len(tokenizer.token_bytes(id)) == 1:
            return "single byte"
        return f"merge {merges[id][0]}: {merges[id][1]}" if id in merges else f"entry {id}"

    return origin


def chips(tokenizer: TextTokenizer, text: str) -> list[Chip]:
    """文本切成 token，底色依次轮换。

    Args:
        tokenizer: 分词器。
        text: 任意文本。

    Returns:
        各个 token，依次连起来就是原文。
    """
    ids = tokenizer.encode(text)
    origin = origins(tokenizer)
    tokens = [tokenizer.token_bytes(id) for id in ids]
    return [
        Chip(shown, str(position % HUES), f"id {id}\n{data.hex(' ')}\n{origin(id)}")
        for position, (id, data, shown) in enumerate(zip(ids, tokens, readable_run(tokens), strict=True))
    ]


def styled(parts: Iterable[tuple[str, str]]) -> Text:
    """终端上的一段着色文字：``(文字, rich 的样式)`` 依次相接。"""
    from rich.text import Text

    text = Text()
    for piece, style in parts:
        for line in piece.splitlines(keepends=True):  # 底色不延到行尾
            text.append(line.removesuffix("\n"), style)
            if line.endswith("\n"):
                text.append("\n")
    return text


def terminal_text(found: Iterable[Chip], styles: Mapping[str, str] | None = None, *, separator: str = "") -> Text:
    """终端里的样子。

    Args:
        found: 各个 token。
        styles: 样式名到 rich 的样式；轮换的底色不必给。
        separator: 写在每个 token 之后；没有颜色的终端靠它看出界线。
    """
    known = {str(i): f"white on {hue}" for i, hue in enumerate(TERMINAL_HUES)} | dict(styles or {})
    breaks = {False: "", True: "\n"}
    return styled(
        part
        for chip in found
        for part in ((breaks[chip.starts_line], ""), (chip.text, known[chip.style]), (separator, "dim"))
    )


def html_text(found: Iterable[Chip], *, separator: str = "") -> str:
    """网页里的样子：悬停、点按或用 Tab 走到一个 token 时，显示它的 ``tip``；``separator`` 写在各个 token 之间。"""
    spans = separator.join(
        ("<br>" if chip.starts_line else "")
        + f'<span tabindex="0" class="chip chip-{chip.style}" data-tip="{escape(chip.tip)}">{escape(chip.text)}</span>'
        for chip in found
    )
    return f'<div class="chips">{spans}</div>'


def legend(labels: Mapping[str, str]) -> str:
    """网页里的图例：样式名到说明。"""
    items = "".join(f'<span class="chip chip-{style}">{escape(label)}</span> ' for style, label in labels.items())
    return f'<p class="legend">{items}</p>'


def token_style() -> str:
    """``html_text`` 要用的样式，放进页面的任意一节。"""
    return f"<style>\n{STYLE_SHEET.read_text(encoding='utf-8')}</style>"
