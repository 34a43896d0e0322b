"""测速的各个零件：读数、统计、作废的规则、算术量与表格，都用手算的数核对。

流入：写死的文本与用时；流出：与手算不符之处。不计时，也不起子进程去跑引擎。
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks import memory, quiet, report, rounds
from benchmarks.options import Options
from benchmarks.processes import Worker, WorkerStoppedError
from benchmarks.rounds import Plan, Turn
from benchmarks.sizes import SIZES
from tinygrad_llm.common import work
from tinygrad_llm.common.config import GPTConfig, parameter_shapes
from tinygrad_llm.common.errors import UserError

LINUX = pytest.mark.skipif(not quiet.is_supported(), reason="only Linux tells the processor time of others")
PSS = pytest.mark.skipif(not memory.is_supported(), reason="only Linux tells the PSS of a process")
BUSY = "import time\nend = time.time() + 6\nwhile time.time() < end: pass"


def test_busy_time_counts_what_is_neither_idle_nor_waiting_for_a_disk() -> None:
    """忙碌的时间算进了闲着、等盘的滴答，漏了被宿主机挪走的，或算了别的核。"""
    stat = "cpu  9 9 9 9 9 9 9 9 9 9\ncpu0 1 2 4 1000 2000 8 16 32 64 128\ncpu1 7 7 7 7 7 7 7 7 0 0\nintr 5\n"
    assert quiet.busy_s(stat, [0]) * os.sysconf("SC_CLK_TCK") == pytest.approx(1 + 2 + 4 + 8 + 16 + 32)


@pytest.mark.parametrize(
    ("foreign_s", "capacity_s", "disturbed"),
    [(0.0, 1.0, False), (0.02, 0.1, False), (0.04, 0.1, True), (0.04, 1.0, False), (0.06, 1.0, True)],
)
def test_a_turn_is_disturbed_above_both_bounds(foreign_s: float, capacity_s: float, disturbed: bool) -> None:
    """滴答记账的误差被当成打扰，或真的打扰没有认出来。"""
    assert quiet.Share(foreign_s, capacity_s).is_disturbed is disturbed


def test_foreign_time_is_what_is_busy_and_not_ours() -> None:
    """自己用去的时间没有减掉，或比总忙碌时间还多时成了负数。"""
    before = quiet.Reading(at_s=1.0, busy_s=10.0, own_s=3.0, cores=2)
    assert quiet.share(before, quiet.Reading(2.0, 11.5, 4.0, 2)) == quiet.Share(0.5, 2.0)
    assert quiet.share(before, quiet.Reading(2.0, 10.5, 4.0, 2)) == quiet.Share(0.0, 2.0)
    assert quiet.share(None, before) is None


@LINUX
def test_another_process_is_noticed_and_our_own_is_not() -> None:
    """别的进程在算却没看出来，或把被测的进程当成了别人。"""
    with subprocess.Popen([sys.executable, "-c", BUSY]) as process:
        time.sleep(0.1)
        without, own = quiet.read([]), quiet.read([process.pid])
        mine, deadline = own, time.monotonic() + 5
        while mine is not None and own is not None and mine.own_s - own.own_s < 0.2 and time.monotonic() < deadline:
            time.sleep(0.05)  # 机器很忙时，它要过一会儿才轮得到这么多时间
            mine = quiet.read([process.pid])
        found = quiet.share(without, quiet.read([]))
        process.kill()
    assert found is not None
    assert found.is_disturbed
    assert own is not None
    assert mine is not None
    assert mine.own_s - own.own_s >= 0.2


@PSS
def test_memory_counts_children_and_shared_pages_once() -> None:
    """子进程的内存没有算上，或父子共用的页算了两遍。"""
    size = 64 << 20
    program = f"import os, time\nx = bytearray(b'1') * {size}\nos.fork()\nos.write(1, b'ready\\n')\ntime.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout is not None
        try:
            assert [process.stdout.readline() for _ in range(2)] == [b"ready\n"] * 2
            assert len(quiet.family([process.pid])) == 2
            with memory.watched([process.pid]) as peak:
                time.sleep(3 * memory.INTERVAL_S)
        finally:
            os.killpg(process.pid, 9)
    assert size < peak.pss_bytes < 1.5 * size


def test_every_system_goes_first_equally_often() -> None:
    """总是同一个系统先走，或总跟在同一个后面。"""
    names = ["a", "b", "c"]
    orders = [rounds.rotated(names, index) for index in range(6)]
    assert sorted(order[0] for order in orders) == ["a", "a", "b", "b", "c", "c"]
    assert len({tuple(order) for order in orders}) == 6


def test_quartiles_interpolate() -> None:
    """四分位数不是按线性插值算的。"""
    assert rounds.quartiles([4.0, 1.0, 3.0, 2.0]) == [1.75, 3.25]
    assert rounds.quartiles([5.0]) == [5.0, 5.0]


def test_disturbed_turns_are_dropped_from_both_sides_of_the_ratio() -> None:
    """作废的回仍进了中位数，或比值用了参照被打扰的轮。"""
    times = [(2.0, 1.0, False, False), (9.0, 1.0, True, False), (2.2, 1.0, False, False), (3.0, 1.0, False, False)]
    times += [(2.0, 50.0, False, True)]
    found = [{"a": Turn(a, 0.1, bad_a), "b": Turn(b, 0.1, bad_b)} for a, b, bad_a, bad_b in times]
    summary = rounds.summary(found, "a", "b")
    assert (summary["kept"], summary["dropped"], summary["noisy"]) == (4, 1, False)
    assert summary["median_s"] == pytest.approx(2.1)
    assert summary["ratio"] == pytest.approx(2.2)
    assert summary["turns_s"] == [2.0, 9.0, 2.2, 3.0, 2.0]


def test_too_few_quiet_turns_are_marked() -> None:
    """几乎每一回都被打扰时，没有标明 noisy，或一个数也没给。"""
    summary = rounds.summary([{"a": Turn(1.0, 0.5, True)}, {"a": Turn(3.0, 0.5, True)}], "a", "b")
    assert summary["noisy"]
    assert summary["median_s"] == 2.0
    assert summary["ratio"] is None


@pytest.mark.parametrize(("step_s", "turns"), [(0.001, 10), (1.0, 10), (20.0, 5), (1000.0, 2)])
def test_slow_systems_take_fewer_turns_but_at_least_two(step_s: float, turns: int) -> None:
    """慢的系统没有少量几回，或少到没法取中位数。"""
    assert Plan(10, budget_s=100.0).turns(step_s) == turns


@pytest.mark.parametrize("size", SIZES)
def test_arithmetic_is_six_times_weights_times_tokens(size: str) -> None:
    """矩阵乘法的清单漏了一层：线性层的浮点运算不等于 6 × 权重 × token 数。"""
    config, batch = SIZES[size]
    table = ("wte.weight", "wpe.weight")
    matrices = [s for name, s in parameter_shapes(config).items() if len(s) == 2 and name not in table]
    assert work.dense_flops(config, batch) == 6 * sum(a * b for a, b in matrices) * batch * config.context


def test_causal_blocks_skip_the_future() -> None:
    """注意力的算术量不在「恰好一半」与「整张 T×T」之间，或不满一块的尾巴漏了。"""
    config = GPTConfig(context=1000, n_layer=3)
    full = 3 * 6 * 2 * (5 * 12) * 1000**2 * 64
    assert full / 2 < work.attention_flops(config, batch=5) < full * (0.5 + work.BLOCK / 1000)
    assert sum(block.queries for block in work.attention_products(config, 1)) == 1000


def test_table_lines_up() -> None:
    """表的各列没有对齐。"""
    assert report.table(["a", "b"], [["long", "1"], ["x", "200"]]) == "a       b\nlong    1\nx     200"
    assert [report.milliseconds(one) for one in (0.0012345, 1.5)] == ["1.234 ms", "1500 ms"]
    assert report.times(None) == "-"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"steps": 0}, "--steps must be at least 1"),
        ({"cores": 0}, "--cores must be at least 1"),
        ({"json": Path("none") / "such" / "x.json"}, "there is no folder"),
        ({"plot": Path("x.svg")}, "--plot must end in .png"),
    ],
)
def test_impossible_settings_are_refused(given: dict[str, object], message: str) -> None:
    """不可能的设置等到量完才报错。"""
    with pytest.raises(UserError, match=message):
        Options(**given)  # type: ignore[arg-type]


def test_a_system_that_stops_halfway_does_not_stop_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """一个系统中途退出，别的系统也量不成了，或没有说明是谁。"""
    workers = [Worker(name, ()) for name in ("steady", "brittle")]
    calls = {"steady": 0, "brittle": 0}

    def take_turn(worker: Worker, repeats: int) -> Turn:
        calls[worker.name] += 1
        if worker.name == "brittle" and calls["brittle"] == 2:
            raise WorkerStoppedError("stopped")
        return Turn(1.0)

    monkeypatch.setattr(rounds, "take_turn", take_turn)
    unavailable: dict[str, str] = {}
    found = rounds.interleave(workers, {"steady": 1.0, "brittle": 1.0}, Plan(4), "steady", unavailable)
    assert [sorted(one) for one in found] == [["brittle", "steady"], *[["steady"]] * 3]
    assert unavailable == {"brittle": "stopped"}


def test_the_reference_is_there_as_long_as_anyone_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """被打扰的系统补量的那几轮里没有参照，比值就无从算起。"""
    workers = [Worker(name, ()) for name in ("torch", "unlucky")]
    monkeypatch.setattr(rounds, "take_turn", lambda worker, repeats: Turn(1.0, 0.5, worker.name == "unlucky"))
    found = rounds.interleave(workers, {"torch": 1.0, "unlucky": 1.0}, Plan(3), "torch", {})
    assert len(found) == rounds.EXTRA * 3
    assert all("torch" in one for one in found)
