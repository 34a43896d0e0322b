"""图的三种写法：SVG、DOT（Graphviz）与 Mermaid。

流入：``Trace``；流出：文字。SVG 不依赖任何东西：分层、浅色与深色、停在方框上看公式；DOT 与 Mermaid 交给别的工具去排。
下一站：``terminal.py``。
"""

from __future__ import annotations

import html
import itertools
import re
import unicodedata
from collections.abc import Callable, Iterator
from typing import Any

from tinygrad_llm.tracing.layout import Layout, arrange
from tinygrad_llm.tracing.picture import Arrow, Box, Picture, picture
from tinygrad_llm.tracing.trace import Trace

_CHAR, _LINE, _PAD = 7.2, 17, 9
"""等宽字的宽、行高、方框的边距，像素。"""

_ALONG_LIMIT = 8
"""层数不多就从左到右，多了就从上到下。"""

_STYLE = """
.box { stroke-width: 1.4; fill: #ffffff; stroke: #8a8f98; }
.leaf .box { stroke: #0072b2; fill: #eaf4fb; }
.constant .box { stroke-dasharray: 4 3; fill: #f5f5f5; }
.module .box { stroke: #009e73; fill: #e9f7f2; }
text { font: 12px ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; fill: #1f2328; }
.title { font-weight: 600; }
.grad { fill: #b3480b; }
.flow { fill: #b3480b; font-size: 11px; paint-order: stroke; stroke: #ffffff; stroke-width: 4px; }
.arrow { fill: none; stroke: #8a8f98; stroke-width: 1.3; }
.head { fill: #8a8f98; }
.caption { font-size: 13px; font-weight: 600; }
@media (prefers-color-scheme: dark) {
  .box { fill: #22272e; stroke: #8b949e; }
  .leaf .box { fill: #10293b; stroke: #56b4e9; }
  .constant .box { fill: #2a2f36; }
  .module .box { fill: #12302a; stroke: #2bbf96; }
  text { fill: #e6edf3; }
  .grad { fill: #ffa366; }
  .flow { fill: #ffa366; stroke: #0d1117; }
}
""".strip()


Point = tuple[float, float]


# ---- SVG


def svg(trace: Trace, fold: int | None = None) -> str:
    """见 ``Trace.to_svg``。"""
    drawing = picture(trace, fold)
    return _Drawing(trace.title, drawing).text()


