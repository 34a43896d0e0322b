"""写 SVG 的几样积木：标签、双语的文字、坐标轴、深浅格子、颜色。

流入：数与文字；流出：SVG 片段的字符串，同样的输入总是同样的字节。用它的是本目录的各张图，以及附录 A 的动画。

颜色随页面的明暗：墨色是 ``currentColor``，数列的颜色写成 ``var(--series-1, #0072b2)``（Okabe–Ito 色板，常见的色觉缺陷下
仍可区分），页面可以另给 ``--series-N`` 换成适合深底的一组。深浅靠不透明度，浅底深底上都是越浓越大。
双语的文字各带 ``class="zh"`` 与 ``class="en"``，按图所在之处的 ``lang`` 显示一种。
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape
from typing import NamedTuple

from tinygrad_llm.common.charts import COLOURS

FONT = "system-ui, 'PingFang SC', 'Microsoft YaHei', 'Noto Sans CJK SC', sans-serif"
MONO = "ui-monospace, 'SF Mono', Consolas, 'Noto Sans Mono CJK SC', monospace"
_STYLE = "svg.panel .zh,svg.panel:lang(zh) .en{display:none}svg.panel:lang(zh) .zh{display:inline}"


class Box(NamedTuple):
    """一块矩形区域，单位是 SVG 的像素。"""

    x: float
    y: float
    width: float
    height: float


class Label(NamedTuple):
    """一句话的两种写法。"""

    zh: str
    en: str


def series(index: int) -> str:
    """第几条数列的颜色；页面可以用 ``--series-N`` 换成适合深底的一组。"""
    return f"var(--series-{index % len(COLOURS) + 1}, {COLOURS[index % len(COLOURS)]})"


def number(value: float) -> str:
    """坐标：至多一位小数，不写多余的零。"""
    text = f"{value:.1f}"
    return "0" if text in ("-0.0", "0.0") else text.removesuffix(".0")


def tag(name: str, *children: str, **attrs: object) -> str:
    """一个元素；属性名里的 ``_`` 写成 ``-``，值为 ``None`` 的略去，小数照 ``number`` 写。"""
    parts = [
        f'{key.rstrip("_").replace("_", "-")}="{number(value) if isinstance(value, float) else escape(str(value))}"'
        for key, value in attrs.items()
        if value is not None
    ]
    start = " ".join([name, *parts])
    return f"<{start}>{''.join(children)}</{name}>" if children else f"<{start}/>"


def text(x: float, y: float, words: str | Label, *, size: float = 12, anchor: str = "start", **attrs: object) -> str:
    """一行字；``Label`` 写成叠在一起的两份，页面隐去一份。"""
    shared = {"x": float(x), "y": float(y), "font_size": float(size), "text_anchor": anchor, "fill": "currentColor"}
    if isinstance(words, str):
        return tag("text", escape(words), **{**shared, **attrs})
    both = (("zh", words.zh), ("en", words.en))
    return "".join(tag("text", escape(said), class_=lang, lang=lang, **{**shared, **attrs}) for lang, said in both)


def clipped(words: str, room: int) -> str:
    """至多 ``room`` 个字；太长的末尾换成省略号。"""
    return words if len(words) <= room else words[: room - 1] + "…"


def drawing(width: float, height: float, parts: Iterable[str], label: Label) -> str:
    """整张图；``label`` 读给看不见图的人听。"""
    attrs = {"viewBox": f"0 0 {number(width)} {number(height)}", "xmlns": "http://www.w3.org/2000/svg", "role": "img"}
    attrs |= {
        "aria_label": f"{label.zh} {label.en}",
        "font_family": FONT,
        "style": f"max-width:{number(width)}px;min-width:{number(min(width, 620))}px",
    }
    return tag("svg", f"<style>{_STYLE}</style>", *parts, class_="panel", **attrs)


def rule(x1: float, y1: float, x2: float, y2: float, *, opacity: float = 0.25, **attrs: object) -> str:
    """一条细线。"""
    ends = {"x1": float(x1), "y1": float(y1), "x2": float(x2), "y2": float(y2)}
    return tag("line", **{**ends, "stroke": "currentColor", "stroke_opacity": str(opacity), **attrs})


def bar(box: Box, fill: str, opacity: float = 1.0, hint: str = "", **attrs: object) -> str:
    """一块实心的矩形；``hint`` 是鼠标停在上面时的字。"""
    shared = {"x": box.x + 0.0, "y": box.y + 0.0, "width": box.width + 0.0, "height": box.height + 0.0, "fill": fill}
    faded = {"fill_opacity": f"{opacity:.2f}"} if opacity < 1 else {}
    return tag("rect", *([tag("title", escape(hint))] if hint else []), **{**shared, **faded, **attrs})


class Axis:
    """一根轴：数 → 坐标。

    Args:
        low: 左（下）端的数。
        high: 右（上）端的数。
        start: 左（下）端的坐标。
        stop: 右（上）端的坐标。
        log: 按对数排；两端都要大于 0。
    """

    def __init__(self, low: float, high: float, start: float, stop: float, log: bool = False) -> None:
        self.log, self.start, self.stop = log, start, stop
        self.low, self.high = (math.log10(low), math.log10(high)) if log else (low, high)

    def __call__(self, value: float) -> float:
        """一个数的坐标；越界的贴在边上。"""
        if self.log:
            value = math.log10(value) if value > 0 else self.low
        share = (value - self.low) / ((self.high - self.low) or 1.0)
        return self.start + (self.stop - self.start) * min(max(share, 0.0), 1.0)

    def ticks(self, count: int = 5) -> list[float]:
        """约 ``count`` 个好读的刻度：1、2、5 乘以 10 的幂；对数轴是 10 的幂。"""
        if self.log:
            first, last = math.ceil(self.low - 1e-9), math.floor(self.high + 1e-9)
            step = max(1, math.ceil((last - first) / count))
            return [10.0**power for power in range(first, last + 1) if (last - power) % step == 0]
        raw = (self.high - self.low) / count or 1.0
        unit = 10.0 ** math.floor(math.log10(raw))
        step_size = unit * next(times for times in (1, 2, 5, 10) if times * unit >= raw * (1 - 1e-9))
        first = math.ceil(self.low / step_size - 1e-9)
        return [step_size * i for i in range(first, math.floor(self.high / step_size + 1e-9) + 1)]


def tick_text(value: float, log: bool = False) -> str:
    """刻度上的字；对数轴写成 10 的幂。"""
    if log:
        power = round(math.log10(value))
        return {0: "1", 1: "10"}.get(power, "10" + str(power).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")))
    return f"{value:g}"


def axes(box: Box, x: Axis, y: Axis, x_name: str | Label = "", y_name: str | Label = "", ticks: int = 5) -> list[str]:
    """左边与下边的轴、刻度、淡淡的横线；纵轴的名字写在左上角。"""
    bottom = box.y + box.height
    parts = [rule(box.x, bottom, box.x + box.width, bottom, opacity=0.6)]
    for value in x.ticks(ticks):
        parts.append(text(x(value), bottom + 16, tick_text(value, x.log), size=11, anchor="middle", opacity="0.75"))
        parts.append(rule(x(value), bottom, x(value), bottom + 4, opacity=0.6))
    for value in y.ticks(ticks):
        parts.append(text(box.x - 6, y(value) + 4, tick_text(value, y.log), size=11, anchor="end", opacity="0.75"))
        parts.append(rule(box.x, y(value), box.x + box.width, y(value), opacity=0.12))
    if x_name:
        parts.append(text(box.x + box.width, bottom + 32, x_name, size=11, anchor="end", opacity="0.75"))
    if y_name:
        parts.append(text(box.x - 6, box.y - 10, y_name, size=11, opacity="0.75"))
    return parts


def line(xs: Sequence[float], ys: Sequence[float], colour: str, **attrs: object) -> str:
    """一条折线，坐标已经换算好。"""
    points = " ".join(f"{number(x)},{number(y)}" for x, y in zip(xs, ys, strict=True))
    shared = {"points": points, "fill": "none", "stroke": colour, "stroke_width": "1.8", "stroke_linejoin": "round"}
    return tag("polyline", **{**shared, **attrs})


SHADES = 24
"""深浅分几档：同一档的格子写成一条路径，一张热图因此只有几千字节。"""


def shaded_cells(cells: Iterable[tuple[Box, float]], colour: str) -> str:
    """许多格子，各有 0 到 1 的深浅；0 不画，NaN 画成空框。相邻的格子之间不留缝。"""
    paths: dict[int, list[str]] = {}
    for box, share in cells:
        shade = -1 if math.isnan(share) else round(min(max(share, 0.0), 1.0) * SHADES)
        left, top, right, bottom = (number(one) for one in (box.x, box.y, box.x + box.width, box.y + box.height))
        paths.setdefault(shade, []).append(f"M{left} {top}H{right}V{bottom}H{left}z")
    found = []
    for shade, moves in sorted(paths.items()):
        if shade < 0:
            found.append(tag("path", d="".join(moves), fill="none", stroke="currentColor", stroke_opacity="0.5"))
        elif shade:
            found.append(tag("path", d="".join(moves), fill=colour, fill_opacity=f"{shade / SHADES:.2f}"))
    return tag("g", *found, shape_rendering="crispEdges")


def shade_scale(box: Box, colour: str, low: str, high: str, middle: str = "") -> list[str]:
    """深浅的图例：一条由浅到深的带子，两端写着数。"""
    step = box.width / SHADES
    cells = [(Box(box.x + i * step, box.y, step, box.height), (i + 1) / SHADES) for i in range(SHADES)]
    below = box.y + box.height + 13
    return [
        shaded_cells(cells, colour),
        text(box.x, below, low, size=10, opacity="0.75"),
        text(box.x + box.width / 2, below, middle, size=10, anchor="middle", opacity="0.75") if middle else "",
        text(box.x + box.width, below, high, size=10, anchor="end", opacity="0.75"),
    ]
