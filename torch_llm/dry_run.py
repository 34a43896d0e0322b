"""``python -m torch_llm pretrain --dry-run``：这次训练要多少内存、多久，放不放得下；什么也不写。

流入：``Session`` 与设置；流出：印出来的 ``Estimate``。先用没有数据的张量算出内存（``footprint.py``），
放得下才真的走几步。点名的设备这里没有，就只算不走：时间由浮点运算次数与那种设备的峰值推出。
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from tinygrad_llm.common.batches import Padded
from tinygrad_llm.common.batches.packed import Isolated
from tinygrad_llm.common.checkpoint import read_state
from tinygrad_llm.common.config import GPTConfig, parameter_shapes
from tinygrad_llm.common.engine import Method
from tinygrad_llm.common.estimate import (
    BASELINE,
    Estimate,
    Memory,
    Time,
    estimate_of,
    events,
    flops_of,
    publish,
    size_text,
    with_report,
)
from tinygrad_llm.common.evaluation.validation import EVALUATION_TOKENS
from tinygrad_llm.common.loop import start_from
from tinygrad_llm.common.partial import find_base
from tinygrad_llm.common.quantization.storage import STATE_KEY, schemes_of
from tinygrad_llm.common.rehearsal import rehearse
from tinygrad_llm.common.session import Session
from tinygrad_llm.common.system import available_memory_bytes, peak_memory_bytes, resident_bytes
from tinygrad_llm.common.torch_config import TorchConfig
from torch_llm.footprint import Footprint, Scene, footprint, has_device
from torch_llm.gpt import GPT
from torch_llm.loop import TorchEngine
from torch_llm.runtime import Runtime, pick_runtime

ALLOCATOR = "allocator's idle blocks"
IDLE_SHARE = {"cpu": 0.09, "cuda": 0.06, "mps": 0.06}
"""分配器留着不还、又拼不成下一块的空闲内存，占张量的几成；CPU（glibc）的由 ``benchmarks estimates`` 量得。"""
VARYING_SHARE = 0.2
"""行有长有短时的：大小不一，上一批的空闲块下一批用不上；在 CPU 上由 LoRA 与全部参数的微调量得。"""
ABSENT_PEAK_FLOPS, ABSENT_MFU = 312e12, 0.35
"""不在这里的设备按 A100 的 bfloat16 峰值与这个利用率估时间。"""
_TINY = GPTConfig(vocab_size=64, context=8, n_layer=1, n_head=1, n_embd=16)


def dry_run(
    session: Session,
    settings: TorchConfig,
    method: Method | None = None,
    model: Callable[[torch.device], GPT] | None = None,
) -> Estimate:
    """估计一次训练，打印，按要求写成 JSON。

    Args:
        session: ``session.prepare`` 的结果。
        settings: 训练设置。
        method: 训练方法；缺省为语言模型。
        model: 由设备造出现成的模型，例如冻结的底座；缺省由种子造一个。

    Returns:
        估计。
    """
    runtime = runtime_of(settings)
    is_here = has_device(runtime.device.type)
    memory = memory_of(session, settings, runtime, method)
    notes = list(_notes(settings, memory, is_here))
    if is_here and memory.fits:
        before = resident_bytes()
        built = None if model is None else model(runtime.device)
        engine = TorchEngine(session.model, settings, notes.append, method=method, model=built)
        if session.checkpoint is not None:
            engine.restore(session.checkpoint.model, session.checkpoint.optim, 0)
        elif session.initial is not None:
            start_from(engine, session.initial, settings.optimizer)
        time = rehearse(session, engine)
        memory = _corrected(memory, _measured(runtime, before, memory))
    else:
        time = _computed_time(session, settings)
    estimate = estimate_of(session, "torch", runtime.describe(), memory, time, notes)
    publish(estimate, settings.json)
    return estimate


def fitting_micro_batch(session: Session, settings: TorchConfig) -> TorchConfig:
    """``--auto-batch`` 从估计开始：切成几个微批，预计的峰值才不超过可用的内存；说出选了什么、为什么。

    Args:
        session: ``session.prepare`` 的结果。
        settings: 训练设置。

    Returns:
        ``accumulate`` 也许加大了的设置；最小的微批也放不下时不改，交给训练时的减半。
    """
    runtime, rows = runtime_of(settings), settings.batch_size
    choices = [n for n in range(settings.accumulate, rows + 1) if rows % n == 0]
    low, high = 0, len(choices) - 1
    baseline, found = _baseline(settings, runtime), dict[int, Memory]()

    def memory(i: int) -> Memory:
        if i not in found:
            found[i] = _memory(session, replace(settings, accumulate=choices[i]), runtime, baseline, 0)
        return found[i]

    while low < high:  # 切得越碎，峰值越低
        middle = (low + high) // 2
        low, high = (low, middle) if memory(middle).fits else (middle + 1, high)
    chosen = memory(low)
    needs = f"{size_text(chosen.peak)} predicted, {size_text(chosen.available)} available"
    if not chosen.fits:
        print(f"--auto-batch: even micro-batches of {rows // choices[-1]} sequences may not fit ({needs})")
        return settings
    print(f"--auto-batch: micro-batches of {rows // choices[low]} sequences, --accumulate {choices[low]} ({needs})")
    return replace(settings, accumulate=choices[low])


def runtime_of(settings: TorchConfig) -> Runtime:
    """选定的设备；点名的设备不在这里时，假定它有 bfloat16。"""
    if settings.device == "auto" or has_device(settings.device):
        return pick_runtime(settings)
    lows = {"bfloat16": torch.bfloat16, "float16": torch.float16}
    low = lows.get("bfloat16" if settings.precision == "auto" and settings.device == "cuda" else settings.precision)
    reason = "not on this machine: not measured here"
    return Runtime(torch.device(settings.device), None if settings.dtype == "float64" else low, (reason,))


def memory_of(session: Session, settings: TorchConfig, runtime: Runtime, method: Method | None = None) -> Memory:
    """预计的内存。在 CPU 上，进程里的一切都算；别的设备只算设备上的。

    顺序要紧：先量导入与备料之后的进程，再做没有数据的演算，它自己要导入的东西不算在训练头上。
    """
    peak_so_far, scene = peak_memory_bytes(), scene_of(session, settings, method)
    found = _memory(session, settings, runtime, _baseline(settings, runtime), peak_so_far, scene)
    return with_report(found) if runtime.device.type == "cpu" else found


def scene_of(session: Session, settings: TorchConfig, method: Method | None = None) -> Scene:
    """这次训练里的形状：行有多长，评估与答题有多大，底座是不是整数的。

    Args:
        session: 备好的训练。
        settings: 训练设置。
        method: 训练方法。
    """
    config, stream, looks = session.model, session.train, session.looks
    if not isinstance(stream, Padded | Isolated):
        return replace(Scene.of(config, settings), method=method)
    steps = range(session.first_step, settings.last_step)
    shapes = [(max(1, EVALUATION_TOKENS // config.context), config.context)] if session.watched else []
    slots = (1, config.context)
    if looks is not None:
        shapes.append((looks.rows, looks.width))
        slots = (max(1, looks.slots), looks.length)
    spared, restored = integers_of(session)
    return Scene(
        max(map(stream.width, steps)), tuple(shapes), slots, method, spared, restored, isinstance(stream, Padded)
    )


def integers_of(session: Session) -> tuple[int, int]:
    """底座是整数的：权重比 float32 省下几个字节，还原最大的一个矩阵要几个字节；不是则都为 0。"""
    if session.trained is None:
        return 0, 0
    base = find_base({"source": session.source}, session.settings.folder)
    state = read_state(base)
    if STATE_KEY not in state:
        return 0, 0
    schemes = schemes_of(session.model, state[STATE_KEY], where=str(base))
    shapes = {name: shape for name, shape in parameter_shapes(session.model).items() if name in schemes}
    parts = [part for name, shape in shapes.items() for part in schemes[name].parts(shape).items()]
    stored = sum(math.prod(shape) * (1 if name == "codes" else 4) for name, (shape, _) in parts)  # 比例尺是 float32
    floats = [4 * math.prod(shape) for shape in shapes.values()]
    return sum(floats) - stored, 2 * max(floats)  # 还原时先有整数变的浮点数，再乘比例尺


def _memory(
    session: Session,
    settings: TorchConfig,
    runtime: Runtime,
    baseline: int,
    peak_so_far: int,
    scene: Scene | None = None,
) -> Memory:
    tensors = footprint(session.model, settings, runtime, scene)
    kind = runtime.device.type
    share = VARYING_SHARE if scene is not None and scene.varies else IDLE_SHARE[kind]
    parts = _parts(tensors, baseline, share)
    phases = {name: baseline + int(count * (1 + share)) for name, count in tensors.phases.items()}
    if kind == "cpu" and peak_so_far > sum(parts.values()):
        parts, phases = {BASELINE: peak_so_far}, {"preparation": peak_so_far, **phases}
    return Memory(parts, phases, _available(runtime), where="process" if kind == "cpu" else str(runtime.device))


def _parts(tensors: Footprint, baseline: int, share: float) -> dict[str, int]:
    idle = int(tensors.peak * share)
    return {BASELINE: baseline, **tensors.parts, ALLOCATOR: idle}


def _baseline(settings: TorchConfig, runtime: Runtime) -> int:
    """没有模型时的内存：解释器、库、数据，以及头一次运算才载入的那些代码。"""
    if not has_device(runtime.device.type):
        return 0
    plain = replace(settings, batch_size=1, accumulate=1, compile=False)
    ids = np.zeros((1, _TINY.context), np.int64)
    engine = TorchEngine(_TINY, plain, lambda _: None)
    engine.train_step(0, (ids, ids), 1e-3)
    if runtime.device.type == "cuda":  # 驱动与各个库在显卡上占的，torch 的分配器不知道
        free, total = torch.cuda.mem_get_info()
        return total - free - torch.cuda.memory_reserved()
    return resident_bytes() if runtime.device.type == "cpu" else 0


def _available(runtime: Runtime) -> int:
    if runtime.device.type == "cpu":
        return available_memory_bytes()
    if runtime.device.type == "cuda" and torch.cuda.is_available():
        return torch.cuda.mem_get_info()[0] + torch.cuda.memory_reserved()
    return 0


def _measured(runtime: Runtime, before: int, memory: Memory) -> int:
    """三步实测的峰值；演算自己占的内存要扣掉。"""
    if runtime.device.type == "cuda":
        return torch.cuda.max_memory_reserved() + memory.parts[BASELINE]
    extra = max(0, before - memory.parts[BASELINE]) if len(memory.parts) > 1 else 0
    return peak_memory_bytes() - extra if runtime.device.type == "cpu" else 0


def _corrected(memory: Memory, measured: int) -> Memory:
    """三步里量到的比演算的多时，多的算作分配器没有还的：重算与许多小的微批之后，空闲块很碎。"""
    lacking = max(0, measured - memory.peak)
    if not lacking:
        return replace(memory, measured=measured)
    parts = {**memory.parts, ALLOCATOR: memory.parts.get(ALLOCATOR, 0) + lacking}
    phases = {name: size + lacking for name, size in memory.phases.items()}
    return replace(memory, parts=parts, phases=phases, measured=measured)


def _computed_time(session: Session, settings: TorchConfig) -> Time:
    """没有实测时：浮点运算次数 ÷（峰值 × 利用率）。评估只有前向，是三分之一。"""
    steps = settings.last_step - session.first_step
    flops = flops_of(session.model, settings, steps)
    rate = ABSENT_PEAK_FLOPS * ABSENT_MFU
    evaluations = events(settings, session.first_step)["evaluations"]
    evaluated = evaluations * int(session.validation.size) * flops["per_token"] / 3
    step_s = flops["per_step"] / rate
    return Time(
        {f"{steps:,} steps": step_s * steps, f"{evaluations} evaluations": evaluated / rate},
        step_s,
        0.0,
        f"not measured here: FLOPs / ({ABSENT_PEAK_FLOPS / 1e12:.0f} TFLOP/s of an A100 x {ABSENT_MFU:.0%} MFU)",
    )


def _notes(settings: TorchConfig, memory: Memory, is_here: bool) -> Any:
    if not is_here:
        yield f"this machine has no {settings.device}: memory is computed, time comes from FLOPs"
    if settings.compile:
        yield "memory is that of the model without --compile, which fuses some activations away"
    if not memory.fits:
        yield f"this does not fit: {size_text(memory.peak)} needed, {size_text(memory.available)} available"
