"""内存账：几张小图的每一个字节都手算过；数组一放就销账，没有要求记时一个弱引用也没有。

流入：元素个数已知的小图；流出：算多、算少或记错了算子的字节数。
"""

from __future__ import annotations

import gc
import json
import re
import subprocess
import sys
import weakref
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

import tinygrad_llm as tg
from parity_tests.engine.twins import table
from tinygrad_llm.profiler import profile
from tinygrad_llm.profiler.ledger import GRADIENT, HELD, INPUT, Ledger
from tinygrad_llm.profiler.process import process_memory
from tinygrad_llm.profiler.summary import op_table
from tinygrad_llm.utils.checkpoint import checkpoint

N = 1000
A = 8 * N
"""一个中间结果的字节数。"""


class Expected(NamedTuple):
    """一张图的账：反传之前图留着多少、峰值、反传之后还在的、梯度一共申请了多少。"""

    held: dict[str, int]
    peak: int
    left: int
    gradients: int


def _leaf() -> Any:
    return tg.ones(N, dtype=tg.float64, requires_grad=True)


_W = tg.ones(N, dtype=tg.float64)

GRAPHS: dict[str, tuple[Callable[[Any], Any], Expected]] = {
    # mul 只留叶子，exp 留输出。峰值在 exp 的反向：输出与新的梯度各一份，加上损失；mul 的两份梯度就地加成一份
    "exp of a square": (lambda x: (x * x).exp().sum(), Expected({"exp": A}, 2 * A + 8, A + 8, 2 * A)),
    # 留下的常数不是算子算出来的，也不是参数：算作输入
    "times a constant": (lambda x: (x * _W).sum(), Expected({"mul": A}, 2 * A + 8, A + 8, A)),
    # sin 与 cos 留的是同一块：只算一次，记在先留的名下。峰值在相加：x·2、sin、cos 与和
    "kept by two": (lambda x: _sin_and_cos(x * 2), Expected({"sin": A}, 4 * A, A + 8, 3 * A)),
    # 视图不另占内存。峰值在 exp 的反向：输出、切片的反向补零的一份、新的一份，加上损失
    "views": (lambda x: x.exp().view(10, -1)[1:].sum(), Expected({"exp": A}, 3 * A + 8, A + 8, 2 * A)),
    # 求和的反向只是把一个数铺开，什么也没有申请；.grad 是复制来的，不由算子申请
    "only a sum": (lambda x: x.sum(), Expected({}, 8, 8, 0)),
}


def _sin_and_cos(y: Any) -> Any:
    return (y.sin() + y.cos()).sum()


@pytest.mark.parametrize("case", table(GRAPHS))
def test_every_byte_of_a_small_graph_is_known(case: tuple[Callable[[Any], Any], Expected]) -> None:
    """图留着的、峰值或剩下的与手算的不同。"""
    f, expected = case
    x = _leaf()
    with profile(profile_memory=True) as prof:
        assert prof._recorder is not None
        ledger = prof._recorder.ledger
        assert ledger is not None
        loss = f(x)
        held = {op: size for (op, kind), size in ledger.totals().items() if kind == HELD and size}
        loss.backward()
    assert held == ledger.most_held() == expected.held
    assert ledger.most_in_all() == sum(expected.held.values())
    assert sum(size for (_, kind), size in ledger.made().items() if kind == GRADIENT) == expected.gradients
    assert _live(ledger) == expected.left
    assert ledger.peak == expected.peak
    assert sum(size for (_, kind), size in ledger.totals(at_peak=True).items() if kind != HELD) == expected.peak
    del loss
    x.grad = None
    assert _live(ledger) == 0


def _live(ledger: Ledger) -> int:
    return sum(size for (_, kind), size in ledger.totals().items() if kind != HELD)


def _held(ledger: Ledger) -> int:
    return sum(size for (_, kind), size in ledger.totals().items() if kind == HELD)


def _recorded(f: Callable[[Ledger], Any]) -> Any:
    with profile(profile_memory=True) as prof:
        assert prof._recorder is not None
        assert prof._recorder.ledger is not None
        return f(prof._recorder.ledger)


def test_a_dropped_graph_holds_nothing() -> None:
    """没有反传就丢掉的图，或 ``retain_graph`` 之后才丢掉的图，账上还留着。"""

    def run(ledger: Ledger) -> list[int]:
        found = []
        y = _leaf().exp().sum()
        found.append(_held(ledger))
        y.backward(retain_graph=True)
        found.append(_held(ledger))
        del y
        found.append(_held(ledger))
        with tg.no_grad():
            z = _leaf().exp()
        return [*found, _held(ledger), _live(ledger) - z.array.nbytes]

    assert _recorded(run) == [A, A, 0, 0, 0]


@pytest.mark.usefixtures("young_heap")
def test_values_kept_elsewhere_are_not_held() -> None:
    """``checkpoint`` 与 ``saved_tensors_hooks`` 之下图并不留数组，账上却有；或重算的没有放掉。"""

    def run(ledger: Ledger) -> list[int]:
        recomputed = checkpoint(lambda x: (x * 2).exp().sin(), _leaf(), use_reentrant=False).sum()
        found = [_held(ledger)]
        recomputed.backward()
        with tg.autograd.graph.saved_tensors_hooks(lambda t: t.tolist(), lambda v: tg.tensor(v, dtype=tg.float64)):
            packed = _leaf().exp().sum()
        found.append(_held(ledger))
        packed.backward()
        del recomputed, packed
        gc.collect()
        return [*found, _live(ledger)]

    assert _recorded(run) == [0, 0, 0]


