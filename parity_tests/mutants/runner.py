"""把变异体放进一个分叉出来的子进程，跑它的快测，回报结局。

流入：``Target`` 与 ``Mutation``；流出：``Outcome``。工作区与本进程都不动：换掉的只是子进程里那个函数的 ``__code__``。
下一站：``command.py``。
"""

from __future__ import annotations

import functools
import gc
import json
import os
import select
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from _pytest import outcomes

from parity_tests.mutants import checks
from parity_tests.mutants.mutations import Mutation
from parity_tests.mutants.targets import Target, compiled
from tinygrad_llm.ops import REGISTRY
from tinygrad_llm.ops.bfloat16 import extras

MOST_OWNERS = 3


class Mutant(NamedTuple):
    """放在一个目标里的一处错误。

    Attributes:
        target: 放在哪个函数里。
        mutation: 改了什么。
        number: 同一目标里前后都相同的改动中的第几处，从 1 起。
    """

    target: Target
    mutation: Mutation
    number: int = 1

    @property
    def name(self) -> str:
        """不随行号变化的名字，账本与等价表都以它为键。"""
        m = self.mutation
        again = f" #{self.number}" if self.number > 1 else ""
        return f"{self.target.name} [{m.kind}] {m.before} -> {m.after}{again}"


class Outcome(NamedTuple):
    """一个变异体的结局。

    Attributes:
        mutant: 变异体。
        verdict: ``killed``、``survived``、``timeout``（被时限杀死，也算发现了）或 ``crashed``（进程崩溃，也算）。
        check: 发现它的那条测试。
        message: 那条测试的报错，一行。
        seconds: 用了多久。
    """

    mutant: Mutant
    verdict: str
    check: str = ""
    message: str = ""
    seconds: float = 0.0


def install(mutant: Mutant) -> None:
    """换掉活着的函数的代码，并清掉记着旧签名的执行方式。"""
    function = mutant.target.function
    function.__code__ = compiled(mutant.mutation.node, function.__code__.co_filename)
    for op in REGISTRY.values():
        op.plans.clear()


def judge(owners: Iterable[str]) -> tuple[str, str] | None:
    """依次跑各个所属者的快测，每条之前都回到近路上；返回第一条失败的（名字，报错），都过了就返回 ``None``。"""
    for owner in owners:
        for name, check in checks.of(owner):
            extras.forget()
            try:
                check()
            except outcomes.Skipped:
                continue
            except (Exception, outcomes.Failed) as error:
                return name, f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
    return None


@functools.cache
def warm_up() -> None:
    """没有改动的引擎先在本进程里跑过几样：子进程不必各自从头加载、初始化，快七倍。

    Raises:
        AssertionError: 没有改动的引擎就通不过它的测试。
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = judge(["mul", "layer_norm", "SGD"])
    assert found is None, f"the unchanged engine fails {found}"
    gc.freeze()


class _Child(NamedTuple):
    mutant: Mutant
    pid: int
    started_at: float


def run(
    mutants: Iterable[Mutant],
    *,
    jobs: int = 2,
    limit_s: float = 30.0,
    owners: Callable[[Mutant], list[str]] | None = None,
) -> Iterator[Outcome]:
    """同时放出 ``jobs`` 个子进程，谁先完谁先回报。

    Args:
        mutants: 变异体。
        jobs: 同时几个。
        limit_s: 每个最多用多少秒 CPU；墙上时间不超过它的五倍。
        owners: 由谁的快测来认；缺省是目标最近的几个所属者。

    Yields:
        结局，按完成的先后。
    """
    warm_up()
    todo, running = iter(mutants), dict[int, _Child]()
    owners = owners or (lambda m: m.target.owners[:MOST_OWNERS])
    while True:
        for mutant in todo:
            pipe, pid = _fork(mutant, owners(mutant), limit_s)
            running[pipe] = _Child(mutant, pid, time.perf_counter())
            if len(running) >= jobs:
                break
        if not running:
            return
        for pipe in select.select(list(running), [], [])[0]:
            child = running.pop(pipe)
            yield _reaped(child, pipe)


def _fork(mutant: Mutant, owners: list[str], limit_s: float) -> tuple[int, int]:
    read, write = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # 3.12 起提醒：有线程时 fork 要当心；这里不碰别的线程
        pid = os.fork()
    if pid:
        os.close(write)
        return read, pid
    try:
        _silence()
        for number, timer, seconds in (
            (signal.SIGPROF, signal.ITIMER_PROF, limit_s), (signal.SIGALRM, signal.ITIMER_REAL, 5 * limit_s),
        ):  # fmt: skip
            signal.signal(number, signal.SIG_DFL)
            signal.setitimer(timer, seconds)
        warnings.simplefilter("ignore")
        install(mutant)
        os.write(write, json.dumps(judge(owners)).encode())
    except BaseException as error:  # 子进程决不能回到调用者的代码里去
        os.write(write, json.dumps(["install", repr(error)[:200]]).encode())
    finally:
        os._exit(0)


def _silence() -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)


def _reaped(child: _Child, pipe: int) -> Outcome:
    text = b""
    while part := os.read(pipe, 65536):
        text += part
    os.close(pipe)
    status = os.waitpid(child.pid, 0)[1]
    seconds = time.perf_counter() - child.started_at
    if os.WIFSIGNALED(status):
        limits = (signal.SIGPROF, signal.SIGALRM)
        verdict = "timeout" if os.WTERMSIG(status) in limits else "crashed"
        return Outcome(child.mutant, verdict, "", signal.Signals(os.WTERMSIG(status)).name, seconds)
    found = json.loads(text)
    if found is None:
        return Outcome(child.mutant, "survived", seconds=seconds)
    return Outcome(child.mutant, "killed", found[0], found[1], seconds)
