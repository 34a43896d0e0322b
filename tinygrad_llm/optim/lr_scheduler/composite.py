"""由几个调度器合成的调度器：一个接一个，或同时起作用。

流入：同一个优化器的若干调度器；流出：学习率。
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

from tinygrad_llm.optim.lr_scheduler.base import LRScheduler, assign, current
from tinygrad_llm.optim.lr_scheduler.plateau import ReduceLROnPlateau
from tinygrad_llm.optim.optimizer import Optimizer


class _Composite(LRScheduler):
    """几个调度器的存取。"""

    _schedulers: Sequence[Any]

    def _check(self, schedulers: Sequence[Any], optimizer: Any) -> None:
        """每一个都要是同一个优化器的，且不要求额外的参数。"""
        for i, scheduler in enumerate(schedulers):
            if not hasattr(scheduler, "optimizer"):
                raise TypeError(f"{type(self).__name__} at index {i} should have `optimizer` as its attribute.")
            if isinstance(scheduler, ReduceLROnPlateau):
                raise ValueError(f"{type(self).__name__} does not support `ReduceLROnPlateau`, got one at index {i}")
            if optimizer is not scheduler.optimizer:
                raise ValueError(
                    f"{type(self).__name__} expects all schedulers to belong to the same optimizer, but scheduler "
                    f"{type(scheduler).__name__} at index {i} belongs to another {type(scheduler.optimizer).__name__}"
                )

    def state_dict(self) -> dict[str, Any]:
        """各个调度器的状态在 ``_schedulers`` 里。"""
        state = super().state_dict()
        del state["_schedulers"]
        return {**state, "_schedulers": [scheduler.state_dict() for scheduler in self._schedulers]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """恢复自己与各个调度器。"""
        super().load_state_dict({k: v for k, v in state_dict.items() if k != "_schedulers"})
        for scheduler, state in zip(self._schedulers, state_dict["_schedulers"], strict=True):
            scheduler.load_state_dict(state)


class SequentialLR(_Composite):
    """走到 ``milestones`` 里的某一步就换下一个调度器。

    Args:
        optimizer: 优化器。
        schedulers: 依次起作用的调度器。
        milestones: 在哪些步换；比调度器少一个。
        last_epoch: 从哪一步接着走。

    Raises:
        TypeError: 给的不是调度器。
        ValueError: 个数对不上，或不属于同一个优化器。
    """

    def __init__(
        self, optimizer: Optimizer, schedulers: list[LRScheduler], milestones: list[int], last_epoch: int = -1
    ) -> None:
        if not schedulers:
            raise ValueError(f"{type(self).__name__} expects at least one scheduler, but got no scheduler.")
        self._check(schedulers, optimizer)
        if len(milestones) != len(schedulers) - 1:
            raise ValueError(
                "Sequential Schedulers expects number of schedulers provided to be one more than the number of "
                f"milestone points, but got {len(schedulers)} schedulers and {len(milestones)} milestones"
            )
        self._schedulers, self._milestones = schedulers, milestones
        self.last_epoch, self.optimizer = last_epoch + 1, optimizer
        for group in optimizer.param_groups:  # 各个调度器构造时都改过学习率：退回去，只让第一个起作用
            assign(group, "lr", group["initial_lr"])
        self.recursive_undo()
        first = schedulers[bisect_right(milestones, 0)]
        first._initial_step()
        self._last_lr = first.get_last_lr()

    def recursive_undo(self, sched: Any = None) -> None:
        """撤销构造时走的那一步。"""
        target = self if sched is None else sched
        if hasattr(target, "_schedulers"):
            for scheduler in target._schedulers:
                self.recursive_undo(scheduler)
        elif hasattr(target, "last_epoch"):
            target.last_epoch -= 1

    def step(self) -> None:  # type: ignore[override]
        """往前走一步。"""
        self.last_epoch += 1
        index = bisect_right(self._milestones, self.last_epoch)
        scheduler = self._schedulers[index]
        if index > 0 and self._milestones[index - 1] == self.last_epoch:
            scheduler._update_lr(0)
        else:
            scheduler.step()
        self._last_lr = scheduler.get_last_lr()


class ChainedScheduler(_Composite):
    """每一步依次走所有的调度器，效果相乘。

    Args:
        schedulers: 同时起作用的调度器。
        optimizer: 优化器；缺省为第一个调度器的。

    Raises:
        TypeError: 给的不是调度器。
        ValueError: 一个也没有，或不属于同一个优化器。
    """

    def __init__(self, schedulers: Sequence[LRScheduler], optimizer: Optimizer | None = None) -> None:
        if len(schedulers) < 1:
            raise ValueError(
                f"{type(self).__name__} expects at least one scheduler to be chained, but got no scheduler."
            )
        self.optimizer = optimizer or schedulers[0].optimizer
        self._check(schedulers, self.optimizer)
        self._schedulers = schedulers
        self._last_lr = current(self.optimizer)

    def step(self) -> None:  # type: ignore[override]
        """往前走一步。"""
        for scheduler in self._schedulers:
            scheduler.step()
        self._last_lr = current(self.optimizer)