def test_custom_functions_hold_what_they_save() -> None:
    """自定义算子用 ``save_for_backward`` 留下的没有记在它名下；参数却记了。"""

    class Scale(tg.autograd.Function):
        """乘以两倍的输入，把中间的结果留下。"""

        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            """留下输入（叶子，不算）与一个中间结果。"""
            twice = x * 2
            ctx.save_for_backward(x, twice)
            return x * twice

        @staticmethod
        def backward(ctx: Any, *grads: Any) -> Any:
            """``4x``。"""
            return grads[0] * 2 * ctx.saved_tensors[1]

    def run(ledger: Ledger) -> list[Any]:
        loss = Scale.apply(_leaf()).sum()
        before = {op: size for (op, kind), size in ledger.totals().items() if kind == HELD}
        loss.backward()
        return [before, _held(ledger)]

    assert _recorded(run) == [{"Scale": A}, 0]


@pytest.mark.fused  # 量的是融合算子留下的内存
def test_inputs_count_while_the_graph_holds_them() -> None:
    """用户给的数组被图留着时没有算进总数，或放了之后还算着；参数算了进去。"""

    def run(ledger: Ledger) -> list[Any]:
        data, weight = tg.ones(50, 4), tg.ones(3, 4, requires_grad=True)
        loss = tg.nn.functional.linear(data, weight).sum()
        totals = ledger.totals()
        loss.backward()
        return [totals["linear", INPUT], totals["linear", HELD], ledger.totals()["linear", INPUT]]

    assert _recorded(run) == [50 * 4 * 4, 50 * 4 * 4, 0]


def test_nothing_is_kept_alive() -> None:
    """记账延长了数组的寿命；或没有要求记内存时，仍在每个数组上挂了弱引用。"""
    for memory, references in ((True, 1), (False, 0)):
        with profile(profile_memory=memory) as prof:
            array = (tg.ones(3) + 1).array
        assert len(weakref.getweakrefs(array)) == references
        assert (prof.ledger is not None) == memory
        freed: list[bool] = []
        weakref.finalize(array, freed.append, True)
        del array
        assert freed == [True]


def test_events_say_what_they_allocated() -> None:
    """事件上的字节数与账不符：自己的、连里面套着的。"""
    with profile(profile_memory=True) as prof, tg.profiler.record_function("all"):
        (_leaf() * _leaf()).exp().sum().backward()
    averages = {one.key: one for one in prof.key_averages()}
    assert {key: one.self_cpu_memory_usage for key, one in averages.items()} == {
        "all": 0, "mul": A, "exp": A, "sum_all": 8, "SumBackward0": 0, "ExpBackward0": A, "MulBackward0": 2 * A,
    }  # fmt: skip
    assert averages["all"].cpu_memory_usage == 5 * A + 8


def test_summary_tells_the_process_and_the_last_profile() -> None:
    """``memory_summary`` 少了进程的数、表的一列，或不是最近一次剖析的表。"""
    loss = None
    with profile(profile_memory=True):
        tg.ones(2).cos()
        during = tg.memory_summary()
    with profile(profile_memory=True):
        loss = (tg.ones(256, 256, requires_grad=True) * 2).exp().sum()
    with profile():
        tg.ones(2).sin()
    text = tg.memory_summary()
    assert "cos" in during
    assert ("cos" in text, "sin" in text) == (False, False)
    assert re.search(r"peak resident +[\d.]+ [MG]B", text)
    assert "arrays of the last profile: 256.00 KB live, 512.00 KB at the peak" in text
    row = next(line for line in text.splitlines() if line.startswith("exp "))
    assert re.split(r"  +", row.strip()) == ["exp", *["256.00 KB"] * 3, *["0 B"] * 3, *["256.00 KB"] * 3]
    loss.backward()
    assert "exp         0 B" in re.sub(r"  +", "         ", tg.memory_summary())


def test_process_figures_are_the_systems() -> None:
    """常驻内存、峰值与 C 堆的数对不上：申请 64 MB，哪一个都该看得见。

    在新的进程里量：这里的堆也许正留着别人还回的内存。
    """
    code = (
        "import json, numpy as np\n"
        f"from {process_memory.__module__} import process_memory\n"
        "before = process_memory(); block = np.ones(8 << 20); print(json.dumps([before, process_memory()]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    before, after = json.loads(done.stdout)
    assert after["peak"] >= after.get("resident", 0)
    if "resident" in after:
        assert after["resident"] - before["resident"] > 32 << 20
    if "mapped" in after or "heap used" in after:
        used = [found.get("mapped", 0) + found.get("heap used", 0) for found in (before, after)]
        assert used[1] - used[0] > 32 << 20


def test_table_of_costs_adds_up() -> None:
    """按算子的表漏了一项，合计不等于各行之和，或 ``others`` 没有合并。"""
    with profile(profile_memory=True, with_flops=True) as prof, tg.profiler.record_function("step"):
        x = tg.ones(64, 64, requires_grad=True)
        with tg.profiler.record_function("part"):
            (x @ x).exp().sin().sum().backward()
    lines = op_table(prof).splitlines()
    rows = {line.split()[0]: re.split(r"  +", line.strip()) for line in lines if line[0] not in "-O"}
    assert rows.keys() == {"mm", "exp", "sin", "sum_all", "part", "Total"}
    assert [rows[name][1] for name in ("mm", "part", "Total")] == ["1", "1", "5"]
    assert rows["exp"][-1] == rows["Total"][-1] == "16.00 KB"  # sin 留的是同一块
    shares = [float(cell.rstrip("%")) for row in rows.values() for cell in row if cell.endswith("%")]
    assert sum(shares) == pytest.approx(200, abs=0.5)
    assert "4 others" in op_table(prof, row_limit=2)
