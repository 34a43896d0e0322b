"""``python -m torch_llm data show-chat``：一份对话数据会怎样变成训练的 id，着色给人看。

流入：对话文件、分词器与模板；流出：终端上的文字与统计，可以另存网页。
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import ClassVar, Literal

from tinygrad_llm.common.chat.coloured import chat_page, chat_terminal
from tinygrad_llm.common.chat.loading import load_conversations
from tinygrad_llm.common.chat.render import ConversationTooLongError, Rendered, TrainOn, render
from tinygrad_llm.common.chat.templates import Template, find_template
from tinygrad_llm.common.corpora.faults import Faults
from tinygrad_llm.common.errors import DataError
from tinygrad_llm.common.report import write_page
from tinygrad_llm.common.tokenizers import Tokenizer
from tinygrad_llm.common.tokenizers.formats import load_named
from tinygrad_llm.common.tokenizers.interface import TextTokenizer

__all__ = ["ShowChatConfig", "main"]


@dataclass(frozen=True)
class ShowChatConfig:
    """看看对话数据里训练的是哪些字；JSON lines 的自己的格式、ShareGPT 与 Alpaca 都认得。"""

    cli_markers: ClassVar[tuple[str, ...]] = ("PositionalRequiredArgs", "FlagCreatePairsOff")

    file: Path
    """对话文件：.jsonl，可以压缩成 .gz 或 .zst。"""
    tokenizer: str = ""
    """分词器文件或知名词表的名字，须有模板要的特殊 token；不给时一个字节一个 token。"""
    template: str = "ours"
    """对话的模板：ours、alpaca 或 chatml。"""
    count: int = 3
    """显示前几次对话；统计总是针对全部。"""
    train_on: TrainOn = "assistant"
    """学哪些 id：每句 assistant 的话、只学最后一句，或全部。"""
    max_tokens: int | None = None
    """一次对话至多几个 id；太长时去掉最早的几轮，仍太长的计数并略过。"""
    html: Path | None = None
    """另存为网页。"""
    on_error: Literal["stop", "skip"] = "stop"
    """坏的一行：停下，或计数并略过。"""


@dataclass
class _Totals:
    """全部对话的统计。"""

    conversations: int = 0
    tokens: int = 0
    trained: int = 0
    longest: int = 0
    shortened: int = 0


def main(config: ShowChatConfig) -> None:
    """读出对话，着色显示前几次，再报全部的统计。"""
    from rich.console import Console

    template = find_template(config.template)
    tokenizer = load_named(config.tokenizer) if config.tokenizer else Tokenizer([], template.specials)
    faults = Faults(config.on_error)
    console = Console(highlight=False, soft_wrap=True)
    totals = _Totals()
    kept: list[tuple[str, Rendered]] = []
    stream = _rendered(config, template, tokenizer, faults, totals)
    for source, rendered in islice(stream, config.count):
        kept.append((source, rendered))
        console.print(f"{source}: {len(rendered.ids):,} tokens, {sum(rendered.loss_mask):,} trained", style="bold")
        console.print(chat_terminal(rendered, tokenizer, has_colour=console.color_system is not None))
        console.print()
    for _ in stream:
        pass
    if not totals.conversations and not faults.counts:
        raise DataError("no conversations in the file", where=str(config.file), fix="write one conversation a line")
    share = totals.trained / max(totals.tokens, 1)
    print(
        f"{totals.conversations:,} conversations, {totals.tokens:,} tokens, {totals.trained:,} trained ({share:.1%}), "
        f"longest {totals.longest:,}" + (f", {totals.shortened:,} lost old turns" if totals.shortened else "")
    )
    if faults.counts:
        print(faults.summary())
    if config.html:
        subtitle = f"{config.file.name} · {config.template}"
        write_page(config.html, chat_page(kept, tokenizer, subtitle=subtitle))
        print(f"wrote {config.html}")


def _rendered(
    config: ShowChatConfig, template: Template, tokenizer: TextTokenizer, faults: Faults, totals: _Totals
) -> Iterator[tuple[str, Rendered]]:
    for conversation in load_conversations(config.file, faults):
        try:
            rendered = render(conversation, tokenizer, template, train_on=config.train_on, max_tokens=config.max_tokens)
        except ConversationTooLongError as error:
            faults.report(error.problem, error.where, error.fix, reason="too long")
            continue
        totals.conversations += 1
        totals.tokens += len(rendered.ids)
        totals.trained += sum(rendered.loss_mask)
        totals.longest = max(totals.longest, len(rendered.ids))
        totals.shortened += rendered.dropped_turns > 0
        yield conversation.source, rendered
