"""一次运行的全部事实，收成一个 JSON 写得下的字典：设置、环境、结果、守卫的计数、代价。

流入：运行文件夹；流出：``summarise`` 的字典，报告的网页、Markdown 与 JSON 都由它写成。哪一样没有记录就是空，从不猜。
下一个文件：``report.py`` 与 ``compare.py``。
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from tinygrad_llm.common.checkpoint import BEST, list_checkpoints, read_state
from tinygrad_llm.common.errors import CheckpointError, DataError
from tinygrad_llm.common.runlog import CONFIG, read_metrics, read_sessions
from tinygrad_llm.common.standing import read_early_stop

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["Metrics", "points", "settings_of", "summarise"]

Metrics = Sequence[Mapping[str, Any]]


def summarise(folder: Path, metrics: Metrics | None = None) -> dict[str, Any]:
    """收集一次运行的事实。

    Args:
        folder: 运行文件夹。
        metrics: 已经读出的日志；不给就在这里读。

    Returns:
        ``run``、``steps``、``final``、``best``、``guard``、``early_stop``、``cost``、``sessions``、``settings`` 几项；
        数都是有限的，或为 ``None``。

    Raises:
        DataError: 日志缺失或损坏。
    """
    found = read_metrics(folder) if metrics is None else metrics
    sessions = read_sessions(folder)
    _, steps = points(found, "step")
    return {
        "run": folder.resolve().name,
        "steps": int(max(steps)) + 1 if steps else 0,
        "final": {
            name: _last(found, name)
            for name in ("loss", "val_loss", "val_perplexity", "val_bits_per_byte", "grad_norm")
        },
        "best": _best(folder, found),
        "guard": _guard(folder, found),
        "early_stop": read_early_stop(folder) or None,
        "cost": _cost(found, sessions),
        "sessions": sessions,
        "settings": settings_of(folder),
    }


def points(metrics: Metrics, name: str) -> tuple[list[float], list[float]]:
    """一个名字的全部记录：步号与数值；不是数的略去。"""
    kept = [
        (float(record["step"]), float(record[name]))
        for record in metrics
        if isinstance(record.get(name), int | float) and not isinstance(record[name], bool)
    ]
    return [step for step, _ in kept], [value for _, value in kept]


def settings_of(folder: Path) -> dict[str, Any]:
    """``config.toml`` 里的设置；没有或读不懂为空。"""
    try:
        return tomllib.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}


def _finite(metrics: Metrics, name: str) -> list[tuple[float, float]]:
    return [(step, value) for step, value in zip(*points(metrics, name), strict=True) if math.isfinite(value)]


def _last(metrics: Metrics, name: str) -> float | None:
    found = _finite(metrics, name)
    return found[-1][1] if found else None


def _best(folder: Path, metrics: Metrics) -> dict[str, Any] | None:
    """验证损失最低的一次评估；``is_kept``：它的检查点留着。"""
    found = [(value, int(step) + 1) for step, value in _finite(metrics, "val_loss")]
    if not found:
        return None
    loss, step = min(found)
    is_kept = step in list_checkpoints(folder)
    return {"step": step, "val_loss": loss, "is_kept": is_kept, "has_pointer": (folder / BEST).is_file()}


def _guard(folder: Path, metrics: Metrics) -> dict[str, Any]:
    """守卫的计数取自最近的检查点；它之后的，从日志里数。"""
    try:
        state = read_state(folder)
    except (CheckpointError, DataError):
        state = {}
    kept = state.get("guard")
    guard = kept if isinstance(kept, dict) else {}
    saved = state.get("step")
    later = [record for record in metrics if record["step"] >= (saved if type(saved) is int else 0)]
    return {
        "non_finite": _whole(guard, "non_finite") + sum(record.get("skipped") == "non-finite" for record in later),
        "spikes": _whole(guard, "spikes") + sum(record.get("skipped") == "spike" for record in later),
        "rollbacks": _whole(guard, "rollbacks"),
        "skipped_batches": guard.get("windows", []),
    }


def _whole(values: Mapping[str, Any], name: str) -> int:
    value = values.get(name)
    return value if type(value) is int else 0


def _cost(metrics: Metrics, sessions: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """时间、token 与浮点运算次数；走过又重走的步不算。能耗没有量过，不写。"""
    seconds = [value for _, value in _finite(metrics, "elapsed_s")]
    evaluation = [value for _, value in _finite(metrics, "eval_s")]
    time_of, mfu_of, speed_of = (dict(_finite(metrics, name)) for name in ("elapsed_s", "mfu", "tokens_per_s"))
    counts = [speed * time_of[step] for step, speed in speed_of.items() if step in time_of]
    used = [mfu * time_of[step] * _peak(sessions, step) for step, mfu in mfu_of.items() if step in time_of]
    return {
        "training_s": sum(seconds) if seconds else None,
        "evaluation_s": sum(evaluation) if evaluation else None,
        "tokens": round(sum(counts)) if counts else None,
        "flops": float(round(sum(used))) if used and math.isfinite(sum(used)) else None,
        "tokens_per_s": _median(metrics, "tokens_per_s"),
        "mfu": _median(metrics, "mfu"),
        "peak_flops_per_s": _constant(sessions, "peak_flops_per_s"),
        "peak_memory_bytes": max((int(value) for _, value in _finite(metrics, "memory_bytes")), default=None),
    }


def _peak(sessions: Sequence[Mapping[str, Any]], step: float) -> float:
    """做第 ``step`` 步的那一回量到的峰值；没有记录为 NaN。"""
    found = [one.get("peak_flops_per_s") for one in sessions if one.get("step", 0) <= step]
    return found[-1] if found and type(found[-1]) is float else math.nan


def _constant(sessions: Sequence[Mapping[str, Any]], name: str) -> float | None:
    """最近一回的记录里的一个数。"""
    found = [session[name] for session in sessions if type(session.get(name)) in (int, float)]
    return found[-1] if found else None


def _median(metrics: Metrics, name: str) -> float | None:
    found = [value for _, value in _finite(metrics, name)]
    return median(found) if found else None
