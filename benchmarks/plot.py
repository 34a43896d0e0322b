"""画图：每种测速一格，合成一张 PNG。

流入：``report.document`` 的结果；流出：图片文件。
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

COLUMNS = 3
WIDTH_IN, HEIGHT_IN = 5.0, 3.4


def save(document: dict[str, Any], path: Path) -> None:
    """把一种或全部测速画成一张图。

    Args:
        document: ``report.document`` 的结果。
        path: PNG 文件。
    """
    from matplotlib.figure import Figure

    results = document["results"] if document["benchmark"] == "all" else {document["benchmark"]: document["results"]}
    panels = [panel for name, found in results.items() for panel in PANELS[name](found)]
    columns = min(COLUMNS, max(len(panels), 1))
    rows = math.ceil(len(panels) / columns)
    figure = Figure(figsize=(WIDTH_IN * columns, HEIGHT_IN * rows), layout="constrained")
    for axes, draw in zip(figure.subplots(rows, columns, squeeze=False).flat, panels, strict=False):
        draw(axes)
    for axes in figure.axes[len(panels) :]:
        axes.set_axis_off()
    figure.savefig(path, dpi=120)


Panel = Callable[[Any], None]


def _bars(title: str, values: dict[str, float | None], *, unit: str, mark: float | None = None) -> Panel:
    def draw(axes: Any) -> None:
        shown = {name: value for name, value in values.items() if value is not None}
        bars = axes.barh(list(shown), list(shown.values()), color="#0072b2")
        axes.bar_label(bars, [f"{value:.3g}" for value in shown.values()], padding=3)
        axes.invert_yaxis()
        axes.margins(x=0.15)
        if mark is not None:
            axes.axvline(mark, color="#d55e00", linewidth=1)
        axes.set(title=title, xlabel=unit)

    return draw


def _lines(title: str, lines: dict[str, list[tuple[float, float]]], *, x: str, y: str) -> Panel:
    from matplotlib.ticker import LogLocator

    def draw(axes: Any) -> None:
        for name, found in lines.items():
            axes.plot(*zip(*found, strict=True), marker="o", markersize=3, label=name)
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.set_xticks(sorted({point[0] for found in lines.values() for point in found}))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_minor_formatter("")
        axes.set(title=title, xlabel=x, ylabel=y)
        axes.legend(frameon=False)

    return draw


def _step(results: list[dict[str, Any]]) -> list[Panel]:
    panels = []
    for one in results:
        times: dict[str, float | None] = {name: 1e3 * found["median_s"] for name, found in one["systems"].items()}
        for name, found in (one["gemm"] or {"systems": {}})["systems"].items():
            times[f"{name}, products only"] = 1e3 * found["median_s"]
        torch = times.get("torch")
        panels.append(_bars(f"training step, size {one['size']}", times, unit="ms", mark=torch))
    return panels


def _gemm(results: list[dict[str, Any]]) -> list[Panel]:
    rates: dict[str, float | None] = {
        f"{one['size']} {name}": found["gflops_per_s"] for one in results for name, found in one["systems"].items()
    }
    return [_bars("matrix products of one step", rates, unit="GFLOP/s")]


def _attention(results: list[dict[str, Any]]) -> list[Panel]:
    times: dict[str, list[tuple[float, float]]] = {}
    extra: dict[str, list[tuple[float, float]]] = {}
    for one in results:
        for name, found in one["systems"].items():
            times.setdefault(name, []).append((one["length"], 1e3 * found["median_s"]))
            added = max(found["peak_memory_bytes"] - found["baseline_memory_bytes"], 1 << 20)
            extra.setdefault(name, []).append((one["length"], added / 2**20))
    return [
        _lines("causal attention, forward and backward", times, x="length", y="ms"),
        _lines("causal attention, added memory", extra, x="length", y="MiB"),
    ]


def _decode(result: dict[str, Any]) -> list[Panel]:
    rates: dict[str, float | None] = {name: found["tokens_per_s"] for name, found in result["systems"].items()}
    mark = result["bound"]["tokens_per_s"]
    return [_bars(f"decode, size {result['size']} (line: memory bandwidth)", rates, unit="tokens/s", mark=mark)]


def _serving_decode(result: dict[str, Any]) -> list[Panel]:
    lines: dict[str, list[tuple[float, float]]] = {}
    for batch, found in result["decode"].items():
        for name, one in found["systems"].items():
            lines.setdefault(name, []).append((float(batch), one["tokens_per_s"]))
    waits: dict[str, float | None] = {name: one["median_s"] for name, one in result["prefill"]["systems"].items()}
    return [
        _lines("decoding, all sequences together", lines, x="sequences", y="tokens/s"),
        _bars(f"first token after a prompt of {result['prompt']}", waits, unit="s"),
    ]


def _quantization(result: dict[str, Any]) -> list[Panel]:
    rows = result["rows"]
    panels = [
        _bars(
            f"{corpus}: change of perplexity",
            {name: 100 * row["change"][corpus] for name, row in rows.items()},
            unit="%",
        )
        for corpus in result["tokens"]
    ]
    sizes = {name: row["bytes"] / 2**20 for name, row in rows.items()}
    speeds = {name: row["tokens_per_s"] for name, row in rows.items()}
    return [*panels, _bars("size", sizes, unit="MiB"), _bars("decoding, batch 1", speeds, unit="tokens/s")]


def _scaling(result: dict[str, Any]) -> list[Panel]:
    panels = []
    for axis, found in result["axes"].items():
        lines: dict[str, list[tuple[float, float]]] = {}
        for one in found:
            for name, system in one["systems"].items():
                lines.setdefault(name, []).append((one["value"], 1e3 * system["median_s"]))
        panels.append(_lines(f"step of size {result['size']} by {axis}", lines, x=axis, y="ms"))
    return panels


def _ablation(results: list[dict[str, Any]]) -> list[Panel]:
    panels = []
    for one in results:
        ratios = {name: found["systems"].get(name, {}).get("ratio") for name, found in one["techniques"].items()}
        panels.append(_bars(f"size {one['size']}: one technique off", ratios, unit="x all on", mark=1.0))
    return panels


def _overhead(result: dict[str, dict[str, float]]) -> list[Panel]:
    ratios: dict[str, float | None] = {name: one["ratio"] for name, one in result.items()}
    return [_bars("small graphs", ratios, unit="x torch", mark=1.0)]


def _loader(results: dict[str, Any]) -> list[Panel]:
    lines = {
        name: [(float(context), found["tokens_per_s"] / 1e6) for context, found in speeds.items()]
        for name, speeds in results["speeds"].items()
    }
    return [_lines("batches from shards", lines, x="T", y="million tokens/s")]


def _tokenizers(result: dict[str, Any]) -> list[Panel]:
    panels = []
    for one in result["training"]:
        times: dict[str, float | None] = {name: found["median_s"] for name, found in one["systems"].items()}
        panels.append(_bars(f"train to {one['vocab_size']:,} on {one['chars']:,} characters", times, unit="s"))
    rates: dict[str, float | None] = {
        name: found["bytes_per_s"] / 1e6 for name, found in result["encoding"]["systems"].items()
    }
    mark = rates.get("tiktoken")
    return [*panels, _bars("encode (line: tiktoken)", rates, unit="MB/s", mark=mark)]


def _cleaning(result: dict[str, Any]) -> list[Panel]:
    speeds = result["speed"]
    rates: dict[str, float | None] = {name: found["MB/s"] for name, found in speeds.items()}
    panels = [
        _bars("cleaning without near-dup (line: bound)", rates, unit="MB/s per core", mark=result["bound_mb_per_s"])
    ]
    for name, found in speeds.items():
        stages: dict[str, float | None] = {stage: ms for stage, ms in found.items() if stage not in ("MB", "MB/s")}
        panels.append(_bars(name, stages, unit="CPU ms per MB"))
    return panels


def _serving_load(result: dict[str, Any]) -> list[Panel]:
    from benchmarks.serving_load import BOUNDS_MS

    def bars(title: str, counts: list[int]) -> Panel:
        def draw(axes: Any) -> None:
            axes.bar(range(len(counts)), counts, color="#0072b2")
            axes.set_xticks(range(len(counts)), [f"{bound:g}" for bound in BOUNDS_MS], rotation=90, fontsize=7)
            axes.set(title=title, xlabel="ms, at most", ylabel="times")

        return draw

    panels = []
    if "streams" in result:
        rates = [(float(count), one["tokens_per_s"]) for count, one in result["streams"].items()]
        panels.append(_lines("tokens/s through the server", {"tokens/s": rates}, x="streams", y="tokens/s"))
    last = list(result.get("streams", {}).items())[-1:] + [("soak", one) for one in [result.get("soak")] if one]
    for name, one in last:
        shown = name if name == "soak" else f"{name} streams"
        panels.append(bars(f"time to first token, {shown}", one["first_histogram"]))
        panels.append(bars(f"time between tokens, {shown}", one["between_histogram"]))
    return panels


PANELS: dict[str, Callable[[Any], list[Panel]]] = {
    "step": _step,
    "gemm": _gemm,
    "attention": _attention,
    "decode": _decode,
    "serving_decode": _serving_decode,
    "serving_load": _serving_load,
    "quantization": _quantization,
    "scaling": _scaling,
    "ablation": _ablation,
    "overhead": _overhead,
    "tokenizers": _tokenizers,
    "loader": _loader,
    "cleaning": _cleaning,
}
"""测速的名字到它的各格。"""
