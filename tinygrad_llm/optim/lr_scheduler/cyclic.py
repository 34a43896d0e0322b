"""CyclicLR：学习率在两个值之间来回走（Smith，2017）。

流入：步数；流出：三角波上的学习率与动量。
"""

from __future__ import annotations

import math
import types
from collections.abc import Callable
from typing import Any

from tinygrad_llm.optim.lr_scheduler.base import LRScheduler, assign, per_group, require_optimizer
from tinygrad_llm.optim.lr_scheduler.momentum import limits, put_momentum, uses_beta1
from tinygrad_llm.optim.optimizer import Optimizer

_MODES = ("triangular", "triangular2", "exp_range")


class CyclicLR(LRScheduler):
    """从 ``base_lr`` 走到 ``max_lr`` 再走回来；幅度可以不变、每周期减半，或按 ``gamma`` 的幂缩小。

    Args:
        optimizer: 优化器。
        base_lr: 下限，一个数或每组一个。
        max_lr: 上限，一个数或每组一个。
        step_size_up: 上升的步数。
        step_size_down: 下降的步数；缺省与上升相同。
        mode: ``"triangular"``、``"triangular2"`` 或 ``"exp_range"``。
        gamma: ``"exp_range"`` 的底。
        scale_fn: 自定义幅度的系数；给了它就不看 ``mode``。
        scale_mode: ``scale_fn`` 的自变量是第几个周期（``"cycle"``）还是第几步（``"iterations"``）。
        cycle_momentum: 动量是否反向摆动。
        base_momentum: 动量的下限。
        max_momentum: 动量的上限。
        last_epoch: 从哪一步接着走。

    Raises:
        TypeError: 不是优化器。
        ValueError: ``mode`` 不认识，个数与组数不同，或优化器没有动量。
    """

    def __init__(
        self,
        optimizer: Optimizer,
        base_lr: Any,
        max_lr: Any,
        step_size_up: int = 2000,
        step_size_down: int | None = None,
        mode: str = "triangular",
        gamma: float = 1.0,
        scale_fn: Callable[[float], float] | None = None,
        scale_mode: str = "cycle",
        cycle_momentum: bool = True,
        base_momentum: float = 0.8,
        max_momentum: float = 0.9,
        last_epoch: int = -1,
    ) -> None:
        require_optimizer(optimizer)
        base_lrs = per_group("base_lr", optimizer, base_lr)
        if last_epoch == -1:
            for lr, group in zip(base_lrs, optimizer.param_groups, strict=True):
                assign(group, "lr", lr)
        self.max_lrs = per_group("max_lr", optimizer, max_lr)
        up, down = float(step_size_up), float(step_size_up if step_size_down is None else step_size_down)
        self.total_size, self.step_ratio = up + down, up / (up + down)
        if mode not in _MODES and scale_fn is None:
            raise ValueError("mode is invalid and scale_fn is None")
        self.mode, self.gamma, self._scale_fn_custom = mode, gamma, scale_fn
        own = {"exp_range": "iterations"}.get(mode, "cycle")
        self.scale_mode = scale_mode if scale_fn is not None else own
        self.cycle_momentum = cycle_momentum
        if cycle_momentum:
            self.use_beta1 = uses_beta1(optimizer)
            lows, highs = limits(optimizer, base_momentum, max_momentum, start=last_epoch == -1)
            self.base_momentums, self.max_momentums = lows, highs
        super().__init__(optimizer, last_epoch)
        self.base_lrs = base_lrs

    def scale_fn(self, x: float) -> float:
        """幅度的系数。"""
        if self._scale_fn_custom is not None:
            return self._scale_fn_custom(x)
        if self.mode == "triangular2":
            return 1 / 2.0 ** (x - 1)  # type: ignore[no-any-return]
        return self.gamma**x if self.mode == "exp_range" else 1.0

    def _rates(self) -> list[Any]:
        t = self.last_epoch
        cycle = math.floor(1 + t / self.total_size)
        x = 1.0 + t / self.total_size - cycle
        height = x / self.step_ratio if x <= self.step_ratio else (x - 1) / (self.step_ratio - 1)
        scale = self.scale_fn(cycle if self.scale_mode == "cycle" else t)
        if self.cycle_momentum:
            pairs = zip(self.optimizer.param_groups, self.base_momentums, self.max_momentums, strict=True)
            for group, low, high in pairs:
                put_momentum(group, high - (high - low) * height * scale)
        return [low + (high - low) * height * scale for low, high in zip(self.base_lrs, self.max_lrs, strict=True)]

    def state_dict(self) -> dict[str, Any]:
        """函数不存；可调用的对象存它的属性。"""
        state = super().state_dict()
        f = state.pop("_scale_fn_custom")
        plain = f is None or isinstance(f, types.FunctionType)
        return {**state, "_scale_fn_custom": None if plain else dict(f.__dict__)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """恢复属性，也恢复可调用对象的属性。"""
        super().load_state_dict({k: v for k, v in state_dict.items() if k != "_scale_fn_custom"})
        if state_dict["_scale_fn_custom"] is not None:
            vars(self._scale_fn_custom).update(state_dict["_scale_fn_custom"])
