"""每项技术值多少：一次关掉一项，与全开的引擎逐轮相比。

流入：规模与要关的技术；流出：步长与内存各变成几倍。大于 1 就是这项技术省下的。怎样关，见 ``patches.py``。
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from benchmarks import report, step
from benchmarks.compare import compare
from benchmarks.options import Options, unknown
from benchmarks.patches import PATCHES
from benchmarks.sizes import SIZES, sized
from tinygrad_llm.common.config import PRESETS
from tinygrad_llm.common.progress import format_bytes

BASE = "all on"


@dataclass(frozen=True)
class AblationOptions(Options):
    """逐项关掉的测速。"""

    sizes: tuple[str, ...] | None = None
    """规模；缺省 T 与 S，``--quick`` 时只有 T。"""
    only: tuple[str, ...] | None = None
    """只关这几项；缺省是全部。"""

    def problems(self) -> list[str]:
        """各项设置里不对的地方。"""
        found = [*super().problems(), *unknown("sizes", self.sizes or (), (*SIZES, *PRESETS))]
        return found + unknown("only", self.only or (), tuple(PATCHES))


def measure_size(size: str, options: AblationOptions) -> dict[str, Any]:
    """一种规模上的各项。"""
    model, batch = sized(size)
    base = step.system("numpy", model, batch, options, name=BASE)
    rows: dict[str, Any] = {}
    for name in options.only or tuple(PATCHES):
        off = step.system("numpy", model, batch, options, name=name, patch=name)
        found = compare([base, off], options.plan, BASE, warmup=options.warmup, check=step.same_losses)
        rows[name] = {**found, "note": PATCHES[name].note}
    return {"size": size, "batch": batch, "context": model.context, "techniques": rows}


def measure(options: AblationOptions) -> list[dict[str, Any]]:
    """各种规模依次来。"""
    sizes = options.sizes or (("T",) if options.quick else ("T", "S"))
    return [measure_size(size, options) for size in sizes]


def text(results: list[dict[str, Any]]) -> str:
    """每种规模一张表，从最值的一项排起。"""
    parts = []
    for one in results:
        techniques = one["techniques"].items()
        rows = [_row(name, found) for name, found in sorted(techniques, key=lambda item: -_ratio(*item))]
        head = [f"{one['size']}: switched off", "step", "x all on", "memory", "x all on", "turns", "instead"]
        parts.append(report.table(head, rows))
        parts += [f"{name}: {found['unavailable']}" for name, found in techniques if found["unavailable"]]
        parts.append("")
    return "\n".join(parts)


def _ratio(name: str, found: dict[str, Any]) -> float:
    return float(found["systems"].get(name, {}).get("ratio") or 0.0)


def _row(name: str, found: dict[str, Any]) -> list[str]:
    base, off = found["systems"].get(BASE), found["systems"].get(name)
    if base is None or off is None:
        return [name, "-", "-", "-", "-", "-", found["note"]]
    return [
        name + "*" * off["noisy"],
        report.milliseconds(off["median_s"]),
        report.times(off["ratio"], noisy=off["noisy"]),
        format_bytes(off["peak_memory_bytes"]),
        report.times(off["peak_memory_bytes"] / max(base["peak_memory_bytes"], 1)),
        report.turns(off),
        found["note"],
    ]


def main(options: AblationOptions) -> None:
    """``python -m benchmarks ablation``。"""
    results = measure(options)
    print(f"{text(results)}\n{report.CAVEATS}")
    report.publish(report.document("ablation", options, results), options)
