"""逐步衰减（或预热）的调度器：阶梯、常数、直线、指数与多项式。

流入：步数；流出：上一步的学习率乘一个系数。``_get_closed_form_lr`` 由初始值一步到位，供 ``step(epoch)`` 使用。
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable
from typing import Any

from tinygrad_llm.optim.lr_scheduler.base import LRScheduler, current
from tinygrad_llm.optim.optimizer import Optimizer


class _Decay(LRScheduler):
    """子类写 ``_ratio``（这一步比上一步）与 ``_factor``（这一步比初始值）。"""

    def _rates(self) -> list[Any]:
        ratio, rates = self._ratio(self.last_epoch), current(self.optimizer)
        return rates if ratio is None else [lr * ratio for lr in rates]

    def _get_closed_form_lr(self) -> list[Any]:
        return [base * self._factor(self.last_epoch) for base in self.base_lrs]

    def _ratio(self, t: int) -> float | None:
        """``None`` 表示不变。"""
        raise NotImplementedError

    def _factor(self, t: int) -> float:
        raise NotImplementedError


class StepLR(_Decay):
    """每 ``step_size`` 步乘一次 ``gamma``。

    Args:
        optimizer: 优化器。
        step_size: 几步一降。
        gamma: 系数。
        last_epoch: 从哪一步接着走。
    """

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1) -> None:
        self.step_size, self.gamma = step_size, gamma
        super().__init__(optimizer, last_epoch)

    def _ratio(self, t: int) -> float | None:
        return None if t == 0 or t % self.step_size else self.gamma

    def _factor(self, t: int) -> float:
        return self.gamma ** (t // self.step_size)


class MultiStepLR(_Decay):
    """走到 ``milestones`` 里的每一步各乘一次 ``gamma``。

    Args:
        optimizer: 优化器。
        milestones: 在哪些步降。
        gamma: 系数。
        last_epoch: 从哪一步接着走。
    """

    def __init__(
        self, optimizer: Optimizer, milestones: Iterable[int], gamma: float = 0.1, last_epoch: int = -1
    ) -> None:
        self.milestones, self.gamma = Counter(milestones), gamma
        super().__init__(optimizer, last_epoch)

    def _ratio(self, t: int) -> float | None:
        return self.gamma ** self.milestones[t] if t in self.milestones else None

    def _factor(self, t: int) -> float:
        return self.gamma ** bisect_right(sorted(self.milestones.elements()), t)


class ConstantLR(_Decay):
    """前 ``total_iters`` 步是初始值的 ``factor`` 倍，之后恢复。

    Args:
        optimizer: 优化器。
        factor: 系数。
        total_iters: 几步。
        last_epoch: 从哪一步接着走。

    Raises:
        ValueError: 系数不在 ``[0, 1]`` 里。
    """

    def __init__(
        self, optimizer: Optimizer, factor: float = 1.0 / 3, total_iters: int = 5, last_epoch: int = -1
    ) -> None:
        if not 0 <= factor <= 1:
            raise ValueError("Constant multiplicative factor expected to be between 0 and 1.")
        self.factor, self.total_iters = factor, total_iters
        super().__init__(optimizer, last_epoch)

    def _ratio(self, t: int) -> float | None:
        if t == 0:
            return self.factor
        return 1.0 / self.factor if t == self.total_iters else None

    def _factor(self, t: int) -> float:
        return self.factor + (t >= self.total_iters) * (1 - self.factor)


class LinearLR(_Decay):
    """系数从 ``start_factor`` 线性走到 ``end_factor``，共 ``total_iters`` 步；常用作预热。

    Args:
        optimizer: 优化器。
        start_factor: 起点的系数。
        end_factor: 终点的系数。
        total_iters: 几步。
        last_epoch: 从哪一步接着走。

    Raises:
        ValueError: 系数不在 ``[0, 1]`` 里，或起点为 0。
    """

    def __init__(
        self,
        optimizer: Optimizer,
        start_factor: float = 1.0 / 3,
        end_factor: float = 1.0,
        total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:
        if not 0 < start_factor <= 1:
            raise ValueError("Starting multiplicative factor expected to be greater than 0 and less or equal to 1.")
        if not 0 <= end_factor <= 1:
            raise ValueError("Ending multiplicative factor expected to be between 0 and 1.")
        self.start_factor, self.end_factor, self.total_iters = start_factor, end_factor, total_iters
        super().__init__(optimizer, last_epoch)

    def _ratio(self, t: int) -> float | None:
        if t == 0:
            return self.start_factor
        if self._is_initial or t > self.total_iters:
            return None
        rise = self.end_factor - self.start_factor
        return 1.0 + rise / (self.total_iters * self.start_factor + (t - 1) * rise)

    def _factor(self, t: int) -> float:
        rise = self.end_factor - self.start_factor
        return self.start_factor + rise * min(self.total_iters, t) / self.total_iters


class ExponentialLR(_Decay):
    """每步乘 ``gamma``。

    Args:
        optimizer: 优化器。
        gamma: 系数。
        last_epoch: 从哪一步接着走。
    """

    def __init__(self, optimizer: Optimizer, gamma: float, last_epoch: int = -1) -> None:
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def _ratio(self, t: int) -> float | None:
        return None if self._is_initial else self.gamma

    def _factor(self, t: int) -> float:
        return self.gamma**t


class PolynomialLR(_Decay):
    """``lr = 初始值 · (1 - t/total_iters)^power``。

    Args:
        optimizer: 优化器。
        total_iters: 几步降到 0。
        power: 幂。
        last_epoch: 从哪一步接着走。
    """

    def __init__(self, optimizer: Optimizer, total_iters: int = 5, power: float = 1.0, last_epoch: int = -1) -> None:
        self.total_iters, self.power = total_iters, power
        super().__init__(optimizer, last_epoch)

    def _ratio(self, t: int) -> float | None:
        if self._is_initial or t > self.total_iters:
            return None
        left, before = 1.0 - t / self.total_iters, 1.0 - (t - 1) / self.total_iters
        return (left / before) ** self.power  # type: ignore[no-any-return]

    def _factor(self, t: int) -> float:
        return (1.0 - min(self.total_iters, t) / self.total_iters) ** self.power  # type: ignore[no-any-return]
