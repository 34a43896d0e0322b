"""Tensor 的统计量：方差、范数、累积、中位数与分位数、直方图、协方差。

流入：Tensor 与 torch 写法的参数；流出：Tensor，或有名字的几个 Tensor。
"""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np

from tinygrad_llm import dtypes, return_types
from tinygrad_llm.autograd import graph
from tinygrad_llm.autograd.graph import apply
from tinygrad_llm.methods import histograms, quantiles
from tinygrad_llm.methods.arithmetic import as_float, match
from tinygrad_llm.methods.numpy_names import numpy_names
from tinygrad_llm.methods.reducing import as_dtype, dims, floating, picked
from tinygrad_llm.methods.shaping import axis
from tinygrad_llm.ops import complex as cx
from tinygrad_llm.ops import reduce, scan
from tinygrad_llm.ops.op import Op
from tinygrad_llm.ops.shape import cat


def spread(op: Op, x: Any, dim: Any, unbiased: bool, keepdim: bool, correction: float | None) -> Any:
    """方差或标准差；torch 的三种写法都从这里走。

    Args:
        op: ``reduce.var`` 或 ``reduce.std``。
        x: Tensor。
        dim: 轴；写在第一个位置的布尔值是 ``unbiased``。
        unbiased: 没给 ``correction`` 时，是否除以 ``n - 1``。
        keepdim: 是否保留被归约的轴。
        correction: 自由度的修正。

    Returns:
        Tensor。

    Raises:
        RuntimeError: 不是浮点类型。
    """
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    if correction is None:
        correction = 1 if unbiased else 0
    over = dims(dim, floating(x, op.name).array.ndim)
    if reduce.count(x.array.shape, over) <= correction:
        warnings.warn(f"{op.name}(): degrees of freedom is <= 0", UserWarning, stacklevel=3)
    attrs = {"dim": over, "keepdim": keepdim, "correction": correction}
    if x.array.dtype.kind == "c":  # 离均值的距离的平方，就是实部与虚部的方差之和
        a, b = (apply(op, (part,), attrs) for part in (x.real, x.imag))
        return a + b if op is reduce.var else cx.complex_abs(cx.complex(a, b))
    return apply(op, (x,), attrs)


def _scan(op: Op, x: Any, dim: int) -> Any:
    """沿一根轴累积；0 维当作长度为 1 的一维。"""
    d = axis(dim, x.array.ndim)
    if x.array.ndim:
        return apply(op, (x,), {"dim": d})
    return apply(op, (x.reshape(1),), {"dim": d}).reshape(())


def _running_extreme(kind: Any, running: np.ufunc, x: Any, dim: int) -> Any:
    """到此为止的最大或最小值，与它最后一次出现的位置；遇到 NaN 之后都是 NaN。"""
    d = axis(dim, x.array.ndim)
    lines = np.moveaxis(np.atleast_1d(x.array), d, -1)
    best = running.accumulate(lines, axis=-1)
    hits = np.where((lines == best) | (lines != lines), np.arange(lines.shape[-1]), 0)
    index = np.moveaxis(np.maximum.accumulate(hits, axis=-1), -1, d)
    return picked(kind, x, np.ascontiguousarray(index), d, True)


