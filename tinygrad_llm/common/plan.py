"""``python -m torch_llm plan``：在纸上算一次多卡训练：每个 rank 的内存、每步搬多少字节、效率与时间，算式里代入了数。

流入：模型、token 数、设备种类与个数、并行的办法；流出：一组算式，印出来或写成 JSON。没有一个数是量出来的：
峰值取自厂家的数据表，利用率与重叠是写明的假设。

记号：``P`` 参数，``N`` 卡数，``t`` 张量并行的组的大小，``n = N/t`` 数据并行的组数，``b`` 一个 rank 一步的 token。
权重、梯度、矩都以 float32 存（4 + 4 + 8 字节），乘法用 bfloat16。环形集合通信里，每个 rank 发出的字节：

- all-gather 与 reduce-scatter：``(n-1)/n · X``；all-reduce 是两者相接，``2(n-1)/n · X``（Patarasu 与 Yuan，2009）。
- DDP 每步 all-reduce 一次梯度；FSDP 每个微批前向、反向各 all-gather 一次权重，再 reduce-scatter 一次梯度（攒到末一个
  微批才通信，每个 rank 就要留下整个模型的梯度；Rajbhandari 等，2020）；张量并行每层每个微批前向、反向各 all-reduce
  两次激活（Shoeybi 等，2019）。
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from tinygrad_llm.common.config import GPTConfig, parameter_count, parameter_shapes, preset
from tinygrad_llm.common.depth import BATCH, TOKENS_PER_PARAMETER
from tinygrad_llm.common.errors import UserError
from tinygrad_llm.common.estimate import size_text, write_json
from tinygrad_llm.common.progress import format_duration
from tinygrad_llm.common.train_config import choice_problems
from tinygrad_llm.common.work import step_flops

Parallel = Literal["ddp", "fsdp", "tp", "fsdp+tp"]
CHUNK = 1 << 27
"""GPU 上一块 logits 的元素数，见 ``torch_llm/functional.py``。"""
RESERVED = 0.92
"""显存里能给张量的份额：其余归驱动、通信的缓冲与分配器的碎片。"""
BACKWARD_SHARE = 2 / 3
"""反传占一步的份额；数据并行的通信可以藏在它后面。"""
LINK_SHARE = 0.8
"""链路跑得到标称的几成。"""


class Accelerator(NamedTuple):
    """一种加速卡；带宽是单向的，每张卡的。

    Attributes:
        memory: 显存，字节。
        flops: bfloat16 稠密乘法（float32 累加）的峰值，次每秒。
        link: 机内，字节每秒。
        network: 机间，字节每秒。
        per_node: 一台机器几张。
        source: 数出自哪里。
    """

    memory: float
    flops: float
    link: float
    network: float
    per_node: int
    source: str


ACCELERATORS: dict[str, Accelerator] = {
    "h100": Accelerator(80e9, 989e12, 450e9, 50e9, 8, "NVIDIA H100 SXM and DGX H100 data sheets"),
    "h200": Accelerator(141e9, 989e12, 450e9, 50e9, 8, "NVIDIA H200 SXM and DGX H200 data sheets"),
    "a100": Accelerator(80e9, 312e12, 300e9, 25e9, 8, "NVIDIA A100 80GB SXM and DGX A100 data sheets"),
    "rtx4090": Accelerator(24e9, 165e12, 32e9, 1.25e9, 8, "NVIDIA Ada whitepaper; PCIe 4.0 x16, 10 Gb/s Ethernet"),
    "rtx3090": Accelerator(24e9, 71e12, 32e9, 1.25e9, 8, "NVIDIA GA102 whitepaper; PCIe 4.0 x16, 10 Gb/s Ethernet"),
}  # fmt: skip


@dataclass(frozen=True)
class PlanConfig:
    """在纸上算一次多卡训练。"""

    preset: str = "d24"
    """模型预设名；``dN`` 是深度为 N 的模型。"""
    vocab_size: int = 50304
    """词表大小。"""
    context: int | None = None
    """覆盖预设：上下文长度（token）。"""
    tokens: float | None = None
    """训练多少 token；缺省为各层参数的 20 倍。"""
    batch_tokens: int | None = None
    """每步的 token；缺省按运算量的幂律，见 ``--depth``。"""
    micro_tokens: int = 16384
    """一个微批里每个 rank 的 token。"""
    devices: tuple[int, ...] = (1, 8, 64, 512)
    """各算几张卡。"""
    kind: str = "h100"
    """哪种卡：``h100``、``h200``、``a100``、``rtx4090``、``rtx3090``。"""
    parallel: Parallel = "fsdp"
    """``ddp``、``fsdp``、``tp``（其余的卡之间 ddp）、``fsdp+tp``。"""
    tp: int = 8
    """张量并行的组的大小；``tp`` 与 ``fsdp+tp`` 才用到。"""
    recompute: bool = False
    """不留各层的激活，反传时重算。"""
    mfu: float = 0.45
    """单卡上乘法跑得到峰值的几成（假设）。"""
    json: Path | None = None
    """全部的数写进这个 JSON 文件。"""

    def __post_init__(self) -> None:
        problems = choice_problems(self, parallel=Parallel)
        if self.kind not in ACCELERATORS:
            problems.append(f"--kind must be one of {', '.join(ACCELERATORS)}, got {self.kind!r}")
        if not self.devices or min(self.devices) < 1:
            problems.append("--devices needs numbers of at least 1")
        for name in ("tokens", "batch_tokens", "micro_tokens", "tp"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value >= 1):
                problems.append(f"--{name.replace('_', '-')} must be at least 1, got {value}")
        if not 0 < self.mfu <= 1:
            problems.append(f"--mfu must be above 0 and at most 1, got {self.mfu}")
        if problems:
            raise UserError("; ".join(problems), where="plan settings", fix="correct the flags named above")


class Line(NamedTuple):
    """一个量：名字、值、代入了数的算式。"""

    name: str
    value: float
    formula: str


@dataclass(frozen=True)
class Plan:
    """一种卡数的算盘。

    Attributes:
        devices: 几张卡。
        memory: 每个 rank 的内存，字节，逐项。
        moved: 每步每个 rank 发出的字节，逐项。
        times: 一步的秒数，逐项。
        peak: 内存合计。
        fits: 放不放得下。
        step: 一步的秒数。
        efficiency: 一步里真正在算的份额。
        total: 整次的秒数。
        tokens_per_s: 全部卡合起来每秒的 token。
        notes: 要说明的话。
    """

    devices: int
    memory: tuple[Line, ...]
    moved: tuple[Line, ...]
    times: tuple[Line, ...]
    peak: float
    fits: bool
    step: float
    efficiency: float
    total: float
    tokens_per_s: float
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Case:
    """算一种卡数要用的量，记号见模块说明。"""

    config: GPTConfig
    settings: PlanConfig
    world: int
    t: int
    params: int
    batch: float
    tokens: float

    @property
    def n(self) -> int:
        """数据并行的组数。"""
        return self.world // self.t

    @property
    def rank_tokens(self) -> float:
        """一个数据并行组一步的 token。"""
        return self.batch / self.n

    @property
    def micro(self) -> float:
        """一个微批的 token。"""
        return min(float(self.settings.micro_tokens), self.rank_tokens)

    @property
    def micros(self) -> int:
        """每步几个微批。"""
        return max(1, math.ceil(self.rank_tokens / self.micro - 1e-9))

    @property
    def sharded(self) -> bool:
        """数据并行的各组之间，状态也切开。"""
        return self.settings.parallel.startswith("fsdp")


def main(settings: PlanConfig) -> None:
    """打印每种卡数的算盘；要求了就写成 JSON。"""
    plans = plans_of(settings)
    print("\n".join(plan_lines(settings, plans)))
    if settings.json is not None:
        write_json(settings.json, {"settings": asdict(settings), "plans": [to_dict(one) for one in plans]})
        print(f"plan: {settings.json}")


def plans_of(settings: PlanConfig) -> list[Plan]:
    """各种卡数的算盘。

    Raises:
        UserError: 没有这个预设，或张量并行切不开各头。
    """
    config = preset(settings.preset, vocab_size=settings.vocab_size, context=settings.context)
    layers = sum(math.prod(s) for name, s in parameter_shapes(config).items() if name.startswith("h."))
    tokens = settings.tokens or float(TOKENS_PER_PARAMETER * layers)
    batch = float(settings.batch_tokens or BATCH[0] * (6 * layers * TOKENS_PER_PARAMETER * layers) ** BATCH[1])
    found = []
    for count in settings.devices:
        t = min(settings.tp, count) if "tp" in settings.parallel else 1
        _check_split(config, t, count)
        found.append(_plan(_Case(config, settings, count, t, parameter_count(config), batch, tokens)))
    return found


def _check_split(config: GPTConfig, t: int, count: int) -> None:
    if config.n_head % t or config.kv_heads % t or config.hidden_size % t or count % t:
        raise UserError(
            f"tensor parallel over {t} cannot split {config.n_head} heads ({config.kv_heads} for keys), "
            f"a hidden width of {config.hidden_size} and {count} devices",
            where="--tp",
            fix="use a common divisor",
        )


def _plan(case: _Case) -> Plan:
    device = ACCELERATORS[case.settings.kind]
    memory, moved = tuple(_memory(case)), tuple(_moved(case))
    times = tuple(_times(case, device, {line.name: line.value for line in moved}))
    peak, step = sum(line.value for line in memory), sum(line.value for line in times)
    room, steps = device.memory * RESERVED, math.ceil(case.tokens / case.batch)
    notes = []
    if peak > room:
        ways = "try fsdp, --recompute, fewer --micro-tokens"
        notes.append(f"does not fit: {size_text(peak)} of {size_text(room)}; {ways}")
    if case.rank_tokens < case.config.context:
        notes.append(f"{case.rank_tokens:,.0f} tokens per rank are less than one sequence: raise --batch-tokens")
    if case.t > device.per_node:
        notes.append(f"tensor parallel over {case.t} leaves the node of {device.per_node}")
    return Plan(case.world, memory, moved, times, peak, peak <= room, step, times[0].value / step, step * steps,
                case.batch / step, tuple(notes))  # fmt: skip


def _memory(case: _Case) -> Iterator[Line]:
    """每个 rank 的内存。"""
    shards = case.t * (case.n if case.sharded else 1)
    for name, size in (("weights", 4), ("gradients", 4), ("moments", 8)):
        yield Line(name, size * case.params / shards, f"{size} P / {shards} = {size} x {case.params:,} / {shards}")
    if case.sharded:
        block = _block(case.config)
        yield Line("gathered weights", 2 * 2 * block / case.t, f"2 blocks x 2 bytes x {block:,} / t={case.t}")
    else:
        yield Line("bfloat16 weights", 2 * case.params / case.t, f"2 P / t = 2 x {case.params:,} / {case.t}")
    each, text = activation_bytes(case.config, case.t, recompute=case.settings.recompute)
    yield Line("activations", each * case.micro, f"{case.micro:,.0f} tokens x {text} = {each:,.0f} bytes")
    vocab, rows = case.config.vocab_size, min(case.micro, CHUNK / case.config.vocab_size)
    width = case.config.n_embd
    text = f"{rows:,.0f} rows x V={vocab} x 6 bytes + 4 V C"
    yield Line("logits and head", rows * vocab * 6 + 4 * vocab * width, text)


def activation_bytes(config: GPTConfig, t: int, *, recompute: bool) -> tuple[float, str]:
    """一个 token 留给反传的字节：残差流 float32，其余 bfloat16，注意力不留权重矩阵。

    Args:
        config: 模型配置。
        t: 张量并行的组的大小；各头与中间层被它切开。
        recompute: 只留每层的输入，外加正在重算的一层。

    Returns:
        字节数，与代入了数的算式。
    """
    width, hidden = config.n_embd, config.hidden_size
    heads = (2 * config.n_head + 2 * config.kv_heads) * config.head_size
    copies = 4 if config.mlp == "swiglu" else 2
    layer = 12 * width + (2 * heads + 4 * config.n_head + 2 * copies * hidden) / t
    text = f"(12 C + (2 x {heads} + 4 H + {2 * copies} x {hidden}) / {t})"
    if recompute:
        return config.n_layer * 4 * width + layer, f"(L x 4 C + {text})"
    return config.n_layer * layer, f"L={config.n_layer} x {text}"


def _block(config: GPTConfig) -> int:
    """一层的参数，或嵌入，取大：FSDP 一次取齐的就是这么多。"""
    layer = sum(math.prod(s) for name, s in parameter_shapes(config).items() if name.startswith("h.0."))
    return max(layer, config.vocab_size * config.n_embd)


def _moved(case: _Case) -> Iterator[Line]:
    """每步每个 rank 发出的字节。"""
    n, t, size, m = case.n, case.t, case.params, case.micros
    ring, shown = (n - 1) / n, f"({n}-1)/{n}"
    if case.sharded:
        text = f"{m} micro x 2 x {shown} x 2 P / t (all-gather)"
        yield Line("weights gathered", m * 2 * ring * 2 * size / t, text)
        yield Line("gradients", m * ring * 4 * size / t, f"{m} micro x {shown} x 4 P / t (reduce-scatter)")
    else:
        yield Line("gradients", 2 * ring * 4 * size / t, f"2 x {shown} x 4 P / t (all-reduce)")
    tensor = 2 * (t - 1) / t * 2 * case.config.n_embd * case.micro
    text = f"{m} micro x 4 L x 2 x ({t}-1)/{t} x 2 C x {case.micro:,.0f} tokens (all-reduce)"
    yield Line("activations", m * 4 * case.config.n_layer * tensor, text)


def _times(case: _Case, device: Accelerator, moved: dict[str, float]) -> Iterator[Line]:
    """一步的秒数：算、藏不住的数据并行通信、张量并行通信。"""
    config, mfu = case.config, case.settings.mfu
    per_token = step_flops(config, 1) / config.context * (4 / 3 if case.settings.recompute else 1)
    flops = per_token * case.batch
    compute = flops / (case.world * device.flops * mfu)
    yield Line(
        "compute", compute, f"{flops:.3g} FLOPs / ({case.world} x {device.flops / 1e12:.0f} TFLOP/s x MFU {mfu})"
    )
    state = sum(value for name, value in moved.items() if name != "activations")
    rate = LINK_SHARE * (device.network if case.world > device.per_node else device.link)
    hidden = BACKWARD_SHARE * compute
    text = f"max(0, {size_text(state)} / {rate / 1e9:.3g} GB/s - {BACKWARD_SHARE:.2f} compute)"
    yield Line("exposed communication", max(0.0, state / rate - hidden), text)
    rate = LINK_SHARE * (device.network if case.t > device.per_node else device.link)
    text = f"{size_text(moved['activations'])} / {rate / 1e9:.3g} GB/s, not hidden"
    yield Line("tensor parallel", moved["activations"] / rate, text)


def to_dict(plan: Plan) -> dict[str, Any]:
    """可存成 JSON 的字典。"""
    found = asdict(plan)
    for name in ("memory", "moved", "times"):
        found[name] = {line.name: {"value": line.value, "formula": line.formula} for line in getattr(plan, name)}
    return found


def plan_lines(settings: PlanConfig, plans: list[Plan]) -> list[str]:
    """印出来的各行：先一张总表，再逐个卡数的算式。"""
    device = ACCELERATORS[settings.kind]
    config = preset(settings.preset, vocab_size=settings.vocab_size, context=settings.context)
    lines = [
        f"{settings.preset}: P = {parameter_count(config):,}, L = {config.n_layer}, C = {config.n_embd}, "
        f"H = {config.n_head}, V = {config.vocab_size}, context {config.context}",
        f"{settings.kind}: {device.memory / 1e9:.0f} GB, {device.flops / 1e12:.0f} TFLOP/s bfloat16, "
        f"{device.link / 1e9:.0f} GB/s in a node of {device.per_node}, {device.network / 1e9:.3g} GB/s between nodes",
        f"  source: {device.source}; nothing here was measured",
        "",
        f"{settings.parallel:<10} {'memory/rank':>14} {'moved/step':>14} {'step':>10} {'efficiency':>11} "
        f"{'tokens/s':>14} {'total':>12}",
    ]
    for one in plans:
        moved = size_text(sum(line.value for line in one.moved))
        lines.append(
            f"{one.devices:<10} {size_text(one.peak):>14} {moved:>14} {one.step * 1e3:>7.0f} ms "
            f"{one.efficiency:>11.0%} {one.tokens_per_s:>14,.0f} {format_duration(one.total):>12}"
        )
    for one in plans:
        lines += ["", f"{one.devices} device{'s' if one.devices > 1 else ''}"]
        for line in (*one.memory, *one.moved):
            lines.append(f"  {line.name:<22} {size_text(line.value):>14}   {line.formula}")
        lines += [f"  {line.name:<22} {line.value * 1e3:>11,.1f} ms   {line.formula}" for line in one.times]
        lines += [f"  note: {note}" for note in one.notes]
    return lines
