"""``python -m tinygrad_llm tokenizer`` 里给人看的几个动词：``stages``、``report``、``view``、``watch`` 与 ``glitch``。

流入：命令行；流出：终端上的文字，可以另存网页。分词器文件哪一种都行，由 ``loading.py`` 认。
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from tinygrad_llm.common.corpora.sources import documents
from tinygrad_llm.common.errors import DataError, UserError
from tinygrad_llm.common.report import Section, page, tiles, write_page
from tinygrad_llm.common.tokenizers.bpe import Tokenizer
from tinygrad_llm.common.tokenizers.merges import learn_merges
from tinygrad_llm.common.tokenizers.views.animation import MAX_TRAINING, encoding_frames, training_frames
from tinygrad_llm.common.tokenizers.views.compression import compression_of, compression_page, compression_table
from tinygrad_llm.common.tokenizers.views.domains import (
    DOMAINS,
    MAX_CHARACTERS,
    domain_documents,
    domain_text,
    gather,
)
from tinygrad_llm.common.tokenizers.views.glitches import glitch_page, glitch_table, inspect_tokens, read_embedding
from tinygrad_llm.common.tokenizers.views.loading import open_tokenizer, references
from tinygrad_llm.common.tokenizers.views.player import player_page, terminal_frames
from tinygrad_llm.common.tokenizers.views.stages import STAGES, train_stages
from tinygrad_llm.common.tokenizers.views.tokens import chips, html_text, terminal_text, token_style

if TYPE_CHECKING:
    from rich.console import Console

__all__ = [
    "GlitchConfig",
    "ReportConfig",
    "StagesConfig",
    "ViewConfig",
    "WatchConfig",
    "glitch",
    "report",
    "stages",
    "view",
    "watch",
]

POSITIONAL = ("PositionalRequiredArgs", "FlagCreatePairsOff")
NARROW, WIDE = 80, 120


@dataclass(frozen=True)
class ReportConfig:
    """几种分词器在各领域的压缩率；本机已有 GPT-2、GPT-4 的词表时一并比较，从不下载。"""

    cli_markers: ClassVar[tuple[str, ...]] = POSITIONAL

    tokenizers: tuple[str, ...]
    """分词器文件，或 gpt2 一类知名词表的名字；可以几个。"""
    texts: tuple[str, ...] = ()
    """领域、语料名或路径，可以几个；不给时是自带的各领域。"""
    alone: bool = False
    """不与本机已有的 GPT-2、GPT-4 词表比较。"""
    max_characters: int = MAX_CHARACTERS
    """每个领域至多取开头多少个字符。"""
    html: Path | None = None
    """另存为网页。"""


@dataclass(frozen=True)
class ViewConfig:
    """一段文本切成了哪些 token，着色给人看。"""

    cli_markers: ClassVar[tuple[str, ...]] = POSITIONAL

    tokenizer: str
    """分词器文件，或 gpt2 一类知名词表的名字。"""
    words: tuple[str, ...]
    """文本；几个词之间补一个空格。"""
    file: Path | None = None
    """改从文件读文本。"""
    html: Path | None = None
    """另存为网页，悬停看 id、字节与来历。"""


@dataclass(frozen=True)
class WatchConfig:
    """看合并怎样一次次学出来，又怎样把一句话合成 token。"""

    cli_markers: ClassVar[tuple[str, ...]] = POSITIONAL

    words: tuple[str, ...]
    """用来看的一句话；几个词之间补一个空格。"""
    tokenizer: str = ""
    """分词器文件或知名词表的名字：只看它怎样合成这句话；不给时先看训练。"""
    texts: tuple[str, ...] = ("english", "chinese")
    """训练用的领域、语料名或路径，可以几个。"""
    merges: int = 60
    """训练几次合并。"""
    delay_s: float = 0.0
    """终端里每一帧停多久。"""
    html: Path | None = None
    """另存为网页：可以播放、逐步、拖动。"""


@dataclass(frozen=True)
class GlitchConfig:
    """找出罕见与失灵的 token：切不到的、半个字的、很长的空白、语料里没用到的。"""

    cli_markers: ClassVar[tuple[str, ...]] = POSITIONAL

    tokenizer: str
    """分词器文件，或 gpt2 一类知名词表的名字。"""
    texts: tuple[str, ...] = ()
    """领域、语料名或路径，可以几个；不给时是自带的各领域。"""
    run: Path | None = None
    """一次运行的文件夹，或 .safetensors 文件：另看词嵌入的范数，找出没怎么训练过的 token。"""
    html: Path | None = None
    """另存为网页。"""


@dataclass(frozen=True)
class StagesConfig:
    """在同一份文本上训练五种分词器（词、字符、BPE、WordPiece、Unigram），看它们怎样切同一句话。"""

    cli_markers: ClassVar[tuple[str, ...]] = POSITIONAL

    words: tuple[str, ...]
    """用来比较的一句话；几个词之间补一个空格。"""
    texts: tuple[str, ...] = ("docs",)
    """训练用的领域、语料名或路径，可以几个。"""
    vocab_size: int = 1024
    """词表大小。"""
    out: Path | None = None
    """把五种分词器存进这个文件夹。"""


def report(config: ReportConfig) -> None:
    """``tokenizer report``。"""
    if not config.tokenizers:
        raise UserError("no tokenizer given", fix="give one or more tokenizer files")
    if config.max_characters < 1:
        raise UserError(f"max_characters must be at least 1, got {config.max_characters}", fix="try 100000")
    loaded = {name: open_tokenizer(source) for name, source in _named(config.tokenizers).items()}
    loaded |= {name: known for name, known in references().items() if not config.alone and name not in loaded}
    texts = gather(config.texts, config.max_characters)
    results = {
        domain: {name: compression_of(tokenizer, text) for name, tokenizer in loaded.items()}
        for domain, text in texts.items()
    }
    _console().print(compression_table(results))
    if config.html:
        write_page(config.html, compression_page(results))
        print(f"wrote {config.html}")


def view(config: ViewConfig) -> None:
    """``tokenizer view``。"""
    tokenizer = open_tokenizer(config.tokenizer)
    text = " ".join(config.words)
    if config.file:
        text = "\n\n".join(document.text for document in documents(str(config.file)))
    if not text:
        raise UserError("no text to view", fix="give some words, or --file FILE")
    found = chips(tokenizer, text)
    lossless = tokenizer.decode(tokenizer.encode(text)) == text
    console = _console()
    console.print(terminal_text(found, separator=_separator(console, lossless)))
    size = len(text.encode("utf-8", "replace"))
    console.print(
        f"{len(found):,} tokens, {len(text):,} characters, {size:,} bytes, {size / len(found):.2f} bytes/token"
    )
    if not lossless:
        console.print("decoding does not restore this text exactly")
    if config.html:
        figures = {"token": f"{len(found):,}", "字符": f"{len(text):,}", "bytes/token": f"{size / len(found):.2f}"}
        body = token_style() + tiles(figures) + html_text(found, separator="" if lossless else " ")
        note = "悬停、点按或用 Tab 走到一个 token，看它的 id、字节与来历。◦ 是同一个字的其余字节。"
        subtitle = f"{_short(config.tokenizer)} · 词表 {tokenizer.vocab_size:,}"
        write_page(config.html, page("切成了哪些 token", [Section("文本", body, note)], subtitle=subtitle))
        print(f"wrote {config.html}")


def stages(config: StagesConfig) -> None:
    """``tokenizer stages``。"""
    sample = " ".join(config.words)
    if not sample.strip():
        raise UserError("no text to compare on", fix='give a sentence, e.g. "unbelievable results"')
    if config.out and not config.out.is_dir():
        raise DataError("no such folder", where=str(config.out), fix="create it first")
    text = "\n\n".join(map(domain_text, config.texts))
    console = _console()
    for stage in train_stages(text, config.vocab_size, sample):
        console.print(f"{stage.name}: {stage.idea}", style="bold")
        found = chips(stage.tokenizer, sample)
        console.print(terminal_text(found, separator=_separator(console, stage.is_lossless)))
        restored = "decodes to the same text" if stage.is_lossless else "does NOT decode to the same text"
        ratio = f"{stage.compression.bytes_per_token:.2f} bytes/token"
        console.print(f"{len(found)} tokens, {ratio}, vocabulary {stage.tokenizer.vocab_size:,}; {restored}\n")
        if config.out:
            stage.tokenizer.save(config.out / f"{stage.name}.json")
    if config.out:
        print(f"wrote {', '.join(f'{name}.json' for name in STAGES)} to {config.out}")


def watch(config: WatchConfig) -> None:
    """``tokenizer watch``。"""
    sample = " ".join(config.words)
    if not sample:
        raise UserError("no text to watch", fix='give a sentence, e.g. "the cat sat on the mat"')
    if config.merges < 1:
        raise UserError(f"merges must be at least 1, got {config.merges}", fix="try 60")
    training = []
    if config.tokenizer:
        tokenizer, subtitle = open_tokenizer(config.tokenizer), _short(config.tokenizer)
    else:
        text = "\n\n".join(map(domain_text, config.texts))[:MAX_TRAINING]
        training = training_frames(text, config.merges, sample)
        tokenizer, subtitle = Tokenizer(learn_merges(text, config.merges)), "、".join(config.texts)
    encoding = encoding_frames(tokenizer, sample)
    console = _console()
    for frame in terminal_frames(training or encoding, separator=_separator(console, True)):
        console.print(frame)
        time.sleep(config.delay_s)
    if config.html:
        write_page(config.html, player_page(training, encoding, subtitle=subtitle))
        print(f"wrote {config.html}")


def glitch(config: GlitchConfig) -> None:
    """``tokenizer glitch``。"""
    tokenizer = open_tokenizer(config.tokenizer)
    embedding = read_embedding(config.run) if config.run else None
    names = ", ".join(config.texts or DOMAINS)
    texts = chain.from_iterable(map(domain_documents, config.texts)) if config.texts else gather(()).values()
    inspection = inspect_tokens(tokenizer, texts, embedding)
    print(f"{tokenizer.vocab_size:,} tokens; corpus of {int(inspection.counts.sum()):,} tokens: {names}")
    _console().print(glitch_table(tokenizer, inspection))
    if config.html:
        write_page(config.html, glitch_page(tokenizer, inspection, subtitle=f"{_short(config.tokenizer)} · {names}"))
        print(f"wrote {config.html}")


def _console() -> Console:
    """终端；输出到文件时不折行，不着色。"""
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True)
    if not console.is_terminal:
        console.width = WIDE
    return console


def _separator(console: Console, lossless: bool) -> str:
    """没有颜色的终端用竖线隔开 token；还原不了空白的分词器，token 之间补一个空格。"""
    if console.color_system is None:
        return "|"
    return "" if lossless else " "


def _named(sources: Sequence[str]) -> dict[str, str]:
    """每个分词器一个短名字；重名时写全。"""
    short = [_short(source) for source in sources]
    return {source if short.count(name) > 1 else name: source for name, source in zip(short, sources, strict=True)}


def _short(source: str) -> str:
    """文件名，不带后缀。"""
    return Path(source).stem
