"""舍入：两个引擎为什么差 1e-6 而不是 0，float64 下又为什么小得多。

流入：同样的权重与批次；流出：求和次序的影响、首批梯度的差、逐步损失的差，以及 ``figures/rounding.svg``。
其中一条曲线不涉及第二个引擎：把 NumPy 的一个权重改动末位的一个单位，再训练一遍。两条差不多高，
说明两个引擎之差就是舍入误差被训练放大的样子，而不是谁算错了。
运行：``python examples/ch06_pretraining/experiments/01_rounding.py``（约半分钟）。
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "main"))  # 与正文的程序共用工作台

from pretraining_lab import COLOURS, arguments, engine_of, new_figure, new_session, save_svg, training

import tinygrad_llm
from tinygrad_llm.common.session import Session

NUDGED = "h.0.mlp.c_fc.weight"
BATCH = {"context": 64, "batch_size": 8}  # toy 模型，批次小一些：float64 也跑得动
Floats = NDArray[np.float64]


def sum_in_order(values: NDArray[Any]) -> Any:
    """从头到尾逐个相加，全程留在 ``values`` 自己的精度里。"""
    total = values.dtype.type(0)
    for value in values:
        total = total + value
    return total


def print_sums() -> None:
    """同样一千个数，四种加法。"""
    values = np.random.default_rng(0).standard_normal(1000).astype(np.float32)
    exact = sum_in_order(values.astype(np.float64))
    sums = {
        "forwards": sum_in_order(values),
        "backwards": sum_in_order(values[::-1]),
        "by size": sum_in_order(np.sort(values)),
        "pairwise (np.sum)": values.sum(),
    }
    print(f"sum of 1000 numbers, float64: {exact:.9f}")
    for name, found in sums.items():
        print(f"  float32, {name:18} {found:.9f}  error {abs(float(found) - exact):.1e}")


def first_gradients(name: str, lib: Any, session: Session) -> dict[str, NDArray[Any]]:
    """首批上每个参数的梯度。"""
    engine = engine_of(name, session)
    x, y = session.train.batch(0)
    (engine.model.loss(lib.from_numpy(x), lib.from_numpy(y)) / y.size).backward()
    return {key: np.asarray(p.grad.numpy()) for key, p in engine.model.named_parameters()}


def largest_gap(session: Session) -> tuple[float, str]:
    """``max|Δ| / max|g|`` 最大的参数。"""
    import torch

    ours, theirs = first_gradients("numpy", tinygrad_llm, session), first_gradients("torch", torch, session)
    return max((float(np.abs(ours[key] - theirs[key]).max() / np.abs(theirs[key]).max()), key) for key in ours)


def loss_curve(name: str, session: Session, *, nudge: bool = False) -> Floats:
    """每一步的损失；``nudge`` 为真时先把一个权重挪到相邻的浮点数。"""
    engine = engine_of(name, session)
    if nudge:
        weight = dict(engine.model.named_parameters())[NUDGED].array
        weight[0, 0] = np.nextafter(weight[0, 0], weight.dtype.type(1))
    return np.array([result.loss for result in training(session, engine)])


def draw(curves: dict[str, Floats], folder: Path) -> None:
    """纵轴取对数；为 0 的步不画。"""
    figure, axes = new_figure(6.4, 3.4)
    for (label, gap), colour in zip(curves.items(), COLOURS, strict=False):
        steps = np.flatnonzero(gap)
        axes.plot(steps, gap[steps], "o", color=colour, markersize=2.5, label=label)
    axes.set(yscale="log", xlabel="step", ylabel="relative difference of the loss", ylim=(1e-17, 1e-3))
    axes.legend(frameon=False, fontsize=8, ncols=2, loc="upper left")
    axes.grid(alpha=0.15)
    save_svg(figure, folder, "rounding.svg")


def main() -> None:
    """打印三张表，画图。"""
    options = arguments("why the two engines differ by 1e-6 and not by 0", 60)
    print_sums()
    curves: dict[str, Floats] = {}
    for dtype in ("float32", "float64"):
        session = new_session(steps=options.steps, dtype=dtype, **BATCH)
        gap, where = largest_gap(session)
        print(f"{dtype}: gradients of the first batch differ by at most {gap:.1e}, at {where}")
        base = loss_curve("numpy", session)
        curves[f"NumPy and torch, {dtype}"] = np.abs(loss_curve("torch", session) - base) / base
        curves[f"one weight off by one ulp, {dtype}"] = np.abs(loss_curve("numpy", session, nudge=True) - base) / base
    print(f"{'relative difference of the loss':38} first 10 steps  last 10 steps   largest  identical steps")
    for label, curve in curves.items():
        same = int((curve == 0).sum())
        print(f"{label:38} {curve[:10].max():14.1e} {curve[-10:].max():14.1e} {curve.max():9.1e} {same:16d}")
    draw(curves, options.figures)


if __name__ == "__main__":
    main()
