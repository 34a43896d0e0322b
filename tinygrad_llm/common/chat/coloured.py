"""看看训练的是哪些字：绿的要学，灰的只是上下文，黄的是特殊 token。

流入：渲染好的对话；流出：终端里的着色文字，或一个自足的网页。下一个文件：``command.py``。
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from tinygrad_llm.common.chat.render import Rendered
from tinygrad_llm.common.report import Section, page, tiles
from tinygrad_llm.common.tokenizers.interface import TextTokenizer
from tinygrad_llm.common.tokenizers.views.tokens import (
    Chip,
    html_text,
    legend,
    readable_run,
    terminal_text,
    token_style,
)

if TYPE_CHECKING:
    from rich.text import Text

__all__ = ["chat_chips", "chat_page", "chat_terminal"]

STYLES = {
    "trained": "black on color(114)",
    "masked": "dim",
    "special": "black on color(179)",
    "special-trained": "bold underline black on color(179)",
}
LABELS = {
    "trained": "要学的字",
    "masked": "只作上下文",
    "special": "特殊 token",
    "special-trained": "要学的特殊 token",
}


def chat_chips(rendered: Rendered, tokenizer: TextTokenizer) -> list[Chip]:
    """逐个 token 的样子；样式名是 ``STYLES`` 里的一个。两个特殊 token 紧挨着，是一句话完了、下一句开始，在此换行。"""
    found: list[Chip] = []
    was_special = False
    for segment in rendered.segments:
        starts_line, was_special = segment.is_special and was_special, segment.is_special
        special, plain = ("special-trained", "trained") if segment.is_trained else ("special", "masked")
        kind = special if segment.is_special else plain
        ids = rendered.ids[segment.start : segment.stop]
        tokens = [tokenizer.token_bytes(id) for id in ids]
        shown = zip(ids, tokens, readable_run(tokens), strict=True)
        for position, (id, data, text) in enumerate(shown, start=segment.start):
            tip = f"position {position} · id {id}\n{data.hex(' ')}\n{LABELS[kind]}"
            found.append(Chip(text, kind, tip, starts_line))
    return found


def chat_terminal(rendered: Rendered, tokenizer: TextTokenizer, *, has_colour: bool = True) -> Text:
    """终端里的样子；没有颜色的终端用 ``«`` 与 ``»`` 括出要学的部分。"""
    found = chat_chips(rendered, tokenizer)
    if has_colour:
        return terminal_text(found, STYLES)
    marked: list[Chip] = []
    for is_trained, run in groupby(found, key=lambda chip: chip.style.endswith("trained")):
        part = list(run)
        marked += [Chip("«", "masked"), *part, Chip("»", "masked")] if is_trained else part
    return terminal_text(marked, STYLES)


def chat_page(conversations: Sequence[tuple[str, Rendered]], tokenizer: TextTokenizer, *, subtitle: str) -> str:
    """网页：每次对话一节。

    Args:
        conversations: ``(出处, 渲染好的对话)``。
        tokenizer: 分词器。
        subtitle: 标题下的一行小字。

    Returns:
        完整的 HTML 文档。
    """
    trained = sum(sum(rendered.loss_mask) for _, rendered in conversations)
    total = sum(len(rendered.ids) for _, rendered in conversations)
    figures = {
        "显示的对话": f"{len(conversations):,}",
        "token": f"{total:,}",
        "其中要学": f"{trained:,}",
        "占": f"{trained / max(total, 1):.1%}",
    }
    sections = [Section("概览", token_style() + tiles(figures) + legend(LABELS))]
    for source, rendered in conversations:
        dropped = f"，为了不超长去掉了最早的 {rendered.dropped_turns} 句" if rendered.dropped_turns else ""
        note = f"{len(rendered.ids):,} 个 token，要学 {sum(rendered.loss_mask):,} 个{dropped}。"
        sections.append(Section(source, html_text(chat_chips(rendered, tokenizer)), note))
    return page("训练的是哪些字", sections, subtitle=subtitle)