class _Drawing:
    """一张 SVG：数据从左到右（层数不多）或从上到下。"""

    def __init__(self, title: str, drawing: Picture) -> None:
        self.title, self.picture = title, drawing
        self.sizes = [_size(box) for box in drawing.boxes]
        depth = arrange(drawing, [1.0] * len(drawing.boxes), 1.0).depth
        self.is_sideways = depth <= _ALONG_LIMIT
        breadths = [height if self.is_sideways else width for width, height in self.sizes]
        self.layout: Layout = arrange(drawing, breadths, 22.0 if self.is_sideways else 26.0)
        self.starts = self._layer_starts()

    def _layer_starts(self) -> list[float]:
        """每层沿深度方向的起点与最后的终点；层厚取这层最厚的方框。"""
        thick = [0.0] * self.layout.depth
        for layer, (width, height) in zip(self.layout.layers, self.sizes, strict=True):
            thick[layer] = max(thick[layer], width if self.is_sideways else height)
        gap = 84.0 if any(arrow.label for arrow in self.picture.arrows) else 44.0
        starts = [20.0]
        for one in thick:
            starts.append(starts[-1] + one + (gap if self.is_sideways else 38.0))
        self.thick = thick
        return starts

    def text(self) -> str:
        """整张图。"""
        deep = self.starts[-1] - (self.starts[-1] - self.starts[-2] - self.thick[-1] if self.thick else 0) + 20
        wide = self.layout.width + 40
        width, height = (deep, wide + 28) if self.is_sideways else (wide, deep + 28)
        width = max(width, 40 + len(self.title) * 9)
        lines = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" '
            f'width="{width:.0f}" height="{height:.0f}" role="img">',
            f"<title>{html.escape(self.title)}</title>",
            f"<style>{_STYLE}</style>",
            '<defs><marker id="head" viewBox="0 0 8 8" refX="7.2" refY="4" markerWidth="7" markerHeight="7" '
            'orient="auto"><path class="head" d="M0 0L8 4L0 8z"/></marker></defs>',
            f'<text class="caption" x="20" y="22">{html.escape(self.title)}</text>',
            '<g transform="translate(0 28)">',
            *self._arrows(),
            *self._boxes(),
            *self._flows(),
            "</g></svg>",
        ]
        return "\n".join(lines) + "\n"

    def _place(self, i: int) -> tuple[float, float, float, float]:
        """第 ``i`` 个方框的左上角与大小。"""
        (width, height), layer = self.sizes[i], self.layout.layers[i]
        across = self.layout.across[i] + 20
        along = self.starts[layer] + (self.thick[layer] - (width if self.is_sideways else height)) / 2
        if self.is_sideways:
            return along, across - height / 2, width, height
        return across - width / 2, along, width, height

    def _boxes(self) -> Iterator[str]:
        for i, box in enumerate(self.picture.boxes):
            x, y, width, height = self._place(i)
            yield f'<g class="{box.kind}" transform="translate({x:.1f} {y:.1f})"><title>{html.escape(box.tip)}</title>'
            yield f'<rect class="box" width="{width:.1f}" height="{height:.1f}" rx="6"/>'
            for n, (style, line) in enumerate(_lines(box)):
                place = f'x="{width / 2:.1f}" y="{_PAD + _LINE * n + 11:.0f}" text-anchor="middle"'
                yield f'<text class="{style}" {place}>{html.escape(line)}</text>'
            yield "</g>"

    def _arrows(self) -> Iterator[str]:
        for arrow, bends in zip(self.picture.arrows, self.layout.bends, strict=True):
            points = self._points(arrow, bends)
            yield f'<path class="arrow" d="{_curve(points, self.is_sideways)}" marker-end="url(#head)"/>'

    def _flows(self) -> Iterator[str]:
        for arrow, bends in zip(self.picture.arrows, self.layout.bends, strict=True):
            points = self._points(arrow, bends)
            if arrow.label:
                (x0, y0), (x1, y1) = points[0], points[1]
                place = f'x="{(x0 + x1) / 2:.1f}" y="{(y0 + y1) / 2 + 4:.1f}" text-anchor="middle"'
                yield f'<text class="flow" {place}>{html.escape(arrow.label)}</text>'

    def _points(self, arrow: Arrow, bends: list[tuple[int, float]]) -> list[Point]:
        """箭头经过的点：从来处的边沿，穿过各层，到去处的边沿。"""
        x0, y0, w0, h0 = self._place(arrow.source)
        x1, y1, w1, h1 = self._place(arrow.target)
        if self.is_sideways:
            start, end = (x0 + w0, y0 + h0 / 2), (x1, y1 + h1 / 2)
        else:
            start, end = (x0 + w0 / 2, y0 + h0), (x1 + w1 / 2, y1)
        middle = []
        for layer, across in bends:
            near, far = self.starts[layer], self.starts[layer] + self.thick[layer]
            ends = [(near, across + 20), (far, across + 20)]
            middle += ends if self.is_sideways else [(y, x) for x, y in ends]
        return [start, *middle, end]


def _lines(box: Box) -> list[tuple[str, str]]:
    """方框里的各行：（样式，文字）。"""
    rows = [("title", box.title), ("data", box.data), ("grad", f"∇ {box.grad}" if box.grad else "")]
    return [(style, text) for style, text in rows if text]


def _size(box: Box) -> tuple[float, float]:
    """方框的宽与高。"""
    lines = _lines(box)
    return max(columns(text) for _, text in lines) * _CHAR + 2 * _PAD + 4, len(lines) * _LINE + 2 * _PAD - 4


def columns(text: str) -> int:
    """等宽字体里占几列：汉字两列，组合的记号不占。"""
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text
    )


def _curve(points: list[Point], is_sideways: bool) -> str:
    """经过各点的光滑曲线，进出每一层都与层垂直。"""
    (x, y), parts = points[0], [f"M{points[0][0]:.1f} {points[0][1]:.1f}"]
    for to_x, to_y in points[1:]:
        if is_sideways:
            half = (to_x - x) / 2
            parts.append(f"C{x + half:.1f} {y:.1f} {to_x - half:.1f} {to_y:.1f} {to_x:.1f} {to_y:.1f}")
        else:
            half = (to_y - y) / 2
            parts.append(f"C{x:.1f} {y + half:.1f} {to_x:.1f} {to_y - half:.1f} {to_x:.1f} {to_y:.1f}")
        x, y = to_x, to_y
    return "".join(parts)


