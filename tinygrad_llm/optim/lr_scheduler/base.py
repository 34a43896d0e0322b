"""调度器的公共部分：什么时候算、算出来写到哪里、怎样存取。

流入：优化器；流出：改写它的 ``lr``。下一站：``decays.py``。

多数调度器由上一步的学习率推出下一步的（而不是由初始值一步到位），几个调度器因此可以叠加。
"""

from __future__ import annotations

import warnings
from typing import Any

from tinygrad_llm.optim.arrays import scalar
from tinygrad_llm.optim.optimizer import Optimizer
from tinygrad_llm.tensor import Tensor

EPOCH_WARNING = (
    "The epoch parameter in `scheduler.step()` was not necessary and is being deprecated where possible. "
    "Please use `scheduler.step()` to step the scheduler."
)


def require_optimizer(optimizer: Any) -> None:
    """不是优化器就报错。"""
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"{type(optimizer).__name__} is not an Optimizer")


def current(optimizer: Optimizer, key: str = "lr") -> list[Any]:
    """各组现在的值；Tensor 复制一份。"""
    return [g[key].clone() if isinstance(g[key], Tensor) else g[key] for g in optimizer.param_groups]


def assign(group: dict[str, Any], key: str, value: Any) -> None:
    """写进一组；原来是 Tensor 就写进它里面。"""
    if isinstance(group[key], Tensor):
        group[key].fill_(scalar(value))
    else:
        group[key] = value


def per_group(name: str, optimizer: Optimizer, value: Any) -> list[Any]:
    """每组一个值：给的是一个就复制成一列。

    Raises:
        ValueError: 给的个数与组数不同。
    """
    count = len(optimizer.param_groups)
    values = list(value) if isinstance(value, (list, tuple)) else [value] * count
    if len(values) != count:
        raise ValueError(f"{name} must have the same length as optimizer.param_groups: {len(values)} and {count}")
    return [v.clone() if isinstance(v, Tensor) else v for v in values]


class LRScheduler:
    """调度器基类；子类写 ``get_lr``：第 ``last_epoch`` 步各组的学习率。

    Args:
        optimizer: 优化器。
        last_epoch: 从哪一步接着走；-1 表示从头。

    Attributes:
        last_epoch: 已经走到第几步。
        base_lrs: 各组的初始学习率。

    Raises:
        TypeError: 不是优化器。
        KeyError: 接着走，而参数组里没有 ``initial_lr``。
    """

    _get_lr_called_within_step: bool = False
    _is_initial: bool = False
    _last_lr: list[Any]

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        require_optimizer(optimizer)
        self.optimizer = optimizer
        for i, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", current(optimizer)[i])
            elif "initial_lr" not in group:
                raise KeyError(
                    f"param 'initial_lr' is not specified in param_groups[{i}] when resuming scheduler with "
                    "last_epoch >= 0; load the optimizer's state first"
                )
        self.base_lrs: list[Any] = current(optimizer, "initial_lr")
        self.last_epoch = last_epoch
        if optimizer._opt_called is None:  # 从此留意 step 有没有被叫过
            optimizer._opt_called = False
        self._initial_step()

    def _initial_step(self) -> None:
        self._step_count = 0
        self._is_initial = True
        self.step()
        self._is_initial = False

    def get_lr(self) -> list[Any]:
        """这一步各组应有的学习率；只供 ``step`` 调用，平时看 ``get_last_lr``。"""
        if not self._get_lr_called_within_step:
            message = "To get the last learning rate computed by the scheduler, please use `get_last_lr()`."
            warnings.warn(message, UserWarning, stacklevel=2)
        return self._rates()

    def _rates(self) -> list[Any]:
        raise NotImplementedError

    def get_last_lr(self) -> list[Any]:
        """上一次算出的各组学习率。"""
        return self._last_lr

    def step(self, epoch: int | None = None) -> None:
        """往前走一步。

        Args:
            epoch: 跳到第几步；不推荐。
        """
        if self._step_count == 1:
            self._check_order()
        self._step_count += 1
        if epoch is not None:
            warnings.warn(EPOCH_WARNING, UserWarning, stacklevel=2)
        self._update_lr(epoch)

    def _check_order(self) -> None:
        """每一步都该先 ``optimizer.step()`` 再 ``scheduler.step()``。"""
        if not hasattr(self.optimizer.step, "_marks_calls"):
            message = "Seems like `optimizer.step()` has been overridden after learning rate scheduler initialization."
        elif not self.optimizer._opt_called:
            message = (
                "Detected call of `lr_scheduler.step()` before `optimizer.step()`. You should call them in the "
                "opposite order: `optimizer.step()` before `lr_scheduler.step()`; otherwise the first value of the "
                "learning rate schedule is skipped."
            )
        else:
            return
        warnings.warn(message, UserWarning, stacklevel=3)

    def _update_lr(self, epoch: int | None = None) -> None:
        closed: Any = None if epoch is None else getattr(self, "_get_closed_form_lr", None)
        self.last_epoch = self.last_epoch + 1 if epoch is None else epoch
        self._write(closed)

    def _write(self, rule: Any = None) -> None:
        """算出各组的学习率，写进优化器。"""
        self._get_lr_called_within_step = True
        try:
            values = self.get_lr() if rule is None else rule()
        finally:
            self._get_lr_called_within_step = False
        for group, lr in zip(self.optimizer.param_groups, values, strict=True):
            assign(group, "lr", lr)
        self._last_lr = current(self.optimizer)

    def state_dict(self) -> dict[str, Any]:
        """优化器以外的全部属性。"""
        return {key: value for key, value in self.__dict__.items() if key != "optimizer"}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """恢复属性；学习率本身随优化器的状态恢复。"""
        self.__dict__.update(state_dict)
