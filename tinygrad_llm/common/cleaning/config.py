"""清洗的设置：有哪些阶段，按什么次序，各自的阈值。

流入：命令行的 flag 或 TOML 文件；流出：校验过的 ``CleanConfig``。下一个文件：``stages.py``（由设置造出各阶段）。
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from tinygrad_llm.common.errors import UserError

__all__ = [
    "GLOBAL_STAGES",
    "PII_KINDS",
    "STAGES",
    "CleanConfig",
    "DecontaminateConfig",
    "LanguageConfig",
    "LengthConfig",
    "NearConfig",
    "NormaliseConfig",
    "PiiConfig",
    "RepetitionConfig",
    "SymbolsConfig",
]

GLOBAL_STAGES = ("exact", "near")
"""要看过全部文档才能决定去留的阶段；它们排在最后。"""
STAGES = ("normalise", "length", "symbols", "repetition", "language", "decontaminate", "pii", *GLOBAL_STAGES)
"""全部阶段，按默认的次序。先去污染再抹个人信息，于是考题里的数字还在，认得出来。"""
PII_KINDS = ("key", "email", "iban", "id", "card", "ip", "phone")
MIN_RECALL = 0.95


@dataclass(frozen=True)
class NormaliseConfig:
    """规整。"""

    html: bool = True
    """像 HTML 的文档变成文字。"""
    max_blank_lines: int = 2
    """连续的空行至多留几行；Python 的函数之间空两行。"""


@dataclass(frozen=True)
class LengthConfig:
    """长度。"""

    min_chars: int = 50
    """少于几个字符的文档去掉；汉字算两个，因为一个汉字的内容约等于两三个字母。"""
    max_chars: int = 2_000_000
    """多于几个字符的文档去掉；处理一份文档要用的内存约为它的一百倍。"""


@dataclass(frozen=True)
class SymbolsConfig:
    """字符的组成，占非空白字符的比例。"""

    max_symbols: float = 0.6
    """既不是字母也不是数字的字符至多占多少；源代码约为 0.25。"""
    max_digits: float = 0.6
    """数字至多占多少；更多的多半是数据表。"""
    max_long_words: float = 0.4
    """超过 100 个字母连成的「词」至多占多少；更多的多半是 base64 或压缩过的代码。"""


@dataclass(frozen=True)
class RepetitionConfig:
    """篇内的重复；每个比例都是「第二次及以后的出现」占全文的份额。"""

    max_lines: float = 0.5
    """重复的行至多占多少字符；不足 20 个字符的短行不算，代码里它们总是重复。"""
    max_paragraphs: float = 0.4
    """重复的段落至多占多少字符。"""
    max_ngrams: float = 0.5
    """落在重复的 10 词组里的词至多占多少。"""
    max_top_word: float = 0.3
    """最常见的一个词至多占多少；不足 50 个词的文档不看。"""


@dataclass(frozen=True)
class LanguageConfig:
    """语言。"""

    keep: tuple[str, ...] = ()
    """只留这些语言，如 en zh；空的就全留。"""
    keep_unknown: bool = True
    """认不出语言的（太短，或几乎没有文字）也留。"""


@dataclass(frozen=True)
class DecontaminateConfig:
    """去掉含有考题的文档。"""

    test_sets: tuple[Path, ...] = ()
    """考题文件：.jsonl（其中每个字符串是一条）或文本（每行一条），可以是 .gz；没有给就没有这一阶段。"""
    ngram: int = 13
    """文档里有考题的连续几个词就算泄漏；比这短的考题要整条出现。"""
    min_words: int = 6
    """比这更短的一条不查：「不知道」之类的话谁都会说。"""


@dataclass(frozen=True)
class PiiConfig:
    """个人信息。"""

    kinds: tuple[str, ...] = PII_KINDS
    """抹去哪几种：key email iban id card ip phone。"""


@dataclass(frozen=True)
class NearConfig:
    """近似重复：MinHash-LSH 找出候选，再算真正的 Jaccard 相似度。"""

    threshold: float = 0.8
    """相似度至少多少算重复。"""
    shingle: int = 5
    """几个词一组。"""
    bands: int = 20
    """签名分成几段；任何一段相同的两份是候选。"""
    rows: int = 6
    """每段几个最小值；每份文档存 8·bands 字节。"""

    @property
    def recall(self) -> float:
        """相似度恰为阈值的一对成为候选的概率：1 - (1 - s^rows)^bands。"""
        return float(1 - (1 - self.threshold**self.rows) ** self.bands)


@dataclass(frozen=True)
class CleanConfig:
    """一次清洗的全部设置；同样的设置与输入总给出同样的文件。"""

    stages: tuple[str, ...] = STAGES
    """要哪些阶段，按次序；exact 与 near 只能排在最后。"""
    normalise: NormaliseConfig = field(default_factory=NormaliseConfig)
    """规整。"""
    length: LengthConfig = field(default_factory=LengthConfig)
    """长度。"""
    symbols: SymbolsConfig = field(default_factory=SymbolsConfig)
    """符号。"""
    repetition: RepetitionConfig = field(default_factory=RepetitionConfig)
    """重复。"""
    language: LanguageConfig = field(default_factory=LanguageConfig)
    """语言。"""
    decontaminate: DecontaminateConfig = field(default_factory=DecontaminateConfig)
    """去污染。"""
    pii: PiiConfig = field(default_factory=PiiConfig)
    """个人信息。"""
    near: NearConfig = field(default_factory=NearConfig)
    """近似重复。"""

    def __post_init__(self) -> None:
        if problems := self.problems():
            raise UserError("bad cleaning settings: " + "; ".join(problems), fix="correct these settings")

    def problems(self) -> list[str]:
        """各项设置里不对的地方，一句一条。"""
        found = _name_problems(self)
        counts = {
            "normalise.max_blank_lines": (self.normalise.max_blank_lines, 0),
            "length.min_chars": (self.length.min_chars, 0),
            "length.max_chars": (self.length.max_chars, max(self.length.min_chars, 1)),
            "decontaminate.ngram": (self.decontaminate.ngram, 2),
            "decontaminate.min_words": (self.decontaminate.min_words, 1),
            "near.shingle": (self.near.shingle, 1),
            "near.bands": (self.near.bands, 1),
            "near.rows": (self.near.rows, 1),
        }
        found += [f"{name} must be at least {least}, got {n}" for name, (n, least) in counts.items() if n < least]
        for section in (self.symbols, self.repetition):
            for name, value in vars(section).items():
                if not 0 < value <= 1:
                    found.append(f"{type(section).__name__}.{name} must lie in (0, 1], got {value}")
        if not 0 < self.near.threshold <= 1:
            found.append(f"near.threshold must lie in (0, 1], got {self.near.threshold}")
        elif not found and self.near.recall < MIN_RECALL:
            found.append(
                f"near finds only {self.near.recall:.0%} of pairs at its threshold: use more bands or fewer rows"
            )
        return found


def _name_problems(config: CleanConfig) -> list[str]:
    found = [f"unknown stage {name!r}, use {' '.join(STAGES)}" for name in config.stages if name not in STAGES]
    if len(set(config.stages)) < len(config.stages):
        found.append("a stage is named twice")
    is_global = [name in GLOBAL_STAGES for name in config.stages]
    if is_global != sorted(is_global):
        found.append("exact and near must come last")
    found += [
        f"unknown pii kind {kind!r}, use {' '.join(PII_KINDS)}" for kind in config.pii.kinds if kind not in PII_KINDS
    ]
    return found
