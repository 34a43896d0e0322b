"""主线的呈现：终端上的两张表，与一页自包含的 HTML。

流入：``quickstart.Results``；流出：终端文字与 ``report.html``。
"""

from __future__ import annotations

from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_llm.common.config import parameter_count
from tinygrad_llm.common.progress import format_bytes, format_duration
from tinygrad_llm.common.report import (
    Section,
    Series,
    line_chart,
    page,
    preformatted,
    side_by_side,
    table,
    tiles,
    write_page,
)
from tinygrad_llm.common.system import git_commit, hardware
from tinygrad_llm.common.toml import dump_toml

if TYPE_CHECKING:
    from tinygrad_llm.quickstart.command import Results

NEURON_HEADERS = ["value", "computed as", "forward", "∂L (NumPy)", "∂L (torch)", "difference"]
CHECK_HEADERS = ["compared", "found", "bound", ""]


def print_neuron(rows: list[list[str]]) -> None:
    """打印单个神经元的反传表。"""
    _print_table(NEURON_HEADERS, rows)


def print_checks(results: Results) -> None:
    """打印对照表与速度。"""
    print()
    _print_table(CHECK_HEADERS, _check_rows(results))
    speed = _speeds(results)
    ratio = speed["torch"] / speed["numpy"]
    print(
        f"tokens/s: NumPy {speed['numpy']:,.0f}, torch {speed['torch']:,.0f} "
        f"(a NumPy step takes {ratio:.2f} x torch's); total {format_duration(results.elapsed_s)}"
    )


def _check_rows(results: Results) -> list[list[str]]:
    return [[c.what, _number(c.found), _number(c.bound), "ok" if c.ok else "FAILED"] for c in results.checks]


def _number(value: float) -> str:
    return f"{value:.0f}" if value == int(value) else f"{value:.3f}" if value >= 0.1 else f"{value:.1e}"


def _print_table(headers: list[str], rows: list[list[str]]) -> None:
    from rich.console import Console
    from rich.table import Table

    shown = Table(box=None, pad_edge=False, header_style="bold")
    for header in headers:
        shown.add_column(header, no_wrap=True)
    for row in rows:
        style = {"ok": "green", "FAILED": "bold red"}.get(row[-1])
        shown.add_row(*row[:-1], f"[{style}]{row[-1]}[/]" if style else row[-1])
    Console(width=None if Console().is_terminal else 120, highlight=False).print(shown)


def _speeds(results: Results) -> dict[str, float]:
    """各引擎每秒 token 数的中位数。"""
    return {e: median(r["tokens_per_s"] for r in results.metrics[e] if "tokens_per_s" in r) for e in ("numpy", "torch")}


def write_report(results: Results) -> Path:
    """写出 ``report.html``。

    Args:
        results: 主线的全部数字。

    Returns:
        文件路径。
    """
    sections = [
        _summary(results),
        Section(
            "一个神经元的反传",
            table(NEURON_HEADERS, results.neuron),
            "a = σ(w·x + b)，目标为 1，损失 L = −ln a。最右三列是损失对这一行的导数：手写引擎、torch、两者之差。",
        ),
        _curves(results),
        _gradients(results),
        _quality(results),
        _samples(results),
        _settings(results),
    ]
    path = results.config.folder / "report.html"
    write_page(path, page("同一个 GPT，两个引擎", sections, subtitle="NumPy 手写自动微分与 PyTorch 的并排训练"))
    return path


def _summary(results: Results) -> Section:
    speed = _speeds(results)
    bits = results.metrics["numpy"]
    figures = {
        "参数": f"{parameter_count(results.session.model):,}",
        "训练步数": f"{results.config.steps}",
        "每字节比特": f"{_last(bits, 'val_bits_per_byte'):.3f}",
        "三元字节模型": f"{results.baseline:.3f}",
        "NumPy token/s": f"{speed['numpy']:,.0f}",
        "torch token/s": f"{speed['torch']:,.0f}",
    }
    return Section("结论", tiles(figures) + table(CHECK_HEADERS, _check_rows(results)), "每一行都是这次运行量出来的。")


def _last(records: list[dict[str, Any]], name: str) -> float:
    return float([r[name] for r in records if name in r][-1])


def _series(results: Results, run: str, name: str) -> tuple[list[float], list[float]]:
    found = [(r["step"] + 1, r[name]) for r in results.metrics[run] if name in r]
    return [float(step) for step, _ in found], [float(value) for _, value in found]


def _curves(results: Results) -> Section:
    labels = {"numpy": "NumPy", "torch": "torch", "handover": "NumPy → torch"}
    curves = [Series(label, *_series(results, run, "loss")) for run, label in labels.items()]
    steps, ours = _series(results, "numpy", "loss")
    gaps = []
    for run in ("torch", "handover"):
        other = _series(results, run, "loss")[1]
        gap = np.abs(np.array(ours) - np.array(other)) / np.array(other)
        shown = [(s, float(g)) for s, g in zip(steps, gap, strict=True) if g > 0]
        gaps.append(Series(f"{labels[run]} 与 NumPy", [s for s, _ in shown], [g for _, g in shown]))
    charts = [
        line_chart(curves, title="训练损失", x_label="步", y_label="纳特 / token"),
        line_chart(gaps, title="每步损失的相对差", x_label="步", y_label="|Δ| / 损失", log_y=True),
    ]
    note = "三条曲线重合到看不出差别；第二张图画的就是它们的差（逐位相同的步不画）。"
    return Section("损失曲线", side_by_side(charts), note)


def _gradients(results: Results) -> Section:
    layers: dict[str, tuple[float, str]] = {}
    for name, gap in results.gradients.items():
        layer = ".".join(name.split(".")[:2]) if name.startswith("h.") else name.split(".")[0]
        layers[layer] = max(layers.get(layer, (0.0, "")), (gap, name))
    rows = [[layer, name, f"{gap:.1e}"] for layer, (gap, name) in layers.items()]
    return Section(
        "首个批次的梯度",
        table(["层", "差得最多的参数", "max|Δ| / max|g|"], rows),
        "同样的初始权重、同样的批次，两个引擎各自反传一次。",
    )


def _quality(results: Results) -> Section:
    speed, rows = _speeds(results), []
    for engine, label in (("numpy", "NumPy"), ("torch", "torch")):
        records = results.metrics[engine]
        rows.append(
            [
                label,
                f"{_last(records, 'val_loss'):.4f}",
                f"{_last(records, 'val_bits_per_byte'):.4f}",
                f"{speed[engine]:,.0f}",
                format_bytes(_last(records, "memory_bytes")),
            ]
        )
    rows.append(["三元字节模型", "", f"{results.baseline:.4f}", "", ""])
    headers = ["模型", "验证损失（纳特/token）", "验证每字节比特", "token/s（中位数）", "进程内存峰值"]
    return Section(
        "验证集与开销", table(headers, rows), "基线是在同一份训练文本上拟合的插值三元字节模型，验证文本相同。"
    )


def _samples(results: Results) -> Section:
    same = results.samples["numpy"] == results.samples["torch"]
    note = "两个引擎从同一个检查点、同一个种子生成，" + ("逐字相同。" if same else "有差别。")
    body = preformatted(results.samples["numpy"])
    return Section("样本", body if same else body + preformatted(results.samples["torch"]), note)


def _settings(results: Results) -> Section:
    rows = [[name, value] for name, value in hardware().items()]
    rows.append(["git", git_commit() or "-"])
    body = table(["项", "值"], rows) + preformatted(dump_toml(results.config))
    return Section("设置与环境", body)
