"""``python -m torch_llm report RUN [RUN2]``：一次运行的报告，或两次运行的对照。

流入：一个或两个运行文件夹；流出：网页、Markdown 与 JSON。对照里有：不同的设置、画在一起的曲线、最后的数字与它们的差。
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from tinygrad_llm.common.errors import UserError
from tinygrad_llm.common.run_names import existing_run

Rows = list[tuple[str, str, str, str]]
_DIFFERENCE = ("项目", "差")


@dataclass(frozen=True)
class ReportConfig:
    """写报告的设置。"""

    cli_markers: ClassVar[tuple[str, ...]] = ("PositionalRequiredArgs",)

    runs: tuple[str, ...]
    """一个或两个运行：名字，或运行文件夹的路径。"""
    runs_dir: str = "runs"
    """放各次运行的文件夹。"""
    out: str = ""
    """写到哪个文件夹；缺省是（头一个）运行的文件夹。"""

    def __post_init__(self) -> None:
        if len(self.runs) not in (1, 2):
            raise UserError(f"report takes one run or two, got {len(self.runs)}", fix="name one run, or two to compare")
        if self.out and len(self.runs) == 1:
            raise UserError("--out is for comparisons", where=f"--out {self.out}", fix="name two runs, or drop --out")

    @property
    def folders(self) -> list[Path]:
        """各运行的文件夹。"""
        return [existing_run(self.runs_dir, run) for run in self.runs]


def main(config: ReportConfig) -> None:
    """写报告，印出它在哪里。"""
    from tinygrad_llm.common.report import training_report

    folders = config.folders
    if len(folders) == 1:
        print(f"report: {training_report(folders[0])}")
        return
    out = Path(config.out) if config.out else folders[0]
    print(f"report: {comparison_report(folders[0], folders[1], out)}")


def comparison_report(first: Path, second: Path, out: Path) -> Path:
    """写下两次运行的对照。

    Args:
        first: 一次运行的文件夹。
        second: 另一次的。
        out: 写到哪里，没有就建。

    Returns:
        ``compare-A-B.html``；旁边是同名的 ``.md`` 与 ``.json``。

    Raises:
        UserError: 两次是同一个运行。
        DataError: 日志缺失或损坏。
        OutOfDiskError: 写不进去。
    """
    from tinygrad_llm.common.evaluation.card import stored_comparison
    from tinygrad_llm.common.report import Section, page, side_by_side, table, write_page
    from tinygrad_llm.common.report_text import rows_of
    from tinygrad_llm.common.runlog import read_metrics
    from tinygrad_llm.common.summary import summarise

    if first.resolve() == second.resolve():
        raise UserError("both names are the same run", where=str(first), fix="name two different runs")
    metrics = [read_metrics(folder) for folder in (first, second)]
    summaries = [summarise(folder, found) for folder, found in zip((first, second), metrics, strict=True)]
    names = _labels(first, second)
    results, settings = result_rows(*summaries), setting_rows(*summaries)
    sections = [
        Section("结果", table([_DIFFERENCE[0], *names, _DIFFERENCE[1]], results), "差是后者减前者。"),
        Section("曲线", side_by_side(_charts(names, metrics, summaries)), "深色是滑动平均。"),
        Section("不同的设置", table(["设置", *names], settings) if settings else "<p>没有。</p>"),
    ]
    sections[2:2] = stored_comparison(first, second, names)
    title = f"{names[0]} 与 {names[1]}"
    path = out / f"compare-{first.resolve().name}-{second.resolve().name}.html"
    out.mkdir(parents=True, exist_ok=True)
    write_page(path, page(title, sections, subtitle="两次训练的对照"))
    tables = ["## 结果", rows_of([_DIFFERENCE[0], *names, _DIFFERENCE[1]], results), "## 不同的设置"]
    tables += [rows_of(["设置", *names], settings) if settings else "没有。"]
    write_page(path.with_suffix(".md"), "\n\n".join([f"# {title}", *tables]) + "\n")
    content = {"runs": summaries, "different_settings": {name: [a, b] for name, a, b in settings}}
    write_page(path.with_suffix(".json"), json.dumps(content, ensure_ascii=False, indent=1) + "\n")
    return path


def _labels(first: Path, second: Path) -> list[str]:
    """两次运行的名字；同名时带上所在的文件夹。"""
    names = [first.resolve().name, second.resolve().name]
    return names if names[0] != names[1] else [str(first), str(second)]


def result_rows(first: Mapping[str, Any], second: Mapping[str, Any]) -> Rows:
    """最后的数字：两次的值与差；两边都没有的略去，只有一边有的写短横。"""
    wanted = {
        "步数": ("steps",), "最后的训练损失": ("final", "loss"), "最后的验证损失": ("final", "val_loss"),
        "最低的验证损失": ("best", "val_loss"), "最低的在第几步": ("best", "step"),
        "困惑度": ("final", "val_perplexity"), "bits/byte": ("final", "val_bits_per_byte"),
        "非有限，跳过的步": ("guard", "non_finite"), "尖峰，跳过的步": ("guard", "spikes"),
        "退回检查点": ("guard", "rollbacks"), "tokens/s": ("cost", "tokens_per_s"), "MFU": ("cost", "mfu"),
        "各步合计用时（秒）": ("cost", "training_s"), "训练过的 token": ("cost", "tokens"),
        "浮点运算": ("cost", "flops"), "内存峰值（字节）": ("cost", "peak_memory_bytes"),
    }  # fmt: skip
    rows: Rows = []
    for label, path in wanted.items():
        a, b = (_dig(summary, path) for summary in (first, second))
        if a is None and b is None:
            continue
        difference = None if a is None or b is None else b - a
        rows.append((label, *(_shown(value) for value in (a, b, difference))))  # type: ignore[arg-type]
    return rows


def _dig(summary: Any, path: tuple[str, ...]) -> float | None:
    for name in path:
        summary = summary.get(name) if isinstance(summary, Mapping) else None
    return summary if isinstance(summary, int | float) else None


def _shown(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.6g}"


def setting_rows(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """不同的设置，与最近一回的引擎、设备；一边没有写的是短横。运行名与文件夹总是不同，不列。"""
    ours, theirs = ({**summary["settings"], **_where(summary)} for summary in (first, second))
    names = [name for name in {**ours, **theirs} if name not in ("run", "runs_dir")]
    return [
        (name, str(ours.get(name, "–")), str(theirs.get(name, "–")))
        for name in names
        if ours.get(name) != theirs.get(name)
    ]


def _where(summary: Mapping[str, Any]) -> dict[str, Any]:
    last = summary["sessions"][-1] if summary["sessions"] else {}
    return {label: last[name] for label, name in (("引擎", "engine"), ("在哪里", "device")) if name in last}


def _charts(names: list[str], metrics: list[Any], summaries: list[dict[str, Any]]) -> list[str]:
    """两次的曲线画在一起；每步的 token 数不同时，损失另画一张以 token 为横轴的。"""
    from tinygrad_llm.common.report import Series, line_chart
    from tinygrad_llm.common.summary import points

    wanted = {
        "loss": "训练损失",
        "val_loss": "验证损失",
        "lr": "学习率",
        "grad_norm": "梯度范数",
        "tokens_per_s": "tokens/s",
    }

    def drawn(name: str, scales: list[float], title: str, x_label: str) -> str | None:
        found = [points(one, name) for one in metrics]
        series = [
            Series(label, [x * scale for x in xs], ys, smooth=name not in ("lr", "val_loss"))
            for label, (xs, ys), scale in zip(names, found, scales, strict=True)
            if ys
        ]
        return (
            line_chart(series, title=title, x_label=x_label, y_label="", log_y=name == "grad_norm") if series else None
        )

    charts = [drawn(name, [1.0, 1.0], title, "步") for name, title in wanted.items()]
    per_step = [(one["cost"]["tokens"] or 0) / max(one["steps"], 1) for one in summaries]
    if 0 not in per_step and per_step[0] != per_step[1]:
        charts.insert(1, drawn("loss", per_step, "训练损失（横轴是 token）", "token"))
    return [chart for chart in charts if chart]
