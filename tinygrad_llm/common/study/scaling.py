"""伸缩律的小研究：几种大小 × 几种 token 数，各训练一次，拟合 L(N, D)，画出拟合、残差与算力最优的前沿。

流入：训练的设置、各种大小与 token 数；流出：一张表、五个参数与区间、图、JSON。拟合见 ``fit.py``。
N 是参与乘法的矩阵的元素数（含输出层，不含查表的嵌入），所以一个 token 的训练恰要 6N 次浮点运算（注意力另计）。
宽度不同的模型，学习率按 (第一种宽度 / 宽度)^p 缩放，p 是 ``--lr-power``。
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tinygrad_llm.common.config import GPTConfig
from tinygrad_llm.common.errors import UserError
from tinygrad_llm.common.study.cells import CELLS, Lab, base_settings, open_study, run_cell, save_json
from tinygrad_llm.common.study.figures import COLOURS, save_figure
from tinygrad_llm.common.study.fit import Law, bootstrap, fit_law
from tinygrad_llm.common.study.tables import markdown_table, write_markdown
from tinygrad_llm.common.train_config import TrainConfig
from tinygrad_llm.common.work import dense_products

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Point", "Scaling", "matrix_parameters", "run_scaling"]

Floats = NDArray[np.float64]
RESULT = "scaling"
UNITS = {"": 1, "K": 1_000, "M": 1_000_000}
INTERVAL = (5.0, 95.0)
"""自助法的区间：第 5 与第 95 百分位。"""


@dataclass(frozen=True)
class Scaling(TrainConfig):
    """伸缩律研究的设置。"""

    run: str = "scaling"
    """研究的名字；结果写在 ``RUNS_DIR/RUN/``。"""
    context: int | None = 64
    """上下文长度（token）。"""
    sizes: tuple[str, ...] = ("32x2", "48x2", "64x3", "96x4")
    """各种大小，写作 宽度x层数；每头的宽度是 16。"""
    budgets: tuple[str, ...] = ("100K", "200K", "400K", "800K")
    """各种 token 数，可以带 K、M。"""
    lr_power: float = 0.5
    """学习率随宽度的幂次 p。"""
    draws: int = 200
    """自助法重抽几次。"""

    def __post_init__(self) -> None:
        super().__post_init__()
        problems = [f"--sizes: {text!r} is not WIDTHxLAYERS" for text in self.sizes if not re.fullmatch(_SIZE, text)]
        problems += [
            f"--budgets: {text!r} is not a number of tokens" for text in self.budgets if not re.fullmatch(_COUNT, text)
        ]
        problems += [
            f"--sizes: the width of {text} is no multiple of {HEAD}"
            for text in self.sizes
            if re.fullmatch(_SIZE, text) and _size(text)[0] % HEAD
        ]
        if len(set(self.sizes)) < 2 or len(set(self.budgets)) < 2:
            problems.append("--sizes and --budgets must each hold at least two")
        if self.draws < 10:
            problems.append(f"--draws must be at least 10, got {self.draws}")
        given = [name for name in ("n_layer", "n_head", "n_kv_head", "n_embd") if getattr(self, name) is not None]
        problems += [f"--{name.replace('_', '-')} is set by --sizes" for name in given]
        if problems:
            raise UserError("; ".join(problems), where="study scaling", fix="correct the flags named above")


_SIZE, _COUNT = r"[1-9]\d{0,4}x[1-9]\d{0,2}", r"[1-9]\d{0,11}[KM]?"
HEAD = 16


class Point(NamedTuple):
    """一次训练。

    Attributes:
        size: 大小的名字。
        n: 矩阵的元素数 N。
        d: token 数 D。
        loss: 末尾的验证损失；发散了是无穷。
        bits_per_byte: 末尾的 bits per byte。
        elapsed_s: 用时，秒。
    """

    size: str
    n: int
    d: int
    loss: float
    bits_per_byte: float
    elapsed_s: float


def matrix_parameters(config: GPTConfig) -> int:
    """参与乘法的矩阵的元素数，含输出层。"""
    return sum(one.inner * one.outer for one in dense_products(config, 1))


def run_scaling(config: Scaling, lab: Lab) -> Law:
    """跑完全部的格，拟合，写下表与图。

    Args:
        config: 设置。
        lab: 实验台。

    Returns:
        拟合好的伸缩律。

    Raises:
        UserError: 设置不对，或跑完的格太少。
        InterruptedRunError: 收到信号；同样的命令再跑一次就接着走。
    """
    cells = [(size, _cell(config, lab, size, budget)) for size in config.sizes for budget in config.budgets]
    folder, vocab_size = open_study(config, "scaling"), _vocabulary(config)
    points = []
    for number, (size, settings) in enumerate(cells, start=1):
        print(f"cell {number}/{len(cells)}: {settings.run}", flush=True)
        cell, model = run_cell(settings, lab), settings.model(vocab_size)
        tokens = settings.steps * settings.batch_size * model.context
        points.append(Point(size, matrix_parameters(model), tokens, cell.val_loss, cell.bits_per_byte, cell.elapsed_s))
    kept = [point for point in points if np.isfinite(point.loss)]
    n, d, loss = (np.array([getattr(point, name) for point in kept], np.float64) for name in ("n", "d", "loss"))
    law = fit_law(n, d, loss)
    laws = bootstrap(law, n, d, loss, draws=config.draws, seed=config.seed)
    _write(config, points, law, laws)
    print(f"{_formula(law)}\nwrote {folder}")
    return law


def _cell(config: Scaling, lab: Lab, size: str, budget: str) -> TrainConfig:
    """一格的设置；步数取整，至少十步。"""
    width, layers = _size(size)
    context = config.model(config.vocab_size).context
    tokens = int(budget.rstrip("KM")) * UNITS[budget[-1] if budget[-1] in "KM" else ""]
    steps = max(round(tokens / (config.batch_size * context)), 10)
    shape = {"n_embd": width, "n_layer": layers, "n_head": width // HEAD}
    return base_settings(
        config,
        lab,
        run=f"{size}-{budget}",
        runs_dir=str(config.folder / CELLS),
        steps=steps,
        lr=config.lr * (_size(config.sizes[0])[0] / width) ** config.lr_power,
        warmup_steps=min(config.warmup_steps, steps // 5),
        eval_every=0,
        sample_every=0,
        save_every=0,
        keep=1,
        **shape,
    )


def _size(text: str) -> tuple[int, int]:
    width, layers = text.split("x")
    return int(width), int(layers)


def _vocabulary(settings: TrainConfig) -> int:
    """词表大小：分片的由分片决定。"""
    if not settings.data:
        return settings.vocab_size
    from tinygrad_llm.common.batches.sources import open_sources

    return open_sources(settings.data)[0].store.tokenizer.vocab_size


# ---- 表与图 ----


def _formula(law: Law) -> str:
    return f"L(N, D) = {law.E:.3f} + {law.A:.4g} / N^{law.alpha:.3f} + {law.B:.4g} / D^{law.beta:.3f}"


def _intervals(laws: Sequence[Law]) -> dict[str, tuple[float, float]]:
    spread = np.percentile(np.array(laws), INTERVAL, axis=0)
    found = {name: (float(spread[0, i]), float(spread[1, i])) for i, name in enumerate(Law._fields)}
    slope = np.percentile([one.beta / (one.alpha + one.beta) for one in laws], INTERVAL)
    return {**found, "exponent of N*": (float(slope[0]), float(slope[1]))}


def _write(config: Scaling, points: Sequence[Point], law: Law, laws: Sequence[Law]) -> None:
    folder, intervals = config.folder, _intervals(laws)
    estimates = {**law._asdict(), "exponent of N*": law.beta / (law.alpha + law.beta)}
    rows = [
        [point.size, f"{point.n:,}", f"{point.d:,}", _shown(point.loss), _shown(float(law.loss(point.n, point.d))),
         _shown(point.bits_per_byte), f"{point.elapsed_s:.0f}"]
        for point in points
    ]  # fmt: skip
    fitted = [[name, f"{value:.4g}", "{:.4g} to {:.4g}".format(*intervals[name])] for name, value in estimates.items()]
    json_points = [
        {**point._asdict(), "loss": _number(point.loss), "bits_per_byte": _number(point.bits_per_byte)}
        for point in points
    ]
    result: dict[str, Any] = {"law": law._asdict(), "intervals_90": intervals, "points": json_points}
    save_json(folder / f"{RESULT}.json", result)
    save_figure(
        folder / RESULT,
        [
            lambda axes: _fit_panel(axes, points, law),
            lambda axes: _residual_panel(axes, points, law),
            lambda axes: _frontier_panel(axes, points, law, laws),
        ],
    )
    parts = [
        f"`{_formula(law)}`, losses in nats per token; intervals: {config.draws} bootstrap refits, 90 %.",
        markdown_table(["parameter", "estimate", "90 % interval"], fitted),
        f"![fit, residuals and frontier]({RESULT}.svg)",
        markdown_table(["size", "N", "D", "loss", "fitted", "bits/byte", "s"], rows),
    ]
    write_markdown(folder / f"{RESULT}.md", "Scaling-law study", parts)


def _shown(value: float) -> str:
    return f"{value:.4f}" if np.isfinite(value) else "diverged"


def _number(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _fit_panel(axes: Axes, points: Sequence[Point], law: Law) -> None:
    """每种大小一条曲线：点是量得的，线是拟合的。"""
    tokens = np.geomspace(min(point.d for point in points), max(point.d for point in points), 60)
    for index, size in enumerate(dict.fromkeys(point.size for point in points)):
        mine = [point for point in points if point.size == size]
        colour = COLOURS[index % len(COLOURS)]
        axes.plot([point.d for point in mine], [point.loss for point in mine], "o", color=colour, markersize=4)
        axes.plot(tokens, law.loss(float(mine[0].n), tokens), color=colour, label=f"{size} (N = {mine[0].n:,})")
    axes.set_xscale("log")
    axes.set_xlabel("training tokens D")
    axes.set_ylabel("validation loss (nats per token)")
    axes.legend(frameon=False)


def _residual_panel(axes: Axes, points: Sequence[Point], law: Law) -> None:
    for index, size in enumerate(dict.fromkeys(point.size for point in points)):
        mine = [point for point in points if point.size == size and np.isfinite(point.loss)]
        gaps = [100 * (np.log(point.loss) - np.log(float(law.loss(point.n, point.d)))) for point in mine]
        axes.plot([point.d for point in mine], gaps, "o", color=COLOURS[index % len(COLOURS)], markersize=4, label=size)
    axes.axhline(0, color="#888888", linewidth=0.8)
    axes.set_xscale("log")
    axes.set_xlabel("training tokens D")
    axes.set_ylabel("residual (% of the loss)")


def _frontier_panel(axes: Axes, points: Sequence[Point], law: Law, laws: Sequence[Law]) -> None:
    """各次训练的算力与损失，拟合的前沿；阴影是自助法的区间。"""
    spent = np.array([6.0 * point.n * point.d for point in points])
    compute = np.geomspace(spent.min(), 10 * spent.max(), 60)

    def best(one: Law) -> Floats:
        size = one.optimal_size(compute)
        return one.loss(size, compute / 6 / size)

    low, high = np.percentile([best(one) for one in laws], INTERVAL, axis=0)
    axes.plot(spent, [point.loss for point in points], "o", color=COLOURS[5], markersize=4, label="runs")
    axes.plot(compute, best(law), color=COLOURS[1], label="compute-optimal")
    axes.fill_between(compute, low, high, color=COLOURS[1], alpha=0.15, linewidth=0)
    axes.set_xscale("log")
    axes.set_xlabel("compute C = 6·N·D (floating-point operations)")
    axes.set_ylabel("validation loss (nats per token)")
    axes.legend(frameon=False)
