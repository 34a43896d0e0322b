"""AdamW 的两个矩：两个参数的梯度相差一百倍，走的步子却差不多。

流入：一个直线拟合，两个特征的尺度相差一百倍，每步四个样本；流出：几步的数与 ``figures/adamw.svg``（动画）。
梯度、两个矩与参数都取自引擎的 ``AdamW``。运行：``python examples/appendix_a_autograd/experiments/08_adamw.py``。
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from film import PLAYING, Film, Point, arguments, polyline

import tinygrad_llm as tg
from tinygrad_llm.common.initial import philox
from tinygrad_llm.tracing.real.svg import Axis, Box, axes, rule, series, tag, text

SCALES = (1.0, 0.01)  # 两个特征的标准差
STEPS, BATCH = 60, 4
LR, BETAS, EPS = 0.1, (0.9, 0.95), 1e-8


class Moment(NamedTuple):
    """一步里一个参数的几个数。"""

    g: float
    m: float
    v: float
    step: float


def descend() -> list[list[Moment]]:
    """训练 ``STEPS`` 步；``[第几个参数][第几步]``。"""
    draw = philox(0, "adamw")
    x = tg.from_numpy(draw.standard_normal((STEPS, BATCH, 2))) * tg.tensor(SCALES, dtype=tg.float64)
    target = (x * 3.0).sum(-1) + 0.5 * tg.from_numpy(draw.standard_normal((STEPS, BATCH)))
    w = tg.zeros(2, dtype=tg.float64, requires_grad=True)
    optimizer = tg.optim.AdamW([w], lr=LR, betas=BETAS, eps=EPS, weight_decay=0.0)
    found: list[list[Moment]] = [[], []]
    for step in range(STEPS):
        optimizer.zero_grad()
        ((x[step] @ w - target[step]) ** 2).mean().backward()
        before = w.detach().clone()
        optimizer.step()
        state = optimizer.state[w]
        for i in range(2):
            numbers = w.grad[i], state["exp_avg"][i], state["exp_avg_sq"][i].sqrt(), (w - before)[i]
            found[i].append(Moment(*(one.item() for one in numbers)))
    return found


def corrected(values: Sequence[float], beta: float, power: float) -> list[float]:
    """除以 ``1 - βᵗ``，撤销从 0 起步的偏差；``power`` 为 ½ 时用于 √v。"""
    return [value / (1 - beta ** (t + 1)) ** power for t, value in enumerate(values)]


def draw_row(film: Film, moments: list[Moment], top: float, name: str, scale: float) -> None:
    """一个参数一行：梯度与一阶矩、二阶矩的平方根、这一步走了多远。"""
    reach = max(abs(one.g) for one in moments)
    signed, positive, steps = (-1.05 * reach, 1.05 * reach), (0.0, 1.05 * reach), (-1.6 * LR, 1.6 * LR)
    m, v = [one.m for one in moments], [one.v for one in moments]
    columns = (
        (signed, [one.g for one in moments], [(m, 1, None), (corrected(m, BETAS[0], 1.0), 1, "3 3")]),
        (positive, [], [(v, 2, None), (corrected(v, BETAS[1], 0.5), 2, "3 3")]),
        (steps, [one.step for one in moments], []),
    )
    film.add(text(18, top + 54, f"w{name}", size=17, font_weight="600"))
    film.add(text(18, top + 74, f"x{name} ~ {scale:g}", size=12, opacity="0.75"))
    for place, ((low, high), bars, lines) in enumerate(columns):
        box = Box(118 + 255 * place, top, 215, 110)
        x, y = Axis(0, STEPS, box.x, box.x + box.width), Axis(low, high, box.y + box.height, box.y)
        film.add(*axes(box, x, y, ticks=4))
        shown = [rule(x(t + 0.5), y(0), x(t + 0.5), y(value), opacity=0.85, stroke_width="2.4",
                      stroke=series(3 if place == 2 else 0)) for t, value in enumerate(bars)]  # fmt: skip
        for values, colour, dash in lines:
            points: list[Point] = [(x(t + 0.5), y(value)) for t, value in enumerate(values)]
            shown.append(polyline(points, series(colour), stroke_dasharray=dash, pathLength=None))
        film.add(tag("g", *shown, clip_path=f"url(#reveal{place})"))
        if top > 100:
            film.add(text(box.x + box.width, box.y + box.height + 32, "step", size=11, anchor="end", opacity="0.75"))


def reveal(film: Film) -> None:
    """从左到右揭开三列；被揭开的边上有一条竖线。"""
    for place in range(3):
        left, width = 118.0 + 255 * place, 215.0
        style = film.moved([(left - width, 0.0), (left, 0.0)], [0.0, PLAYING])
        window = tag("rect", x=left, y=0.0, width=width, height=420.0, style=style)
        film.add(tag("clipPath", window, id=f"reveal{place}"))
        ends = [(left, 0.0), (left + width, 0.0)]
        style = film.moved(ends, [0.0, PLAYING])
        film.add(rule(left + width, 66, left + width, 366, opacity=0.5, style=style))


def main() -> None:
    """打印头尾几步，画出动画。"""
    folder = arguments("the two moments of AdamW").parse_args().figures
    film = Film(880, 412, 10, "gradient, moments and step of AdamW for two parameters")
    heads = (
        (("gradient g", 0, None), ("m", 1, None), ("m̂", 1, "3 3")),
        (("√v", 2, None), ("√v̂", 2, "3 3")),
        (("update  −η m̂ / (√v̂ + ε)", 3, None),),
    )
    for place, head in enumerate(heads):
        at = 118.0 + 255 * place
        for words, colour, dash in head:
            film.add(
                rule(at, 30, at + 18, 30, opacity=1, stroke=series(colour), stroke_width="3", stroke_dasharray=dash)
            )
            film.add(text(at + 24, 34, words, size=13))
            at += 46 + 7 * len(words)
    reveal(film)
    found = descend()
    for i, moments in enumerate(found):
        draw_row(film, moments, 66 + 170 * i, "₁₂"[i], SCALES[i])
        for t in (0, 1, STEPS - 1):
            one = moments[t]
            print(
                f"w{i + 1} step {t + 1:2d}: g {one.g:9.5f}  m {one.m:9.5f}  sqrt(v) {one.v:8.5f}  step {one.step:8.5f}"
            )
    film.save(folder / "adamw.svg")


if __name__ == "__main__":
    main()
