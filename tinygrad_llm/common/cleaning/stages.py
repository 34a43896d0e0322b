"""阶段：每个都是纯函数，文档流进、文档流出，顺手把去掉与改动的缘由记进账目。

流入：文档与设置；流出：留下的文档与各阶段的账目。下一个文件：``shard.py``（一个分片走完全部阶段）。

这里的阶段只看一份文档；要看过全部文档的 ``exact`` 与 ``near`` 在 ``dedup.py``。
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from tinygrad_llm.common.cleaning.config import CleanConfig
from tinygrad_llm.common.cleaning.decontaminate import Leaks, find_leak
from tinygrad_llm.common.cleaning.filters import language_reason, length_reason, repetition_reason, symbols_reason
from tinygrad_llm.common.cleaning.normalise import normalise
from tinygrad_llm.common.cleaning.pii import scrub
from tinygrad_llm.common.cleaning.tally import Tally
from tinygrad_llm.common.corpora.document import Document

__all__ = ["Stage", "Verdict", "document_stages", "run_stage", "run_stages"]


class Verdict(NamedTuple):
    """一个阶段对一份文字的裁决。

    Attributes:
        text: 留下的文字，可以改过；``None`` 是去掉。
        reasons: 理由到次数；原样放行时为空。
        evidence: 去掉它的缘由，写进报告的例子。
    """

    text: str | None
    reasons: Mapping[str, int] = {}
    evidence: str = ""


class Stage(NamedTuple):
    """一个只看单份文档的阶段。

    Attributes:
        name: 名字，也是账目的键。
        judge: 从文字到裁决的纯函数。
    """

    name: str
    judge: Callable[[str], Verdict]


def document_stages(config: CleanConfig, leaks: Leaks | None = None) -> list[Stage]:
    """按设置造出各阶段，次序同 ``config.stages``。

    Args:
        config: 设置。
        leaks: 考题的索引；没有就没有 ``decontaminate`` 这一阶段。

    Returns:
        各阶段，不含 ``exact`` 与 ``near``。
    """
    judges: dict[str, Callable[[str], Verdict]] = {
        "normalise": lambda text: _normalised(text, config),
        "length": lambda text: _filtered(text, length_reason(text, config.length)),
        "symbols": lambda text: _filtered(text, symbols_reason(text, config.symbols)),
        "repetition": lambda text: _filtered(text, repetition_reason(text, config.repetition)),
        "language": lambda text: _filtered(text, language_reason(text, config.language)),
        "pii": lambda text: _scrubbed(text, config),
    }
    if leaks is not None:
        judges["decontaminate"] = partial(_decontaminated, leaks=leaks)
    return [Stage(name, judges[name]) for name in config.stages if name in judges]


def run_stage(stage: Stage, documents: Iterable[Document], tally: Tally) -> Iterator[Document]:
    """让文档流过一个阶段。

    Args:
        stage: 阶段。
        documents: 文档流。
        tally: 账目，边走边记。

    Yields:
        留下的文档；没有改动的就是原来的对象。
    """
    for document in documents:
        verdict = stage.judge(document.text)
        tally.record(document.source, document.text, verdict.text, verdict.reasons, verdict.evidence)
        if verdict.text is None:
            continue
        yield document if verdict.text == document.text else replace(document, text=verdict.text)


def run_stages(stages: Sequence[Stage], documents: Iterable[Document], tallies: dict[str, Tally]) -> Iterator[Document]:
    """让文档依次流过各阶段，一次只有一份文档在手。

    Args:
        stages: 各阶段，按次序。
        documents: 文档流。
        tallies: 阶段名到账目；没有的会添上。

    Returns:
        留下的文档流。
    """
    stream = iter(documents)
    for stage in stages:
        stream = run_stage(stage, stream, tallies.setdefault(stage.name, Tally()))
    return stream


def _normalised(text: str, config: CleanConfig) -> Verdict:
    text, done = normalise(text, config.normalise)
    return Verdict(text, dict.fromkeys(done, 1))


def _filtered(text: str, reason: str) -> Verdict:
    return Verdict(None, {reason: 1}) if reason else Verdict(text)


def _decontaminated(text: str, leaks: Leaks) -> Verdict:
    leak = find_leak(text, leaks)
    return Verdict(None, {"holds a test item": 1}, leak) if leak else Verdict(text)


def _scrubbed(text: str, config: CleanConfig) -> Verdict:
    text, counts = scrub(text, config.pii.kinds)
    return Verdict(text, Counter({f"{kind} replaced": count for kind, count in counts.items()}))
