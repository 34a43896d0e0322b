"""``torch.compile`` 与 ``torch.compiler``：没有编译器，函数就是它自己。

``compile`` 原样交还模型，于是加不加它结果都一样；参数只核对写法。torch 编译后的模型在 ``state_dict`` 里多一层
``_orig_mod.`` 前缀，这里没有。
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tinygrad_llm.absent import attributes

_MODES = ("default", "lite", "reduce-overhead", "max-autotune-no-cudagraphs", "max-autotune")


def compile(
    model: Any = None,
    *,
    fullgraph: bool = False,
    dynamic: bool | None = None,
    backend: str | Callable[..., Any] | None = None,
    mode: str | None = None,
    options: dict[str, Any] | None = None,
    disable: bool = False,
) -> Any:
    """原样交还 ``model``；不给 ``model`` 时是一个装饰器。

    Args:
        model: 模型或函数。
        fullgraph: 编译器的设置，下同；没有编译器，取什么值都一样。
        dynamic: 同上。
        backend: 同上。
        mode: 同上，但名字须是 torch 认得的。
        options: 同上，不能与 ``mode`` 同时给。
        disable: 同上。

    Raises:
        RuntimeError: ``mode`` 不是 torch 的，或与 ``options`` 同时给了。
        TypeError: ``model`` 不可调用。
    """
    if mode is not None and options is not None:
        raise RuntimeError("Either mode or options can be specified, but both can't be specified at the same time.")
    if mode is not None and mode not in _MODES:
        raise RuntimeError(f"Unrecognized mode={mode}, should be one of: {', '.join(_MODES)}")
    if model is None:
        return lambda function: function
    if not callable(model):
        raise TypeError(f"compile: expected a module or a function, got {type(model).__name__}")
    return model


def disable(fn: Any = None, recursive: bool = True, *, reason: str | None = None) -> Any:
    """本来就不编译，原样交还；不给 ``fn`` 时是一个装饰器。"""
    return (lambda function: function) if fn is None else fn


def allow_in_graph(fn: Any) -> Any:
    """本来就没有图，原样交还。"""
    return fn


def assume_constant_result(fn: Any) -> Any:
    """本来就不追踪，原样交还。"""
    return fn


def is_compiling() -> bool:
    """从不在编译之中。"""
    return False


def is_dynamo_compiling() -> bool:
    """从不在编译之中。"""
    return False


def is_exporting() -> bool:
    """从不在导出之中。"""
    return False


def reset() -> None:
    """没有编译的缓存可清。"""


def cudagraph_mark_step_begin() -> None:
    """没有 CUDA graph，无事可做。"""


__getattr__ = attributes(__name__)
