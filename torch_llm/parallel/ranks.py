"""进程之间怎样说话：谁是头一个，谁要停下，各份的数加起来是多少，有没有谁已经不在了。

流入：``Layout``；流出：训练循环认得的 ``Ranks``（``tinygrad_llm/common/ranks.py``），与张量用的两组通信。
这里传的都是几个字节的整数与短句，总走 CPU 上的 gloo；张量在哪里，就由那里的后端传（CPU：gloo，CUDA：NCCL）。
"""

from __future__ import annotations

import contextlib
import re
import signal
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from tinygrad_llm.common.errors import UserError, WorkerError
from torch_llm.parallel.layout import Layout

T = TypeVar("T")

TIMEOUT = timedelta(minutes=10)
"""一次通信至多等这么久：头一个进程存一个大检查点时，别的进程都在等它。"""
_LOST = ("closed by peer", "reset by peer", "broken pipe", "timed out", "timeout", "connection refused", "nccl")


@contextlib.contextmanager
def joined(layout: Layout) -> Iterator[TorchRanks]:
    """与别的进程接通；离开时断开。

    ``with`` 之内要是有谁死了，别的进程正在做的通信就会出错，这里换成一句人看得懂的话。

    Args:
        layout: 这个进程的位置；同谁接通由 ``torchrun`` 写在环境里。

    Raises:
        WorkerError: 有进程不在了。
    """
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() and dist.is_nccl_available() else "gloo"
    try:
        dist.init_process_group(backend, rank=layout.rank, world_size=layout.world, timeout=TIMEOUT)
        yield TorchRanks(layout)
        dist.barrier()  # 一个进程先走，别的也许还有话要同它说
    except RuntimeError as error:
        if not _is_lost_peer(error):
            raise
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # torchrun 也发现了，正要叫这个进程走：先把话说完
        reason = re.sub(r"^\[\S+\] *", "", str(error)).partition(". ")[0].splitlines()[0]
        raise WorkerError(
            f"process {layout.rank} lost another process of this run: {reason[:160]}",
            where=layout.describe(),
            fix="see above for why that process ended, then continue from the last checkpoint with --resume",
        ) from error
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def _is_lost_peer(error: RuntimeError) -> bool:
    """通信出了错，而不是计算出了错。"""
    text = str(error).lower()
    return isinstance(error, dist.DistError) or any(sign in text for sign in _LOST)


class TorchRanks:
    """``torchrun`` 起的几个进程，从其中一个的眼里看；接口见 ``tinygrad_llm.common.ranks.Ranks``。

    Args:
        layout: 这个进程的位置。

    Attributes:
        layout: 这个进程的位置。
        is_first: 是不是头一个。
        part: 取第几份数据。
        parts: 共几份数据。
    """

    def __init__(self, layout: Layout) -> None:
        self.layout, self.is_first = layout, layout.rank == 0
        self.part, self.parts = layout.part, layout.parts

    def mesh(self, device: torch.device) -> DeviceMesh:
        """张量通信用的网格，两维：``data``（行之间）与 ``tensor``（一行之内）。"""
        return init_device_mesh(device.type, (self.parts, self.layout.tp), mesh_dim_names=("data", "tensor"))

    def first(self, action: Callable[[], T]) -> T | None:
        """只在头一个进程里做 ``action``；它报的 ``UserError`` 在每个进程里同样抛出。"""
        result: T | None = None
        found: list[Any] = [None]
        if self.is_first:
            try:
                result = action()
            except UserError as error:
                found = [error]
        dist.broadcast_object_list(found)
        if found[0] is not None:
            raise found[0]
        return result

    def every(self, action: Callable[[], T]) -> T:
        """每个进程都做 ``action``；有谁报了 ``UserError``，就在每个进程里同样抛出头一个。"""
        mine: UserError | None = None
        try:
            result = action()
        except UserError as error:
            mine = error
        found: list[Any] = [None] * self.layout.world
        dist.all_gather_object(found, mine)
        for rank, one in enumerate(found):
            if one is not None:
                one.where = one.where if rank == 0 else f"process {rank}: {one.where}"
                raise one
        return result

    def highest(self, number: int) -> int:
        """各进程的整数里最大的一个。"""
        found = torch.tensor(number)
        dist.all_reduce(found, dist.ReduceOp.MAX)
        return int(found)

    def total(self, values: Sequence[float]) -> list[float]:
        """逐项相加各份数据的数；张量并行的几个进程算的是同一份，只数一次。"""
        found = torch.tensor(values, dtype=torch.float64)
        if self.layout.lane:
            found.zero_()
        dist.all_reduce(found)
        return found.tolist()
