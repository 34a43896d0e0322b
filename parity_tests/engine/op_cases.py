"""抽样函数：每一类算子怎样抽它的输入与属性。

流入：hypothesis 的取样函数；流出：``Case``（输入数组与属性）。下一站：``op_table.py``。
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from hypothesis import strategies as st

from parity_tests.strategies import Draw, Shape, array, broadcastable, shapes

Case = tuple[list[Any], dict[str, Any]]
"""一次调用：位置参数（浮点数组可求导，其余是下标、掩码或 ``None``）与属性。"""


class Row(NamedTuple):
    """一个算子的对照。

    Attributes:
        draw: ``(取样函数, 是否为差分准备)`` → ``Case``；为差分准备时取值小而平滑，避开拐点与极点。
        twin: torch 里的同一个函数，参数与算子相同。
        second: 查二阶导时用的 torch 函数；缺省就是 ``twin``。torch 的某些融合实现自己没有（或有误）二阶导。
    """

    draw: Callable[[Draw, bool], Case]
    twin: Callable[..., Any]
    second: Callable[..., Any] | None = None


@functools.cache
def _few(min_dims: int) -> st.SearchStrategy[Shape]:
    """至多六个元素的形状。"""
    return shapes(min_dims, max(2, min_dims), 1).filter(lambda s: math.prod(s) <= 6)


def size(draw: Draw, small: bool, min_dims: int = 0, min_side: int = 0) -> Shape:
    """抽一个形状；为差分准备时只有几个元素。"""
    shape: Shape = draw(_few(min_dims) if small else shapes(min_dims, 4, min_side))
    return shape


def unary(domain: str, *edges: str) -> Callable[[Draw, bool], Case]:
    """一元算子：差分时取 ``domain``，与 torch 对照时还取 ``edges``（拐点、极点、很大的数）。"""

    def draw(draw: Draw, small: bool) -> Case:
        chosen = domain if small else draw(st.sampled_from([domain, *edges]))
        return [array(draw, size(draw, small), chosen)], {}

    return draw


def binary(domains: tuple[str, str], *edges: str) -> Callable[[Draw, bool], Case]:
    """二元算子：形状互相可广播。"""

    def draw(draw: Draw, small: bool) -> Case:
        found = draw(broadcastable(2, 2 if small else 4, 1 if small else 0))
        edge = None if small else draw(st.sampled_from([None, *edges]))
        return [array(draw, s, edge or d) for s, d in zip(found, domains, strict=True)], {}

    return draw


def reduce(domain: str, *edges: str, min_side: int = 1) -> Callable[[Draw, bool], Case]:
    """归约：``dim`` 是非空的轴号元组（0 维时为空）。"""

    def draw(draw: Draw, small: bool) -> Case:
        shape = size(draw, small, min_side=min_side)
        dim = tuple(sorted(draw(st.sets(st.integers(0, len(shape) - 1), min_size=1)))) if shape else ()
        chosen = domain if small else draw(st.sampled_from([domain, *edges]))
        return [array(draw, shape, chosen)], {"dim": dim, "keepdim": draw(st.booleans())}

    return draw


def reduction(name: str) -> Callable[..., Any]:
    """torch 的归约函数；0 维时沿第 0 轴。"""

    def twin(x: Any, dim: tuple[int, ...], keepdim: bool) -> Any:
        return getattr(torch, name)(x, dim=dim or 0, keepdim=keepdim)

    return twin


def along_dim(domain: str, *edges: str) -> Callable[[Draw, bool], Case]:
    """沿一根轴的算子。"""

    def draw(draw: Draw, small: bool) -> Case:
        shape = size(draw, small, min_dims=1, min_side=1)
        chosen = domain if small else draw(st.sampled_from([domain, *edges]))
        return [array(draw, shape, chosen)], {"dim": draw(st.integers(0, len(shape) - 1))}

    return draw
