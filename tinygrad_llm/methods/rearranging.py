"""Tensor 的搬运：重复、翻转、滚动、旋转、三角、对角线，以及把一块写进拷贝。

流入：Tensor 与 torch 写法的参数；流出：新的 Tensor（都是拷贝）。
"""

from __future__ import annotations

from operator import index as as_int
from typing import Any

import numpy as np

from tinygrad_llm import dtypes, layouts
from tinygrad_llm.autograd import graph
from tinygrad_llm.autograd.graph import apply
from tinygrad_llm.methods.shaping import axes, axis, sizes
from tinygrad_llm.methods.splitting import strided_layout
from tinygrad_llm.ops import shape as sh
from tinygrad_llm.ops import views


class Rearranging:
    """搬运元素的方法。"""

    array: Any
    clone: Any
    diagonal: Any
    flatten: Any
    index_select: Any
    movedim: Any
    narrow: Any
    reshape: Any
    transpose: Any
    unsqueeze: Any
    expand: Any

    def repeat(self, *args: Any, repeats: Any = None) -> Any:
        """各轴重复若干遍。

        Raises:
            RuntimeError: 给的遍数比轴数少，或为负。
        """
        times, have = sizes(args if repeats is None else (repeats,)), self.array.shape
        if len(times) < len(have) or min(times, default=0) < 0:
            raise RuntimeError(f"repeat: {list(times)} must give a non-negative count for each dimension of {have}")
        shape = (1,) * (len(times) - len(have)) + have
        spread = self.reshape(tuple([x for n in shape for x in (1, n)]))
        spread = spread.expand(tuple([x for r, n in zip(times, shape, strict=True) for x in (r, n)]))
        return self._own(spread.reshape(tuple([r * n for r, n in zip(times, shape, strict=True)])))

    def tile(self, *args: Any, dims: Any = None) -> Any:
        """各轴重复若干遍；遍数不足轴数时前面补 1。"""
        times = sizes(args if dims is None else (dims,))
        return self.repeat((1,) * (self.array.ndim - len(times)) + times)

    def repeat_interleave(self, repeats: Any = None, dim: int | None = None, *, output_size: int | None = None) -> Any:
        """每个元素（沿 ``dim``）连续重复 ``repeats`` 次；给 Tensor 则逐个指定次数。

        不给 ``repeats`` 时，自己就是次数：第 ``i`` 个序号重复 ``self[i]`` 遍。

        Raises:
            RuntimeError: 次数为负、不是 int32 或 int64，个数与该轴不符，或总数不是 ``output_size``。
        """
        if repeats is None:
            places = graph.tensor_type.wrap(np.arange(self.array.size))
            return places.repeat_interleave(self, 0, output_size=output_size)
        if isinstance(repeats, graph.tensor_type):
            times = repeats.array
            if times.dtype not in (np.int64, np.int32) or times.ndim > 1:
                raise RuntimeError(
                    f"repeat_interleave: repeats must be int32 or int64 of one axis, got {repeats.dtype}"
                )
        else:
            times = np.asarray(as_int(repeats))
        x: Any = self.flatten() if dim is None else self
        d = axis(dim or 0, x.array.ndim)
        if dim is not None and not self.array.ndim and not isinstance(repeats, graph.tensor_type):
            raise IndexError("repeat_interleave: a 0-dim tensor has no dimension to repeat along")
        length = x.array.shape[d] if x.array.ndim else 1
        if times.size not in (1, length) or (times.size and times.min() < 0):
            raise RuntimeError(f"repeat_interleave: repeats {times.tolist()} must be {length} non-negative counts")
        order = np.repeat(np.arange(length), times)
        if output_size is not None and output_size != order.size:
            raise RuntimeError(f"repeat_interleave: output_size {output_size}, but the repeats add up to {order.size}")
        return x.reshape((1,) if not x.array.ndim else x.array.shape).index_select(d, graph.tensor_type.wrap(order))

    def _own(self, result: Any) -> Any:
        """重复一遍或重复长度为 1 的轴时，换形状得到的还是视图：拷贝一份，与 torch 一致。"""
        shared = np.may_share_memory(result.array, self.array)
        return result.clone(memory_format=layouts.contiguous_format) if shared else result

    def flip(self, *args: Any, dims: Any = None) -> Any:
        """沿若干轴反序。

        Raises:
            TypeError: 没有给轴。
        """
        if not args and dims is None:
            raise TypeError("flip() missing 1 required positional arguments: dims")
        wanted = sizes(args if dims is None else (dims,))
        found = axes(wanted, self.array.ndim, "flip")
        return apply(sh.flip, (self,), {"dim": found if self.array.ndim else ()})

    def fliplr(self) -> Any:
        """沿第 1 轴反序。

        Raises:
            RuntimeError: 不足二维。
        """
        return self._require("fliplr", 2).flip(1)

    def flipud(self) -> Any:
        """沿第 0 轴反序。

        Raises:
            RuntimeError: 0 维。
        """
        return self._require("flipud", 1).flip(0)

    def _require(self, name: str, least: int) -> Any:
        if self.array.ndim < least:
            raise RuntimeError(f"{name}: input must have at least {least} dimensions, got shape {self.array.shape}")
        return self

    def roll(self, shifts: Any, dims: Any = ()) -> Any:
        """沿若干轴循环移位；不给 ``dims`` 则摊平了移。

        Raises:
            RuntimeError: 移位数与轴数不等。
        """
        steps, wanted = sizes((shifts,)), sizes((dims,))
        if not wanted and len(steps) == 1:
            return self.flatten().roll(steps, 0).reshape(self.array.shape) if self.array.ndim else self.clone()
        if not wanted or len(steps) != len(wanted):
            raise RuntimeError(f"shifts and dimensions must align: shifts {list(steps)}, dims {list(wanted)}")
        if not self.array.ndim:
            raise IndexError("roll: a dimension is specified but tensor has no dimensions")
        return apply(sh.roll, (self,), {"shifts": steps, "dim": tuple([axis(d, self.array.ndim) for d in wanted])})

    def rot90(self, k: int = 1, dims: Any = (0, 1)) -> Any:
        """在两根轴的平面里转 ``k`` 个直角，从第一根转向第二根。

        Raises:
            RuntimeError: 不是两根不同的轴，或不足二维。
        """
        self._require("rot90", 2)
        if len(dims) != 2 or dims[0] % self.array.ndim == dims[1] % self.array.ndim:
            raise RuntimeError(f"rot90: expected two different dims, got {list(dims)}")
        first, second = axes(tuple(dims), self.array.ndim, "rot90")
        turns = k % 4
        if turns == 1:
            return self.flip(second).transpose(first, second)
        if turns == 2:
            return self.flip(first, second)
        return self.flip(first).transpose(first, second) if turns else self.clone()

    def tril(self, diagonal: int = 0) -> Any:
        """下三角（最后两轴）。

        Raises:
            RuntimeError: 不足二维。
        """
        return apply(sh.tril, (self._require("tril", 2),), {"diagonal": diagonal})

    def triu(self, diagonal: int = 0) -> Any:
        """上三角（最后两轴）。

        Raises:
            RuntimeError: 不足二维。
        """
        return apply(sh.triu, (self._require("triu", 2),), {"diagonal": diagonal})

    def diag(self, diagonal: int = 0) -> Any:
        """一维变成对角阵，二维取出对角线（拷贝）。

        Raises:
            RuntimeError: 不是一维或二维。
        """
        if self.array.ndim not in (1, 2):
            raise RuntimeError(f"diag(): Supports 1D or 2D tensors, got shape {self.array.shape}")
        return self.diag_embed(diagonal) if self.array.ndim == 1 else self.diagonal(diagonal).clone()

    def diagflat(self, offset: int = 0) -> Any:
        """摊平之后作对角线。"""
        return self.reshape(-1).diag_embed(offset)

    def diag_embed(self, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Any:
        """最后一轴变成 ``dim1``、``dim2`` 两轴上的对角线，其余为 0。

        Raises:
            RuntimeError: 两轴相同。
        """
        have = self.array.shape
        first, second = axes((dim1, dim2), len(have) + 1 if have else 1, "diag_embed")
        side = have[-1] + abs(offset)
        shape = list(have[:-1])
        for d in sorted((first, second)):
            shape.insert(d, side)
        zeros = graph.tensor_type.wrap(np.zeros(shape, self.array.dtype))
        return zeros.diagonal_scatter(self, offset, first, second)

    def diagonal_scatter(self, src: Any, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Any:
        """拷贝一份，对角线换成 ``src``。"""
        first, second = axis(dim1, self.array.ndim), axis(dim2, self.array.ndim)
        return self._with_region(src, views.diagonal, {"offset": offset, "dim1": first, "dim2": second})

    def select_scatter(self, src: Any, dim: int, index: int) -> Any:
        """拷贝一份，``select(dim, index)`` 处换成 ``src``。"""
        d = axis(dim, self.array.ndim)
        return self._with_region(src, sh.index, {"key": (slice(None),) * d + (as_int(index),)})

    def slice_scatter(
        self, src: Any, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1
    ) -> Any:
        """拷贝一份，沿 ``dim`` 的一段换成 ``src``。"""
        d = axis(dim, self.array.ndim)
        return self._with_region(src, sh.index, {"key": (slice(None),) * d + (slice(start, end, step),)})

    def as_strided_scatter(self, src: Any, size: Any, stride: Any, storage_offset: int | None = None) -> Any:
        """拷贝一份，``as_strided`` 看到的一块换成 ``src``。"""
        target = strided_layout(self.array, size, stride, storage_offset)
        source = (self.array.shape, layouts.strides_of(self.array), 0)
        return self._with_region(src, views.as_strided, {"target": target, "source": source})

    def _with_region(self, src: Any, op: Any, attrs: dict[str, Any]) -> Any:
        found = op(self.array, **attrs).shape
        if src.array.shape != found:
            raise RuntimeError(f"expected src to have the size of the slice of self: {src.array.shape} is not {found}")
        return apply(sh.write_region, (self, src.to(dtypes.of(self.array))), {"path": ((op, attrs),)})
