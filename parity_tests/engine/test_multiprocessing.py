"""``torch.multiprocessing``：开新的解释器，等它们，接住它们的错误。"""

from __future__ import annotations

import operator
import os
from collections.abc import Callable
from typing import Any

import pytest
import torch.multiprocessing

import tinygrad_llm.multiprocessing as mp
from tinygrad_llm import arange


def _killed(i: int) -> None:
    os.kill(os.getpid(), 9)


def test_each_process_knows_its_place() -> None:
    """函数没有在各个进程里叫到，序号不对，或张量没有传过来。"""
    queue = mp.get_context("spawn").SimpleQueue()
    mp.spawn(queue.put, nprocs=2)
    assert sorted(queue.get() for _ in range(2)) == [0, 1]
    rows = arange(3.0).requires_grad_()
    context = mp.spawn(operator.add, (rows,), join=False)
    assert context is not None
    assert len(context.pids()) == 1
    assert context.join()


@pytest.mark.parametrize(
    ("fn", "args", "kind", "said"),
    [
        (operator.truediv, (0,), mp.ProcessRaisedException, "ZeroDivisionError"),
        (operator.sub, ("a",), mp.ProcessRaisedException, "TypeError"),
        (os._exit, (), mp.ProcessExitedException, "process 1 terminated with exit code 1"),
        (_killed, (), mp.ProcessExitedException, "terminated with signal SIGKILL"),
    ],
    ids=["raises", "wrong arguments", "exits", "killed"],
)
def test_the_first_error_is_told(fn: Callable[..., Any], args: Any, kind: Any, said: str) -> None:
    """一个进程出了错，父进程不知道，或不知道错在哪里。"""
    with pytest.raises(kind, match=said) as caught:
        mp.spawn(fn, args, nprocs=2)
    assert caught.value.pid > 0


def test_sharing_is_only_remembered() -> None:
    """选一种共享内存的办法，与 torch 不同：名字，或没有这一种时的错误。"""
    for m in (mp, torch.multiprocessing):
        assert m.get_all_sharing_strategies() == {"file_descriptor", "file_system"}
        before = m.get_sharing_strategy()
        m.set_sharing_strategy("file_system")
        assert (before, m.get_sharing_strategy()) == ("file_descriptor", "file_system")
        m.set_sharing_strategy(before)
        with pytest.raises(AssertionError, match="ropes"):
            m.set_sharing_strategy("ropes")
    with pytest.warns(FutureWarning, match="start_processes"):
        mp.spawn(print, nprocs=0, start_method="fork")
