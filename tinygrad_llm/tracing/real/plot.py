"""``t.plot()``：用 matplotlib 画出计算图，每个方框写着值与梯度。

流入：``Trace``；流出：matplotlib 的 ``Axes``。方框与箭头来自 ``picture.py``，位置来自 ``layout.py``，
与 ``to_svg()`` 相同。在笔记本里它就是一张普通的图：可以放进子图，可以 ``savefig``。
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from tinygrad_llm.common.charts import COLOURS
from tinygrad_llm.tracing.layout import Layout, arrange
from tinygrad_llm.tracing.picture import Box, Picture, picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from tinygrad_llm.tracing.trace import Trace

VALUE, GRADIENT = COLOURS[0], "#b34700"
"""值是蓝色，梯度是橙色（加深到在白底上读得清）。"""
_FACES = {"leaf": "#eaf3fa", "constant": "#f4f4f4", "op": "#ffffff", "module": "#f3f0fa"}
_INCH_PER_LETTER, _INCH_PER_LINE = 0.085, 0.17
_GAP, _STEP = 0.22, 0.5
_FEW = 12
"""方框不多就从左到右画，再多就从上到下。"""
_LETTERS = 26
"""一行至多写几个字。"""


def plot(trace: Trace, ax: Axes | None = None, *, fold: int | None = None, across: bool | None = None) -> Axes:
    """画出计算图。

    Args:
        trace: 记录。
        ax: 画在哪里；``None`` 则新开一张大小合适的图。
        fold: 模块路径多于几段就折成一个方框；``None`` 是方框太多才折。
        across: 数据向右流还是向下流；``None`` 则方框不多时向右。

    Returns:
        画好的坐标系。
    """
    drawn = picture(trace, fold)
    if across is None:
        across = len(drawn.boxes) <= _FEW
    sizes = [_size(box) for box in drawn.boxes]
    layout = arrange(drawn, [size[1 if across else 0] for size in sizes], _GAP)
    middles, long = _depths(drawn, layout, sizes, across)
    wide = max(layout.width, 0.5)
    width, height = (long, wide) if across else (wide, long)
    if ax is None:
        from matplotlib import pyplot

        _, ax = pyplot.subplots(figsize=(width + 0.3, height + 0.7), layout="constrained")
    ax.set(xlim=(-0.15, width + 0.15), ylim=(-height - 0.15, 0.15), aspect="equal")
    ax.axis("off")
    ax.set_title(trace.title, fontsize=11, parse_math=False)
    _draw(ax, drawn, layout, sizes, middles, across)
    return ax


def _depths(
    drawn: Picture, layout: Layout, sizes: list[tuple[float, float]], across: bool
) -> tuple[list[float], float]:
    """各层的中线在「深」的方向上的位置，与一共多深；层与层之间放得下箭头上的字。"""
    extents, gaps = [0.0] * layout.depth, [_STEP] * layout.depth
    for layer, size in zip(layout.layers, sizes, strict=True):
        extents[layer] = max(extents[layer], size[0 if across else 1])
    for arrow in drawn.arrows if across else ():
        layer = layout.layers[arrow.target]
        gaps[layer] = max(gaps[layer], len(_short(arrow.label)) * _INCH_PER_LETTER + 0.25)
    middles, edge = [], 0.0
    for layer, extent in enumerate(extents):
        edge += gaps[layer] if layer else 0.0
        middles.append(edge + extent / 2)
        edge += extent
    return middles, max(edge, 0.5)


def _size(box: Box) -> tuple[float, float]:
    """一个方框的宽与高，英寸。"""
    lines = _lines(box)
    return max(len(line) for line, _, _ in lines) * _INCH_PER_LETTER + 0.16, len(lines) * _INCH_PER_LINE + 0.12


def _lines(box: Box) -> list[tuple[str, str, str]]:
    """方框里的各行：（字，颜色，粗细）。"""
    found = [(box.title, "#1b2430", "bold"), (box.data, VALUE, "normal")]
    if box.grad:
        found.append((f"∂ {box.grad}", GRADIENT, "normal"))
    return [(_short(words), colour, weight) for words, colour, weight in found if words]


def _short(words: str) -> str:
    return words if len(words) <= _LETTERS else words[: _LETTERS - 1] + "…"


def _draw(
    ax: Any, drawn: Picture, layout: Layout, sizes: list[tuple[float, float]], middles: list[float], across: bool
) -> None:
    def place(layer: float, along: float) -> tuple[float, float]:
        return (middles[int(layer)], -along) if across else (along, -middles[int(layer)])

    centres = [place(layer, along) for layer, along in zip(layout.layers, layout.across, strict=True)]
    for arrow, bends in zip(drawn.arrows, layout.bends, strict=True):
        start, end = centres[arrow.source], centres[arrow.target]
        middle = [place(depth, along) for depth, along in bends]
        first, last = (middle or [end])[0], (middle or [start])[-1]
        points = [_edge_of(start, sizes[arrow.source], first), *middle, _edge_of(end, sizes[arrow.target], last)]
        _arrow(ax, points, arrow.label)
    for box, centre, size in zip(drawn.boxes, centres, sizes, strict=True):
        _box(ax, box, centre, size)


def _edge_of(
    centre: tuple[float, float], size: tuple[float, float], towards: tuple[float, float]
) -> tuple[float, float]:
    """从方框中心指向 ``towards`` 的线，在哪里穿出方框。"""
    dx, dy = towards[0] - centre[0], towards[1] - centre[1]
    shares = [half / abs(by) for half, by in ((size[0] / 2, dx), (size[1] / 2, dy)) if by]
    share = min(shares, default=0.0)
    return centre[0] + dx * share, centre[1] + dy * share


def _arrow(ax: Any, points: list[tuple[float, float]], label: str) -> None:
    """一条折线，最后一段带箭头；``label`` 是反传时沿它流回的梯度。"""
    if len(points) > 2:
        ax.plot(*zip(*points[:-1], strict=True), color="#8793a1", linewidth=0.9, solid_joinstyle="round")
    style = {"arrowstyle": "-|>", "color": "#8793a1", "linewidth": 0.9, "shrinkA": 0, "shrinkB": 0}
    ax.annotate("", points[-1], points[-2], arrowprops=style)
    if label:
        (x0, y0), (x1, y1) = points[-2:]
        angle = math.degrees(math.atan2(y1 - y0, x1 - x0))
        turned = angle if abs(angle) <= 90 else angle - math.copysign(180, angle)
        middle = (x0 + x1) / 2, (y0 + y1) / 2
        spot = {"boxstyle": "round,pad=0.1", "facecolor": "white", "edgecolor": "none", "alpha": 0.85}
        shared = {"ha": "center", "va": "center", "fontsize": 7, "parse_math": False, "bbox": spot}
        ax.text(*middle, _short(label), color=GRADIENT, rotation=0 if abs(turned) > 60 else turned, **shared)


def _box(ax: Any, box: Box, centre: tuple[float, float], size: tuple[float, float]) -> None:
    from matplotlib.patches import FancyBboxPatch

    (x, y), (width, height) = centre, size
    style = "round,pad=0,rounding_size=0.06"
    edge = "#7a5fb5" if box.kind == "module" else "#5c6877"
    dash = "--" if box.kind == "constant" else "-"
    corner = x - width / 2, y - height / 2
    ax.add_patch(FancyBboxPatch(corner, width, height, boxstyle=style, facecolor=_FACES[box.kind], edgecolor=edge,
                                linewidth=0.9, linestyle=dash, zorder=2))  # fmt: skip
    lines = _lines(box)
    top = y + _INCH_PER_LINE * (len(lines) - 1) / 2
    for row, (words, colour, weight) in enumerate(lines):
        at = x, top - _INCH_PER_LINE * row
        ax.text(*at, words, ha="center", va="center", fontsize=8, family="DejaVu Sans Mono", color=colour,
                fontweight=weight, parse_math=False, zorder=4)  # fmt: skip
