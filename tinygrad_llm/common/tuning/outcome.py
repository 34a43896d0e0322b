"""微调的结果：训练前后答对几成（有多大把握），偏好学到多少、离出发点多远，旧数据忘了多少。

流入：运行的日志与 ``quiz.json``；流出：几行给人看的话。由日志而来，所以续训过的运行也说得清训练之前的样子。
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tinygrad_llm.common.forgetting import forgetting, watched_names
from tinygrad_llm.common.scoring.intervals import Z95, wilson_interval
from tinygrad_llm.common.tuning.quiz_log import change_line, task_table

__all__ = ["outcome"]

RATES = {"exact_match": "exact match", "accuracy": "accuracy"}
"""几成的数字：日志里的名字到给人看的名字；题数记在 ``名字_n``。"""
PLAIN = {
    "val_margin": "reward margin",
    "val_pair_accuracy": "pairs ranked right",
    "val_answer_accuracy": "answers judged right",
    "val_kl": "KL on the held-out answers (nats/token)",
}
"""偏好与奖励模型的数字，都在留作评估的数据上。"""
OWN_KL = "policy_kl"

Metrics = Sequence[Mapping[str, Any]]


def outcome(metrics: Metrics, folder: Path | None = None) -> list[str]:
    """结果，一行一样。

    Args:
        metrics: 运行的日志。
        folder: 运行文件夹；给了它，就另有逐题配对的差与各题型的表。
    """
    lines = []
    for name, label in RATES.items():
        measured = [record for record in metrics if name in record]
        if measured:
            before, after = (_rate(record, name) for record in (measured[0], measured[-1]))
            lines.append(f"{label}: {before} before, {after} after (n = {int(measured[-1][name + '_n'])})")
    if folder is not None:
        lines += filter(None, [change_line(folder)])
    baselines = [float(record["bag_of_words"]) for record in metrics if "bag_of_words" in record]
    lines += [f"bag of words: {rate:.1%}" for rate in baselines[-1:]]
    chances = [float(record["chance"]) for record in metrics if "chance" in record]
    lines += [f"always the largest class: {rate:.1%}" for rate in chances[-1:]]
    lines += _preferences(metrics)
    losses = [float(record["val_loss"]) for record in metrics if "val_loss" in record]
    if lines and losses:
        lines.append(f"held-out loss: {losses[0]:.4f} before, {losses[-1]:.4f} after")
    lines += [found.describe(name) for name in watched_names(metrics) if (found := forgetting(metrics, name))]
    return lines + ([] if folder is None else task_table(folder))


def _preferences(metrics: Metrics) -> list[str]:
    """偏好的几个数字，训练前后；没有量过的略去。"""
    lines = []
    for name, label in PLAIN.items():
        values = [float(record[name]) for record in metrics if name in record]
        if values:
            lines.append(f"{label}: {values[0]:.4f} before, {values[-1]:.4f} after")
    measured = [record for record in metrics if OWN_KL in record]
    if measured:
        last = measured[-1]
        value, half = float(last[OWN_KL]), Z95 * float(last[f"{OWN_KL}_se"])
        lines.append(
            f"KL on its own answers: {value:.3f} nats/answer [{value - half:.3f}, {value + half:.3f}] "
            f"(n = {int(last[f'{OWN_KL}_n'])})"
        )
    return lines


def _rate(record: Mapping[str, Any], name: str) -> str:
    n = int(record[f"{name}_n"])
    found = wilson_interval(round(float(record[name]) * n), n)
    return f"{found.value:.1%} [{found.low:.1%}, {found.high:.1%}]"