@numpy_names
class Statistics:
    """统计量。"""

    array: Any
    flatten: Any
    narrow: Any
    reshape: Any

    def var(
        self, dim: Any = None, unbiased: bool = True, keepdim: bool = False, *, correction: float | None = None
    ) -> Any:
        """方差；除以 ``n - correction``，缺省 ``n - 1``。"""
        return spread(reduce.var, self, dim, unbiased, keepdim, correction)

    def std(
        self, dim: Any = None, unbiased: bool = True, keepdim: bool = False, *, correction: float | None = None
    ) -> Any:
        """标准差；方差为 0 处梯度取 0。"""
        return spread(reduce.std, self, dim, unbiased, keepdim, correction)

    def norm(self, p: Any = "fro", dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Any:
        """``p`` 范数；``p`` 是任何数、``"fro"`` 或 ``"nuc"``（矩阵奇异值之和）。

        Raises:
            RuntimeError: 不是浮点类型，不认识的 ``p``，或空张量的无穷、负范数。
        """
        x: Any = as_dtype(floating(self, "norm"), dtype)
        if x.array.dtype.kind == "c" and p != "nuc":
            x = x.abs()
        if p == "nuc":
            return _nuclear_norm(x, dim, keepdim)
        order = 2 if p is None or p == "fro" else p
        if isinstance(order, str):
            raise RuntimeError(f"norm: order {p!r} is not supported")
        over = dims(dim, x.array.ndim)
        if (order < 0 or order == math.inf) and reduce.count(x.array.shape, over) == 0:
            raise RuntimeError(
                f"norm: the {p} norm of nothing has no value, got shape {x.array.shape} over dims {over}"
            )
        return apply(reduce.vector_norm, (x,), {"p": order, "dim": over, "keepdim": keepdim})

    def dist(self, other: Any, p: float = 2) -> Any:
        """两个 Tensor 之差的 ``p`` 范数。"""
        return (self - other).norm(p)

    def renorm(self, p: float, dim: int, maxnorm: float) -> Any:
        """沿 ``dim`` 的每一片，``p`` 范数超过 ``maxnorm`` 就缩到 ``maxnorm``。

        Raises:
            RuntimeError: 不足二维，``p`` 不是正数，或 ``maxnorm`` 为负。
        """
        x: Any = self
        if x.array.ndim < 2 or p <= 0 or maxnorm < 0:
            raise RuntimeError(
                f"renorm: expected at least 2 dimensions, p > 0 and maxnorm >= 0, "
                f"got {x.array.ndim} dimensions, p={p}, maxnorm={maxnorm}"
            )
        others = tuple(i for i in range(x.array.ndim) if i != axis(dim, x.array.ndim))
        norms = x.norm(p, others, keepdim=True)
        scale = (maxnorm / (norms + 1e-7)).masked_fill(norms <= maxnorm, 1.0)
        return x * scale

    def cumsum(self, dim: int, *, dtype: Any = None) -> Any:
        """沿 ``dim`` 累加；整数与布尔累加成 int64。"""
        return as_dtype(_scan(scan.cumsum, as_dtype(self, dtype), dim), dtype)

    def cumprod(self, dim: int, *, dtype: Any = None) -> Any:
        """沿 ``dim`` 累乘；整数与布尔累乘成 int64。"""
        return as_dtype(_scan(scan.cumprod, as_dtype(self, dtype), dim), dtype)

    def logcumsumexp(self, dim: int) -> Any:
        """沿 ``dim`` 累积的 ``ln Σ eˣ``。"""
        return _scan(scan.logcumsumexp, floating(self, "logcumsumexp", NotImplementedError), dim)

    def cummax(self, dim: int) -> Any:
        """沿 ``dim`` 到此为止的最大值与它的下标。"""
        return _running_extreme(return_types.cummax, np.maximum, self, dim)

    def cummin(self, dim: int) -> Any:
        """沿 ``dim`` 到此为止的最小值与它的下标。"""
        return _running_extreme(return_types.cummin, np.minimum, self, dim)

    def median(self, dim: int | None = None, keepdim: bool = False) -> Any:
        """中位数，偶数个时取较小的一个；给 ``dim`` 则返回（值，下标）。"""
        return quantiles.median(self, "median", dim, keepdim)

    def nanmedian(self, dim: int | None = None, keepdim: bool = False) -> Any:
        """不计 NaN 的中位数。"""
        return quantiles.median(self, "nanmedian", dim, keepdim)

    def mode(self, dim: int = -1, keepdim: bool = False) -> Any:
        """众数与它最后一次出现的下标。"""
        return quantiles.mode(self, dim, keepdim)

    def kthvalue(self, k: int, dim: int = -1, keepdim: bool = False) -> Any:
        """第 ``k`` 小的元素与它的下标，``k`` 从 1 数起。"""
        return quantiles.kthvalue(self, k, dim, keepdim)

    def quantile(self, q: Any, dim: int | None = None, keepdim: bool = False, *, interpolation: str = "linear") -> Any:
        """分位数；``q`` 是一维 Tensor 时结果多出最前面一根轴。"""
        return quantiles.quantile(self, "quantile", q, dim, keepdim, interpolation)

    def nanquantile(
        self, q: Any, dim: int | None = None, keepdim: bool = False, *, interpolation: str = "linear"
    ) -> Any:
        """不计 NaN 的分位数。"""
        return quantiles.quantile(self, "nanquantile", q, dim, keepdim, interpolation)

    def histc(self, bins: int = 100, min: float = 0, max: float = 0) -> Any:
        """等宽的 ``bins`` 个箱各有几个元素。"""
        return histograms.histc(self, bins, min, max)

    def histogram(self, bins: Any, *, range: Any = None, weight: Any = None, density: bool = False) -> Any:
        """直方图与箱边；``bins`` 是箱数，或一维的箱边。"""
        x: Any = self
        hist, edges = histograms.histogram("histogram", x.reshape(-1, 1), [bins], range, weight, density)
        return return_types.histogram((hist, edges[0]))

    def bincount(self, weights: Any = None, minlength: int = 0) -> Any:
        """非负整数各出现几次，或对应的权重之和。"""
        return histograms.bincount(self, weights, minlength)

    def diff(self, n: int = 1, dim: int = -1, prepend: Any = None, append: Any = None) -> Any:
        """沿 ``dim`` 的 ``n`` 阶差分；布尔的差是「不同」。

        Raises:
            RuntimeError: 0 维，阶数为负，或两端接上的张量轴数不同。
        """
        x: Any = self
        if not x.array.ndim or n < 0:
            raise RuntimeError(f"diff: expected at least one dimension and n >= 0, got {x.array.ndim} and n={n}")
        d = axis(dim, x.array.ndim)
        if n == 0:
            return x.clone()
        for end, before in ((prepend, True), (append, False)):
            x = x if end is None else _joined(x, end, d, before)
        for _ in range(min(n, x.array.shape[d])):
            size = x.array.shape[d] - 1
            later, earlier = x.narrow(d, 1, size), x.narrow(d, 0, size)
            x = later ^ earlier if x.array.dtype.kind == "b" else later - earlier
        return x

    def cov(self, *, correction: int = 1, fweights: Any = None, aweights: Any = None) -> Any:
        """协方差矩阵：一行一个变量，一列一次观测。"""
        return _covariance(self, correction, fweights, aweights)

    def corrcoef(self) -> Any:
        """相关系数矩阵。"""
        c: Any = self.cov()
        if not c.array.ndim:
            return c / c
        places = graph.tensor_type.wrap(np.arange(len(c.array)))
        deviation = c[places, places].sqrt()
        r = c / deviation.unsqueeze(1) / deviation
        if r.array.dtype.kind == "c":  # 实部与虚部各自截断
            return cx.view_as_complex(cx.view_as_real(r).clamp(-1, 1))
        return r.clamp(-1, 1)


def _nuclear_norm(x: Any, dim: Any, keepdim: bool) -> Any:
    from tinygrad_llm import linalg

    return linalg.matrix_norm(x, "nuc", tuple(range(x.array.ndim)) if dim is None else dim, keepdim)


def _joined(x: Any, end: Any, d: int, before: bool) -> Any:
    """在 ``d`` 轴的一端接上一段。"""
    if end.array.ndim != x.array.ndim:
        raise RuntimeError(f"diff: prepend and append need {x.array.ndim} dimensions, got shape {end.array.shape}")
    pair: Any = match(end, x) if before else match(x, end)
    return apply(cat, pair, {"dim": d})


def _weights(name: str, w: Any, kinds: str, observations: int) -> None:
    if w.array.dtype.kind not in kinds or w.array.shape != (observations,) or (w.array < 0).any():
        raise RuntimeError(
            f"cov(): {name} must hold {observations} non-negative {'integers' if 'i' in kinds else 'floats'}, "
            f"got {dtypes.of(w.array)} of shape {w.array.shape}"
        )


def _covariance(x: Any, correction: int, fweights: Any, aweights: Any) -> Any:
    """加权协方差；``fweights`` 是各次观测重复的次数，``aweights`` 是各次观测的分量。

    Raises:
        RuntimeError: 多于二维、布尔类型，或权重的类型、形状、取值不合。
    """
    if x.array.ndim > 2 or x.array.dtype.kind == "b":
        raise RuntimeError(
            f"cov(): expected at most 2 dimensions and no bool, got {dtypes.of(x.array)} {x.array.shape}"
        )
    x = as_float(x if x.array.ndim == 2 else x.reshape(1, -1))
    observations = x.array.shape[1]
    for name, w, kinds in (("fweights", fweights, "iu"), ("aweights", aweights, "f")):
        if w is not None:
            _weights(name, w, kinds, observations)
    w = fweights if aweights is None else aweights if fweights is None else fweights * aweights
    total = observations if w is None else w.sum()
    if w is not None and total.item() == 0:
        raise RuntimeError("cov(): weights sum to zero, can't be normalized")
    freedom = total - correction
    if aweights is not None and correction:
        freedom = total - correction * (w * aweights).sum() / total
    if float(freedom) <= 0:
        warnings.warn("cov(): degrees of freedom is <= 0", UserWarning, stacklevel=4)
        freedom = freedom * 0
    centered = x - ((x if w is None else x * w).sum(1, keepdim=True) / total)
    product = centered @ (centered if w is None else centered * w).mH
    return (product / freedom).squeeze()
