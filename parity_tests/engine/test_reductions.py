"""归约、统计、累积、排序与查找：每种写法的值、形状、dtype、梯度与报错都与 torch 相同。

表的每一行是一段两边通用的代码；``x`` 的形状是 (3, 4, 5)，一种取值处处不同，一种处处并列。
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_llm as tg
from parity_tests.engine.twins import both, same, same_error, same_gradient, table, values

Case = Callable[[Any, Any], Any]
INF, NAN = float("inf"), float("nan")


def _weights(m: Any) -> Any:
    return m.tensor([0.1, 0.3, 0.2, 0.5, 0.4], dtype=m.float64)


def _q(m: Any) -> Any:
    return m.tensor([0.0, 0.3, 0.5, 1.0], dtype=m.float64)


# 并列时 torch 也有约定的
DIFFERENTIABLE: dict[str, Case] = {
    "sum": lambda m, x: (x.sum(None, True), m.sum(x, (0, -1)), x.sum([1], keepdim=True), x.sum(0, dtype=m.float32)),
    "mean": lambda m, x: (x.mean(None, True), x.mean((0, 1)), m.mean(x, 0, True), x.mean(1, dtype=m.float32)),
    "prod": lambda m, x: (x.prod(), x.prod(1), m.prod(x, -1, keepdim=True), x[0, 0, 0].prod(0)),
    "nan aware": lambda m, x: (_holes(m, x).nansum(1), m.nansum(x, (0, 2), keepdim=True), _holes(m, x).nanmean(),
        x.nanmean(0)),
    "amax amin": lambda m, x: (x.amax(), x.amin((0, 2), True), m.amax(x, dim=-1), x[0, 0, 0].amin(0)),
    "aminmax": lambda m, x: (*x.aminmax(), *m.aminmax(x, dim=1, keepdim=True), *x.aminmax(dim=-1)),
    "max min": lambda m, x: (x.max(), m.min(x), m.max(x, other=-x), m.min(x, -x), x[0, 0, 0].max(0).values),
    "var": lambda m, x: (x.var(True), x.var(False), x.var(1, False), x.var((0, 2), True, True), x.var(correction=0.5)),
    "std of distinct": lambda m, x: (_distinct(m, x).std(0), m.std(_distinct(m, x), False),
        _distinct(m, x).std(dim=(0, 1), correction=2, keepdim=True)),
    "std at zero": lambda m, x: (x * 0).std(1),
    "two at once": lambda m, x: (*m.var_mean(x, (0, 1), keepdim=True), *m.std_mean(_distinct(m, x), True),
        *m.var_mean(x, 1, False), *m.std_mean(_distinct(m, x), dim=None, correction=0)),
    "norm": lambda m, x: (x.norm(), x.norm("fro", (0, 1)), x.norm(3, 1, True), m.norm(x, p=1, dim=(0, 2)), x.norm(INF),
        x.norm(-INF, 1), x.norm(0.5, -1), x.norm(dtype=m.float64), m.norm(x, None), x[0, 0, 0].norm()),
    "norm at zero": lambda m, x: [(x * 0).norm(p, 1) for p in (0.5, 1, 1.5, 2, 3, INF, -INF)],
    "negative norm": lambda m, x: (x.abs() + 0.5).norm(-1.5, 2),
    "dist": lambda m, x: (x.dist(x[0]), m.dist(x, x.detach() + 1, 1), m.dist(x, -x, p=INF), x.dist(x, 2)),
    "renorm": lambda m, x: (x.renorm(2, 1, 1.5), m.renorm(x, 1, -1, 100.0), x.renorm(3, 0, maxnorm=0.0)),
    "logsumexp": lambda m, x: (x.logsumexp((0, 1)), m.logsumexp(x, -1, True), x[0, 0, 0].logsumexp(0)),
    "softmax": lambda m, x: (x.softmax(1), m.log_softmax(x, dim=-1), x[0, 0, 0].softmax(0), x[0, 0, 0].log_softmax(-1)),
    "cumsum cumprod": lambda m, x: (x.cumsum(1), m.cumprod(x, -1), x.cumprod(0, dtype=m.float32), x[0, 0, 0].cumsum(0)),
    "logcumsumexp": lambda m, x: (x.logcumsumexp(2), m.logcumsumexp(x * 300, dim=0), x[0, 0, 0].logcumsumexp(0)),
    "cummax cummin": lambda m, x: (*x.cummax(1), *m.cummin(x, dim=-1), *x[0, 0, 0].cummax(0)),
    "median of all": lambda m, x: (x.median(), m.nanmedian(x), _holes(m, x).nanmedian(), x[0, 0, 0].median()),
    "mode": lambda m, x: (*x.mode(), *m.mode(x, 0, True), *x[0, 0, 0].mode()),
    "cov": lambda m, x: (x[0].cov(), m.cov(x[0, 0], correction=0), x[0].cov(aweights=_weights(m)),
        m.cov(x[0], correction=2, fweights=m.tensor([1, 2, 0, 3, 1]), aweights=_weights(m))),
    "corrcoef": lambda m, x: (_distinct(m, x)[0].corrcoef(), m.corrcoef(_distinct(m, x)[0, 0])),
    "diff": lambda m, x: (x.diff(), x.diff(2, 1), m.diff(x, dim=0, prepend=x[:1], append=x), x.diff(9), x.diff(0)),
    "trapezoid": lambda m, x: (m.trapezoid(x), m.trapz(x, dx=0.5, dim=0), m.trapezoid(x, x[0, 0].detach().cumsum(0)),
        m.trapz(x, x=x.detach() * 2, dim=1), m.cumulative_trapezoid(x), m.cumulative_trapezoid(x, m.arange(3), dim=0)),
    "sort": lambda m, x: (x.sort(stable=True)[0], m.sort(x, stable=True, dim=0, descending=True)[0], x.msort()),
    "topk": lambda m, x: (m.topk(_distinct(m, x), 2, dim=0)[0], _distinct(m, x).topk(3, 1, False)[0], x.topk(0)[0],
        x[0, 0, 0].topk(1).values),
    "order statistics": lambda m, x: (*_distinct(m, x).median(1), *m.kthvalue(_distinct(m, x), 3, 1, True),
        *_distinct(m, x).nanmedian(0, keepdim=True), *_distinct(m, x)[0, 0, 0].kthvalue(1)),
    "quantile": lambda m, x: [_distinct(m, x).quantile(_q(m), d, k, interpolation=i) for d in (None, 1)
        for k in (False, True) for i in ("linear", "lower", "higher", "midpoint", "nearest")],
    "quantile of a number": lambda m, x: (_distinct(m, x).quantile(0.3), x[0, 0, 0].quantile(1),
        m.quantile(_distinct(m, x), 0.5, dim=-1, keepdim=True)),
    "nanquantile": lambda m, x: (_holes(m, x).nanquantile(_q(m), 1), _holes(m, x).quantile(0.5, 2),
        m.nanquantile(_holes(m, x), 0.4, dim=0, keepdim=True)),
}  # fmt: skip


def _distinct(m: Any, x: Any) -> Any:
    """各元素互不相同：torch 没有约定并列时取哪一个。"""
    return x + m.arange(60, dtype=m.float64).view(3, 4, 5).sin() * 1e-3


def _holes(m: Any, x: Any) -> Any:
    return _distinct(m, x).masked_fill(x.detach() > 0.5, NAN)


@pytest.mark.parametrize("domain", ["normal", "ties"])
@pytest.mark.parametrize("case", table(DIFFERENTIABLE))
def test_values_and_gradients_equal_torch(case: Case, domain: str) -> None:
    """某种写法的值、形状、dtype 或梯度与 torch 不同。"""
    lossy = case in [DIFFERENTIABLE[name] for name in ("sum", "mean", "cumsum cumprod")]
    same_gradient(case, values(3, 3, 4, 5, domain=domain), "float32" if lossy else "float64")


MASKED: dict[str, Callable[[Any, Any, Any], Any]] = {
    "sums": lambda m, x, k: (m.sum(x, 1, mask=k), m.prod(x, (0, 2), keepdim=True, mask=k), m.sum(x),
        m.cumsum(x, 1, mask=k), m.cumprod(x, -1, mask=k)),
    "extremes": lambda m, x, k: (m.amax(x, 2, mask=k), m.amin(x, mask=k), m.argmax(x, 1, mask=k), m.argmin(x, mask=k),
        m.median(x, 2, mask=k)),
    "statistics": lambda m, x, k: (m.mean(x, 2, mask=k), m.var(x, 1, False, mask=k), m.norm(x, 3, 0, mask=k),
        m.std(x, (0, 1), mask=k[:, 1:2]), m.normalize(x, 2.0, 1, mask=k)),
    "exponentials": lambda m, x, k: (m.softmax(x, 2, mask=k), m.log_softmax(x, 0, mask=k), m.softmin(x, 1, mask=k),
        m.logsumexp(x, 2, mask=k), m.logaddexp(x, -x, input_mask=k)),
}  # fmt: skip


@pytest.mark.parametrize("case", table(MASKED))
def test_masked_functions_equal_torch(case: Callable[[Any, Any, Any], Any]) -> None:
    """``masked`` 里某个函数的值、dtype 或梯度与 torch 不同；掩码有整行都是假的。"""

    def run(m: Any, x: Any) -> Any:
        return case(m.masked, x, (x.detach() > -0.5) & (m.arange(4).view(4, 1) > 0))

    same_gradient(run, values(3, 3, 4, 5))


SECOND_ORDER: dict[str, Case] = {
    "prod with zeros": lambda m, x: (x * m.tensor([1.0, 0.0, 1.0, 1.0, 0.0])).prod(1).sum() + x.prod(0).sum(),
    "cumprod": lambda m, x: (x.cumprod(1) ** 2).sum(),
    "logcumsumexp": lambda m, x: (x.logcumsumexp(0) ** 2).sum(),
    "var and std": lambda m, x: (x.var(0) ** 2).sum() + x.std() * x.sum(),
    "norm": lambda m, x: x.norm() ** 3 + x.norm(3, 1).sum() + (x.norm(1.5, 0) ** 2).sum(),
    "renorm": lambda m, x: (x.renorm(2, 0, 0.5) ** 2).sum(),
    "quantile": lambda m, x: (x.quantile(0.3, 1) ** 3).sum() + (x.median(0).values ** 2).sum() + x.median() ** 2,
    "cov": lambda m, x: (x.cov() ** 2).sum() + (x.corrcoef() ** 2).sum(),
    "sorted": lambda m, x: (x.sort(1).values.cumsum(1) ** 2).sum() + (x.topk(2).values ** 2).sum(),
    "logsumexp": lambda m, x: (x.logsumexp((0, 1)) ** 2) + (x.log_softmax(1) * x.softmax(0)).sum(),
}


@pytest.mark.parametrize("case", table(SECOND_ORDER))
def test_second_derivatives_equal_torch(case: Case) -> None:
    """组合出来的函数求不了二阶导，或与 torch 不同。"""

    def run(m: Any) -> Any:
        x = m.tensor(values(5, 4, 5), requires_grad=True)
        (first,) = m.autograd.grad(case(m, x), [x], create_graph=True)
        (second,) = m.autograd.grad((first * first).sum(), [x])
        return first.detach(), second

    same(run, "float64 second order")


PLAIN: dict[str, Case] = {
    "all any": lambda m, x: ((x > 0).all((0, 1)), m.any(x > 0, dim=-1, keepdim=True), (x * 0 + NAN).all(),
        (x > 0).any(()), x.to(m.uint8).all(), (x > 9).to(m.uint8).any(1), x[0, 0, 0].all(0), x[:0].any(0)),
    "arg": lambda m, x: (x.argmax(keepdim=True), m.argmin(x, 1, True), x[0, 0, 0].argmax(0), (x / 0 - x / 0).argmax(),
        x[:, :0].argmin(0)),
    "count_nonzero": lambda m, x: (x.count_nonzero(), m.count_nonzero(x, (0, 1)), x[0, 0, 0].count_nonzero(dim=0)),
    "integers": lambda m, x: (x.int().sum(), x.int().prod(1), x.int().sum(dtype=m.int32), x.int().cumsum(0),
        x.int().cumprod(1, dtype=m.float32), x.long().nansum(0), *x.long().max(1), x.long().logsumexp(0),
        x.long().median(), (x > 0).sum(dtype=m.bool), *x.long().cummin(2)),
    "uint8": lambda m, x: (x.abs().to(m.uint8).sum(), x.abs().to(m.uint8).sum(dtype=m.uint8), *(x > 0).max(0)),
    "half": lambda m, x: [getattr(x.half(), f)(1) for f in ("sum", "mean", "var", "norm", "cumsum", "amax")],
    "overflow": lambda m, x: [getattr(x.float() * 3e38, f)() for f in ("sum", "mean", "prod", "var", "norm")],
    "infinities": lambda m, x: [f(x / (x > 0)) for f in (m.sum, m.mean, m.var, m.norm, m.prod, lambda y: y.logsumexp(0),
        lambda y: y.softmax(0), lambda y: y.log_softmax(1), lambda y: y.cumsum(1), lambda y: y.logcumsumexp(1))],
    "empty": lambda m, x: (x[:0].sum(0), x[:0].prod(0), x[:0].mean(0), x[:0].norm(2, 0), x[:0].logsumexp((0, 1)),
        x[:0].softmax(0), x[:0].cumsum(0), *x[:0].sort(0), *x[:0].cummax(0), x[:0].median(), *x[:0].mode(1),
        *x[:0].max(1), *x[:0].topk(2), x[:0].nansum(), x[:0].unique(), x[:0].diff(dim=0), *x[:, :0].kthvalue(1, 0)),
    "median of NaN": lambda m, x: (*_holes(m, x).median(1), *_holes(m, x).nanmedian(1), _holes(m, x).median(),
        (x * NAN).nanmedian(), *_holes(m, x).sort(stable=True, dim=0), *(x * NAN).mode(0), *_holes(m, x).cummax(1)),
    "argsort": lambda m, x: (x.argsort(stable=True), m.argsort(x, stable=True, dim=0, descending=True),
        x[0, 0, 0].argsort(), (x * NAN).argsort(dim=1, stable=True)),
    "topk": lambda m, x: (_distinct(m, x).topk(5).indices, _holes(m, x).topk(2, 1)[0], x.long().topk(3, 0, False)[0]),
    "unique": lambda m, x: (*m.unique(x.sign(), return_inverse=True, return_counts=True), x.unique(sorted=False),
        *x.long().unique(True, False, True), *(x > 0).unique(return_counts=True, dim=1), x[0, 0, 0].unique(),
        *x[0].sign().unique(dim=0, return_inverse=True, return_counts=True)),
    "unique NaN": lambda m, x: m.tensor([NAN, 1.0, NAN, 1.0]).unique(return_inverse=True, return_counts=True),
    "unique_consecutive": lambda m, x: (*x.sign().unique_consecutive(True, True), x.sign().unique_consecutive(dim=2),
        *m.unique_consecutive(x.abs().sign().int(), dim=1, return_counts=True, return_inverse=True),
        x[:0].unique_consecutive()),
    "nonzero": lambda m, x: (x.argwhere(), m.argwhere(x[0, 0, 0]), *(x > 0).nonzero(as_tuple=True), m.nonzero(x[0, 0])),
    "searchsorted": lambda m, x: [m.searchsorted(*a, **k) for a, k in (
        ((_distinct(m, x).sort().values, x), {}), ((x.sort()[0], x), {"right": True, "out_int32": True}),
        ((x[0, 0].sort()[0], x), {"side": "right"}), ((x[0, 0].sort()[0], 0.5), {}),
        ((x[0, 0], x), {"sorter": x[0, 0].argsort()}),
        ((m.tensor([1.0, 2.0, NAN]), m.tensor([NAN, 5.0])), {}), ((m.tensor([1, 2, 3]), 2.5), {}))],
    "bucketize": lambda m, x: (m.bucketize(x, x[0, 0].sort()[0]), m.bucketize(2, m.tensor([1, 2, 3]), right=True)),
    "isin": lambda m, x: (m.isin(x.long(), m.tensor([0, 1])), m.isin(x.long(), 1, invert=True), m.isin(1, x.long()),
        m.isin(m.tensor([1.0, NAN]), m.tensor([NAN, 1])), m.isin(m.tensor([0.1]), 0.1)),
    "histc": lambda m, x: (x.histc(), x.histc(7, -1, 1), m.histc(x.float(), bins=4), (x * 0).histc(4), x[:0].histc(3)),
    "histogram": lambda m, x: (*x.histogram(5), *x.histogram(x[0, 0].sort()[0]), *x.histogram(3, range=(-1.0, 1.0)),
        *m.histogram(x, 4, weight=x.abs(), density=True), *(x * 0).histogram(2), *x[:0].histogram(2)),
    "histogramdd": lambda m, x: (m.histogramdd(x[..., :2], 3)[0], *m.histogramdd(x[..., :2], [2, 3], density=True)[1],
        m.histogramdd(x[..., :2], [2, 3], range=[-1.0, 1.0, 0.0, 2.0], weight=x[..., 0].abs(), density=True)[0]),
    "bincount": lambda m, x: (m.bincount(x.long().abs().flatten()), m.tensor([1, 1]).bincount(minlength=4),
        m.tensor([1, 1]).bincount(m.tensor([0.5, 1.5])), m.tensor([0, 2]).bincount(m.tensor([1, 2]), 5)),
    "differences of others": lambda m, x: ((x > 0).diff(), x.long().diff(prepend=x[..., :1]), m.trapezoid(x.long())),
    "names of NumPy": lambda m, x: (x.sum(axis=1), m.mean(x, axis=(0, 1), keepdims=True), *x.max(axis=0),
        x.argmax(axis=1), x.softmax(axis=1), m.cumsum(x, axis=0), x.var(axis=0, keepdims=True),
        *m.sort(x, axis=0, stable=True)),
    "softmax dtype": lambda m, x: (x.long().softmax(0, dtype=m.float32), x.half().log_softmax(-1, m.float64)),
}  # fmt: skip


@pytest.mark.parametrize("domain", ["normal", "ties"])
@pytest.mark.parametrize("case", table(PLAIN))
def test_results_without_gradients_equal_torch(case: Case, domain: str) -> None:
    """某种写法的值、形状或 dtype 与 torch 不同，或漏出了 NumPy 的警告。"""
    kind = (
        "float32"
        if case in [PLAIN[n] for n in ("half", "overflow", "integers", "histc", "softmax dtype")]
        else "float64"
    )
    same(lambda m: case(m, m.tensor(values(7, 3, 4, 5, domain=domain))), kind)


MISTAKES: dict[str, Callable[[Any], Any]] = {
    "max of an empty axis": lambda m: m.ones(0, 3).max(0),
    "median of an empty axis": lambda m: m.ones(0, 3).median(0),
    "mode of an empty axis": lambda m: m.ones(0, 3).mode(0),
    "kthvalue of an empty axis": lambda m: m.ones(0, 3).kthvalue(1, 0),
    "argmin of an empty axis": lambda m: m.ones(0, 3).argmin(0),
    "aminmax of nothing": lambda m: m.ones(0).aminmax(),
    "aminmax of an empty axis": lambda m: m.ones(0, 3).aminmax(dim=0),
    "amin of nothing": lambda m: m.ones(0).amin(),
    "inf norm of nothing": lambda m: m.ones(0).norm(INF),
    "negative norm of nothing": lambda m: m.ones(0).norm(-1),
    "norm of an unknown order": lambda m: m.ones(2, 2).norm("foo"),
    "norm of integers": lambda m: m.ones(2).long().norm(),
    "mean of integers": lambda m: m.ones(2).long().mean(),
    "mean to integers": lambda m: m.ones(2).mean(dtype=m.int64),
    "nanmean of integers": lambda m: m.ones(2).long().nanmean(),
    "var of integers": lambda m: m.ones(2).long().var(),
    "softmax of integers": lambda m: m.ones(2).long().softmax(0),
    "logcumsumexp of integers": lambda m: m.ones(2).long().logcumsumexp(0),
    "argmax of bools": lambda m: m.ones(2).bool().argmax(),
    "median of bools": lambda m: m.ones(2).bool().median(),
    "topk of bools": lambda m: m.ones(2).bool().topk(1),
    "a bool as dim": lambda m: m.ones(2).sum(True),
    "two dims of prod": lambda m: m.ones(2, 2).prod((0, 1)),
    "two dims of max": lambda m: m.ones(2, 2).max((0, 1)),
    "a float as dim": lambda m: m.ones(2).sum(0.5),
    "k of zero": lambda m: m.ones(2).kthvalue(0),
    "quantile beyond one": lambda m: m.ones(2).quantile(1.5),
    "quantile of a matrix of q": lambda m: m.ones(2).quantile(m.ones(1, 1)),
    "quantile of another dtype": lambda m: m.ones(2).quantile(m.ones(1).double()),
    "quantile of nothing": lambda m: m.ones(0).quantile(0.5),
    "quantile of integers": lambda m: m.ones(2).long().quantile(0.5),
    "quantile of a string": lambda m: m.ones(2).quantile("0.5"),
    "unknown interpolation": lambda m: m.ones(2).quantile(0.5, interpolation="cubic"),
    "renorm of a vector": lambda m: m.ones(2).renorm(2, 0, 1.0),
    "negative maxnorm": lambda m: m.ones(2, 2).renorm(2, 0, -1.0),
    "diff of a scalar": lambda m: m.tensor(1.0).diff(),
    "negative order of diff": lambda m: m.ones(2).diff(-1),
    "prepend of another rank": lambda m: m.ones(2, 2).diff(prepend=m.ones(2)),
    "cov of three axes": lambda m: m.ones(2, 2, 2).cov(),
    "float fweights": lambda m: m.ones(2, 2).cov(fweights=m.ones(2)),
    "trapezoid of a scalar": lambda m: m.trapezoid(m.tensor(1.0)),
    "trapezoid with too few points": lambda m: m.trapezoid(m.ones(2, 3), m.ones(2)),
    "unique along an axis of a scalar": lambda m: m.tensor(1.0).unique(dim=0),
    "unique of empty pieces": lambda m: m.ones(3, 0).unique(dim=0),
    "searchsorted with rows that differ": lambda m: m.searchsorted(m.ones(2, 3), m.ones(3, 3)),
    "searchsorted of a number in rows": lambda m: m.searchsorted(m.ones(2, 3), 1.0),
    "searchsorted with opposite sides": lambda m: m.searchsorted(m.ones(3), m.ones(1), side="left", right=True),
    "searchsorted with a bad sorter": lambda m: m.searchsorted(m.ones(3), m.ones(1), sorter=m.tensor([0, 1, 5])),
    "bucketize in a matrix": lambda m: m.bucketize(m.ones(2), m.ones(2, 2)),
    "isin of bools": lambda m: m.isin(m.ones(1).bool(), m.ones(1).bool()),
    "histc of integers": lambda m: m.ones(2).long().histc(),
    "histc of NaN": lambda m: m.tensor([1.0, NAN]).histc(3),
    "histc with a float for bins": lambda m: m.ones(2).histc(2.5),
    "histogram without bins": lambda m: m.ones(2).histogram(0),
    "histogram of a reversed range": lambda m: m.ones(2).histogram(2, range=(3.0, 1.0)),
    "histogramdd of a vector": lambda m: m.histogramdd(m.ones(2), 2),
    "histogramdd with too many bins": lambda m: m.histogramdd(m.ones(2, 2), [1, 2, 3]),
    "bincount of negatives": lambda m: m.tensor([-1]).bincount(),
    "bincount of floats": lambda m: m.ones(2).bincount(),
    "bincount with too few weights": lambda m: m.tensor([1, 2]).bincount(m.ones(1)),
}


@pytest.mark.parametrize("case", table(MISTAKES))
def test_mistakes_raise_as_in_torch(case: Callable[[Any], Any]) -> None:
    """torch 会报错的写法我们不报，或报成另一类。"""
    same_error(case)


def test_named_results_have_torchs_names_and_look() -> None:
    """（值，下标）的字段名或打印的样子与 torch 不同。"""
    names = ("max", "min", "median", "nanmedian", "mode", "sort", "cummax", "cummin")
    calls: list[Callable[[Any], Any]] = [lambda x, name=name: getattr(x, name)(0) for name in names]  # type: ignore[misc]
    calls += [lambda x: x.kthvalue(1), lambda x: x.topk(2), lambda x: x.aminmax(), lambda x: x.histogram(2)]
    for call in calls:
        ours, theirs = both(lambda m, call=call: call(m.tensor([3.0, 1.0, 2.0])))  # type: ignore[misc]
        assert repr(ours) == repr(theirs)
        for field in type(ours)._fields:
            assert repr(getattr(ours, field)) == repr(getattr(theirs, field))


def test_variance_keeps_its_digits_in_float32() -> None:
    """均值远大于标准差时，float32 的方差丢掉了有效数字。"""
    x = np.random.default_rng(0).standard_normal(10000)
    found = tg.tensor(x + 3000, dtype=tg.float32).var().item()
    assert abs(found - x.var(ddof=1)) < 1e-3


def test_deviation_without_freedom_warns() -> None:
    """只有一个数却求无偏方差：torch 给 NaN 并警告。"""
    with pytest.warns(UserWarning, match="degrees of freedom"):
        assert tg.ones(1).std().isnan().item()
