"""把大的算子分给几个核：结果不变，出错照样抛出，不会卡住。"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import tinygrad_llm as tg
from parity_tests.engine.twins import on_threads
from parity_tests.tolerances import assert_close
from tinygrad_llm.ops import cores, linear
from tinygrad_llm.ops.cores import split


@pytest.fixture(params=[1, 2, 3])
def threads(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """用几个线程；大小不限，再小的活也切。"""
    monkeypatch.setattr(cores, "_WORTH", 0)
    monkeypatch.setattr(linear, "_WORTH_SPLITTING", 0)
    with on_threads(request.param):
        yield request.param


def test_parts_miss_or_repeat_a_row(threads: int) -> None:
    """切出来的几段没有恰好盖住每一行，没按次序，或没按要求对齐。"""
    for total in (0, 1, 2, 5, 64, 100):
        parts = split(lambda i, j: (i, j), total, 1)
        assert [i for part in parts for i in range(*part)] == list(range(total))
    assert all(start % 16 == 0 for start, _ in split(lambda i, j: (i, j), 100, 1, 16))
    assert len(split(lambda i, j: None, 100, 1)) == threads


def test_results_depend_on_the_number_of_threads(threads: int) -> None:
    """分给几个线程之后，层、损失或优化器的结果变了；同样的线程数，两次不逐位相同。"""
    assert threads
    expected, found, again = _train(1), _train(threads), _train(threads)
    for name, value in found.items():
        assert_close(value, expected[name], "float64", name)
        np.testing.assert_array_equal(value, again[name], err_msg=name)


def _train(threads: int) -> dict[str, Any]:
    """一个小模型走两步 AdamW。"""
    tg.set_num_threads(threads)
    tg.manual_seed(0)
    nn = tg.nn
    model = nn.Sequential(nn.LayerNorm(24), nn.Linear(24, 48), nn.GELU(), nn.RMSNorm(48), nn.Linear(48, 24), nn.SiLU())
    model = model.double()
    optimizer = tg.optim.AdamW(model.parameters(), lr=1e-2)
    x = tg.randn(6, 40, 24, dtype=tg.float64)
    losses = []
    for _ in range(2):
        h = model(x).view(6, 40, 2, 12).transpose(1, 2)
        y = nn.functional.scaled_dot_product_attention(h, h, h, is_causal=True)
        logits = y.transpose(1, 2).reshape(-1, 24)
        loss = nn.functional.cross_entropy(logits, tg.arange(240) % 24)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    weights = {name: p.detach().numpy().copy() for name, p in model.named_parameters()}
    return {"losses": np.array(losses), **weights}


def test_an_error_in_a_part_is_lost(threads: int) -> None:
    """帮手线程里的错没有抛出来，或抛出之后下一件活卡住。"""

    def work(start: int, stop: int) -> int:
        if stop == 10:
            raise ValueError("the last part")
        return start

    with pytest.raises(ValueError, match="the last part"):
        split(work, 10, 1)
    assert split(lambda i, j: j - i, 10, 1)[0] == 10 // threads


def test_a_nested_split_waits_for_itself(threads: int) -> None:
    """切开的活里再切一次，几个线程互相等待。"""
    inner = split(lambda i, j: split(lambda a, b: b - a, j - i, 1), 12, 1)
    assert sum(sum(part) for part in inner) == 12
    assert all(len(part) == 1 for part in inner) or threads == 1


def test_helpers_forget_the_error_state(threads: int) -> None:
    """调用方用 errstate 关掉的警告，在帮手线程里又冒出来。"""
    with np.errstate(all="ignore"):
        states = split(lambda i, j: np.geterr()["over"], 8, 1)
    assert states == ["ignore"] * threads


def test_two_threads_use_the_helpers_at_once(threads: int) -> None:
    """两个线程同时派活，结果串了。"""
    found: dict[int, Any] = {}

    def caller(k: int) -> None:
        found[k] = [sum(split(lambda i, j: k * (j - i), 100, 1)) for _ in range(50)]

    callers = [threading.Thread(target=caller, args=(k,)) for k in (1, 2, 3)]
    for one in callers:
        one.start()
    for one in callers:
        one.join()
    assert found == {k: [100 * k] * 50 for k in (1, 2, 3)}
    assert threads


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_waits_for_helpers_it_has_not(threads: int) -> None:
    """``fork`` 之后，子进程等着并不存在的帮手线程。"""
    split(lambda i, j: None, 8, 1)
    child = os.fork()
    if child == 0:
        os._exit(sum(split(lambda i, j: j - i, 8, 1)))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 8
    assert threads
