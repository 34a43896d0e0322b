"""平坦的内存：全部参数、它们的梯度、AdamW 的两个矩，各是一整段连续的数组。

流入：模型与一块共享内存；流出：参数与梯度都是那块内存的视图的模型，以及「求范数、更新」两个按段执行的动作。
下一站：``team.py``。

优化器因此不必逐个参数地跑，几个进程各管一段；参数只有一份，谁更新了哪一段，别的进程当即看得见。
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinygrad_llm.ops.cores import split
from tinygrad_llm.ops.op import Array
from tinygrad_llm.optim.adamw import adamw_update
from tinygrad_llm.optim.arrays import BLOCK, scalar_state
from tinygrad_llm.parallel.ring import Ring, SharedGradient
from tinygrad_llm.tensor import Tensor

_ARRAYS = 4
"""参数、梯度与两个矩。"""
_LARGE = 1 << 18
"""至少这么多个元素的矩阵，各进程的梯度一算出来就相加，不各存一份；更小的等到最后一起加，免得处处互等。"""
_ALIGN = 64
"""每个参数从 64 字节的边界开始：一条缓存行，也是最宽的向量寄存器。"""


@dataclass(frozen=True)
class Layout:
    """各参数在平坦数组里的位置：先放要衰减的矩阵，大的在前，再放不衰减的向量。

    Attributes:
        places: 名字到（起点，形状）。
        large: 大矩阵到哪里为止。
        decayed: 要衰减的到哪里为止。
        size: 一共多少个元素。
    """

    places: dict[str, tuple[int, tuple[int, ...]]]
    large: int
    decayed: int
    size: int

    @staticmethod
    def of(shapes: dict[str, tuple[int, ...]], itemsize: int) -> Layout:
        """按名字与形状排好。"""
        step = _ALIGN // itemsize
        kinds = {name: 2 if len(shape) < 2 else int(math.prod(shape) < _LARGE) for name, shape in shapes.items()}
        places, at, ends = {}, 0, []
        for kind in range(3):  # 大矩阵、小矩阵、向量
            for name in (name for name in shapes if kinds[name] == kind):
                places[name] = (at, shapes[name])
                at += -(-math.prod(shapes[name]) // step) * step
            ends.append(at)
        return Layout(places, *ends)

    def views(self, flat: Array) -> dict[str, Array]:
        """平坦数组上各参数的视图。"""
        return {name: flat[at : at + math.prod(shape)].reshape(shape) for name, (at, shape) in self.places.items()}


class FlatState:
    """训练的全部状态，都在一块内存里。

    Args:
        layout: 各参数的位置。
        dtype: 浮点类型。
        memory: 至少 ``FlatState.nbytes`` 这么大的缓冲区，内容从 0 开始。
        ring: 与别的进程的约定。

    Attributes:
        theta: 参数。
        grad: 梯度，各进程的和。
        exp_avg: 一阶矩。
        exp_avg_sq: 二阶矩。
    """

    def __init__(self, layout: Layout, dtype: Any, memory: Any, ring: Ring) -> None:
        self.layout, self.ring = layout, ring
        whole = np.frombuffer(memory, dtype, layout.size * _ARRAYS)
        self.theta, self.grad, self.exp_avg, self.exp_avg_sq = whole.reshape(_ARRAYS, layout.size)
        self._small = SharedGradient(self.grad[layout.large :], ring)
        self._sums: list[tuple[Tensor, Array]] = []
        self._own = np.zeros(layout.size - layout.large, dtype) if ring.size > 1 else self._small.array

    @staticmethod
    def nbytes(layout: Layout, dtype: Any) -> int:
        """要多大的内存。"""
        return int(layout.size * _ARRAYS * np.dtype(dtype).itemsize)

    def attach(self, model: Any) -> None:
        """让模型的参数与梯度都落在这块内存上；参数原来的值不要了，以内存里的为准。"""
        theta, grads = self.layout.views(self.theta), self.layout.views(self.grad)
        for name, p in model.named_parameters():
            at, shape = self.layout.places[name]
            p.array, p.grad_buffer = theta[name], SharedGradient(grads[name], self.ring)
            if at >= self.layout.large:
                own = self._own[at - self.layout.large :][: math.prod(shape)].reshape(shape)
                p.grad_buffer = SharedGradient(own, Ring())
            self._sums.append((p, grads[name]))

    def clear_gradients(self) -> None:
        """新的一步：原来的梯度不要了。"""
        self._small.clear()
        for p, _ in self._sums:
            p.grad = None
            p.grad_buffer.clear()

    def add_gradients(self) -> None:
        """自己的反传做完了：没有用到的参数梯度为 0，小的参数此刻与别的进程相加；``.grad`` 就是各进程的和。"""
        for p, _ in self._sums:
            if p.grad_buffer.is_empty:
                p.grad_buffer.take(lambda rows, out, adds: out.fill(0))
        if self._own is not self._small.array:
            self._small.add(self._own)
        for p, total in self._sums:
            p.kept_grad = None if p.kept_grad is None else Tensor.wrap(total)

    def adopt(self, optimizer: Any, model: Any) -> None:
        """让 AdamW 各参数的矩也落在这块内存上。"""
        views = [self.layout.views(flat) for flat in (self.exp_avg, self.exp_avg_sq)]
        for name, p in model.named_parameters():
            first, second = (Tensor.wrap(view[name]) for view in views)
            optimizer.state[p] = {"step": scalar_state(0.0), "exp_avg": first, "exp_avg_sq": second}

    def share(self) -> slice:
        """本进程管的那一段。"""
        rank, step = self.ring.rank, -(-self.layout.size // (self.ring.size * BLOCK)) * BLOCK
        return slice(min(rank * step, self.layout.size), min((rank + 1) * step, self.layout.size))

    def squares(self) -> float:
        """梯度在自己那一段的平方和。"""

        def part(start: int, stop: int) -> float:
            return sum(float(g.dot(g)) for g in (self.grad[block] for block in _blocks(start, stop)))

        return float(sum(_over(self.share(), part)))

    def update(self, *, step: int, scale: float, lr: float, weight_decays: Sequence[float], **adam: Any) -> None:
        """AdamW 更新自己那一段。

        Args:
            step: 第几步，从 1 起。
            scale: 裁剪给梯度乘上的因子。
            lr: 学习率。
            weight_decays: 矩阵与向量各自的衰减系数。
            **adam: ``betas`` 与 ``eps``。
        """
        share, decayed = self.share(), self.layout.decayed
        for span, decay in (
            (slice(share.start, min(share.stop, decayed)), weight_decays[0]),
            (slice(max(share.start, decayed), share.stop), weight_decays[1]),
        ):

            def part(start: int, stop: int, decay: float = decay) -> None:
                for block in _blocks(start, stop):
                    arrays = (a[block] for a in (self.theta, self.grad, self.exp_avg, self.exp_avg_sq))
                    adamw_update(*arrays, t=step, lr=lr, weight_decay=decay, scale=scale, **adam)

            _over(span, part)


def _over(span: slice, part: Callable[[int, int], Any]) -> list[Any]:
    """把 ``span`` 分给几个核；几个进程各管一段时，每个进程只有一个核。"""
    size = max(span.stop - span.start, 0)
    return split(lambda i, j: part(span.start + i, span.start + j), size, 8 * size, BLOCK)


def _blocks(start: int, stop: int) -> Iterator[slice]:
    for at in range(start, stop, BLOCK):
        yield slice(at, min(at + BLOCK, stop))
