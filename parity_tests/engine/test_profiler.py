"""``torch.profiler``：记下的事与图相符，不记时引擎一步也不多走，记与不记结果逐位相同。

流入：几张小图；流出：多记或漏记的事件、套错的时间段、与 torch 不同的接口。内存账见 ``test_profiler_memory.py``。
"""

from __future__ import annotations

import contextlib
import gzip
import itertools
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import tinygrad_llm as tg
from parity_tests.engine.twins import table
from tinygrad_llm.autograd import observer
from tinygrad_llm.autograd.observer import everyone
from tinygrad_llm.common.config import preset
from tinygrad_llm.gpt import GPT
from tinygrad_llm.ops.bfloat16 import extras
from tinygrad_llm.profiler import profile, record_function, schedule
from tinygrad_llm.profiler.events import BACKWARD
from tinygrad_llm.utils.checkpoint import checkpoint

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")


class _Cube(tg.autograd.Function):
    """两个输出的自定义算子。"""

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        """平方与立方。"""
        ctx.save_for_backward(x)
        return x * x, x * x * x

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        """两份梯度之和。"""
        (x,) = ctx.saved_tensors
        return grads[0] * 2 * x + grads[1] * 3 * x * x


def _x(*shape: int) -> Any:
    return tg.randn(*(shape or (4, 3)), requires_grad=True)


def _gpt(dropout: float = 0.0) -> Any:
    model = GPT(preset("toy", vocab_size=40, n_layer=2, n_embd=16, n_head=2, context=8, dropout=dropout))
    ids = tg.arange(16).view(2, 8)
    return model.loss(ids, (ids + 1) % 40)


def _shared() -> Any:
    w, x = _x(3, 3), _x()
    return tg.nn.functional.linear(x, w).sin().sum() + (w * w).sum() + tg.nn.functional.linear(x.exp(), w).sum()


GRAPHS: dict[str, Callable[[], Any]] = {
    "elementwise": lambda: (_x() * 2 + 1).exp().sum(),
    "used twice": lambda: (lambda x: (x * x + x).mean())(_x()),
    "views": lambda: (lambda x: x.view(3, 4).t()[1:].sum() + x[0].sum())(_x()),
    "matrix products": lambda: (_x(4, 5) @ _x(5, 3)).relu().sum(),
    "shared by different ops": _shared,
    "in place": lambda: (_x() * 1).exp_().mul_(2).sum(),
    "own function": lambda: sum(y.sum() for y in _Cube.apply(_x())),
    "GPT": _gpt,
    "GPT with dropout": lambda: _gpt(0.3),
    "checkpoint": lambda: checkpoint(lambda x: x.exp().sin(), _x(), use_reentrant=False).sum(),
}


def _nodes(loss: Any) -> list[Any]:
    """图上的全部节点。"""
    found: list[Any] = []
    stack = [loss.grad_fn]
    while stack:
        node = stack.pop()
        if node is not None and node not in found and node.name() != "torch::autograd::AccumulateGrad":
            found.append(node)
            stack += [source for source, _ in node.next_functions]
    return found


@pytest.mark.parametrize("make", table(GRAPHS))
def test_events_are_the_nodes_of_the_graph(make: Callable[[], Any]) -> None:
    """有一个节点的前向或反向没有记下，或记了两次。"""
    with profile() as prof:
        loss = make()
        nodes = _nodes(loss)
        seen = len(prof.events())
        loss.backward()
    numbers = sorted(-node.order for node in nodes)
    forward, backward = prof.events()[:seen], [e for e in prof.events() if e.kind == BACKWARD]
    recorded = [e.sequence_nr for e in forward if e.sequence_nr >= 0]
    assert set(numbers) <= set(recorded)
    assert len(recorded) == len(set(recorded))
    assert sorted(e.sequence_nr for e in backward) == numbers
    assert {e.sequence_nr: e.name for e in backward} == {-node.order: node.name() for node in nodes}


@pytest.mark.parametrize("make", table(GRAPHS))
def test_profiling_changes_no_bit(make: Callable[[], Any]) -> None:
    """记与不记，损失或某个参数的梯度差了一个比特。"""

    def run() -> list[bytes]:
        tg.manual_seed(0)
        loss = make()
        leaves = [
            leaf.variable for node in _nodes(loss) for leaf, _ in node.next_functions if hasattr(leaf, "variable")
        ]
        loss.backward()
        return [loss.array.tobytes(), *(leaf.grad.array.tobytes() for leaf in leaves)]

    plain = run()
    with profile(record_shapes=True, profile_memory=True, with_flops=True, with_stack=True, with_modules=True):
        watched = run()
    assert len(plain) > 1
    assert watched == plain


def test_the_engine_is_as_before_without_a_profile() -> None:
    """不在剖析时引擎仍在向谁报告；出了错、没有 ``with`` 也一样要收场。"""
    users = extras.users

    def fails() -> None:
        with profile(profile_memory=True, with_modules=True), record_function("a"):
            tg.nn.Linear(2, 2)(tg.ones(3, 2))
            assert extras.users == users + 1
            raise KeyError

    with pytest.raises(KeyError):
        fails()
    prof = profile(schedule=schedule(wait=0, warmup=1, active=1))
    prof.start()
    prof.step()
    assert everyone.observer is not None
    prof.stop()
    with record_function("nothing listens"):
        assert extras.users == users
    assert not tg.nn.module_hooks.FORWARD_PRE
    assert not tg.optim.optimizer.STEP_PRE
    with pytest.raises(RuntimeError, match="already running"), profile() as outer, profile():
        pass
    assert outer.events() == []
    assert extras.users == users
    assert everyone.observer is None


