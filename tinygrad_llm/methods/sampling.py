"""Tensor 的随机写入（名字以 ``_`` 结尾）与抽样。

流入：分布的参数与生成器；流出：自己，或样本。数列与 torch 的 CPU 生成器逐个相同；不连续的张量按内存的次序写。
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_llm import dtypes, layouts
from tinygrad_llm.autograd import graph
from tinygrad_llm.autograd.graph import apply
from tinygrad_llm.ops import complex as cx
from tinygrad_llm.ops import elementwise as ew
from tinygrad_llm.ops.bfloat16 import extras, is_low, narrowed
from tinygrad_llm.ops.meta import is_meta
from tinygrad_llm.ops.op import Array
from tinygrad_llm.random import default_generator

_DIGITS = {dtypes.bfloat16: 8, dtypes.float16: 11, dtypes.float32: 24, dtypes.float64: 53}


class Sampling:
    """随机写入与抽样的方法。"""

    array: Any
    reshape: Any
    expand: Any
    write: Any

    def _fill_in_memory_order(self, draw: Callable[[tuple[int, ...]], Array]) -> Any:
        """``draw(形状)`` 给出的数，按自己在内存里的次序写入；没有数据的不抽。"""
        if extras.meta and is_meta(self.array):
            return self
        drawn = _in_memory_order(self.array, draw)
        with np.errstate(over="ignore", invalid="ignore"):
            return self.write(graph.tensor_type.wrap(_cast(np.asarray(drawn), self.array.dtype)))

    def _require_float(self, name: str) -> Any:
        if self.array.dtype.kind != "f":
            raise RuntimeError(f"{name} is not implemented for {dtypes.of(self.array)}; dtype must be floating point")
        return self.array.dtype

    def normal_(self, mean: float = 0.0, std: float = 1.0, *, generator: Any = None) -> Any:
        """写成正态随机数；复数的实部与虚部各占一半方差，都加上 ``mean``，与 torch 一致。

        Raises:
            RuntimeError: 标准差为负，或不是浮点、复数类型。
        """
        if not std >= 0:
            raise RuntimeError(f"normal expects std >= 0.0, but found std {std}")
        if self.array.dtype.kind == "c":
            cx.view_as_real(self).normal_(mean, std * math.sqrt(0.5), generator=generator)
            return self
        dtype = self._require_float("normal_")
        source, serial = generator or default_generator, not self.array.flags.c_contiguous
        return self._fill_in_memory_order(lambda shape: source.normal(shape, dtype, mean, std, serial))

    def uniform_(self, from_: float = 0.0, to: float = 1.0, *, generator: Any = None, **bounds: float) -> Any:
        """写成 ``[from, to)`` 上的均匀随机数；复数的实部与虚部各抽各的。

        Raises:
            RuntimeError: 下界大于上界，或不是浮点、复数类型。
        """
        if self.array.dtype.kind == "c":
            cx.view_as_real(self).uniform_(from_, to, generator=generator, **bounds)
            return self
        dtype, low = self._require_float("uniform_"), bounds.pop("from", from_)
        if bounds:
            raise TypeError(f"uniform_() got an unexpected keyword argument {next(iter(bounds))!r}")
        if low > to:
            raise RuntimeError(f"uniform_ expects to return a [from, to) range, but found from={low} > to={to}")
        source, kind = generator or default_generator, np.promote_types(dtype, np.float32)
        start, step = float(kind.type(low)), float(kind.type(to) - kind.type(low))  # 乘加只舍入一次，与 torch 相同
        if (start, step) == (0.0, 1.0):
            return self._fill_in_memory_order(lambda shape: source.uniform(shape, kind))
        return self._fill_in_memory_order(lambda shape: source.uniform(shape, kind).astype(np.float64) * step + start)

    def log_normal_(self, mean: float = 1.0, std: float = 2.0, *, generator: Any = None) -> Any:
        """写成对数正态随机数：``exp`` 之前的均值与标准差是 ``mean``、``std``。

        Raises:
            RuntimeError: 标准差不是正数，或不是浮点类型。
        """
        self._require_float("log_normal_")
        if not std > 0:
            raise RuntimeError(f"log_normal_ expects std > 0.0, but found std={std}")
        source = generator or default_generator
        return self._fill_in_memory_order(lambda shape: np.exp(source.normal(shape, np.float64, mean, std, True)))

    def exponential_(self, lambd: float = 1.0, *, generator: Any = None) -> Any:
        """写成指数分布的随机数，速率 ``lambd``。

        Raises:
            RuntimeError: 速率不是正数，或不是浮点类型。
        """
        self._require_float("exponential_")
        if not lambd > 0:
            raise RuntimeError(f"exponential_ expects lambda > 0.0, but found lambda={lambd}")
        source = generator or default_generator
        return self._fill_in_memory_order(lambda shape: source.exponential(shape) / lambd)

    def cauchy_(self, median: float = 0.0, sigma: float = 1.0, *, generator: Any = None) -> Any:
        """写成柯西分布的随机数。

        Raises:
            RuntimeError: ``sigma`` 不是正数，或不是浮点类型。
        """
        self._require_float("cauchy_")
        if not sigma > 0:
            raise RuntimeError(f"cauchy_ expects sigma > 0.0, but found sigma={sigma}")
        source = generator or default_generator
        return self._fill_in_memory_order(
            lambda shape: median + sigma * np.tan(math.pi * (source.uniform(shape, np.float64) - 0.5))
        )

    def geometric_(self, p: float, *, generator: Any = None) -> Any:
        """写成几何分布的随机数：首次成功要试几次。

        Raises:
            RuntimeError: ``p`` 不在 ``(0, 1)``。
        """
        if not 0 < p < 1 or self.array.dtype.kind in "bc":
            raise RuntimeError(f"geometric_ expects p to be in (0, 1) and a number dtype, but got p={p}")
        source = generator or default_generator

        def draw(shape: tuple[int, ...]) -> Array:
            with np.errstate(divide="ignore"):
                return np.ceil(np.log(source.uniform(shape, np.float64)) / math.log1p(-p))

        return self._fill_in_memory_order(draw)

    def bernoulli_(self, p: Any = 0.5, *, generator: Any = None) -> Any:
        """以概率 ``p``（数或可广播的 Tensor）写成 1，否则 0。

        Raises:
            RuntimeError: 概率不在 ``[0, 1]``，或 Tensor 不是浮点类型。
        """
        source = generator or default_generator
        if isinstance(p, graph.tensor_type):
            order = layouts.copy_order(self.array, None) or tuple(range(self.array.ndim))
            odds = p.expand(self.array.shape).array.transpose(order)
            return self._fill_in_memory_order(lambda _: _coins(odds, source))
        if not 0 <= p <= 1:
            raise RuntimeError(f"bernoulli_ expects p to be in [0, 1], but got p={p}")
        return self._fill_in_memory_order(lambda shape: source.uniform(shape, np.float64) < p)

    def bernoulli(self, p: Any = None, *, generator: Any = None) -> Any:
        """以自己的元素（或 ``p``）为概率抽 0 与 1；梯度处处为 0。

        Raises:
            RuntimeError: 概率不在 ``[0, 1]``，或不是浮点类型。
        """
        source = generator or default_generator
        if p is not None:
            return graph.tensor_type.wrap(np.empty_like(self.array, order="C")).bernoulli_(p, generator=source)
        return constant_in(graph.tensor_type.wrap(_coins(self.array, source)), self)

    def random_(self, from_: int | None = None, to: int | None = None, *, generator: Any = None) -> Any:
        """写成 ``[from, to)`` 上的随机整数；不给界则取遍这种类型精确表示的非负整数。

        Raises:
            RuntimeError: 区间为空，或超出这种类型，或是复数。
        """
        source, dtype = generator or default_generator, self.array.dtype
        if dtype.kind == "c":
            raise NotImplementedError(f"random_: not implemented for {dtypes.of(self.array)}")
        if from_ is None and to is None:
            return self._fill_in_memory_order(lambda shape: _any_integers(source, shape, dtype))
        low, high = (0, from_) if to is None else (from_ or 0, to)
        return self._fill_in_memory_order(lambda shape: source.integers(*_bounds(low, high, dtype), shape))

    def multinomial(self, num_samples: int, replacement: bool = False, *, generator: Any = None) -> Any:
        """按各行的非负权重抽 ``num_samples`` 个下标。

        不放回（或只抽一个）时用「指数竞赛」：每个候选抽一个速率为权重的指数时刻，最早的几个就是样本。

        Raises:
            RuntimeError: 不是一维或二维的浮点数，权重有负数、NaN、inf，某一行的和为 0，或候选不够。
        """
        weights = self._weights(num_samples, replacement)
        source, dtype = generator or default_generator, weights.dtype
        if replacement and num_samples > 1:
            edges = np.cumsum(weights, axis=-1, dtype=dtype)
            edges /= edges[..., -1:]
            draws = source.uniform((*weights.shape[:-1], num_samples), np.float64)
            found = (edges[..., None, :-1] < draws[..., None]).sum(-1)
            return graph.tensor_type.wrap(found.astype(np.int64))
        with np.errstate(divide="ignore", invalid="ignore"):
            race = weights / _in_memory_order(weights, source.exponential).astype(dtype)
        return graph.tensor_type.wrap(np.argsort(-race, axis=-1, kind="stable")[..., :num_samples].copy())

    def _weights(self, num_samples: int, replacement: bool) -> Array:
        weights: Array = self.array
        self._require_float("multinomial")
        if weights.ndim not in (1, 2) or num_samples < 1:
            raise RuntimeError(f"multinomial: need 1 or 2 dim and samples > 0, got {weights.shape} and {num_samples}")
        if not replacement and num_samples > weights.shape[-1]:
            raise RuntimeError(f"cannot sample {num_samples} of {weights.shape[-1]} without replacement")
        if not np.isfinite(weights).all() or (weights < 0).any():
            raise RuntimeError("probability tensor contains either `inf`, `nan` or element < 0")
        if (weights.sum(-1) <= 0).any():
            raise RuntimeError("invalid multinomial distribution (sum of probabilities <= 0)")
        return weights


def _in_memory_order(like: Array, draw: Callable[[tuple[int, ...]], Array]) -> Array:
    """``draw(形状)`` 给出的数，照 ``like`` 在内存里的次序排。"""
    order = layouts.copy_order(like, None)
    if order is None:
        return draw(like.shape)
    return draw(tuple([like.shape[i] for i in order])).transpose(np.argsort(order))


def _cast(drawn: Array, dtype: Any) -> Array:
    """换成 ``dtype``；16 位浮点从 float32 舍入。"""
    return narrowed(drawn.astype(np.float32), dtype) if is_low(dtype) else drawn.astype(dtype)


def constant_in(drawn: Any, *parameters: Any) -> Any:
    """样本接到参数的图上，梯度处处为 0：与 torch 一样，样本不是参数的可导函数。"""
    for p in parameters:
        if isinstance(p, graph.tensor_type) and p.needs_grad:
            drawn = apply(ew.where, (np.zeros((), bool), p, drawn), {})
    return drawn


def _coins(odds: Array, source: Any) -> Array:
    """以 ``odds`` 的元素为概率抽 0 与 1；均匀数的精度同 ``odds``。"""
    if odds.dtype.kind != "f" or not ((odds >= 0) & (odds <= 1)).all():
        raise RuntimeError(f"bernoulli: expected floating point probabilities in [0, 1], got {dtypes.of(odds)}")
    kind = np.float64 if odds.dtype == np.float64 else np.float32
    return np.asarray(source.uniform(odds.shape, kind) < odds).astype(odds.dtype)


def _any_integers(source: Any, shape: tuple[int, ...], dtype: Any) -> Array:
    """从 0 到这种类型能精确表示的最大整数。"""
    n = math.prod(shape)
    if dtype.kind == "f":
        span = (1 << _DIGITS[dtypes.of(np.empty(0, dtype))]) + 1
    else:
        span = 2 if dtype.kind == "b" else int(np.iinfo(dtype).max) + 1
    words = source.words64(n) if dtype.itemsize == 8 else source.words32(n)
    return np.asarray((words % np.uint64(span)).astype(np.int64)).reshape(shape)


def _bounds(low: int, high: Any, dtype: Any) -> tuple[int, int]:
    if low >= high:
        raise RuntimeError(f"random_ expects 'from' to be less than 'to', but got from={low} >= to={high}")
    if dtype.kind == "f":
        widest = 1 << _DIGITS[dtypes.of(np.empty(0, dtype))]
        if low < -widest or high - 1 > widest:
            warnings.warn(
                f"random_: [{low}, {high}) exceeds the integers {dtype} holds exactly", UserWarning, stacklevel=4
            )
        return low, high
    least, most = (0, 1) if dtype.kind == "b" else (int(np.iinfo(dtype).min), int(np.iinfo(dtype).max))
    if not least <= low or not high - 1 <= most:
        raise RuntimeError(f"random_: [{low}, {high}) is out of bounds for {dtype}")
    return low, high
