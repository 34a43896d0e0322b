"""权重的平均：随机权重平均（SWA，Izmailov 等，2018）与指数滑动平均（EMA）。

流入：训练中的模型；流出：参数取平均的另一个模型，以及与之配套的学习率。
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from tinygrad_llm.autograd import no_grad
from tinygrad_llm.creation import tensor
from tinygrad_llm.nn.module import Module
from tinygrad_llm.nn.normalization_layers import _BatchNorm
from tinygrad_llm.optim.arrays import scalar
from tinygrad_llm.optim.lr_scheduler.base import LRScheduler, per_group
from tinygrad_llm.optim.optimizer import Optimizer
from tinygrad_llm.tensor import Tensor


def get_ema_avg_fn(decay: float = 0.999) -> Callable[..., Tensor]:
    """指数滑动平均：``decay · 平均 + (1 - decay) · 现在``。

    Raises:
        ValueError: 衰减率不在 ``[0, 1]`` 里。
    """
    _require_decay(decay)

    @no_grad
    def ema_update(ema_param: Tensor, current_param: Tensor, num_averaged: Any) -> Tensor:
        return decay * ema_param + (1 - decay) * current_param  # type: ignore[no-any-return]

    return ema_update  # type: ignore[no-any-return]


def get_swa_avg_fn() -> Callable[..., Tensor]:
    """等权的平均：每次多算进一份。"""

    @no_grad
    def swa_update(averaged_param: Tensor, current_param: Tensor, num_averaged: Any) -> Tensor:
        return averaged_param + (current_param - averaged_param) / (num_averaged + 1)  # type: ignore[no-any-return]

    return swa_update  # type: ignore[no-any-return]


def get_ema_multi_avg_fn(decay: float = 0.999) -> Callable[..., None]:
    """指数滑动平均，一次更新一列。

    Raises:
        ValueError: 衰减率不在 ``[0, 1]`` 里。
    """
    _require_decay(decay)

    def ema_update(ema_param_list: Sequence[Tensor], current_param_list: Sequence[Tensor], _: Any) -> None:
        _lerp_all(ema_param_list, current_param_list, 1 - decay)

    return ema_update


def get_swa_multi_avg_fn() -> Callable[..., None]:
    """等权的平均，一次更新一列。"""

    def swa_update(averaged: Sequence[Tensor], current: Sequence[Tensor], num_averaged: Any) -> None:
        _lerp_all(averaged, current, scalar(1 / (num_averaged + 1)))  # 份数是整数张量，商就是缺省浮点类型

    return swa_update


def _require_decay(decay: float) -> None:
    if not 0.0 <= decay <= 1.0:
        raise ValueError(f"Invalid decay value {decay} provided. Please provide a value in [0,1] range.")


@no_grad
def _lerp_all(averaged: Sequence[Tensor], current: Sequence[Tensor], weight: float) -> None:
    for old, new in zip(averaged, current, strict=True):
        old.copy_(old.lerp(new, weight) if old.is_floating_point() else old * (1 - weight) + new * weight)


class AveragedModel(Module):
    """参数取平均的模型；缺省等权。

    Args:
        model: 训练中的模型，复制一份作起点。
        device: 只能是 CPU。
        avg_fn: ``(平均, 现在, 已算进几份) → 新的平均``，逐个参数调用。
        multi_avg_fn: 同上，一次给全部参数，就地改写。
        use_buffers: 缓冲区也取平均；否则照抄现在的。

    Attributes:
        module: 平均出来的模型。
        n_averaged: 已算进几份。

    Raises:
        AssertionError: 两个函数都给了。
    """

    n_averaged: Tensor
    module: Any

    def __init__(
        self,
        model: Module,
        device: Any = None,
        avg_fn: Callable[..., Tensor] | None = None,
        multi_avg_fn: Callable[..., None] | None = None,
        use_buffers: bool = False,
    ) -> None:
        super().__init__()
        if avg_fn is not None and multi_avg_fn is not None:
            raise AssertionError("Only one of avg_fn and multi_avg_fn should be provided")
        self.module = copy.deepcopy(model).to(device)
        self.register_buffer("n_averaged", tensor(0, device=device))
        self.avg_fn, self.multi_avg_fn, self.use_buffers = avg_fn, multi_avg_fn, use_buffers

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """用平均的参数前向。"""
        return self.module(*args, **kwargs)

    @no_grad
    def update_parameters(self, model: Module) -> None:
        """把现在的参数算进平均；头一次就是照抄。"""
        averaged, current = self._members(self.module), self._members(model)
        n = self.n_averaged
        if not n.item():
            for old, new in zip(averaged, current, strict=True):
                old.copy_(new)
        elif self.multi_avg_fn is not None:
            for kind in {old.dtype for old in averaged}:
                pairs = [(old, new) for old, new in zip(averaged, current, strict=True) if old.dtype == kind]
                self.multi_avg_fn([old for old, _ in pairs], [new for _, new in pairs], n)
        else:
            average = self.avg_fn or get_swa_avg_fn()
            for old, new in zip(averaged, current, strict=True):
                old.copy_(average(old, new, n))
        if not self.use_buffers:
            for old, new in zip(self.module.buffers(), model.buffers(), strict=True):
                old.copy_(new)
        self.n_averaged += 1

    def _members(self, model: Module) -> list[Tensor]:
        buffers = model.buffers() if self.use_buffers else ()
        return [value.detach() for value in itertools.chain(model.parameters(), buffers)]


@no_grad
def update_bn(loader: Iterable[Any], model: Module, device: Any = None) -> None:
    """参数换成平均之后，用数据把 BatchNorm 的统计量重新算一遍。

    Args:
        loader: 一批批数据；一批是元组或列表时取第一项。
        model: 模型。
        device: 只能是 CPU。
    """
    layers = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    momenta = [layer.momentum for layer in layers]
    if not layers:
        return
    was_training = model.training
    model.train()
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # 等权地累计
    for batch in loader:
        inputs = batch[0] if isinstance(batch, (list, tuple)) else batch
        model(inputs if device is None else inputs.to(device))
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
    model.train(was_training)


class SWALR(LRScheduler):
    """把学习率在 ``anneal_epochs`` 步内移到 ``swa_lr``，此后不变。

    Args:
        optimizer: 优化器。
        swa_lr: 目标学习率，一个数或每组一个。
        anneal_epochs: 几步移到。
        anneal_strategy: ``"cos"`` 或 ``"linear"``。
        last_epoch: 从哪一步接着走。

    Raises:
        ValueError: 方式不认识，步数是负数，或个数与组数不同。
    """

    def __init__(
        self,
        optimizer: Optimizer,
        swa_lr: Any,
        anneal_epochs: int = 10,
        anneal_strategy: str = "cos",
        last_epoch: int = -1,
    ) -> None:
        for group, rate in zip(optimizer.param_groups, per_group("swa_lr", optimizer, swa_lr), strict=True):
            group["swa_lr"] = rate
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(f"anneal_strategy must be one of 'cos' or 'linear', instead got {anneal_strategy}")
        if not isinstance(anneal_epochs, int) or anneal_epochs < 0:
            raise ValueError(f"anneal_epochs must be equal or greater than 0, got {anneal_epochs}")
        self._anneal_strategy, self.anneal_epochs = anneal_strategy, anneal_epochs
        super().__init__(optimizer, last_epoch)

    def _rates(self) -> list[Any]:
        step = self._step_count - 1 if self.anneal_epochs else max(1, self._step_count - 1)
        before, now = self._share(step - 1), self._share(step)
        rates = []
        for group in self.optimizer.param_groups:
            goal = group["swa_lr"]
            start = goal if before == 1 else (group["lr"] - before * goal) / (1 - before)
            rates.append(goal * now + start * (1 - now))
        return rates

    def _share(self, step: int) -> float:
        """第 ``step`` 步已经移了几成。"""
        t = max(0, min(1, step / max(1, self.anneal_epochs)))
        return t if self._anneal_strategy == "linear" else (1 - math.cos(math.pi * t)) / 2
