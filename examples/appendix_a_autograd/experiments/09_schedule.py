"""学习率曲线：线性预热、半个余弦，以及优化器包里的另外几种。

流入：``common/schedule.py`` 的 ``learning_rate`` 与 ``optim.lr_scheduler``；流出：几个关键步的学习率与
``figures/schedules.svg``（动画）。运行：``python examples/appendix_a_autograd/experiments/09_schedule.py``。
"""

from __future__ import annotations

from typing import Any

from film import PLAYING, Film, arguments, disc, polyline

import tinygrad_llm as tg
from tinygrad_llm.common.loop import rate
from tinygrad_llm.common.train_config import TrainConfig
from tinygrad_llm.tracing.real.svg import Axis, Box, axes, rule, series, tag, text

SETTINGS = TrainConfig(lr=3e-3)
OTHERS: dict[str, Any] = {
    "StepLR(step_size=75, gamma=0.5)": lambda o: tg.optim.lr_scheduler.StepLR(o, step_size=75, gamma=0.5),
    "ExponentialLR(gamma=0.99)": lambda o: tg.optim.lr_scheduler.ExponentialLR(o, gamma=0.99),
    "CosineAnnealingWarmRestarts(T_0=100)": lambda o: tg.optim.lr_scheduler.CosineAnnealingWarmRestarts(o, T_0=100),
    "OneCycleLR(total_steps=300)": lambda o: tg.optim.lr_scheduler.OneCycleLR(o, SETTINGS.lr, total_steps=300),
}


def scheduled(make: Any) -> list[float]:
    """每一步的学习率，由调度器写进优化器。"""
    optimizer = tg.optim.SGD([tg.zeros(1, requires_grad=True)], lr=SETTINGS.lr)
    scheduler = make(optimizer)
    found = []
    for _ in range(SETTINGS.steps):
        found.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        scheduler.step()
    return found


def draw(film: Film, box: Box, rates: list[float], colour: str, ticks: int) -> tuple[Axis, Axis]:
    """一条曲线，跟着时间画出来，前头一个点。"""
    x, y = Axis(0, SETTINGS.steps, box.x, box.x + box.width), Axis(0, 1.1 * SETTINGS.lr, box.y + box.height, box.y)
    film.add(*axes(box, x, y, ticks=ticks))
    points = [(x(step), y(rate)) for step, rate in enumerate(rates)]
    times = [PLAYING * step / (len(rates) - 1) for step in range(len(rates))]
    film.add(polyline(points, colour, opacity="0.25"))
    corners = _corners(points)
    film.add(polyline(points, colour, style=film.drawn([points[i] for i in corners], [times[i] for i in corners])))
    film.add(disc(points[-1], colour, style=film.moved([points[i] for i in corners], [times[i] for i in corners])))
    return x, y


def _corners(points: list[tuple[float, float]], every: int = 6) -> list[int]:
    """隔几步取一个，加上折角两侧的：直线与平滑的段不必逐步写出。"""
    jumps = [i for i in range(1, len(points)) if abs(points[i][1] - points[i - 1][1]) > 4]
    return sorted({0, len(points) - 1, *range(0, len(points), every), *jumps, *(i - 1 for i in jumps)})


def main() -> None:
    """打印关键的几步，画出动画。"""
    folder = arguments("learning-rate schedules").parse_args().figures
    rates = [rate(SETTINGS, step) for step in range(SETTINGS.steps)]
    warmup = SETTINGS.warmup_steps
    for step in (0, warmup - 1, (warmup - 1 + SETTINGS.steps - 1) // 2, SETTINGS.steps - 1):
        print(f"step {step:3d}: lr {rates[step]:.6f}")
    film = Film(860, 490, 10, "the learning rate over the steps of a training run")
    box = Box(64, 52, 770, 170)
    x, y = draw(film, box, rates, series(0), 6)
    shade = tag("rect", x=box.x, y=float(box.y), width=x(warmup - 1) - box.x, height=float(box.height), fill=series(4),
                fill_opacity="0.18")  # fmt: skip
    film.parts.insert(0, shade)
    film.add(text(box.x, 26, "learning_rate: linear warm-up, then half a cosine", size=14, font_weight="600"))
    film.add(text(x(warmup - 1) + 8, y(SETTINGS.lr) - 5, f"peak {SETTINGS.lr:g} at step {warmup - 1}", size=12))
    film.add(text(box.x + box.width, y(rates[-1]) - 12, f"minimum {rates[-1]:g}", size=12, anchor="end"))
    film.add(text(x(warmup - 1) + 8, box.y + box.height - 8, f"warm-up: {warmup} steps", size=12))
    film.add(rule(box.x, y(SETTINGS.lr), box.x + box.width, y(SETTINGS.lr), opacity=0.35, stroke_dasharray="2 4"))
    for place, (name, make) in enumerate(OTHERS.items()):
        small = Box(64 + 400 * (place % 2), 288 + 112 * (place // 2), 370, 60)
        draw(film, small, scheduled(make), series((1, 2, 3, 5)[place]), 3)
        film.add(text(small.x, small.y - 10, name, size=12))
    film.save(folder / "schedules.svg")


if __name__ == "__main__":
    main()
