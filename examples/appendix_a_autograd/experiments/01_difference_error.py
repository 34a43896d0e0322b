"""中心差分的误差与步长：截断误差与舍入误差相争，曲线呈 V 形。

流入：f(x) = 1/(1 + x²) 在 x = 2 处；流出：误差表、最优步长的预测与实测，以及 ``figures/difference_error.svg``。
函数只含加、乘、除，IEEE 754 规定了它们的每一位，所以这张表在任何机器上都相同。
运行：``python examples/appendix_a_autograd/experiments/01_difference_error.py``。
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from drawing import COLOURS, figure_folder, new_figure, save_svg

import tinygrad_llm as tg

X = 2.0
VALUE, SLOPE, THIRD = 0.2, -0.16, -0.2304  # f、f′、f‴ 在 x = 2 处的准确值
POWERS = range(1, 13)  # h = 10⁻¹ … 10⁻¹²


def f(x: Any) -> Any:
    """``1/(1 + x²)``；x 可以是 Python 数、NumPy 标量或 Tensor。"""
    return 1 / (1 + x * x)


def forward_difference(x: Any, h: Any) -> float:
    """``(f(x + h) - f(x)) / h``。"""
    return float((f(x + h) - f(x)) / h)


def central_difference(x: Any, h: Any) -> float:
    """``(f(x + h) - f(x - h)) / 2h``。"""
    return float((f(x + h) - f(x - h)) / (2 * h))


def errors(difference: Callable[[Any, Any], float], number: type, steps: list[float]) -> list[float]:
    """用某种精度做差分，与准确的导数比较。"""
    return [abs(difference(number(X), number(h)) - SLOPE) for h in steps]


def predicted(h: float, unit: float) -> float:
    """截断误差加舍入误差：``h²|f‴|/6 + u|f|/h``。"""
    return h * h * abs(THIRD) / 6 + unit * VALUE / h


def best_step(unit: float) -> float:
    """使上式最小的步长：``(3u|f|/|f‴|)^(1/3)``。"""
    return float((3 * unit * VALUE / abs(THIRD)) ** (1 / 3))


def draw(units: dict[str, float], folder: Path) -> None:
    """画 V 形曲线：每十倍 12 个点，虚线是预测。"""
    figure, axes = new_figure(6.4, 3.6)
    steps = [float(h) for h in np.logspace(-12, 0, 145)]
    curves = [
        ("forward, float64", forward_difference, float),
        ("central, float64", central_difference, float),
        ("central, float32", central_difference, np.float32),
    ]
    for (label, difference, number), colour in zip(curves, COLOURS, strict=False):
        found = np.array(errors(difference, number, steps))
        axes.plot(steps, np.where(found > 0, found, np.nan), color=colour, linewidth=1, label=label)
    for unit in units.values():
        axes.plot(steps, [predicted(h, unit) for h in steps], "--", color="#888888", linewidth=1)
    axes.plot([], [], "--", color="#888888", linewidth=1, label="predicted")
    axes.set(xscale="log", yscale="log", xlabel="step h", ylabel="|difference - exact derivative|", ylim=(1e-14, 2))
    axes.legend(frameon=False, loc="lower left", fontsize=8)
    save_svg(figure, folder / "difference_error.svg")


def main() -> None:
    """打印误差表与最优步长，画图。"""
    folder = figure_folder()
    print("      h   forward f64   central f64   central f32")
    for power in POWERS:
        steps = [float(f"1e-{power}")]
        row = [errors(forward_difference, float, steps), errors(central_difference, float, steps)]
        row.append(errors(central_difference, np.float32, steps))
        print(f"  1e-{power:02d} " + " ".join(f"{error[0]:13.1e}" for error in row))
    units = {"float64": float(np.finfo(np.float64).eps / 2), "float32": float(np.finfo(np.float32).eps / 2)}
    for name, unit in units.items():
        h = best_step(unit)
        print(f"{name}: best h = {h:.1e}, predicted error {predicted(h, unit):.1e}")
    x = tg.tensor(X, dtype=tg.float64, requires_grad=True)
    (slope,) = tg.autograd.grad(f(x), x)
    print(f"reverse mode: dy/dx = {slope.item():.4f}, error below 1e-16: {abs(slope.item() - SLOPE) < 1e-16}")
    draw(units, folder)


if __name__ == "__main__":
    main()
