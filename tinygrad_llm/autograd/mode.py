"""记图的开关与追踪的挂钩。

开关一律经函数读取（每个线程一份），绝不以「导入时的值」流传出去。下一站：``graph.py``。
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ContextDecorator, contextmanager
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from tinygrad_llm.ops.bfloat16 import extras

if TYPE_CHECKING:
    from tinygrad_llm.autograd.graph import Node
    from tinygrad_llm.ops.op import Op

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


class Switch(threading.local):
    """每个线程一份的开关。

    Attributes:
        grad_enabled: 是否记图。
        tracer: 旁观者；不追踪时为 ``None``。
        autocast: 最里层的 ``amp.autocast``；没有则为 ``None``。
        anomaly: 是否在做异常检测。
        check_nan: 异常检测时是否查 NaN。
    """

    grad_enabled = True
    tracer: Tracer | None = None
    autocast: Any = None
    anomaly = False
    check_nan = True


switch = Switch()


class Tracer(Protocol):
    """旁观者：``trace.py`` 实现它；不追踪时引擎只多一次 ``None`` 判断。"""

    def forward(self, op: Op, args: Sequence[Any], attrs: dict[str, Any], output: Any) -> None:
        """一次算子调用完成后。"""

    def backward(self, node: Node, g: Any, grads: Sequence[Any]) -> None:
        """一个节点的反向完成后；``grads`` 已对广播轴求过和。"""


@contextmanager
def tracing(tracer: Tracer) -> Iterator[None]:
    """在 ``with`` 之内把每一步前向与反向报给 ``tracer``。"""
    previous, switch.tracer = switch.tracer, tracer
    extras.users += 1
    try:
        yield
    finally:
        switch.tracer = previous
        extras.users -= 1


def is_grad_enabled() -> bool:
    """此刻是否在记图。"""
    return switch.grad_enabled


class set_grad_enabled(ContextDecorator):  # noqa: N801  与 torch 同名
    """打开或关闭记图：直接调用立即生效，也可作上下文管理器或装饰器。

    Args:
        mode: 是否记图。
    """

    def __init__(self, mode: bool) -> None:
        self.enabled, self.previous = mode, switch.grad_enabled
        switch.grad_enabled = mode

    def __call__(self, func: Decorated) -> Decorated:
        """作装饰器时，撤销构造时的立即生效。"""
        switch.grad_enabled = self.previous
        return super().__call__(func)

    def _recreate_cm(self) -> set_grad_enabled:
        return type(self)(self.enabled)

    def __enter__(self) -> None:
        switch.grad_enabled = self.enabled

    def __exit__(self, *_: object) -> None:
        switch.grad_enabled = self.previous


class _Scope(ContextDecorator):
    """``no_grad`` 与 ``enable_grad`` 的共同部分：可嵌套，也可作装饰器（带不带括号都行）。"""

    enabled = False

    def __new__(cls, func: Callable[..., Any] | None = None) -> Any:
        self = super().__new__(cls)
        self._stack = []
        return self if func is None else self(func)

    _stack: list[bool]

    def _recreate_cm(self) -> Any:
        return type(self)()

    def __enter__(self) -> None:
        self._stack.append(switch.grad_enabled)
        switch.grad_enabled = self.enabled

    def __exit__(self, *_: object) -> None:
        switch.grad_enabled = self._stack.pop()


class no_grad(_Scope):  # noqa: N801  与 torch 同名
    """``with no_grad():`` 之内不记图。"""


class enable_grad(_Scope):  # noqa: N801  与 torch 同名
    """``with enable_grad():`` 之内记图，常用在 ``no_grad`` 里面。"""

    enabled = True


inference_mode = no_grad
