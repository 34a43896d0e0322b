"""连续批处理：每个请求写出的，与它独自一个时写出的一样；谁也不等太久，取消的立刻停下。

流入：随机的请求与随机的到来次序；流出：第一处不同的 token，或不该喂的 token。
"""

from __future__ import annotations

import dataclasses
import threading
from collections import defaultdict
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from parity_tests.contract.cases import configs
from parity_tests.decoding_batch.decoders import Side, letters
from parity_tests.whole_runs.commands import ENGINES
from tinygrad_llm.common.config import GPTConfig
from tinygrad_llm.common.decoding.generation import Generation, Step
from tinygrad_llm.common.decoding.request import Request, Sampling
from tinygrad_llm.common.decoding.scheduler import Event, QueueFullError, Scheduler
from tinygrad_llm.common.decoding.slots import OneSlot
from tinygrad_llm.common.errors import UserError

CONFIG = GPTConfig(
    vocab_size=60, context=64, n_layer=2, n_head=4, n_kv_head=2, n_embd=16, norm="rmsnorm", position="rope",
    mlp="swiglu", bias=False,
)  # fmt: skip


class Counting:
    """不是模型：下一个 token 是上一个加一。记下每一步喂了什么。"""

    def __init__(self, slots: int, context: int = 64) -> None:
        self.slots, self.context = slots, context
        self.held: list[list[int]] = [[] for _ in range(slots)]
        self.fed: list[list[tuple[int, int]]] = []
        self.broken = False

    def feed(self, rows: Any) -> NDArray[Any]:
        """各行的下一个。"""
        if self.broken:
            raise RuntimeError("out of order")
        self.fed.append([(slot, len(ids)) for slot, ids in rows])
        for slot, ids in rows:
            self.held[slot] += ids.tolist()
            assert len(self.held[slot]) <= self.context
        return np.eye(60, dtype=np.float32)[[(self.held[slot][-1] + 1) % 60 for slot, _ in rows]]

    def feed_all(self, rows: Any) -> list[NDArray[Any]]:
        """用不到。"""
        raise NotImplementedError

    def length(self, slot: int) -> int:
        """槽里有几个。"""
        return len(self.held[slot])

    def truncate(self, slot: int, length: int) -> None:
        """只留前几个。"""
        assert length <= len(self.held[slot])
        self.held[slot] = self.held[slot][:length]

    def share(self, source: int, target: int, length: int) -> None:
        """复制前几个。"""
        assert length <= len(self.held[source])
        self.held[target] = self.held[source][:length]


def test_a_failure_keeps_the_cancelled_alive() -> None:
    """一步里有人取消、解码器又出了错：取消了的还算在场，``run`` 永远走不完。"""
    decoder = Counting(2)
    scheduler = Scheduler(decoder, letters(60))
    first, _ = (scheduler.submit(Request((5,), 9)) for _ in range(2))
    scheduler.step()
    scheduler.cancel(first)
    decoder.broken = True
    with pytest.raises(RuntimeError):
        scheduler.step()
    decoder.broken = False
    assert scheduler.is_idle
    assert not scheduler.live


def collected(events: list[Event]) -> dict[int, list[Step]]:
    """各请求的步。"""
    found: dict[int, list[Step]] = defaultdict(list)
    for event in events:
        assert event.step is not None
        found[event.id].append(event.step)
    return found


def alone(side: Side, request: Request) -> list[Step]:
    """这个请求独自一个。"""
    one, steps = OneSlot(side.slots(1)), []
    generation = Generation(request, letters(side.model.config.vocab_size), one.context)
    while not generation.finish:
        steps.append(generation.advance(one.feed(np.array(generation.pending))))
    return steps


def requests_of(rng: np.random.Generator, config: GPTConfig, count: int) -> list[Request]:
    """随机的请求，一半与别人有公共前缀。"""
    common = rng.integers(0, config.vocab_size, config.context - 2).tolist()
    made = []
    for _ in range(count):
        own = rng.integers(0, config.vocab_size, int(rng.integers(1, config.context - 1))).tolist()
        shared = common[: int(rng.integers(0, len(own) + 1))] if rng.random() < 0.5 else []
        sampling = Sampling(float(rng.choice([0.0, 1.0])), seed=int(rng.integers(100)))
        made.append(Request(tuple((shared + own)[: len(own)]), int(rng.integers(1, 9)), sampling))
    return made


