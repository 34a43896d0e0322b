"""按数据并行的工作进程：一批数据分给几个进程，参数、梯度与矩在它们共享的内存里。

流入：模型配置与进程数；流出：``Team``，``train.py`` 用它走一步。
每个进程里干活的是 ``Replica``；下一站：子进程的入口 ``worker.py``。

线程会争 Python 的全局锁：小模型一步里有上千次短促的 NumPy 调用，两个线程只快 1.6 倍，两个进程快 1.9 倍以上。
进程之间只传命令与 token；对给定的进程数，结果逐位可复现：数据怎样切、梯度按什么次序加，都只由进程号决定。
"""

from __future__ import annotations

import itertools
import json
import mmap
import os
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

import tinygrad_llm as tg
from tinygrad_llm.autograd import first_order
from tinygrad_llm.common.config import GPTConfig, parameter_shapes
from tinygrad_llm.common.errors import WorkerError
from tinygrad_llm.common.update_rules import Rule, update_rules
from tinygrad_llm.gpt import GPT
from tinygrad_llm.ops.cores import limit_threads, usable_cores
from tinygrad_llm.parallel.flat import FlatState, Layout
from tinygrad_llm.parallel.ring import Ring, pipes

Share = list[tuple[NDArray[np.int64], NDArray[np.int64]]]
"""一个进程分到的几个微批，各是 ``(x, y)``。"""


class Replica:
    """一个进程里的那份模型；参数就在共享内存里。

    Args:
        config: 模型配置。
        dtype: 浮点类型的名字。
        optimizer: 优化器的名字。
        memory: 共享内存。
        ring: 与别的进程的约定。
    """

    def __init__(self, config: GPTConfig, dtype: str, optimizer: Rule, memory: Any, ring: Ring) -> None:
        with tg.device("meta"):  # 只要形状：数值在共享内存里
            self.model = GPT(config).to(getattr(tg, dtype))
        self.state = FlatState(layout_of(config, dtype, optimizer), np.dtype(dtype), memory, ring)
        self.state.attach(self.model)
        self.parameters = list(self.model.parameters())

    def gradients(self, batch: Share, *, valid: int, seed: int) -> float:
        """几个微批依次前向、反传，梯度相加。

        Args:
            batch: 分到的数据。
            valid: 整个全局批次的有效 token 数。
            seed: dropout 的种子。

        Returns:
            损失（已除以 ``valid``）。
        """
        self.model.train()
        tg.manual_seed(seed)
        total = 0.0
        self.state.clear_gradients()
        with first_order(), np.errstate(over="ignore", invalid="ignore"):
            for x, y in batch:
                loss = self.model.loss(tg.from_numpy(x), tg.from_numpy(y)) / valid
                loss.backward()
                total += loss.item()
        self.state.add_gradients()
        return total

    def evaluate(self, batch: Share) -> float:
        """损失之和（纳特）。"""
        self.model.eval()
        with tg.no_grad(), np.errstate(over="ignore", invalid="ignore"):
            return float(sum(self.model.loss(tg.from_numpy(x), tg.from_numpy(y)).item() for x, y in batch))

    def squares(self) -> float:
        """梯度在自己那一段的平方和。"""
        return self.state.squares()

    def update(self, **settings: Any) -> None:
        """更新自己那一份参数；见 ``FlatState.update``。"""
        self.state.update(**settings)


def layout_of(config: GPTConfig, dtype: str, optimizer: Rule) -> Layout:
    """各参数在共享内存里的位置。"""
    shapes = parameter_shapes(config)
    return Layout.of(shapes, np.dtype(dtype).itemsize, update_rules(shapes, optimizer))


def claim_workers(wanted: int | None, most: int) -> int:
    """决定用几个工作进程；多于一个时，每个进程只用一个线程。

    Args:
        wanted: 用户要几个；``None`` 表示可用的核数。
        most: 至多几个（例如批大小）。

    Returns:
        工作进程数；Windows 上共享内存交不到子进程手里，总是 1，多核由线程去用。
    """
    count = min(wanted or usable_cores(), most) if hasattr(os, "fork") else 1
    if count > 1:
        limit_threads(1)
    return count


