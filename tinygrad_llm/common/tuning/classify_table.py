"""分类的消融的表与图：每一格的正确率、区间，与缺省一格逐段相比的差。

流入：各格的结果；流出：终端上的表，``grid.json``、``grid.md``、``grid.html``、``grid.svg`` 与 ``grid.png``。

正确率是各个种子的平均；区间是 Wilson 的，n 取文字的段数而不是段数乘种子数：几个种子考的是同样的文字，不能当作更多的题。
「±」是种子之间的 t 区间。与缺省的差按种子、按文字配对；它的区间把两种不确定合在一起：换一批文字，换几个种子。
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tinygrad_llm.common.charts import Whisker, grid_chart, interval_chart
from tinygrad_llm.common.report import Section, page, side_by_side, table, write_page
from tinygrad_llm.common.scoring.intervals import Z95, Interval, wilson_interval
from tinygrad_llm.common.study.cells import save_json
from tinygrad_llm.common.study.figures import COLOURS, save_figure
from tinygrad_llm.common.study.tables import half_width, markdown_table, write_markdown
from tinygrad_llm.common.tuning.classification import Prepared
from tinygrad_llm.common.tuning.classify_grid import Row
from tinygrad_llm.common.tuning.confusion import confusion, largest_share

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["summarised", "write_grid"]

GRID = "grid"
HEADERS = [
    "factor",
    "setting",
    "trained",
    "n × seeds",
    "accuracy",
    "95% interval",
    "± seeds",
    "macro F1",
    "vs default",
    "s",
]
COLUMNS = ["变的是", "取值", "学的参数", "n × 种子", "正确率", "95 % 区间", "± 种子", "宏 F1", "比缺省", "秒"]
_NOTE = (
    "正确率是各个种子的平均，区间由留作评估的段数得来；± 是种子之间的 95 % t 区间；"
    "比缺省：同样的种子、同样的文字相减，区间里有换文字与换种子两种不确定，不含 0 才算分出高下。"
)
Summary = dict[str, Any]


def summarised(rows: Sequence[Row], truth: NDArray[np.int64]) -> list[Summary]:
    """每一格的数字。

    Args:
        rows: 各格，缺省的在头里。
        truth: 各段文字真的类别 ``(N,)``。
    """
    default = _right(rows[0], truth)
    return [_summary(row, _right(row, truth), None if row is rows[0] else default) for row in rows]


def _right(row: Row, truth: NDArray[np.int64]) -> NDArray[np.float64]:
    """各个种子、各段文字对了没有 ``(S, N)``；段数不同（分词器不同，略过的超长文字也不同）就没有。"""
    kept = [np.array(one.guesses) for one in row.outcomes]
    if any(guesses.size != truth.size for guesses in kept):
        return np.empty((len(kept), 0))
    found: NDArray[np.float64] = (np.stack(kept) == truth).astype(np.float64)
    return found


def _summary(row: Row, right: NDArray[np.float64], default: NDArray[np.float64] | None) -> Summary:
    n = right.shape[1]
    by_seed = right.mean(1).tolist() if n else [math.nan] * len(right)
    mean = sum(by_seed) / len(by_seed)
    found = wilson_interval(round(mean * n), n) if n else Interval(math.nan, math.nan, math.nan, 0)
    spread, count = half_width(by_seed), len(row.outcomes)
    gap: Summary = {"difference": None, "difference_interval": None}
    if default is not None and default.shape[1] == n > 0:
        paired = _gap(right - default)
        gap = {"difference": paired.value, "difference_interval": [paired.low, paired.high]}
    return {
        "factor": row.factor,
        "levels": row.levels,
        "trained": row.trained,
        "parameters": row.parameters,
        "n": n,
        "seeds": [one.seed for one in row.outcomes],
        "accuracy": mean,
        "interval": [found.low, found.high],
        "by_seed": by_seed,
        "half_width_seeds": spread if math.isfinite(spread) else None,
        "macro_f1": sum(one.macro_f1 for one in row.outcomes) / count,
        "val_loss": sum(one.val_loss for one in row.outcomes) / count,
        "elapsed_s": sum(one.elapsed_s for one in row.outcomes) / count,
        "diverged": sum(one.diverged for one in row.outcomes),
        **gap,
    }


def _gap(difference: NDArray[np.float64]) -> Interval:
    """逐种子、逐段的差 ``(S, N)`` 的均值与区间：半宽是「换文字」的（正态）与「换种子」的（t）的平方和的根。"""
    seeds, n = difference.shape
    mean = float(difference.mean())
    by_text = Z95 * float(difference.mean(0).std(ddof=1)) / math.sqrt(n) if n > 1 else math.inf
    by_seed = half_width(difference.mean(1).tolist()) if seeds > 1 else 0.0
    half = math.hypot(by_text, by_seed)
    return Interval(mean, mean - half, mean + half, n)


def write_grid(folder: Path, rows: Sequence[Row], prepared: Prepared, steps: int) -> None:
    """写下表、图与网页，表也印到终端。

    Args:
        folder: 研究的文件夹。
        rows: 各格，缺省的在头里。
        prepared: 数据。
        steps: 每一格训练几步。

    Raises:
        DataError: 写不进去。
        OutOfDiskError: 写不进去。
    """
    truth = prepared.held_out.labels
    found = summarised(rows, truth)
    chance = largest_share(truth)
    bag = wilson_interval(int((prepared.baseline == truth).sum()), truth.size)
    told = {
        "labels": list(prepared.labels),
        "texts": len(prepared.train.rows),
        "n": truth.size,
        "steps": steps,
        "chance": chance,
        "bag_of_words": {"accuracy": bag.value, "interval": [bag.low, bag.high]},
        "rows": found,
    }
    save_json(folder / f"{GRID}.json", _finite(told))
    lines = [_line(one) for one in found]
    note = (
        f"{len(prepared.train.rows):,} texts, {truth.size:,} held out, {len(rows[0].outcomes)} seed(s), {steps} steps; "
        f"always the largest class {chance:.1%}, bag of words {bag.value:.1%} [{bag.low:.1%}, {bag.high:.1%}]; "
        f"default: {', '.join(f'{name} {level}' for name, level in rows[0].levels.items())}"
    )
    save_figure(folder / GRID, [lambda axes: _panel(axes, found, chance, bag.value)])
    shown = markdown_table(HEADERS, lines)
    write_markdown(folder / f"{GRID}.md", "Ablations of a classifier", [note, shown, f"![accuracy]({GRID}.svg)"])
    charts = [interval_chart(_whiskers(found, chance), title="留作评估的正确率", x_label="正确率；短竖线是靠猜")]
    default = np.concatenate([np.array(one.guesses) for one in rows[0].outcomes])
    table_of = confusion(np.tile(truth, len(rows[0].outcomes)), default, len(prepared.labels))
    picture = grid_chart(table_of, prepared.labels, title="缺省的一格，各种子合计", x_label="猜的", y_label="真的")
    sections = [
        Section("正确率", side_by_side(charts) + table(COLUMNS, lines), _NOTE),
        Section("混淆图", side_by_side([picture])),
    ]
    write_page(folder / f"{GRID}.html", page(folder.resolve().name, sections, subtitle=note))
    print(f"{shown}\n{note}\nwrote {folder / GRID}.html, .json, .md, .svg")


def _finite(told: Any) -> Any:
    """NaN 写作 null。"""
    return json.loads(json.dumps(told), parse_constant=lambda _: None)


def _setting(one: Summary) -> str:
    if one["factor"]:
        return str(one["levels"][one["factor"]])
    return ", ".join(one["levels"].values())


def _line(one: Summary) -> list[str]:
    spread, gap = one["half_width_seeds"], one["difference"]
    accuracy = f"{one['accuracy']:.1%}" + (f" ({one['diverged']} diverged)" if one["diverged"] else "")
    low, high = one["interval"]
    versus = "–"
    if gap is not None:
        versus = f"{gap:+.1%} [{one['difference_interval'][0]:+.1%}, {one['difference_interval'][1]:+.1%}]"
    return [
        one["factor"] or "–",
        _setting(one),
        f"{one['trained']:,} ({one['trained'] / one['parameters']:.1%})",
        f"{one['n']} × {len(one['seeds'])}",
        accuracy,
        f"{low:.1%}–{high:.1%}",
        "–" if spread is None else f"{spread:.1%}",
        f"{one['macro_f1']:.3f}",
        versus,
        f"{one['elapsed_s']:.0f}",
    ]


def _label(one: Summary) -> str:
    return f"{one['factor']}: {_setting(one)}" if one["factor"] else _setting(one)


def _whiskers(found: Sequence[Summary], chance: float) -> list[Whisker]:
    groups = list(dict.fromkeys(one["factor"] for one in found))
    return [
        Whisker(_label(one), one["accuracy"], low, high, mark=chance, group=groups.index(one["factor"]))
        for one, (low, high) in ((one, one["interval"]) for one in found)
    ]


def _panel(axes: Axes, found: Sequence[Summary], chance: float, bag: float) -> None:
    """各格的正确率与区间；竖线是靠猜与词袋基线。"""
    groups = list(dict.fromkeys(one["factor"] for one in found))
    for place, one in enumerate(found):
        if not math.isfinite(one["accuracy"]):
            continue
        colour = COLOURS[groups.index(one["factor"]) % len(COLOURS)]
        axes.plot(one["interval"], [place, place], color=colour, linewidth=2.4, alpha=0.45)
        axes.plot(one["by_seed"], [place] * len(one["by_seed"]), "|", color=colour)
        axes.plot(one["accuracy"], place, "o", color=colour, markersize=4)
    axes.axvline(chance, color="grey", linestyle=":", linewidth=1, label="always the largest class")
    axes.axvline(bag, color="black", linestyle="--", linewidth=1, label="bag of words")
    axes.set_yticks(range(len(found)), [_label(one) for one in found], fontsize=7)
    axes.invert_yaxis()
    axes.set_xlabel("held-out accuracy, 95% interval, seeds")
    axes.legend(frameon=False, fontsize=7, loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
