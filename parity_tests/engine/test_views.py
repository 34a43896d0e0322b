"""视图与就地写入：写一处，共享内存的每一处的值与梯度都跟着变，与 torch 相同。"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parity_tests.engine.twins import ENGINES, same_gradient

X = np.arange(1.0, 13.0).reshape(3, 4)


def _write_a_row(m: Any, x: Any) -> Any:
    y = x * 2
    row = y[0]
    row.mul_(3)
    flat = y.view(-1)[2:7]
    flat += x.sum()
    return y * y, row * y[1]


def _fill_a_constant(m: Any, x: Any) -> Any:
    y = m.zeros(3, 4, dtype=x.dtype)
    y[0] = x[1] * 2
    y[1, 1:] = x[0, :3]
    y[2][0] = x[2, 3]
    return y * y


def _through_a_transpose(m: Any, x: Any) -> Any:
    y = x.exp() * 1
    z = y.transpose(0, 1)
    z[1] = 0
    u = y.clone()
    u[:, 0].zero_()
    return y * u, z.sum()


def _views_taken_before_and_after(m: Any, x: Any) -> Any:
    y = x * 1
    before = y.t().reshape(2, 6)[1] if m.equal(y, y) else y
    early = y[:, 1:3]
    y[1].add_(1)
    early.mul_(2)
    late = y[:, 2]
    return before.sum(), early * early, late, y * y


def _a_view_of_a_view(m: Any, x: Any) -> Any:
    y = x.sin() * 1
    inner = y.permute(1, 0).unsqueeze(0).squeeze(0)[1:3]
    inner.add_(inner * 2)
    inner[0].copy_(x[:, 3])
    return y * x, inner * inner


def _a_ring_buffer(m: Any, x: Any) -> Any:
    buffer = m.zeros(2, 3, 4, dtype=x.dtype)
    for i in range(4):
        buffer[i % 2] = x * (i + 1) + buffer[(i + 1) % 2]
    return buffer * buffer


def _masked(m: Any, x: Any) -> Any:
    y = x * 2
    y[y.detach() > 10] = 0
    y[m.tensor([0, 2])] += x[:2]
    y.masked_fill_(x.detach() < 3, -1.0)
    return y * y


PROGRAMS: dict[str, Callable[[Any, Any], Any]] = {
    "a row": _write_a_row,
    "a constant": _fill_a_constant,
    "a transpose": _through_a_transpose,
    "before and after": _views_taken_before_and_after,
    "a view of a view": _a_view_of_a_view,
    "a ring buffer": _a_ring_buffer,
    "masks and indices": _masked,
}


@pytest.mark.parametrize("name", sorted(PROGRAMS))
def test_writing_through_views_gives_wrong_values_or_gradients(name: str) -> None:
    """经视图就地写入之后，值或梯度与 torch 不同。"""
    same_gradient(PROGRAMS[name], X, what=name)


VIEWS: dict[str, Callable[[Any], Any]] = {
    "row": lambda y: y[1],
    "column": lambda y: y[:, 2],
    "block": lambda y: y[1:, ::2],
    "transpose": lambda y: y.t(),
    "flat": lambda y: y.t().t().view(-1),
    "part of a transpose": lambda y: y.t()[1:3],
    "squeezed": lambda y: y.unsqueeze(1)[:, 0],
    "narrow": lambda y: y.narrow(1, 1, 2),
}
WRITES: dict[str, Callable[[Any, Any], Any]] = {
    "mul_": lambda v, s: v.mul_(s),
    "add_": lambda v, s: v.add_((v * 2).sin() * s),
    "copy_": lambda v, s: v.copy_((v * 2).exp() * s),
    "zero_": lambda v, s: v.zero_(),
    "setitem": lambda v, s: v.__setitem__(0, s),
}


@given(st.lists(st.tuples(st.sampled_from(sorted(VIEWS)), st.sampled_from(sorted(WRITES))), min_size=1, max_size=5))
def test_a_random_sequence_of_writes_differs_from_torch(steps: list[tuple[str, str]]) -> None:
    """随意几次「取视图、就地写」之后，全部视图的值与梯度仍与 torch 相同。"""

    def program(m: Any, x: Any) -> Any:
        y = x.sin() * 1
        kept = []
        for i, (view, write) in enumerate(steps):
            v = VIEWS[view](y)
            kept.append(v)
            WRITES[write](v, x[0, i % 4])
        return [y * y, *(v * (i + 1.0) for i, v in enumerate(kept))]

    same_gradient(program, X / 10, what=repr(steps))


def _error(m: Any, act: Callable[[Any, Any], Any]) -> type[BaseException] | None:
    x = m.tensor(X, requires_grad=True)
    try:
        act(x, x * 2)
    except RuntimeError as error:
        return type(error)
    return None


@pytest.mark.parametrize(
    "act",
    [
        lambda x, y: x[0].mul_(2),
        lambda x, y: x.view(-1).zero_(),
        lambda x, y: y.split(1)[0].mul_(2),
        lambda x, y: y.chunk(2)[0].zero_(),
        lambda x, y: y.unbind()[0].add_(1),
        lambda x, y: y[0].expand(3, 4).mul_(2),
        lambda x, y: y[0].mul_(2),
        lambda x, y: y.detach()[0].mul_(2),
    ],
)
def test_a_forbidden_write_is_let_through(act: Callable[[Any, Any], Any]) -> None:
    """torch 拒绝的就地写入这里放过了，或者反过来。"""
    ours, theirs = (_error(m, act) for m in ENGINES)
    assert ours == theirs


def test_a_value_saved_before_a_write_through_a_view_is_used() -> None:
    """反向用到的值已被另一个视图改写：必须报错，不能给出错误的梯度。"""
    for m in ENGINES:
        x = m.tensor(X, requires_grad=True)
        y = x * 1
        loss = (y * y).sum()
        y[0].zero_()
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            loss.backward()
