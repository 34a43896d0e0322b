"""两种不报错的错：忘了 zero_grad，忘了对广播轴求和。

流入：直线拟合 t = 3x + 1 + 噪声；流出：三种训练过程的损失，以及 ``figures/mistakes.svg``。
x 已标准化，损失 ½·mean(r²) 的 Hessian 是单位阵，所以振荡的周期可以事先算出来。
运行：``python examples/appendix_a_autograd/experiments/03_mistakes.py``。
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from drawing import COLOURS, figure_folder, new_figure, save_svg

import tinygrad_llm as tg
from tinygrad_llm.ops.op import Array

N, STEPS, LR = 32, 800, 0.1
SHOWN = (0, 10, 50, 200, 799)


def data() -> tuple[Array, Array]:
    """标准化的 x 与带噪声的 t，都是 ``(N, 1)``。"""
    draw = np.random.default_rng(0)
    x = draw.standard_normal((N, 1))
    x = (x - x.mean()) / x.std()
    return x, 3 * x + 1 + 0.5 * draw.standard_normal((N, 1))


def by_engine(x: Array, t: Array, *, forget_zero_grad: bool) -> list[float]:
    """用引擎训练；``forget_zero_grad`` 为真时梯度一直累加下去。"""
    w, b = tg.zeros(1, 1, dtype=tg.float64, requires_grad=True), tg.zeros(1, dtype=tg.float64, requires_grad=True)
    optimizer, losses = tg.optim.SGD([w, b], lr=LR), []
    for _ in range(STEPS):
        if not forget_zero_grad:
            optimizer.zero_grad()
        residual: Any = tg.tensor(x) @ w + b - tg.tensor(t)
        loss = 0.5 * (residual**2).mean()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.item()))
    return losses


def without_sum(x: Array, t: Array) -> tuple[list[float], Array]:
    """手写反向时忘了对样本求和：``b`` 被广播成每个样本一个。返回损失与最后的 ``b``。"""
    w, b, losses = np.zeros((1, 1)), np.zeros(1), []
    for _ in range(STEPS):
        residual = x @ w + b - t
        g = residual / N
        losses.append(float(0.5 * np.mean(residual**2)))
        w = w - LR * (x.T @ g)
        b = b - LR * g  # 应为 g.sum(axis=0)
    return losses, b


def turning_points(losses: list[float]) -> list[int]:
    """损失的各个极小值出现在第几步。"""
    return [i for i in range(1, len(losses) - 1) if losses[i - 1] > losses[i] <= losses[i + 1]]


def draw(curves: dict[str, list[float]], folder: Path) -> None:
    """左图是开头的 60 步，看振荡；右图是全程，看过拟合。"""
    figure, (left, right) = new_figure(7.0, 3.0, columns=2)
    pairs = ((left, "no zero_grad", 60, COLOURS[1]), (right, "no sum over rows", STEPS, COLOURS[2]))
    for axes, label, length, colour in pairs:
        axes.plot(curves[label][:length], color=colour, linewidth=1.2, label=label)
        axes.plot(curves["correct"][:length], color=COLOURS[0], linewidth=1.2, label="correct")
        axes.set(yscale="log", xlabel="step", ylabel="training loss", ylim=(3e-3, 20))
        axes.legend(frameon=False, fontsize=8, loc="lower left")
    save_svg(figure, folder / "mistakes.svg")


def main() -> None:
    """打印各种训练的损失与振荡周期，画图。"""
    folder = figure_folder()
    x, t = data()
    right, forgotten = by_engine(x, t, forget_zero_grad=False), by_engine(x, t, forget_zero_grad=True)
    unsummed, bias = without_sum(x, t)
    curves = {"correct": right, "no zero_grad": forgotten, "no sum over rows": unsummed}
    print("training loss      " + "".join(f"  step {step:3d}" for step in SHOWN))
    for name, losses in curves.items():
        print(f"{name:18} " + "".join(f"{losses[step]:10.4f}" for step in SHOWN))
    least = turning_points(forgotten)
    measured = (least[-1] - least[0]) / (len(least) - 1)
    print(f"no zero_grad: a minimum every {measured:.2f} steps, predicted {math.pi / math.acos(1 - LR / 2):.2f}")
    print(f"no sum over rows: b started as shape (1,), ended as shape {bias.shape}")
    draw(curves, folder)


if __name__ == "__main__":
    main()
