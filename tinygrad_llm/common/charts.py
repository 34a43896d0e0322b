"""图：一组数列进，一段可以直接放进 HTML 的 SVG 出。

流入：``Series`` 或标签与数值；流出：``<figure>`` 片段，同样的输入总是同样的字节。
下一个文件：``report.py`` 把它们排成一页。

文字仍是文字（可选中、可搜索），颜色写成 CSS 变量与 ``currentColor``，所以随页面的明暗切换。
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import math
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Series", "Whisker", "bar_chart", "grid_chart", "interval_chart", "line_chart"]

# Okabe–Ito 色板：常见的几种色觉缺陷下仍可区分；页面可以用 --series-N 换成适合深色背景的一组
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
INK = "#010203"  # 占位：画完之后换成 currentColor
WIDTH_IN, HEIGHT_IN = 5.0, 2.9
BAR_HEIGHT_IN = 0.28
CELL_HEIGHT_IN = 0.34
MAX_POINTS = 1000
MARKER_POINTS = 30  # 点数不多时画出每个点
SMOOTHING = 0.95
STYLE: Any = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.size": 9.0,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "lines.solid_joinstyle": "round",
}


@dataclass(frozen=True)
class Series:
    """一条曲线。

    Attributes:
        label: 图例里的名字。
        x: 横坐标，递增。
        y: 纵坐标，与 ``x`` 等长；非有限的点不画。
        smooth: 是否另画一条滑动平均；原始数据则变淡。
    """

    label: str
    x: Sequence[float]
    y: Sequence[float]
    smooth: bool = False


@dataclass(frozen=True)
class Whisker:
    """一个数与它的区间。

    Attributes:
        label: 名字。
        value: 数值。
        low: 区间的下限。
        high: 区间的上限。
        mark: 另画一道短竖线的位置，如靠猜的成绩；``None`` 不画。
        group: 同一组的颜色相同，从 0 数起。
    """

    label: str
    value: float
    low: float
    high: float
    mark: float | None = None
    group: int = 0


def line_chart(series: Sequence[Series], *, title: str, x_label: str, y_label: str, log_y: bool = False) -> str:
    """画折线图。

    Args:
        series: 若干条曲线，超过六条时颜色循环。
        title: 图题，写在图的上方。
        x_label: 横轴名。
        y_label: 纵轴名。
        log_y: 纵轴是否取对数；取对数时非正的点不画。

    Returns:
        ``<figure>`` 片段。
    """
    with _style():
        figure, axes = _blank(HEIGHT_IN)
        for index, one in enumerate(series):
            _draw_line(axes, one, COLOURS[index % len(COLOURS)], log_y)
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        _format_axes(axes, log_y)
        if len(series) > 1:
            # 放在坐标框上方，不遮曲线
            axes.legend(frameon=False, labelcolor=INK, loc="lower left", bbox_to_anchor=(0, 1), ncols=len(series))
        return _figure_html(figure, title)


def bar_chart(labels: Sequence[str], values: Sequence[float], *, title: str, x_label: str = "") -> str:
    """画横向的条形图，条的末端写着数值。

    Args:
        labels: 各条的名字，从上到下。
        values: 各条的长度，与 ``labels`` 等长；非有限的画成零长，但写出原值。
        title: 图题。
        x_label: 横轴名。

    Returns:
        ``<figure>`` 片段。
    """
    from matplotlib.ticker import MaxNLocator

    with _style():
        figure, axes = _blank(BAR_HEIGHT_IN * len(labels) + 0.8)
        lengths = [value if math.isfinite(value) else 0.0 for value in values]
        bars = axes.barh(range(len(labels)), lengths, color=COLOURS[0], height=0.7)
        axes.bar_label(bars, [f"{value:.4g}" for value in values], padding=3, color=INK)
        axes.set_yticks(range(len(labels)), labels)
        axes.invert_yaxis()
        axes.margins(x=0.15)
        axes.set_xlabel(x_label)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=5))
        axes.spines["left"].set_visible(False)
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x", color=INK, alpha=0.12, linewidth=0.6)
        axes.set_axisbelow(True)
        return _figure_html(figure, title)


def interval_chart(rows: Sequence[Whisker], *, title: str, x_label: str = "") -> str:
    """画一列带区间的数：点是估计值，横线是区间，短竖线是靠猜的成绩。

    Args:
        rows: 各行，从上到下；非有限的不画。
        title: 图题。
        x_label: 横轴名。

    Returns:
        ``<figure>`` 片段。
    """
    from matplotlib.ticker import MaxNLocator

    with _style():
        figure, axes = _blank(BAR_HEIGHT_IN * len(rows) + 0.9)
        for place, one in enumerate(rows):
            if not all(map(math.isfinite, (one.value, one.low, one.high))):
                continue
            colour = COLOURS[one.group % len(COLOURS)]
            axes.plot([one.low, one.high], [place, place], color=colour, linewidth=2.4, alpha=0.45)
            axes.plot([one.value], [place], color=colour, marker="o", markersize=4.5)
            if one.mark is not None:
                axes.plot([one.mark, one.mark], [place - 0.32, place + 0.32], color=INK, alpha=0.6, linewidth=1.2)
        axes.set_yticks(range(len(rows)), [one.label for one in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xlabel(x_label)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6))
        axes.spines["left"].set_visible(False)
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x", color=INK, alpha=0.12, linewidth=0.6)
        axes.set_axisbelow(True)
        return _figure_html(figure, title)


def grid_chart(
    counts: npt.NDArray[np.int64], labels: Sequence[str], *, title: str, x_label: str = "", y_label: str = ""
) -> str:
    """画一张方阵，例如混淆表：格子里是个数，颜色深浅是占这一行的几成。

    Args:
        counts: ``(K, K)``。
        labels: 各行（也是各列）的名字。
        title: 图题。
        x_label: 列的名目。
        y_label: 行的名目。

    Returns:
        ``<figure>`` 片段。
    """
    from matplotlib.patches import Rectangle

    with _style():
        figure, axes = _blank(CELL_HEIGHT_IN * len(labels) + 1.3)
        shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
        for (i, j), count in np.ndenumerate(counts):
            axes.add_patch(
                Rectangle((j - 0.5, i - 0.5), 1, 1, color=COLOURS[0], alpha=float(shares[i, j]) * 0.75, lw=0)
            )
            if count:
                axes.text(j, i, f"{count}", ha="center", va="center")
        axes.set_xlim(-0.5, len(labels) - 0.5)
        axes.set_ylim(len(labels) - 0.5, -0.5)
        axes.set_xticks(range(len(labels)), labels, rotation=0 if len(labels) < 5 else 40)
        axes.set_yticks(range(len(labels)), labels)
        axes.tick_params(length=0)
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        return _figure_html(figure, title)


@contextlib.contextmanager
def _style() -> Iterator[None]:
    """作图期间的样式：从 matplotlib 的出厂设置起步，用户的 matplotlibrc 不影响结果；离开时复原。"""
    import matplotlib

    with matplotlib.rc_context(), warnings.catch_warnings():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        warnings.filterwarnings("ignore", "Glyph .* missing")  # 字由浏览器来画，matplotlib 没有中文字体也无妨
        yield


def _blank(height_in: float) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH_IN, height_in), layout="constrained")
    return figure, figure.add_subplot()


def _draw_line(axes: Axes, one: Series, colour: str, log_y: bool) -> None:
    x, y = np.asarray(one.x, np.float64), np.asarray(one.y, np.float64)
    keep = np.isfinite(x) & np.isfinite(y) & ((y > 0) if log_y else True)
    x, y = x[keep], y[keep]
    if one.smooth and x.size > MARKER_POINTS:
        axes.plot(*_thinned(x, y), color=colour, alpha=0.3, linewidth=0.8)
        axes.plot(*_thinned(x, _smoothed(y)), color=colour, linewidth=1.6, label=one.label)
        return
    marker = "o" if x.size <= MARKER_POINTS else ""
    axes.plot(*_thinned(x, y), color=colour, linewidth=1.6, marker=marker, markersize=3, label=one.label)


def _smoothed(y: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """两侧指数加权的平均：权重随距离按 ``SMOOTHING`` 衰减，曲线不滞后；两端只用得到的一侧。"""
    total = _trailing_sum(y) + _trailing_sum(y[::-1])[::-1] - y
    ones = np.ones_like(y)
    return total / (_trailing_sum(ones) + _trailing_sum(ones)[::-1] - ones)


def _trailing_sum(y: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    out, total = np.empty_like(y), 0.0
    for index, value in enumerate(y):
        total = SMOOTHING * total + value
        out[index] = total
    return out


def _thinned(
    x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """点太多时每一段只留最小与最大的两点：文件不大，尖峰也不丢。"""
    if x.size <= MAX_POINTS:
        return x, y
    kept: set[int] = {0, x.size - 1}
    for part in np.array_split(np.arange(x.size), MAX_POINTS // 2):
        kept |= {int(part[np.argmin(y[part])]), int(part[np.argmax(y[part])])}
    index = sorted(kept)
    return x[index], y[index]


def _format_axes(axes: Axes, log_y: bool) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator, ScalarFormatter

    axes.grid(color=INK, alpha=0.12, linewidth=0.6)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6))
    if log_y:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=8))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_locator(NullLocator())  # 没有字的小刻度画起来占两成时间
    for axis in (axes.xaxis,) if log_y else (axes.xaxis, axes.yaxis):
        formatter = ScalarFormatter(useOffset=False)
        formatter.set_powerlimits((-5, 7))
        axis.set_major_formatter(formatter)


def _figure_html(figure: Figure, title: str) -> str:
    """存成 SVG，再清理成能内嵌的样子。"""
    import matplotlib

    prefix = "c" + hashlib.sha256(title.encode()).hexdigest()[:8]
    buffer = io.BytesIO()
    matplotlib.rcParams["svg.hashsalt"] = prefix
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    caption = escape(title)
    return f'<figure class="chart"><figcaption>{caption}</figcaption>{_inline_svg(buffer, prefix, caption)}</figure>'


def _inline_svg(buffer: io.BytesIO, prefix: str, label: str) -> str:
    svg = buffer.getvalue().decode("utf-8")
    svg = svg[svg.index("<svg") :].strip()
    for unwanted in (r"<metadata>.*?</metadata>", r"<style .*?</style>", r"<!--.*?-->", r' xmlns(:\w+)?="[^"]*"'):
        svg = re.sub(unwanted, "", svg, flags=re.DOTALL)
    view_box = re.search(r' viewBox="[^"]*"', svg)
    size = view_box[0] if view_box else ""  # 去掉以磅计的宽高，只留比例，大小由页面决定
    svg = f'<svg{size} role="img" aria-label="{label}">' + svg[svg.index(">") + 1 :]
    # 一页里有好几张图：id 加上前缀才不会重名
    svg = re.sub(r'\bid="([^"]*)"', rf'id="{prefix}-\1"', svg)
    svg = re.sub(r"url\(#([^)]*)\)", rf"url(#{prefix}-\1)", svg)
    svg = re.sub(r'(?:xlink:)?href="#([^"]*)"', rf'href="#{prefix}-\1"', svg)
    svg = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1", svg)
    svg = svg.replace(INK, "currentColor")
    for index, colour in enumerate(COLOURS, start=1):
        svg = svg.replace(colour, f"var(--series-{index}, {colour})")
    return re.sub(r"\n\s*\n+", "\n", svg)
