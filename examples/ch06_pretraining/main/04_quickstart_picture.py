"""把一次 ``quickstart`` 的日志画成两份 README 里的那张图。

流入：``runs/quickstart/{numpy,torch}/metrics.jsonl``；流出：``figures/quickstart.svg``。
背景透明，线与字取中等明度，浅色与深色的页面上都看得清。
运行：先 ``make run``，再 ``python examples/ch06_pretraining/main/04_quickstart_picture.py [RUN_FOLDER]``。
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
from pretraining_lab import FIGURES, new_figure, save_svg

from tinygrad_llm.common.errors import UserError
from tinygrad_llm.common.runlog import read_metrics

INK = "#7d8590"  # 在白底与深灰底上的对比度都在 3.7 以上
NUMPY, TORCH, GAP = "#2f86d6", "#e5751f", "#1f9d75"
BOUND = 1e-4
Curves = dict[str, Any]


def read_run(folder: Path) -> Curves:
    """两个引擎每一步的损失，与最后一次评估的每字节比特数。

    Raises:
        DataError: 日志缺失或损坏。
    """
    found: Curves = {}
    for engine in ("numpy", "torch"):
        records = read_metrics(folder / engine)
        found[engine] = np.array([record["loss"] for record in records if "loss" in record])
        found[f"{engine} bits"] = [r["val_bits_per_byte"] for r in records if "val_bits_per_byte" in r][-1]
    return found


def style(axes: Any) -> None:
    """把坐标轴的全部线与字换成中等明度的灰。"""
    axes.tick_params(colors=INK, which="both")
    axes.spines[:].set_color(INK)
    axes.xaxis.label.set_color(INK)
    axes.yaxis.label.set_color(INK)
    axes.grid(color=INK, alpha=0.18, linewidth=0.6)


def draw(run: Curves, folder: Path) -> None:
    """上图两条曲线重合：粗的在下，细的在上；下图放大它们的差。"""
    figure, (above, below) = new_figure(8.4, 4.6, rows=2, sharex=True, height_ratios=(5, 3))
    steps = np.arange(1, len(run["numpy"]) + 1)
    labels = {name: f"{title}: {run[f'{name} bits']:.4f} bits/byte on the validation text"
              for name, title in (("numpy", "NumPy, by hand"), ("torch", "PyTorch"))}  # fmt: skip
    above.plot(steps, run["numpy"], color=NUMPY, linewidth=5, alpha=0.45, label=labels["numpy"])
    above.plot(steps, run["torch"], color=TORCH, linewidth=1.4, label=labels["torch"])
    above.set(ylabel="training loss (nats/token)", xlim=(0, steps[-1]))
    above.legend(frameon=False, labelcolor=INK, fontsize=9)
    gap = np.abs(run["numpy"] - run["torch"]) / run["torch"]
    shown = gap > 0  # 逐位相同的步在对数轴上没有位置
    below.plot(steps[shown], gap[shown], "o", color=GAP, markersize=2.6)
    below.axhline(BOUND, color=TORCH, linestyle="--", linewidth=1)
    below.annotate("bound that the run checks", (steps[-1], BOUND), xytext=(0, -4), textcoords="offset points",
                   va="top", ha="right", color=INK, fontsize=8)  # fmt: skip
    below.set(yscale="log", ylim=(2e-8, 3e-4), xlabel="training step", ylabel="relative difference")
    below.set_yticks([1e-7, 1e-6, 1e-5, 1e-4])
    below.minorticks_off()
    for axes in (above, below):
        style(axes)
    save_svg(figure, folder, "quickstart.svg", transparent=True)


def main() -> int:
    """读日志，画图；没有日志时说清怎样得到它。"""
    parser = argparse.ArgumentParser(description="draw the picture of the READMEs from a quickstart run")
    parser.add_argument("run", nargs="?", type=Path, default=Path("runs/quickstart"), help="default: runs/quickstart")
    parser.add_argument("--figures", type=Path, default=FIGURES, help="where the SVG goes (default: the chapter's)")
    options = parser.parse_args()
    try:
        run = read_run(options.run)
    except UserError as error:
        print(error, file=sys.stderr)
        print("first:  python -m tinygrad_llm quickstart", file=sys.stderr)
        return error.exit_code
    gap = np.abs(run["numpy"] - run["torch"]) / run["torch"]
    print(f"{len(gap)} steps, largest relative difference {gap.max():.1e}, bit-identical {int((gap == 0).sum())}")
    draw(run, options.figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
