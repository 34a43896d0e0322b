"""时间、内存与运算量：一步里每个算子各占多少，以及它们在时间轴上的样子。

流入：``timeline`` 的各段；流出：两张 SVG。前向与反向的时间来自同一次录制，运算量照公式数，字节是图替反向留着的。
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tinygrad_llm.tracing.real.svg import MONO, Axis, Box, Label, bar, drawing, rule, series, tag, text
from tinygrad_llm.tracing.real.timeline import Span, module_levels, runs

FORWARD, BACKWARD = Label("前向", "forward"), Label("反向", "backward")
_ROWS = 16
_KINDS: dict[str, tuple[int, Label]] = {
    **dict.fromkeys(("linear", "matmul", "mm"), (0, Label("矩阵乘", "matrix product"))),
    **dict.fromkeys(("attention", "softmax"), (1, Label("注意力", "attention"))),
    **dict.fromkeys(("layer_norm", "rms_norm"), (2, Label("归一化", "norm"))),
    **dict.fromkeys(("gelu", "gelu_tanh", "silu", "relu", "tanh", "sigmoid"), (3, Label("激活", "activation"))),
    **dict.fromkeys(("cross_entropy", "linear_cross_entropy", "token_loss"), (4, Label("损失", "loss"))),
}
_OTHER = (5, Label("其余", "other"))


@dataclass
class OpCost:
    """一种算子在这段时间里的合计。

    Attributes:
        op: 算子名。
        calls: 前向几次。
        forward_ns: 前向的时间。
        backward_ns: 反向的时间。
        forward_flops: 前向的浮点运算次数。
        backward_flops: 反向的浮点运算次数；只数矩阵乘积。
        saved_bytes: 为反向留下的字节数。
    """

    op: str
    calls: int = 0
    forward_ns: int = 0
    backward_ns: int = 0
    forward_flops: int = 0
    backward_flops: int = 0
    saved_bytes: int = 0

    @property
    def total_ns(self) -> int:
        """前向与反向合计的时间。"""
        return self.forward_ns + self.backward_ns

    @property
    def flops(self) -> int:
        """前向与反向合计的运算次数。"""
        return self.forward_flops + self.backward_flops

    def add(self, span: Span) -> None:
        """算上一段。"""
        if span.is_backward:
            self.backward_ns += span.elapsed_ns
            self.backward_flops += span.flops
        else:
            self.calls += 1
            self.forward_ns += span.elapsed_ns
            self.forward_flops += span.flops
            self.saved_bytes += span.node.saved_bytes


def costs(spans: Sequence[Span]) -> list[OpCost]:
    """各种算子的合计，最费时的在前。"""
    found: dict[str, OpCost] = {}
    for span in spans:
        found.setdefault(span.node.op, OpCost(span.node.op)).add(span)
    return sorted(found.values(), key=lambda one: (-one.total_ns, one.op))


def merged(rows: Sequence[OpCost], name: str) -> OpCost:
    """几行合成一行。"""
    whole = OpCost(name)
    for row in rows:
        for key in ("calls", "forward_ns", "backward_ns", "forward_flops", "backward_flops", "saved_bytes"):
            setattr(whole, key, getattr(whole, key) + getattr(row, key))
    return whole


_COLUMNS = (  # 右端的横坐标与表头
    (560.0, Label("毫秒", "ms")),
    (612.0, Label("占比", "share")),
    (664.0, Label("次数", "calls")),
    (744.0, Label("运算量", "FLOPs")),
    (812.0, Label("每秒", "per s")),
    (900.0, Label("留给反向", "saved")),
)


def costs_svg(spans: Sequence[Span]) -> str:
    """每种算子一行：条长是时间，浓的一段是前向，另一色是反向；右边是次数、运算量、速度与留下的字节。"""
    rows = costs(spans)
    whole = merged(rows, "total")
    if len(rows) > _ROWS:
        rows = [*rows[: _ROWS - 1], merged(rows[_ROWS - 1 :], f"{len(rows) - _ROWS + 1} others")]
    left, top, step = 150.0, 62.0, 25.0
    longest = max((row.total_ns for row in rows), default=1) or 1
    length = Axis(0, longest, 0, 340)
    parts = [
        bar(Box(left, 14, 14, 12), series(0)),
        text(left + 20, 24, FORWARD),
        bar(Box(left + 90, 14, 14, 12), series(1)),
        text(left + 110, 24, BACKWARD),
        *(text(x, top - 14, name, size=11, anchor="end", opacity="0.75") for x, name in _COLUMNS),
        rule(10, top - 6, 910, top - 6),
    ]
    for place, row in enumerate([*rows, whole]):
        y = top + step * place + (8 if row is whole else 0)
        weight = "600" if row is whole else None
        parts.append(text(left - 10, y + 14, row.op, anchor="end", font_family=MONO, font_weight=weight))
        if row is not whole:
            ahead, behind = length(row.forward_ns), length(row.backward_ns)
            parts.append(bar(Box(left, y + 2, ahead, 16), series(0), hint=f"forward {row.forward_ns / 1e6:.3f} ms"))
            hint = f"backward {row.backward_ns / 1e6:.3f} ms"
            parts.append(bar(Box(left + ahead, y + 2, behind, 16), series(1), hint=hint))
        for (x, _), words in zip(_COLUMNS, _figures(row, whole), strict=True):
            parts.append(text(x, y + 14, words, anchor="end", font_family=MONO, size=11.5, font_weight=weight))
    bottom = top + step * len(rows)
    parts.append(rule(10, bottom + 3, 910, bottom + 3))
    label = Label("各种算子的时间、运算量与内存", "time, FLOPs and memory of each op")
    return drawing(920, bottom + step + 20, parts, label)


def _figures(row: OpCost, whole: OpCost) -> list[str]:
    speed = row.flops / row.total_ns * 1e9 if row.total_ns and row.flops else 0.0
    share = row.total_ns / whole.total_ns if whole.total_ns else 0.0
    return [
        f"{row.total_ns / 1e6:.2f}",
        f"{share:.0%}",
        str(row.calls),
        quantity(row.flops) if row.flops else "–",
        quantity(speed) if speed else "–",
        quantity(row.saved_bytes, "B") if row.saved_bytes else "–",
    ]


def quantity(value: float, unit: str = "") -> str:
    """三位有效数字与 k、M、G、T。"""
    for scale, name in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= scale:
            return f"{value / scale:.3g} {name}{unit}"
    return f"{value:.3g} {unit}".rstrip()


def timeline_svg(spans: Sequence[Span]) -> str:
    """时间轴：上面是模块（层、子模块），中间是算子（按种类着色），下面是图替反向留着的字节。"""
    end = spans[-1].end_ns if spans else 1
    x = Axis(0, end / 1e6, 96, 900)
    turn = next((span.start_ns for span in spans if span.is_backward), end)
    lanes = [Label("层", "layer"), Label("模块", "module"), Label("算子", "op")]
    parts = [text(86, 62 + 34 * lane, name, size=11, anchor="end", opacity="0.75") for lane, name in enumerate(lanes)]
    for name, start, stop in ((FORWARD, 0, turn), (BACKWARD, turn, end)):
        if stop > start:
            parts.append(text((x(start / 1e6) + x(stop / 1e6)) / 2, 24, name, size=13, anchor="middle"))
    for lane, depth in ((0, 1), (1, 2)):
        parts += _module_lane(spans, depth, x, 46 + 34 * lane)
    parts += [_op_bar(span, x) for span in spans]
    parts += _held(spans, x, Box(96, 182, 804, 110))
    if 0 < turn < end:
        parts.append(rule(x(turn / 1e6), 32, x(turn / 1e6), 292, opacity=0.6, stroke_dasharray="3 3"))
    parts += _key(362)
    label = Label("一步训练的时间线", "timeline of one training step")
    return drawing(920, 376, parts, label)


def _module_lane(spans: Sequence[Span], depth: int, x: Axis, y: float) -> list[str]:
    found = []
    for place, (module, is_backward, start_ns, end_ns) in enumerate(runs(spans, depth)):
        box = Box(x(start_ns / 1e6), y, x(end_ns / 1e6) - x(start_ns / 1e6), 26)
        hint = f"{module} {'backward' if is_backward else 'forward'} {(end_ns - start_ns) / 1e6:.3f} ms"
        found.append(bar(box, "currentColor", 0.22 if place % 2 else 0.12, hint))
        said = module_levels(module)[-1]
        if box.width > 7 * len(said) + 4:
            middle = box.x + box.width / 2
            found.append(text(middle, y + 17, said, size=11, anchor="middle", font_family=MONO, pointer_events="none"))
    return found


def _op_bar(span: Span, x: Axis) -> str:
    colour, _ = _KINDS.get(span.node.op, _OTHER)
    left, right = x(span.start_ns / 1e6), x(span.end_ns / 1e6)
    way = "backward" if span.is_backward else "forward"
    hint = f"{span.node.op} {way} {span.elapsed_ns / 1e6:.3f} ms\n{span.node.module}"
    return bar(Box(left, 114, max(right - left, 0.3), 30), series(colour), hint=hint)


def _held(spans: Sequence[Span], x: Axis, box: Box) -> list[str]:
    """前向一路升，反向一路降的山形。"""
    peak = max((span.held_bytes for span in spans), default=0) or 1
    y = Axis(0, peak * 1.08, box.y + box.height, box.y)
    moves = [f"M{x(0):.1f} {y(0):.1f}"]
    moves += [f"H{x(span.end_ns / 1e6):.1f}V{y(span.held_bytes):.1f}" for span in spans]
    area = "".join(moves) + f"H{x(x.high):.1f}V{y(0):.1f}Z"
    top = next((span for span in spans if span.held_bytes == peak), None)
    parts = [tag("path", d=area, fill=series(0), fill_opacity="0.25", stroke=series(0), stroke_width="1.2")]
    parts.append(rule(box.x, box.y + box.height, box.x + box.width, box.y + box.height, opacity=0.6))
    parts.append(text(86, box.y + 14, Label("留给反向", "saved for"), size=11, anchor="end", opacity="0.75"))
    parts.append(text(86, box.y + 28, Label("的字节", "backward"), size=11, anchor="end", opacity="0.75"))
    if top is not None:
        at = x(top.end_ns / 1e6)
        parts.append(text(at - 8, y(peak) + 4, quantity(peak, "B"), size=12, anchor="end", font_weight="600"))
    below = box.y + box.height + 16
    parts += [text(x(at), below, f"{at:g}", size=11, anchor="middle", opacity="0.75") for at in x.ticks(6)]
    end = box.y + box.height + 32
    words = Label("毫秒（各步首尾相接）", "ms (steps laid end to end)")
    parts.append(text(box.x + box.width, end, words, size=11, anchor="end", opacity="0.75"))
    return parts


def _key(y: float) -> list[str]:
    parts, left = [], 96.0
    for place, name in dict([*_KINDS.values(), _OTHER]).items():
        parts.append(bar(Box(left, y - 10, 12, 11), series(place)))
        parts.append(text(left + 18, y, name, size=11))
        left += 120
    return parts
