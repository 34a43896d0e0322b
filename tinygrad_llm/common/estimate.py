"""训练之前的一张账单：参数、浮点运算、内存、磁盘、时间。

流入：``Session``、引擎算出的内存分项、三步的实测；流出：一个 ``Estimate``，印成表或写成 JSON。
内存的峰值是各阶段的**最大值**，不是总和：前向末尾、输出层与损失、优化器、评估、采样各有各的样子。
实测见 ``rehearsal.py``；两个引擎的内存分项见 ``torch_llm/dry_run.py`` 与 ``tinygrad_llm/dry_run.py``。
"""

from __future__ import annotations

import importlib
import json
import math
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from tinygrad_llm.common.batches import Padded
from tinygrad_llm.common.batches.packed import Isolated
from tinygrad_llm.common.checkpoint import SPARE_BYTES
from tinygrad_llm.common.config import GPTConfig, parameter_shapes
from tinygrad_llm.common.files import write_atomically
from tinygrad_llm.common.progress import format_duration
from tinygrad_llm.common.session import Session
from tinygrad_llm.common.system import resident_bytes
from tinygrad_llm.common.train_config import TrainConfig
from tinygrad_llm.common.update_rules import state_shapes
from tinygrad_llm.common.work import row_flops

MEBI = 1 << 20
Shapes = Mapping[str, tuple[int, ...]]
"""参数名到形状。"""
BASELINE = "interpreter, libraries, data"
"""内存分项里不归张量的那一份。"""
REPORT = "the report's plotting library"
"""训练之后画报告的曲线才载入；那时训练用过的内存还没有还给系统。"""


@dataclass(frozen=True)
class Memory:
    """一次训练的内存峰值与它的由来。

    Attributes:
        parts: 峰值那一刻各占多少字节，相加就是峰值。
        phases: 各阶段的峰值，字节；最大的一个就是总的峰值。
        available: 还用得上多少字节（操作系统与 cgroup 取小），含本进程已占的；问不出来为 0。
        measured: 三步实测的峰值；没有实测为 0。
        processes: 几个进程；共享的内存只算一次。
        where: 哪里的内存，``"process"`` 或设备名。
    """

    parts: dict[str, int]
    phases: dict[str, int]
    available: int = 0
    measured: int = 0
    processes: int = 1
    where: str = "process"

    @property
    def peak(self) -> int:
        """预计的峰值，字节。"""
        return sum(self.parts.values())

    @property
    def fits(self) -> bool:
        """放不放得下；不知道有多少内存时算放得下。"""
        return not self.available or self.peak <= self.available


@dataclass(frozen=True)
class Time:
    """一次训练要多久。

    Attributes:
        parts: 各项的秒数，相加就是总时间。
        step: 一步的秒数（中位数）。
        spread: 各步相对中位数的最大偏差；没有实测为 0。
        source: 这些数从哪里来。
    """

    parts: dict[str, float]
    step: float
    spread: float
    source: str

    @property
    def total(self) -> float:
        """总秒数。"""
        return sum(self.parts.values())


@dataclass(frozen=True)
class Estimate:
    """一次训练的账单。

    Attributes:
        engine: ``"numpy"`` 或 ``"torch"``。
        runtime: 在哪里、怎样算，一句话。
        parameters: 各部分的参数个数。
        state: 训练的状态各要多少字节：权重、梯度、优化器的状态、采样时的 KV 缓存；峰值那一刻不一定都在。
        flops: 每个 token、每步、整次的浮点运算次数。
        tokens: 每步与整次的 token 数。
        memory: 内存。
        disk: 一个检查点、同时存着几个、合计的字节数，与磁盘的剩余。
        time: 时间。
        settings: 全部设置。
        notes: 要告诉用户的话。
    """

    engine: str
    runtime: str
    parameters: dict[str, int]
    state: dict[str, int]
    flops: dict[str, float]
    tokens: dict[str, int]
    memory: Memory
    disk: dict[str, int]
    time: Time
    settings: dict[str, Any]
    notes: tuple[str, ...] = field(default=())

    def to_dict(self) -> dict[str, Any]:
        """给程序读的字典；``peak_bytes`` 与 ``total_s`` 是预计的总数。"""
        found = asdict(self)
        found["memory"] |= {"peak_bytes": self.memory.peak, "fits": self.memory.fits}
        found["time"]["total_s"] = self.time.total
        found["settings"] = {name: str(v) if isinstance(v, Path) else v for name, v in self.settings.items()}
        return found