def tokens(steps: list[Step]) -> list[int]:
    """各步的 token。"""
    return [step.token for step in steps]


@pytest.mark.parametrize("engine", ENGINES)
@given(config=configs(), seed=st.integers(0, 10_000), chunk=st.integers(1, 9), slots=st.integers(1, 4))
def test_company_changes_the_tokens(engine: str, config: GPTConfig, seed: int, chunk: int, slots: int) -> None:
    """几个请求先后到来、共用几个槽与前缀，写出的与各自独自一个时不同（float64：并列不由舍入定胜负）。"""
    side, rng = Side(engine, config, "float64"), np.random.default_rng(seed)
    scheduler = Scheduler(side.slots(slots), letters(config.vocab_size), chunk)
    requests, ids, events = requests_of(rng, config, 6), [], []
    for request in requests:
        ids.append(scheduler.submit(request))
        for _ in range(int(rng.integers(0, 3))):
            events += scheduler.step()
    events += scheduler.run()
    found = collected(events)
    for id, request in zip(ids, requests, strict=True):
        expected = alone(side, request)
        assert tokens(found[id]) == tokens(expected)
        assert found[id][-1].finish == expected[-1].finish != ""
        assert [step.text for step in found[id]] == [step.text for step in expected]


def test_a_long_prompt_stalls_the_others() -> None:
    """有人在读很长的开头时，正在写的没有步步前进，或一步读了不止一块。"""
    decoder = Counting(3, context=600)
    scheduler = Scheduler(decoder, letters(60), chunk=16)
    first = scheduler.submit(Request((1, 2, 3), 40))
    scheduler.step()
    long = scheduler.submit(Request(tuple(range(50)) * 8, 5))
    for _ in range(20):
        events = scheduler.step()
        assert [event.id for event in events] == [first]
        assert sum(size for _, size in decoder.fed[-1] if size > 1) <= 16
    short = scheduler.submit(Request((5,), 2))
    assert short in {event.id for _ in range(2) for event in scheduler.step()}  # 后来的短开头不必等长的读完
    assert len(collected(list(scheduler.run()))[long]) == 5


def test_copies_read_the_prompt_again() -> None:
    """同一个开头写四份，开头读了不止一遍，或四份的种子相同。"""
    decoder = Counting(4)
    scheduler = Scheduler(decoder, letters(60), chunk=100)
    ids = scheduler.submit_copies(Request(tuple(range(40)), 3, Sampling(50.0, seed=7)), 4)
    found = collected(list(scheduler.run()))
    assert sorted(found) == ids
    assert scheduler.counts.prefilled == 40 + 3  # 另外三份各喂最后一个，才有 logits
    assert scheduler.counts.reused == 3 * 39
    assert len({tuple(tokens(steps)) for steps in found.values()}) == 4


def test_the_next_turn_reads_the_last_one_again() -> None:
    """接着上一轮往下说，上一轮的 token 又喂了一遍；说着别的话的槽被占去了。"""
    scheduler = Scheduler(Counting(2), letters(60))
    other = Request(tuple(range(30, 50)), 4)
    scheduler.submit(other)
    list(scheduler.run())
    scheduler.submit(Request(tuple(range(20)), 4))
    steps = collected(list(scheduler.run()))[1]
    before = dataclasses.replace(scheduler.counts)
    scheduler.submit(Request((*range(20), *tokens(steps), 9, 9), 4))
    list(scheduler.run())
    assert scheduler.counts.reused - before.reused == 20 + 3  # 末一个写出的 token 没有喂过
    scheduler.submit(other)
    list(scheduler.run())
    assert scheduler.counts.reused - before.reused == 20 + 3 + 19


