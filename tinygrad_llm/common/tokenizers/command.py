"""``python -m tinygrad_llm tokenizer``：训练、编码、解码、转换与查看分词器。

流入：命令行；流出：标准输出上的 id、文字或一张表，以及写下的文件；说明与警告走标准错误。什么也不下载：点到知名词表
而本机没有时，报错说明把哪个文件放到哪里。看图的几个动词在 ``views/command.py``。
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from tinygrad_llm.common.cli import Verb
from tinygrad_llm.common.corpora.faults import Faults
from tinygrad_llm.common.corpora.sources import documents
from tinygrad_llm.common.errors import DataError, UserError
from tinygrad_llm.common.progress import Progress
from tinygrad_llm.common.tokenizers.bpe import END_OF_TEXT, Tokenizer
from tinygrad_llm.common.tokenizers.formats import load_named, save_as
from tinygrad_llm.common.tokenizers.known import KNOWN, find_known, vocabulary_folder
from tinygrad_llm.common.tokenizers.layout import ODD_PAIR
from tinygrad_llm.common.tokenizers.training import train_bpe

__all__ = ["VERBS", "convert", "decode", "encode", "inspect", "list_known", "train"]

_VIEWS = "tinygrad_llm.common.tokenizers.views.command"
VERBS = {
    "train": Verb(f"{__name__}:train", "train a byte-level BPE tokenizer on any corpus"),
    "encode": Verb(f"{__name__}:encode", "text to ids"),
    "decode": Verb(f"{__name__}:decode", "ids to text"),
    "convert": Verb(f"{__name__}:convert", "one vocabulary format to another, adding tokens if asked"),
    "inspect": Verb(f"{__name__}:inspect", "what a vocabulary holds: sizes, special tokens, gaps, single tokens"),
    "list": Verb(f"{__name__}:list_known", "well-known vocabularies, and whether they are on this machine"),
    "stages": Verb(f"{_VIEWS}:stages", "words, characters, BPE, WordPiece and Unigram side by side on one sentence"),
    "report": Verb(f"{_VIEWS}:report", "compression by domain, Chinese and code included"),
    "view": Verb(f"{_VIEWS}:view", "text with its tokens coloured: terminal or HTML"),
    "watch": Verb(f"{_VIEWS}:watch", "training or encoding, one merge at a time"),
    "glitch": Verb(f"{_VIEWS}:glitch", "rare, unreachable and broken tokens of a vocabulary"),
}

POSITIONAL = ("PositionalRequiredArgs", "FlagCreatePairsOff")
Pattern = Literal["gpt2", "gpt4", "o200k", "llama3", "qwen2", "smollm"]
Format = Literal["json", "hf", "tiktoken"]


@dataclass(frozen=True)
class TrainConfig:
    """训练一个字节级 BPE 分词器；同样的语料总是得到同样的结果。"""

    cli_markers: ClassVar[tuple[str, ...]] = POSITIONAL

    corpora: tuple[str, ...]
    """语料名（python-docs、python-source、storyworld 等），或文件、文件夹；可以几个。"""
    out: Path = Path("tokenizer.json")
    """写到这个文件。"""
    vocab_size: int = 4096
    """词表大小：256 个字节、各次合并与特殊 token 的总数。"""
    pattern: Pattern = "gpt2"
    """切法：合并从不跨过它切出的块。"""
    specials: tuple[str, ...] = (END_OF_TEXT,)
    """特殊 token 的名字，排在词表最后。"""
    to: Format = "json"
    """写成哪一种格式；hf 就是 tokenizer.json。"""
    on_error: Literal["stop", "skip"] = "stop"
    """坏输入：stop 就此停下，skip 计数并略过。"""


@dataclass(frozen=True)
class EncodeConfig:
    """把文本编码成 id，以空格隔开；文本里写着特殊 token 的名字也只当作普通的字。"""

    cli_markers: ClassVar[tuple[str, ...]] = POSITIONAL

    tokenizer: str
    """分词器文件，或 gpt2、cl100k 等知名词表的名字（本机须有它的文件）。"""
    text: str = ""
    """文本；不给时读标准输入。"""
    file: Path | None = None
    """从这个文件读文本。"""
    pattern: str = ""
    """切法；只有不认得的 .tiktoken 文件需要。"""
    readable: bool = False
    """走读得懂的那条路径，结果相同。"""


@dataclass(frozen=True)
class DecodeConfig:
    """把 id 解码成文本，原样写到标准输出。"""

    cli_markers: ClassVar[tuple[str, ...]] = POSITIONAL

    tokenizer: str
    """分词器文件，或知名词表的名字。"""
    ids: tuple[int, ...] = ()
    """id，可以几个；不给时读标准输入。"""
    pattern: str = ""
    """切法；只有不认得的 .tiktoken 文件需要。"""


@dataclass(frozen=True)
class ConvertConfig:
    """把一份词表写成另一种格式；id 不变。"""

    cli_markers: ClassVar[tuple[str, ...]] = POSITIONAL

    source: str
    """我们的 JSON、tokenizer.json、.tiktoken、vocab.bpe（旁边有 encoder.json）、GGUF，或知名词表的名字。"""
    out: Path
    """写到这个文件。"""
    to: Format = "json"
    """写成哪一种格式；hf 就是 tokenizer.json。"""
    pattern: str = ""
    """切法；只有不认得的 .tiktoken 文件需要。"""
    add: tuple[str, ...] = ()
    """添上这几个特殊 token，原有的 id 都不变。"""


@dataclass(frozen=True)
class InspectConfig:
    """说明一份词表里有什么。"""

    cli_markers: ClassVar[tuple[str, ...]] = POSITIONAL

    tokenizer: str
    """分词器文件，或知名词表的名字。"""
    ids: tuple[int, ...] = ()
    """列出这几个 token；不给时列出首尾各几个。"""
    pattern: str = ""
    """切法；只有不认得的 .tiktoken 文件需要。"""


@dataclass(frozen=True)
class ListConfig:
    """列出知名的词表，不需要参数。"""


def train(config: TrainConfig) -> None:
    """训练并写下分词器。"""
    faults = Faults(config.on_error)
    texts = (document.text for source in config.corpora for document in documents(source, on_error=faults))
    _check_folder(config.out)
    print("reading and splitting the corpus ...", file=sys.stderr)
    with ExitStack() as stack:
        bars: list[Progress] = []

        def tell(done: int, wanted: int) -> None:
            if not bars:  # 读完语料才开始计时，剩余时间才准
                bars.append(stack.enter_context(Progress(wanted, "merges")))
            bars[0].update(done)

        found = train_bpe(texts, config.vocab_size, config.specials, config.pattern, tell)
    save_as(found, config.out, config.to)
    for reason, count in faults.counts.items():
        print(f"skipped {count}: {reason}", file=sys.stderr)
    print(f"{config.out}: {found.vocab_size:,} tokens, {len(found.merges):,} merges, pattern {found.pattern}")


def encode(config: EncodeConfig) -> None:
    """打印 id。"""
    tokenizer = load_named(config.tokenizer, config.pattern or None)
    if config.file is not None and config.text:
        raise UserError("text and --file were both given", fix="give one of them")
    text = config.text or _read_text(config.file)
    run = tokenizer.encode_readable if config.readable else tokenizer.encode
    print(*run(text))
    if dropped := tokenizer.dropped(text):
        print(f"note: {dropped} bytes are not in this vocabulary and were left out", file=sys.stderr)


def decode(config: DecodeConfig) -> None:
    """写出文本；不补换行。"""
    tokenizer = load_named(config.tokenizer, config.pattern or None)
    ids = config.ids or tuple(_read_ids())
    sys.stdout.flush()
    sys.stdout.buffer.write(tokenizer.decode_bytes(ids))


def convert(config: ConvertConfig) -> None:
    """写成另一种格式。"""
    tokenizer = load_named(config.source, config.pattern or None)
    if config.add:
        tokenizer = tokenizer.with_specials(config.add)
    _check_folder(config.out)
    save_as(tokenizer, config.out, config.to)
    print(f"{config.out}: {tokenizer.vocab_size:,} ids as {config.to}")
    if config.to == "tiktoken":
        print(f"note: .tiktoken holds neither the pattern ({tokenizer.pattern}) nor special tokens", file=sys.stderr)
    elif config.to == "hf" and tokenizer.specials:
        print("note: HF tokenizers match special tokens inside text; ours never does", file=sys.stderr)


def inspect(config: InspectConfig) -> None:
    """打印词表的概况与若干 token。"""
    tokenizer = load_named(config.tokenizer, config.pattern or None)
    odd = sum(pair == ODD_PAIR for pair in tokenizer.merges)
    rows = {
        "vocabulary": f"{tokenizer.vocab_size:,} ids, {len(tokenizer.merges) - odd:,} merges",
        "pattern": tokenizer.pattern + (f", after {tokenizer.normalization}" if tokenizer.normalization else ""),
        "digest": tokenizer.digest[:16],
        "special tokens": ", ".join(f"{name} = {tokenizer.special(name)}" for name in tokenizer.specials[:12])
        + (f" and {len(tokenizer.specials) - 12} more" if len(tokenizer.specials) > 12 else ""),
        "missing bytes": " ".join(f"{byte:02x}" for byte in tokenizer.missing) + " (left out of text)",
        "without a merge": f"{odd} tokens, taken only as spelled",
        "decode only": f"{len(tokenizer.layout.unused)} tokens",
    }
    absent = {
        "special tokens": not tokenizer.specials,
        "missing bytes": not tokenizer.missing,
        "without a merge": not odd,
        "decode only": not tokenizer.layout.unused,
    }
    for name, value in rows.items():
        if not absent.get(name):
            print(f"{name + ':':<17}{value}")
    print()
    for id in config.ids or _ends(tokenizer.vocab_size):
        print(f"{id:>9}  {_shown(tokenizer, id)}")


def list_known(config: ListConfig) -> None:
    """列出知名词表与它们在本机的位置。"""
    print(f"folder: {vocabulary_folder()}\n")
    for name in KNOWN:
        try:
            print(f"{name:<8} {find_known(name)}")
        except DataError as error:
            print(f"{name:<8} not here: {error.fix}")


def _ends(size: int, count: int = 8) -> list[int]:
    return [*range(min(count, size)), *range(max(size - count, count), size)]


def _shown(tokenizer: Tokenizer, id: int) -> str:
    try:
        return repr(tokenizer.token_bytes(id).decode())
    except UnicodeDecodeError:
        return repr(tokenizer.token_bytes(id))
    except UserError:
        if 0 <= id < tokenizer.vocab_size:
            return "(unused id)"
        raise


def _check_folder(path: Path) -> None:
    """训练可能很久，先备好文件夹，确认写得下去。"""
    folder = path.absolute().parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make the folder: {error.strerror}", where=str(folder), fix="check the path") from error


def _read_text(path: Path | None) -> str:
    where = "standard input" if path is None else str(path)
    try:
        data = sys.stdin.buffer.read() if path is None else path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read the text: {error.strerror}", where=where, fix="check the path") from error
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError("the text is not UTF-8", where=f"{where}:{line}", fix="convert it to UTF-8") from error


def _read_ids() -> Iterator[int]:
    for line, text in enumerate(sys.stdin, start=1):
        for word in text.replace(",", " ").split():
            if len(word) > 18 or not word.lstrip("-").isdecimal():
                raise DataError(f"{word[:40]!r} is not an id", where=f"standard input:{line}", fix="give whole numbers")
            yield int(word)
