"""``torch.jit`` 的装饰器：Python 函数照常执行，所以都原样交还。存盘、追踪要真有图才行，没有提供。"""

from __future__ import annotations

from typing import Any

from tinygrad_llm.absent import attributes


def script(obj: Any) -> Any:
    """原样交还函数或模型；torch 会编译成 TorchScript，结果相同。"""
    return obj


def ignore(fn: Any = None, *, drop: bool = False) -> Any:
    """原样交还；不给 ``fn`` 时是一个装饰器。"""
    return (lambda function: function) if fn is None else fn


def unused(fn: Any) -> Any:
    """原样交还；torch 里它让 TorchScript 跳过这个函数。"""
    return fn


def export(fn: Any) -> Any:
    """原样交还；torch 里它让 TorchScript 一并编译这个方法。"""
    return fn


def is_scripting() -> bool:
    """从不在 TorchScript 之中。"""
    return False


def is_tracing() -> bool:
    """从不在追踪之中。"""
    return False


__getattr__ = attributes(__name__)