class Team:
    """几个进程合起来的一份模型；自己是第 0 个。

    Args:
        config: 模型配置。
        dtype: 浮点类型的名字。
        optimizer: 优化器的名字。
        workers: 进程数。

    Attributes:
        local: 本进程的那份模型。
    """

    def __init__(self, config: GPTConfig, dtype: str, optimizer: Rule, workers: int) -> None:
        nbytes = FlatState.nbytes(layout_of(config, dtype, optimizer), dtype)
        self.memory, handle = _shared_memory(nbytes) if workers > 1 else (_private_memory(nbytes), None)
        own, *ends = pipes(workers) if handle is not None else [()]
        ring = Ring(0, workers, *own)
        self.members: list[tuple[subprocess.Popen[bytes], Connection]] = []
        self.stop = weakref.finalize(self, _dismiss, self.members, ring)
        if handle is not None:
            try:
                for rank, two in enumerate(ends, 1):
                    ring_of = [rank, workers, *two]
                    model = {"config": config.to_dict(), "dtype": dtype, "optimizer": optimizer}
                    self.members.append(_start({**model, "memory": handle, "ring": ring_of}))
            finally:
                for one in (handle, *itertools.chain(*ends)):
                    os.close(one)
        self.local = Replica(config, dtype, optimizer, self.memory, ring)

    def call(self, action: str, batches: Sequence[Share] | None = None, **settings: Any) -> list[Any]:
        """让每个进程做同一件事，等它们都做完。

        Args:
            action: ``Replica`` 的方法名。
            batches: 各进程分到的数据。
            **settings: 其余参数，各进程相同。

        Returns:
            各进程的返回值，按进程号。

        Raises:
            WorkerError: 有进程死了，或做的时候出了错。
        """
        for rank, (_, link) in enumerate(self.members, 1):
            try:
                send(link, action, settings, batches[rank] if batches is not None else None)
            except OSError:
                self._lost(rank)
        try:
            found = [getattr(self.local, action)(*([] if batches is None else [batches[0]]), **settings)]
        except BaseException as error:  # 别的进程的答复没有人收了，这支队伍不能再用
            dead = self._first_dead() if isinstance(error, ConnectionError) else None
            if dead is not None:  # 排着圈相加时，前后的进程不在了
                self._lost(dead)
            self.close()
            raise
        for rank, (_, link) in enumerate(self.members, 1):
            try:
                answer = json.loads(link.recv_bytes())
            except (EOFError, OSError):
                self._lost(rank)
            if "error" in answer:
                self.close()
                raise WorkerError(f"worker {rank} failed: {answer['error']}", fix="see its traceback above")
            found.append(answer["result"])
        return found

    def _first_dead(self) -> int | None:
        """哪一个是自己死的：别的随后才退出，退出码是 0；都活着则为 ``None``。"""
        deadline = time.monotonic() + 1
        while time.monotonic() < deadline:
            codes = [process.poll() for process, _ in self.members]
            if any(codes):
                return 1 + next(i for i, code in enumerate(codes) if code)
            time.sleep(0.01)
        return None

    def _lost(self, rank: int) -> NoReturn:
        process = self.members[rank - 1][0]
        code = process.wait(10)
        self.close()
        how = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
        raise WorkerError(
            f"worker {rank} died ({how})",
            where=f"process {process.pid}",
            fix="continue from the last checkpoint with --resume; if memory ran out, use fewer --workers",
        )

    def close(self) -> None:
        """让子进程退出；可以多次调用。"""
        self.stop()


def send(link: Connection, action: str, settings: dict[str, Any], batch: Share | None) -> None:
    """一条命令：一行 JSON，后面跟着各个数组。"""
    shapes = None if batch is None else [x.shape for x, _ in batch]
    link.send_bytes(json.dumps({"action": action, "settings": settings, "shapes": shapes}).encode())
    for pair in batch or ():
        for array in pair:
            link.send_bytes(np.ascontiguousarray(array, np.int64).tobytes())


def receive(link: Connection) -> tuple[str, list[Share], dict[str, Any]]:
    """``send`` 的另一头。"""
    command = json.loads(link.recv_bytes())

    def array(shape: list[int]) -> Any:
        return np.frombuffer(bytearray(link.recv_bytes()), np.int64).reshape(shape)

    shapes = command["shapes"]
    batches = [] if shapes is None else [[(array(shape), array(shape)) for shape in shapes]]
    return command["action"], batches, command["settings"]


def _private_memory(nbytes: int) -> mmap.mmap:
    """只给本进程用的内存；能用大页就用大页：参数成百兆时，4 KB 的页光查页表就要多花一成时间。"""
    if not hasattr(mmap, "MAP_PRIVATE"):
        return mmap.mmap(-1, nbytes)
    memory = mmap.mmap(-1, nbytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with suppress(OSError):  # 内核没有编进大页，就用普通的页
            memory.madvise(mmap.MADV_HUGEPAGE)
    return memory


def _shared_memory(nbytes: int) -> tuple[mmap.mmap, int]:
    """一块匿名的、可以交给子进程的内存，以及它的文件描述符。"""
    if hasattr(os, "memfd_create"):
        handle = os.memfd_create("tinygrad_llm")
    else:
        with tempfile.TemporaryFile() as file:
            handle = os.dup(file.fileno())
    os.ftruncate(handle, nbytes)
    return mmap.mmap(handle, nbytes), handle


def _start(setup: dict[str, Any]) -> tuple[subprocess.Popen[bytes], Connection]:
    """开一个子进程，把设置发给它。"""
    ours, theirs = Pipe()
    package = str(Path(__file__).resolve().parent.parent.parent)
    paths = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OPENBLAS_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "tinygrad_llm.parallel.worker", str(theirs.fileno())],
        pass_fds=(theirs.fileno(), setup["memory"], *setup["ring"][2:]),
        stdin=subprocess.DEVNULL,
        env=environment,
        start_new_session=True,  # Ctrl-C 只到主进程；它走了，管道断开，子进程随之退出
    )
    theirs.close()
    ours.send_bytes(json.dumps(setup).encode())
    return process, ours


def _dismiss(members: list[tuple[subprocess.Popen[bytes], Connection]], ring: Ring) -> None:
    for _, link in members:
        link.close()
    ring.close()
    for process, _ in members:
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    members.clear()
