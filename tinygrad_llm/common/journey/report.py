"""全程的一页报告：先是一张总表，再逐站说做了什么、比基线如何，画出曲线，附上模型写的字。

流入：``journey.json`` 与各次运行的日志；流出：``report.html``，旁边是同名的 ``.md``。
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from tinygrad_llm.common.charts import Series, Whisker, bar_chart, interval_chart, line_chart
from tinygrad_llm.common.journey.runner import Stage
from tinygrad_llm.common.progress import format_duration
from tinygrad_llm.common.report import Section, page, preformatted, side_by_side, table, tiles, write_page
from tinygrad_llm.common.runlog import read_metrics
from tinygrad_llm.common.summary import points

__all__ = ["write_report"]

LABELS = {
    "duplicates left": "剩下的重复",
    "e-mail addresses left": "剩下的邮箱",
    "characters per token": "每 token 的字符",
    "bits per byte": "每字节比特",
    "bits per byte on dialogues": "对话的每字节比特",
    "old data forgotten": "旧数据忘掉的份额",
    "exact match": "精确匹配",
    "share of parameters trained": "学的参数的份额",
    "held-out margin": "没见过的好坏回答的奖励之差",
    "points of exact match lost": "精确匹配丢掉的份额",
    "gain in pass@1": "pass@1 的增量",
    "p of no gain": "「没有涨」的 p",
    "rise of perplexity": "困惑度升高的份额",
    "answers gained, lower end": "多答对的份额，区间的下沿",
    "attacks that succeed at first": "起初的攻击成功率",
    "exact match gained, lower end": "多答对的份额，区间的下沿（LoRA）",
    "attack success": "攻击成功率",
    "over-refusal": "乱拒率",
    "answers that differ from the command line": "与命令行不同的回答",
    "health": "健康",
}
"""终端上的名字到页面上的名字。"""
CURVES = {
    "loss": "损失",
    "val_bits_per_byte": "每字节比特",
    "val_bits_per_byte_old": "旧数据的每字节比特",
    "val_bits_per_byte_pretraining": "预训练数据的每字节比特",
    "val_bits_per_byte_midtraining": "中段训练数据的每字节比特",
    "margin": "好坏回答的奖励之差",
    "accuracy": "奖励偏向好回答的份额",
    "reward": "奖励",
    "kl": "离出发点多远（KL，纳特每 token）",
}
"""日志里的名字到图题。"""
HEADERS = ["站", "比什么", "得到", "界限", "达到", "说明"]
_NOTE = "每一站都有一条要超过的基线，界限在走之前就定好了；没达到的照样写在这里。"


def write_report(folder: Path, record: Mapping[str, Any], stages: Sequence[Stage]) -> Path:
    """写出报告。

    Args:
        folder: 全程的文件夹。
        record: ``journey.json`` 的内容。
        stages: 各站；没走到的不写。

    Returns:
        ``report.html``。

    Raises:
        OutOfDiskError: 写不进去。
    """
    walked = [stage for stage in stages if stage.name in record["stages"]]
    found = [record["stages"][stage.name] for stage in walked]
    checks = [check for one in found for check in one["checks"]]
    total_s = sum(one["elapsed_s"] for one in found)
    overview = tiles({
        "走过的站": f"{len(walked)} / {len(stages)}",
        "用时": format_duration(total_s),
        "达到的基线": f"{sum(check['is_met'] for check in checks)} / {len(checks)}",
        "引擎": record["settings"]["engine"],
    })  # fmt: skip
    rows = [_row(stage.title, check) for stage, one in zip(walked, found, strict=True) for check in one["checks"]]
    times = bar_chart(
        [stage.title for stage in walked], [one["elapsed_s"] for one in found], title="各站用了多久", x_label="秒"
    )
    exam = record["stages"].get("evaluate", {}).get("bars", [])[:1]
    charts = side_by_side([times, *map(_bars, exam)])
    sections = [Section("一览", overview + charts + table(HEADERS, rows), _NOTE)]
    sections += [
        Section(f"{i}　{stage.title}", _body(folder, one), f"{stage.note}（{format_duration(one['elapsed_s'])}）")
        for i, (stage, one) in enumerate(zip(walked, found, strict=True), 1)
    ]
    path = folder / "report.html"
    write_page(path, page("从一堆文字到一个聊天模型", sections, subtitle=f"全程报告 · {folder.name}"))
    write_page(path.with_suffix(".md"), _markdown(walked, found, rows))
    return path


def _row(title: str, check: Mapping[str, Any]) -> list[Any]:
    met = "是" if check["is_met"] else "否"
    return [
        title,
        LABELS.get(check["name"], check["name"]),
        _number(check["value"]),
        _number(check["bound"]),
        met,
        check["detail"],
    ]


def _number(value: float) -> str:
    """四位有效数字；很小的写到万分之一，不写成科学记数法。"""
    if not value or abs(value) >= 1e-3:
        return f"{value:.4g}"
    return f"{value:.4f}" if abs(value) >= 5e-5 else "不到 0.0001"


def _body(folder: Path, found: Mapping[str, Any]) -> str:
    parts = []
    if found["checks"]:
        parts.append(table(HEADERS[1:], [_row("", check)[1:] for check in found["checks"]]))
    if found["figures"]:
        parts.append(tiles(found["figures"]))
    charts = [chart for one in found["curves"] if (chart := _curve(folder / one["run"], one))]
    charts += [_bars(one) for one in found["bars"]]
    if charts:
        parts.append(side_by_side(charts))
    for name, text in found["texts"].items():
        parts.append(f"<h3>{escape(name)}</h3>{preformatted(text)}")
    links = [f'<a href="{escape(link)}">{escape(link)}</a>' for link in found["links"] if (folder / link).is_file()]
    if links:
        parts.append(f"<p>更多：{'　'.join(links)}</p>")
    return "\n".join(parts)


def _curve(run: Path, curve: Mapping[str, Any]) -> str:
    """一次运行的几条曲线；只有一个点的不画。"""
    metrics = [dict(record) for record in read_metrics(run)]
    lines = []
    for name in curve["names"]:
        x, y = points(metrics, name)
        if len(y) > 1:
            lines.append(Series(CURVES.get(name, name), x, y, smooth=name in ("loss", "margin", "reward")))
    if not lines:
        return ""
    title = f"{run.name}：{'、'.join(one.label for one in lines)}"
    if (bound := curve["bound"]) is not None:
        ends = [min(one.x[0] for one in lines), max(one.x[-1] for one in lines)]
        lines.append(Series("基线", ends, [bound, bound]))
    return line_chart(lines, title=title, x_label="步", y_label="")


def _bars(bars: Mapping[str, Any]) -> str:
    """一张区间图。"""
    rows = [Whisker(label, value, low, high, bars["mark"]) for label, value, low, high in bars["rows"]]
    return interval_chart(rows, title=bars["title"])


def _markdown(stages: Sequence[Stage], found: Sequence[Mapping[str, Any]], rows: Sequence[Sequence[Any]]) -> str:
    lines = ["# 从一堆文字到一个聊天模型", "", f"| {' | '.join(HEADERS)} |", f"|{' :--- |' * len(HEADERS)}"]
    lines += [f"| {' | '.join(str(cell) for cell in row)} |" for row in rows]
    for stage, one in zip(stages, found, strict=True):
        lines += ["", f"## {stage.title}", "", f"{stage.note}（{format_duration(one['elapsed_s'])}）"]
        lines += [f"- {name}：{value}" for name, value in one["figures"].items()]
        for name, text in one["texts"].items():
            lines += ["", f"{name}：", "", "```text", text, "```"]
    return "\n".join([*lines, ""])
