"""``torch.distributed`` 在一个进程里的样子：没有进程组；自己是第 0 个，一共 1 个。

``if dist.is_available() and dist.is_initialized():`` 护着的代码原样可跑。``get_rank``、``get_world_size``
如实回答 0 与 1（torch 在没有进程组时报错）；要与别的进程通信的一律报错。
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Any, NoReturn

from tinygrad_llm.absent import attributes


class ReduceOp(enum.Enum):
    """归约的种类，名字与 torch 相同。"""

    SUM = 0
    AVG = 1
    PRODUCT = 2
    MIN = 3
    MAX = 4
    BAND = 5
    BOR = 6
    BXOR = 7
    PREMUL_SUM = 8


class ProcessGroup:
    """一组进程；只作类型标注，造不出有用的。"""


class Work:
    """一次通信的凭据；只作类型标注。"""


class group:  # noqa: N801  与 torch 同名
    """缺省的进程组，没有。"""

    WORLD: ProcessGroup | None = None


GroupMember = group


def is_available() -> bool:
    """没有通信的后端。"""
    return False


def is_initialized() -> bool:
    """没有进程组。"""
    return False


def is_torchelastic_launched() -> bool:
    """不由 ``torchrun`` 启动。"""
    return False


def is_nccl_available() -> bool:
    """没有 NCCL。"""
    return False


def is_gloo_available() -> bool:
    """没有 Gloo。"""
    return False


def is_mpi_available() -> bool:
    """没有 MPI。"""
    return False


def get_rank(group: Any = None) -> int:
    """自己是第几个进程。"""
    return 0


def get_world_size(group: Any = None) -> int:
    """一共几个进程。"""
    return 1


def _refusing(name: str) -> Callable[..., NoReturn]:
    """要与别的进程通信的函数：一调用就报错。"""

    def refuse(*args: Any, **kwargs: Any) -> NoReturn:
        raise RuntimeError(
            f"distributed.{name} needs a process group, and tinygrad_llm runs in one process; "
            "guard it with distributed.is_initialized(), or use torch_llm"
        )

    refuse.__name__ = refuse.__qualname__ = name
    refuse.__doc__ = "需要进程组，报错。"
    return refuse


init_process_group = _refusing("init_process_group")
destroy_process_group = _refusing("destroy_process_group")
new_group = _refusing("new_group")
get_backend = _refusing("get_backend")
barrier = _refusing("barrier")
broadcast = _refusing("broadcast")
broadcast_object_list = _refusing("broadcast_object_list")
reduce = _refusing("reduce")
all_reduce = _refusing("all_reduce")
gather = _refusing("gather")
gather_object = _refusing("gather_object")
all_gather = _refusing("all_gather")
all_gather_into_tensor = _refusing("all_gather_into_tensor")
all_gather_object = _refusing("all_gather_object")
scatter = _refusing("scatter")
reduce_scatter = _refusing("reduce_scatter")
reduce_scatter_tensor = _refusing("reduce_scatter_tensor")
all_to_all = _refusing("all_to_all")
all_to_all_single = _refusing("all_to_all_single")
send = _refusing("send")
recv = _refusing("recv")
isend = _refusing("isend")
irecv = _refusing("irecv")

__getattr__ = attributes(__name__)
