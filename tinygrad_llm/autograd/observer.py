"""全进程的计时者：前向与反传的每一步，开始之前与完成之后各报给它一次。

流入：``graph.apply``、``Function.apply`` 与一趟反传；流出：对计时者的调用。平时只在 ``extras.users`` 的分支里看它一眼。
``mode.recording`` 的记录者每个线程一份，记下图与数；这一个各线程共用，只看时间与内存。
实现它的是 ``profiler/recorder.py``。
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from tinygrad_llm.ops.bfloat16 import extras

if TYPE_CHECKING:
    from tinygrad_llm.autograd.graph import Node


class Observer(Protocol):
    """计时者。"""

    def before(self, what: Any) -> None:
        """一次算子调用（``Op`` 或 ``Function`` 的子类）或一个节点的反向就要开始。"""

    def forward(self, op: Any, args: Sequence[Any], outputs: Sequence[Any]) -> None:
        """一次算子调用完成后。"""

    def backward(self, node: Node, g: Any, grads: Sequence[Any]) -> None:
        """一个节点的反向完成后；``g`` 是它收到的梯度，``grads`` 是各输入至今收到的，没有的为 ``None``。"""


class Everyone:
    """各个线程共有的一个位子。

    Attributes:
        observer: 计时者；没有则为 ``None``。
    """

    __slots__ = ("observer",)

    def __init__(self) -> None:
        self.observer: Observer | None = None


everyone = Everyone()


def observe(observer: Observer) -> None:
    """此后每一步都报给 ``observer``，直到 ``stop_observing``。

    Raises:
        RuntimeError: 已经有一个了。
    """
    if everyone.observer is not None:
        raise RuntimeError("a profiler is already running: there can be one at a time")
    everyone.observer = observer
    extras.users += 1


def stop_observing() -> None:
    """不再报给谁。"""
    if everyone.observer is not None:
        everyone.observer = None
        extras.users -= 1


def before(what: Any) -> None:
    """一步就要开始：有计时者就告诉它。"""
    if everyone.observer is not None:
        everyone.observer.before(what)


def after(op: Any, args: Sequence[Any], outputs: Sequence[Any]) -> None:
    """一次算子调用完成：有计时者就告诉它。"""
    if everyone.observer is not None:
        everyone.observer.forward(op, args, outputs)


def observed(work: Any) -> Callable[[Node, Any], None]:
    """一趟反传（``traversal.Traversal``）走过一个节点的办法；有计时者时，前后各报一次。"""
    observer, visit = everyone.observer, work.visit
    if observer is None:
        return visit  # type: ignore[no-any-return]

    def timed(node: Node, g: Any) -> None:
        observer.before(node)
        visit(node, g)
        edges = [edge for edge in node.edges if edge is not None]
        observer.backward(node, g, [_received(work, edge) for edge in edges])

    return timed


def _received(work: Any, edge: Any) -> Any:
    """一条边在这趟反传里至今收到的梯度；记图的反传里是 Tensor。"""
    if edge.is_node:
        return work.pending.get(edge)
    slot = work.leaves.get(id(edge))
    return None if slot is None else slot[1]
