"""报告：一个自足的 HTML 页面，不发任何请求，明暗两色，手机上也能读。

流入：``summary.py`` 收集的事实，与运行文件夹里的曲线和样本；流出：``report.html``，旁边是 Markdown 与 JSON。
页面由几种积木拼成：``charts.py`` 的图，这里的数字牌、表格与文本块；别的报告也用同样的积木。
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from .charts import Series, bar_chart, line_chart
from .errors import OutOfDiskError
from .files import write_atomically
from .forgetting import forgetting_chart
from .report_text import COST_NOTE, GUARD_NOTE, cost_rows, environment_rows, guard_rows, headline, markdown, overview
from .runlog import CONFIG, read_metrics, read_samples
from .summary import points, summarise

__all__ = [
    "Section",
    "Series",
    "bar_chart",
    "line_chart",
    "page",
    "preformatted",
    "side_by_side",
    "table",
    "tiles",
    "training_report",
    "write_page",
]

REPORT = "report.html"
MAX_SAMPLES = 8
MAX_SAMPLE_CHARS = 1500
STYLE_SHEET = Path(__file__).with_name("report.css")
# 只许行内样式，另加 page() 自己放进去的那一段脚本（按摘要认）：混进别的脚本或外部地址，浏览器也不会理会
CONTENT_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


@dataclass(frozen=True)
class Section:
    """页面的一节。

    Attributes:
        title: 小标题，纯文字。
        body: 由本模块的积木拼成的 HTML。
        note: 小标题下的一句说明，纯文字；可以为空。
    """

    title: str
    body: str
    note: str = ""


def page(title: str, sections: Sequence[Section], *, subtitle: str = "", script: str = "") -> str:
    """拼出整个页面。

    Args:
        title: 标题，纯文字。
        sections: 各节，从上到下。
        subtitle: 标题下的一行小字。
        script: 放在页尾的一段脚本；没有则整页不许运行脚本。

    Returns:
        完整的 HTML 文档。
    """
    policy = CONTENT_POLICY
    if script:
        digest = hashlib.sha256(script.encode()).digest()
        policy += f"; script-src 'sha256-{base64.b64encode(digest).decode()}'"
    parts = [
        "<!DOCTYPE html>",
        '<html lang="zh-CN">',
        '<head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="color-scheme" content="light dark">',
        f"<title>{escape(title)}</title>",
        f"<style>\n{STYLE_SHEET.read_text(encoding='utf-8')}</style></head>",
        f"<body><main><header><h1>{escape(title)}</h1>",
        f"<p>{escape(subtitle)}</p></header>" if subtitle else "</header>",
    ]
    for section in sections:
        note = f'<p class="note">{escape(section.note)}</p>' if section.note else ""
        parts.append(f"<section><h2>{escape(section.title)}</h2>{note}\n{section.body}</section>")
    end = f"</main><script>{script}</script></body></html>" if script else "</main></body></html>"
    return "\n".join([*parts, end, ""])


def tiles(figures: Mapping[str, str]) -> str:
    """几块并排的数字牌。

    Args:
        figures: 名目到数字（已写成文字）。

    Returns:
        HTML 片段。
    """
    cells = [f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in figures.items()]
    return f'<dl class="tiles">{"".join(cells)}</dl>'


def table(headers: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """一张表；数字右对齐，窄屏上可以横向滚动。

    Args:
        headers: 表头。
        rows: 各行；单元格是文字、数字或 ``None``（显示为短横）。

    Returns:
        HTML 片段。
    """
    head = "".join(f"<th>{escape(text)}</th>" for text in headers)
    body = "".join(f"<tr>{''.join(_cell(value) for value in row)}</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f'<td class="number">{value:.6g}</td>'
    if isinstance(value, int) and not isinstance(value, bool):
        return f'<td class="number">{value:,}</td>'
    return f"<td>{'–' if value is None else escape(str(value))}</td>"


def side_by_side(charts: Sequence[str]) -> str:
    """几张图并排；屏幕窄时自动排成一列。

    Args:
        charts: ``line_chart`` 与 ``bar_chart`` 的结果。

    Returns:
        HTML 片段。
    """
    return f'<div class="charts">{"".join(charts)}</div>'


def preformatted(text: str) -> str:
    """一段原样显示的文字，太长的行会折。

    Args:
        text: 任意文字。

    Returns:
        HTML 片段。
    """
    return f"<pre>{escape(text)}</pre>"


def write_page(path: Path, html: str) -> None:
    """把页面可靠地写到文件，读者不会看到半个页面。

    Args:
        path: 目标文件。
        html: 完整的 HTML 文档。

    Raises:
        OutOfDiskError: 写不进去。
    """
    try:
        write_atomically(path, html.encode("utf-8", "replace"))  # 生成的文字可能含孤立的代理项
    except OSError as error:
        raise OutOfDiskError(
            f"cannot write the report: {error.strerror}", where=str(path), fix="free some space or check the folder"
        ) from error


def training_report(folder: Path) -> Path:
    """由运行文件夹写出训练报告：给人看的网页与 Markdown，给程序看的 JSON。

    Args:
        folder: 运行文件夹。

    Returns:
        写好的 ``report.html``；旁边是 ``report.md`` 与 ``report.json``。

    Raises:
        DataError: 日志缺失或损坏。
        OutOfDiskError: 写不进去。
    """
    from tinygrad_llm.common.evaluation.card import stored_sections  # 成绩单也用这里的积木，两个文件互相用到
    from tinygrad_llm.common.tuning.confusion import confusion_sections
    from tinygrad_llm.common.tuning.outcome import outcome

    metrics, samples = read_metrics(folder), _spread(read_samples(folder), MAX_SAMPLES)
    summary = summarise(folder, metrics)
    sections = [Section("概览", tiles(overview(summary)), headline(summary))]
    if lines := outcome(metrics, folder):
        sections.append(Section("训练前后", preformatted("\n".join(lines)), "方括号里是 95 % 区间。"))
    sections += confusion_sections(folder)
    charts = _training_charts(metrics)
    if charts:
        sections.append(Section("曲线", side_by_side(charts), "淡色是每一步，深色是滑动平均。"))
    sections.append(Section("守卫", table(["项目", "次数"], guard_rows(summary)), GUARD_NOTE))
    if samples:
        body = "".join(f"<h3>第 {step:,} 步</h3>{preformatted(_clipped(text))}" for step, text in samples)
        sections.append(Section("样本", body, "同一个模型在训练途中写下的文字，由早到晚。"))
    sections += stored_sections(folder)
    sections.append(Section("代价", table(["项目", "数量"], cost_rows(summary)), COST_NOTE))
    if (folder / CONFIG).exists():
        config = (folder / CONFIG).read_text(encoding="utf-8", errors="replace")
        sections.append(Section("配置", preformatted(config.strip())))
    sections.append(Section("环境", table(["项目", "内容"], environment_rows(summary)), "最近一回训练所在的机器。"))
    path = folder / REPORT
    write_page(path, page(folder.resolve().name, sections, subtitle="训练报告"))
    write_page(path.with_suffix(".md"), markdown(summary, [(step, _clipped(text)) for step, text in samples]))
    write_page(path.with_suffix(".json"), json.dumps(summary, ensure_ascii=False, indent=1) + "\n")
    return path


def _training_charts(metrics: Sequence[Mapping[str, Any]]) -> list[str]:
    """熟悉的几条曲线在前，其余的数字也各画一张：别的训练方法记什么就看得到什么。"""
    charts: list[str] = []
    losses = [
        Series(label, *points(metrics, name), smooth=name == "loss")
        for name, label in (("loss", "训练"), ("val_loss", "验证"))
        if points(metrics, name)[1]
    ]
    if losses:
        charts.append(line_chart(losses, title="损失", x_label="步", y_label=""))
    if chart := forgetting_chart(metrics):
        charts.append(chart)
    rates = {"accuracy": "模型", "bag_of_words": "词袋基线", "chance": "总猜最多的一类"}
    if points(metrics, "accuracy")[1]:
        lines = [Series(label, *points(metrics, name)) for name, label in rates.items()]
        charts.append(line_chart(lines, title="留作评估的正确率", x_label="步", y_label=""))
    known = {
        "val_perplexity": ("验证集的困惑度", "", True),
        "val_bits_per_byte": ("验证集的压缩率", "bits/byte", False),
        "lr": ("学习率", "", False),
        "grad_norm": ("梯度范数", "L2 范数", True),
        "tokens_per_s": ("速度", "tokens/s", False),
        "mfu": ("MFU：用上了峰值的几成", "", False),
        "memory_bytes": ("内存峰值", "字节", False),
    }
    shown = {"step", "loss", "val_loss", "elapsed_s", "eval_s", "val_bits_per_byte_old", *known, *rates}
    others = {name for record in metrics for name in record if not name.endswith("_n")} - shown
    for name in [*known, *sorted(others)]:
        x, y = points(metrics, name)
        if len(y) > 1:
            title, y_label, log_y = known.get(name, (name, "", False))
            smooth = name != "lr" and not name.startswith("val_")
            one = Series(name, x, y, smooth=smooth)
            charts.append(line_chart([one], title=title, x_label="步", y_label=y_label, log_y=log_y))
    return charts


def _spread(samples: list[tuple[int, str]], count: int) -> list[tuple[int, str]]:
    """样本太多时均匀地挑几个，首尾必在其中。"""
    if len(samples) <= count:
        return samples
    return [samples[round(index * (len(samples) - 1) / (count - 1))] for index in range(count)]


def _clipped(text: str) -> str:
    return text if len(text) <= MAX_SAMPLE_CHARS else text[:MAX_SAMPLE_CHARS] + "……"
