"""Module：参数、缓冲区与子模块组成的树。

流入：``__setattr__`` 赋上来的参数与子模块；流出：``state_dict``、``parameters``、``train``。登记、遍历、钩子、存取各在
``module_*.py``；下一站：``layers.py``。没有 ``share_memory``：这里没有进程之间共享的内存。
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from tinygrad_llm import dtypes
from tinygrad_llm.autograd import no_grad
from tinygrad_llm.cpu import is_on_meta
from tinygrad_llm.creation import empty_like
from tinygrad_llm.nn.module_hooks import Hooks
from tinygrad_llm.nn.module_registry import Registry
from tinygrad_llm.nn.module_state import State
from tinygrad_llm.nn.module_tree import Tree
from tinygrad_llm.nn.parameter import Buffer, Parameter
from tinygrad_llm.tensor import Tensor

__all__ = ["Buffer", "Module", "Parameter"]

_ORDERED = (
    "_backward_pre_hooks", "_backward_hooks", "_forward_hooks", "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called", "_forward_pre_hooks", "_forward_pre_hooks_with_kwargs", "_state_dict_hooks",
    "_state_dict_pre_hooks", "_load_state_dict_pre_hooks", "_load_state_dict_pre_hooks_with_module",
    "_load_state_dict_post_hooks",
)  # fmt: skip


class Module(Registry, Tree, Hooks, State):
    """神经网络模块的基类：子类写 ``__init__``（先调 ``super().__init__()``）与 ``forward``。

    Attributes:
        training: 是否处于训练状态（影响 Dropout 等）。
        call_super_init: 与别的类一同被继承时，是否把参数继续传给下一个 ``__init__``。

    Raises:
        TypeError: 多给了参数。
    """

    call_super_init: bool = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if (args or kwargs) and not self.call_super_init:
            extra = f"an unexpected keyword argument {next(iter(kwargs))!r}" if kwargs else f"{len(args)} too many"
            raise TypeError(f"{type(self).__name__}.__init__() takes 1 positional argument, got {extra}")
        self.__dict__.update(
            training=True, _parameters={}, _buffers={}, _non_persistent_buffers_set=set(), _modules={},
            **{name: OrderedDict() for name in _ORDERED},
        )  # fmt: skip
        if self.call_super_init:
            super().__init__(*args, **kwargs)

    def forward(self, *input: Any) -> Any:
        """前向；由子类实现。

        Raises:
            NotImplementedError: 子类没有实现。
        """
        raise NotImplementedError(f'Module [{type(self).__name__}] is missing the required "forward" function')

    # ---- 换 dtype

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        """把每个参数、梯度与缓冲区换成 ``fn`` 的结果；参数与梯度对象不变，优化器手里的引用仍然有效。"""
        for child in self.children() if recurse else ():
            child._apply(fn)
        with no_grad():
            for parameter in self._parameters.values():
                for tensor in () if parameter is None else (parameter, parameter.grad):
                    if tensor is not None:
                        tensor.data = fn(tensor)
            for name, buffer in self._buffers.items():
                if buffer is not None:
                    self._buffers[name] = fn(buffer)
        return self

    def _cast(self, dtype: dtypes.dtype | None) -> Any:
        return self._apply(lambda t: t.to(dtype) if t.is_floating_point() else t)

    def to(self, *args: Any, **kwargs: Any) -> Any:
        """换浮点与复数的参数、缓冲区的 dtype；有 ``to(device)``、``to(dtype)``、``to(device, dtype)``、``to(tensor)``。

        Raises:
            RuntimeError: 设备不是 CPU。
            TypeError: dtype 不是浮点或复数类型。
        """
        wanted = [kwargs.get("tensor"), kwargs.get("device"), kwargs.get("dtype"), *args]
        dtype: dtypes.dtype | None = None
        where = None
        for one in wanted:
            if isinstance(one, (Tensor, dtypes.dtype)):
                dtype = one.dtype if isinstance(one, Tensor) else one
            elif one is not None and not isinstance(one, bool):  # 布尔值是 non_blocking
                is_on_meta(one)
                where = one
        if dtype is not None and not (dtype.is_floating_point or dtype.is_complex):
            raise TypeError(f"nn.Module.to only accepts floating point or complex dtypes, got desired dtype={dtype}")
        return self._apply(lambda t: t.to(where, dtype if t.array.dtype.kind in "fc" else None))

    def type(self, dst_type: dtypes.dtype) -> Any:
        """全部参数与缓冲区（整数的也算）换成一种 dtype。"""
        return self._apply(lambda t: t.to(dst_type))

    def to_empty(self, *, device: Any, recurse: bool = True) -> Any:
        """参数与缓冲区换成同样大小、没有初始化的内存。"""
        return self._apply(lambda t: empty_like(t, device=device), recurse)

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """编译自己；没有编译器，只核对参数，见 ``tinygrad_llm.compile``。"""
        import tinygrad_llm

        tinygrad_llm.compile(self, *args, **kwargs)

    def half(self) -> Any:
        """浮点的换成 float16。"""
        return self._cast(dtypes.float16)

    def bfloat16(self) -> Any:
        """浮点的换成 bfloat16。"""
        return self._cast(dtypes.bfloat16)

    def float(self) -> Any:
        """浮点的换成 float32。"""
        return self._cast(dtypes.float32)

    def double(self) -> Any:
        """浮点的换成 float64。"""
        return self._cast(dtypes.float64)

    def cpu(self) -> Any:
        """已经在 CPU 上，返回自己。"""
        return self

    def cuda(self, device: int | str | None = None) -> Any:
        """本引擎没有 GPU。

        Raises:
            RuntimeError: 总是；消息里写明该用 ``torch_llm``。
        """
        return self.to("cuda" if device is None else f"cuda:{device}")
