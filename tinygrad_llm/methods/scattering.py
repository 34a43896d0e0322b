"""Tensor 的按下标散播：写入、相加、求积、取平均与取最值。

流入：Tensor、下标与要散播的值；流出：新的 Tensor。同一位置收到几个值时，写入取最后一个，其余归约。
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from tinygrad_llm import dtypes
from tinygrad_llm.autograd import graph
from tinygrad_llm.autograd.graph import apply
from tinygrad_llm.methods.indexing import index_tensor, index_vector, require_same_dtype, require_within
from tinygrad_llm.methods.scalars import as_element
from tinygrad_llm.methods.shaping import axis, shaped
from tinygrad_llm.ops import elementwise as ew
from tinygrad_llm.ops import scattering
from tinygrad_llm.ops import shape as sh
from tinygrad_llm.ops.op import Array


def _identity(reduce: str, dtype: Any) -> Array:
    """归约的单位元。"""
    if reduce == "prod":
        return np.ones((), dtype)
    if dtype.kind == "f":
        return np.asarray(-np.inf if reduce == "amax" else np.inf, dtype)
    if dtype.kind == "b":
        return np.asarray(reduce == "amin")
    info = np.iinfo(dtype)
    return np.asarray(info.min if reduce == "amax" else info.max, dtype)


class Scattering:
    """按下标散播的方法。"""

    array: Any
    reshape: Any
    clone: Any
    index_put: Any

    def scatter(self, dim: int, index: Any, src: Any = None, *, value: Any = None, reduce: str | None = None) -> Any:
        """沿 ``dim`` 按下标写入 ``src``（Tensor 或数）；``reduce`` 为 ``"add"`` 或 ``"multiply"`` 时改为相加、相乘。

        Raises:
            RuntimeError: 形状、dtype 或下标不合，或 ``reduce`` 不认识。
            TypeError: 没有给 ``src`` 或 ``value``。
        """
        given = value if src is None else src
        if given is None:
            raise TypeError("scatter() missing 1 required argument: src or value")
        if reduce not in (None, "add", "multiply"):
            raise RuntimeError(f"scatter: reduce argument must be either add or multiply, got {reduce!r}")
        if not isinstance(given, graph.tensor_type):
            element = as_element(given, self.array.dtype)
            given = graph.tensor_type.wrap(np.full(index.array.shape, element))
        elif reduce is not None:
            warnings.warn(
                "The reduce argument of torch.scatter with Tensor src is deprecated", UserWarning, stacklevel=3
            )
        if reduce is not None:
            return self.scatter_reduce(dim, index, given, "sum" if reduce == "add" else "prod")
        x, d, where, values = self._lifted(dim, index, given, "scatter")
        if not where.array.size:
            return self.clone()
        key = sh.along(where.array.copy(), d)
        return shaped(apply(sh.index_put, (x.contiguous(), values), {"key": key}), self.array.shape)

    def scatter_add(self, dim: int, index: Any, src: Any) -> Any:
        """沿 ``dim`` 按下标相加。

        Raises:
            RuntimeError: 形状、dtype 或下标不合。
            TypeError: ``src`` 不是 Tensor。
        """
        x, d, where, values = self._lifted(dim, index, src, "scatter_add")
        if not where.array.size:
            return self.clone()
        return shaped(x.contiguous() + _sum_into(x, d, where, values), self.array.shape)

    def scatter_reduce(self, dim: int, index: Any, src: Any, reduce: str, *, include_self: bool = True) -> Any:
        """沿 ``dim`` 按下标归约；``include_self`` 为假时不算自己原来的值。

        Raises:
            RuntimeError: 形状、dtype 或下标不合，或 ``reduce`` 不认识。
        """
        if reduce not in ("sum", "prod", "mean", "amax", "amin"):
            raise RuntimeError(f"reduce argument must be either sum, prod, mean, amax or amin, got {reduce}")
        x, d, where, values = self._lifted(dim, index, src, "scatter_reduce")
        if not where.array.size:
            return self.clone()
        return shaped(_reduced(x, d, where, values, reduce, include_self), self.array.shape)

    def _lifted(self, dim: int, index: Any, src: Any, name: str) -> tuple[Any, int, Any, Any]:
        """0 维当作一维；``src`` 裁成 ``index`` 的形状。"""
        require_same_dtype(self, src, name)
        where, d = index_tensor(index, name), axis(dim, self.array.ndim)
        have, wanted = self.array.shape or (1,), where.array.shape
        x = self if self.array.ndim else self.reshape(1)
        if not where.array.size:
            return x, d, where, src
        values = src if src.array.ndim else src.reshape(1)
        given = values.array.shape
        if not len(have) == len(given) == len(wanted) or any(
            n > m or (i != d and n > k) for i, (n, m, k) in enumerate(zip(wanted, given, have, strict=True))
        ):
            raise RuntimeError(
                f"{name}: expected index {wanted} to be no larger than self {have} apart from dimension {d} "
                f"and to be no larger than src {given}"
            )
        require_within(where.array, have[d], name, RuntimeError)
        return x, d, where, values if wanted == given else values[tuple([slice(0, n) for n in wanted])]

    def index_add(self, dim: int, index: Any, source: Any, *, alpha: Any = 1) -> Any:
        """沿一根轴，``alpha · source`` 的各行加到下标指的行上。

        Raises:
            IndexError: 下标不是一维。
            RuntimeError: 形状、dtype 或下标不合。
        """
        d, rows, values = self._rows(dim, index, source, "index_add")
        if alpha != 1:
            values = values * as_element(alpha, self.array.dtype).item()
        x = self if self.array.ndim else self.reshape(1)
        key = (slice(None),) * d + (rows,)
        added = apply(sh.scatter_index, (values,), {"shape": x.array.shape, "key": key})
        return shaped(apply(ew.add, (x, added), {}), self.array.shape)  # 不走运算符：结果按行连续，与 torch 相同

    def index_reduce(self, dim: int, index: Any, source: Any, reduce: str, *, include_self: bool = True) -> Any:
        """沿一根轴，``source`` 的各行归约到下标指的行上。

        Raises:
            IndexError: 下标不是一维。
            RuntimeError: 形状、dtype 或下标不合，或 ``reduce`` 不认识。
        """
        if reduce not in ("prod", "mean", "amax", "amin"):
            raise RuntimeError(
                f"index_reduce(): expected reduce to be one of prod, mean, amax or amin but got {reduce}"
            )
        d, rows, values = self._rows(dim, index, source, "index_reduce")
        shape = values.array.shape
        spread = np.broadcast_to(rows.reshape([-1 if i == d else 1 for i in range(len(shape))]), shape)
        where = graph.tensor_type.wrap(spread)
        x = self if self.array.ndim else self.reshape(1)
        return shaped(_reduced(x, d, where, values, reduce, include_self), self.array.shape)

    def _rows(self, dim: int, index: Any, source: Any, name: str) -> tuple[int, Array, Any]:
        require_same_dtype(self, source, name)
        rows, d = index_vector(index, name, (np.int64, np.int32)), axis(dim, self.array.ndim)
        have, given = self.array.shape, source.array.shape
        if len(have) != len(given) or have[:d] + have[d + 1 :] != given[:d] + given[d + 1 :]:
            raise RuntimeError(f"{name}(): source {given} must have the shape of self {have} apart from dimension {d}")
        count = given[d] if given else 1
        if rows.size != count:
            raise RuntimeError(
                f"{name}(): number of indices ({rows.size}) should be equal to source.size(dim) ({count})"
            )
        require_within(rows, have[d] if have else 1, name, RuntimeError)
        return d, rows, source if given else source.reshape(1)


def _sum_into(x: Any, d: int, where: Any, values: Any) -> Any:
    return apply(sh.scatter_add_zeros, (values, where), {"dim": d, "shape": x.array.shape})


def _reduced(x: Any, d: int, where: Any, values: Any, reduce: str, include_self: bool) -> Any:
    """归约：和与平均由相加组合出来，其余交给算子；不算自己时，先把收到值的位置换成单位元。"""
    dtype = x.array.dtype
    additive = reduce in ("sum", "mean")
    if not include_self:
        start = graph.tensor_type.wrap(np.zeros((), dtype) if additive else _identity(reduce, dtype))
        x = apply(sh.index_put, (x, start), {"key": sh.along(where.array.copy(), d)})
    if not additive:
        return apply(scattering.scatter_reduce, (x, values, where), {"dim": d, "reduce": reduce})
    total = x + _sum_into(x, d, where, values)
    if reduce == "sum":
        return total
    if dtype.kind == "b":
        raise RuntimeError(f"scatter_reduce: mean is not implemented for {dtypes.of(x.array)}")
    ones = graph.tensor_type.wrap(np.ones(where.array.shape, dtype))
    times = _sum_into(x, d, where, ones).array + dtype.type(include_self)
    count = graph.tensor_type.wrap(np.maximum(times, 1).astype(dtype))
    return total / count if dtype.kind in "fc" else total // count
