"""与学习率反向摆动的动量：学习率高时动量低。

流入：优化器与动量的上下限；流出：改写 ``momentum`` 或 ``betas[0]``。
"""

from __future__ import annotations

from typing import Any

from tinygrad_llm.optim.lr_scheduler.base import per_group
from tinygrad_llm.optim.optimizer import Optimizer


def uses_beta1(optimizer: Optimizer) -> bool:
    """动量是不是 ``betas`` 的第一个。

    Raises:
        ValueError: 优化器没有动量。
    """
    if not {"momentum", "betas"} & set(optimizer.defaults):
        raise ValueError("optimizer must support momentum or beta1 with `cycle_momentum` option enabled")
    return "betas" in optimizer.defaults


def limits(optimizer: Optimizer, base: Any, most: Any, *, start: bool) -> tuple[list[Any], list[Any]]:
    """各组动量的下限与上限；从头开始时写进参数组，动量从上限出发。"""
    lows, highs = per_group("base_momentum", optimizer, base), per_group("max_momentum", optimizer, most)
    for group, low, high in zip(optimizer.param_groups, lows, highs, strict=True) if start else ():
        put_momentum(group, high)
        group.update(max_momentum=high, base_momentum=low)
    return lows, highs


def put_momentum(group: dict[str, Any], value: Any) -> None:
    """写进一组。"""
    if "betas" in group:
        group["betas"] = (value, *group["betas"][1:])
    else:
        group["momentum"] = value
