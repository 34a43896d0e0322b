"""清洗报告：每个阶段去掉与改动了什么、为什么，前后并排的例子，以及语料由什么组成。

流入：``Result`` 或 ``Statistics``；流出：一个自足的 HTML 页面。积木见 ``common/report.py``。
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from html import escape

from tinygrad_llm.common.cleaning.pipeline import Result
from tinygrad_llm.common.cleaning.statistics import KIND_NAMES, Statistics, ranked
from tinygrad_llm.common.cleaning.tally import Example, Tally
from tinygrad_llm.common.corpora.faults import Faults
from tinygrad_llm.common.progress import format_bytes
from tinygrad_llm.common.report import Section, bar_chart, page, preformatted, side_by_side, table, tiles

__all__ = ["REPORT", "clean_report", "corpus_report"]

REPORT = "report.html"
TOP = 12
STAGE_NAMES = {
    "normalise": "规整",
    "length": "长度",
    "symbols": "字符的组成",
    "repetition": "篇内重复",
    "language": "语言",
    "decontaminate": "去污染",
    "pii": "个人信息",
    "exact": "精确查重",
    "near": "近似查重",
}
# 两列并排的格子：样式写在元素上，页面的样式表不必认识它
_PAIR = "display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,20rem),1fr));gap:.75rem"


def clean_report(source: str, result: Result, faults: Faults) -> str:
    """一次清洗的报告。

    Args:
        source: 语料的名字。
        result: 清洗的结果。
        faults: 读入时略过的坏输入。

    Returns:
        完整的 HTML 页面。
    """
    before, after = result.before, result.after
    figures = {
        "文档": f"{after.documents:,} / {before.documents:,}",
        "文字": f"{format_bytes(after.bytes)} / {format_bytes(before.bytes)}",
        "留下的文档": _percent(after.documents, before.documents),
        "留下的文字": _percent(after.bytes, before.bytes),
    }
    sections = [
        Section("概览", tiles(figures), "斜线之前是清洗之后，之后是清洗之前。"),
        Section("各阶段", _stage_table(result), "一份文档可以有几种改动；查重的各组只留最先的一份。"),
    ]
    lost = {STAGE_NAMES[name]: tally.removed for name, tally in result.tallies.items() if tally.removed}
    if lost:
        chart = bar_chart(list(lost), list(lost.values()), title="每个阶段去掉的文档", x_label="份数")
        sections.append(Section("去掉了多少", side_by_side([chart])))
    sections += _fault_sections(faults)
    for name, tally in result.tallies.items():
        if tally.examples:
            sections.append(Section(f"例子：{STAGE_NAMES[name]}", _examples(tally)))
    sections += _composition([("清洗之前", before), ("清洗之后", after)])
    return page(source, sections, subtitle="清洗报告")


def corpus_report(source: str, statistics: Statistics, faults: Faults) -> str:
    """一份语料由什么组成。

    Args:
        source: 语料的名字。
        statistics: 统计。
        faults: 读入时略过的坏输入。

    Returns:
        完整的 HTML 页面。
    """
    mean = statistics.chars / max(statistics.documents, 1)
    figures = {
        "文档": f"{statistics.documents:,}",
        "文字": format_bytes(statistics.bytes),
        "平均长度（字符）": f"{mean:,.0f}",
        "字节/字符": f"{statistics.bytes / max(statistics.chars, 1):.2f}",
    }
    sections = [Section("概览", tiles(figures)), *_fault_sections(faults), *_composition([("", statistics)])]
    return page(source, sections, subtitle="语料报告")


def _stage_table(result: Result) -> str:
    rows = [
        (
            STAGE_NAMES[name],
            tally.seen,
            tally.removed,
            tally.changed,
            tally.chars_in - tally.chars_out,
            "；".join(f"{reason} {count:,}" for reason, count in ranked(tally.reasons, 8)) or None,
        )
        for name, tally in result.tallies.items()
    ]
    return table(["阶段", "看过", "去掉", "改动", "少了多少字符", "缘由"], rows)


def _fault_sections(faults: Faults) -> list[Section]:
    if not faults.counts:
        return []
    rows = [(reason, count, faults.first.get(reason)) for reason, count in ranked(faults.counts, 50)]
    return [Section("略过的坏输入", table(["原因", "次数", "第一次在"], rows))]


def _examples(tally: Tally) -> str:
    parts = []
    for reason, examples in tally.examples.items():
        parts.append(f"<h3>{escape(reason)}（{tally.reasons[reason]:,}）</h3>")
        parts += [_example(one) for one in examples]
    return "".join(parts)


def _example(one: Example) -> str:
    source = f'<p class="note">{escape(one.source)}</p>'
    left = preformatted(one.before)
    if not one.is_removed or one.after:
        label = "因为" if one.is_removed else "改成"
        right = f'<div><p class="note">{label}</p>{preformatted(one.after)}</div>'
        left = f'<div><p class="note">{"去掉" if one.is_removed else "原来"}</p>{left}</div>'
        return f'{source}<div style="{_PAIR}">{left}{right}</div>'
    return source + left


def _composition(groups: Sequence[tuple[str, Statistics]]) -> list[Section]:
    """长度、字符、语言与词组；每样前后各一张图。"""
    lengths, kinds, languages, grams = [], [], [], []
    for label, one in groups:
        suffix = f"（{label}）" if label else ""
        if not one.documents:
            continue
        lengths.append(_length_chart(one, f"文档的长度{suffix}"))
        share = [100 * count / max(sum(one.kinds), 1) for count in one.kinds]
        kinds.append(bar_chart(KIND_NAMES, share, title=f"字符的类别{suffix}", x_label="占字符，%"))
        spoken = ranked(Counter(one.languages), TOP)
        portion = [100 * count / max(one.languages.total(), 1) for _, count in spoken]
        languages.append(bar_chart([n for n, _ in spoken], portion, title=f"语言{suffix}", x_label="占字符，%"))
    for n in (1, 2, 3):
        for label, one in groups:
            if top := ranked(one.grams[n], TOP):
                title = f"最常见的{'词' if n == 1 else f' {n} 词组'}" + (f"（{label}）" if label else "")
                grams.append(bar_chart([_short(gram) for gram, _ in top], [count for _, count in top], title=title))
    sampled = f"只数了每一批的开头，共 {groups[0][1].gram_chars:,} 个字符。"
    named = [
        ("长度", lengths, ""),
        ("字符", kinds, "只看了每一批的头三百份。"),
        ("语言", languages, "只看了每一批的头三百份；und 是认不出的。"),
        ("词", grams, sampled),
    ]
    return [Section(title, side_by_side(charts), note) for title, charts, note in named if charts]


def _length_chart(one: Statistics, title: str) -> str:
    least, most = min(one.lengths), max(one.lengths)
    labels = [f"{(1 << bits) // 2:,}–" for bits in range(least, most + 1)]
    return bar_chart(labels, [one.lengths[bits] for bits in range(least, most + 1)], title=title, x_label="份数")


def _short(gram: str) -> str:
    return gram if len(gram) <= 28 else gram[:27] + "…"


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / max(whole, 1):.1f}%"
