"""记录里的数：大数组的概要、严格的 JSON、不记时的开销。"""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_llm as tg
from parity_tests.tolerances import assert_close
from tinygrad_llm.autograd.mode import switch
from tinygrad_llm.ops.bfloat16 import extras
from tinygrad_llm.tracing.arrays import Summary, array_json


@pytest.mark.parametrize("shape", [(5000,), (33, 3, 99), (100, 77), (7, 90_000), (90_000, 2), (700, 1000)])
def test_summaries_tell_the_truth(shape: tuple[int, ...]) -> None:
    """大数组的概要与逐个数算出来的不同。"""
    x = np.random.default_rng(0).standard_normal(shape)
    found = Summary(x)
    assert (found.min, found.max, found.shape, found.size) == (x.min(), x.max(), shape, x.size)
    assert_close(np.array([found.mean, found.norm]), np.array([x.mean(), np.linalg.norm(x)]), "float64")
    rows = x.reshape(-1, shape[-1]) if x.ndim > 1 else x.reshape(1, -1)
    tall, wide = (math.ceil(n / 32) for n in rows.shape)
    assert max(found.grid.shape) <= 32
    for i, j in ((0, 0), (found.grid.shape[0] - 1, found.grid.shape[1] - 1)):
        block = rows[i * tall : (i + 1) * tall, j * wide : (j + 1) * wide]
        assert_close(found.grid[i, j], block.mean(), "float64")


def test_a_summary_is_of_the_moment() -> None:
    """概要拖到后来才算，却看到了后来写入的数。"""
    w = tg.ones(100, 100, requires_grad=True)
    with tg.trace(limit=16) as t:
        (w * 2).sum().backward()
        with tg.no_grad():
            w.fill_(7)
    assert isinstance(t["w"].data, Summary)
    assert (t["w"].data.mean, t["w"].grad.max) == (1.0, 2.0)


def test_large_arrays_refuse_to_run_again() -> None:
    """太大而没有留下的，重算时应当说清楚。"""
    w = tg.ones(10, 10, requires_grad=True)
    with tg.trace(limit=16) as t:
        (w * 2).sum().backward()
    with pytest.raises(ValueError, match="were too large to keep; raise limit"):
        t.nodes[0].vjp(np.ones((10, 10)))


def _refuse(text: str) -> Any:
    raise AssertionError(f"not strict JSON: {text}")


def test_json_is_strict_and_round_trips() -> None:
    """JSON 里有 NaN、数在往返之后变了样，或形状不对。"""
    x = tg.tensor([0.1, float("inf"), float("nan"), -0.0], requires_grad=True)
    z = tg.tensor([1 + 2j], requires_grad=True)
    with tg.trace(title="odd") as t:
        loss = (x * 3).sum() + (z * z.conj()).real.sum()
        loss.backward()
        x.argmax()
    found = json.loads(t.to_json(), parse_constant=_refuse)
    assert (found["format"], found["version"], found["title"], found["dtype"]) == (
        "tinygrad_llm.trace", 1, "odd", "float32",
    )  # fmt: skip
    assert found["values"][t["x"].id]["data"] == {"shape": [4], "flat": [0.1, "Infinity", "NaN", -0.0]}
    assert found["values"][t["z"].id]["data"]["flat"] == [[1.0, 2.0]]
    assert found["values"][t["z"].id]["grad"]["flat"] == [[2.0, 4.0]]
    assert found == json.loads(json.dumps(t.to_dict()))
    assert [event["kind"] for event in found["events"]].count("backward") == len(found["backwards"][0]["steps"])


@given(st.lists(st.floats(width=32), max_size=5), st.sampled_from(["float32", "float64"]))
def test_numbers_survive_json(values: list[float], dtype: str) -> None:
    """最短的写法读回来不是原来的数。"""
    array = np.array(values, dtype)
    flat = array_json(array)["flat"]  # type: ignore[index]
    assert np.array_equal(np.array(json.loads(json.dumps(flat)), object).astype(dtype), array, equal_nan=True)


def test_matrix_trace_is_still_torch_s() -> None:
    """``trace(矩阵)`` 仍是矩阵的迹，与 torch 同名。"""
    assert float(tg.trace(tg.eye(3))) == 3.0
    assert float(tg.trace(input=tg.eye(2))) == 2.0
    with pytest.raises(TypeError, match="unexpected keyword"):
        tg.trace(wrong=1)


def test_off_means_off() -> None:
    """不记时引擎仍走近路：没有旁观的人，没有模块的钩子。"""
    with tg.trace():
        pass
    assert (switch.recorder, switch.composed) == (None, False)
    assert extras.users == extras.low_precision + extras.complex
