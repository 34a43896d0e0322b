"""``python -m tinygrad_llm train --dry-run``：这次训练要多少内存、多久，放不放得下；什么也不写。

流入：``Session`` 与设置；流出：印出来的 ``Estimate``。

数组的峰值随行数与层数都是线性增长的，所以在一、两行，一、两层的模型上各走一遍，由 ``tracemalloc`` 读出四个数，
就定出了平面 ``c₀ + c₁·行 + c₂·层 + c₃·行·层``，不必真的把大模型跑一遍。
"""

from __future__ import annotations

import mmap
import os
import tracemalloc
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinygrad_llm.common.config import GPTConfig
from tinygrad_llm.common.errors import UserError
from tinygrad_llm.common.estimate import (
    BASELINE,
    Estimate,
    Memory,
    estimate_of,
    itemsize,
    publish,
    size_text,
    standing_bytes,
    with_report,
)
from tinygrad_llm.common.rehearsal import rehearse
from tinygrad_llm.common.session import Session
from tinygrad_llm.common.system import available_memory_bytes, peak_memory_bytes, resident_bytes
from tinygrad_llm.common.train_config import TrainConfig
from tinygrad_llm.parallel.flat import FlatState
from tinygrad_llm.parallel.ring import Ring
from tinygrad_llm.parallel.team import Replica, layout_of
from tinygrad_llm.train import NumpyEngine

ALLOCATOR, WORKERS = "heap kept by the processes", "interpreters of the workers"
ACTIVATIONS, LOGITS = "activations and temporaries", "logits"
IDLE_SHARE = 0.10
"""堆里拼不成下一块的空闲内存，占数组的几成；由 ``benchmarks estimates`` 量得。"""
_TINY: dict[str, Any] = {
    "vocab_size": 64,
    "context": 8,
    "n_layer": 1,
    "n_head": 1,
    "n_kv_head": 1,
    "n_embd": 16,
    "hidden": None,
}


@dataclass(frozen=True)
class _Processes:
    """没有模型时各进程占多少。

    Attributes:
        own: 本进程，字节。
        worker: 一个工作进程，字节。
        count: 一共几个进程。
    """

    own: int
    worker: int
    count: int


def dry_run(session: Session, settings: TrainConfig) -> Estimate:
    """估计一次训练，打印，按要求写成 JSON；放得下才真的走几步。

    Raises:
        UserError: 放不下，连三步也走不了。
    """
    memory = memory_of(session, settings)
    refuse_overrun(memory, settings)
    before = resident_bytes()
    with closing(NumpyEngine(session.model, settings)) as engine:
        if session.checkpoint is not None:
            engine.restore(session.checkpoint.model, session.checkpoint.optim, 0)
        time = rehearse(session, engine)
        measured = _tree_peak(engine) - max(0, before - memory.parts[BASELINE])
        estimate = estimate_of(session, "numpy", engine.describe(), replace(memory, measured=measured), time, ())
    publish(estimate, settings.json)
    return estimate


