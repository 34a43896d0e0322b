"""OneCycleLR：一次训练只走一个周期，升到最高再降到近 0（Smith 与 Topin，2018）。

流入：步数；流出：学习率与动量。
"""

from __future__ import annotations

import math
from typing import Any

from tinygrad_llm.optim.lr_scheduler.base import LRScheduler, per_group, require_optimizer
from tinygrad_llm.optim.lr_scheduler.momentum import limits, put_momentum, uses_beta1
from tinygrad_llm.optim.optimizer import Optimizer


class OneCycleLR(LRScheduler):
    """先从 ``max_lr/div_factor`` 升到 ``max_lr``，再降到起点的 ``1/final_div_factor``。

    Args:
        optimizer: 优化器。
        max_lr: 最高的学习率，一个数或每组一个。
        total_steps: 总步数；不给就由下面两个相乘。
        epochs: 轮数。
        steps_per_epoch: 每轮的步数。
        pct_start: 上升所占的比例。
        anneal_strategy: ``"cos"`` 或 ``"linear"``。
        cycle_momentum: 动量是否反向摆动。
        base_momentum: 动量的下限。
        max_momentum: 动量的上限。
        div_factor: 起点是最高的几分之一。
        final_div_factor: 终点是起点的几分之一。
        three_phase: 分三段：升、对称地降、再降到底。
        last_epoch: 从哪一步接着走。

    Raises:
        TypeError: 不是优化器。
        ValueError: 步数、比例或方式不合法，或优化器没有动量。
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: Any,
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        cycle_momentum: bool = True,
        base_momentum: Any = 0.85,
        max_momentum: Any = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
        last_epoch: int = -1,
    ) -> None:
        require_optimizer(optimizer)
        self.total_steps = _total(total_steps, epochs, steps_per_epoch)
        self._schedule_phases = _phases(pct_start, self.total_steps, three_phase)
        if not isinstance(pct_start, float) or not 0 <= pct_start <= 1:
            raise ValueError(f"Expected float between 0 and 1 pct_start, but got {pct_start}")
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(f"anneal_strategy must be one of 'cos' or 'linear', instead got {anneal_strategy}")
        self._anneal_func_type = anneal_strategy
        highs = per_group("max_lr", optimizer, max_lr)
        for group, high in zip(optimizer.param_groups, highs, strict=True) if last_epoch == -1 else ():
            group["initial_lr"] = high / div_factor
            group["max_lr"] = high
            group["min_lr"] = group["initial_lr"] / final_div_factor
        self.cycle_momentum = cycle_momentum
        if cycle_momentum:
            self.use_beta1 = uses_beta1(optimizer)
            limits(optimizer, base_momentum, max_momentum, start=last_epoch == -1)
        super().__init__(optimizer, last_epoch)

    def _rates(self) -> list[Any]:
        t = self.last_epoch
        if t > self.total_steps:
            raise ValueError(f"Tried to step {t} times. The specified number of total steps is {self.total_steps}")
        start, phase = 0.0, self._schedule_phases[0]
        for phase in self._schedule_phases:
            if t <= phase["end_step"] or phase is self._schedule_phases[-1]:
                break
            start = phase["end_step"]
        share = (t - start) / (phase["end_step"] - start)
        if self.cycle_momentum:
            for group in self.optimizer.param_groups:
                value = self._between(group[phase["start_momentum"]], group[phase["end_momentum"]], share)
                put_momentum(group, value)
        groups = self.optimizer.param_groups
        return [self._between(g[phase["start_lr"]], g[phase["end_lr"]], share) for g in groups]

    def _between(self, start: Any, end: Any, share: float) -> Any:
        """从 ``start`` 到 ``end`` 走了 ``share``。"""
        if self._anneal_func_type == "linear":
            return (end - start) * share + start
        return end + (start - end) / 2.0 * (math.cos(math.pi * share) + 1)


def _total(total_steps: int | None, epochs: int | None, steps_per_epoch: int | None) -> int:
    if total_steps is None and (epochs is None or steps_per_epoch is None):
        raise ValueError("You must define either total_steps OR (epochs AND steps_per_epoch)")
    given = {"total_steps": total_steps} if total_steps is not None else {
        "epochs": epochs, "steps_per_epoch": steps_per_epoch,
    }  # fmt: skip
    for name, value in given.items():
        if not isinstance(value, int) or value <= 0:
            raise ValueError(f"Expected positive integer {name}, but got {value}")
    return math.prod(value for value in given.values() if value is not None)


def _phases(pct_start: float, total: int, three_phase: bool) -> list[dict[str, Any]]:
    """各段到哪一步为止，学习率与动量从哪里到哪里；键与 torch 的状态相同。"""
    up = ("initial_lr", "max_lr", "max_momentum", "base_momentum")
    down = ("max_lr", "min_lr", "base_momentum", "max_momentum")
    rows: list[tuple[float, tuple[str, str, str, str]]] = [(float(pct_start * total) - 1, up), (total - 1, down)]
    if three_phase:
        back = ("max_lr", "initial_lr", "base_momentum", "max_momentum")
        rest = ("initial_lr", "min_lr", "max_momentum", "max_momentum")
        rows = [rows[0], (float(2 * pct_start * total) - 2, back), (total - 1, rest)]
    keys = ("start_lr", "end_lr", "start_momentum", "end_momentum")
    return [{"end_step": end, **dict(zip(keys, names, strict=True))} for end, names in rows]
