"""梯度流过各层：有残差与没有残差的两次训练，摆在一起。

流入：``residuals.measure_flow`` 的记录；流出：SVG。上排是热图（横轴是步，纵轴是层，越浓梯度越大），
下排左边是头尾两步各层的梯度，右边是损失。两张热图用同一把尺子。
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from tinygrad_llm.tracing.real.residuals import Flow
from tinygrad_llm.tracing.real.svg import (
    Axis,
    Box,
    Label,
    axes,
    drawing,
    line,
    rule,
    series,
    shade_scale,
    shaded_cells,
    text,
    tick_text,
)

NAMES = {True: Label("有残差", "with residuals"), False: Label("没有残差", "without residuals")}
_COLOUR = {True: 0, False: 1}
_WIDTH, _HEIGHT = 920, 590
_COLUMNS = 90
"""热图至多这么多列，步数再多就隔着画。"""


def flow_svg(
    flows: Sequence[Flow], baseline: float | None = None, trained: tuple[int, Sequence[float]] | None = None
) -> str:
    """画一到两次训练。

    Args:
        flows: 有残差的在前；步数与层数相同。
        baseline: 只按词频猜的损失（纳特）；给了就在损失图上画一条虚线。
        trained: 训练好的模型：（第几步，各层收到的梯度的范数）；给了就在左下的图里多画一条线。

    Returns:
        SVG。
    """
    low, high = _range(flows)
    parts: list[str] = []
    for place, flow in enumerate(flows):
        parts += _heat(flow, Box(60 + 450 * place, 60, 390, 190), low, high)
    parts += _scale(Box(330, 304, 260, 10), low, high)
    parts += _profile(flows, trained, Box(60, 372, 390, 170), low, high)
    parts += _losses(flows, baseline, Box(510, 372, 390, 170))
    label = Label("各层收到的梯度，有残差与没有残差", "gradient per layer, with and without residuals")
    return drawing(_WIDTH, _HEIGHT, parts, label)


def _range(flows: Sequence[Flow]) -> tuple[float, float]:
    """全部梯度的范围，放宽到 10 的整数次幂。"""
    found = [norm for flow in flows for row in flow.stream for norm in row if norm > 0 and math.isfinite(norm)]
    least, most = min(found, default=0.1), max(found, default=1.0)
    low = math.floor(math.log10(least))
    return 10.0**low, 10.0 ** max(math.ceil(math.log10(most)), low + 1)


def _heat(flow: Flow, box: Box, low: float, high: float) -> list[str]:
    """一次训练的热图：最上面一行离损失最近，梯度从那里往下走。"""
    shade = Axis(low, high, 0, 1, log=True)
    every = math.ceil(len(flow.steps) / _COLUMNS)
    picked = list(range(0, len(flow.steps), every))
    layers = len(flow.stream[0])
    wide, tall = box.width / len(picked), box.height / layers
    cells = [
        (Box(box.x + wide * column, box.y + tall * (layers - 1 - layer), wide, tall), shade(flow.stream[row][layer]))
        for column, row in enumerate(picked)
        for layer in range(layers)
    ]
    parts = [
        text(box.x, box.y - 30, NAMES[flow.residual], size=15, font_weight="600"),
        text(box.x, box.y - 11, Label("每层收到的梯度", "gradient that reaches each layer"), size=11, opacity="0.75"),
        shaded_cells(cells, series(_COLOUR[flow.residual])),
        rule(box.x, box.y + box.height, box.x + box.width, box.y + box.height, opacity=0.6),
    ]
    named = range(0, layers, max(1, layers // 6))
    for layer in named:
        name: str | Label = Label("词嵌入", "embed") if layer == 0 else str(layer)
        y = box.y + tall * (layers - 0.5 - layer) + 4
        parts.append(text(box.x - 6, y, name, size=11, anchor="end", opacity="0.75"))
    x = Axis(flow.steps[0], flow.steps[-1], box.x, box.x + box.width)
    bottom = box.y + box.height + 16
    parts += [text(x(at), bottom, tick_text(at), size=11, anchor="middle", opacity="0.75") for at in x.ticks()]
    parts.append(text(box.x - 6, bottom, Label("步", "step"), size=11, anchor="end", opacity="0.75"))
    return parts


def _scale(box: Box, low: float, high: float) -> list[str]:
    middle = 10.0 ** round((math.log10(low) + math.log10(high)) / 2)
    ends = [tick_text(value, log=True) for value in (low, high, middle)]
    name = Label("梯度的范数 ‖∂L/∂x‖（对数）", "gradient norm ‖∂L/∂x‖ (log)")
    return [
        *shade_scale(box, "currentColor", *ends),
        text(box.x + box.width / 2, box.y - 6, name, size=11, anchor="middle"),
    ]


def _profile(
    flows: Sequence[Flow], trained: tuple[int, Sequence[float]] | None, box: Box, low: float, high: float
) -> list[str]:
    """头尾两步，各层的梯度：虚线是第一步，实线是最后一步。"""
    last = len(flows[0].stream[0]) - 1
    x = Axis(0, last, box.x, box.x + box.width)
    y = Axis(low, high, box.y + box.height, box.y, log=True)
    parts = axes(box, x, y, Label("层（0 是词嵌入）", "layer (0: embedding)"), "‖∂L/∂x‖")
    for flow in flows:
        colour = series(_COLOUR[flow.residual])
        for row, dash, weight in ((0, "4 4", "1.4"), (-1, None, "2.2")):
            norms = flow.stream[row]
            points = [x(i) for i in range(len(norms))], [y(norm) for norm in norms]
            parts.append(line(*points, colour, stroke_dasharray=dash, stroke_width=weight))
    if trained is not None:
        step, last_norms = trained
        parts.append(line([x(i) for i in range(last + 1)], [y(norm) for norm in last_norms], series(2)))
        name = Label(f"绿线：训练好的，第 {step} 步", f"green: trained, step {step}")
        parts.append(text(box.x, box.y + box.height + 32, name, size=11, fill=series(2), font_weight="600"))
    words = Label(
        f"虚线：第 {flows[0].steps[0]} 步；实线：第 {flows[0].steps[-1]} 步",
        f"dashed: step {flows[0].steps[0]}; solid: step {flows[0].steps[-1]}",
    )
    return [*parts, text(box.x + box.width, box.y - 10, words, size=11, anchor="end", opacity="0.75")]


def _losses(flows: Sequence[Flow], baseline: float | None, box: Box) -> list[str]:
    """损失，线尾写着名字。"""
    every = [loss for flow in flows for loss in flow.losses if math.isfinite(loss)] + ([baseline] if baseline else [])
    x = Axis(flows[0].steps[0], flows[0].steps[-1], box.x, box.x + box.width)
    margin = 0.06 * (max(every) - min(every))
    y = Axis(min(every) - margin, max(every) + margin, box.y + box.height, box.y)
    parts = axes(box, x, y, Label("步", "step"), Label("损失（纳特）", "loss (nats)"))
    if baseline:
        parts.append(rule(box.x, y(baseline), box.x + box.width, y(baseline), opacity=0.8, stroke_dasharray="2 4"))
        words = Label(f"虚线：只按词频猜 {baseline:.2f}", f"dotted: token frequencies alone {baseline:.2f}")
        parts.append(text(box.x + box.width, box.y + 44, words, size=11, anchor="end", opacity="0.75"))
    for place, flow in enumerate(reversed(flows)):
        colour, name = series(_COLOUR[flow.residual]), NAMES[flow.residual]
        parts.append(line([x(step) for step in flow.steps], [y(loss) for loss in flow.losses], colour))
        words = Label(f"{name.zh} {flow.losses[-1]:.2f}", f"{name.en} {flow.losses[-1]:.2f}")
        at = box.x + box.width, box.y + 10 + 17 * place
        parts.append(text(*at, words, anchor="end", fill=colour, font_weight="600"))
    return parts
