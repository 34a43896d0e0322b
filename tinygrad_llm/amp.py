"""混合精度：``autocast`` 让矩阵乘法在 16 位里算，``GradScaler`` 防止 16 位梯度下溢。

流入：前向代码与优化器；流出：同样的代码，但矩阵乘法一类的输入先舍入到 bfloat16 或 float16，结果也舍入一次。

本引擎在 CPU 上用 float32 模拟 16 位的舍入：数值与 torch 的 CPU autocast 相同，但不会更快。
哪些算子换精度见 ``autograd/precision.py``。
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from tinygrad_llm import dtypes
from tinygrad_llm.autograd.mode import no_grad, switch
from tinygrad_llm.autograd.precision import Autocast
from tinygrad_llm.creation import tensor
from tinygrad_llm.ops.bfloat16 import extras
from tinygrad_llm.tensor import Tensor

_LOW = (dtypes.bfloat16, dtypes.float16)


class autocast:  # noqa: N801  与 torch 同名
    """在 ``with`` 之内（或被装饰的函数里）自动选精度：矩阵乘法用 16 位，损失用 float32，其余随输入。

    Args:
        device_type: ``"cpu"``；给 ``"cuda"`` 则与没有 CUDA 的 torch 一样，警告并关闭。
        dtype: ``bfloat16``（缺省）或 ``float16``；在另一层里面，缺省与外层相同。
        enabled: 是否打开；为假可在外层里挖出一块全精度。
        cache_enabled: 同一个权重在一层之内只换型一次。

    Raises:
        RuntimeError: 未知的设备。
    """

    def __init__(
        self,
        device_type: str,
        dtype: dtypes.dtype | None = None,
        enabled: bool = True,
        cache_enabled: bool | None = None,
    ) -> None:
        if device_type not in ("cpu", "cuda", "mps", "xpu"):
            raise RuntimeError(f"User specified an unsupported autocast device_type {device_type!r}")
        self.device, self.fast_dtype = device_type, dtype or get_autocast_dtype(device_type)
        if device_type != "cpu" and enabled:
            warnings.warn(
                f"User provided device_type of {device_type!r}, but it is not available here. Disabling", stacklevel=2
            )
            enabled = False
        if enabled and self.fast_dtype not in _LOW:
            warnings.warn(
                f"In CPU autocast, but the target dtype {self.fast_dtype} is not supported. Disabling autocast. "
                "CPU autocast only supports bfloat16 and float16.",
                stacklevel=2,
            )
            enabled = False
        self._enabled, self._cache = enabled, cache_enabled is not False
        self._outer: list[Autocast | None] = []

    def __enter__(self) -> autocast:
        outer: Autocast | None = switch.autocast
        self._outer.append(outer)
        if self._enabled:
            cached = ({} if outer is None or outer.cached is None else outer.cached) if self._cache else None
            switch.autocast = Autocast(self.fast_dtype.numpy, cached)
        else:
            switch.autocast = None
        extras.users += 1
        return self

    def __exit__(self, *_: object) -> None:
        switch.autocast = self._outer.pop()
        extras.users -= 1

    def __call__(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """作装饰器。"""

        @functools.wraps(func)
        def decorated(*args: Any, **kwargs: Any) -> Any:
            with self:
                return func(*args, **kwargs)

        return decorated


def is_autocast_available(device_type: str) -> bool:
    """这种设备有没有 autocast。"""
    return device_type == "cpu"


def is_autocast_enabled(device_type: str = "cpu") -> bool:
    """此刻 autocast 是否打开。"""
    return device_type == "cpu" and switch.autocast is not None


def get_autocast_dtype(device_type: str = "cpu") -> dtypes.dtype:
    """autocast 用的 16 位浮点；没打开时是缺省的 bfloat16。"""
    if switch.autocast is None or device_type != "cpu":
        return dtypes.bfloat16 if device_type == "cpu" else dtypes.float16
    return dtypes.of(np.empty(0, switch.autocast.dtype))


def custom_fwd(
    fwd: Callable[..., Any] | None = None, *, device_type: str, cast_inputs: dtypes.dtype | None = None
) -> Any:
    """装饰 ``autograd.Function`` 的 ``forward``：记下当时的 autocast，供 ``custom_bwd`` 恢复。

    Args:
        fwd: 静态方法 ``forward``；不给时是一个装饰器。
        device_type: 看哪种设备的 autocast。
        cast_inputs: 给了则先把输入里的浮点 Tensor 换成它，再在 autocast 之外计算；只在 autocast 打开时起作用。

    Raises:
        ValueError: ``device_type`` 不是字符串。
    """
    _require_name(device_type)
    if fwd is None:
        return functools.partial(custom_fwd, device_type=device_type, cast_inputs=cast_inputs)

    @functools.wraps(fwd)
    def decorated(ctx: Any, *args: Any, **kwargs: Any) -> Any:
        ctx._dtype = get_autocast_dtype(device_type)
        is_on = is_autocast_enabled(device_type)
        ctx._fwd_used_autocast = is_on and cast_inputs is None
        if cast_inputs is None or not is_on:
            return fwd(ctx, *args, **kwargs)
        with autocast(device_type, enabled=False):
            return fwd(ctx, *_cast(args, cast_inputs), **_cast(kwargs, cast_inputs))

    return decorated


def custom_bwd(bwd: Callable[..., Any] | None = None, *, device_type: str) -> Any:
    """装饰 ``autograd.Function`` 的 ``backward``：autocast 与前向时相同。

    Raises:
        ValueError: ``device_type`` 不是字符串。
    """
    _require_name(device_type)
    if bwd is None:
        return functools.partial(custom_bwd, device_type=device_type)

    @functools.wraps(bwd)
    def decorated(ctx: Any, *args: Any, **kwargs: Any) -> Any:
        with autocast(device_type, ctx._dtype, ctx._fwd_used_autocast):
            return bwd(ctx, *args, **kwargs)

    return decorated


def _require_name(device_type: Any) -> None:
    if not isinstance(device_type, str):
        raise ValueError(f"Expected `device_type` of type `str`, got: `{type(device_type)}`")


def _cast(value: Any, dtype: dtypes.dtype) -> Any:
    """容器里的浮点 Tensor（float64 除外）换成 ``dtype``。"""
    if isinstance(value, Tensor):
        return value.to(dtype) if value.is_floating_point() and value.dtype is not dtypes.float64 else value
    if isinstance(value, dict):
        return {key: _cast(item, dtype) for key, item in value.items()}
    return type(value)([_cast(item, dtype) for item in value]) if isinstance(value, (list, tuple)) else value


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
