"""记图的开关，旁观者与记录者的挂钩。

开关一律经函数读取（每个线程一份），绝不以「导入时的值」流传出去。下一站：``graph.py``。
"""

from __future__ import annotations

import functools
import inspect
import threading
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from tinygrad_llm.ops.bfloat16 import extras

if TYPE_CHECKING:
    from tinygrad_llm.autograd.graph import Node
    from tinygrad_llm.autograd.traversal import Traversal
    from tinygrad_llm.ops.op import Op

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


class Switch(threading.local):
    """每个线程一份的开关。

    Attributes:
        grad_enabled: 是否记图。
        tracer: 旁观者；没有则为 ``None``。
        recorder: 正在做的记录（``tracing/recorder.py``）；没有则为 ``None``。
        autocast: 最里层的 ``amp.autocast``；没有则为 ``None``。
        anomaly: 是否在做异常检测。
        check_nan: 异常检测时是否查 NaN。
        first_order: 只求一阶导，见 ``first_order``。
        composed: 融合算子拆成普通算子，见 ``composed_ops``。
        frees_graph: 正在进行的这趟反传走过哪里就释放哪里。
        writes_grad: 正在进行的这趟反传可以把叶子的梯度直接放进 ``grad_buffer``。
    """

    grad_enabled = True
    tracer: Tracer | None = None
    recorder: Recorder | None = None
    autocast: Any = None
    anomaly = False
    check_nan = True
    first_order = False
    composed = False
    frees_graph = False
    writes_grad = False


switch = Switch()


class Inference(threading.local):
    """每个线程一份的推理模式（见 ``inference.py``）。

    Attributes:
        is_on: 是否在推理模式之内；之内谁也不能打开记图。
    """

    is_on = False


inference = Inference()


class Tracer(Protocol):
    """旁观者：每次算子调用完成后看一眼，例如换掉留下的数组；没有时引擎只多一次 ``None`` 判断。"""

    def forward(self, op: Op, args: Sequence[Any], attrs: dict[str, Any], output: Any) -> None:
        """一次算子调用完成后。"""


class Recorder(Protocol):
    """记录者：前向、反传的每一步连同每条边上的数都报给它；没有时引擎只多一次 ``None`` 判断。"""

    def before(self) -> None:
        """一次算子调用就要开始。"""

    def forward(self, op: Op, args: Sequence[Any], attrs: dict[str, Any], output: Any) -> None:
        """一次算子调用完成后；节点留下的值还没有被谁换过。"""

    def function(self, cls: Any, args: Sequence[Any], outputs: Sequence[Any]) -> None:
        """一次自定义算子的调用完成后；它的 ``forward`` 里的算子不另报。"""

    def written(self, tensor: Any, result: Any) -> None:
        """``result`` 刚被就地写进 ``tensor``。"""

    def begin(self, work: Traversal, outputs: Sequence[Any]) -> None:
        """一趟反传就要开始；起点的梯度已经放好。"""

    def step(self, work: Traversal, node: Node, g: Any, found: Sequence[tuple[int, Any]]) -> None:
        """一个节点的 VJP 已经算好；由它调用 ``work.deliver`` 把各份梯度交给输入，其间记下每次相加的前后。"""

    def end(self, work: Traversal) -> None:
        """一趟反传走完（或半途而废），叶子的梯度还没有放进 ``.grad``。"""

    def accumulated(self, work: Traversal) -> None:
        """这趟反传的梯度都已累加到 ``.grad``。"""


@contextmanager
def recording(recorder: Recorder) -> Iterator[None]:
    """在 ``with`` 之内把本线程的每一步前向与反向报给 ``recorder``。"""
    previous, switch.recorder = switch.recorder, recorder
    extras.users += 1
    try:
        yield
    finally:
        switch.recorder = previous
        extras.users -= 1


@contextmanager
def first_order() -> Iterator[None]:
    """``with`` 之内建的图只求一阶导，训练省两成内存：融合算子不为二阶导留下输入，归一化的输出反传时重算。

    在这样的图上用 ``create_graph=True`` 会报错，不会给出错的数。
    """
    previous, switch.first_order = switch.first_order, True
    try:
        yield
    finally:
        switch.first_order = previous


