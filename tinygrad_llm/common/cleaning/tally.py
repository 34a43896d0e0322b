"""账目：每个阶段看过、改过、去掉了多少，为什么，以及几个看得见的例子。

流入：各阶段的裁决；流出：可以按次序相加、写成 JSON 的账目。按分片的次序相加，所以与用几个进程无关。
下一个文件：``stages.py``。
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = ["Example", "Tally"]

MAX_EXAMPLES = 3
CLIP = 420
LEAD = 80


@dataclass(frozen=True)
class Example:
    """一个例子：改动之前与之后的同一处，或被去掉的文档与去掉它的缘由。

    Attributes:
        source: 文档的出处。
        before: 改动之前，截短过。
        after: 改动之后；文档被去掉时是缘由（重复的另一份、命中的考题），可以为空。
        is_removed: 文档是不是被去掉了。
    """

    source: str
    before: str
    after: str
    is_removed: bool


@dataclass
class Tally:
    """一个阶段的账目。

    Attributes:
        seen: 看过几份文档。
        changed: 改了几份（不含去掉的）。
        removed: 去掉几份。
        chars_in: 进来多少字符。
        chars_out: 留下多少字符。
        reasons: 理由到次数；一份文档可以有几种改动。
        examples: 理由到头几个例子。
    """

    seen: int = 0
    changed: int = 0
    removed: int = 0
    chars_in: int = 0
    chars_out: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[Example]] = field(default_factory=dict)

    def record(
        self, source: str, before: str, after: str | None, reasons: Mapping[str, int], evidence: str = ""
    ) -> None:
        """记一份文档。

        Args:
            source: 出处。
            before: 进来的文字。
            after: 出去的文字；去掉了就是 ``None``。
            reasons: 理由到次数；原样放行时为空。
            evidence: 去掉它的缘由，写进例子。
        """
        self.seen += 1
        self.chars_in += len(before)
        self.chars_out += 0 if after is None else len(after)
        if not reasons:
            return
        self.removed += after is None
        self.changed += after is not None
        self.reasons.update(reasons)
        for reason in reasons:
            shown = self.examples.setdefault(reason, [])
            if len(shown) < MAX_EXAMPLES:
                shown.append(_example(source, before, after, evidence))

    def merge(self, other: Tally) -> None:
        """并入后面一个分片的账目。"""
        for name in ("seen", "changed", "removed", "chars_in", "chars_out"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.reasons.update(other.reasons)
        for reason, examples in other.examples.items():
            shown = self.examples.setdefault(reason, [])
            shown += examples[: MAX_EXAMPLES - len(shown)]

    def to_json(self) -> dict[str, Any]:
        """写成 JSON 能表示的字典。"""
        examples = {reason: [asdict(one) for one in shown] for reason, shown in self.examples.items()}
        return {**vars(self), "examples": examples}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Tally:
        """由 ``to_json`` 的结果复原。"""
        examples = {reason: [Example(**one) for one in shown] for reason, shown in content["examples"].items()}
        return cls(**{**content, "reasons": Counter(content["reasons"]), "examples": examples})


def _example(source: str, before: str, after: str | None, evidence: str) -> Example:
    if after is None:
        return Example(source, _clipped(before, 0), _clipped(evidence, 0), is_removed=True)
    pairs = enumerate(zip(before, after, strict=False))
    same = next((place for place, (old, new) in pairs if old != new), min(len(before), len(after)))
    start = max(same - LEAD, 0)
    return Example(source, _clipped(before, start), _clipped(after, start), is_removed=False)


def _clipped(text: str, start: int) -> str:
    part = text[start : start + CLIP].encode("utf-8", "replace").decode()  # 孤立的代理项写不进 UTF-8
    return ("…" if start else "") + part + ("…" if len(text) > start + CLIP else "")
