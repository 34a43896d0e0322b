"""学习率调度：每个都是「第几步 → 各组的学习率」的闭式，不带滚动状态。

流入：优化器；流出：改写它的 ``lr``。训练命令用的预热加余弦在 ``common/schedule.py``。
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from tinygrad_llm.optim.optimizer import Optimizer


class LRScheduler:
    """调度器基类；子类写 ``factor(step)``：初始学习率要乘的系数。

    Args:
        optimizer: 优化器。
        last_epoch: 从哪一步接着走；-1 表示从头。

    Attributes:
        last_epoch: 已经走到第几步。
        base_lrs: 各组的初始学习率。
    """

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        self.optimizer, self.last_epoch = optimizer, last_epoch
        for group in optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])
        self.base_lrs = [group["initial_lr"] for group in optimizer.param_groups]
        self.step()

    def get_lr(self) -> list[float]:
        """此刻各组应有的学习率；由子类实现。"""
        raise NotImplementedError

    def step(self) -> None:
        """往前走一步。"""
        self.last_epoch += 1
        for group, lr in zip(self.optimizer.param_groups, self.get_lr(), strict=True):
            group["lr"] = lr

    def get_last_lr(self) -> list[float]:
        """各组当前的学习率。"""
        return [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """可恢复的状态。"""
        return {"last_epoch": self.last_epoch, "base_lrs": self.base_lrs}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """恢复状态，并立即改写学习率。"""
        self.last_epoch, self.base_lrs = state_dict["last_epoch"], state_dict["base_lrs"]
        for group, lr in zip(self.optimizer.param_groups, self.get_lr(), strict=True):
            group["lr"] = lr


class LambdaLR(LRScheduler):
    """``lr = 初始值 · f(step)``。

    Args:
        optimizer: 优化器。
        lr_lambda: 一个函数，或每组一个。
        last_epoch: 从哪一步接着走。
    """

    def __init__(self, optimizer: Optimizer, lr_lambda: Any, last_epoch: int = -1) -> None:
        several = isinstance(lr_lambda, Sequence)
        self.lr_lambdas: list[Callable[[int], float]] = (
            list(lr_lambda) if several else [lr_lambda] * len(optimizer.param_groups)
        )
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """初始值乘以系数。"""
        return [base * f(self.last_epoch) for base, f in zip(self.base_lrs, self.lr_lambdas, strict=True)]


class StepLR(LRScheduler):
    """每 ``step_size`` 步乘一次 ``gamma``。"""

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1) -> None:
        self.step_size, self.gamma = step_size, gamma
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """阶梯下降。"""
        return [base * self.gamma ** (self.last_epoch // self.step_size) for base in self.base_lrs]


class CosineAnnealingLR(LRScheduler):
    """余弦退火：``T_max`` 步从初始值降到 ``eta_min``（Loshchilov 与 Hutter，2017）。"""

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, last_epoch: int = -1) -> None:
        self.T_max, self.eta_min = T_max, eta_min
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """半个余弦。"""
        share = (1 + math.cos(math.pi * self.last_epoch / self.T_max)) / 2
        return [self.eta_min + (base - self.eta_min) * share for base in self.base_lrs]


class LinearLR(LRScheduler):
    """系数从 ``start_factor`` 线性走到 ``end_factor``，共 ``total_iters`` 步；常用作预热。"""

    def __init__(
        self,
        optimizer: Optimizer,
        start_factor: float = 1 / 3,
        end_factor: float = 1.0,
        total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:
        self.start_factor, self.end_factor, self.total_iters = start_factor, end_factor, total_iters
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """线性插值。"""
        done = min(self.last_epoch, self.total_iters) / self.total_iters
        factor = self.start_factor + (self.end_factor - self.start_factor) * done
        return [base * factor for base in self.base_lrs]
