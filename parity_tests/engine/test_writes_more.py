"""``x[...] = v`` 的各种写法：改到的位置、换算出的值与 torch 相同；torch 拒绝的也拒绝。"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from parity_tests.engine.case_inputs import inputs
from parity_tests.engine.twins import same, same_error

Case = Callable[[Any, Any], Any]

WRITES: list[Case] = [
    lambda m, o: o.x.__setitem__(np.s_[0], 1),
    lambda m, o: o.x.__setitem__(np.s_[0], o.z),
    lambda m, o: o.x.__setitem__(np.s_[0], m.ones(1, 1, 3)),
    lambda m, o: o.ids.__setitem__(np.s_[0], 2.7),
    lambda m, o: o.ids.__setitem__(np.s_[0], m.tensor([1.9, 2.2, 3])),
    lambda m, o: o.ids.__setitem__(np.s_[0], m.tensor(float("nan"))),
    lambda m, o: o.ids.__setitem__(np.s_[0], True),
    lambda m, o: o.x.__setitem__(np.s_[True], 5),
    lambda m, o: o.x.__setitem__(np.s_[False], 5),
    lambda m, o: o.z.__setitem__(np.s_[()], 3),
    lambda m, o: o.z.__setitem__(np.s_[...], 4),
    lambda m, o: o.z.__setitem__(np.s_[True], 7),
    lambda m, o: o.z.__setitem__(np.s_[None], 7),
    lambda m, o: o.x.__setitem__(np.s_[m.tensor([0, 1])], m.ones(3)),
    lambda m, o: o.x.__setitem__(np.s_[m.tensor([0, 1])], m.ones(2, 1)),
    lambda m, o: o.x.__setitem__(np.s_[o.x > 3], 0),
    lambda m, o: o.x.__setitem__(np.s_[o.x > 3], m.tensor([1.0, 2])),
    lambda m, o: o.x.__setitem__(np.s_[:, 0], o.x[:, 1]),
    lambda m, o: o.x.__setitem__(np.s_[o.x > 3], o.x[o.x > 3] * 2),
    lambda m, o: o.ids.__setitem__(np.s_[o.ids > 2], 7.5),
    lambda m, o: o.x.__setitem__(np.s_[0], m.ones(3, dtype=m.float64)),
    lambda m, o: o.ids.__setitem__(np.s_[m.tensor([0, 1])], 2.5),
    lambda m, o: o.y.__setitem__(np.s_[m.tensor([0, 1]), 0], m.ones(1, 1, 2, 4)),
    lambda m, o: o.x.__setitem__(np.s_[m.tensor([True, False])], m.ones(1, 1, 3)),
    lambda m, o: o.x.__setitem__(np.s_[m.zeros(2, 3, dtype=m.bool)], m.ones(1)),
    lambda m, o: o.x.__setitem__(np.s_[o.b], m.tensor(3)),
    lambda m, o: o.x.__setitem__(np.s_[o.b], m.tensor([3])),
    lambda m, o: o.y.__setitem__(np.s_[0, :, [0, 1]], 5),
    lambda m, o: o.y.__setitem__(np.s_[:, 0, [0, 1]], m.ones(2, 2)),
    lambda m, o: o.y.__setitem__(np.s_[None, [0, 1]], 3),
    lambda m, o: o.y.__setitem__(np.s_[..., m.tensor([0, 1])], m.tensor([7.0, 8])),
    lambda m, o: o.y.__setitem__(np.s_[[0, 1], None, [0, 1]], 1),
    lambda m, o: o.y.__setitem__(np.s_[m.tensor([True, False]), 1], 9),
    lambda m, o: o.x.__setitem__(np.s_[0, 1:], m.tensor([5, 6])),
    lambda m, o: o.x.__setitem__(np.s_[..., 0], m.tensor([5.0, 6])),
    lambda m, o: o.x.__setitem__(np.s_[:, m.tensor([True, False, True])], 0),
    lambda m, o: o.x.__setitem__(np.s_[0], m.tensor([True, False, True])),
    lambda m, o: o.x.__setitem__(np.s_[0], np.float64(2.5)),
    lambda m, o: o.x.__setitem__(np.s_[:], o.x.t().reshape(2, 3)),
    lambda m, o: o.x.__setitem__(np.s_[1:, :], o.x[:1, :]),
    lambda m, o: o.z.__setitem__(np.s_[...], m.tensor([4.0])),
    lambda m, o: o.z.__setitem__(np.s_[()], m.tensor([[4.0]])),
    lambda m, o: o.x.__setitem__(np.s_[0, 0], m.tensor(4.0)),
    lambda m, o: o.x.__setitem__(np.s_[0, 0], m.tensor([4.0])),
    lambda m, o: o.x.__setitem__(np.s_[0, 0], m.tensor([[4.0]])),
    lambda m, o: o.x.__setitem__(np.s_[m.tensor(0)], 8),
    lambda m, o: o.x.__setitem__(np.s_[m.tensor(0), m.tensor([1, 2])], 8),
]

MISTAKES: list[Case] = [
    lambda m, o: o.x.__setitem__(np.s_[0], m.ones(5)),
    lambda m, o: o.x.__setitem__(np.s_[0], m.ones(2, 3)),
    lambda m, o: o.x.__setitem__(np.s_[0], [1, 2, 3]),
    lambda m, o: o.x.__setitem__(np.s_[0], np.ones(3)),
    lambda m, o: o.ids.__setitem__(np.s_[0], float("nan")),
    lambda m, o: o.z.__setitem__(np.s_[0], 1),
    lambda m, o: o.x.__setitem__(np.s_[o.x > 3], m.tensor([1.0, 2, 3])),
    lambda m, o: o.x.__setitem__(np.s_[0, 0], "a"),
    lambda m, o: o.x.__setitem__(np.s_[0], None),
    lambda m, o: o.x.__setitem__(np.s_[[0, 1]], [1.0]),
    lambda m, o: o.x.__setitem__(np.s_[3], 1),
    lambda m, o: o.x.__setitem__(np.s_[::-1], 1),
    lambda m, o: o.x.__setitem__(np.s_[m.tensor([0, 1])], m.ones(2, 3, dtype=m.float64)),
    lambda m, o: o.x.__setitem__(np.s_[m.tensor([0, 1])], m.ones(2, 3, dtype=m.int64)),
    lambda m, o: o.ids.__setitem__(np.s_[m.tensor([0, 1])], m.ones(2, 3)),
    lambda m, o: o.ids.__setitem__(np.s_[m.tensor([0, 1])], m.tensor(2.5)),
    lambda m, o: o.x.__setitem__(np.s_[m.tensor([0, 1])], m.tensor(3)),
    lambda m, o: o.x.__setitem__(np.s_[0:0], m.ones(5)),
    lambda m, o: o.x.__setitem__(np.s_[m.zeros(2, 3, dtype=m.bool)], m.ones(5)),
    lambda m, o: o.ids.__setitem__(np.s_[0, 0], float("inf")),
    lambda m, o: o.z.__setitem__(np.s_[...], m.tensor([4.0, 5])),
]


@pytest.mark.parametrize("case", WRITES)
def test_writes_equal_torch(case: Case) -> None:
    """写到了别的位置，或值换算得与 torch 不同。"""

    def run(m: Any) -> Any:
        o = inputs(m)
        case(m, o)
        return o.x, o.y, o.z, o.ids

    same(run, "exact")


@pytest.mark.parametrize("case", MISTAKES)
def test_writes_refuse_what_torch_refuses(case: Case) -> None:
    """torch 报错的写入这里放过了，或报的是另一类错。"""
    same_error(lambda m: case(m, inputs(m)))
