"""``autocast``：在 ``with`` 之内自动选精度；以及自定义算子怎样跟着它走。

流入：前向代码；流出：同样的代码，但矩阵乘法一类的输入先舍入到 bfloat16 或 float16，结果也舍入一次。
哪些算子换精度见 ``autograd/precision.py``。
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_llm import dtypes
from tinygrad_llm.autograd.mode import switch
from tinygrad_llm.autograd.precision import Autocast
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


# ---- torch 顶层的老名字


def get_autocast_gpu_dtype() -> dtypes.dtype:
    """GPU 上的 autocast 用的类型，``float16``。"""
    return get_autocast_dtype("cuda")


def get_autocast_cpu_dtype() -> dtypes.dtype:
    """CPU 上的 autocast 用的类型。"""
    return get_autocast_dtype("cpu")


def is_autocast_cpu_enabled() -> bool:
    """CPU 上的 autocast 是否打开。"""
    return is_autocast_enabled("cpu")


def is_autocast_cache_enabled() -> bool:
    """autocast 换过型的权重是否留着再用。"""
    return switch.autocast is None or switch.autocast.cached is not None


def clear_autocast_cache() -> None:
    """丢掉换过型的权重。"""
    if switch.autocast is not None and switch.autocast.cached is not None:
        switch.autocast.cached.clear()
