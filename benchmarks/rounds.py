"""一轮一轮地交替着量：每一轮里每个系统各做一回，轮流先做；被别的程序打扰的那一回作废。

流入：已经就绪的系统；流出：中位数、四分位，以及与参照系统逐轮相比的比值。机器忽快忽慢时各个系统同受影响，所以比值比
中位数可信。一个系统算的时候别的都在等，互不争抢。
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from benchmarks import memory, quiet
from benchmarks.processes import Worker

T = TypeVar("T")

TURN_S = 0.25
"""一回至少量这么久：时钟滴答记账的误差才显得小；一步太短就连做几步取平均。"""
EXTRA = 2
"""被打扰的回数太多时，至多做到预定的这么多倍。"""
ENOUGH = 3
"""没被打扰的回数不足这么多，就把全部的都算上，并标明 ``noisy``。"""
MEMORY_STEPS = 2


@dataclass(frozen=True)
class Turn:
    """一个系统的一回。

    Attributes:
        elapsed_s: 平均每步的秒数。
        foreign_share: 别人占去的核时比例；操作系统不说就是 ``None``。
        is_disturbed: 是否该作废。
    """

    elapsed_s: float
    foreign_share: float | None = None
    is_disturbed: bool = False


Round = Mapping[str, Turn]


@dataclass(frozen=True)
class Plan:
    """量多少回。

    Attributes:
        steps: 每个系统要多少回没被打扰的。
        budget_s: 一个系统至多量这么久；慢的系统因此少量几回，但不少于两回。
        patience_s: 每一回之前，最多等机器静下来这么多秒。
    """

    steps: int
    budget_s: float = math.inf
    patience_s: float = 0.0

    def turns(self, elapsed_s: float) -> int:
        """每步要 ``elapsed_s`` 的系统该做几回。"""
        return min(self.steps, max(2, int(self.budget_s / max(elapsed_s, TURN_S))))


def take_turn(worker: Worker, repeats: int) -> Turn:
    """让一个系统做一回，同时看有没有别人在用 CPU。"""
    before = quiet.read(worker.pids)
    elapsed_s = worker.ask(repeats)["elapsed_s"]
    found = quiet.share(before, quiet.read(worker.pids))
    if found is None:
        return Turn(elapsed_s)
    return Turn(elapsed_s, found.foreign_s / max(found.capacity_s, 1e-9), found.is_disturbed)


def interleave(
    workers: Sequence[Worker],
    step_s: Mapping[str, float],
    plan: Plan,
    reference: str,
    tell: Callable[[str], None] = lambda text: None,
) -> list[Round]:
    """交替着量。

    Args:
        workers: 各个系统，已经热过身。
        step_s: 各系统大约要多少秒一步，由热身得知。
        plan: 量多少回。
        reference: 与谁相比；它每轮都在场。
        tell: 报告进度。

    Returns:
        各轮；慢的系统只出现在前几轮里。
    """
    repeats = {worker.name: max(1, math.ceil(TURN_S / max(step_s[worker.name], 1e-6))) for worker in workers}
    left = {worker.name: plan.turns(step_s[worker.name]) for worker in workers}
    at_most = {name: EXTRA * count for name, count in left.items()}
    rounds: list[Round] = []
    while waiting := {name for name, count in left.items() if count > 0 and at_most[name] > 0}:
        index, found = len(rounds), {}
        for worker in rotated([one for one in workers if one.name in waiting | {reference}], index):
            quiet.settle(plan.patience_s)
            turn = found[worker.name] = take_turn(worker, repeats[worker.name])
            at_most[worker.name] -= 1
            left[worker.name] -= not turn.is_disturbed
        rounds.append(found)
        times = ", ".join(f"{name} {1e3 * turn.elapsed_s:.4g} ms" for name, turn in found.items())
        tell(f"round {index + 1}: {times}")
    return rounds


def rotated(items: Sequence[T], index: int) -> list[T]:
    """第 ``index`` 轮的次序：轮流先走，偶数圈正着来、奇数圈倒着来，免得谁总跟在谁后面。"""
    turned = index // max(len(items), 1) % 2
    order = list(reversed(items)) if turned else list(items)
    first = index % max(len(items), 1)
    return order[first:] + order[:first]


def summary(rounds: Sequence[Round], name: str, reference: str) -> dict[str, Any]:
    """一个系统的统计。

    Args:
        rounds: 各轮。
        name: 哪个系统。
        reference: 与谁相比；不在其中时没有比值。

    Returns:
        ``median_s``、``quartiles_s``、``ratio``（逐轮比值的中位数，或 ``None``）、``turns_s``、``foreign_share``、
        ``kept``、``dropped`` 与 ``noisy``。
    """
    turns = [one[name] for one in rounds if name in one]
    clean = [turn for turn in turns if not turn.is_disturbed]
    is_noisy = len(clean) < min(ENOUGH, len(turns))
    kept = turns if is_noisy else clean
    times = [turn.elapsed_s for turn in kept]
    ratio, is_ratio_noisy = _ratio(rounds, name, reference)
    return {
        "median_s": statistics.median(times),
        "quartiles_s": quartiles(times),
        "ratio": ratio,
        "turns_s": [turn.elapsed_s for turn in turns],
        "foreign_share": [turn.foreign_share for turn in turns],
        "kept": len(kept),
        "dropped": len(turns) - len(kept),
        "noisy": is_noisy or is_ratio_noisy,
    }


def _ratio(rounds: Sequence[Round], name: str, reference: str) -> tuple[float | None, bool]:
    """逐轮比值的中位数，以及它是不是由受打扰的轮算出来的。"""
    pairs = [(one[name], one[reference]) for one in rounds if name in one and reference in one]
    clean = [(a, b) for a, b in pairs if not a.is_disturbed and not b.is_disturbed]
    is_noisy = len(clean) < min(ENOUGH, len(pairs))
    ratios = [a.elapsed_s / b.elapsed_s for a, b in (pairs if is_noisy else clean)]
    return (statistics.median(ratios) if ratios else None), is_noisy


def quartiles(values: Sequence[float]) -> list[float]:
    """第一与第三四分位数，按线性插值。"""
    ordered = sorted(values)

    def at(share: float) -> float:
        place = share * (len(ordered) - 1)
        low = math.floor(place)
        high = min(low + 1, len(ordered) - 1)
        return ordered[low] + (place - low) * (ordered[high] - ordered[low])

    return [at(0.25), at(0.75)]


def peak_memory(worker: Worker, steps: int = MEMORY_STEPS) -> int:
    """再走几步，不计时，只看内存；读不到 PSS 时取进程自己说的峰值。"""
    with memory.watched(worker.pids) as peak:
        answer = worker.ask(steps)
    return peak.pss_bytes or int(answer["peak_memory_bytes"])
