"""指标：计数与直方图，写成 Prometheus 的文本。

流入：各处的「又一次」；流出：``/metrics`` 的内容。只在事件循环里写，读的时候也在那里，所以不用锁。
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping

__all__ = ["LATENCIES", "Counter", "Histogram", "gauge_text"]

LATENCIES = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
"""直方图各格的上界，秒。"""


class Counter:
    """只增不减的数，按标签分开。

    Args:
        name: 名字，以 ``_total`` 结尾。
        about: 一句说明。
        labels: 标签的名字。
    """

    def __init__(self, name: str, about: str, labels: tuple[str, ...] = ()) -> None:
        self.name, self.about, self.labels = name, about, labels
        self.values: dict[tuple[str, ...], float] = {}

    def add(self, *labels: str, amount: float = 1) -> None:
        """增加。"""
        self.values[labels] = self.values.get(labels, 0) + amount

    def text(self) -> list[str]:
        """Prometheus 的几行。"""
        lines = _head(self.name, self.about, "counter")
        return lines + [
            f"{self.name}{_labels(dict(zip(self.labels, key, strict=True)))} {_shown(value)}"
            for key, value in sorted(self.values.items())
        ]


class Histogram:
    """各次的长短，按标签分开。

    Args:
        name: 名字，以 ``_seconds`` 结尾。
        about: 一句说明。
        labels: 标签的名字。
    """

    def __init__(self, name: str, about: str, labels: tuple[str, ...] = ()) -> None:
        self.name, self.about, self.labels = name, about, labels
        self.counts: dict[tuple[str, ...], list[int]] = {}
        self.sums: dict[tuple[str, ...], float] = {}

    def observe(self, seconds: float, *labels: str) -> None:
        """又一次。"""
        counts = self.counts.setdefault(labels, [0] * (len(LATENCIES) + 1))
        counts[bisect_left(LATENCIES, seconds)] += 1
        self.sums[labels] = self.sums.get(labels, 0.0) + seconds

    def text(self) -> list[str]:
        """Prometheus 的几行。"""
        lines = _head(self.name, self.about, "histogram")
        for key, counts in sorted(self.counts.items()):
            named, running = dict(zip(self.labels, key, strict=True)), 0
            for bound, count in zip((*map(str, LATENCIES), "+Inf"), counts, strict=True):
                running += count
                lines.append(f"{self.name}_bucket{_labels({**named, 'le': bound})} {running}")
            lines.append(f"{self.name}_sum{_labels(named)} {_shown(self.sums[key])}")
            lines.append(f"{self.name}_count{_labels(named)} {running}")
        return lines


def gauge_text(name: str, about: str, values: Iterable[tuple[Mapping[str, str], float]]) -> list[str]:
    """眼下的数：一行一组标签。"""
    return _head(name, about, "gauge") + [f"{name}{_labels(labels)} {_shown(value)}" for labels, value in values]


def _head(name: str, about: str, kind: str) -> list[str]:
    return [f"# HELP {name} {about}", f"# TYPE {name} {kind}"]


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items()) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _shown(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)
