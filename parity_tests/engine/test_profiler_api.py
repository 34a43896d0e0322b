"""剖析的接口与 torch 的相同：轮次、表的列、错误的类型、从前的写法。

流入：同一段程序以两个引擎各跑一遍；流出：第一处不同。记下的事对不对见 ``test_profiler.py``。
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import torch

import tinygrad_llm as tg
from parity_tests.engine.twins import ENGINES, outcome, same, table
from tinygrad_llm.profiler import ProfilerAction, ProfilerActivity, profile, record_function, schedule
from tinygrad_llm.profiler.events import OP, RANGE

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")


def _actions(m: Any, **options: int) -> list[str]:
    action = m.profiler.schedule(**options)
    return [action(step).name for step in range(14)]


@pytest.mark.parametrize("wait", [0, 2])
@pytest.mark.parametrize("warmup", [0, 1])
@pytest.mark.parametrize("active", [1, 3])
@pytest.mark.parametrize("repeat", [0, 1, 2])
def test_schedule_is_torchs(wait: int, warmup: int, active: int, repeat: int) -> None:
    """有一步的动作与 torch 不同。"""
    for skip_first, skip_first_wait in itertools.product((0, 3), (0, 1)):
        options = {"wait": wait, "warmup": warmup, "active": active, "repeat": repeat}
        same(lambda m: _actions(m, **options, skip_first=skip_first, skip_first_wait=skip_first_wait))  # noqa: B023


def _rounds(m: Any, steps: int, **options: Any) -> Any:
    ready: list[Any] = []

    def on_ready(prof: Any) -> None:
        names = Counter(event.name for event in prof.events())
        adds = names["add"] if m is tg else names["aten::add"]
        ready.append((prof.step_num, names["ProfilerStep*"], adds))

    with m.profiler.profile(on_trace_ready=on_ready, **options) as prof:
        for _ in range(steps):
            m.add(m.ones(2), 1)
            prof.step()
    return ready, prof.step_num, prof.current_action.name


ROUNDS: dict[str, dict[str, Any]] = {
    "all of it": {},
    "one round": {"wait": 1, "warmup": 1, "active": 2, "repeat": 1},
    "two rounds": {"wait": 1, "warmup": 1, "active": 2, "repeat": 2},
    "no wait": {"wait": 0, "warmup": 0, "active": 1},
    "cut short": {"wait": 1, "warmup": 1, "active": 30},
    "ends while warming up": {"wait": 1, "warmup": 30, "active": 1},
}


@pytest.mark.parametrize("options", table(ROUNDS))
def test_rounds_end_where_torchs_do(options: dict[str, Any]) -> None:
    """一轮结束得早了晚了，或记下的步数、次数与 torch 不同。"""
    same(lambda m: _rounds(m, 9, **({"schedule": m.profiler.schedule(**options)} if options else {})))


def test_events_of_all_rounds_can_be_kept() -> None:
    """``acc_events`` 之下前几轮的事件丢了。"""
    steps = {kept: _kept_steps(kept) for kept in (False, True)}
    assert steps == {False: 1, True: 3}


def _kept_steps(acc_events: bool) -> int:
    with profile(schedule=schedule(wait=0, warmup=1, active=1, repeat=3), acc_events=acc_events) as prof:
        for _ in range(6):
            prof.step()
    return Counter(event.name for event in prof.events())["ProfilerStep*"]


def _profiled(m: Any, **options: Any) -> Any:
    with m.profiler.profile(**options) as prof, m.profiler.record_function("whole"):
        for size in (2, 3):
            x = m.ones(size, size, requires_grad=True)
            m.mm(x, x).sum().backward()
    return prof


def _titles(text: str) -> list[str]:
    return [title.strip() for title in text.splitlines()[1].split("  ") if title.strip()]


@pytest.mark.parametrize("shapes", [False, True])
@pytest.mark.parametrize("memory", [False, True])
@pytest.mark.parametrize("stack", [0, 2])
def test_columns_are_torchs(shapes: bool, memory: bool, stack: int) -> None:
    """表的列与 torch 不同。"""
    options = {"record_shapes": shapes, "profile_memory": memory, "with_stack": stack > 0}

    def titles(m: Any) -> Any:
        averages = _profiled(m, **options).key_averages(group_by_input_shape=shapes, group_by_stack_n=stack)
        return _titles(averages.table(sort_by="self_cpu_time_total", row_limit=3))

    ours, theirs = titles(tg), [title for title in titles(torch) if title != "Source Location"]
    assert [title for title in ours if title != "Source Location"] == theirs
    assert ("Source Location" in ours) == (stack > 0)


def test_averages_are_grouped() -> None:
    """同名的没有合在一起，形状不同的没有分开，或次数、时间、浮点运算次数加错了。"""
    prof = _profiled(tg, record_shapes=True, with_flops=True)
    averages = {one.key: one for one in prof.key_averages()}
    assert {key: one.count for key, one in averages.items()} == {
        "whole": 1, "mm": 2, "sum_all": 2, "SumBackward0": 2, "MmBackward0": 2,
    }  # fmt: skip
    assert (averages["mm"].flops, averages["MmBackward0"].flops) == (2 * 8 + 2 * 27, 4 * 8 + 4 * 27)
    by_shape = prof.key_averages(group_by_input_shape=True)
    assert [one.input_shapes for one in by_shape if one.key == "mm"] == [[[2, 2]] * 2, [[3, 3]] * 2]
    events = [event for event in prof.events() if event.name == "mm"]
    assert averages["mm"].cpu_time_total == pytest.approx(sum(event.cpu_time_total for event in events))
    assert averages["mm"].cpu_time == pytest.approx(averages["mm"].cpu_time_total / 2)
    assert prof.events().self_cpu_time_total == pytest.approx(averages["whole"].cpu_time_total)
    assert prof.key_averages().total_average().count == 9
    lines = prof.key_averages().table(sort_by="cpu_time_total", row_limit=2, header="title").splitlines()
    assert lines[0] == "title"
    assert lines[4].split()[0] == "whole"
    assert len(lines) == 8
    assert prof.events().table(top_level_events_only=True, row_limit=-1).count("\n") == 6


REFUSED: dict[str, Callable[[Any], Any]] = {
    "no activity": lambda m: m.profiler.profile(activities=[]).start(),
    "not an activity": lambda m: m.profiler.profile(activities=["cpu"]).start(),
    "another device": lambda m: m.profiler.profile(activities=[m.profiler.ProfilerActivity.CUDA]).start(),
    "results before the start": lambda m: m.profiler.profile().key_averages(),
    "events before the start": lambda m: m.profiler.profile().events(),
    "trace before the start": lambda m: m.profiler.profile().export_chrome_trace("trace.json"),
    "active 0": lambda m: m.profiler.schedule(wait=1, warmup=1, active=0),
    "negative wait": lambda m: m.profiler.schedule(wait=-1, warmup=1, active=1),
    "negative step": lambda m: m.profiler.schedule(wait=1, warmup=1, active=1)(-1),
    "no such column": lambda m: _profiled(m).key_averages().table(sort_by="fastest"),
    "no such metric": lambda m: _profiled(m, with_stack=True).export_stacks("stacks.txt", "fastest"),
    "a name that is no text": lambda m: m.profiler.record_function(3).__enter__(),
    "nothing recorded": lambda m: m.profiler.profile().step(),
}


@pytest.mark.parametrize("program", table(REFUSED))
def test_mistakes_are_torchs_mistakes(program: Callable[[Any], Any]) -> None:
    """torch 报错的我们不报，或错误的类型不同。"""
    ours, theirs = [outcome(m, program) for m in ENGINES]
    assert ours == theirs


def test_other_devices_are_only_warned_about() -> None:
    """同时要 GPU 的程序在没有 GPU 的机器上跑不起来；按 GPU 的时间排序报错。"""
    with pytest.warns(UserWarning, match="CUDA is not available"):
        prof = profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA])
    with prof:
        tg.ones(2) + 1
    assert "add" in prof.key_averages().table(sort_by="cuda_time_total")
    assert tg.profiler.supported_activities() == {ProfilerActivity.CPU}


def test_ranges_survive_errors_and_recursion() -> None:
    """段里抛出异常、装饰递归的函数、自己套自己时，段丢了或套错了。"""

    @record_function("countdown")
    def countdown(n: int) -> Any:
        return tg.ones(1) + 1 if n == 0 else countdown(n - 1)

    with profile() as prof:
        countdown(2)
        with pytest.raises(ValueError, match="stop"), record_function("fails", "why"):
            raise ValueError("stop")
        with pytest.raises(RuntimeError):
            tg.ones(2) + tg.ones(3)
        tg.ones(3) * 2
    events = prof.events()
    depths = [sum(1 for _ in _outer(event)) for event in events if event.kind == RANGE]
    assert [event.name for event in events] == ["countdown"] * 3 + ["add", "fails(why)", "mul"]
    assert depths == [0, 1, 2, 0]
    assert [event.name for event in events if event.kind == OP and event.cpu_parent is None] == ["mul"]


def _outer(event: Any) -> Iterable[Any]:
    while event.cpu_parent is not None:
        event = event.cpu_parent
        yield event


@pytest.mark.fused  # 找的是融合算子的名字
def test_source_lines_and_layers_are_recorded(tmp_path: Path) -> None:
    """代码行指到了本包里面，层的前向没有套着它的算子，或火焰图的文件写错。"""
    model = tg.nn.Sequential(tg.nn.Linear(3, 3), tg.nn.ReLU())
    with profile(with_stack=True, with_modules=True) as prof:
        for _ in range(50):
            model(tg.ones(200, 3))
    linear = next(event for event in prof.events() if event.name == "linear")
    assert Path(__file__).name in linear.stack[0]
    assert [event.name for event in _outer(linear)] == ["nn.Module: Linear", "nn.Module: Sequential"]
    prof.export_stacks(tmp_path / "stacks.txt")
    lines = (tmp_path / "stacks.txt").read_text(encoding="utf-8").splitlines()
    assert all(line.rpartition(" ")[2].isdigit() and ";" in line for line in lines)
    assert any("test_source_lines_and_layers_are_recorded" in line for line in lines)


def test_traces_for_tensorboard_have_a_folder(tmp_path: Path) -> None:
    """``tensorboard_trace_handler`` 没有建文件夹，或一轮没有一个文件。"""
    handler = tg.profiler.tensorboard_trace_handler(str(tmp_path / "logs"), "me", use_gzip=True)
    with profile(schedule=schedule(wait=0, warmup=1, active=1, repeat=2), on_trace_ready=handler) as prof:
        for _ in range(4):
            tg.ones(2) + 1
            prof.step()
    names = sorted(path.name for path in (tmp_path / "logs").iterdir())
    assert len(names) == 2
    assert all(name.startswith("me.") and name.endswith(".pt.trace.json.gz") for name in names)


def test_the_old_profiler_is_there() -> None:
    """``torch.autograd.profiler`` 的写法跑不起来，或关掉了仍在记。"""

    def run(m: Any) -> Any:
        with m.autograd.profiler.profile(record_shapes=True) as prof, m.autograd.profiler.record_function("part"):
            m.add(m.ones(2), 1)
        with m.autograd.profiler.profile(enabled=False) as off:
            m.add(m.ones(2), 1)
        names = [event.name.removeprefix("aten::") for event in prof.function_events]
        kept = [name for name in names if name in ("part", "add")]
        return kept, prof.total_average().key, prof.self_cpu_time_total > 0, "Name" in prof.table(), off

    same(run)


def test_actions_are_torchs() -> None:
    """两个枚举的名字与值和 torch 的不同。"""
    for ours, theirs in ((ProfilerAction, torch.profiler.ProfilerAction),):
        assert all(theirs[one.name].value == one.value for one in ours)
    assert {one.name for one in ProfilerActivity} <= set(dir(torch.profiler.ProfilerActivity))
