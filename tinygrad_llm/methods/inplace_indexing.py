"""Tensor 的就地换形状与就地散播（名字以 ``_`` 结尾）。

流入：Tensor 与参数；流出：自己。值先由同名的普通方法算出，再写回自己的内存。
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygrad_llm.autograd import graph
from tinygrad_llm.autograd.mode import is_grad_enabled
from tinygrad_llm.layouts import contiguous_format, copy_order, storage_start, strides_of
from tinygrad_llm.methods.shaping import sizes
from tinygrad_llm.ops import shape as sh
from tinygrad_llm.ops import views
from tinygrad_llm.ops.op import Array, Op
from tinygrad_llm.ops.ordering import empty_in_order
from tinygrad_llm.ops.shape import storage_of


def _moved(array: Array, shape: tuple[int, ...], order: tuple[int, ...] | None) -> Array:
    """更大的一块内存，开头是 ``array`` 从前的内容。"""
    grown = empty_in_order(shape, array.dtype, order)
    old = storage_of(array).ravel(order="K")[storage_start(array) :]
    grown.transpose(order or range(grown.ndim)).reshape(-1)[: old.size] = old
    return grown


def _back(array: Array, view: Any) -> tuple[Op, dict[str, Any]]:
    """``view`` 是 ``array`` 的视图；从它回到 ``array`` 的样子的算子。"""
    op, attrs = view.view_path[-1]
    if op is sh.reshape:
        return sh.reshape, {"shape": array.shape}
    if op is sh.permute:
        return sh.permute, {"dims": sh.inverse(attrs["dims"])}
    shape, strides, start = attrs["target"]
    here, there = (shape, strides, max(start, 0)), (array.shape, strides_of(array), max(-start, 0))
    return views.through_memory, {"source": here, "target": there, "shared": here}


class InPlaceIndexing:
    """就地散播与就地换形状的方法。"""

    array: Any
    base: Any
    base_node: Any
    node: Any
    needs_grad: Any
    touch: Any
    untracked: Any
    view_path: Any
    way_back: Any
    retain_grad: Any
    retains_grad: Any
    _refuse_some_views: Any
    write: Any
    refreshed: Any
    _kept: Any

    def index_add_(self, dim: int, index: Any, source: Any, *, alpha: Any = 1) -> Any:
        """就地的 ``index_add``。"""
        return self.write(self._kept(source).index_add(dim, index, source, alpha=alpha))

    def index_copy_(self, dim: int, index: Any, source: Any) -> Any:
        """就地的 ``index_copy``。"""
        return self.write(self._kept(source).index_copy(dim, index, source))

    def index_fill_(self, dim: int, index: Any, value: Any) -> Any:
        """就地的 ``index_fill``。"""
        rows = (slice(None),) * (dim % max(self.array.ndim, 1)) + (index.array,)
        return self.write(self._kept(value).index_fill(dim, index, value), rows if self.array.ndim else ...)

    def index_put_(self, indices: Any, values: Any, accumulate: bool = False) -> Any:
        """就地的 ``index_put``。"""
        places = tuple(index.array for index in indices)
        result = self._kept(values).index_put(indices, values, accumulate)
        return self.write(result, None if accumulate else places)

    def index_reduce_(self, dim: int, index: Any, source: Any, reduce: str, *, include_self: bool = True) -> Any:
        """就地的 ``index_reduce``。"""
        return self.write(self._kept(source).index_reduce(dim, index, source, reduce, include_self=include_self))

    def put_(self, index: Any, source: Any, accumulate: bool = False) -> Any:
        """就地的 ``put``。"""
        return self.write(self._kept(source).put(index, source, accumulate))

    def scatter_(self, dim: int, index: Any, src: Any = None, *, value: Any = None, reduce: str | None = None) -> Any:
        """就地的 ``scatter``。"""
        return self.write(self._kept(src).scatter(dim, index, src, value=value, reduce=reduce))

    def scatter_add_(self, dim: int, index: Any, src: Any) -> Any:
        """就地的 ``scatter_add``。"""
        return self.write(self._kept(src).scatter_add(dim, index, src))

    def scatter_reduce_(self, dim: int, index: Any, src: Any, reduce: str, *, include_self: bool = True) -> Any:
        """就地的 ``scatter_reduce``。"""
        return self.write(self._kept(src).scatter_reduce(dim, index, src, reduce, include_self=include_self))

    def masked_scatter_(self, mask: Any, source: Any) -> Any:
        """就地的 ``masked_scatter``。"""
        return self.write(self._kept(source).masked_scatter(mask, source))

    def fill_diagonal_(self, fill_value: Any, wrap: bool = False) -> Any:
        """主对角线写成 ``fill_value``；``wrap`` 让高的矩阵每隔一个方块再来一遍。

        Raises:
            RuntimeError: 不足二维，或高维而各轴不等长。
        """
        shape = self.array.shape
        if len(shape) < 2 or (len(shape) > 2 and len(set(shape)) > 1):
            raise RuntimeError(f"fill_diagonal_: all dimensions must be of equal length, at least 2, got shape {shape}")
        diagonal = np.zeros(shape, bool)
        np.fill_diagonal(diagonal, True, wrap=wrap and len(shape) == 2)
        self[graph.tensor_type.wrap(diagonal)] = fill_value  # type: ignore[index]
        return self

    def tril_(self, diagonal: int = 0) -> Any:
        """就地的 ``tril``。"""
        return self.write(self._kept().tril(diagonal))

    def triu_(self, diagonal: int = 0) -> Any:
        """就地的 ``triu``。"""
        return self.write(self._kept().triu(diagonal))

    def squeeze_(self, dim: Any = None) -> Any:
        """自己去掉长度为 1 的轴。"""
        return self._become("squeeze", *([] if dim is None else [dim]))

    def unsqueeze_(self, dim: int) -> Any:
        """自己插入一根长度为 1 的轴。"""
        return self._become("unsqueeze", dim)

    def transpose_(self, dim0: int, dim1: int) -> Any:
        """自己交换两根轴。"""
        return self._become("transpose", dim0, dim1)

    swapaxes_ = swapdims_ = transpose_

    def t_(self) -> Any:
        """自己转置。"""
        return self._become("t")

    def as_strided_(self, size: Any, stride: Any, storage_offset: int | None = None) -> Any:
        """自己换成同一块内存的另一种读法。"""
        return self._become("as_strided", size, stride, storage_offset)

    def resize_(self, *args: Any, memory_format: Any = contiguous_format) -> Any:
        """自己换成另一个大小，数据在内存里原地不动；已有的内存不够就搬到更大的一块，多出来的未初始化。

        搬走之后，从前的视图仍看着原来那一块（torch 里它们跟着一起搬）。

        Raises:
            RuntimeError: 需要梯度，或自己是视图而已有的内存不够。
        """
        if self.refreshed().needs_grad:
            raise RuntimeError("cannot resize variables that require grad")
        shape, array = sizes(args), self.array
        order = copy_order(np.empty(shape, array.dtype), memory_format)
        if self.base is None and math.prod(shape) > storage_of(array).size - storage_start(array):
            self.array = _moved(array, shape, order)
            self.touch()
            return self
        return self._become("as_strided", shape, strides_of(empty_in_order(shape, array.dtype, order)))

    def resize_as_(self, the_template: Any, *, memory_format: Any = contiguous_format) -> Any:
        """自己换成 ``the_template`` 的大小，见 ``resize_``。"""
        return self.resize_(the_template.array.shape, memory_format=memory_format)

    def _become(self, name: str, *args: Any) -> Any:
        """自己变成自己的一个视图。自己不是视图时仍不是：记下回到最初的样子的路，旧视图从那里走起。"""
        if is_grad_enabled() and self.refreshed().needs_grad:
            if (self if self.base is None else self.base).node is None:
                which = "a leaf Variable" if self.base is None else "a view of a leaf Variable"
                raise RuntimeError(f"{which} that requires grad is being used in an in-place operation ({name}_)")
            self._refuse_some_views()
        view = getattr(self, name)(*args)
        if view.base is None:  # 读到了自己之外的内存：从此另起一头
            self.base, self.base_node, self.way_back = None, None, ()
        elif self.base is None:
            self.way_back = (_back(self.array, view), *self.way_back)
        self.array, self.view_path = view.array, view.view_path
        if is_grad_enabled():
            self.node, self.needs_grad = view.node, view.needs_grad
            if self.retains_grad and self.needs_grad:
                self.retain_grad()
        self.touch()
        return self
