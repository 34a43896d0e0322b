"""``GradScaler``：放大损失，防止 16 位的梯度下溢。

流入：损失与优化器；流出：缩回来的梯度，有 inf 或 NaN 时跳过的更新。
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np

from tinygrad_llm import dtypes
from tinygrad_llm.autograd.mode import no_grad
from tinygrad_llm.creation import tensor
from tinygrad_llm.tensor import Tensor


class GradScaler:
    """放大损失，使 16 位的小梯度不至于变成 0；更新之前再缩回来，遇到 inf 或 NaN 就跳过这一步并减小倍数。

    Args:
        device: ``"cpu"``；给 ``"cuda"`` 则与没有 CUDA 的 torch 一样，警告并关闭。
        init_scale: 起初的倍数。
        growth_factor: 连续 ``growth_interval`` 步都没有溢出时，倍数乘以它。
        backoff_factor: 溢出时，倍数乘以它。
        growth_interval: 见 ``growth_factor``。
        enabled: 为假时所有方法都不起作用，``step`` 直接调用优化器。
    """

    def __init__(
        self,
        device: str = "cuda",
        init_scale: float = 2.0**16,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
        enabled: bool = True,
    ) -> None:
        if enabled and device != "cpu":
            warnings.warn(f"GradScaler is enabled for {device!r}, which is not available. Disabling.", stacklevel=2)
            enabled = False
        if enabled and growth_factor <= 1.0:
            raise AssertionError("The growth factor must be > 1.0.")
        if enabled and backoff_factor >= 1.0:
            raise AssertionError("The backoff factor must be < 1.0.")
        self._enabled, self._scale = enabled, float(init_scale)
        self._growth_factor, self._backoff_factor, self._growth_interval = (
            growth_factor, backoff_factor, growth_interval,
        )  # fmt: skip
        self._growth_tracker = 0
        self._found_inf: dict[int, bool] = {}
        self._stepped: set[int] = set()

    def scale(self, outputs: Any) -> Any:
        """损失（或一串损失）乘以当前的倍数。"""
        if not self._enabled:
            return outputs
        if isinstance(outputs, Tensor):
            return outputs * tensor(self._scale, dtype=dtypes.float32)
        if isinstance(outputs, Iterable):
            return type(outputs)([self.scale(each) for each in outputs])  # type: ignore[call-arg]
        raise ValueError("outputs must be a Tensor or an iterable of Tensors")

    def unscale_(self, optimizer: Any) -> None:
        """把这个优化器的梯度除以倍数，并记下有没有 inf 或 NaN；要裁剪梯度就在裁剪之前调用。

        Raises:
            RuntimeError: 自上次 ``update`` 以来已经对它调用过，或已经 ``step`` 过。
        """
        if not self._enabled:
            return
        if id(optimizer) in self._stepped:
            raise RuntimeError("unscale_() is being called after step().")
        if id(optimizer) in self._found_inf:
            raise RuntimeError("unscale_() has already been called on this optimizer since the last update().")
        found = False
        for group in optimizer.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                if p.grad.dtype is dtypes.float16:
                    raise ValueError("Attempting to unscale FP16 gradients.")
                with no_grad():
                    p.grad.mul_(1 / self._scale)
                found = found or not np.isfinite(p.grad.array).all()
        self._found_inf[id(optimizer)] = found

    def step(self, optimizer: Any, *args: Any, **kwargs: Any) -> Any:
        """梯度全是有限数就调用 ``optimizer.step``，否则跳过。

        Returns:
            ``optimizer.step`` 的返回值；跳过时为 ``None``。

        Raises:
            RuntimeError: 自上次 ``update`` 以来已经 ``step`` 过，或给了 closure。
        """
        if not self._enabled:
            return optimizer.step(*args, **kwargs)
        if "closure" in kwargs:
            raise RuntimeError("Closure use is not currently supported if GradScaler is enabled.")
        if id(optimizer) in self._stepped:
            raise RuntimeError("step() has already been called since the last update().")
        if id(optimizer) not in self._found_inf:
            self.unscale_(optimizer)
        self._stepped.add(id(optimizer))
        return None if self._found_inf[id(optimizer)] else optimizer.step(*args, **kwargs)

    def update(self, new_scale: float | Tensor | None = None) -> None:
        """每步末尾调用一次：按有没有溢出调整倍数。

        Args:
            new_scale: 给了就直接用它。

        Raises:
            AssertionError: 自上次以来没有检查过任何优化器的梯度。
        """
        if not self._enabled:
            return
        if new_scale is not None:
            self._scale = float(new_scale)
        else:
            if not self._found_inf:
                raise AssertionError("No inf checks were recorded prior to update.")
            self._adjust(any(self._found_inf.values()))
        self._found_inf, self._stepped = {}, set()

    def _adjust(self, overflowed: bool) -> None:
        if overflowed:
            self._scale, self._growth_tracker = self._scale * self._backoff_factor, 0
            return
        self._growth_tracker += 1
        if self._growth_tracker == self._growth_interval:
            self._scale, self._growth_tracker = self._scale * self._growth_factor, 0

    def get_scale(self) -> float:
        """当前的倍数；关闭时为 1。"""
        return self._scale if self._enabled else 1.0

    def get_growth_factor(self) -> float:
        """增大的倍率。"""
        return self._growth_factor

    def set_growth_factor(self, new_factor: float) -> None:
        """设定增大的倍率。"""
        self._growth_factor = new_factor

    def get_backoff_factor(self) -> float:
        """减小的倍率。"""
        return self._backoff_factor

    def set_backoff_factor(self, new_factor: float) -> None:
        """设定减小的倍率。"""
        self._backoff_factor = new_factor

    def get_growth_interval(self) -> int:
        """连续多少步没有溢出才增大。"""
        return self._growth_interval

    def set_growth_interval(self, new_interval: int) -> None:
        """设定连续多少步没有溢出才增大。"""
        self._growth_interval = new_interval

    def is_enabled(self) -> bool:
        """是否打开。"""
        return self._enabled

    def state_dict(self) -> dict[str, Any]:
        """可存盘的状态；关闭时为空。"""
        if not self._enabled:
            return {}
        return {
            "scale": self.get_scale(),
            "growth_factor": self._growth_factor,
            "backoff_factor": self._backoff_factor,
            "growth_interval": self._growth_interval,
            "_growth_tracker": self._growth_tracker,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """恢复状态。

        Raises:
            RuntimeError: 状态是空的（来自一个关闭的实例）。
        """
        if not self._enabled:
            return
        if not state_dict:
            raise RuntimeError(
                "The source state dict is empty, possibly because it was saved from a disabled instance of GradScaler."
            )
        self._scale, self._growth_tracker = state_dict["scale"], state_dict["_growth_tracker"]
        self._growth_factor, self._backoff_factor = state_dict["growth_factor"], state_dict["backoff_factor"]
        self._growth_interval = state_dict["growth_interval"]
