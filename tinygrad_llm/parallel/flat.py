"""平坦的内存：全部参数、各进程的梯度、AdamW 的两个矩，各是一整段连续的数组。

流入：模型与一块共享内存；流出：参数与梯度都是那块内存的视图的模型，以及「相加、求范数、更新」三个按段执行的动作。
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
from tinygrad_llm.tensor import Tensor

_ALIGN = 64
"""每个参数从 64 字节的边界开始：一条缓存行，也是最宽的向量寄存器。"""


@dataclass(frozen=True)
class Layout:
    """各参数在平坦数组里的位置：先放要衰减的矩阵，再放不衰减的向量。

    Attributes:
        places: 名字到（起点，形状）。
        decayed: 要衰减的到哪里为止。
        size: 一共多少个元素。
    """

    places: dict[str, tuple[int, tuple[int, ...]]]
    decayed: int
    size: int

    @staticmethod
    def of(shapes: dict[str, tuple[int, ...]], itemsize: int) -> Layout:
        """按名字与形状排好。"""
        step = _ALIGN // itemsize
        places, at, decayed = {}, 0, 0
        for is_matrix in (True, False):
            for name, shape in shapes.items():
                if (len(shape) >= 2) == is_matrix:
                    places[name] = (at, shape)
                    at += -(-math.prod(shape) // step) * step
            decayed = at if is_matrix else decayed
        return Layout(places, decayed, at)

    def views(self, flat: Array) -> dict[str, Array]:
        """平坦数组上各参数的视图。"""
        return {name: flat[at : at + math.prod(shape)].reshape(shape) for name, (at, shape) in self.places.items()}


class FlatState:
    """训练的全部状态，都在一块内存里。

    Args:
        layout: 各参数的位置。
        dtype: 浮点类型。
        memory: 至少 ``FlatState.nbytes`` 这么大的缓冲区，内容从 0 开始。
        replicas: 有几份梯度（几个进程）。

    Attributes:
        theta: 参数。
        grads: 各进程的梯度。
        exp_avg: 一阶矩。
        exp_avg_sq: 二阶矩。
    """

    def __init__(self, layout: Layout, dtype: Any, memory: Any, replicas: int) -> None:
        self.layout, self.replicas = layout, replicas
        whole = np.frombuffer(memory, dtype, layout.size * (3 + replicas))
        self.theta, self.exp_avg, self.exp_avg_sq, *self.grads = whole.reshape(3 + replicas, layout.size)

    @staticmethod
    def nbytes(layout: Layout, dtype: Any, replicas: int) -> int:
        """要多大的内存。"""
        return int(layout.size * (3 + replicas) * np.dtype(dtype).itemsize)

    def attach(self, model: Any, rank: int) -> None:
        """让模型的参数与梯度都落在这块内存上；参数原来的值不要了，以内存里的为准。"""
        theta, grads = self.layout.views(self.theta), self.layout.views(self.grads[rank])
        for name, p in model.named_parameters():
            p.array, p.grad_buffer = theta[name], grads[name]

    def adopt(self, optimizer: Any, model: Any) -> None:
        """让 AdamW 各参数的矩也落在这块内存上。"""
        views = [self.layout.views(flat) for flat in (self.exp_avg, self.exp_avg_sq)]
        for name, p in model.named_parameters():
            first, second = (Tensor.wrap(view[name]) for view in views)
            optimizer.state[p] = {"step": scalar_state(0.0), "exp_avg": first, "exp_avg_sq": second}

    def share(self, rank: int) -> slice:
        """第 ``rank`` 个进程管的那一段。"""
        step = -(-self.layout.size // (self.replicas * BLOCK)) * BLOCK
        return slice(min(rank * step, self.layout.size), min((rank + 1) * step, self.layout.size))

    def reduce(self, rank: int) -> float:
        """把各进程的梯度加进第 0 份（只管自己那一段），总按进程号的次序。

        Returns:
            这一段的平方和。
        """

        def part(start: int, stop: int) -> float:
            total = 0.0
            for block in _blocks(start, stop):
                first = self.grads[0][block]
                for other in self.grads[1:]:
                    first += other[block]
                total += float(first.dot(first))
            return total

        return float(sum(_over(self.share(rank), part)))

    def update(
        self, rank: int, *, step: int, scale: float, lr: float, weight_decays: Sequence[float], **adam: Any
    ) -> None:
        """AdamW 更新自己那一段。

        Args:
            rank: 进程号。
            step: 第几步，从 1 起。
            scale: 裁剪给梯度乘上的因子。
            lr: 学习率。
            weight_decays: 矩阵与向量各自的衰减系数。
            **adam: ``betas`` 与 ``eps``。
        """
        share, decayed = self.share(rank), self.layout.decayed
        for span, decay in (
            (slice(share.start, min(share.stop, decayed)), weight_decays[0]),
            (slice(max(share.start, decayed), share.stop), weight_decays[1]),
        ):

            def part(start: int, stop: int, decay: float = decay) -> None:
                for block in _blocks(start, stop):
                    arrays = (a[block] for a in (self.theta, self.grads[0], self.exp_avg, self.exp_avg_sq))
                    adamw_update(*arrays, t=step, lr=lr, weight_decay=decay, scale=scale, **adam)

            _over(span, part)


def _over(span: slice, part: Callable[[int, int], Any]) -> list[Any]:
    """把 ``span`` 分给几个核；几个进程各管一段时，每个进程只有一个核。"""
    size = max(span.stop - span.start, 0)
    return split(lambda i, j: part(span.start + i, span.start + j), size, 8 * size, BLOCK)


def _blocks(start: int, stop: int) -> Iterator[slice]:
    for at in range(start, stop, BLOCK):
        yield slice(at, min(at + BLOCK, stop))