def test_cancelled_request_goes_on() -> None:
    """取消之后又走了一步、占着槽不放，或没有说已取消；排着队的、读着开头的也能取消。"""
    scheduler = Scheduler(Counting(1), letters(60), chunk=2)
    running, waiting, last = (scheduler.submit(Request((1, 2, 3, 4, 5), 30)) for _ in range(3))
    for _ in range(4):
        scheduler.step()
    scheduler.cancel(running)
    scheduler.cancel(waiting)
    scheduler.cancel(10**6)
    events = scheduler.step()
    assert {(event.id, event.step.finish) for event in events if event.step and event.is_last} == {
        (running, "cancelled"), (waiting, "cancelled"),
    }  # fmt: skip
    assert set(collected(list(scheduler.run()))) == {last}
    scheduler.cancel(last)
    assert scheduler.is_idle
    assert scheduler.step() == []


def test_requests_starve() -> None:
    """槽比请求少得多时，有请求没有写完，或先来的反而后写完。"""
    scheduler = Scheduler(Counting(2), letters(60))
    ids = [scheduler.submit(Request((i, i + 1), 5)) for i in range(12)]
    ended = [event.id for event in scheduler.run() if event.is_last]
    assert ended == ids


def test_one_bad_request_ends_the_others() -> None:
    """一个请求没有 token 可选，别的请求跟着停了；出错的那个没有说明原因。"""
    scheduler = Scheduler(Counting(2), letters(60))
    bad = scheduler.submit(Request((1,), 5, Sampling(0.0, logit_bias=dict.fromkeys(range(60), -np.inf))))
    good = scheduler.submit(Request((7,), 5))
    events = list(scheduler.run())
    assert [type(event.error) for event in events if event.id == bad] == [UserError]
    assert len([event for event in events if event.id == good]) == 5


def test_broken_decoder_leaves_its_slots_taken() -> None:
    """解码器出错之后，槽没有让出来，或留着说不准的前缀。"""
    decoder = Counting(2)
    scheduler = Scheduler(decoder, letters(60))
    scheduler.submit(Request(tuple(range(30)), 5))
    scheduler.step()
    decoder.broken = True
    with pytest.raises(RuntimeError, match="out of order"):
        scheduler.step()
    decoder.broken = False
    assert scheduler.is_idle
    id = scheduler.submit(Request(tuple(range(30)), 5))
    assert len(collected(list(scheduler.run()))[id]) == 5
    assert scheduler.counts.reused == 0


def test_refused_request_waits_in_the_queue() -> None:
    """装不进上下文的、队满之后的请求没有当场报错，或留在了队里。"""
    scheduler = Scheduler(Counting(1, context=8), letters(60), max_waiting=2)
    with pytest.raises(UserError, match="the prompt has 9 tokens"):
        scheduler.submit(Request(tuple(range(9)), 5))
    with pytest.raises(UserError, match="chunk"):
        Scheduler(Counting(1), letters(60), chunk=0)
    scheduler.submit_copies(Request((1,), 2), 2)
    with pytest.raises(QueueFullError, match="2 requests are waiting"):
        scheduler.submit(Request((1,), 2))
    assert len(collected(list(scheduler.run()))) == 2


def test_submitting_from_many_threads_loses_requests() -> None:
    """八个线程一边交、一边取消，一个线程走：有请求没有下文，或号重复。"""
    scheduler, ids, lock = Scheduler(Counting(4), letters(60), chunk=8), list[int](), threading.Lock()

    def client(seed: int) -> None:
        rng = np.random.default_rng(seed)
        for _ in range(10):
            id = scheduler.submit(Request(tuple(rng.integers(0, 60, int(rng.integers(1, 20))).tolist()), 4))
            with lock:
                ids.append(id)
            if rng.random() < 0.3:
                scheduler.cancel(id)

    threads = [threading.Thread(target=client, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    ended = list[int]()
    while len(ended) < 80:
        assert scheduler.wait(5)
        ended += [event.id for event in scheduler.step() if event.is_last]
    for thread in threads:
        thread.join()
    assert sorted(ended) == sorted(ids) == list(range(80))
    assert scheduler.wait(0.01) is False
