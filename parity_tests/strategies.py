"""hypothesis 的取样：互相可广播的形状、按定义域取值的数组、各种内存布局。

流入：形状与定义域；流出：数组。元素由抽到的种子生成：缩小失败例子时仍可重放，又比逐个元素抽样快几十倍。
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from hypothesis import strategies as st

Draw = Callable[[st.SearchStrategy[Any]], Any]
Array = np.ndarray[Any, Any]
Shape = tuple[int, ...]

MAX_SIDE = 3


@functools.cache
def shapes(min_dims: int = 0, max_dims: int = 4, min_side: int = 0) -> st.SearchStrategy[Shape]:
    """一个形状，含 0 维与长度为 0 的轴。

    先抽轴数，再从全部这样的形状里抽一个；逐轴去抽（hypothesis 自带的就是）要慢几倍。
    """
    sides = range(min_side, MAX_SIDE + 1)
    return st.one_of(*(_one_of(itertools.product(sides, repeat=n)) for n in range(min_dims, max_dims + 1)))


@functools.cache
def broadcastable(count: int, max_dims: int = 4, min_side: int = 0) -> st.SearchStrategy[tuple[Shape, ...]]:
    """若干个互相可广播的形状：都由同一个形状去掉前面几轴、再把几根轴缩成 1 而来。"""
    return shapes(0, max_dims, min_side).flatmap(lambda whole: _operands(whole, count))


@functools.cache
def _operands(whole: Shape, count: int) -> st.SearchStrategy[tuple[Shape, ...]]:
    tails = [whole[start:] for start in range(len(whole) + 1)]
    one = _one_of(shape for tail in tails for shape in itertools.product(*({1, n} for n in tail)))
    return st.tuples(*[one] * count)


def _one_of(found: Iterable[Shape]) -> st.SearchStrategy[Shape]:
    """小的在前：失败的例子朝那边缩小。"""
    return st.sampled_from(sorted(found, key=lambda shape: (len(shape), shape)))


def _normal(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return rng.standard_normal(shape)


def _ties(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """小整数：处处是并列与 0，正好落在 relu、max、clamp 的拐点上。"""
    return rng.integers(-2, 3, shape).astype(np.float64)


def _smooth(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """彼此相差至少 0.05、离整数也至少 0.02：中心差分不会跨过拐点。"""
    size = int(np.prod(shape))
    steps = rng.permutation(max(size, 64))[:size] - 32
    return (steps * 0.05 + 0.025).reshape(shape)


DOMAINS: dict[str, Callable[[np.random.Generator, tuple[int, ...]], Array]] = {
    "any": _normal,
    "ties": _ties,
    "smooth": _smooth,
    "positive": lambda rng, shape: rng.uniform(0.3, 3.0, shape),
    "nonzero": lambda rng, shape: rng.uniform(0.3, 3.0, shape) * rng.choice([-1.0, 1.0], shape),
    "large": lambda rng, shape: rng.standard_normal(shape) * 30,
    "angle": lambda rng, shape: rng.uniform(-1.0, 1.0, shape),
}
"""定义域的名字 → 取值的办法；``smooth`` 用于中心差分，``ties`` 用于与 torch 对照拐点处的约定。"""

LAYOUTS: dict[str, Callable[[Array], Array]] = {
    "contiguous": lambda x: x,
    "fortran": lambda x: np.array(x, order="F"),
    "negative stride": lambda x: np.ascontiguousarray(x[..., ::-1])[..., ::-1] if x.ndim else x,
    "strided": lambda x: np.repeat(x, 2, axis=-1)[..., ::2] if x.ndim else x,
    "transposed": lambda x: np.array(x.T, order="C").T,
}
"""内存布局的名字 → 换成这种布局，数值不变。"""


def array(draw: Draw, shape: tuple[int, ...], domain: str = "any", layout: bool = True) -> Array:
    """一个 float64 数组。

    Args:
        draw: hypothesis 的取样函数。
        shape: 形状。
        domain: ``DOMAINS`` 的键。
        layout: 是否随机换一种内存布局。

    Returns:
        形状为 ``shape`` 的数组。
    """
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    values = np.asarray(DOMAINS[domain](rng, shape), dtype=np.float64)
    if not layout:
        return values
    return LAYOUTS[draw(st.sampled_from(sorted(LAYOUTS)))](values)


def integers(draw: Draw, shape: tuple[int, ...], low: int, high: int) -> Array:
    """``[low, high)`` 上的整数数组，有重复。"""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return rng.integers(low, high, shape)


def booleans(draw: Draw, shape: tuple[int, ...]) -> Array:
    """布尔数组。"""
    return integers(draw, shape, 0, 2).astype(bool)


def axes(draw: Draw, ndim: int) -> tuple[int, ...]:
    """若干根轴（非负、递增），可以一根也没有。"""
    return tuple(sorted(draw(st.sets(st.integers(0, ndim - 1))))) if ndim else ()
