"""视图算子的取样：拷贝的次序、移位、对角线、滑动的窗、任意步长。

流入：hypothesis 的取样函数；流出：``(输入, 属性)``。``rows_shape.py`` 引用这里。
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from hypothesis import strategies as st

from parity_tests.engine.op_cases import Case, size
from parity_tests.strategies import Draw, array
from tinygrad_llm.ops import views

count = math.prod

TWINS: dict[str, Callable[..., Any]] = {
    "diagonal": lambda x, offset, dim1, dim2: torch.diagonal(x, offset, dim1, dim2),
    "unfold": lambda x, dim, size, step: x.unfold(dim, size, step),
}
"""可以重放的视图算子在 torch 里的同一个函数。"""


def copied(draw: Draw, small: bool) -> Case:
    """任意的内存次序。"""
    shape = size(draw, small)
    return [array(draw, shape)], {"order": tuple(draw(st.permutations(range(len(shape)))))}


def roll(draw: Draw, small: bool) -> Case:
    """沿若干轴移位，轴可以重复。"""
    shape = size(draw, small, min_dims=1)
    moves = draw(st.lists(st.tuples(st.integers(-4, 4), st.integers(0, len(shape) - 1)), min_size=1, max_size=3))
    return [array(draw, shape)], {"shifts": tuple(n for n, _ in moves), "dim": tuple(d for _, d in moves)}


def diagonal(draw: Draw, small: bool) -> Case:
    """任意两根不同的轴上的对角线，可以落在矩阵之外。"""
    shape = size(draw, small, min_dims=2)
    first, second = draw(st.permutations(range(len(shape))))[:2]
    return [array(draw, shape)], {"offset": draw(st.integers(-2, 2)), "dim1": first, "dim2": second}


def unfold(draw: Draw, small: bool) -> Case:
    """窗与步长，窗可以互相重叠，0 维也行。"""
    shape = size(draw, small, min_side=1)
    dim = draw(st.integers(0, len(shape) - 1)) if shape else 0
    width = draw(st.integers(1, shape[dim] if shape else 1))
    return [array(draw, shape)], {"dim": dim, "size": width, "step": draw(st.integers(1, 3))}


def scatter_view(draw: Draw, small: bool) -> Case:
    """视图的反向：窗或对角线。"""
    name, draws = draw(st.sampled_from([("unfold", unfold), ("diagonal", diagonal)]))
    (x,), attrs = draws(draw, small)
    op = getattr(views, name)
    return [array(draw, op(x, **attrs).shape)], {"shape": x.shape, "path": ((op, attrs),)}


def _target(draw: Draw, total: int) -> views.Layout:
    """落在 ``total`` 个元素之内的形状、步长与起点；步长 0 表示重叠。"""
    strides = tuple(draw(st.lists(st.integers(0, 2), max_size=3)))
    start = draw(st.integers(0, total - 1))
    shape: list[int] = []
    room = total - 1 - start
    for step in strides:
        n = draw(st.integers(1, min(2, 1 + room // step) if step else 2))
        room -= step * (n - 1)
        shape.append(n)
    return tuple(shape), strides, start


def as_strided(draw: Draw, small: bool) -> Case:
    """连续的数组按任意步长读；实际的内存布局可以不同，那时先按声明的排布排好。"""
    shape = size(draw, small, min_side=1)
    x = array(draw, shape)
    source = (shape, tuple(math.prod(shape[i + 1 :]) for i in range(len(shape))), 0)
    return [x], {"target": _target(draw, x.size), "source": source}


def through_memory(draw: Draw, small: bool) -> Case:
    """两种排布之间的搬运，三种排布都可能重叠。"""
    total = 4 if small else 8
    source, target, shared = (_target(draw, total) for _ in range(3))
    return [array(draw, source[0])], {"source": source, "target": target, "shared": shared}


def _places(layout: views.Layout) -> Any:
    shape, strides, start = layout
    return torch.arange(64).as_strided(shape, strides, start)


def through_memory_twin(x: Any, source: views.Layout, target: views.Layout, shared: views.Layout) -> Any:
    """一块内存上按位置累加、除以重叠次数、再取出。"""
    memory = x.new_zeros(64).index_add(0, _places(source).reshape(-1), x.reshape(-1))
    times = torch.bincount(_places(shared).reshape(-1), minlength=64).clamp(min=1)
    return (memory / times.to(x.dtype))[_places(target)]
