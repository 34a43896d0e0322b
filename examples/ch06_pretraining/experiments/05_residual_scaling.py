"""初始化：写回残差流的投影为什么还要除以 √(2L)。

流入：几种深度的 GPT 与随机 token，不训练；流出：残差流的标准差随层数的变化、梯度范数，以及 ``figures/residual.svg``。
运行：``python examples/ch06_pretraining/experiments/05_residual_scaling.py``（几秒）。
"""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "main"))  # 与正文的程序共用工作台

from pretraining_lab import COLOURS, FIGURES, new_figure, save_svg

import tinygrad_llm as tg
from tinygrad_llm.common.config import GPTConfig
from tinygrad_llm.common.initial import initial_weights
from tinygrad_llm.train import build_model

DEPTHS = (4, 16, 48)


class Signal(NamedTuple):
    """一次前向与反向：各层残差流的标准差、损失、全部梯度的范数。"""

    stds: list[float]
    loss: float
    norm: float


def propagate(n_layer: int, *, is_scaled: bool) -> Signal:
    """走一遍模型；``is_scaled`` 为假时把 ``c_proj`` 放大回 0.02 的标准差。"""
    config = GPTConfig(vocab_size=512, context=64, n_layer=n_layer, n_head=4, n_embd=128)
    weights = initial_weights(config, seed=0)
    if not is_scaled:
        for name in weights:
            if name.endswith("c_proj.weight"):
                weights[name] = weights[name] * np.float32(math.sqrt(2 * n_layer))
    model = build_model(config, weights)
    x, y = np.random.default_rng(0).integers(config.vocab_size, size=(2, 8, config.context))
    ids, targets = tg.from_numpy(x), tg.from_numpy(y)
    stds: list[float] = []
    with tg.no_grad():
        stream: Any = model.wte(ids) + model.wpe(tg.arange(config.context))
        stds.append(stream.std().item())
        for block in model.h:
            stream = block(stream, None, None, None)
            stds.append(stream.std().item())
    loss = model.loss(ids, targets) / y.size
    loss.backward()
    norm = tg.nn.utils.clip_grad_norm_(model.parameters(), math.inf).item()
    return Signal(stds, loss.item(), norm)


def draw(signals: dict[bool, Signal], folder: Path) -> None:
    """最深的那个模型：残差流的标准差一层一层地变。"""
    figure, axes = new_figure(6.0, 3.0)
    labels = {False: "c_proj from N(0, 0.02²)", True: "c_proj divided by √(2L)"}
    for is_scaled, signal in signals.items():
        axes.plot(signal.stds, color=COLOURS[0 if is_scaled else 1], linewidth=1.6, label=labels[is_scaled])
    axes.set(xlabel="layers passed", ylabel="std of the residual stream", ylim=(0, None))
    axes.legend(frameon=False)
    axes.grid(alpha=0.15)
    save_svg(figure, folder, "residual.svg")


def main() -> None:
    """打印各种深度的数，画最深的那个。"""
    import argparse

    parser = argparse.ArgumentParser(description="why c_proj is divided by the square root of 2L")
    parser.add_argument("--figures", type=Path, default=FIGURES, help="where the SVG goes (default: the chapter's)")
    options = parser.parse_args()
    print("layers  scaled   std: in     out   growth   loss  |grad|")
    for depth in DEPTHS:
        signals = {is_scaled: propagate(depth, is_scaled=is_scaled) for is_scaled in (False, True)}
        for is_scaled, (stds, loss, norm) in signals.items():
            growth = stds[-1] / stds[0]
            print(
                f"{depth:6d}  {'yes' if is_scaled else 'no':6} {stds[0]:9.4f} {stds[-1]:7.4f} {growth:8.2f}"
                f" {loss:6.3f} {norm:7.3f}"
            )
    draw(signals, options.figures)


if __name__ == "__main__":
    main()
