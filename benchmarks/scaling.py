"""一步训练随什么增长：序列长度、批大小、层数逐次加倍，核数从一到全部。

流入：一种规模；流出：每加倍一次，用时是原来的几倍，旁边是算术量的倍数。两者相近，就是没有藏着别的代价。
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from benchmarks import report, step
from benchmarks.compare import compare
from benchmarks.options import Options, unknown
from benchmarks.sizes import SIZES, sized
from tinygrad_llm.common import work
from tinygrad_llm.common.config import PRESETS, GPTConfig
from tinygrad_llm.common.progress import format_bytes

ENGINES = ("numpy", "torch")
AXES = ("length", "batch", "layers", "cores")


@dataclass(frozen=True)
class ScalingOptions(Options):
    """伸缩的测速。"""

    size: str | None = None
    """从哪种规模出发；缺省 S，``--quick`` 时 T。"""
    axes: tuple[str, ...] = AXES
    """沿哪些方向：length、batch、layers、cores。"""

    def problems(self) -> list[str]:
        """各项设置里不对的地方。"""
        found = [*super().problems(), *unknown("axes", self.axes, AXES)]
        return found + unknown("size", [self.size] if self.size else [], (*SIZES, *PRESETS))


@dataclass(frozen=True)
class Point:
    """一个方向上的一点。

    Attributes:
        value: 横坐标。
        model: 模型配置。
        batch: 批大小。
        cores: 用几个核；``None`` 是全部。
    """

    value: int
    model: GPTConfig
    batch: int
    cores: int | None = None


def points(axis: str, model: GPTConfig, batch: int, cores: int, *, quick: bool) -> list[Point]:
    """一个方向上要量的各点；除了这个方向，别的都不变。

    Args:
        axis: ``AXES`` 之一。
        model: 出发的模型。
        batch: 出发的批大小；沿长度伸缩时固定为 2，否则 4096 的一步太久。
        cores: 一共几个核。
        quick: 少量几点。

    Returns:
        由小到大的各点。
    """
    if axis == "length":
        lengths = (128, 256, 512) if quick else (256, 512, 1024, 2048, 4096)
        return [Point(length, replace(model, context=length), 2) for length in lengths]
    if axis == "batch":
        return [Point(size, model, size) for size in (2, 4, 8, 16)[: 3 if quick else 4]]
    if axis == "layers":
        return [Point(count, replace(model, n_layer=count), batch) for count in ((2, 4) if quick else (1, 2, 4, 8))]
    return [Point(count, model, batch, count) for count in range(1, cores + 1)]


def measure(options: ScalingOptions) -> dict[str, Any]:
    """各个方向依次来。"""
    size = options.size or ("T" if options.quick else "S")
    model, batch = sized(size)
    axes = {}
    for axis in options.axes:
        chosen = points(axis, model, batch, options.core_count, quick=options.quick)
        axes[axis] = [_measure_point(point, options) for point in chosen]
    return {"size": size, "axes": axes}


def _measure_point(point: Point, options: ScalingOptions) -> dict[str, Any]:
    here = replace(options, cores=point.cores or options.cores)
    systems = [step.system(engine, point.model, point.batch, here) for engine in ENGINES]
    found = compare(systems, options.plan, step.REFERENCE, warmup=options.warmup, check=step.same_losses)
    return {
        "value": point.value,
        "batch": point.batch,
        "context": point.model.context,
        "layers": point.model.n_layer,
        "flops": work.step_flops(point.model, point.batch),
        **found,
    }


def text(result: dict[str, Any]) -> str:
    """每个方向一张表。"""
    parts = [f"training step of size {result['size']}, float32"]
    for axis, found in result["axes"].items():
        head = [axis, "GFLOP", "x previous"]
        for engine in ENGINES:
            head += [engine, "x previous", "memory"]
        parts += [report.table([*head, "numpy / torch"], _rows(found)), ""]
    return "\n".join(parts)


def _rows(found: Sequence[dict[str, Any]]) -> list[list[str]]:
    rows = []
    for i, one in enumerate(found):
        before = found[i - 1] if i else None
        row = [
            str(one["value"]),
            f"{one['flops'] / 1e9:.4g}",
            report.times(one["flops"] / before["flops"] if before else None),
        ]
        for engine in ENGINES:
            row += _cells(one["systems"].get(engine), before["systems"].get(engine) if before else None)
        ours = one["systems"].get("numpy", {"ratio": None, "noisy": False})
        rows.append([*row, report.times(ours["ratio"], noisy=ours["noisy"])])
    return rows


def _cells(one: dict[str, Any] | None, before: dict[str, Any] | None) -> list[str]:
    if one is None:
        return ["-", "-", "-"]
    grown = one["median_s"] / before["median_s"] if before else None
    time = report.milliseconds(one["median_s"]) + "*" * one["noisy"]
    return [time, report.times(grown), format_bytes(one["peak_memory_bytes"])]


def main(options: ScalingOptions) -> None:
    """``python -m benchmarks scaling``。"""
    result = measure(options)
    print(f"{text(result)}\n{report.CAVEATS}")
    report.publish(report.document("scaling", options, result), options)
