"""换一种方式存放反向要用的值：``torch.autograd.graph.saved_tensors_hooks``。

流入：一对函数 ``pack``、``unpack``；流出：``with`` 之内记下的节点不再留数组，只留 ``pack`` 的返回值。

平时引擎不知道有这回事：它装成旁观者（``mode.Tracer``），等节点记好了再把里面的数组换掉。
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from tinygrad_llm.autograd import graph
from tinygrad_llm.autograd.graph import Node
from tinygrad_llm.autograd.mode import switch
from tinygrad_llm.autograd.writes import record
from tinygrad_llm.ops.bfloat16 import extras


class Packed:
    """一个换掉了的数组。

    Args:
        pack: 把数组（套着 Tensor）换成任意的东西。
        unpack: 把那个东西换回 Tensor。
        array: 要存的数组。
    """

    __slots__ = ("_unpack", "_value")

    def __init__(self, pack: Callable[[Any], Any], unpack: Callable[[Any], Any], array: Any) -> None:
        self._unpack = unpack
        self._value = pack(graph.tensor_type.wrap(array))

    def unpacked(self) -> Any:
        """换回来的数组。

        Raises:
            TypeError: ``unpack`` 给的不是 Tensor。
        """
        found = self._unpack(self._value)
        if not isinstance(found, graph.tensor_type):
            raise TypeError(
                f"Output of saved tensor unpack_hook expected to be a Tensor but got {type(found).__name__}"
            )
        return found.array


class _PackedNode(Node):
    """留下的值里有 ``Packed`` 的节点；由普通节点改换类型得来。"""

    __slots__ = ()

    def checked_saved(self) -> Sequence[Any]:
        """逐个换回数组；改写过没有是 ``pack`` 自己的事，不再核对，与 torch 一致。"""
        if self.saved is None:
            return super().checked_saved()
        return [value.unpacked() if type(value) is Packed else value for value in self.saved]


class saved_tensors_hooks:  # noqa: N801  与 torch 同名
    """``with`` 之内，反向要用的值先经 ``pack_hook`` 存放，用时再经 ``unpack_hook`` 取回；嵌套时只有最里面的一对有效。

    Args:
        pack_hook: ``pack_hook(tensor)``，返回任意的东西。
        unpack_hook: 以它为参数，返回内容相同的 Tensor。
    """

    def __init__(self, pack_hook: Callable[[Any], Any], unpack_hook: Callable[[Any], Any]) -> None:
        self.pack_hook, self.unpack_hook = pack_hook, unpack_hook
        self._outer: list[Any] = []

    def __enter__(self) -> None:
        self._outer.append(switch.tracer)
        switch.tracer = self
        extras.users += 1

    def __exit__(self, *_: object) -> None:
        switch.tracer = self._outer.pop()
        extras.users -= 1

    def pack(self, array: Any) -> Packed:
        """存放一个数组。"""
        return Packed(self.pack_hook, self.unpack_hook, array)

    def _watcher(self) -> Any:
        """外面别的旁观者，没有则为 ``None``。"""
        outer = self._outer[-1]
        return outer._watcher() if isinstance(outer, saved_tensors_hooks) else outer

    def forward(self, op: Any, args: Sequence[Any], attrs: dict[str, Any], output: Any) -> None:
        """一次算子调用完成：把它的节点留下的数组换掉。"""
        node = output.node
        if node is not None and node.saved:
            values = node.saved[: len(node.plan.sources)]  # 只留一样时它出现两次，见 ``op._picker``
            node.saved = [self.pack(v) if type(v) is np.ndarray else v for v in values]
            node.time = -1  # 引擎因此总来问 ``checked_saved``
            node.__class__ = _PackedNode
        watcher = self._watcher()
        if watcher is not None:
            watcher.forward(op, args, attrs, output)


class save_on_cpu(saved_tensors_hooks):  # noqa: N801  与 torch 同名
    """把反向要用的值放到 CPU 内存；它们本来就在那里，所以原样存放，与 torch 在 CPU 上一样。

    Args:
        pin_memory: 是否锁页；没有 GPU 就没有锁页内存，取值不影响结果。
        device_type: 反向时搬回哪种设备；这里只有 CPU。
    """

    def __init__(self, pin_memory: bool = False, device_type: str = "cuda") -> None:
        super().__init__(lambda tensor: tensor, lambda tensor: tensor)


def packed(array: Any) -> Any:
    """按此刻生效的方式存放；没有就是数组自己。"""
    hooks = switch.tracer
    return hooks.pack(array) if isinstance(hooks, saved_tensors_hooks) else array


def unpacked(stored: Any) -> Any:
    """取回 ``packed`` 存放的数组。"""
    return stored.unpacked() if type(stored) is Packed else stored


def increment_version(tensor: Any) -> None:
    """记下：这些 Tensor 的内存刚被写过（用于绕过引擎、直接写数组之后）。"""
    tensors: Iterable[Any] = (tensor,) if isinstance(tensor, graph.tensor_type) else tensor
    for one in tensors:
        record(one.array)
