"""工作进程：几个进程合起来走的一步与一个进程相同；死了一个，训练带着说明停下。"""

from __future__ import annotations

import gc
import math
import os
import signal
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tinygrad_llm.common.config import GPTConfig
from tinygrad_llm.common.errors import WorkerError
from tinygrad_llm.common.train_config import TrainConfig
from tinygrad_llm.parallel.flat import Layout
from tinygrad_llm.train import NumpyEngine

MODEL = GPTConfig(vocab_size=40, context=12, n_layer=2, n_head=2, n_embd=8)
SETTINGS = TrainConfig(batch_size=6, accumulate=2, dtype="float64", weight_decay=0.1, grad_clip=0.5)


@contextmanager
def engine(workers: int, **changes: Any) -> Iterator[NumpyEngine]:
    """一个引擎，离开时收走它的进程。"""
    with closing(NumpyEngine(MODEL, replace(SETTINGS, workers=workers, **changes))) as found:
        yield found


def batch(step: int) -> tuple[Any, Any]:
    """一个批次；有几个位置不计损失。"""
    rng = np.random.default_rng(step)
    x, y = rng.integers(MODEL.vocab_size, size=(2, SETTINGS.batch_size, MODEL.context))
    y[rng.random(y.shape) < 0.2] = -100
    return x, y


def train(found: NumpyEngine, steps: int = 4) -> tuple[list[float], dict[str, Any]]:
    """走几步；各步的损失与范数，最后的全部状态。"""
    curve: list[float] = []
    for step in range(steps):
        x, y = batch(step)
        result = found.train_step(step, (x, y), 1e-2)
        curve += [result.loss, result.grad_norm]
    weights, moments, _ = found.export()
    return curve, {name: a.copy() for name, a in {**weights, **moments}.items()}


def test_workers_change_the_result() -> None:
    """进程多了，损失、范数、参数或矩就不同：有一份数据没算，或梯度没有相加。"""
    with engine(1) as one:
        expected, states = train(one)
        held_out = one.evaluate(*batch(9))
    for workers in (2, 3):
        with engine(workers) as several:
            found, others = train(several)
            np.testing.assert_allclose(found, expected, rtol=1e-12)
            assert math.isclose(several.evaluate(*batch(9)), held_out, rel_tol=1e-12)
        for name, array in states.items():
            np.testing.assert_allclose(others[name], array, rtol=1e-9, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("tied", [True, False])
def test_gradients_added_on_the_way_are_lost(tied: bool) -> None:
    """大矩阵的梯度边反传边相加，小的最后再加：两种办法有一种算错了。词表够大，词嵌入与输出层才算大矩阵。"""
    config = replace(MODEL, vocab_size=8192, n_embd=32, tie_head=tied)
    with closing(NumpyEngine(config, replace(SETTINGS, workers=1))) as one:
        expected, states = train(one, 2)
    for workers in (2, 3):
        with closing(NumpyEngine(config, replace(SETTINGS, workers=workers))) as several:
            assert 0 < several.state.layout.large < several.state.layout.decayed
            found, others = train(several, 2)
        np.testing.assert_allclose(found, expected, rtol=1e-12)
        for name, array in states.items():
            np.testing.assert_allclose(others[name], array, rtol=1e-9, atol=1e-12, err_msg=name)


def test_two_runs_differ() -> None:
    """同样的进程数，两次的结果不逐位相同：谁先做完影响了结果。"""
    with engine(2, dtype="float32") as first, engine(2, dtype="float32") as second:
        (curve, states), (again, others) = train(first), train(second)
    assert curve == again
    for name, array in states.items():
        np.testing.assert_array_equal(array, others[name], err_msg=name)


def test_a_restored_run_goes_on_otherwise() -> None:
    """交出状态、装回另一支队伍之后，接着走的与不停的不同。"""
    with engine(2) as straight, engine(2) as other:
        train(straight)
        weights, moments, steps = straight.export()
        other.restore({k: a.copy() for k, a in weights.items()}, {k: a.copy() for k, a in moments.items()}, steps)
        x, y = batch(9)
        assert straight.train_step(9, (x, y), 1e-2) == other.train_step(9, (x, y), 1e-2)


def test_a_dead_worker_hangs_the_run() -> None:
    """子进程被杀（例如内存不足），主进程一直等下去，或不说是谁、怎么死的。"""
    with engine(3) as found:
        process = found.team.members[1][0]
        os.kill(process.pid, signal.SIGKILL)
        with pytest.raises(WorkerError, match=rf"worker 2 died \(killed by signal {signal.SIGKILL:d}\)"):
            train(found)
        assert not found.team.members


def test_an_error_inside_a_worker_is_lost(capfd: pytest.CaptureFixture[str]) -> None:
    """子进程里出的错没有传回来。"""
    good = batch(0)
    bad = (good[0] + MODEL.vocab_size, good[1])
    with engine(2) as found, pytest.raises(WorkerError, match=r"worker 1 failed: IndexError"):
        found.team.call("evaluate", [[good], [bad]])
    assert "Traceback" in capfd.readouterr().err


def test_workers_outlive_the_engine() -> None:
    """引擎没人要了，子进程还留着。"""
    found = NumpyEngine(MODEL, replace(SETTINGS, workers=2))
    process = found.team.members[0][0]
    del found
    gc.collect()
    assert process.poll() == 0


def test_parameters_overlap_in_memory() -> None:
    """两个参数在平坦的内存里重叠，没有对齐，或该衰减的与不该的混在一起。"""
    shapes: dict[str, tuple[int, ...]] = {"a": (3, 5), "b": (7,), "c": (2, 2)}
    layout = Layout.of(shapes, 4, dict.fromkeys(shapes, "adamw"))
    flat = np.arange(layout.size, dtype=np.float32)
    views = layout.views(flat)
    assert [v.shape for v in views.values()] == [(3, 5), (2, 2), (7,)]
    assert len(set(np.concatenate([v.ravel() for v in views.values()]))) == 15 + 4 + 7
    assert all(place % 16 == 0 for place, _ in layout.places.values())
    assert layout.places["b"][0] == layout.decayed