def memory_of(session: Session, settings: TrainConfig) -> Memory:
    """预计的内存：各进程自己的，加上它们共享的参数、梯度与优化器的状态。"""
    peak_so_far = peak_memory_bytes()
    processes = _processes(session.model, settings)
    config, size = session.model, itemsize(settings)
    rows = -(-(settings.batch_size // settings.accumulate) // processes.count)
    evaluated = -(-settings.batch_size // processes.count)
    logits = rows * config.context * config.vocab_size * size
    step = _scaled(config, settings, rows)
    evaluation = _evaluation_bytes(config, settings, evaluated)
    standing = {BASELINE: processes.own, WORKERS: processes.worker * (processes.count - 1)}
    standing |= standing_bytes(config, settings)
    small = _private_gradients(config, settings) if processes.count > 1 else 0
    parts = standing | {
        "gradients": standing["gradients"] + small * processes.count,
        ACTIVATIONS: max(step - logits, 0) * processes.count,
        LOGITS: logits * processes.count,
        ALLOCATOR: int(step * IDLE_SHARE) * processes.count,
    }
    phases = {
        "training step": sum(parts.values()),
        "evaluation": sum(standing.values()) + int(evaluation * (1 + IDLE_SHARE)) * processes.count,
    }
    if phases["evaluation"] > phases["training step"]:
        parts = standing | {ACTIVATIONS + " of evaluation": phases["evaluation"] - sum(standing.values())}
    if peak_so_far > max(phases.values()):
        parts, phases = {BASELINE: peak_so_far}, {"preparation": peak_so_far, **phases}
    parts = {name: count for name, count in parts.items() if count}
    return with_report(Memory(parts, phases, available_memory_bytes(), processes=processes.count))


def check_memory(session: Session, settings: TrainConfig) -> None:
    """开训之前：粗算用得到可用内存的一半以上，才细算；细算放不下就拒绝。

    粗算只数状态、logits 与各层的残差流，几微秒；细算要走几遍小模型，一两秒。

    Raises:
        UserError: 放不下。
    """
    config, size = session.model, itemsize(settings)
    tokens = settings.batch_size // settings.accumulate * config.context
    rough = sum(standing_bytes(config, settings).values())
    rough += tokens * size * (config.vocab_size + 12 * config.n_layer * config.n_embd)
    if 2 * rough > available_memory_bytes() > 0:
        refuse_overrun(memory_of(session, settings), settings)


def out_of_memory(settings: TrainConfig, error: MemoryError) -> UserError:
    """训练途中内存用尽：怎样切微批。"""
    rows = settings.batch_size // settings.accumulate
    smaller = next((n for n in range(settings.accumulate + 1, settings.batch_size + 1)
                    if settings.batch_size % n == 0), None)  # fmt: skip
    return UserError(
        f"out of memory with micro-batches of {rows} sequences: {error}",
        where="device cpu",
        fix=f"use --accumulate {smaller}" if smaller else "use a smaller --context, --preset or fewer --workers",
    )


def refuse_overrun(memory: Memory, settings: TrainConfig) -> None:
    """预计放不下，就在开始之前说清楚，并给出放得下的 flag。

    Raises:
        UserError: 放不下。
    """
    if memory.fits:
        return
    rows = settings.batch_size // settings.accumulate
    scaling = sum(count for name, count in memory.parts.items() if name in (ACTIVATIONS, LOGITS, ALLOCATOR))
    room = memory.available - (memory.peak - scaling)
    fitting = [n for n in range(settings.accumulate + 1, settings.batch_size + 1)
               if settings.batch_size % n == 0 and scaling * settings.accumulate / n <= room]  # fmt: skip
    fix = f"use --accumulate {fitting[0]}" if fitting else "use a smaller --context, --preset or fewer --workers"
    raise UserError(
        f"this would not fit: {size_text(memory.peak)} needed, {size_text(memory.available)} available",
        where=f"micro-batches of {rows} sequences in {memory.processes} processes",
        fix=fix,
    )


def _processes(config: GPTConfig, settings: TrainConfig) -> _Processes:
    """开一个极小的模型，走一步，看各进程占多少：解释器、库、数据，以及头一次运算才载入的代码。"""
    tiny = replace(config, **_TINY, head_dim=None, document_start=None, window=None)
    wanted = settings.batch_size // settings.accumulate if config.dropout == 0 else 1
    rows = max(wanted, 1)
    plain = replace(settings, batch_size=rows, accumulate=1, profile=None)
    ids = np.zeros((rows, tiny.context), np.int64)
    with closing(NumpyEngine(tiny, plain)) as engine:
        engine.train_step(0, (ids, ids), 1e-3)
        workers = [resident_bytes(process.pid) for process, _ in engine.team.members]
        return _Processes(resident_bytes(), max(workers, default=0), engine.workers)


def _private_gradients(config: GPTConfig, settings: TrainConfig) -> int:
    """小参数的梯度，各进程先存一份自己的。"""
    layout = layout_of(config, settings.dtype, settings.optimizer)
    return (layout.size - layout.large) * itemsize(settings)


def _scaled(config: GPTConfig, settings: TrainConfig, rows: int) -> int:
    """一个进程走一个 ``rows`` 行的微批，数组的峰值。"""
    one, two = (_step_bytes(config, settings, n, 1) for n in (1, 2))
    if config.n_layer == 1:
        return one + (rows - 1) * (two - one)
    deep_one, deep_two = (_step_bytes(config, settings, n, 2) for n in (1, 2))
    base = one + (rows - 1) * (two - one)
    return base + (config.n_layer - 1) * (deep_one + (rows - 1) * (deep_two - deep_one) - base)


def _step_bytes(config: GPTConfig, settings: TrainConfig, rows: int, layers: int) -> int:
    """一次前向与反传的峰值。"""
    replica = _small(config, settings, layers)
    return _traced_peak(lambda: replica.gradients([_ids(config, rows)], valid=1, seed=0))


def _evaluation_bytes(config: GPTConfig, settings: TrainConfig, rows: int) -> int:
    """评估一批的峰值：不留激活，只与行数有关。"""
    replica = _small(config, settings, 1)
    one, two = (_traced_peak(partial(replica.evaluate, [_ids(config, n)])) for n in (1, 2))
    return one + (rows - 1) * (two - one)


def _small(config: GPTConfig, settings: TrainConfig, layers: int) -> Replica:
    """同样宽、只有几层的模型。"""
    small = replace(config, n_layer=min(layers, config.n_layer))
    layout = layout_of(small, settings.dtype, settings.optimizer)
    memory = mmap.mmap(-1, FlatState.nbytes(layout, settings.dtype))
    return Replica(small, settings.dtype, settings.optimizer, memory, Ring())


def _ids(config: GPTConfig, rows: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    ids = np.ones((rows, config.context), np.int64)
    return ids, ids


def _traced_peak(action: Callable[[], Any]) -> int:
    """``action`` 途中 NumPy 申请的内存的峰值，算子内部的临时数组也在内；参数与梯度是另外映射的，不算。"""
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        action()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


def _tree_peak(engine: NumpyEngine) -> int:
    """本进程与工作进程的峰值之和；共享的那一块只算一次。"""
    pids = [os.getpid(), *(process.pid for process, _ in engine.team.members)]
    peaks, shared = ([resident_bytes(pid, field) for pid in pids] for field in ("VmHWM", "RssShmem"))
    return sum(peaks) - sum(shared) + max(shared)
