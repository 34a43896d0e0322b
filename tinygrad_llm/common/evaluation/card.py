"""成绩单：几个运行（或一个运行的几个阶段）的全部成绩，写成网页、Markdown 与 JSON。

流入：各份成绩，由先到后；流出：``report.html``，旁边是同名的 ``.md`` 与 ``.json``。
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from html import escape
from itertools import pairwise
from pathlib import Path

import numpy as np

from tinygrad_llm.common.charts import Whisker, interval_chart
from tinygrad_llm.common.errors import OutOfDiskError, UserError
from tinygrad_llm.common.evaluation.pairing import compare_results
from tinygrad_llm.common.evaluation.storage import Result, stored_results
from tinygrad_llm.common.report import Section, Series, line_chart, page, preformatted, side_by_side, table, write_page
from tinygrad_llm.common.report_text import rows_of
from tinygrad_llm.common.scoring import seed_interval

__all__ = ["card_sections", "stored_comparison", "stored_sections", "write_card"]

Rows = list[list[str]]
HEADERS = ["项目", "模型", "成绩", "95 % 区间", "n", "靠猜", "去掉运气之后"]
GAPS = ["项目", "由", "到", "差", "95 % 区间", "n", "p（置换）", "p（McNemar）"]
_NOTE = (
    "点是成绩，横线是 95 % 区间，短竖线是靠猜的成绩。去掉运气之后 = (成绩 - 靠猜) / (1 - 靠猜)；每字节比特以 8 为靠猜。"
)
_RELIABILITY = (
    "横轴是模型对所选答案的把握，纵轴是那些题真的对了几成；在对角线下方就是过于自信。ECE 是两者之差的加权平均。"
)
_SAMPLES = 6
_LABEL = 24
"""图上的名字至多几个字符。"""


def write_card(results: Sequence[Result], out: Path) -> Path:
    """写下成绩单。

    Args:
        results: 各份成绩，由先到后，至少一份。
        out: 写到哪个文件夹，没有就建。

    Returns:
        ``report.html``。

    Raises:
        UserError: 一份成绩也没有。
        OutOfDiskError: 写不进去。
    """
    if not results:
        raise UserError("there are no results to report", fix="evaluate a run first")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutOfDiskError(f"cannot make the folder: {error.strerror}", where=str(out), fix="check --out") from error
    labels = _labels(results)
    title = f"{labels[0]} 的成绩单" if len(labels) == 1 else f"{labels[0]} 至 {labels[-1]} 的成绩单"
    path = out / "report.html"
    subtitle = "；".join(
        f"{label}：{one['engine']}，{one['dtype']}" for label, one in zip(labels, results, strict=True)
    )
    write_page(path, page(title, card_sections(results, labels), subtitle=subtitle))
    parts = [f"# {title}", rows_of(HEADERS, _score_rows(results, labels))]
    if gaps := _gap_rows(results, labels):
        parts += ["## 逐题相比", rows_of(GAPS, gaps)]
    write_page(path.with_suffix(".md"), "\n\n".join(parts) + "\n")
    write_page(path.with_suffix(".json"), json.dumps({"results": list(results)}, ensure_ascii=False, indent=1) + "\n")
    return path


def stored_sections(folder: Path) -> list[Section]:
    """一个运行存着的成绩，写进它的训练报告：标题前带「评测」；没有评测过就没有。

    Args:
        folder: 运行文件夹。
    """
    results = stored_results(folder)
    if not results:
        return []
    found = card_sections(results, _labels(results))
    return [replace(section, title=f"评测：{section.title}") for section in found]


def stored_comparison(first: Path, second: Path, names: Sequence[str]) -> list[Section]:
    """两个运行各自最近的成绩逐题相比，写进两次训练的对照；有一边没有评测过，或没有同样的题，就没有。

    Args:
        first: 前一个运行的文件夹。
        second: 后一个的。
        names: 两个运行的名字。
    """
    latest = [found[-1] for found in map(stored_results, (first, second)) if found]
    if len(latest) < 2 or not compare_results(*latest):
        return []
    note = "各自最近评测过的检查点，同样的题；后者减前者。"
    return [Section("评测：逐题相比", _gap_chart(latest, names) + table(GAPS, _gap_rows(latest, names)), note)]


def card_sections(results: Sequence[Result], labels: Sequence[str]) -> list[Section]:
    """成绩单的各节；没有内容的一节不写。"""
    charts = [chart for chart in _charts(results, labels) if chart]
    found = [Section("成绩", side_by_side(charts) + table(HEADERS, _score_rows(results, labels)), _NOTE)]
    if len(results) > 1:
        note = "同样的题、后者减前者；题的难易两边相同，相减就抵消了。区间不含 0 才算分出高下。"
        if gaps := _gap_rows(results, labels):
            found.append(Section("逐题相比", _gap_chart(results, labels) + table(GAPS, gaps), note))
        if spread := _seed_rows(results):
            found.append(
                Section(
                    "种子之间",
                    table(["项目", "几个种子", "平均", "95 % 区间"], spread),
                    "设置相同、只有种子不同的运行。",
                )
            )
    if reliability := _reliability(results, labels):
        found.append(Section("校准", side_by_side(reliability), _RELIABILITY))
    for title, rows, headers, note in _TABLES:
        if lines := rows(results, labels):
            found.append(Section(title, table(headers, lines), note))
    if answers := _answers(results, labels):
        found.append(Section("作答的样本", answers))
    return found


def _labels(results: Sequence[Result]) -> list[str]:
    """各份成绩的名字；同名的带上步数。"""
    names = [one["run"] for one in results]
    return [one["run"] if names.count(one["run"]) == 1 else f"{one['run']} 第 {one['step']} 步" for one in results]


def _each(results: Sequence[Result], labels: Sequence[str], kind: str) -> Iterator[tuple[str, str, Result]]:
    """按项目、再按运行：``(项目, 运行, 成绩)``。"""
    names = list(dict.fromkeys(name for one in results for name in one[kind]))
    for name in names:
        for label, one in zip(labels, results, strict=True):
            if name in one[kind]:
                yield name, label, one[kind][name]


def _score_rows(results: Sequence[Result], labels: Sequence[str]) -> Rows:
    rows = []
    for name, label, one in _each(results, labels, "texts"):
        for unit, value, interval, chance, centred in (
            (
                "bits/byte",
                one["bits_per_byte"],
                one["bits_interval"],
                f"{one['chance_bits']:g}",
                f"{one['centred']:.4f}",
            ),
            ("困惑度", one["perplexity"], one["perplexity_interval"], f"{one['chance_perplexity']:,}", "–"),
        ):
            rows.append(
                [f"{name}（{unit}）", label, f"{value:.4f}", _span(*interval), f"{one['n']:,}", chance, centred]
            )
    for name, label, one in _each(results, labels, "tasks"):
        if one["kind"] == "judge":
            rho = one["spearman"]
            rows.append(
                [f"{name}（ρ）", label, f"{rho['value']:.4f}", _span(rho["low"], rho["high"]), str(rho["n"]), "0", "–"]
            )
            continue
        for how, score in one.get("scores", {"": one["score"]}).items():
            raw, shots = score["raw"], f"，{one['shots']} 个示例" if one.get("shots") else ""
            title = f"{name}（{how}{shots}）" if how else name + (f"（{shots[1:]}）" if shots else "")
            rows.append(
                [title, label, f"{raw['value']:.4f}", _span(raw["low"], raw["high"]), f"{raw['n']:,}",
                 f"{score['chance']:.4f}", f"{score['centred']:.4f}"]
            )  # fmt: skip
    return rows


def _charts(results: Sequence[Result], labels: Sequence[str]) -> list[str]:
    """一个运行：各项画在一张图上；几个运行：一项一张，运行由早到晚。"""
    found = []
    for kind, title, x_label in (
        ("texts", "每字节的比特（越低越好）", "bits/byte"),
        ("tasks", "正确率（越高越好）", "正确率"),
    ):
        rows: dict[str, list[Whisker]] = {}
        for name, label, one in _each(results, labels, kind):
            if one["kind"] != "judge":
                chart, row = (title, name) if len(results) == 1 else (f"{name}：{title}", label)
                whisker = Whisker(_clipped(row), *_headline(one), group=labels.index(label))
                rows.setdefault(chart, []).append(whisker)
        found += [interval_chart(whiskers, title=chart, x_label=x_label) for chart, whiskers in rows.items()]
    return found + (_stage_charts(results) if len(results) > 2 else [])


def _headline(one: Result) -> tuple[float, float, float, float | None]:
    """一项的成绩、区间与靠猜的成绩；每字节比特的 8 离得太远，图上不画。"""
    if one["kind"] == "text":
        return one["bits_per_byte"], *one["bits_interval"], None
    raw = one["score"]["raw"]
    return raw["value"], raw["low"], raw["high"], one["score"]["chance"]


def _stage_charts(results: Sequence[Result]) -> list[str]:
    """三个以上的阶段：成绩由早到晚怎样变。"""
    found = []
    for kind, title in (("tasks", "各阶段的正确率"), ("texts", "各阶段的每字节比特")):
        names = [n for n in dict.fromkeys(n for r in results for n in r[kind]) if all(n in r[kind] for r in results)]
        names = [name for name in names if results[0][kind][name]["kind"] != "judge"]
        stages = [float(i + 1) for i in range(len(results))]
        series = [Series(name, stages, [_headline(one[kind][name])[0] for one in results]) for name in names]
        if series:
            found.append(line_chart(series, title=title, x_label="第几个阶段", y_label=""))
    return found


def _gap_rows(results: Sequence[Result], labels: Sequence[str]) -> Rows:
    rows = []
    for i, (before, after) in enumerate(pairwise(results)):
        for one in compare_results(before, after):
            ps = [f"{one[name]:.3g}" if one.get(name) is not None else "–" for name in ("p", "mcnemar")]
            rows.append(
                [f"{one['name']}（{one['unit']}）", f"{labels[i]}：{one['first']:.4f}",
                 f"{labels[i + 1]}：{one['second']:.4f}", f"{one['difference']:+.4f}",
                 _span(one["low"], one["high"], "+"), f"{one['n']:,}", *ps]
            )  # fmt: skip
    return rows


def _gap_chart(results: Sequence[Result], labels: Sequence[str]) -> str:
    """相邻的两份一组，一种单位一张图。"""
    charts = []
    for i, (before, after) in enumerate(pairwise(results)):
        rows = compare_results(before, after)
        for unit, what in (("accuracy", "正确率之差"), ("bits/byte", "每字节比特之差，负的是进步")):
            whiskers = [
                Whisker(_clipped(one["name"]), one["difference"], one["low"], one["high"], 0.0, i)
                for one in rows
                if one["unit"] == unit
            ]
            if whiskers:
                charts.append(interval_chart(whiskers, title=f"{labels[i + 1]} 减 {labels[i]}：{what}"))
    return side_by_side(charts)


def _seed_rows(results: Sequence[Result]) -> Rows:
    """设置只有种子不同的几个运行：各项成绩的平均与 t 区间。"""
    alike: dict[str, list[Result]] = {}
    for one in results:
        free = {name: value for name, value in one["settings"].items() if name not in ("seed", "run", "runs_dir")}
        alike.setdefault(json.dumps(free, sort_keys=True, default=str), []).append(one)
    rows = []
    for members in alike.values():
        if len({str(one["settings"].get("seed")) for one in members}) < 2:
            continue
        for kind in ("texts", "tasks"):
            for name, first in members[0][kind].items():
                if first["kind"] == "judge" or not all(name in one[kind] for one in members):
                    continue
                values = np.array([_headline(one[kind][name])[0] for one in members])
                spread = seed_interval(values)
                rows.append([name, str(len(values)), f"{spread.value:.4f}", _span(spread.low, spread.high)])
    return rows


def _reliability(results: Sequence[Result], labels: Sequence[str]) -> list[str]:
    """每项选择题任务、每个运行一张可靠性图。"""
    charts = []
    perfect = Series("说几成就对几成", [0.0, 1.0], [0.0, 1.0])
    for name, label, one in _each(results, labels, "tasks"):
        if "calibration" in one:
            trust = one["calibration"]
            points = [(c, a) for c, a in zip(trust["confidence"], trust["accuracy"], strict=True) if c is not None]
            model = Series("模型", [c for c, _ in points], [a for _, a in points])
            title = f"{name}，{label}：ECE {trust['ece']:.3f}，Brier {trust['brier']:.3f}"
            charts.append(line_chart([model, perfect], title=title, x_label="把握", y_label="正确率"))
    return charts


def _sample_rows(results: Sequence[Result], labels: Sequence[str]) -> Rows:
    rows = []
    for name, label, one in _each(results, labels, "tasks"):
        for k, found in one.get("pass_at_k", {}).items():
            rows.append([name, label, f"pass@{k}", f"{found['value']:.4f}", _span(found["low"], found["high"])])
        if seeds := one.get("seeds"):
            what = f"{len(seeds['values'])} 个种子的平均"
            rows.append([name, label, what, f"{seeds['mean']:.4f}", _span(seeds["low"], seeds["high"])])
    return rows


def _group_rows(results: Sequence[Result], labels: Sequence[str]) -> Rows:
    rows = []
    for name, label, one in _each(results, labels, "tasks"):
        for group, score in one.get("groups", {}).items():
            raw = score["raw"]
            rows.append(
                [
                    name,
                    label,
                    group,
                    f"{raw['value']:.4f}",
                    _span(raw["low"], raw["high"]),
                    str(raw["n"]),
                    f"{score['chance']:.4f}",
                ]
            )
    return rows


def _judge_rows(results: Sequence[Result], labels: Sequence[str]) -> Rows:
    rows = []
    for name, label, one in _each(results, labels, "tasks"):
        judged = one.get("judged", one if one["kind"] == "judge" else {})
        if rho := judged.get("spearman", judged.get("spearman_with_rule")):
            rows.append(
                [
                    name,
                    label,
                    f"次序相关 ρ（{judged['method']}）",
                    f"{rho['value']:.4f}",
                    _span(rho["low"], rho["high"]),
                ]
            )
        if (share := judged.get("consistency")) is not None:
            span = _span(share["low"], share["high"]) if isinstance(share, dict) else "–"
            rows.append([name, label, "位置一致", f"{share['value'] if isinstance(share, dict) else share:.4f}", span])
    return rows


def _leak_rows(results: Sequence[Result], labels: Sequence[str]) -> Rows:
    rows = []
    for name, label, one in _each(results, labels, "tasks"):
        if leak := one.get("contamination"):
            means = [f"{leak[key]:.4f}" if key in leak else "–" for key in ("leaked_mean", "clean_mean")]
            share = f"{leak['leaked']}（{leak['share']['value']:.1%}）" if "share" in leak else str(leak["leaked"])
            rows.append([name, label, str(leak["checked"]), share, *means, f"{leak['documents']:,}"])
    return rows


def _answers(results: Sequence[Result], labels: Sequence[str]) -> str:
    parts = []
    for name, label, one in _each(results, labels, "tasks"):
        if "answers" in one["items"]:
            shown = zip(
                one["items"]["ids"], one["items"]["answers"], one["items"]["right"], one["items"]["values"], strict=True
            )
            lines = [
                f"{id}\n  写的：{text!r}\n  应为：{', '.join(right)!r}\n  得分：{value:g}"
                for id, text, right, value in list(shown)[:_SAMPLES]
            ]
            parts.append(f"<h3>{escape(name)}，{escape(label)}</h3>" + preformatted("\n\n".join(lines)))
    return "".join(parts)


def _clipped(text: str) -> str:
    return text if len(text) <= _LABEL else f"{text[: _LABEL // 2]}…{text[1 - _LABEL // 2 :]}"


def _span(low: float, high: float, sign: str = "") -> str:
    return f"{low:{sign}.4f} 至 {high:{sign}.4f}"


_TABLES: tuple[tuple[str, Callable[[Sequence[Result], Sequence[str]], Rows], list[str], str], ...] = (
    (
        "pass@k 与种子", _sample_rows, ["任务", "模型", "量", "值", "95 % 区间"],
        "每题写几个回答，至少对一个的概率；与成绩随种子变多少。",
    ),
    ("分类", _group_rows, ["任务", "模型", "类别", "成绩", "95 % 区间", "n", "靠猜"], ""),
    (
        "裁判", _judge_rows, ["任务", "模型", "量", "值", "95 % 区间"],
        "次序相关以人的分或规则为准，靠猜是 0；位置一致：两个回答对调之后判得一样。",
    ),
    (
        "泄题", _leak_rows, ["任务", "模型", "查过几题", "泄了", "泄了的成绩", "其余的成绩", "训练文档"],
        "考题的连续几个词一字不差地出现在训练文本里。",
    ),
)  # fmt: skip
"""末几节：标题、怎样写出各行、表头、说明。"""
