"""遗忘曲线：新旧两个验证集在中段训练之前、途中与之后的 bits per byte。

流入：运行的日志；流出：一句总结与一张图。没有旧验证集的运行什么也没有。微调时旧数据可以有几份，各有名字。
下一个文件：``report.py``。
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tinygrad_llm.common.charts import Series, line_chart

__all__ = ["Forgetting", "forgetting", "forgetting_chart", "watched_names"]

NEW, OLD = "val_bits_per_byte", "old"
LABELS = {OLD: "旧数据", "pretraining": "预训练数据", "midtraining": "中段训练数据"}


class Forgetting(NamedTuple):
    """训练前后的 bits per byte。

    Attributes:
        old_before: 旧数据，训练之前。
        old_after: 旧数据，训练之后。
        new_before: 新数据，训练之前；没有新数据的方法（强化学习）为 NaN。
        new_after: 新数据，训练之后。
    """

    old_before: float
    old_after: float
    new_before: float = math.nan
    new_after: float = math.nan

    def describe(self, name: str = OLD) -> str:
        """一句话：旧数据变差（或变好）了百分之几，新数据呢。"""
        old = self.old_after / self.old_before - 1
        said = f"{name} data {self.old_before:.4f} to {self.old_after:.4f} bits/byte ({old:+.1%})"
        if math.isnan(self.new_before):
            return said
        new = self.new_after / self.new_before - 1
        return f"{said}, new data {self.new_before:.4f} to {self.new_after:.4f} ({new:+.1%})"


def watched_names(metrics: Sequence[Mapping[str, Any]]) -> list[str]:
    """日志里量过的各份旧数据的名字。"""
    found = (key.removeprefix(f"{NEW}_") for record in metrics for key in record if key.startswith(f"{NEW}_"))
    return list(dict.fromkeys(found))


def forgetting(metrics: Sequence[Mapping[str, Any]], name: str = OLD) -> Forgetting | None:
    """由日志得出训练前后的数字；没有量过这份旧数据时为 ``None``，没有新数据的只有旧的两个数。"""
    old = f"{NEW}_{name}"
    measured = [record for record in metrics if old in record]
    if not measured:
        return None
    first, last = measured[0], measured[-1]
    new = [float(one[NEW]) for one in (first, last) if NEW in one]
    return Forgetting(float(first[old]), float(last[old]), *(new if len(new) == 2 else ()))


def forgetting_chart(metrics: Sequence[Mapping[str, Any]]) -> str:
    """新旧几条曲线，横轴是做过的步数；没有量过旧数据时为空串。"""
    names = watched_names(metrics)
    measured = [record for record in metrics if any(f"{NEW}_{name}" in record for name in names)]
    keys = {NEW: "新数据", **{f"{NEW}_{name}": LABELS.get(name, name) for name in names}}
    curves = []
    for key, label in keys.items():
        kept = [(float(record["step"]) + 1, float(record[key])) for record in measured if key in record]
        if kept:
            curves.append(Series(label, [step for step, _ in kept], [value for _, value in kept]))
    if not measured:
        return ""
    return line_chart(curves, title="遗忘曲线", x_label="做过的步数", y_label="bits/byte")
