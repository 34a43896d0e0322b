"""每个参数按哪条公式更新、为此留下哪些状态：两个引擎与检查点都照这一张表。

流入：各参数的形状与 ``--optimizer``；流出：参数名到更新公式，状态名到形状。
公式本身在 ``tinygrad_llm/optim``；下一站：``checkpoint.py``。
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from tinygrad_llm.common.train_config import TrainConfig

Rule = Literal["adamw", "muon", "sgd"]
Shapes = Mapping[str, tuple[int, ...]]

STATES: dict[Rule, tuple[str, ...]] = {
    "adamw": ("exp_avg", "exp_avg_sq"),
    "muon": ("momentum_buffer",),
    "sgd": ("momentum_buffer",),
}
"""各条公式给每个参数留下的状态，名字与 torch 相同。"""
MUON_RATE = "match_rms_adamw"
"""Muon 的步长怎样按形状放大：更新的均方根与 AdamW 的相当（Liu 等，2025），两者于是共用学习率与衰减系数。"""


def update_rules(shapes: Shapes, optimizer: Rule) -> dict[str, Rule]:
    """各参数用哪条公式。

    Muon 只管各层里的矩阵：它把更新的各个方向拉到一样大，这对「把一个空间变到另一个空间」的矩阵才有意义；
    嵌入与输出层的行各管一个 token，偏置与归一化的缩放是向量，这些仍用 AdamW。

    Args:
        shapes: 参数名到形状。
        optimizer: 选定的优化器。

    Returns:
        参数名到公式。
    """
    if optimizer != "muon":
        return dict.fromkeys(shapes, optimizer)
    return {name: "muon" if is_layer_matrix(name, shape) else "adamw" for name, shape in shapes.items()}


def is_layer_matrix(name: str, shape: tuple[int, ...]) -> bool:
    """是不是各层里的矩阵（不是嵌入，不是输出层）。"""
    return name.startswith("h.") and len(shape) == 2


def state_shapes(shapes: Shapes, optimizer: Rule) -> dict[str, tuple[int, ...]]:
    """优化器的全部状态：``状态.参数`` 到形状。"""
    rules = update_rules(shapes, optimizer)
    return {f"{kind}.{name}": shape for name, shape in shapes.items() for kind in STATES[rules[name]]}


def make_optimizers(optim: Any, parameters: Iterable[tuple[str, Any]], settings: TrainConfig) -> list[Any]:
    """按设置造优化器：一个，或者 Muon 与管其余参数的 AdamW 两个。

    Args:
        optim: ``torch.optim`` 或 ``tinygrad_llm.optim``。
        parameters: 参数名与参数。
        settings: 训练设置。

    Returns:
        各优化器；每个参数恰好归其中一个管。
    """
    named = dict(parameters)
    rules = update_rules({name: tuple(p.shape) for name, p in named.items()}, settings.optimizer)
    made = []
    for rule in dict.fromkeys(rules.values()):
        mine = [p for name, p in named.items() if rules[name] == rule]
        groups, lr = decay_groups(mine, settings.weight_decay), settings.lr
        if rule == "adamw":
            betas = (settings.beta1, settings.beta2)
            made.append(optim.AdamW(groups, lr=lr, betas=betas, eps=settings.eps, fused=True))
        elif rule == "sgd":
            made.append(optim.SGD(groups, lr=lr, momentum=settings.momentum, nesterov=settings.momentum > 0))
        else:
            decay, momentum = settings.weight_decay, settings.momentum
            made.append(optim.Muon(mine, lr=lr, weight_decay=decay, momentum=momentum, adjust_lr_fn=MUON_RATE))
    return made


def decay_groups(parameters: Iterable[Any], weight_decay: float) -> list[dict[str, Any]]:
    """矩阵衰减，偏置与归一化的缩放不衰减：把它们往 0 拉没有正则作用，只会妨碍训练。"""
    every = list(parameters)
    groups = [
        {"params": [p for p in every if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in every if p.ndim < 2], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]
