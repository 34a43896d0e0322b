"""同一个 GPT，有残差与没有残差：各训练若干步，记下每一步、每一层收到的梯度。

流入：模型配置、训练设置与数据；流出：``Flow``。画成图的是 ``flow.py``。

两个模型的初始权重、数据次序、学习率曲线与裁剪都相同，差别只有一处：没有残差的那个，每一层的输出不再加回输入。
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import tinygrad_llm as tg
from tinygrad_llm import Tensor, nn
from tinygrad_llm.common.batches import IGNORE_INDEX, TokenDataset
from tinygrad_llm.common.config import GPTConfig
from tinygrad_llm.common.initial import initial_weights
from tinygrad_llm.common.loop import rate
from tinygrad_llm.common.train_config import TrainConfig
from tinygrad_llm.common.update_rules import decay_groups
from tinygrad_llm.gpt import GPT, Block
from tinygrad_llm.optim import AdamW
from tinygrad_llm.train import build_model


class PlainBlock(Block):
    """没有残差的一层：注意力与前馈网络的输出直接代替残差流。"""

    def forward(self, x: Tensor, rope: Any, mask: Any, cache: Any) -> Tensor:
        """``(B, T, C) → (B, T, C)``。"""
        x = self.drop(self.attn(self.ln_1(x), rope, mask, cache))
        return self.drop(self.mlp(self.ln_2(x)))  # type: ignore[no-any-return]


def remove_residuals(model: GPT) -> GPT:
    """把每一层换成没有残差的，权重照旧；就地改，也返回它。"""
    blocks = [PlainBlock(model.config) for _ in model.h]
    for block, before in zip(blocks, model.h, strict=True):
        block.to(model.wte.weight.dtype)
        block.load_state_dict(before.state_dict())
    model.h = nn.ModuleList(blocks)
    return model


@dataclass(frozen=True)
class Flow:
    """一次训练里，梯度怎样流过各层。

    Attributes:
        residual: 有没有残差。
        steps: 记了哪几步，从 0 起。
        losses: 那几步的平均损失（纳特）。
        stream: ``∂L/∂x`` 的范数，``[第几次记录][第几层]``；第 0 层是词嵌入的输出，第 l 层是第 l 个 ``Block`` 的输出。
        weights: 各层全部参数的梯度的范数，``[第几次记录][第几个 Block]``，裁剪之前。
    """

    residual: bool
    steps: list[int]
    losses: list[float]
    stream: list[list[float]]
    weights: list[list[float]]


def measure_flow(
    config: GPTConfig,
    settings: TrainConfig,
    data: TokenDataset,
    *,
    residual: bool,
    steps: int,
    every: int = 1,
    on_step: Callable[[int, float], None] | None = None,
) -> Flow:
    """从初始权重训练 ``steps`` 步，每隔 ``every`` 步记一次（第一步与最后一步必记）。

    Args:
        config: 模型配置。
        settings: 训练设置：种子、学习率、AdamW、裁剪都取自它。
        data: 训练批次。
        residual: 有没有残差。
        steps: 训练几步；学习率仍按 ``settings.steps`` 安排。
        every: 每隔几步记一次。
        on_step: 每步之后调用，参数是步号与损失。

    Returns:
        记录。
    """
    model = build_model(config, initial_weights(config, settings.seed, settings.dtype))
    if not residual:
        remove_residuals(model)
    betas = (settings.beta1, settings.beta2)
    groups = decay_groups(model.parameters(), settings.weight_decay)
    optimizer = AdamW(groups, lr=settings.lr, betas=betas, eps=settings.eps)
    flow = Flow(residual, [], [], [], [])
    for step in range(steps):
        x, y = data.batch(step)
        optimizer.zero_grad()
        loss, norms = _backward(model, x, y)
        if step % every == 0 or step == steps - 1:
            flow.steps.append(step)
            flow.losses.append(loss)
            flow.stream.append(norms)
            flow.weights.append([_norm([p.grad for p in block.parameters()]) for block in model.h])
        nn.utils.clip_grad_norm_(model.parameters(), settings.grad_clip)
        for group in optimizer.param_groups:
            group["lr"] = rate(settings, step)
        optimizer.step()
        if on_step is not None:
            on_step(step, loss)
    return flow


def _backward(model: GPT, x: Any, y: Any) -> tuple[float, list[float]]:
    """一个批次的前向与反向；返回平均损失与各层残差流上梯度的范数。"""
    norms = [0.0] * (len(model.h) + 1)

    def listen(place: int) -> Callable[[Any, Any, Tensor], None]:
        def after_forward(module: Any, args: Any, output: Tensor) -> None:
            output.register_hook(lambda g: norms.__setitem__(place, _norm([g])))

        return after_forward

    places = [model.drop, *model.h]  # 词嵌入（加位置）过了 ``drop`` 就是残差流的开头
    handles = [module.register_forward_hook(listen(place)) for place, module in enumerate(places)]
    try:
        valid = max(int((y != IGNORE_INDEX).sum()), 1)
        loss = model.loss(tg.from_numpy(x), tg.from_numpy(y)) / valid
        loss.backward()
    finally:
        for handle in handles:
            handle.remove()
    return float(loss.item()), norms


def _norm(tensors: list[Any]) -> float:
    """几个张量合起来的 L2 范数，以 float64 计算：最小的梯度平方后会低于 float32 的下限。"""
    return float(np.sqrt(sum(np.square(t.numpy(), dtype=np.float64).sum() for t in tensors if t is not None)))
