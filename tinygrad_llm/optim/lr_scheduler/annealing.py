"""余弦退火（Loshchilov 与 Hutter，2017）：一次降到底，或降到底再从头来。

流入：步数；流出：半个余弦上的学习率。
"""

from __future__ import annotations

import math
from typing import Any

from tinygrad_llm.optim.lr_scheduler.base import LRScheduler, current
from tinygrad_llm.optim.optimizer import Optimizer


class CosineAnnealingLR(LRScheduler):
    """``T_max`` 步从初始值降到 ``eta_min``；再往后又升回来。

    Args:
        optimizer: 优化器。
        T_max: 半个周期的步数。
        eta_min: 最低的学习率。
        last_epoch: 从哪一步接着走。
    """

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, last_epoch: int = -1) -> None:
        self.T_max, self.eta_min = T_max, eta_min
        super().__init__(optimizer, last_epoch)

    def _rates(self) -> list[Any]:
        t, period, low, rates = self.last_epoch, self.T_max, self.eta_min, current(self.optimizer)
        if self._is_initial:
            return rates
        if self._step_count == 1 and t > 0:
            return self._get_closed_form_lr()
        if (t - 1 - period) % (2 * period) == 0:  # 上一步在谷底，比值没有定义：往上走一小步
            rise = (1 - math.cos(math.pi / period)) / 2
            return [lr + (base - low) * rise for lr, base in zip(rates, self.base_lrs, strict=True)]
        ratio = (1 + math.cos(math.pi * t / period)) / (1 + math.cos(math.pi * (t - 1) / period))
        return [ratio * (lr - low) + low for lr in rates]

    def _get_closed_form_lr(self) -> list[Any]:
        share = (1 + math.cos(math.pi * self.last_epoch / self.T_max)) / 2
        return [self.eta_min + (base - self.eta_min) * share for base in self.base_lrs]


class CosineAnnealingWarmRestarts(LRScheduler):
    """每 ``T_i`` 步降到 ``eta_min``，然后从初始值重新开始；周期每次乘 ``T_mult``。

    Args:
        optimizer: 优化器。
        T_0: 第一个周期的步数。
        T_mult: 周期的倍数。
        eta_min: 最低的学习率。
        last_epoch: 从哪一步接着走。

    Raises:
        ValueError: 周期或倍数不是正整数，或 ``eta_min`` 不是数。
    """

    def __init__(
        self, optimizer: Optimizer, T_0: int, T_mult: int = 1, eta_min: float = 0.0, last_epoch: int = -1
    ) -> None:
        if T_0 <= 0 or not isinstance(T_0, int):
            raise ValueError(f"Expected positive integer T_0, but got {T_0}")
        if T_mult < 1 or not isinstance(T_mult, int):
            raise ValueError(f"Expected integer T_mult >= 1, but got {T_mult}")
        if not isinstance(eta_min, (float, int)):
            raise ValueError(f"Expected float or int eta_min, but got {eta_min} of type {type(eta_min)}")
        self.T_0, self.T_i, self.T_mult, self.eta_min = T_0, T_0, T_mult, eta_min
        self.T_cur: float = last_epoch
        super().__init__(optimizer, last_epoch)

    def _rates(self) -> list[Any]:
        share = (1 + math.cos(math.pi * self.T_cur / self.T_i)) / 2
        return [self.eta_min + (base - self.eta_min) * share for base in self.base_lrs]

    def step(self, epoch: float | None = None) -> None:
        """往前走一步；``epoch`` 可以是小数，用来在一轮之内也平滑地降。

        Raises:
            ValueError: ``epoch`` 是负数。
        """
        if epoch is None and self.last_epoch >= 0:
            epoch = self.last_epoch + 1
            self.T_cur += 1
            if self.T_cur >= self.T_i:
                self.T_cur %= self.T_i
                self.T_i *= self.T_mult
        else:
            epoch = 0 if epoch is None else epoch
            self._jump(epoch)
        self.last_epoch = math.floor(epoch)
        self._write()

    def _jump(self, epoch: float) -> None:
        """第 ``epoch`` 步落在第几个周期的哪里。"""
        if epoch < 0:
            raise ValueError(f"Expected non-negative epoch, but got {epoch}")
        if epoch < self.T_0:
            self.T_i, self.T_cur = self.T_0, epoch
        elif self.T_mult == 1:
            self.T_cur = epoch % self.T_0
        else:
            n = int(math.log(epoch / self.T_0 * (self.T_mult - 1) + 1, self.T_mult))
            self.T_cur = epoch - self.T_0 * (self.T_mult**n - 1) / (self.T_mult - 1)
            self.T_i = self.T_0 * self.T_mult**n
