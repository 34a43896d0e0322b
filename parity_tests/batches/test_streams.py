"""任何来源的批次流：从哪一步接着走都逐位相同，进程数 1→2→4 之间怎样换都不改变全局批次；预取不改变次序。"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_llm.common.batches import (
    Example,
    Examples,
    Mixture,
    Packed,
    Padded,
    PreferencePair,
    Preferences,
    Prefetch,
    Shuffled,
    Source,
    Tokens,
    Windows,
    plan_rows,
)
from tinygrad_llm.common.errors import UserError

BATCH, CONTEXT, VOCAB = 4, 6, 97
Stream = Any


def tokens() -> tuple[Tokens, np.ndarray, np.ndarray]:
    """三个分片上的 23 篇文档：全部 token、起点、长度。"""
    lengths = np.array([3 + 5 * i % 11 for i in range(23)])
    starts = np.cumsum(lengths) - lengths
    ids = np.arange(lengths.sum() + 1) % (VOCAB - 1) + 1
    ids[np.append(starts, lengths.sum())] = 0
    return Tokens(np.split(ids.astype(np.uint16), [50, 51])), starts, lengths


def examples() -> Examples:
    """11 条样本。"""
    made = [Example(list(range(i, i + 2 + i % 5)), [j % 2 == 1 for j in range(2 + i % 5)]) for i in range(11)]
    return Examples(made, vocab_size=VOCAB, context=CONTEXT)


def packed() -> Packed:
    """打包好的行。"""
    ids, starts, lengths = tokens()
    return Packed(ids, plan_rows(starts, lengths, CONTEXT, fill="pad"), pad=0)


def mixture(seed: int) -> Mixture:
    """窗口、文档的打包与样本的打包，3:2:1。"""
    sources = [
        Source("a", Windows(tokens()[0], CONTEXT), 3),
        Source("b", packed(), 2),
        Source("c", examples().packed(pad=0), 1),
    ]
    return Mixture(sources, batch_size=BATCH, seed=seed)


def preferences(seed: int) -> Preferences:
    """九对。"""
    made = [PreferencePair([1] * (1 + i % 3), [i + 1] * (1 + i % 4), [i + 2]) for i in range(9)]
    return Preferences(made, vocab_size=VOCAB, context=CONTEXT, batch_size=BATCH, seed=seed, pad=0)


STREAMS: dict[str, Callable[[int], Stream]] = {
    "windows": lambda seed: Shuffled(Windows(tokens()[0], CONTEXT), batch_size=BATCH, seed=seed),
    "overlapping": lambda seed: Shuffled(
        Windows(tokens()[0], CONTEXT, stride=2, drop_last=False), batch_size=BATCH, seed=seed
    ),
    "packed": lambda seed: Shuffled(packed(), batch_size=BATCH, seed=seed),
    "mixture": mixture,
    "padded": lambda seed: Padded(examples(), batch_size=BATCH, seed=seed, pad=0),
    "preferences": preferences,
}


def same(one: Any, other: Any) -> bool:
    """两份批次逐位相同，类型也相同。"""
    return all(np.array_equal(a, b) and a.dtype == b.dtype for a, b in zip(one, other, strict=True))


def joined(parts: list[Any]) -> tuple[np.ndarray, ...]:
    """各进程的份接起来；偏好对的第一维是两边。"""
    axis = parts[0][0].ndim - 2
    return tuple(np.concatenate(arrays, axis=axis) for arrays in zip(*parts, strict=True))


@pytest.mark.parametrize("kind", STREAMS)
@given(st.integers(0, 2**63), st.lists(st.sampled_from([1, 2, 4]), min_size=1, max_size=12), st.integers(0, 10**9))
def test_other_ranks_see_another_stream(kind: str, seed: int, worlds: list[int], first: int) -> None:
    """每一步都可以换进程数，每次都新造一个对象（等于从那一步续训）：全局批次与一个进程一路走来的逐位相同。"""
    steady = STREAMS[kind](seed)
    for step, world in enumerate(worlds, first):
        parts = [STREAMS[kind](seed).batch(step, rank, world) for rank in range(world)]
        assert same(joined(parts), steady.batch(step)), step


@pytest.mark.parametrize("kind", STREAMS)
def test_streams_do_not_depend_on_the_seed(kind: str) -> None:
    """换种子换次序；同一个种子每次相同。"""
    one, again, other = (STREAMS[kind](seed).batch(0) for seed in (1, 1, 2))
    assert same(one, again)
    assert not same(one, other)


@pytest.mark.parametrize("kind", STREAMS)
@pytest.mark.parametrize("arguments", [(-1,), (0, 1), (0, -1, 2), (0, 2, 2), (0, 0, 0), (0, 0, 3)])
def test_wrong_ranks_are_served(kind: str, arguments: tuple[int, ...]) -> None:
    """负的步号、越界的 rank、不能平分的进程数，每种来源都拒绝。"""
    with pytest.raises(UserError):
        STREAMS[kind](0).batch(*arguments)


@pytest.mark.parametrize("kind", ["windows", "packed", "mixture"])
def test_segments_belong_to_another_batch(kind: str) -> None:
    """文档编号与批次是同一份数据：同一段之内 y 就是右邻的 x。"""
    stream = STREAMS[kind](5)
    for step in range(9):
        (x, y), segments = stream.batch(step), stream.segments(step)
        inside = (segments[:, 1:] == segments[:, :-1]) & (segments[:, 1:] >= 0) & (y[:, :-1] >= 0)
        assert (x[:, 1:] == y[:, :-1])[inside].all()


# ---- 预取 ----


@given(st.integers(0, 30), st.integers(1, 5), st.integers(0, 9))
def test_prefetch_changes_the_order(count: int, depth: int, first: int) -> None:
    """与直接调用逐个相同，不多也不少。"""
    stream = STREAMS["packed"](0)
    with Prefetch(stream.batch, range(first, first + count), depth=depth) as ahead:
        found = list(ahead)
    assert len(found) == count
    assert all(same(one, stream.batch(step)) for step, one in enumerate(found, first))


def test_prefetch_runs_too_far_ahead() -> None:
    """使用者不取，后台至多提前 ``depth`` 步；取走一个，才再做一个。"""
    made: list[int] = []

    def produce(step: int) -> int:
        made.append(step)
        return step

    with Prefetch(produce, range(100), depth=3) as ahead:
        assert next(ahead) == 0
        deadline = time.monotonic() + 5
        while len(made) < 4 and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(0.05)
        assert made == [0, 1, 2, 3]


def test_prefetch_hides_an_error() -> None:
    """后台出的错，在轮到那一步时抛给使用者，此后没有批次，线程也结束了。"""

    def produce(step: int) -> int:
        if step == 3:
            raise ValueError("broken shard")
        return step

    ahead = Prefetch(produce, range(9), depth=2)
    assert [next(ahead), next(ahead), next(ahead)] == [0, 1, 2]
    with pytest.raises(ValueError, match="broken shard"):
        next(ahead)
    assert list(ahead) == []
    assert not any(thread.name == "prefetch" for thread in threading.enumerate())


def test_prefetch_leaves_its_thread_behind() -> None:
    """用到一半就走，线程随之结束；再问也没有了；可以再关一次。"""
    for taken in range(5):
        with Prefetch(lambda step: None, range(1_000_000), depth=2) as ahead:
            for _ in range(taken):
                assert next(ahead) is None
        ahead.close()
        assert list(ahead) == []
        assert not any(thread.name == "prefetch" for thread in threading.enumerate())
    with pytest.raises(UserError):
        Prefetch(lambda step: step, range(3), depth=0)
