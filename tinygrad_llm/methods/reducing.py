"""Tensor 的归约与判断。

流入：Tensor 与 torch 写法的 ``dim``（整数、元组或 ``None``）；流出：Tensor，或（值，下标）二元组。
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_llm import dtypes
from tinygrad_llm.autograd import graph
from tinygrad_llm.autograd.graph import apply
from tinygrad_llm.methods.arithmetic import as_float, binary
from tinygrad_llm.methods.shaping import axis
from tinygrad_llm.methods.sorting import ValuesIndices
from tinygrad_llm.ops import activation, reduce
from tinygrad_llm.ops import elementwise as ew
from tinygrad_llm.ops.op import Op


def dims(dim: Any, ndim: int) -> tuple[int, ...]:
    """``None`` 表示全部轴；整数与元组统一成非负轴号的元组。"""
    if dim is None or dim == () or dim == []:
        return tuple(range(ndim))
    if isinstance(dim, int):
        return (axis(dim, ndim),) if ndim else ()
    return tuple(sorted(axis(d, ndim) for d in dim))


def _extreme_dims(x: Any, dim: Any) -> tuple[int, ...]:
    """同 ``dims``；最值没有初值，不能沿长度为 0 的轴取。

    Raises:
        IndexError: 某根轴的长度为 0。
    """
    over = dims(dim, x.array.ndim)
    if x.array.size == 0 and any(x.array.shape[d] == 0 for d in over):
        raise IndexError(f"expected reduction dim to have non-zero size, got shape {x.array.shape} reduced over {over}")
    return over


def _reduced(op: Op, x: Any, dim: Any, keepdim: bool) -> Any:
    return apply(op, (x,), {"dim": dims(dim, x.array.ndim), "keepdim": keepdim})


def _floating(x: Any, name: str) -> Any:
    if x.array.dtype.kind != "f":
        raise RuntimeError(f"{name}: expected a floating-point tensor, got {dtypes.of(x.array)}")
    return x


class Reducing:
    """归约与排序的方法。"""

    array: Any
    _picked: Any
    clone: Any
    to: Any

    def sum(self, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Any:
        """求和；整数与布尔累加成 int64。"""
        return _reduced(reduce.sum, self if dtype is None else self.to(dtype), dim, keepdim)

    def mean(self, dim: Any = None, keepdim: bool = False) -> Any:
        """均值。

        Raises:
            RuntimeError: 不是浮点类型。
        """
        if self.array.dtype.kind != "f":
            raise RuntimeError(f"mean(): input dtype should be floating point, got {dtypes.of(self.array)}")
        return _reduced(reduce.mean, self, dim, keepdim)

    def var(
        self, dim: Any = None, unbiased: bool = True, keepdim: bool = False, *, correction: int | None = None
    ) -> Any:
        """方差；``unbiased`` 时除以 ``n - 1``。"""
        x: Any = self
        over = dims(dim, self.array.ndim)
        n = reduce.count(self.array.shape, over)
        centered = x - x.mean(over, keepdim=True)
        ddof = (1 if unbiased else 0) if correction is None else correction
        return (centered * centered).sum(over, keepdim=keepdim) / max(n - ddof, 0)

    def std(
        self, dim: Any = None, unbiased: bool = True, keepdim: bool = False, *, correction: int | None = None
    ) -> Any:
        """标准差。"""
        return self.var(dim, unbiased, keepdim, correction=correction).sqrt()

    def norm(self, p: float = 2, dim: Any = None, keepdim: bool = False) -> Any:
        """p-范数（1、2 或 inf）。

        Raises:
            RuntimeError: 其它的 ``p``。
        """
        x: Any = as_float(self)
        if p == 2:
            total = (x * x).sum(dim, keepdim=keepdim)
            at_zero = total == 0  # √ 在 0 处斜率无穷；范数在那里的次梯度取 0，与 torch 一致
            return total.masked_fill(at_zero, 1.0).sqrt().masked_fill(at_zero, 0.0)
        if p == 1:
            return x.abs().sum(dim, keepdim=keepdim)
        if p == float("inf"):
            return x.abs().amax(dim, keepdim=keepdim)
        raise RuntimeError(f"norm: p must be 1, 2 or inf, got {p}")

    def amax(self, dim: Any = None, keepdim: bool = False) -> Any:
        """最大值；并列者平分梯度。"""
        return _reduced(reduce.amax, self, _extreme_dims(self, dim), keepdim)

    def amin(self, dim: Any = None, keepdim: bool = False) -> Any:
        """最小值；并列者平分梯度。"""
        return _reduced(reduce.amin, self, _extreme_dims(self, dim), keepdim)

    def max(self, dim: Any = None, keepdim: bool = False) -> Any:
        """全体最大值；给 ``dim`` 则返回（值，下标）；给另一个 Tensor 则逐元素取大。"""
        return self._extreme(np.argmax, reduce.amax, ew.maximum, dim, keepdim)

    def min(self, dim: Any = None, keepdim: bool = False) -> Any:
        """全体最小值；给 ``dim`` 则返回（值，下标）；给另一个 Tensor 则逐元素取小。"""
        return self._extreme(np.argmin, reduce.amin, ew.minimum, dim, keepdim)

    def _extreme(self, arg: Any, whole: Op, pairwise: Op, dim: Any, keepdim: bool) -> Any:
        if isinstance(dim, graph.tensor_type):
            return binary(pairwise, self, dim)
        if dim is None:
            return _reduced(whole, self, None, False)
        d = axis(dim, self.array.ndim)
        if self.array.ndim == 0:
            return ValuesIndices(self.clone(), graph.tensor_type.wrap(np.zeros((), np.int64)))
        _extreme_dims(self, d)
        return self._picked(np.expand_dims(arg(self.array, axis=d), d), d, keepdim)

    def argmax(self, dim: int | None = None, keepdim: bool = False) -> Any:
        """最大值的下标；并列取第一个。"""
        return self._arg(np.argmax, dim, keepdim)

    def argmin(self, dim: int | None = None, keepdim: bool = False) -> Any:
        """最小值的下标；并列取第一个。"""
        return self._arg(np.argmin, dim, keepdim)

    def _arg(self, function: Any, dim: int | None, keepdim: bool) -> Any:
        over = _extreme_dims(self, dim)
        whole = dim is None or not over
        return graph.tensor_type.wrap(
            np.asarray(function(self.array, axis=None if whole else over[0], keepdims=keepdim))
        )

    def logsumexp(self, dim: Any, keepdim: bool = False) -> Any:
        """``ln Σ eˣ``。"""
        return _reduced(reduce.logsumexp, self, dim, keepdim)

    def softmax(self, dim: int, dtype: Any = None) -> Any:
        """沿 ``dim`` 归一化成概率。"""
        x: Any = _floating(self if dtype is None else self.to(dtype), "softmax")
        return apply(activation.softmax, (x,), {"dim": axis(dim, self.array.ndim)})

    def log_softmax(self, dim: int, dtype: Any = None) -> Any:
        """softmax 的对数。"""
        x: Any = _floating(self if dtype is None else self.to(dtype), "log_softmax")
        return apply(activation.log_softmax, (x,), {"dim": axis(dim, self.array.ndim)})

    def cumsum(self, dim: int) -> Any:
        """沿 ``dim`` 累加。"""
        d = axis(dim, self.array.ndim)
        return apply(reduce.cumsum, (self,), {"dim": d}) if self.array.ndim else self.clone()

    def all(self, dim: int | None = None, keepdim: bool = False) -> Any:
        """是否全为真。"""
        return graph.tensor_type.wrap(np.asarray(np.all(self.array, axis=dim, keepdims=keepdim)))

    def any(self, dim: int | None = None, keepdim: bool = False) -> Any:
        """是否有真。"""
        return graph.tensor_type.wrap(np.asarray(np.any(self.array, axis=dim, keepdims=keepdim)))
