"""微调的结果：训练前后答对几成（有多大把握），旧数据忘了多少。

流入：运行的日志；流出：几行给人看的话。由日志而来，所以续训过的运行也说得清训练之前的样子。
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tinygrad_llm.common.forgetting import forgetting, watched_names
from tinygrad_llm.common.scoring.intervals import wilson_interval

__all__ = ["outcome"]

RATES = {"exact_match": "exact match", "accuracy": "accuracy"}
"""几成的数字：日志里的名字到给人看的名字；题数记在 ``名字_n``。"""

Metrics = Sequence[Mapping[str, Any]]


def outcome(metrics: Metrics) -> list[str]:
    """结果，一行一样。

    Args:
        metrics: 运行的日志。
    """
    lines = []
    for name, label in RATES.items():
        measured = [record for record in metrics if name in record]
        if measured:
            before, after = (_rate(record, name) for record in (measured[0], measured[-1]))
            lines.append(f"{label}: {before} before, {after} after (n = {int(measured[-1][name + '_n'])})")
    baselines = [float(record["bag_of_words"]) for record in metrics if "bag_of_words" in record]
    lines += [f"bag of words: {rate:.1%}" for rate in baselines[-1:]]
    losses = [float(record["val_loss"]) for record in metrics if "val_loss" in record]
    if lines and losses:
        lines.append(f"held-out loss: {losses[0]:.4f} before, {losses[-1]:.4f} after")
    return lines + [found.describe(name) for name in watched_names(metrics) if (found := forgetting(metrics, name))]


def _rate(record: Mapping[str, Any], name: str) -> str:
    n = int(record[f"{name}_n"])
    found = wilson_interval(round(float(record[name]) * n), n)
    return f"{found.value:.1%} [{found.low:.1%}, {found.high:.1%}]"
