"""Tensor 的就地方法（名字以 ``_`` 结尾）与增量赋值。

流入：Tensor 与参数；流出：自己。不记图时直接写内存；记图时先算出结果，再搬进自己的内存并接上新节点。
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinygrad_llm import dtypes
from tinygrad_llm.autograd import graph
from tinygrad_llm.autograd.graph import apply
from tinygrad_llm.autograd.inference import INFERENCE, refuse_written, watch_next
from tinygrad_llm.autograd.mode import enable_grad, is_grad_enabled, switch
from tinygrad_llm.autograd.writes import count
from tinygrad_llm.methods.old_order import numbers_first
from tinygrad_llm.methods.operands import constant, no_derivative
from tinygrad_llm.ops import elementwise as ew
from tinygrad_llm.ops import shape as sh
from tinygrad_llm.ops.bfloat16 import extras
from tinygrad_llm.ops.meta import is_meta, refuse_copy
from tinygrad_llm.ops.op import Op

_OVERLAPS = (
    "unsupported operation: more than one element of the written-to tensor refers to a single memory location. "
    "Please clone() the tensor before performing the operation."
)
_ONLY_MINE = 2
"""只有视图自己拿着底下的张量时 ``sys.getrefcount`` 的读数：视图的属性，与这次调用的实参。"""


class InPlace:
    """就地写入的方法，以及「视图是否还作数」。"""

    array: Any
    touch: Any
    base: Any
    base_node: Any
    node: Any
    needs_grad: Any
    one_of_many: bool
    viewed_in_no_grad: bool
    retain_grad: Any
    retains_grad: Any
    view_path: tuple[tuple[Op, dict[str, Any]], ...]
    clone: Any
    masked_fill: Any
    add: Any
    sub: Any
    addcmul: Any
    addcdiv: Any

    def _put(self, result: Any, *operands: Any) -> Any:
        """把算好的结果写回自己。

        Raises:
            RuntimeError: 自己的类型装不下结果：布尔放不下整数，整数放不下浮点；或操作数与自己的内存交错。
        """
        self._refuse_overlap(operands)
        if dtypes.RANK[result.array.dtype.kind] > dtypes.RANK[self.array.dtype.kind]:
            have, wanted = dtypes.of(result.array), dtypes.of(self.array)
            raise RuntimeError(f"result type {have} can't be cast to the desired output type {wanted}")
        return self.write(result.to(dtypes.of(self.array)))

    def _refuse_overlap(self, operands: Sequence[Any]) -> None:
        """操作数与自己只有一部分内存相同：torch 边读边写，结果没有约定，所以拒绝。"""
        for x in operands:
            if not isinstance(x, graph.tensor_type) or (self.base is None and x.base is None):
                continue
            if sh.overlaps_partly(self.array, x.array):
                raise RuntimeError(sh.INTERLEAVED)

    def watch(self, source: Any, op: Op, attrs: dict[str, Any]) -> None:
        """记下自己是 ``source`` 经 ``op`` 得来的视图；此后知道怎样从最底下的张量再走一遍。

        路总从底下的张量**最初的样子**走起：它后来就地换了布局，旧视图的路仍走得通，先沿 ``way_back`` 退回去就是。
        """
        self.untracked = source.untracked
        if source.one_of_many:
            self.one_of_many = True
        if source.viewed_in_no_grad:
            source.settle()
        if not switch.grad_enabled or source.viewed_in_no_grad:
            self.viewed_in_no_grad = True
        self.base = source if source.base is None else source.base
        self.base_node = self.base.node
        self.view_path = (*source.view_path, (op, attrs))

    def settle(self) -> None:
        """``no_grad`` 里取的视图，底下的张量若没有别人拿着，自己就不算视图。

        由几个算子拼成的函数，结果常是自己中间量的视图，而 torch 的是新算出来的；两者从外面看便没有分别。
        """
        if self.base is None or (self.base.node is None and sys.getrefcount(self.base) == _ONLY_MINE):
            self.stand_alone()

    def stand_alone(self) -> None:
        """不再算谁的视图：底下的张量没有别人看得见。"""
        self.base, self.base_node, self.view_path, self.viewed_in_no_grad = None, None, (), False

    def refreshed(self) -> Any:
        """返回自己；底下的张量在图上被就地改写过时，先把自己重新接到改写之后的图上。"""
        if self.base is not None and self.base.node is not self.base_node:
            if self.base is INFERENCE:
                watch_next()
            elif self.base.node is not None or count(self.base.array) != self.base.detached_at:
                self._reconnect()
        return self

    def _reconnect(self) -> None:
        """从底下的张量现在的样子出发，把来时的路再走一遍。"""
        base: Any = self.base
        if self.needs_grad and not base.needs_grad:  # 它断开之后又被改写：与 torch 一样，自己仍求导，梯度却到不了谁那里
            base = graph.tensor_type.wrap(base.array)
            base.way_back, base.needs_grad = self.base.way_back, True
        with enable_grad():
            again = sh.replay(base, (*base.way_back, *self.view_path))
        self.node, self.needs_grad, self.base_node = again.node, again.needs_grad, self.base.node

    def _kept(self, *others: Any) -> Any:
        """要记图时先拷一份原值：反向要用的是写入之前的数。"""
        traced = any(isinstance(t, graph.tensor_type) and t.needs_grad for t in (self, *others))
        return self.clone() if traced and is_grad_enabled() else self

    def write(self, result: Any, only: Any = None) -> Any:
        """就地写入：把 ``result`` 的值搬进自己的内存，并接到它的图上。

        Args:
            result: 整个自己的新值。
            only: 只有这些位置（下标）真的变了。给了它，自己便可以是扩张出来的：先后写，后写的算数，与 torch 相同。

        Raises:
            RuntimeError: 自己是需要梯度的叶子、是图上张量的视图、只读、几个元素同住一处，或形状对不上。
        """
        if self.one_of_many or self.viewed_in_no_grad:
            self._refuse_some_views(result.needs_grad)
        refuse_written(self)
        traced = is_grad_enabled() and (self.refreshed().needs_grad or result.needs_grad)
        bottom: Any = self if self.base is None else self.base
        if traced and bottom.node is None and (bottom.needs_grad or self.needs_grad):
            which = "a leaf Variable" if bottom is self else "a view of a leaf Variable"
            raise RuntimeError(f"{which} that requires grad is being used in an in-place operation.")
        if result.array.shape != self.array.shape:
            raise RuntimeError(
                f"in-place result has shape {result.array.shape}, cannot be written to {self.array.shape}"
            )
        memory, stays, where = self.array, False, ...
        if not memory.flags.writeable:  # 多半是扩张出来的
            stays = sh.same_place(memory, result.array)
            memory = sh.writeable(memory, stays or only is not None)
            where = ... if only is None or not sh.is_shared(memory) else only
        if traced and bottom is not self:
            moved = self._region_written(bottom, result)
            bottom.node, bottom.needs_grad = moved.node, moved.needs_grad
            if bottom.retains_grad:
                bottom.retain_grad()  # 留的是改写之后的梯度
        if not stays:
            memory[where] = result.array if where is ... else result.array[where]
        self.touch()
        if traced and bottom is not self:
            return self.refreshed()
        if extras.users and switch.recorder is not None:
            switch.recorder.written(self, result)
        if is_grad_enabled():
            if self.needs_grad and not result.needs_grad:  # 被常数盖掉，仍在图上，梯度是 0
                result = apply(ew.where, (False, self, result), {})
            self.node, self.needs_grad = result.node, result.needs_grad
            if self.retains_grad and self.needs_grad:
                self.retain_grad()  # 留的是改写之后的梯度
        return self

    def _refuse_some_views(self, needs_grad: bool = False) -> None:
        """``split`` 等的一份、``no_grad`` 里取的视图（或它们的视图）不许在图上就地改写。

        Raises:
            RuntimeError: 正是如此。
        """
        if not is_grad_enabled():
            return
        needs_grad = needs_grad or self.needs_grad
        if self.viewed_in_no_grad:
            self.settle()
        if self.viewed_in_no_grad and (needs_grad or self.base.needs_grad):
            raise RuntimeError(
                "A view was created in no_grad mode and is being modified inplace with grad mode enabled: it is not "
                "clear whether the write should be tracked. Move both into the no_grad block, or both out of it."
            )
        if self.one_of_many and needs_grad:
            raise RuntimeError(
                "this tensor is a view and is being modified inplace; it is one output of a function that returns "
                "multiple views (split, chunk, unbind), which does not allow that. Use the out-of-place operation."
            )

    def _region_written(self, bottom: Any, result: Any) -> Any:
        """底下的张量，自己那一块换成 ``result``；自己是扩张出来的，写得，反传不得（与 torch 相同）。"""
        if not self.array.flags.writeable and sh.is_shared(self.array):
            fresh = graph.tensor_type.wrap(np.array(bottom.array))
            return no_derivative(RuntimeError(_OVERLAPS), fresh, bottom, result)
        return apply(sh.write_region, (bottom, result), {"path": (*bottom.way_back, *self.view_path)})

    def __iadd__(self, other: Any) -> Any:
        return self._put(self + other, other)

    def __isub__(self, other: Any) -> Any:
        return self._put(self - other, other)

    def __imul__(self, other: Any) -> Any:
        return self._put(self._kept(other) * other, other)

    def __itruediv__(self, other: Any) -> Any:
        return self._put(self._kept(other) / other, other)

    def __ipow__(self, exponent: Any) -> Any:
        return self._put(self._kept(exponent) ** exponent, exponent)

    def __ifloordiv__(self, other: Any) -> Any:
        return self._put(self // other, other)

    def __imod__(self, other: Any) -> Any:
        return self._put(self._kept(other) % other, other)

    @numbers_first("alpha")
    def add_(self, other: Any, *, alpha: float = 1) -> Any:
        """``self += alpha · other``。"""
        return self._put(self.add(other, alpha=alpha), other)

    @numbers_first("alpha")
    def sub_(self, other: Any, *, alpha: float = 1) -> Any:
        """``self -= alpha · other``。"""
        return self._put(self.sub(other, alpha=alpha), other)

    def mul_(self, other: Any) -> Any:
        """``self *= other``。"""
        return self._put(self._kept(other).mul(other), other)

    def div_(self, other: Any, *, rounding_mode: str | None = None) -> Any:
        """``self /= other``。"""
        return self._put(self._kept(other).div(other, rounding_mode=rounding_mode), other)

    @numbers_first("value", operands=2)
    def addcmul_(self, tensor1: Any, tensor2: Any, *, value: float = 1) -> Any:
        """``self += value · tensor1 ⊙ tensor2``。"""
        return self._put(self.addcmul(tensor1, tensor2, value=value), tensor1, tensor2)

    @numbers_first("value", operands=2)
    def addcdiv_(self, tensor1: Any, tensor2: Any, *, value: float = 1) -> Any:
        """``self += value · tensor1 / tensor2``。"""
        return self._put(self.addcdiv(tensor1, tensor2, value=value), tensor1, tensor2)

    def lerp_(self, end: Any, weight: Any) -> Any:
        """``self += weight · (end - self)``。"""
        return self._put(self._kept(end, weight).lerp(end, weight), end, weight)

    def clamp_(self, min: Any = None, max: Any = None) -> Any:
        """就地截断。"""
        return self._put(self._kept(min, max).clamp(min, max), min, max)

    def masked_fill_(self, mask: Any, value: Any) -> Any:
        """就地把 ``mask`` 为真处换成 ``value``。"""
        result = self.masked_fill(mask, value)
        if not sh.is_shared(self.array):
            return self._put(result)
        return self.write(result.to(dtypes.of(self.array)), np.broadcast_to(mask.array, self.array.shape))

    def apply_(self, callable: Callable[[Any], Any]) -> Any:
        """每个元素换成 ``callable(元素)``；逐个调用，很慢。

        Raises:
            RuntimeError: 需要梯度。
        """
        return self._elementwise("apply_", callable)

    def map_(self, other: Any, callable: Callable[[Any, Any], Any]) -> Any:
        """每个元素换成 ``callable(元素, other 的元素)``；``other`` 可广播。

        Raises:
            RuntimeError: 需要梯度。
            TypeError: 两个的 dtype 不同。
        """
        return self._elementwise("map_", callable, other)

    def map2_(self, x: Any, y: Any, callable: Callable[[Any, Any, Any], Any]) -> Any:
        """每个元素换成 ``callable(元素, x 的元素, y 的元素)``；``x``、``y`` 可广播。

        Raises:
            RuntimeError: 需要梯度。
            TypeError: 几个的 dtype 不同。
        """
        return self._elementwise("map2_", callable, x, y)

    def _elementwise(self, name: str, function: Callable[..., Any], *others: Any) -> Any:
        if any(t.needs_grad for t in (self, *others)):
            raise RuntimeError(
                f"Can't call {name}() on a tensor that requires grad. Use tensor.detach().{name}() instead."
            )
        if any(t.array.dtype != self.array.dtype for t in others):
            have = [dtypes.of(t.array) for t in others]
            raise TypeError(f"{name}: expected {dtypes.of(self.array)} for the other tensors, got {have}")
        columns = [t.expand(self.array.shape).array.reshape(-1).tolist() for t in others]
        found = [function(*values) for values in zip(self.array.reshape(-1).tolist(), *columns, strict=True)]
        return self.write(graph.tensor_type.wrap(np.array(found, self.array.dtype).reshape(self.array.shape)))

    def copy_(self, source: Any, non_blocking: bool = False) -> Any:
        """把 ``source`` 的值（可广播）搬进来；自己没有数据就什么也不做。"""
        if extras.meta and is_meta(self.array):
            return self
        refuse_copy(source.array)
        self._refuse_overlap((source,))
        moved = source.expand(self.array.shape).to(dtypes.of(self.array))
        if moved.needs_grad and self.needs_grad and self.base is None and is_grad_enabled():
            moved = apply(ew.where, (False, self, moved), {})  # 原来在图上的仍在图上，梯度是 0
        return self.write(moved)

    def fill_(self, value: Any) -> Any:
        """全部写成 ``value``（数或 0 维 Tensor）；自己原来在图上就仍在图上，梯度是 0。

        Raises:
            RuntimeError: ``value`` 不是 0 维。
        """
        filled = constant(value, self.array.dtype)
        if filled.array.ndim:
            raise RuntimeError(f"fill_ only supports 0-dimension value tensor but got shape {filled.array.shape}")
        whole = None if isinstance(value, graph.tensor_type) else ...  # 扩张出来的，torch 只许填数，不许填 Tensor
        return self.write(apply(ew.fill, (self, filled.to(dtypes.of(self.array))), {}), whole)

    def zero_(self) -> Any:
        """全部写成 0。"""
        return self.fill_(0)