# ---- DOT 与 Mermaid


def dot(trace: Trace, fold: int | None = None) -> str:
    """见 ``Trace.to_dot``。"""
    drawing = picture(trace, fold)
    shapes = {"leaf": "box", "constant": "box", "op": "box", "module": "component"}
    colors = {"leaf": "#0072b2", "constant": "#8a8f98", "op": "#555555", "module": "#009e73"}

    def box(i: int) -> str:
        one = drawing.boxes[i]
        label = "\\n".join(_quoted(text) for _, text in _lines(one))
        style = "rounded,dashed" if one.kind == "constant" else "rounded"
        tip = "\\n".join(_quoted(line) for line in one.tip.splitlines())
        look = f'shape={shapes[one.kind]}, style="{style}", color="{colors[one.kind]}"'
        return f'v{i} [label="{label}", {look}, tooltip="{tip}"];'

    lines = [f'digraph "{_quoted(trace.title)}" {{', '  graph [rankdir=LR, fontname="monospace"];']
    lines += ['  node [fontname="monospace", fontsize=11];', '  edge [fontname="monospace", fontsize=10];']
    lines += [f"  {line}" for line in _nested(drawing, box, _dot_cluster, "}")]
    for arrow in drawing.arrows:
        label = f' [label="{_quoted(arrow.label)}", fontcolor="#b3480b"]' if arrow.label else ""
        lines.append(f"  v{arrow.source} -> v{arrow.target}{label};")
    return "\n".join([*lines, "}"]) + "\n"


def _dot_cluster(n: int, path: str) -> str:
    return f'subgraph cluster_{n} {{ label="{_quoted(path)}"; style=rounded; color="#8a8f98";'


def _quoted(text: str) -> str:
    """DOT 的双引号里的文字。"""
    return text.replace("\\", "\\\\").replace('"', '\\"')


def mermaid(trace: Trace, fold: int | None = None) -> str:
    """见 ``Trace.to_mermaid``。"""
    drawing = picture(trace, fold)
    shapes = {"leaf": ("([", "])"), "constant": ("([", "])"), "op": ("[", "]"), "module": ("[[", "]]")}

    def box(i: int) -> str:
        one = drawing.boxes[i]
        left, right = shapes[one.kind]
        label = "<br>".join(_entity(text) for _, text in _lines(one))
        return f'v{i}{left}"{label}"{right}:::{one.kind}'

    lines = ["flowchart LR"]
    lines += [
        f"  {line}" for line in _nested(drawing, box, lambda n, path: f'subgraph m{n} ["{_entity(path)}"]', "end")
    ]
    for arrow in drawing.arrows:
        label = f'|"{_entity(arrow.label)}"|' if arrow.label else ""
        lines.append(f"  v{arrow.source} -->{label} v{arrow.target}")
    lines += [
        "  classDef leaf stroke:#0072b2",
        "  classDef constant stroke:#8a8f98,stroke-dasharray:4 3",
        "  classDef op stroke:#777777",
        "  classDef module stroke:#009e73",
    ]
    return "\n".join(lines) + "\n"


def _entity(text: str) -> str:
    """Mermaid 的双引号里的文字：有特别含义的字符写成实体。"""
    return re.sub(r'["#<>&`|\\]', lambda found: f"#{ord(found[0])};", text)


def _nested(
    drawing: Picture, box: Callable[[int], str], opened: Callable[[int, str], str], closed: str
) -> Iterator[str]:
    """方框按模块的路径一层套一层；折起来的模块放在它的上一层里。"""
    tree: dict[str, Any] = {}
    for i, one in enumerate(drawing.boxes):
        path = one.module.rpartition(".")[0] if one.kind == "module" else one.module
        place = tree
        for part in path.split(".") if path else []:
            place = place.setdefault(part, {})
        place.setdefault("", []).append(i)
    numbers = itertools.count()

    def walk(place: dict[str, Any], prefix: str, indent: str) -> Iterator[str]:
        yield from (indent + box(i) for i in place.get("", []))
        for part, inner in place.items():
            if part:
                path = f"{prefix}.{part}" if prefix else part
                yield indent + opened(next(numbers), path)
                yield from walk(inner, path, f"{indent}  ")
                yield indent + closed

    yield from walk(tree, "", "")
