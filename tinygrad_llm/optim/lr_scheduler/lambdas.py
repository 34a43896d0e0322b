"""由函数给出系数的调度器。

流入：``f(步数) → 系数``；流出：学习率。
"""

from __future__ import annotations

import types
from typing import Any

from tinygrad_llm.optim.lr_scheduler.base import LRScheduler, current
from tinygrad_llm.optim.optimizer import Optimizer


class LambdaLR(LRScheduler):
    """``lr = 初始值 · f(step)``。

    Args:
        optimizer: 优化器。
        lr_lambda: 一个函数，或每组一个。
        last_epoch: 从哪一步接着走。

    Raises:
        ValueError: 函数的个数与组数不同。
    """

    def __init__(self, optimizer: Optimizer, lr_lambda: Any, last_epoch: int = -1) -> None:
        self.optimizer = optimizer
        count = len(optimizer.param_groups)
        self.lr_lambdas: list[Any] = list(lr_lambda) if isinstance(lr_lambda, (list, tuple)) else [lr_lambda] * count
        if len(self.lr_lambdas) != count:
            raise ValueError(f"Expected {count} lr_lambdas, but got {len(self.lr_lambdas)}")
        super().__init__(optimizer, last_epoch)

    def _rates(self) -> list[Any]:
        return [base * f(self.last_epoch) for base, f in zip(self.base_lrs, self.lr_lambdas, strict=True)]

    def state_dict(self) -> dict[str, Any]:
        """函数不存；可调用的对象存它的属性。"""
        state = super().state_dict()
        del state["lr_lambdas"]
        kept = [None if isinstance(f, types.FunctionType) else dict(f.__dict__) for f in self.lr_lambdas]
        return {**state, "lr_lambdas": kept}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """恢复属性，也恢复可调用对象的属性。"""
        super().load_state_dict({k: v for k, v in state_dict.items() if k != "lr_lambdas"})
        for f, attributes in zip(self.lr_lambdas, state_dict["lr_lambdas"], strict=True):
            f.__dict__.update(attributes or {})


class MultiplicativeLR(LambdaLR):
    """``lr ← lr · f(step)``。

    Args:
        optimizer: 优化器。
        lr_lambda: 一个函数，或每组一个。
        last_epoch: 从哪一步接着走。

    Raises:
        TypeError: 给的不是函数。
        ValueError: 函数的个数与组数不同。
    """

    def __init__(self, optimizer: Optimizer, lr_lambda: Any, last_epoch: int = -1) -> None:
        for f in lr_lambda if isinstance(lr_lambda, (list, tuple)) else [lr_lambda]:
            if not callable(f):
                raise TypeError(f"lr_lambda should be a function, but got {type(f).__name__}")
        super().__init__(optimizer, lr_lambda, last_epoch)

    def _rates(self) -> list[Any]:
        rates = current(self.optimizer)
        if self._is_initial:
            return rates
        return [lr * f(self.last_epoch) for lr, f in zip(rates, self.lr_lambdas, strict=True)]