# ---- 只由配置决定的几项 ----


def parameters_by_part(config: GPTConfig) -> dict[str, int]:
    """各部分的参数个数；``total`` 是总数，共用的输出层只算一次。"""
    parts = {"token embedding": 0, "positions": 0, "attention": 0, "mlp": 0, "norms": 0, "head": 0}
    for name, shape in parameter_shapes(config).items():
        parts[_part(name)] += math.prod(shape)
    parts = {name: count for name, count in parts.items() if count}
    return parts | {"total": sum(parts.values())}


def _part(name: str) -> str:
    first = {"wte": "token embedding", "wpe": "positions", "lm_head": "head", "ln_f": "norms"}
    if (head := name.split(".")[0]) in first:
        return first[head]
    kind = name.split(".")[2]
    return {"attn": "attention", "mlp": "mlp"}.get(kind, "norms")


def standing_bytes(config: GPTConfig, settings: TrainConfig, trained: Shapes | None = None) -> dict[str, int]:
    """从头到尾都在的三样：权重、梯度、优化器的状态，字节；只学一部分的，后两样只有那一部分的。"""
    every, size = parameter_shapes(config), itemsize(settings)
    shapes = every if trained is None else trained
    weights = size * sum(map(math.prod, {**every, **shapes}.values()))
    gradients = size * sum(map(math.prod, shapes.values()))
    moments = size * sum(map(math.prod, state_shapes(shapes, settings.optimizer).values()))
    return {"weights": weights, "gradients": gradients, "optimizer state": moments}


def itemsize(settings: TrainConfig) -> int:
    """一个参数几个字节。"""
    return 4 if settings.dtype == "float32" else 8


def kv_cache_bytes(config: GPTConfig, length: int, size: int) -> int:
    """采样时一个序列的 KV 缓存：每层的 K 与 V 各 ``(Hkv, length, D)``。"""
    return 2 * config.n_layer * config.kv_heads * length * config.head_size * size


def flops_of(
    config: GPTConfig, settings: TrainConfig, steps: int, tokens: int = 0, trained: Shapes | None = None
) -> dict[str, float]:
    """每个 token、每步、整次的浮点运算次数：线性层与注意力的乘法，前向一份、反向两份；冻住的少一些。

    Args:
        config: 模型配置。
        settings: 训练设置。
        steps: 几步。
        tokens: 一步几个 token；0 表示行行都是整个上下文。
        trained: 要学的参数与形状；``None`` 是全部。
    """
    tokens = tokens or settings.batch_size * config.context
    per_step = settings.batch_size * row_flops(config, round(tokens / settings.batch_size), trained)
    return {
        "per_token": per_step / tokens,
        "per_step": per_step,
        "per_run": per_step * steps,
    }


def disk_of(config: GPTConfig, settings: TrainConfig, free: int, trained: Shapes | None = None) -> dict[str, int]:
    """检查点要多少磁盘：保留的几个、最好的一个，再加正在写的一个；里面只有学了的参数。"""
    standing = standing_bytes(config, settings, trained)
    one = standing["gradients"] + standing["optimizer state"] + SPARE_BYTES
    saves = events(settings, 0)["saves"]
    kept = min(settings.keep + 1, saves)
    return {"checkpoint_bytes": one, "kept": kept, "total_bytes": one * kept, "peak_bytes": one * (kept + 1),
            "free_bytes": free}  # fmt: skip


def events(settings: TrainConfig, first_step: int) -> dict[str, int]:
    """从 ``first_step`` 走到头，评估、采样、存档各几次；末尾总有一次。"""
    last = settings.last_step

    def count(every: int) -> int:
        inner = sum(1 for step in range(first_step + 1, last) if step % every == 0) if every else 0
        return inner + 1

    return {
        "evaluations": count(settings.eval_every),
        "samples": count(settings.sample_every),
        "saves": count(settings.save_every),
    }


