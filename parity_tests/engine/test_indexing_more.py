"""按下标取、放、累加与归约，连同就地的写法：逐项与 torch 相同；torch 拒绝的也拒绝。"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from parity_tests.engine.case_inputs import described, inputs
from parity_tests.engine.twins import same, same_error, same_gradient, table, values

Case = Callable[[Any, Any], Any]

CASES: dict[str, Case] = {
    "gather": lambda m, o: (o.x.gather(0, m.tensor([[0]])), o.x.gather(0, m.tensor([[0]], dtype=m.int32)),
        o.z.gather(0, m.tensor(0)), o.z.gather(0, m.tensor([0])), o.x[0].gather(0, m.tensor(1)),
        o.x.gather(0, m.tensor([])), o.x.gather(0, m.empty(0, 0, dtype=m.long)),
        o.x.gather(dim=0, index=m.tensor([[0]]), sparse_grad=True), o.x.gather(-1, m.tensor([[0], [2]])),
        m.gather(o.x, 1, m.tensor([[0], [2]]))),
    "scatter": lambda m, o: (o.x.scatter(0, m.tensor([[0, 1]]), 5),
        o.x.scatter(0, m.tensor([[0, 1]]), m.tensor([[5.0, 6]])),
        o.x.scatter(0, m.tensor([[0, 1]]), 5, reduce="add"),
        o.x.scatter(0, m.tensor([[0, 1]]), m.tensor([[5.0, 6]]), reduce="multiply"),
        o.x.scatter(0, index=m.tensor([[0, 1]]), value=2), o.x.scatter(0, index=m.tensor([[0, 1]]), src=o.x),
        o.ids.scatter(0, m.tensor([[0]]), 2.7), o.x.scatter(0, m.tensor([[0, 1]], dtype=m.int32), 5),
        o.x.scatter(0, m.empty(0, dtype=m.long), o.x), o.z.scatter(0, m.tensor(0), 3),
        o.z.scatter(0, m.tensor([0]), 3), o.z.scatter(0, m.tensor([0]), m.tensor([3.0]))),
    "scatter_add": lambda m, o: (o.x.scatter_add(0, m.tensor([[0, 0], [0, 0]]), o.x),
        o.b.scatter_add(0, m.tensor([[0, 0], [0, 0]]), o.b), o.z.scatter_add(0, m.tensor([0]), m.tensor([3.0])),
        o.z.scatter_add(0, m.tensor(0), o.z)),
    "scatter_reduce": lambda m, o: (o.x.scatter_reduce(0, m.tensor([[0, 0], [0, 0]]), o.x, "sum"),
        o.x.scatter_reduce(0, m.tensor([[0, 0], [0, 0]]), o.x, reduce="mean", include_self=False),
        o.ids.scatter_reduce(0, m.tensor([[0, 0], [0, 0]]), o.ids, reduce="mean"),
        (-o.ids).scatter_reduce(0, m.tensor([[0, 0], [0, 0]]), -o.ids, reduce="mean"),
        o.x.scatter_reduce(0, m.tensor([[0, 0], [0, 0]]), o.x, reduce="amax", include_self=False),
        o.b.scatter_reduce(0, m.tensor([[0, 0], [0, 0]]), o.b, reduce="amax"),
        o.b.scatter_reduce(0, m.tensor([[0, 0], [0, 0]]), o.b, reduce="sum"),
        o.ids.scatter_reduce(0, m.tensor([[0, 0], [0, 0]]), o.ids, reduce="prod", include_self=False),
        o.ids.scatter_reduce(0, m.tensor([[0, 0], [0, 0]]), o.ids, reduce="amin", include_self=False)),
    "index_select": lambda m, o: (o.x.index_select(0, m.tensor([1, 0])), o.x.index_select(0, m.tensor(1)),
        o.x.index_select(0, m.tensor([1], dtype=m.int32)), o.z.index_select(0, m.tensor([0])),
        o.z.index_select(0, m.tensor(0)), o.x.index_select(1, m.tensor([], dtype=m.long))),
    "index_add": lambda m, o: (o.x.index_add(0, m.tensor([0, 0]), o.x),
        o.x.index_add(0, m.tensor([0, 0]), o.x, alpha=2), o.x.index_add(0, m.tensor(0), o.x[:1]),
        o.z.index_add(0, m.tensor(0), o.z), o.b.index_add(0, m.tensor([0, 0]), o.b),
        o.ids.index_add(0, m.tensor([0, 0]), o.ids, alpha=1.5),
        o.x.index_add(0, m.tensor([0, 1], dtype=m.int32), o.x), o.x.t().index_add(0, m.tensor([0]), m.ones(1, 2))),
    "index_copy": lambda m, o: (o.x.index_copy(0, m.tensor([1, 0]), o.x), o.x.index_copy(0, m.tensor([1, 1]), o.x),
        o.x.index_copy(0, m.tensor(0), o.x[:1]), o.z.index_copy(0, m.tensor([0]), m.tensor([2.0])),
        o.z.index_copy(0, m.tensor(0), m.tensor(2.0))),
    "index_fill": lambda m, o: (o.x.index_fill(0, m.tensor([1]), 7), o.x.index_fill(0, m.tensor([-1]), 7),
        o.x.index_fill(0, m.tensor([1]), m.tensor(7)), o.x.index_fill(0, m.tensor(1), 7),
        o.z.index_fill(0, m.tensor([0]), 7), o.ids.index_fill(0, m.tensor([1]), 7.5)),
    "index_put": lambda m, o: (o.x.index_put((m.tensor([0, 1]),), m.tensor(5.0)),
        o.x.index_put([m.tensor([0, 1]), m.tensor([0, 1])], m.tensor([5.0, 6])),
        o.x.index_put((m.tensor([0, 0]),), m.tensor([1.0, 2, 3]), accumulate=True),
        o.x.index_put((o.b,), m.tensor(5.0)), o.x.index_put((o.b,), m.tensor([5.0, 6, 7])),
        o.x.index_put((o.b,), m.tensor(5)),
        o.x.index_put(indices=(m.tensor([0]),), values=m.tensor(5.0), accumulate=False),
        o.x.index_put((m.tensor([0], dtype=m.int32),), m.tensor(5.0)),
        o.b.index_put((m.tensor([0]),), m.tensor(True), accumulate=True),
        o.x.index_put((m.tensor(0), m.tensor(1)), m.tensor(5.0)),
        o.x.index_put((m.tensor(0),), m.tensor([5.0, 6, 7])), o.x.index_put((o.b,), m.tensor(1.0), True)),
    "index_reduce": lambda m, o: (o.x.index_reduce(0, m.tensor([0, 0]), o.x, "prod"),
        o.x.index_reduce(0, m.tensor([0, 0]), o.x, "mean"),
        o.x.index_reduce(0, m.tensor([0, 0]), o.x, "amax", include_self=False),
        o.ids.index_reduce(0, m.tensor([0, 0]), o.ids, "mean"), o.x.index_reduce(1, m.tensor([0, 0, 2]), o.x, "amin")),
    "take and put": lambda m, o: (o.x.put(m.tensor([0, -1]), m.tensor([5.0, 6])),
        o.x.put(m.tensor([0, 0]), m.tensor([5.0, 6]), accumulate=True),
        o.x.put(m.tensor([[0, 1]]), m.tensor([5.0, 6])), o.x.put(m.tensor([], dtype=m.long), m.tensor([])),
        o.x.put(m.tensor(0), m.tensor(5.0)), o.z.put(m.tensor([0]), m.tensor([2.0])), o.x.take(m.tensor([0, -1])),
        o.x.take(m.tensor(2)), o.x[:0].take(m.tensor([], dtype=m.long)), o.z.take(m.tensor([0])),
        o.x.take_along_dim(m.tensor([[0, 1]])), o.x.take_along_dim(m.tensor([0, 1])),
        o.x.take_along_dim(m.tensor([[0, 1, 0]]), 0), o.x.take_along_dim(m.tensor([[0]]), dim=1),
        m.take_along_dim(o.x, m.tensor([[9]]), 1), o.x.take_along_dim(m.tensor([[-1]]), 1)),
    "masked": lambda m, o: (o.x.masked_select(o.b), o.x.masked_select(m.tensor([True, False, True])),
        o.x.masked_select(m.tensor(True)), o.z.masked_select(m.tensor(True)), o.x[0].masked_select(o.b),
        o.x.masked_scatter(o.b, m.tensor([7.0, 8, 9, 10])),
        o.x.masked_scatter(m.tensor([True, False, False]), m.tensor([7.0, 8, 9])),
        o.x[0].masked_scatter(o.b, m.tensor([7.0, 8, 9])), o.z.masked_scatter(m.tensor(True), m.tensor([7.0, 8]))),
    "where": lambda m, o: (m.where(o.z), m.where(o.b, o.x, 0), m.where(o.b, 1, 0.5), m.where(o.b, o.x, o.ids),
        m.where(o.b, o.z.double(), o.x), m.where(o.b, True, 1), m.where(o.b, o.x, 2.5), m.where(o.b, o.ids, 2.5),
        m.where(o.b, o.x.half(), 2.5), m.where(o.b.to(m.uint8), o.x, o.x), o.x.where(o.b, 0), o.x.where(o.b, o.x),
        m.where(condition=o.b, input=o.x, other=o.x), m.where(m.tensor(True), o.x, m.tensor(0.0)),
        m.where(o.b, m.tensor(1), m.tensor(2.5)), m.where(o.b, m.tensor(1, dtype=m.int32), 2),
        m.where(o.b, o.x, m.ones(2, 1)), m.where(o.b, o.b, True), m.where(o.b, o.b, 2)),
    "in place": lambda m, o: (o.x.fill_diagonal_(7), m.ones(4, 2).fill_diagonal_(0),
        m.zeros(7, 3).fill_diagonal_(1, wrap=True), m.zeros(3, 3, 3).fill_diagonal_(1), m.zeros(2, 3).tril_(1),
        m.zeros(2, 3).t_(), m.zeros(2, 1, 3).squeeze_(1), m.zeros(2, 3, 4).transpose_(0, 2).stride(),
        m.zeros(2, 3).swapaxes_(0, 1), m.ones(2).as_strided_((1,), (1,)),
        o.x.index_add_(0, m.tensor([0]), m.ones(1, 3)), o.x.scatter_(0, m.tensor([[0]]), 9),
        o.x.scatter_add_(0, m.tensor([[0]]), m.ones(1, 1)), o.x.index_fill_(0, m.tensor([0]), 1),
        o.x.index_copy_(0, m.tensor([0]), m.ones(1, 3)), o.x.index_put_((m.tensor([0]),), m.tensor(1.0)),
        o.x.put_(m.tensor([0]), m.tensor([9.0])), o.x.masked_scatter_(o.b, m.zeros(6)),
        o.x.scatter_reduce_(0, m.tensor([[0]]), m.ones(1, 1), "sum"),
        o.x.index_reduce_(0, m.tensor([0]), m.ones(1, 3), "amax"), o.x.clone().resize_(2, 2),
        o.x.clone().resize_((3, 2)), o.x.clone().resize_as_(m.ones(2)), o.x.triu_(1)),
    "resize_ grows": lambda m, o: (
        o.x.clone().resize_(50)[: o.x.numel()], o.x.t().clone().resize_(9, 9).view(-1)[: o.x.numel()],
        m.empty(0).resize_(2, 3).shape, m.tensor(3.0).resize_(2)[0]),
    "others": lambda m, o: (tuple(m.zeros(2, 3).unsqueeze_(0).shape),),
    "subscripts of one kind": lambda m, o: (o.y[True], o.y[False], o.y[True, 0], o.y[0, True], o.y[None, True],
        o.y[..., True], o.y[m.tensor(True)], o.y[m.tensor(False)], o.z[True], o.z[False], o.z[...], o.z[None],
        o.z[()], o.y[()], o.y[[]], o.y[[0, 1]], o.y[[0, 1], [0, 1]], o.y[[[0, 1], [1, 0]]], o.y[[True, False]],
        o.y[range(2)], o.y[(0, 1)], o.y[np.array([0, 1])], o.y[np.int64(1)], o.y[np.array(1)],
        o.y[np.array([True, False])], o.y[m.tensor([0, 1], dtype=m.int32)], o.y[m.tensor([0, 1], dtype=m.uint8)],
        o.y[m.tensor(1)], o.y[m.tensor(1, dtype=m.uint8)], o.y[m.tensor(1, dtype=m.int8)], o.y[0:5], o.y[5:0]),
    "subscripts mixed": lambda m, o: (o.y[::2], o.y[0 : m.tensor(1)], o.y[slice(m.tensor(0), m.tensor(2))],
        o.y[..., 0, ...], o.y[[0, 1], None], o.y[[0, -1]],
        o.y[:, m.tensor([[True, False, True, True], [False] * 4, [True] * 4])], o.y[[0, 1], :, [0, 1]],
        o.y[0, :, [0, 1]], o.y[:, 0, [0, 1]], o.y[[0, 1], 0, :], o.y[m.tensor([], dtype=m.long)], o.y[[], [0]],
        o.y[[m.tensor(0), m.tensor(1)]], o.y[[slice(0, 1)]], o.y[[None]], o.y[(slice(0, 1), [0])],
        o.y[[0, m.tensor(1)]], o.y[[[0], [1, 2]]], o.v[o.v > 1], o.v[[True, True, False]],
        o.y[:, :, [True, False, True, False]], o.y[1, [True, False, True]],
        o.y[m.tensor([1, 0]), m.tensor([True, False, True])], o.y[[0, 1], [True, False, True]],
        o.y[[0], [True, False, True]], o.y[np.array([0, 1], dtype=np.int8)], o.y[None, None, 0, ..., None],
        o.y[..., [0, 1]], o.y[..., None, [0, 1], :], o.y[[0, 1], ..., [0, 1]], o.y[None, [0, 1]]),
    "subscripts of masks and lists": lambda m, o: (o.y[[0, 1], None, [0, 1]], o.y[:, None, [0, 1]],
        o.y[m.tensor([[0, 1], [1, 0]]), 1], o.y[m.tensor([[0, 1], [1, 0]]), :, m.tensor([0, 1])], o.y[0, ..., 1],
        o.y[-1, -1, -1], o.y[:, -1:], o.y[1:1], o.y[:, :, m.tensor([3, 3, 0])], o.ids[o.ids > 2], o.ids[o.ids > 9],
        o.ids[:, 1], o.x.t()[[0, 1]], o.y[m.tensor([0, 1])[:, None], m.tensor([0, 2])],
        o.y[m.tensor([0, 1]).view(2, 1), :, m.tensor([0, 1, 3])], o.z[o.z > 0], o.z[m.tensor(False)],
        o.x[m.tensor([[True, False, True], [False, True, False]])], o.x[0, m.tensor([True, False, True])], o.x[o.b],
        o.x[~o.b, ...], o.x[..., o.b], o.x[None, o.b], o.x[o.b, None], o.y[0][[1, 2], [0, 3]],
        o.x[m.tensor([0]), m.tensor([1])], list(o.x), list(o.v), len(o.y), o.x[np.array([[0, 1], [1, 0]])],
        o.x[(m.tensor([0, 1]),)], o.x[-1:][0], o.x[0][1].item()),
}  # fmt: skip

MISTAKES: dict[str, list[Case]] = {
    "gather": [lambda m, o: o.x.gather(0, m.tensor([[0]], dtype=m.uint8)),
        lambda m, o: o.x.gather(0, m.tensor([[5]])), lambda m, o: o.x.gather(0, m.tensor([[-1]])),
        lambda m, o: o.x.gather(0, m.tensor([0])), lambda m, o: o.x.gather(0, m.tensor([[0, 1, 0, 1]]))],
    "scatter": [lambda m, o: o.x.scatter(0, m.tensor([[0, 1]]), m.tensor([[5, 6]])),
        lambda m, o: o.x.scatter(0, m.tensor([[0, 1]]), o.z),
        lambda m, o: o.x.scatter(0, m.tensor([[0, 1]]), m.tensor([[5.0]])),
        lambda m, o: o.x.scatter(0, m.tensor([[0, 9]]), 5), lambda m, o: o.x.scatter(0, m.tensor([[0, -1]]), 5),
        lambda m, o: o.x.scatter(0, m.tensor([[0, 1]]), 5, reduce="foo"),
        lambda m, o: o.x.scatter(0, m.tensor([0]), 5), lambda m, o: o.x.scatter(0, m.tensor([[0, 0, 0, 0]]), 1),
        lambda m, o: o.x.scatter(0, m.tensor([[0, 1]]))],
    "scatter_add": [lambda m, o: o.x.scatter_add(0, m.tensor([[0, 0], [0, 0]]), 1),
        lambda m, o: o.x.scatter_add(0, m.tensor([[0, 0], [0, 0]]), o.x.double())],
    "scatter_reduce": [lambda m, o: o.x.scatter_reduce(0, m.tensor([[0, 0], [0, 0]]), o.x, "foo"),
        lambda m, o: o.x.scatter_reduce(0, m.tensor([[0, 0], [0, 0]]), o.x),
        lambda m, o: o.b.scatter_reduce(0, m.tensor([[0, 0], [0, 0]]), o.b, reduce="mean")],
    "index_select": [lambda m, o: o.x.index_select(0, m.tensor([[1]])),
        lambda m, o: o.x.index_select(0, m.tensor([2])), lambda m, o: o.x.index_select(0, m.tensor([-1])),
        lambda m, o: o.x.index_select(0, m.tensor([1], dtype=m.int8)),
        lambda m, o: o.z.index_select(0, m.tensor([0, 0])), lambda m, o: o.x.index_select(5, m.tensor([0])),
        lambda m, o: o.x.index_select(0, [0])],
    "index_add": [lambda m, o: o.x.index_add(0, m.tensor([0]), o.x),
        lambda m, o: o.x.index_add(0, m.tensor([0, 5]), o.x), lambda m, o: o.x.index_add(0, m.tensor([0, -1]), o.x),
        lambda m, o: o.x.index_add(0, m.tensor(0), o.x[0]),
        lambda m, o: o.x.index_add(0, m.tensor([0, 0]), o.x.double()),
        lambda m, o: o.x.index_add(0, m.tensor([0, 0]), o.x[:, :2]),
        lambda m, o: o.z.index_add(0, m.tensor([0]), m.tensor([2.0])),
        lambda m, o: o.x.index_add(0, m.tensor([[0, 1]]), o.x)],
    "index_copy": [lambda m, o: o.x.index_copy(0, m.tensor([5, 0]), o.x),
        lambda m, o: o.x.index_copy(0, m.tensor([-1, 0]), o.x), lambda m, o: o.x.index_copy(0, m.tensor(0), o.x[0]),
        lambda m, o: o.x.index_copy(0, m.tensor([0]), o.x),
        lambda m, o: o.x.index_copy(0, m.tensor([1, 0]), o.x.double()),
        lambda m, o: o.x.index_copy(0, m.tensor([1, 0], dtype=m.int32), o.x)],
    "index_fill": [lambda m, o: o.x.index_fill(0, m.tensor([2]), 7),
        lambda m, o: o.x.index_fill(0, m.tensor([1]), m.tensor([7])),
        lambda m, o: o.x.index_fill(0, m.tensor([1], dtype=m.int32), 7),
        lambda m, o: o.x.index_fill(0, m.tensor([[1]]), 7)],
    "index_put": [lambda m, o: o.x.index_put((m.tensor([0, 0]),), m.tensor(5)),
        lambda m, o: o.x.index_put((m.tensor([0, 1]),), 5),
        lambda m, o: o.x.index_put((m.tensor([0]), m.tensor([0]), m.tensor([0])), m.tensor(5.0)),
        lambda m, o: o.x.index_put((m.tensor([5]),), m.tensor(5.0)),
        lambda m, o: o.x.index_put(m.tensor([0]), m.tensor(5.0)),
        lambda m, o: o.z.index_put((m.tensor(True),), m.tensor(3.0))],
    "index_reduce": [lambda m, o: o.x.index_reduce(0, m.tensor([0, 0]), o.x, "sum"),
        lambda m, o: o.x.index_reduce(0, m.tensor([0]), o.x, "amin")],
    "take and put": [lambda m, o: o.x.put(m.tensor([0, 6]), m.tensor([5.0, 6])),
        lambda m, o: o.x.put(m.tensor([0, 1]), m.tensor([5.0])),
        lambda m, o: o.x.put(m.tensor([0, 1]), m.tensor([5, 6])),
        lambda m, o: o.x.put(m.tensor([0], dtype=m.int32), m.tensor([5.0])), lambda m, o: o.x.take(m.tensor([[6]])),
        lambda m, o: o.x.take(m.tensor([0], dtype=m.int32)), lambda m, o: o.x[:0].take(m.tensor([0])),
        lambda m, o: o.x.take_along_dim(m.tensor([0]), 1),
        lambda m, o: o.x.take_along_dim(m.tensor([[0]], dtype=m.int32), 1)],
    "masked": [lambda m, o: o.x.masked_select(o.ids),
        lambda m, o: o.x.masked_select(m.tensor([1, 0, 1], dtype=m.uint8)),
        lambda m, o: o.x.masked_select(m.tensor([True, False])),
        lambda m, o: o.x.masked_scatter(o.b, m.tensor([7.0])),
        lambda m, o: o.x.masked_scatter(o.b, m.tensor([7, 8, 9])),
        lambda m, o: o.x.masked_scatter(o.ids, m.tensor([7.0, 8, 9]))],
    "where": [lambda m, o: m.where(o.x, o.x, o.x), lambda m, o: m.where(o.b, o.x, "a"),
        lambda m, o: m.where(o.b, m.ones(4), o.x), lambda m, o: m.where(True, o.x, o.x),
        lambda m, o: m.where(o.b, o.ids.to(m.int8), 300)],
    "in place": [lambda m, o: m.zeros(2, 3, 3).fill_diagonal_(1), lambda m, o: o.z.fill_diagonal_(1),
        lambda m, o: m.zeros(2, 3, requires_grad=True).t_()],
    "subscripts": [lambda m, o: o.z[0], lambda m, o: o.y[m.tensor([0, 1], dtype=m.int8)],
        lambda m, o: o.y[m.tensor([0, 1], dtype=m.int16)], lambda m, o: o.y[m.tensor([0.0, 1])],
        lambda m, o: o.y[m.tensor(1.0)], lambda m, o: o.y[0, 0, 0, 0], lambda m, o: o.y[3], lambda m, o: o.y[-3],
        lambda m, o: o.y[::-1], lambda m, o: o.y[::0], lambda m, o: o.y[1.0], lambda m, o: o.y["a"],
        lambda m, o: o.y[0.5:1], lambda m, o: o.y[[0, 2]], lambda m, o: o.y[[-3]],
        lambda m, o: o.y[m.tensor([True, False, True])], lambda m, o: o.y[m.tensor([[True, False]])],
        lambda m, o: o.y[m.zeros(2, 3, 5, dtype=m.bool)], lambda m, o: o.y[m.tensor([0, 1]), m.tensor([0, 1, 2])],
        lambda m, o: o.y[m.zeros(0, 3, dtype=m.bool)], lambda m, o: o.y[:0][m.tensor([0])],
        lambda m, o: o.z[None, [0]]],
}  # fmt: skip


@pytest.mark.parametrize("case", table(CASES))
def test_subscripts_equal_torch(case: Case) -> None:
    """值、形状、dtype、内存布局或 requires_grad 与 torch 不同。"""
    same(lambda m: described(case(m, inputs(m))), "float32")


@pytest.mark.parametrize("cases", table(MISTAKES))
def test_subscripts_refuse_what_torch_refuses(cases: list[Case]) -> None:
    """torch 报错的写法这里放过了，或报的是另一类错。"""
    for i, case in enumerate(cases):
        same_error(lambda m, case=case: case(m, inputs(m)), what=str(i))  # type: ignore[misc]


def _writes(m: Any, x: Any) -> Any:
    y = x * 2
    y[m.tensor([0, 2]), 1:] = x[:2, 1:]
    y[:, m.tensor([0, 1])] = x[:, 2:] * 2
    y[0, m.tensor([1, 2])] = x[1, 0]
    y[x.detach() > 0.5] = x[0, 0]
    y[None, 1] = x[:1]
    y[..., -1] = 7
    y[True] = y * 1.5
    return y * y


GRADIENTS: dict[str, Case] = {
    "index_add_": lambda m, x: (x * 2).index_add_(0, m.tensor([0, 0]), x[1:] * 3),
    "index_add_ alpha": lambda m, x: (x * 2).index_add_(1, m.tensor([0, 2]), x[:, :2] * 3, alpha=2),
    "index_copy_": lambda m, x: (x * 2).index_copy_(0, m.tensor([2]), x[:1].sin()),
    "index_fill_": lambda m, x: (x * 2).index_fill_(0, m.tensor([2]), 3.0),
    "index_fill_ t": lambda m, x: (x * 2).index_fill_(0, m.tensor([2, 2]), x[0, 0]),
    "index_put_": lambda m, x: (x * 2).index_put_((m.tensor([0, 1]), m.tensor([1, 2])), x[0, :2]),
    "index_put_ acc": lambda m, x: (x * 2).index_put_((m.tensor([0, 0]),), x[0], accumulate=True),
    "index_reduce_": lambda m, x: (x * 2).index_reduce_(0, m.tensor([0, 0]), x[1:], "prod"),
    "index_reduce mean": lambda m, x: (x * 2).index_reduce(0, m.tensor([0, 0]), x[1:], "mean", include_self=False),
    "put_": lambda m, x: (x * 2).put_(m.tensor([0, -1]), x[0, :2]),
    "put_ acc": lambda m, x: (x * 2).put_(m.tensor([0, 0]), x[0, :2], True),
    "scatter_": lambda m, x: (x * 2).scatter_(0, m.tensor([[0, 1, 2]]), x[2:, :3]),
    "scatter_ v": lambda m, x: (x * 2).scatter_(0, m.tensor([[0, 1, 2]]), 5.0),
    "scatter_add_": lambda m, x: (x * 2).scatter_add_(1, m.tensor([[0, 0, 2]]), x[2:, :3]),
    "scatter_reduce_": lambda m, x: [
        (x * 2).scatter_reduce_(1, m.tensor([[0, 0, 2], [1, 1, 1]]), x[1:, :3], r, include_self=s)
        for r in ("sum", "prod", "mean", "amax", "amin")
        for s in (True, False)
    ],
    "scatter_reduce prod zeros": lambda m, x: (x * 2).scatter_reduce(
        1, m.tensor([[0, 0, 2], [1, 1, 1]]), x[1:, :3] * m.tensor([[0.0, 1, 1], [0, 0, 1]]).double(), "prod"
    ),
    "masked_scatter_": lambda m, x: (x * 2).masked_scatter_(x.detach() > 0, x.sin()),
    "tril_": lambda m, x: (x * 2).tril_(),
    "triu_": lambda m, x: (x * 2).triu_(1),
    "fill_diagonal_": lambda m, x: (x * 2).fill_diagonal_(4.0),
    "gather neg": lambda m, x: (
        x.gather(1, m.tensor([[3, 0], [1, 1], [2, 2]])),
        x.take(m.tensor([0, -1, 0])),
        x.take_along_dim(m.tensor([[0], [1], [3]]), 1),
    ),
    "where": lambda m, x: (
        x.where(x.detach() > 0, 0.0),
        m.where(x.detach() > 0, 1.0, x),
        m.where(x.detach() > 0, x, x[0]),
    ),
    "where nan": lambda m, x: m.where(x.detach() > 0, (x.detach().clamp(min=0) + x * 0).sqrt(), x * 0),
    "setitems": _writes,
}


@pytest.mark.parametrize("case", table(GRADIENTS))
def test_values_and_gradients_equal_torch(case: Case) -> None:
    """值或梯度与 torch 不同，连同就地改写之后的。"""
    same_gradient(case, values(3, 3, 4))
