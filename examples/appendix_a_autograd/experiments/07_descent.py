"""在损失的地形上走下去：SGD、带动量的 SGD 与 AdamW，从同一点出发。

流入：一个两个权重的网络 ``y = w₂ · tanh(w₁ x)`` 与 16 个样本；流出：三条路的终点与 ``figures/descent.svg``（动画）。
地形、梯度与每一步都由引擎算出。运行：``python examples/appendix_a_autograd/experiments/07_descent.py``。
"""

from __future__ import annotations

from typing import Any

import numpy as np
from contours import shores
from film import Film, Point, arguments, disc, polyline

import tinygrad_llm as tg
from tinygrad_llm.ops.op import Array
from tinygrad_llm.tracing.real.svg import Axis, Box, axes, number, series, tag, text

REACH = 3.0  # 两个权重各画 [-3, 3]
CELLS = 72
START = (-2.6, 0.9)
STEPS = 80
LEVELS = (0.003, 0.01, 0.03, 0.1, 0.2, 0.4, 0.7, 1.1, 1.7, 2.6, 4.0, 6.0, 9.0)
OPTIMIZERS: dict[str, Any] = {
    "SGD": lambda w: tg.optim.SGD([w], lr=0.1),
    "SGD, momentum 0.9": lambda w: tg.optim.SGD([w], lr=0.1, momentum=0.9),
    "AdamW": lambda w: tg.optim.AdamW([w], lr=0.15, weight_decay=0.0),
}
X = tg.linspace(-2.0, 2.0, 16, dtype=tg.float64)
TARGET = 1.5 * tg.tanh(1.2 * X)


def loss_of(w1: Any, w2: Any) -> Any:
    """均方误差；``w1``、``w2`` 可以是一批点，最后一轴是样本。"""
    return ((w2.unsqueeze(-1) * tg.tanh(w1.unsqueeze(-1) * X) - TARGET) ** 2).mean(-1)


def landscape() -> Array:
    """``(CELLS + 1, CELLS + 1)`` 的损失，第一轴是 w₁。"""
    side = tg.linspace(-REACH, REACH, CELLS + 1, dtype=tg.float64)
    with tg.no_grad():
        w1, w2 = tg.meshgrid(side, side, indexing="ij")
        found: Array = loss_of(w1, w2).numpy()
    return found


def walk(make: Any) -> tuple[list[Point], list[float]]:
    """走 ``STEPS`` 步：每一步之前的位置与损失，末尾是终点。"""
    w = tg.tensor(START, dtype=tg.float64, requires_grad=True)
    optimizer = make(w)
    places: list[Point] = []
    losses: list[float] = []
    for step in range(STEPS + 1):
        optimizer.zero_grad()
        loss = loss_of(w[0], w[1])
        places.append((w[0].item(), w[1].item()))
        losses.append(loss.item())
        if step < STEPS:
            loss.backward()
            optimizer.step()
    return places, losses


def draw_map(film: Film, box: Box, grid: Array) -> tuple[Axis, Axis]:
    """地形：一层层的水面叠起来，越深越浓。"""
    x, y = Axis(-REACH, REACH, box.x, box.x + box.width), Axis(-REACH, REACH, box.y + box.height, box.y)
    walled = np.pad(grid, 1, constant_values=1e3)
    film.add(
        tag("clipPath", tag("rect", **dict(zip(("x", "y", "width", "height"), map(float, box), strict=True))), id="map")
    )
    layers = []
    for level in LEVELS:
        loops = []
        for loop in shores(walled, level):
            points = [
                (box.x + box.width * (i - 1) / CELLS, box.y + box.height * (1 - (j - 1) / CELLS)) for i, j in loop
            ]
            loops.append("M" + "L".join(f"{number(px)} {number(py)}" for px, py in points) + "Z")
        layers.append(tag("path", d="".join(loops), fill=series(0), fill_opacity="0.085", fill_rule="evenodd",
                          stroke=series(0), stroke_opacity="0.35", stroke_width="0.7"))  # fmt: skip
    film.add(tag("g", *layers, clip_path="url(#map)"))
    film.add(*axes(box, x, y, "w₁", "w₂"))
    return x, y


def main() -> None:
    """打印三条路的终点，画出动画。"""
    folder = arguments("three optimizers on one loss surface").parse_args().figures
    film = Film(860, 440, 12, "three optimizers walk down the loss surface of y = w2 tanh(w1 x)")
    surface, chart = Box(50, 52, 340, 340), Box(470, 52, 365, 250)
    to_x, to_y = draw_map(film, surface, landscape())
    step_axis, loss_axis = (
        Axis(0, STEPS, chart.x, chart.x + chart.width),
        Axis(1e-5, 10, chart.y + chart.height, chart.y, log=True),
    )
    film.add(*axes(chart, step_axis, loss_axis, y_name="loss"))
    film.add(text(surface.x + surface.width, 30, "y = w₂ · tanh(w₁ x),  16 samples", size=13, anchor="end"))
    for place, (name, make) in enumerate(OPTIMIZERS.items()):
        places, losses = walk(make)
        (w1, w2), loss = places[-1], losses[-1]
        print(f"{name:18} w = ({w1:7.4f}, {w2:7.4f})  loss {losses[0]:.4f} -> {loss:.6f}")
        colour = series(place + 1)
        for points in (
            [(to_x(a), to_y(b)) for a, b in places],
            [(step_axis(step), loss_axis(value)) for step, value in enumerate(losses)],
        ):
            film.add(polyline(points, colour, style=film.drawn(points)))
            film.add(disc(points[-1], colour, style=film.moved(points)))
        y = chart.y + chart.height + 70 + 24 * place
        film.add(disc((chart.x + 8, y - 4), colour), text(chart.x + 22, y, name, size=13))
        film.add(text(chart.x + chart.width, y, f"{loss:.5f}", size=13, anchor="end"))
    words = f"loss after {STEPS} steps"
    film.add(text(chart.x + chart.width, chart.y + chart.height + 46, words, size=11, anchor="end", opacity="0.75"))
    start = to_x(START[0]), to_y(START[1])
    film.add(tag("circle", cx=start[0], cy=start[1], r="4", fill="none", stroke="currentColor", stroke_width="1.5"))
    film.add(text(start[0] + 10, start[1] - 6, "start", size=11))
    film.save(folder / "descent.svg")


if __name__ == "__main__":
    main()
