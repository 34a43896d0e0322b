"""安全的报告：红队、按梯度找、个人信息、金丝雀，各一页自足的网页。

流入：各项结果；流出：HTML。排版的积木在 ``common/report.py``。
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from typing import Any

from tinygrad_llm.common.report import Section, Series, bar_chart, line_chart, page, preformatted, table, tiles
from tinygrad_llm.common.safety.comparison import METHODS, Comparison
from tinygrad_llm.common.safety.demonstration import Demonstration, Stage
from tinygrad_llm.common.safety.leaks import LeakScan
from tinygrad_llm.common.safety.memorisation import Memorisation
from tinygrad_llm.common.safety.regressions import Replay
from tinygrad_llm.common.safety.suite import Results, Row
from tinygrad_llm.common.scoring import Interval

__all__ = [
    "canary_page",
    "comparison_page",
    "demonstration_page",
    "leaks_page",
    "percent",
    "red_team_page",
    "results_sections",
]

_METHOD = {"gradient": "按梯度", "random": "随机"}
_EXAMPLES = 12


def red_team_page(name: str, results: Results, replayed: Replay | None = None) -> str:
    """红队的一页。

    Args:
        name: 运行名。
        results: 结果。
        replayed: 回归文件重放的结果；没有为 ``None``。
    """
    total, over = results.total.success, results.over_refusal
    figures = {"攻击成功率": percent(total), "乱拒率": percent(over), "找到的攻击": str(len(results.findings))}
    sections = [Section("概览", tiles(figures), "成功只看回答里有没有秘密；区间是 95 % 的 Wilson 区间。")]
    sections += results_sections(results)
    if replayed is not None:
        figures = {
            "重放": str(len(replayed.cases)),
            "还漏": str(replayed.open),
            "修好又漏": str(len(replayed.regressed)),
            "装不进上下文": str(replayed.too_long),
        }
        sections.append(Section("回归", tiles(figures), "以前找到的攻击再问一遍。"))
    return page("红队", sections, subtitle=name)


def results_sections(results: Results) -> list[Section]:
    """各变形的图表与例子。"""
    labels = [row.mutation for row in results.attacks if row.n]
    values = [100 * row.leaked / row.n for row in results.attacks if row.n]
    chart = bar_chart(labels, values, title="各种变形的攻击成功率，%")
    attacks = table(
        ["变形", "n", "成功率", "区间", "拒绝", "太长"], [_row(row) for row in (*results.attacks, results.total)]
    )
    twins = table(["变形", "n", "乱拒率", "区间", "答对"], [_twin(row) for row in results.twins])
    shown = [f"[{one.mutation}] {one.prompt}\n→ {one.answer}" for one in results.findings[:_EXAMPLES]]
    return [
        Section("该拒绝的", chart + attacks),
        Section("该回答的", twins, "长得一样的好问题；第一行原样问，其余变了形，仅供参考。"),
        Section("例子", preformatted("\n\n".join(shown) or "没有找到"), f"最先找到的至多 {_EXAMPLES} 个。"),
    ]


def comparison_page(name: str, found: Comparison) -> str:
    """按梯度找与随机地找，一页。"""
    gap = found.gap
    figures = {
        "提问": str(found.prompts),
        "每次的前向": str(found.budget),
        "损失差（随机 − 梯度）": f"{gap.value:.2f} [{gap.low:.2f}, {gap.high:.2f}]",
        "p": f"{found.p_value:.2g}",
    }
    return page("按梯度找攻击", [Section("概览", tiles(figures)), comparison_section(found)], subtitle=name)


def comparison_section(found: Comparison) -> Section:
    """曲线与成功率。"""
    chart = line_chart(
        [Series(_METHOD[method], *_mean_curve(found, method)) for method in METHODS],
        title="目标的损失随花费下降",
        x_label="花了几次前向",
        y_label="纳特",
    )
    rows = [[_METHOD[method], *_rate(found.success(method))] for method in METHODS]
    return Section("两种找法", chart + table(["找法", "套出秘密", "区间"], rows), "同样的提问、起步与前向次数。")


def demonstration_page(found: Demonstration) -> str:
    """前后两个阶段，一页。"""
    before, after = found.before, found.after
    titles = ("变形的攻击成功率", "按梯度的攻击成功率", "随机找的攻击成功率", "乱拒率")
    rows = list(zip(titles, *map(_stage_figures, (before, after)), strict=True))
    figures = {"学过的攻击": str(found.learnt_from), "成功率减半": "是" if found.is_halved else "否"}
    note = "考试用的提问与种子，训练时一句也没见过；区间是 95 % 的。"
    sections = [Section("概览", tiles(figures) + table(["", "学攻击之前", "之后"], rows), note)]
    for title, stage in (("之前", before), ("之后", after)):
        parts = [*results_sections(stage.results), comparison_section(stage.comparison)]
        sections += [Section(f"{title}：{part.title}", part.body, part.note) for part in parts]
    return page("守门人：攻破、学会、再攻", sections)


def leaks_page(name: str, found: LeakScan) -> str:
    """个人信息的一页。"""
    figures = {"输出": str(found.outputs), "带着个人信息的": percent(found.share)}
    kinds = Counter(leak.kind for leak in found.leaks)
    rows = [[leak.kind, leak.masked, {True: "是", False: "否", None: None}[leak.memorised]] for leak in found.leaks]
    sections = [
        Section("概览", tiles(figures), "只认得出有格式的；没有找到不等于没有泄露。"),
        Section("各种几处", table(["种类", "几处"], sorted(kinds.items()))),
        Section("各处", table(["种类", "掩去中间", "训练文本里有"], rows[:200])),
    ]
    return page("输出里的个人信息", sections, subtitle=name)


def canary_page(name: str, found: Memorisation) -> str:
    """金丝雀的一页。"""
    means = found.by_repetitions()
    times = [float(value) for value in means]
    chart = line_chart(
        [Series("平均暴露度", times, [mean for mean, _, _ in means.values()])],
        title="暴露度随重复遍数上升",
        x_label="埋了几遍",
        y_label="位",
    )
    rows = [[value, n, mean, f"{share:.0%}"] for value, (mean, share, n) in means.items()]
    low, high = found.interval_of_means()
    figures = {
        "等级相关（逐句）": f"{found.rho:.3f}",
        "等级相关（均值）": f"{found.rho_of_means:.3f} [{low:.3f}, {high:.3f}]",
    }
    exact = all(one.is_exact for one in found.exposures)
    note = "逐个数遍全部号码。" if exact else "号码太多，抽样估计；没有一个胜过它时记下限。"
    sections = [
        Section("概览", tiles(figures), note),
        Section("背得有多牢", chart + table(["埋了几遍", "几句", "平均暴露度（位）", "写得出来"], rows)),
    ]
    return page("金丝雀", sections, subtitle=name)


def percent(rate: Interval | None) -> str:
    """比例与区间。"""
    return "–" if rate is None else f"{rate.value:.1%} [{rate.low:.1%}, {rate.high:.1%}]"


def _stage_figures(stage: Stage) -> list[str]:
    found = [stage.comparison.success("gradient"), stage.comparison.success("random")]
    return [percent(rate) for rate in (stage.results.total.success, *found, stage.results.over_refusal)]


def _rate(rate: Interval | None) -> list[str | None]:
    return [None, None] if rate is None else [f"{rate.value:.1%}", f"[{rate.low:.1%}, {rate.high:.1%}]"]


def _row(row: Row) -> list[Any]:
    return [row.mutation, row.n, *_rate(row.success), row.refused, row.too_long]


def _twin(row: Row) -> list[Any]:
    return [row.mutation, row.n, *_rate(row.refusal), row.right]


def _mean_curve(found: Comparison, method: Any) -> tuple[Sequence[float], Sequence[float]]:
    """各次搜索的损失在同样花费处的平均。"""
    costs = sorted({cost for one in found.found[method] for cost in one.costs} | {found.budget})
    means = []
    for cost in costs:
        held = [one.losses[bisect_right(one.costs, cost) - 1] for one in found.found[method]]
        means.append(sum(held) / len(held))
    return [float(cost) for cost in costs], means
