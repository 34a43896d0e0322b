"""学习率试探（LR range test，Smith 2017）：学习率从很小按指数长到很大，看损失何时下降最快、何时开始变坏。

流入：训练的设置与两个端点；流出：平滑的曲线、建议的学习率、图。

第 t 步（共 T 步）的学习率是 η_t = η_low · (η_high / η_low)^(t / (T - 1))。损失按
s_t = β·s_{t-1} + (1 - β)·ℓ_t 平滑，再除以 1 - β^{t+1}，去掉起点为 0 的偏差。平滑的损失超过最低值的 ``STOP`` 倍
就不再往下走。

三个读数：``steepest``，平滑曲线对 ln η 的斜率最负之处；``lowest``，平滑的损失最低之处，再大就要坏了；
``suggested`` 是两者的几何平均。它是一次训练峰值学习率的起点，不是终点：用 ``study sweep`` 在它周围再找。
"""

from __future__ import annotations

import contextlib
import json
import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tinygrad_llm.common.engine import StepResult
from tinygrad_llm.common.errors import UserError
from tinygrad_llm.common.session import prepare
from tinygrad_llm.common.study.cells import CELLS, Lab, base_settings, open_study, save_json
from tinygrad_llm.common.study.figures import COLOURS, save_figure
from tinygrad_llm.common.study.tables import write_markdown
from tinygrad_llm.common.train_config import TrainConfig

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["LrRange", "Reading", "exponential", "find_rate", "read_curve", "smoothed"]

Floats = NDArray[np.float64]
STOP = 1.5
"""平滑的损失超过最低值的这么多倍，就认定已经坏了。"""
LEAST_STEPS = 10
RESULT = "lr_range"


@dataclass(frozen=True)
class LrRange(TrainConfig):
    """学习率试探的设置。"""

    run: str = "lr-range"
    """研究的名字；结果写在 ``RUNS_DIR/RUN/``。"""
    steps: int = 100
    """从最小走到最大用几步。"""
    lr_low: float = 1e-5
    """最小的学习率。"""
    lr_high: float = 1.0
    """最大的学习率。"""
    smoothing: float = 0.9
    """平滑系数 β。"""

    def __post_init__(self) -> None:
        super().__post_init__()
        problems = []
        if not 0 < self.lr_low < self.lr_high < math.inf:
            problems.append(f"need 0 < --lr-low < --lr-high, got {self.lr_low} and {self.lr_high}")
        if not 0 <= self.smoothing < 1:
            problems.append(f"--smoothing must be at least 0 and below 1, got {self.smoothing}")
        if self.steps < LEAST_STEPS:
            problems.append(f"--steps must be at least {LEAST_STEPS}, got {self.steps}")
        if problems:
            raise UserError("; ".join(problems), where="study lr-range", fix="correct the flags named above")


class Reading(NamedTuple):
    """从曲线上读出的学习率。

    Attributes:
        steepest: 损失下降最快之处。
        lowest: 损失最低之处。
        suggested: 建议的峰值。
    """

    steepest: float
    lowest: float
    suggested: float


class _EnoughError(Exception):
    """看够了，提前结束；不是错误。"""


def exponential(step: int, low: float, high: float, steps: int) -> float:
    """第 ``step`` 步的学习率；首步恰为 ``low``，末步恰为 ``high``（至多差一次舍入）。"""
    return float(low * (high / low) ** (step / (steps - 1)))


def smoothed(losses: Sequence[float], beta: float) -> Floats:
    """去掉起点偏差的指数平均，形状与 ``losses`` 相同。"""
    out, total = np.empty(len(losses)), 0.0
    for t, loss in enumerate(losses):
        total = beta * total + (1 - beta) * loss
        out[t] = total / (1 - beta ** (t + 1))
    return out


