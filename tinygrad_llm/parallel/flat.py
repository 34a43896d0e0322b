"""平坦的内存：全部参数、它们的梯度、优化器的状态，各是一整段连续的数组。

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

from tinygrad_llm.common.update_rules import MUON_RATE, STATES, Rule
from tinygrad_llm.ops.cores import split
from tinygrad_llm.ops.op import Array
from tinygrad_llm.optim.adamw import adamw_update
from tinygrad_llm.optim.arrays import BLOCK, scalar_state
from tinygrad_llm.optim.muon import muon_update
from tinygrad_llm.optim.sgd import sgd_update
from tinygrad_llm.parallel.ring import Ring, SharedGradient
from tinygrad_llm.tensor import Tensor

_LARGE = 1 << 18
"""至少这么多个元素的矩阵，各进程的梯度一算出来就相加，不各存一份；更小的等到最后一起加，免得处处互等。"""
_ALIGN = 64
"""每个参数从 64 字节的边界开始：一条缓存行，也是最宽的向量寄存器。"""


@dataclass(frozen=True)
class Layout:
    """各参数在平坦数组里的位置：先放要衰减的矩阵，大的在前，再放不衰减的向量；由 Muon 更新的矩阵连成一片。

    Attributes:
        places: 名字到（起点，形状）。
        rules: 名字到更新公式。
        large: 大矩阵到哪里为止。
        muon: 由 Muon 更新的是哪一段。
        decayed: 要衰减的到哪里为止。
        size: 一共多少个元素。
    """

    places: dict[str, tuple[int, tuple[int, ...]]]
    rules: dict[str, Rule]
    large: int
    muon: slice
    decayed: int
    size: int

    @staticmethod
    def of(shapes: dict[str, tuple[int, ...]], itemsize: int, rules: dict[str, Rule]) -> Layout:
        """按名字、形状与更新公式排好。"""

        def kind(name: str) -> int:
            if len(shapes[name]) < 2:
                return 4
            is_large, is_muon = math.prod(shapes[name]) >= _LARGE, rules[name] == "muon"
            return (1 if is_muon else 0) if is_large else (2 if is_muon else 3)

        step, places, at, ends = _ALIGN // itemsize, {}, 0, []
        for wanted in range(5):  # 大矩阵、用 Muon 的大矩阵、用 Muon 的小矩阵、小矩阵、向量
            for name in (name for name in shapes if kind(name) == wanted):
                places[name] = (at, shapes[name])
                at += -(-math.prod(shapes[name]) // step) * step
            ends.append(at)
        return Layout(places, rules, ends[1], slice(ends[0], ends[2]), ends[3], ends[4])

    @property
    def arrays(self) -> int:
        """一共几段：参数、梯度与优化器的状态。"""
        return 2 + max(len(STATES[rule]) for rule in self.rules.values())

    def views(self, flat: Array) -> dict[str, Array]:
        """平坦数组上各参数的视图。"""
        return {name: flat[at : at + math.prod(shape)].reshape(shape) for name, (at, shape) in self.places.items()}

    def muon_share(self, rank: int, world: int) -> list[str]:
        """归第 ``rank`` 个进程更新的 Muon 矩阵：正交化要看整个矩阵，切不开；费工夫的先分，谁手里的活少就给谁。"""
        cost = {
            name: math.prod(shape) * min(shape)
            for name, (_, shape) in self.places.items()
            if self.rules[name] == "muon"
        }
        loads, mine = [0] * world, []
        for name in sorted(cost, key=lambda name: -cost[name]):
            least = loads.index(min(loads))
            loads[least] += cost[name]
            mine += [name] if least == rank else []
        return mine


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
        states: 优化器的状态，一段或两段；某个参数用到哪几段，见 ``update_rules.STATES``。
    """

    def __init__(self, layout: Layout, dtype: Any, memory: Any, ring: Ring) -> None:
        self.layout, self.ring = layout, ring
        whole = np.frombuffer(memory, dtype, layout.size * layout.arrays)
        self.theta, self.grad, *self.states = whole.reshape(layout.arrays, layout.size)
        self._small = SharedGradient(self.grad[layout.large :], ring)
        self._sums: list[tuple[Tensor, Array]] = []
        self._own = np.zeros(layout.size - layout.large, dtype) if ring.size > 1 else self._small.array
        views = [layout.views(flat) for flat in (self.theta, self.grad, self.states[0])]
        self._muon = [[view[name] for view in views] for name in layout.muon_share(ring.rank, ring.size)]

    @staticmethod
    def nbytes(layout: Layout, dtype: Any) -> int:
        """要多大的内存。"""
        return int(layout.size * layout.arrays * np.dtype(dtype).itemsize)

    def state_views(self) -> dict[str, Array]:
        """优化器的状态：``状态.参数`` 到视图。"""
        views = [self.layout.views(flat) for flat in self.states]
        return {
            f"{kind}.{name}": view[name]
            for name, rule in self.layout.rules.items()
            for kind, view in zip(STATES[rule], views, strict=False)
        }

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

    def adopt(self, optimizers: Sequence[Any], model: Any) -> None:
        """让各优化器的状态也落在这块内存上。"""
        owners = {id(p): one for one in optimizers for group in one.param_groups for p in group["params"]}
        views = self.state_views()
        for name, p in model.named_parameters():
            rule = self.layout.rules[name]
            state = {kind: Tensor.wrap(views[f"{kind}.{name}"]) for kind in STATES[rule]}
            owners[id(p)].state[p] = {**({"step": scalar_state(0.0)} if rule == "adamw" else {}), **state}

    def share(self) -> slice:
        """本进程管的那一段。"""
        rank, step = self.ring.rank, -(-self.layout.size // (self.ring.size * BLOCK)) * BLOCK
        return slice(min(rank * step, self.layout.size), min((rank + 1) * step, self.layout.size))

    def squares(self) -> float:
        """梯度在自己那一段的平方和。"""

        def part(start: int, stop: int) -> float:
            return sum(float(g.dot(g)) for g in (self.grad[block] for block in _blocks(start, stop)))

        return float(sum(_over(self.share(), part)))

    def update(self, *, step: int, scale: float, lr: float, weight_decays: Sequence[float], **settings: Any) -> None:
        """更新自己那一份：逐元素的公式管一段，Muon 管几个整矩阵。

        Args:
            step: 第几步，从 1 起。
            scale: 裁剪给梯度乘上的因子。
            lr: 学习率。
            weight_decays: 矩阵与向量各自的衰减系数。
            **settings: ``betas``、``eps`` 与 ``momentum``。
        """
        share, layout = self.share(), self.layout
        common: dict[str, Any] = {"lr": lr, "scale": scale}
        for start, stop, decay in (
            (0, layout.muon.start, weight_decays[0]),
            (layout.muon.stop, layout.decayed, weight_decays[0]),
            (layout.decayed, layout.size, weight_decays[1]),
        ):
            span = slice(max(share.start, start), min(share.stop, stop))
            _over(span, self._elementwise(step=step, weight_decay=decay, **common, **settings))
        for matrices in self._muon:
            muon_update(
                *matrices,
                weight_decay=weight_decays[0],
                momentum=settings["momentum"],
                adjust_lr_fn=MUON_RATE,
                **common,
            )

    def _elementwise(
        self, *, step: int, betas: tuple[float, float], eps: float, momentum: float, **common: Any
    ) -> Callable[[int, int], None]:
        """更新一段的动作：AdamW 或 SGD。"""
        flats = (self.theta, self.grad, *self.states)

        def part(start: int, stop: int) -> None:
            for block in _blocks(start, stop):
                arrays = [flat[block] for flat in flats]
                if len(self.states) == 2:
                    adamw_update(*arrays, t=step, betas=betas, eps=eps, **common)
                else:
                    sgd_update(*arrays, momentum=momentum, nesterov=momentum > 0, **common)

        return part


def _over(span: slice, part: Callable[[int, int], Any]) -> list[Any]:
    """把 ``span`` 分给几个核；几个进程各管一段时，每个进程只有一个核。"""
    size = max(span.stop - span.start, 0)
    return split(lambda i, j: part(span.start + i, span.start + j), size, 8 * size, BLOCK)


def _blocks(start: int, stop: int) -> Iterator[slice]:
    for at in range(start, stop, BLOCK):
        yield slice(at, min(at + BLOCK, stop))
