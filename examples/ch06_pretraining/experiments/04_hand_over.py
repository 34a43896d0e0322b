"""检查点与交接：接着训练、换一个引擎训练、丢了矩再训练，各与一次走完的训练相比。

流入：小模型，float64；流出：四次训练的损失与最后权重之差，以及 ``figures/hand_over.svg``。
走的都是公开的入口：``tinygrad_llm.train.main`` 与 ``torch_llm.pretrain.main``，即命令行的两个动词。
运行：``python examples/ch06_pretraining/experiments/04_hand_over.py``（约半分钟）。
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "main"))  # 与正文的程序共用工作台

from pretraining_lab import COLOURS, SMALL, arguments, new_figure, save_svg

from tinygrad_llm import train as numpy_train
from tinygrad_llm.common.checkpoint import load_checkpoint, save_checkpoint
from tinygrad_llm.common.runlog import read_metrics
from tinygrad_llm.common.torch_config import TorchConfig
from tinygrad_llm.common.train_config import TrainConfig

Floats = NDArray[np.float64]


def loss_curve(folder: Path) -> Floats:
    """日志里每一步的损失。"""
    return np.array([record["loss"] for record in read_metrics(folder) if "loss" in record])


def forget_moments(folder: Path) -> None:
    """把检查点里的两个矩换成 0：只存了权重的人续训时就是这样。"""
    kept = load_checkpoint(folder)
    empty = {name: np.zeros_like(moment) for name, moment in kept.optim.items()}
    save_checkpoint(folder, replace(kept, optim=empty, state={**kept.state, "optimizer_step": 0}))


def train_all(settings: TrainConfig) -> dict[str, Path]:
    """一次走完，再从半程分出三条路。

    Returns:
        名字到运行文件夹；第一个是一次走完的。
    """
    from torch_llm import pretrain as torch_train

    numpy_train.main(replace(settings, run="straight"))
    half = replace(settings, run="half", stop_at=settings.steps // 2)
    numpy_train.main(half)
    folders = {"straight": half.folder.with_name("straight")}
    for name, resume in (
        ("resumed", numpy_train.main),
        ("handed over", lambda one: torch_train.main(TorchConfig.of(one, "cpu"))),
        ("no moments", numpy_train.main),
    ):
        run = name.replace(" ", "-")
        folders[name] = half.folder.with_name(run)
        shutil.copytree(half.folder, folders[name])
        if name == "no moments":
            forget_moments(folders[name])
        resume(replace(settings, run=run, resume=True))
    return folders


def draw(curves: dict[str, Floats], folder: Path) -> None:
    """只画半程前后：左边是损失，右边是与一次走完之差。"""
    figure, (left, right) = new_figure(7.2, 3.0, columns=2)
    straight = curves["straight"]
    half = len(straight) // 2
    shown = slice(max(0, half - 10), len(straight))
    steps = np.arange(len(straight))[shown]
    for (name, curve), colour in zip(curves.items(), COLOURS, strict=False):
        width = 4 if name == "straight" else 1.3
        left.plot(steps, curve[shown], color=colour, linewidth=width, alpha=0.4 if width > 2 else 1, label=name)
        gap = np.abs(curve - straight)[shown]
        if gap.any():
            right.plot(steps[gap > 0], gap[gap > 0], "o", color=colour, markersize=3, label=name)
    left.axvline(half - 0.5, color="#888888", linestyle=":", linewidth=1)
    left.set(xlabel="step", ylabel="training loss (nats/token)")
    left.legend(frameon=False, fontsize=8)
    right.set(yscale="log", xlabel="step", ylabel="|difference from the straight run|", ylim=(1e-17, 1))
    right.legend(frameon=False, fontsize=8, loc="center right")
    save_svg(figure, folder, "hand_over.svg")


def main() -> None:
    """训练四次，打印差，画图。"""
    options = arguments("resume, hand over to the other engine, and forget the moments", 60)
    with tempfile.TemporaryDirectory() as runs:
        settings = TrainConfig(
            runs_dir=runs, steps=options.steps, dtype="float64", eval_every=0, sample_every=0, sample_tokens=1,
            save_every=0, lr=3e-3, **SMALL,
        )  # fmt: skip
        folders = train_all(settings)
        curves = {name: loss_curve(folder) for name, folder in folders.items()}
        weights = {name: load_checkpoint(folder).model for name, folder in folders.items()}
    half = options.steps // 2
    straight = weights["straight"]
    print("run           loss at half + 1   last loss   largest loss difference   largest weight difference")
    for name, curve in curves.items():
        gap = np.abs(curve - curves["straight"]).max()
        apart = max(float(np.abs(weights[name][key] - straight[key]).max()) for key in straight)
        print(f"{name:12} {curve[half + 1]:17.6f} {curve[-1]:11.6f} {gap:25.1e} {apart:27.1e}")
    draw(curves, options.figures)


if __name__ == "__main__":
    main()
