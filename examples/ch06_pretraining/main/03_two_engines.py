"""同一个 GPT 在两个引擎上各训练 60 步：两条损失曲线，以及它们的差。

流入：``python-docs`` 语料与 ``toy`` 预设；流出：逐步对照表与 ``figures/loss_curves.svg``。
运行：``python examples/ch06_pretraining/main/03_two_engines.py``（安静的双核机器上约半分钟）。
下一个文件：``04_quickstart_picture.py``。
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from pretraining_lab import COLOURS, arguments, engine_of, new_figure, new_session, save_svg, training

from tinygrad_llm.common.engine import StepResult
from tinygrad_llm.common.loop import rate
from tinygrad_llm.common.session import Session

STEPS = 60
BOUND = 1e-4  # float32 的主线所用的界限


def draw(session: Session, runs: dict[str, list[StepResult]], folder: Path) -> None:
    """上图是两条损失曲线，下图是逐步的相对差；逐位相同的步画在底边上。"""
    figure, (above, below) = new_figure(6.4, 4.4, rows=2, sharex=True, height_ratios=(3, 2))
    losses = {name: np.array([result.loss for result in results]) for name, results in runs.items()}
    steps = np.arange(len(losses["numpy"]))
    above.plot(steps, losses["numpy"], color=COLOURS[0], linewidth=4, alpha=0.35, label="NumPy")
    above.plot(steps, losses["torch"], color=COLOURS[1], linewidth=1.2, label="torch")
    above.axhline(math.log(session.model.vocab_size), color="#888888", linestyle=":", linewidth=1)
    above.annotate("ln V", (steps[-1], math.log(session.model.vocab_size)), va="bottom", ha="right", fontsize=8)
    above.set(ylabel="training loss (nats/token)")
    above.legend(frameon=False)
    gap = np.abs(losses["numpy"] - losses["torch"]) / losses["torch"]
    floor = 1e-8
    same = gap == 0
    below.plot(steps[~same], gap[~same], "o", color=COLOURS[2], markersize=3, label="different")
    below.plot(steps[same], np.full(same.sum(), floor), "v", color="#888888", markersize=3, label="bit-identical")
    below.axhline(BOUND, color=COLOURS[1], linestyle="--", linewidth=1)
    below.annotate("bound", (steps[-1], BOUND), va="bottom", ha="right", fontsize=8)
    below.set(yscale="log", ylim=(floor / 2, BOUND * 4), xlabel="step", ylabel="relative difference")
    below.legend(frameon=False, fontsize=8, loc="lower right", ncols=2)
    save_svg(figure, folder, "loss_curves.svg")


def main() -> None:
    """先 NumPy，后 torch，再打印对照表。"""
    options = arguments("train the same GPT on both engines", STEPS)
    session = new_session(steps=options.steps)
    runs = {name: list(training(session, engine_of(name, session))) for name in ("numpy", "torch")}
    print("step        lr      loss on NumPy      loss on torch  relative difference  |grad|")
    shown = sorted({*range(0, options.steps, max(1, options.steps // 6)), options.steps - 1})
    for step in shown:
        ours, theirs = runs["numpy"][step], runs["torch"][step]
        gap = abs(ours.loss - theirs.loss) / theirs.loss
        print(
            f"{step:4d} {rate(session.settings, step):9.6f} {ours.loss:18.9f} {theirs.loss:18.9f} {gap:20.1e}"
            f" {ours.grad_norm:7.2f}"
        )
    gaps = [abs(a.loss - b.loss) / b.loss for a, b in zip(runs["numpy"], runs["torch"], strict=True)]
    print(f"largest relative difference {max(gaps):.1e}; bit-identical steps: {gaps.count(0.0)} of {len(gaps)}")
    draw(session, runs, options.figures)


if __name__ == "__main__":
    main()
