"""报告里的文字：数字牌、几张表的行，与整份 Markdown。

流入：``summary.summarise`` 的字典；流出：文字，没有记录的一项略去。下一个文件：``report.py`` 把它们拼成网页。
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tinygrad_llm.common.progress import format_bytes, format_duration
from tinygrad_llm.common.system import hardware

__all__ = [
    "COST_NOTE",
    "GUARD_NOTE",
    "cost_rows",
    "environment_rows",
    "guard_rows",
    "headline",
    "markdown",
    "overview",
    "rows_of",
    "settings_table",
]

Summary = Mapping[str, Any]
Rows = list[tuple[str, str]]

GUARD_NOTE = "坏掉的一步不更新参数；尖峰接连出现就退回检查点，绕开那段数据。跳过的批次存在 bad_batches/ 里。"
COST_NOTE = "只算留在日志里的步；浮点运算只计矩阵乘法，峰值由开训时的一次测量得来；能耗没有量过，不写。"


def overview(summary: Summary) -> dict[str, str]:
    """数字牌上的内容。"""
    final, best, cost = summary["final"], summary["best"] or {}, summary["cost"]
    figures = {
        "步数": f"{summary['steps']:,}",
        "最后的训练损失": _number(final["loss"]),
        "最低的验证损失": _number(best.get("val_loss")),
        "最后的困惑度": _number(final["val_perplexity"], ".4g"),
        "最后的 bits/byte": _number(final["val_bits_per_byte"]),
        "tokens/s（中位数）": _number(cost["tokens_per_s"], ",.0f"),
        "MFU（中位数）": _number(cost["mfu"], ".1%"),
        "训练用时": None if cost["training_s"] is None else format_duration(cost["training_s"]),
    }
    return {name: value for name, value in figures.items() if value}


def headline(summary: Summary) -> str:
    """一句话：训练怎样结束，最好的是哪一步。"""
    parts = []
    if stopped := summary["early_stop"]:
        parts.append(f"在第 {stopped.get('step')} 步提前停下：{stopped.get('stale')} 次评估没有进步。")
    if best := summary["best"]:
        kept = "，检查点留着" if best["is_kept"] else ""
        parts.append(f"验证损失最低的是第 {best['step']:,} 步之后（{best['val_loss']:.4f}）{kept}。")
    return "".join(parts)


def guard_rows(summary: Summary) -> Rows:
    """守卫的计数。"""
    guard = summary["guard"]
    rows = [
        ("非有限，跳过的步", f"{guard['non_finite']:,}"),
        ("尖峰，跳过的步", f"{guard['spikes']:,}"),
        ("退回检查点", f"{guard['rollbacks']:,}"),
    ]
    windows = ", ".join(f"{start}–{stop - 1}" for start, stop in guard["skipped_batches"])
    return [*rows, ("绕开的批次", windows)] if windows else rows


def cost_rows(summary: Summary) -> Rows:
    """时间、token、浮点运算、内存。"""
    cost = summary["cost"]
    peak, memory = cost["peak_flops_per_s"], cost["peak_memory_bytes"]
    rows = [
        ("各步合计用时", None if cost["training_s"] is None else format_duration(cost["training_s"])),
        ("评估用时", None if cost["evaluation_s"] is None else format_duration(cost["evaluation_s"])),
        ("训练过的 token", _number(cost["tokens"], ",d")),
        ("浮点运算", _number(cost["flops"], ".3e")),
        ("实测的峰值", None if peak is None else f"{peak / 1e9:,.1f} GFLOP/s"),
        ("内存峰值", None if memory is None else format_bytes(memory)),
    ]
    return [(name, value) for name, value in rows if value]


def environment_rows(summary: Summary) -> Rows:
    """最近一回在哪里跑；没有记录时说生成报告的这台机器。"""
    sessions = summary["sessions"]
    if not sessions:
        return list(hardware().items())
    last = sessions[-1]
    rows = [("引擎", last.get("engine")), ("设备", last.get("device")), ("开始于", last.get("started_at"))]
    rows += [*_strings(last.get("hardware")).items(), *_strings(last.get("versions")).items()]
    rows += [("代码", last.get("code")), ("所在文件夹的提交", last.get("folder_commit"))]
    rows += [("共几回", f"{len(sessions)}：" + "，".join(_session(one) for one in sessions[-8:]))]
    return [(name, str(value)) for name, value in dict(rows).items() if value]


def _session(one: Mapping[str, Any]) -> str:
    return f"{one.get('engine')} 从第 {one.get('step')} 步起"


def _strings(value: Any) -> dict[str, str]:
    return {str(name): str(text) for name, text in value.items()} if isinstance(value, Mapping) else {}


def markdown(summary: Summary, samples: Sequence[tuple[int, str]]) -> str:
    """整份报告的 Markdown。

    Args:
        summary: ``summarise`` 的结果。
        samples: 步号与文字。
    """
    parts = [
        f"# {_plain(summary['run'])}",
        headline(summary),
        rows_of(("项目", "数字"), list(overview(summary).items())),
    ]
    parts += ["## 守卫", GUARD_NOTE, rows_of(("项目", "次数"), guard_rows(summary))]
    if samples:
        parts += ["## 样本", *(f"### 第 {step:,} 步\n\n{_indented(text)}" for step, text in samples)]
    parts += ["## 代价", COST_NOTE, rows_of(("项目", "数量"), cost_rows(summary))]
    parts += ["## 配置", rows_of(("设置", "取值"), settings_table(summary))]
    parts += ["## 环境", rows_of(("项目", "内容"), environment_rows(summary))]
    return "\n\n".join(part for part in parts if part) + "\n"


def settings_table(summary: Summary) -> Rows:
    """各项设置。"""
    return [(name, str(value)) for name, value in summary["settings"].items()]


def rows_of(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """一张 Markdown 表。"""
    lines = [headers, ["---"] * len(headers), *rows]
    return "\n".join("| " + " | ".join(_plain(cell) for cell in line) + " |" for line in lines)


def _plain(text: str) -> str:
    """放进一格的文字：换行与竖线不拆表，尖括号不成标签。"""
    one_line = " ".join(str(text).split())
    return one_line.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("`", "\\`")


def _indented(text: str) -> str:
    """缩进四格的一段，原样显示，里面的任何记号都不解释。"""
    return "\n".join("    " + line for line in text.split("\n"))


def _number(value: float | None, form: str = ".4f") -> str | None:
    return None if value is None else format(value, form)
