"""``testing``：``assert_close`` 的容差与消息、``make_tensor`` 的范围与随机数，逐字逐个与 torch 相同。"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.testing

import tinygrad_llm as tg
from parity_tests.engine.twins import ENGINES, same, same_error, table

Pair = Callable[[Any], tuple[Any, Any]]


def _told(m: Any, actual: Any, expected: Any, **options: Any) -> Any:
    """断言的结果：通过，或报错的类型与文字。"""
    try:
        m.testing.assert_close(actual, expected, **options)
    except (AssertionError, TypeError, ValueError) as error:
        return type(error).__name__, str(error).replace("tinygrad_llm.tensor", "torch").replace("tinygrad_llm", "torch")
    return "passed"


_X = [[1.0, 2.0], [3.0, 4.0]]
PAIRS: dict[str, Pair] = {
    "equal": lambda m: (m.tensor(_X), m.tensor(_X)),
    "within float32": lambda m: (m.tensor(_X) * (1 + 1e-6), m.tensor(_X)),
    "just within float32": lambda m: (m.tensor([1e-5]), m.zeros(1)),
    "beyond float32": lambda m: (m.tensor([1.0, 2.0, 3.00002]), m.tensor([1.0, 2.0, 3.0])),
    "beyond float64": lambda m: (m.tensor(_X, dtype=m.float64) + 1e-6, m.tensor(_X, dtype=m.float64)),
    "within float16": lambda m: (m.tensor([1.0], dtype=m.float16), m.tensor([1.001], dtype=m.float16)),
    "within bfloat16": lambda m: (m.tensor([1.0], dtype=m.bfloat16), m.tensor([1.0078125], dtype=m.bfloat16)),
    "integers": lambda m: (m.tensor([1, 2, 9]), m.tensor([1, 4, 8])),
    "bools": lambda m: (m.tensor([True, False]), m.tensor([True, True])),
    "bytes": lambda m: (m.tensor([1, 2], dtype=m.uint8), m.tensor([250, 2], dtype=m.uint8)),
    "numbers of dimension 0": lambda m: (m.tensor(1.0), m.tensor(2.0)),
    "zero of dimension 0": lambda m: (m.tensor(1.0), m.tensor(0.0)),
    "around zero": lambda m: (m.tensor([1.0, 0.5]), m.tensor([0.0, 0.0])),
    "NaN": lambda m: (m.tensor([float("nan"), 1]), m.tensor([float("nan"), 1])),
    "infinity": lambda m: (m.tensor([float("inf"), 1]), m.tensor([1.0, 1])),
    "nothing": lambda m: (m.zeros(0), m.zeros(0)),
    "shapes": lambda m: (m.zeros(2), m.zeros(3)),
    "shapes that broadcast": lambda m: (m.zeros(2), m.zeros(1, 2)),
    "dtypes": lambda m: (m.zeros(2), m.zeros(2, dtype=m.float64)),
    "a tensor and a list": lambda m: (m.zeros(2), [0.0, 0.0]),
    "a tensor and an array": lambda m: (m.zeros(2), np.zeros(2, np.float32)),
    "a tensor and a number": lambda m: (m.tensor(1.0), 1.0),
    "arrays": lambda m: (np.array([1.0, 2]), np.array([1.0, 3])),
    "a parameter and a tensor": lambda m: (m.nn.Parameter(m.ones(2)), m.ones(2)),
    "tensors that need gradients": lambda m: (m.ones(2, requires_grad=True) * 2, m.ones(2)),
    "floats": lambda m: (1.0, 1.1), "equal floats": lambda m: (1.0, 1.0 + 1e-9),
    "a float of NaN": lambda m: (float("nan"), float("nan")), "an integer and a float": lambda m: (1, 1.0),
    "integers alone": lambda m: (1, 2), "NumPy numbers": lambda m: (np.float64(1), 1.5),
    "truths": lambda m: (True, False), "None": lambda m: (None, None),
    "None and a number": lambda m: (None, 1), "text": lambda m: ("a", "a"),
    "lists": lambda m: ([m.ones(2), 1.0], [m.ones(2), 2.0]),
    "lists of two lengths": lambda m: ([1.0], [1.0, 2.0]),
    "a list and a tuple": lambda m: ([1.0, 2.0], (1.0, 2.0)),
    "dictionaries": lambda m: ({"a": m.ones(2), "b": [1, 2]}, {"a": m.ones(2), "b": [1, 3]}),
    "dictionaries of two keys": lambda m: ({"a": 1, "b": 2}, {"a": 1, "c": 2}),
    "dictionaries that differ inside": lambda m: ({"a": {"b": m.ones(2)}}, {"a": {"b": m.zeros(2)}}),
    "a list whose lengths differ inside": lambda m: ([[1, 2], [1]], [[1, 2], [1, 2]]),
}  # fmt: skip
RULES: dict[str, dict[str, Any]] = {
    "as it is": {},
    "exactly": {"rtol": 0, "atol": 0},
    "loosely": {"rtol": 1e-1, "atol": 0.5},
    "with NaN": {"equal_nan": True},
    "without dtypes": {"check_dtype": False},
    "without subclasses": {"allow_subclasses": False},
}


@pytest.mark.parametrize("rules", table(RULES))
@pytest.mark.parametrize("pair", table(PAIRS))
def test_a_comparison_is_not_torchs(pair: Pair, rules: dict[str, Any]) -> None:
    """该通过的没有通过，该失败的没有失败，或消息里的差、位置与 torch 不同。"""
    assert _told(tg, *pair(tg), **rules) == _told(torch, *pair(torch), **rules)


def test_other_rules_are_not_torchs() -> None:
    """只给一个容差、步长、自己的消息或从前的名字，与 torch 不同。"""
    found = []
    for m in ENGINES:
        told = [
            _told(m, 1.0, 1.0, rtol=1e-3), _told(m, m.ones(1), m.ones(1), atol=0),
            _told(m, m.ones(2, 2).t(), m.ones(2, 2), check_stride=True),
            _told(m, m.zeros(2, 3), m.zeros(3, 2).t(), check_stride=True),
            _told(m, 1.0, 2.0, msg="mine"), _told(m, 1.0, 2.0, msg=lambda text: "mine\n" + text),
            _told(m, [1.0], [2.0], msg=lambda text: "mine\n" + text),
        ]  # fmt: skip
        with pytest.warns(FutureWarning):
            m.testing.assert_allclose(m.ones(2), [1.0, 1.00005])
        with pytest.warns(FutureWarning), pytest.raises(AssertionError):
            m.testing.assert_allclose(m.ones(2), [1.0, 1.1])
        found.append(told)
    assert found[0] == found[1]
    assert "(d)types do not match" in _told(tg, True, 1)[1]  # torch 在这里出的是内部错误
    assert _told(tg, True, 1, check_dtype=False) == "passed"


MADE: dict[str, Callable[[Any], Any]] = {
    "floats": lambda m: m.testing.make_tensor(3, 4, dtype=m.float32, device="cpu"),
    "a shape in a tuple": lambda m: m.testing.make_tensor((2, 3), dtype=m.float64, device="cpu", low=-1, high=2),
    "half": lambda m: m.testing.make_tensor(5, dtype=m.float16, device="cpu"),
    "integers": lambda m: m.testing.make_tensor(9, dtype=m.int64, device="cpu"),
    "bytes": lambda m: m.testing.make_tensor(9, dtype=m.uint8, device="cpu", low=3, high=7.5),
    "bools": lambda m: m.testing.make_tensor(9, dtype=m.bool, device="cpu"),
    "with gradients": lambda m: m.testing.make_tensor(2, dtype=m.float32, device="cpu", requires_grad=True),
    "scattered": lambda m: m.testing.make_tensor(2, 3, dtype=m.float32, device="cpu", noncontiguous=True),
    "without zeros": lambda m: m.testing.make_tensor(40, dtype=m.int8, device="cpu", low=0, high=3, exclude_zero=True),
    "channels last": lambda m: m.testing.make_tensor(
        1, 2, 2, 3, dtype=m.float32, device="cpu", memory_format=m.channels_last),
    "the whole range": lambda m: m.testing.make_tensor(
        4, dtype=m.float32, device="cpu", low=m.finfo(m.float32).min, high=m.finfo(m.float32).max),
    "no axes": lambda m: m.testing.make_tensor((), dtype=m.float32, device="cpu"),
}  # fmt: skip


@pytest.mark.parametrize("make", table(MADE))
def test_a_made_tensor_is_not_torchs(make: Callable[[Any], Any]) -> None:
    """随机 Tensor 的数、dtype、步长或梯度与 torch 不同。"""

    def run(m: Any) -> Any:
        m.manual_seed(1)
        x = make(m)
        return x, x.stride(), m.rand(1)

    same(run, "random normal")


MISTAKES: dict[str, Callable[[Any], Any]] = {
    "an empty range": lambda m: m.testing.make_tensor(2, dtype=m.int64, device="cpu", low=3, high=3),
    "a range beyond the dtype": lambda m: m.testing.make_tensor(2, dtype=m.uint8, device="cpu", low=300, high=400),
    "a bound of NaN": lambda m: m.testing.make_tensor(2, dtype=m.float32, device="cpu", low=float("nan")),
    "integers with gradients": lambda m: m.testing.make_tensor(2, dtype=m.int64, device="cpu", requires_grad=True),
    "two layouts": lambda m: m.testing.make_tensor(
        2, 2, 2, 2, dtype=m.float32, device="cpu", noncontiguous=True, memory_format=m.channels_last),
}  # fmt: skip


@pytest.mark.parametrize("mistake", table(MISTAKES))
def test_a_wrong_made_tensor_is_accepted(mistake: Callable[[Any], Any]) -> None:
    """torch 拒绝的范围或选项这里放过了，或报的是另一类错。"""
    same_error(mistake)
