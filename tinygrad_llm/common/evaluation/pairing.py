"""两份成绩逐题相比：题的难易对两边一样，相减就抵消了。

流入：两份成绩；流出：各项的差、区间与 p 值。下一个文件：``card.py``。

只比题目（或文本）的摘要相同的各项。差的区间由各题成对重抽，p 值来自符号置换检验；都是对错两值的，另报 McNemar 的
精确检验：只看两边不同的题，其中谁赢得多。
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygrad_llm.common.scoring import paired_difference, paired_p_value
from tinygrad_llm.common.scoring.ratios import paired_ratio_difference

__all__ = ["compare_results", "mcnemar"]


def compare_results(first: dict[str, Any], second: dict[str, Any]) -> list[dict[str, Any]]:
    """后一份减前一份。

    Args:
        first: 前一份成绩。
        second: 后一份。

    Returns:
        一项一个字典：``name``、``unit``、``first``、``second``、``difference``、``low``、``high``、``n``，
        与（任务才有的）``p``、``mcnemar``。
    """
    found = []
    for name, (a, b) in _shared(first["texts"], second["texts"]):
        columns = [(np.array(one["blocks"]["nats"]) / math.log(2), np.array(one["blocks"]["bytes"])) for one in (a, b)]
        gap = paired_ratio_difference(columns[0], columns[1])
        found.append(_row(name, "bits/byte", a["bits_per_byte"], b["bits_per_byte"], gap))
    for name, (a, b) in _shared(first["tasks"], second["tasks"]):
        if a["kind"] == "judge":
            continue
        ours, theirs = np.array(a["items"]["values"]), np.array(b["items"]["values"])
        row = _row(name, "accuracy", float(ours.mean()), float(theirs.mean()), paired_difference(ours, theirs))
        row["p"] = paired_p_value(ours, theirs)
        if set(ours.tolist()) | set(theirs.tolist()) <= {0.0, 1.0}:
            row["mcnemar"] = mcnemar(int(((ours == 1) & (theirs == 0)).sum()), int(((ours == 0) & (theirs == 1)).sum()))
        found.append(row)
    return found


def mcnemar(only_first: int, only_second: int) -> float:
    """McNemar 的精确检验（双侧）：两边不同的题里，胜负各半的话，差到这个地步的概率。

    Args:
        only_first: 只有前一个对的题数。
        only_second: 只有后一个对的题数。

    Returns:
        p 值；没有不同的题时为 1。
    """
    n, less = only_first + only_second, min(only_first, only_second)
    tail = sum(math.comb(n, i) for i in range(less + 1))
    return min(1.0, 2 * tail / 2**n) if n else 1.0


def _shared(first: dict[str, Any], second: dict[str, Any]) -> list[tuple[str, tuple[Any, Any]]]:
    return [
        (name, (one, second[name]))
        for name, one in first.items()
        if name in second and second[name]["digest"] == one["digest"] and second[name]["kind"] == one["kind"]
    ]


def _row(name: str, unit: str, first: float, second: float, gap: Any) -> dict[str, Any]:
    return {
        "name": name, "unit": unit, "first": first, "second": second, "difference": gap.value, "low": gap.low,
        "high": gap.high, "n": gap.n,
    }  # fmt: skip