def _overlaps(spans: Iterable[tuple[float, float]]) -> list[Any]:
    """既不套着、又重叠的两段。"""
    return [(a, b) for a, b in itertools.combinations(sorted(spans), 2) if a[0] < b[0] < a[1] < b[1]]


@pytest.mark.fused  # 找的是融合算子的名字
def test_threads_are_recorded_side_by_side() -> None:
    """几个线程同时算：漏记、记到别的线程名下，或同一线程里的段互相交叉。"""
    barrier = threading.Barrier(3)

    def work() -> None:
        barrier.wait()
        for _ in range(5):
            _gpt().backward()

    with profile(profile_memory=True) as alone:
        _gpt().backward()
    with profile(profile_memory=True) as prof:
        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    expected = Counter(event.name for event in alone.events())
    by_thread = {
        thread: [e for e in prof.events() if e.thread == thread] for thread in {e.thread for e in prof.events()}
    }
    assert len(by_thread) == 3
    for events in by_thread.values():
        assert Counter(e.name for e in events) == {name: 5 * count for name, count in expected.items()}
        assert not _overlaps((e.start_ns, e.end_ns) for e in events)
    assert prof.ledger is not None
    assert not any(prof.ledger.totals().values())  # 都算完了，什么也没有留下


# ---- Chrome trace


def _traced(path: Path) -> dict[str, Any]:
    model = tg.nn.Linear(3, 3)
    optimizer = tg.optim.SGD(model.parameters(), lr=0.1)
    prof = profile(record_shapes=True, profile_memory=True, with_flops=True, with_modules=True)
    with prof, record_function("step"):
        x = tg.randn(4, 3)
        with record_function("forward"):
            loss = checkpoint(lambda a: model(a).sin(), x.requires_grad_(), use_reentrant=False).sum()
        loss.backward()
        optimizer.step()
    prof.add_metadata("run", "a")
    prof.add_metadata_json("sizes", "[4, 3]")
    prof.export_chrome_trace(path)
    raw = path.read_bytes()
    found: dict[str, Any] = json.loads(gzip.decompress(raw) if path.suffix == ".gz" else raw)
    return found


@pytest.mark.parametrize("name", ["trace.json", "trace.json.gz"])
@pytest.mark.fused  # 找的是融合算子的名字
def test_the_trace_is_nested_json(tmp_path: Path, name: str) -> None:
    """trace 不是合法的 JSON，段互相交叉，少了该有的一项，或箭头没有成对。"""
    trace = _traced(tmp_path / name)
    spans = [e for e in trace["traceEvents"] if e["ph"] == "X"]
    assert not _overlaps((round(e["ts"] * 1e3), round((e["ts"] + e["dur"]) * 1e3)) for e in spans)
    assert min(e["ts"] for e in spans) == 0
    assert (trace["run"], trace["sizes"]) == ("a", [4, 3])
    assert {e["cat"] for e in spans} == {"cpu_op", "user_annotation", "python_function"}
    names = {e["name"]: e for e in spans}
    inside = names["step"]
    for name in ("forward", "linear", "AddmmBackward0", "Optimizer.step#SGD.step", "nn.Module: Linear"):
        one = names[name]
        assert inside["ts"] <= one["ts"]
        assert one["ts"] + one["dur"] <= inside["ts"] + inside["dur"] + 1e-3
        assert {"pid", "tid"} <= one.keys()
    assert names["linear"]["args"]["Input Dims"] == [[4, 3], [3, 3], [3]]
    assert names["linear"]["args"]["Input type"] == ["float32"] * 3
    assert names["linear"]["args"]["FLOPs"] == 2 * 4 * 3 * 3
    arrows = {phase: {e["id"] for e in trace["traceEvents"] if e["ph"] == phase} for phase in "sf"}
    assert arrows["s"] == arrows["f"] == {e["args"]["Sequence number"] for e in spans if "Backward" in e["name"]}
    curve = [e["args"]["live"] for e in trace["traceEvents"] if e["ph"] == "C"]
    assert curve[-1] == 36 + 12 + 4  # 两个参数的梯度与损失还在
    assert min(curve) >= 0


@pytest.mark.parametrize("scope", [contextlib.nullcontext, tg.autograd.composed_ops])
def test_a_step_begins_twice_or_never_ends(scope: Callable[[], Any]) -> None:
    """计时者听到的「开始」与「完成」不是一一相对：报了两遍，或拆开的融合算子只报了开始。"""
    begun: list[Any] = []
    ended: list[Any] = []
    watcher = SimpleNamespace(
        before=begun.append,
        forward=lambda op, args, outputs: ended.append(op),
        backward=lambda node, g, grads: ended.append(node),
    )
    x, w = tg.ones(2, 3, requires_grad=True), tg.ones(4, 3, requires_grad=True)
    observer.observe(watcher)
    try:
        with scope():
            tg.nn.functional.gelu(tg.nn.functional.linear(x, w)).sum().backward()
    finally:
        observer.stop_observing()
    assert begun
    assert begun == ended
