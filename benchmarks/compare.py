"""并排量几个系统：启动、热身、核对、交替计时、量内存，一处写完。

流入：要测的系统与回数；流出：每个系统的统计，以及量不了的系统与原因。各种测速（``step.py`` 等）都由它完成。
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

from benchmarks import memory, rounds
from benchmarks.processes import System, Worker, WorkerStoppedError, started
from benchmarks.report import tell

Answers = list[dict[str, Any]]
Check = Callable[[Answers, Answers], "str | None"]
"""（某系统热身时的答话，参照系统的答话）→ 不该量它的理由；该量就是 ``None``。"""


def compare(
    systems: Sequence[System], plan: rounds.Plan, reference: str, *, warmup: int, check: Check | None = None
) -> dict[str, Any]:
    """并排量几个系统。

    Args:
        systems: 要测的系统。
        plan: 量多少回。
        reference: 与谁相比。
        warmup: 计时之前先走几步。
        check: 热身之后核对各系统做的是同一件事。

    Returns:
        ``systems``：名字到统计（见 ``rounds.summary``），加上 ``peak_memory_bytes``、热身之前的
        ``baseline_memory_bytes`` 与热身时的答话 ``warmup``；``unavailable``：名字到原因。
    """
    unavailable: dict[str, str] = {}
    with ExitStack() as stack:
        workers, baseline = {}, {}
        for system in systems:
            tell(f"starting {system.name}")
            try:
                workers[system.name] = stack.enter_context(started(system))
                baseline[system.name] = memory.pss_bytes(workers[system.name].pids)
            except WorkerStoppedError as error:
                unavailable[system.name] = str(error)
        answers = _warmed(workers, warmup, unavailable)
        if check is not None:
            _refuse(answers, reference, check, unavailable)
        ready = [worker for name, worker in workers.items() if name not in unavailable]
        step_s = {worker.name: min(one["elapsed_s"] for one in answers[worker.name]) for worker in ready}
        found = rounds.interleave(ready, step_s, plan, reference, unavailable, tell)
        alive = [worker for worker in ready if worker.name not in unavailable]
        peaks = {worker.name: _peak(worker, step_s[worker.name]) for worker in alive}
    return {
        "systems": {
            name: {
                **rounds.summary(found, name, reference),
                "peak_memory_bytes": peaks[name],
                "baseline_memory_bytes": baseline[name],
                "warmup": answers[name],
            }
            for name in peaks
        },
        "unavailable": unavailable,
    }


def _warmed(workers: dict[str, Worker], warmup: int, unavailable: dict[str, str]) -> dict[str, Answers]:
    """各系统先走几步；走不下去的记入 ``unavailable``。"""
    answers: dict[str, Answers] = {}
    for name, worker in workers.items():
        tell(f"warming up {name}")
        try:
            answers[name] = [worker.ask() for _ in range(warmup)]
        except WorkerStoppedError as error:
            unavailable[name] = str(error)
    return answers


def _refuse(answers: dict[str, Answers], reference: str, check: Check, unavailable: dict[str, str]) -> None:
    """做的不是同一件事的系统不量；没有参照就无从核对。"""
    for name, found in answers.items():
        reason = check(found, answers[reference]) if reference in answers else None
        if reason is not None:
            unavailable[name] = reason


def _peak(worker: Worker, step_s: float) -> int:
    return rounds.peak_memory(worker, 1 if step_s > rounds.SLOW_STEP_S else rounds.MEMORY_STEPS)