def read_curve(rates: Sequence[float], losses: Sequence[float], beta: float) -> Reading:
    """由曲线读出学习率。

    Args:
        rates: 学习率，递增。
        losses: 各步的损失，都是有限的。
        beta: 平滑系数。

    Returns:
        三个读数。

    Raises:
        UserError: 损失从未下降，读不出什么。
    """
    curve, log_rate = smoothed(losses, beta), np.log(np.asarray(rates, np.float64))
    lowest = int(np.argmin(curve))
    if lowest < 2:
        raise UserError(
            "the loss never fell: the smallest learning rate is already too large",
            where="study lr-range",
            fix="lower --lr-low, or raise --steps",
        )
    slope = np.gradient(curve, log_rate)[: lowest + 1]
    at = [float(np.exp(log_rate[index])) for index in (int(np.argmin(slope)), lowest)]
    return Reading(at[0], at[1], math.sqrt(at[0] * at[1]))


def find_rate(config: LrRange, lab: Lab) -> Reading:
    """跑一次试探，写下 JSON、图与 Markdown；跑完的不再跑。

    Args:
        config: 设置。
        lab: 实验台。

    Returns:
        三个读数。

    Raises:
        UserError: 损失从未下降，或文件夹里是别的东西。
    """
    folder = open_study(config, "lr-range")
    if (folder / f"{RESULT}.json").is_file():
        kept = json.loads((folder / f"{RESULT}.json").read_text(encoding="utf-8"))
        reading = Reading(*(float(kept[name]) for name in Reading._fields))
        print(f"{_describe(reading)}\nfinished before: {folder}")
        return reading
    own = base_settings(
        config, lab, run="sweep", runs_dir=str(folder / CELLS), eval_every=0, sample_every=0, save_every=0
    )
    shutil.rmtree(own.folder, ignore_errors=True)  # 上一回中断留下的半截不要了：一次试探很短
    session = prepare(own)
    rates, losses = [], []

    def rate(step: int) -> float:
        return exponential(step, config.lr_low, config.lr_high, config.steps)

    def watch(step: int, result: StepResult) -> None:
        if not math.isfinite(result.loss):
            raise _EnoughError
        rates.append(rate(step))
        losses.append(result.loss)
        curve = smoothed(losses, config.smoothing)
        if step >= LEAST_STEPS and curve[-1] > STOP * curve.min():
            raise _EnoughError

    with contextlib.suppress(_EnoughError):
        lab.run(replace(session, rate=rate), own, watch)
    reading = read_curve(rates, losses, config.smoothing)
    curve = smoothed(losses, config.smoothing)
    rows = [list(row) for row in zip(rates, losses, curve.tolist(), strict=True)]
    save_figure(folder / RESULT, [lambda axes: _panel(axes, np.array(rows), reading)])
    write_markdown(
        folder / f"{RESULT}.md",
        "Learning-rate range test",
        [f"![loss against learning rate]({RESULT}.svg)", _describe(reading)],
    )
    # JSON 最后写：有了它，这次试探才算完
    save_json(folder / f"{RESULT}.json", {**reading._asdict(), "columns": ["lr", "loss", "smoothed"], "rows": rows})
    print(f"{_describe(reading)}\nwrote {folder}")
    return reading


def _describe(reading: Reading) -> str:
    return (
        f"suggested peak learning rate {reading.suggested:.2g}: between the steepest fall at {reading.steepest:.2g} "
        f"and the lowest loss at {reading.lowest:.2g}"
    )


def _panel(axes: Axes, rows: Floats, reading: Reading) -> None:
    axes.plot(rows[:, 0], rows[:, 1], color=COLOURS[0], alpha=0.3, linewidth=0.8)
    axes.plot(rows[:, 0], rows[:, 2], color=COLOURS[0], label="smoothed loss")
    for name, colour in (("steepest", COLOURS[2]), ("suggested", COLOURS[1]), ("lowest", COLOURS[3])):
        value = getattr(reading, name)
        axes.axvline(value, color=colour, linestyle="--", linewidth=1, label=f"{name} {value:.2g}")
    axes.set_xscale("log")
    axes.set_ylim(rows[:, 2].min() - 0.1, rows[0, 2] + 0.5)
    axes.set_xlabel("learning rate")
    axes.set_ylabel("training loss (nats per token)")
    axes.legend(frameon=False)
