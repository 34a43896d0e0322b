"""``torch.jit`` 的装饰器：Python 函数照常执行，所以都原样交还。存盘、追踪要真有图才行，没有提供。"""

from __future__ import annotations

from typing import Any, Final  # noqa: F401  torch.jit.Final 就是 typing.Final

from tinygrad_llm.absent import attributes
from tinygrad_llm.nn.module import Module


class ScriptModule(Module):
    """编译好的模型：可以继承它来写模型；:func:`script` 交还的还是原来的模型，不是它。"""


class ScriptFunction:
    """编译好的函数，供 ``isinstance`` 辨认；:func:`script` 交还的还是原来的函数。"""


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


def script_method(fn: Any) -> Any:
    """原样交还；torch 里它编译 :class:`ScriptModule` 的一个方法。"""
    return fn


def script_if_tracing(fn: Any) -> Any:
    """原样交还；torch 里在追踪之中才编译。"""
    return fn


def annotate(the_type: Any, the_value: Any) -> Any:
    """原样交还值；类型只对 TorchScript 有用。"""
    return the_value


def is_scripting() -> bool:
    """从不在 TorchScript 之中。"""
    return False


def is_tracing() -> bool:
    """从不在追踪之中。"""
    return False


def _get_tracing_state() -> None:
    """``torch._C`` 里的同一问：从不在追踪之中。"""


def _log_api_usage_once(event: str) -> None:
    """别的包登记自己被用过；torch 的发行版也不统计。"""


__getattr__ = attributes(__name__)