def estimate_of(
    session: Session, engine: str, runtime: str, memory: Memory, time: Time, notes: Iterable[str]
) -> Estimate:
    """把引擎算出的内存与时间，同只由配置决定的几项合成一张账单。"""
    config, settings, trained = session.model, session.settings, session.trained
    steps, per_step = settings.last_step - session.first_step, tokens_per_step(session)
    parameters = parameters_by_part(config)
    if trained is not None:
        parameters["trained"] = sum(map(math.prod, trained.values()))
    free = shutil.disk_usage(existing_folder(settings.folder)).free
    cache = kv_cache_bytes(config, config.context, itemsize(settings))
    return Estimate(
        engine=engine,
        runtime=runtime,
        parameters=parameters,
        state=standing_bytes(config, settings, trained) | {"KV cache of a sample": cache},
        flops=flops_of(config, settings, steps, per_step, trained),
        tokens={"per_step": per_step, "per_run": per_step * steps, "in the data": session.train_tokens},
        memory=memory,
        disk=disk_of(config, settings, free, trained),
        time=time,
        settings=asdict(settings),
        notes=tuple(notes),
    )


def tokens_per_step(session: Session) -> int:
    """一步几个 token，连填充在内；行有长有短的取平均。"""
    rows, stream = session.settings.batch_size, session.train
    if not isinstance(stream, Padded | Isolated):
        return rows * session.model.context
    steps = range(session.first_step, session.settings.last_step)
    return round(rows * sum(map(stream.width, steps)) / len(steps))


def with_report(memory: Memory) -> Memory:
    """添上末尾的报告：当场载入画图的库来量；量不出来（不是 Linux，或已经载入）则不变。"""
    before = resident_bytes()
    importlib.import_module("matplotlib.figure")
    importlib.import_module("matplotlib.backends.backend_svg")
    extra = resident_bytes() - before
    if extra <= 0:
        return memory
    phases = {**memory.phases, "report": memory.peak + extra}
    return replace(memory, parts={**memory.parts, REPORT: extra}, phases=phases)


def existing_folder(path: Path) -> Path:
    """``path`` 自己，或它最近的一个已经存在的上级。"""
    return next(one for one in (path, *path.absolute().parents) if one.exists())


# ---- 给人看 ----


def publish(estimate: Estimate, path: Path | None) -> None:
    """印出来；要求了就也写成 JSON。"""
    print("\n".join(report_lines(estimate)))
    if path is not None:
        write_json(path, estimate.to_dict())
        print(f"estimate: {path}")


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """写一个 JSON 文件，要么写全，要么不写。"""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, (json.dumps(content, indent=1, default=str) + "\n").encode())


def report_lines(estimate: Estimate) -> list[str]:
    """印出来的各行。"""
    memory, time, disk = estimate.memory, estimate.time, estimate.disk
    lines = [f"engine      {estimate.engine}: {estimate.runtime}", "", "parameters"]
    lines += [_row(name, f"{count:,}") for name, count in estimate.parameters.items()]
    lines += ["", "state", *(_row(name, size_text(count)) for name, count in estimate.state.items()), "", "work"]
    lines += [_row(f"flops {name.replace('_', ' ')}", f"{value:.3e}") for name, value in estimate.flops.items()]
    lines += [_row(f"tokens {name.replace('_', ' ')}", f"{count:,}") for name, count in estimate.tokens.items()]
    several = f" of {memory.processes} processes, shared memory counted once" if memory.processes > 1 else ""
    lines += ["", f"memory at the peak ({memory.where}{several})"]
    lines += [_row(name, size_text(count)) for name, count in memory.parts.items()]
    lines += [_row("total", size_text(memory.peak))]
    if memory.measured:
        lines += [_row("measured in these steps", size_text(memory.measured))]
    lines += [_row("available", size_text(memory.available) if memory.available else "unknown")]
    lines += [_row(f"  peak of {name}", size_text(count)) for name, count in memory.phases.items()]
    lines += ["", "disk"]
    lines += [_row("one checkpoint", size_text(disk["checkpoint_bytes"]))]
    lines += [_row(f"{disk['kept']} kept, and one being written", size_text(disk["peak_bytes"]))]
    lines += [_row("free", size_text(disk["free_bytes"]))]
    lines += ["", f"time ({time.source})", _row("one step", f"{time.step * 1e3:,.1f} ms, +-{time.spread:.0%}")]
    lines += [_row(name, format_duration(seconds)) for name, seconds in time.parts.items()]
    lines += [_row("total", format_duration(time.total))]
    return [*lines, *(["", *(f"note: {note}" for note in estimate.notes)] if estimate.notes else [])]


def _row(name: str, value: str) -> str:
    return f"  {name:<34} {value:>18}"


def size_text(nbytes: float) -> str:
    """字节数写成 MiB 或 GiB。"""
    return f"{nbytes / MEBI:,.1f} MiB" if nbytes < 10 * 1024 * MEBI else f"{nbytes / 1024 / MEBI:,.1f} GiB"