@contextmanager
def composed_ops() -> Iterator[None]:
    """``with`` 之内，融合算子一律拆成它们的对照：由普通算子写成的同一个函数。

    追踪时每一步都看得见；测试用它把整套快路关掉，对照自己也要经得起同样的检查。
    """
    previous, switch.composed = switch.composed, True
    extras.users += 1
    try:
        yield
    finally:
        switch.composed = previous
        extras.users -= 1


def is_grad_enabled() -> bool:
    """此刻是否在记图。"""
    return switch.grad_enabled


class Decorating:
    """既是上下文管理器又是装饰器的开关：可装饰函数、生成器函数与类；每次调用用一个新的开关。"""

    def clone(self) -> Any:
        """同样的另一个。"""
        return type(self)()

    def __enter__(self) -> None:
        raise NotImplementedError

    def __exit__(self, *_: object) -> None:
        raise NotImplementedError

    def __call__(self, func: Decorated) -> Decorated:
        """装饰一个函数。"""
        if inspect.isgeneratorfunction(func):
            return _decorated_generator(self.clone, func)  # type: ignore[return-value]
        if inspect.isclass(func):
            warnings.warn(
                "Decorating classes is deprecated and will be disabled in future versions. "
                "You should only decorate functions or methods.",
                FutureWarning,
                stacklevel=2,
            )

        @functools.wraps(func)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            with self.clone():
                return func(*args, **kwargs)

        return wrapper  # type: ignore[return-value]


def _decorated_generator(clone: Callable[[], Any], func: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(func)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return (yield from _Resumed(clone, func(*args, **kwargs)))

    return wrapper


class _Resumed(Generator[Any, Any, Any]):
    """一个生成器：每一次续跑都在开关之内，交出值的间歇在开关之外。"""

    def __init__(self, clone: Callable[[], Any], inner: Any) -> None:
        self.clone, self.inner = clone, inner

    def send(self, value: Any) -> Any:
        with self.clone():
            return self.inner.send(value)

    def throw(self, *error: Any) -> Any:
        with self.clone():
            return self.inner.throw(*error)


class set_grad_enabled(Decorating):  # noqa: N801  与 torch 同名
    """打开或关闭记图：直接调用立即生效，也可作上下文管理器或装饰器。

    Args:
        mode: 是否记图。

    Raises:
        TypeError: 不是真假值。
    """

    def __init__(self, mode: bool) -> None:
        if not isinstance(mode, bool):
            raise TypeError(f"set_grad_enabled(): argument 'enabled' must be bool, not {type(mode).__name__}")
        self.mode, self.previous = mode, switch.grad_enabled
        self.__enter__()

    def __call__(self, func: Decorated) -> Decorated:
        """作装饰器时，撤销构造时的立即生效。"""
        switch.grad_enabled = self.previous
        return super().__call__(func)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(mode={self.mode})"

    def clone(self) -> set_grad_enabled:
        """同样的另一个。"""
        return type(self)(self.mode)

    def __enter__(self) -> None:
        switch.grad_enabled = self.mode and not inference.is_on

    def __exit__(self, *_: object) -> None:
        switch.grad_enabled = self.previous


class _Scope(Decorating):
    """``no_grad`` 与 ``enable_grad`` 的共同部分：可嵌套，也可作装饰器（带不带括号都行）。"""

    enabled = False

    def __new__(cls, func: Callable[..., Any] | None = None) -> Any:
        self = super().__new__(cls)
        self._stack = []
        return self if func is None else self(func)

    _stack: list[bool]

    def __enter__(self) -> None:
        self._stack.append(switch.grad_enabled)
        switch.grad_enabled = self.enabled and not inference.is_on

    def __exit__(self, *_: object) -> None:
        switch.grad_enabled = self._stack.pop()


class no_grad(_Scope):  # noqa: N801  与 torch 同名
    """``with no_grad():`` 之内不记图。"""


class enable_grad(_Scope):  # noqa: N801  与 torch 同名
    """``with enable_grad():`` 之内记图，常用在 ``no_grad`` 里面。"""

    enabled = True
