"""第一步之前就知道的两件事：损失从 ln V 附近起步，学习率每一步是多少。

流入：模型配置与训练设置；流出：初始损失的预测与实测、几步的学习率，以及 ``figures/schedule.svg``。
这里用均匀随机的 token，不用语料：结论只与 V、宽度与初始标准差有关。
运行：``python examples/ch06_pretraining/main/02_before_the_first_step.py``。下一个文件：``03_two_engines.py``。
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from pretraining_lab import COLOURS, arguments, new_figure, save_svg

import tinygrad_llm as tg
from tinygrad_llm.common.config import GPTConfig, preset
from tinygrad_llm.common.initial import STD, initial_weights
from tinygrad_llm.common.loop import rate
from tinygrad_llm.common.train_config import TrainConfig
from tinygrad_llm.train import build_model

ROWS = 8
FACTORS = (1, 2, 4, 8)  # 词嵌入的初始标准差是 GPT-2 的几倍


class Start(NamedTuple):
    """训练之前的三个量，各取八个种子的平均。

    Attributes:
        std: 全部 logits 的标准差。
        own: 当前 token 自己的 logit；输出层与词嵌入共用权重时它特别大。
        loss: 损失。
    """

    std: float
    own: float
    loss: float


def measure(config: GPTConfig, factor: float) -> Start:
    """在随机 token 上做前向；``factor`` 放大词嵌入的初始标准差。"""
    found = []
    for seed in range(8):
        weights = initial_weights(config, seed)
        weights["wte.weight"] = weights["wte.weight"] * np.float32(factor)
        model = build_model(config, weights)
        x, y = np.random.default_rng(seed).integers(config.vocab_size, size=(2, ROWS, config.context))
        with tg.no_grad():
            logits = model(tg.from_numpy(x))
            loss = tg.nn.functional.cross_entropy(logits.view(-1, config.vocab_size), tg.from_numpy(y.reshape(-1)))
        own = np.take_along_axis(logits.numpy(), x[..., None], -1)
        found.append((logits.std().item(), float(own.mean()), loss.item()))
    return Start(*(float(mean) for mean in np.mean(found, axis=0)))


def print_initial_losses(config: GPTConfig) -> None:
    """预测 s = √C·σ、损失 ln V + s²/2，与实测并排；末列把当前 token 自己的 logit 也算进分母。"""
    V = config.vocab_size
    print(f"V = {V}, C = {config.n_embd}: ln V = {math.log(V):.4f}")
    print("std of wte  logits: predicted  measured  own token     loss: ln V + s*s/2  with own token  measured")
    for factor in FACTORS:
        s = math.sqrt(config.n_embd) * STD * factor
        start = measure(config, factor)
        expected = math.log(V) + s * s / 2
        with_own = math.log(math.exp(expected) + math.exp(start.own))
        print(
            f"{STD * factor:10.2f} {s:18.3f} {start.std:9.3f} {start.own:10.2f} {expected:22.3f} {with_own:15.3f}"
            f" {start.loss:9.3f}"
        )


def draw_schedule(settings: TrainConfig, folder: Any) -> None:
    """画出整条学习率曲线，标出三个关键的步。"""
    figure, axes = new_figure(6.4, 2.9)
    steps = range(settings.steps)
    axes.plot(steps, [rate(settings, step) for step in steps], color=COLOURS[0], linewidth=1.6)
    marks = {
        "first step: peak / W": (0, (14, -2)),
        "end of warm-up: peak": (settings.warmup_steps - 1, (4, 8)),
        "last step: minimum": (settings.steps - 1, (-84, 32)),
    }
    for label, (step, offset) in marks.items():
        lr = rate(settings, step)
        axes.plot(step, lr, "o", color=COLOURS[1], markersize=5)
        text = f"{label} = {lr:g}"
        axes.annotate(text, (step, lr), xytext=offset, textcoords="offset points", fontsize=8)
    axes.set(xlabel="step t", ylabel="learning rate", ylim=(0, settings.lr * 1.12))
    axes.grid(alpha=0.15)
    save_svg(figure, folder, "schedule.svg")


def main() -> None:
    """打印两张表，画图。"""
    options = arguments("the initial loss and the learning rate, before any training", 200)
    print_initial_losses(preset("toy"))
    settings = TrainConfig(steps=options.steps, lr=3e-3)
    print("\nstep     learning rate")
    last = settings.steps - 1
    middle = (settings.warmup_steps - 1 + last) // 2
    for step in (0, 1, settings.warmup_steps - 1, settings.warmup_steps, middle, last - 1, last):
        print(f"{step:4d} {rate(settings, step):17.8f}")
    draw_schedule(settings, options.figures)


if __name__ == "__main__":
    main()
