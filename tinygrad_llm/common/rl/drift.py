"""代价：练过之后离出发点多远（KL），出发点学过的文本忘了多少（每字节的比特）。

流入：一次强化学习的日志；流出：终端上的几行、网页上的表与 JSON。下一个文件：``curves.py``。
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tinygrad_llm.common.forgetting import LABELS, Forgetting, forgetting, watched_names
from tinygrad_llm.common.runlog import read_metrics

__all__ = ["HEADERS", "Drift", "drift_lines", "drift_of", "drift_rows", "drift_told"]

HEADERS = ["", "量什么", "训练前", "训练后", "差"]
_Z95 = 1.959963984540054


class Drift(NamedTuple):
    """一次训练的代价。

    Attributes:
        kl: 末尾离参考模型多远，每个回答几纳特。
        kl_error: 它的标准误差。
        answers: 由几个回答估得。
        texts: 文本的名字到训练前后的每字节比特；没有量成的不在内。
    """

    kl: float
    kl_error: float
    answers: int
    texts: Mapping[str, Forgetting]

    @property
    def kl_text(self) -> str:
        """KL 与它的 95 % 区间。"""
        half = _Z95 * self.kl_error
        return f"{self.kl:.4f} [{self.kl - half:.4f}, {self.kl + half:.4f}]"


def drift_of(folder: Path) -> Drift | None:
    """由日志得出；没有量过（较早的运行）为 ``None``。"""
    metrics = [dict(record) for record in read_metrics(folder)]
    measured = [record for record in metrics if "policy_kl" in record]
    if not measured:
        return None
    last = measured[-1]
    texts = {name: found for name in watched_names(metrics) if (found := forgetting(metrics, name))}
    return Drift(float(last["policy_kl"]), float(last["policy_kl_se"]), int(last["policy_kl_n"]), texts)


def drift_lines(drift: Drift) -> list[str]:
    """给终端看的几行。"""
    kl = f"KL to the reference: {drift.kl_text} nats per answer (n = {drift.answers} answers)"
    return [kl, *(f"forgetting: {found.describe(name)}" for name, found in drift.texts.items())]


def drift_rows(drifts: Mapping[str, Drift]) -> list[Sequence[Any]]:
    """网页上的各行，与 ``HEADERS`` 对应。"""
    rows: list[Sequence[Any]] = []
    for run, drift in drifts.items():
        rows.append([run, f"离参考模型的 KL（纳特每个回答，n = {drift.answers}）", "0", drift.kl_text, ""])
        for name, found in drift.texts.items():
            before, after = found.old_before, found.old_after
            label = f"{LABELS.get(name, name)}的 bits/byte"
            rows.append([run, label, f"{before:.4f}", f"{after:.4f}", f"{after / before - 1:+.1%}"])
    return rows


def drift_told(drift: Drift) -> dict[str, Any]:
    """写进 JSON 的。"""
    texts = {name: {"before": found.old_before, "after": found.old_after} for name, found in drift.texts.items()}
    return {"kl": drift.kl, "kl_se": drift.kl_error, "answers": drift.answers, "bits_per_byte": texts}
