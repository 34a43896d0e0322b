"""拿掉一样会怎样：预热、裁剪、权重衰减、衰减的分组。

流入：小模型、两个峰值学习率、三个种子；流出：每种做法的验证损失（均值与极差）、最高的训练损失与梯度范数，
以及 ``figures/ablations.svg``；
最后是 ``toy`` 模型的一次梯度尖峰，裁剪与不裁剪各一遍。
运行：``python examples/ch06_pretraining/experiments/03_ablations.py``（约一分钟）。
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "main"))  # 与正文的程序共用工作台

from pretraining_lab import COLOURS, SMALL, arguments, engine_of, new_figure, new_session, save_svg, training, variant

from tinygrad_llm.common.batches import IGNORE_INDEX, evaluation_batches
from tinygrad_llm.common.engine import Engine
from tinygrad_llm.common.session import Session

RATES = (3e-3, 3e-2)
SEEDS = (0, 1, 2)
VARIANTS: dict[str, dict[str, Any]] = {
    "all of it": {},
    "no warm-up": {"warmup_steps": 0},
    "no clipping": {"grad_clip": 1e9},
    "neither": {"warmup_steps": 0, "grad_clip": 1e9},
    "no decay": {"weight_decay": 0.0},
    "decay everything": {},
}


class Run(NamedTuple):
    """一次训练：逐步的损失、裁剪前最大的梯度范数、末尾的验证损失。"""

    losses: list[float]
    largest_norm: float
    validation: float


def run(session: Session, *, decay_everything: bool) -> Run:
    """在 NumPy 上训练到底。"""
    engine = engine_of("numpy", session)
    if decay_everything:
        for group in engine.optimizers[0].param_groups:
            group["weight_decay"] = session.settings.weight_decay
    results = list(training(session, engine))
    largest = max(result.grad_norm for result in results)
    return Run([result.loss for result in results], largest, validation_loss(session, engine))


def validation_loss(session: Session, engine: Engine) -> float:
    """验证集上每个 token 的平均损失（纳特）。"""
    nats, tokens = 0.0, 0
    for x, y in evaluation_batches(session.validation, session.model.context, 64):
        nats += engine.evaluate(x, y)
        tokens += int((y != IGNORE_INDEX).sum())
    return nats / tokens


def print_spike(steps: int) -> None:
    """``toy`` 模型预热途中的一次尖峰，裁剪与不裁剪各走一遍：打印尖峰前后的损失与梯度范数。"""
    base = new_session(steps=200, stop_at=steps)
    for limit in (1.0, 1e9):
        session = variant(base, grad_clip=limit)
        results = list(training(session, engine_of("numpy", session)))
        peak = max(range(len(results)), key=lambda step: results[step].grad_norm)
        print(f"toy, gradients clipped at {limit:g}: largest |grad| at step {peak}")
        for step in range(max(0, peak - 1), min(len(results), peak + 2)):
            print(f"  step {step:3d}  loss {results[step].loss:.3f}  |grad| {results[step].grad_norm:6.2f}")


def print_row(name: str, lr: float, runs: list[Run]) -> None:
    """一种做法一行；括号里是三个种子中最大与最小之差。"""
    validation = np.array([one.validation for one in runs])
    norm, highest = max(one.largest_norm for one in runs), max(max(one.losses) for one in runs)
    print(f"{lr:7g}  {name:17} {validation.mean():10.3f} ({np.ptp(validation):.3f}) {highest:13.2f} {norm:14.1f}")


def draw(curves: dict[float, dict[str, list[float]]], folder: Path) -> None:
    """每个峰值学习率一幅，只画预热与裁剪的四种组合（种子 0）。"""
    figure, axes = new_figure(7.2, 3.1, columns=len(curves), sharey=True)
    for one, (lr, by_name) in zip(axes, curves.items(), strict=True):
        for (name, losses), colour in zip(list(by_name.items())[:4], COLOURS, strict=False):
            one.plot(losses, color=colour, linewidth=1.1, label=name)
        one.set(title=f"peak learning rate {lr:g}", xlabel="step", ylim=(5.6, 7.1))
        one.grid(alpha=0.15)
    axes[0].set_ylabel("training loss (nats/token)")
    axes[0].legend(frameon=False, fontsize=8)
    save_svg(figure, folder, "ablations.svg")


def main() -> None:
    """逐个做法、逐个学习率地训练。"""
    options = arguments("what happens without warm-up, clipping or decay", 100)
    base = new_session(steps=options.steps, **SMALL)
    print("peak lr  variant            val. loss (range)  highest loss  largest |grad|")
    curves: dict[float, dict[str, list[float]]] = {}
    for lr in RATES:
        curves[lr] = {}
        for name, overrides in VARIANTS.items():
            sessions = [variant(base, lr=lr, seed=seed, **overrides) for seed in SEEDS]
            runs = [run(session, decay_everything=name == "decay everything") for session in sessions]
            curves[lr][name] = runs[0].losses
            print_row(name, lr, runs)
    draw(curves, options.figures)
    print_spike(min(30, options.steps))


if __name__ == "__main__":
    main()
