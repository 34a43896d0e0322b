"""一个参数怎样切成各进程手里的一块，又怎样拼回来。

流入：整个的数组（初始权重、检查点）或各进程手里的块；流出：这个进程的一块，或拼好的整个数组。
先按张量并行切一次（``tensor.py`` 的行与列），再按数据的份沿第 0 维切一次（FSDP2 的切法：各块一样长，末几块可以短）。
"""

from __future__ import annotations

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh

from tinygrad_llm.common.config import GPTConfig
from torch_llm.parallel.layout import Layout
from torch_llm.parallel.tensor import COLUMNS, ROWS


def cut_dim(name: str) -> int | None:
    """张量并行沿哪一维切这个参数；不切则为 ``None``。"""
    layer, _, kind = name.rpartition(".")
    if layer.endswith(ROWS):
        return 0
    return 1 if layer.endswith(COLUMNS) and kind == "weight" else None


def head_order(config: GPTConfig, tp: int) -> NDArray[np.int64]:
    """``c_attn`` 的行怎样重排：原来是全部 q、全部 k、全部 v，切开之后每个进程要有自己的 q、k、v。

    Args:
        config: 整个模型的配置。
        tp: 切成几份。

    Returns:
        新的第 i 行是原来的哪一行；``tp`` 为 1 时就是 0、1、2 …。
    """
    head, queries, keys = config.head_size, config.n_head // tp, config.kv_heads // tp
    starts = [0, config.n_head * head, (config.n_head + config.kv_heads) * head]
    mine = [
        np.arange(start + lane * heads * head, start + (lane + 1) * heads * head)
        for lane in range(tp)
        for start, heads in zip(starts, (queries, keys, keys), strict=True)
    ]
    return np.concatenate(mine)


def piece(name: str, whole: Tensor, config: GPTConfig, layout: Layout) -> Tensor:
    """整个参数里归这个进程的一块。

    Args:
        name: 参数名；优化器的状态与它的参数切法相同。
        whole: 整个参数。
        config: 整个模型的配置。
        layout: 这个进程的位置。
    """
    dim = cut_dim(name)
    if layout.tp > 1 and dim is not None:
        if ".c_attn." in name:
            whole = whole[torch.from_numpy(head_order(config, layout.tp))]
        whole = whole.chunk(layout.tp, dim)[layout.lane]
    if not layout.shards_data:
        return whole
    start, stop = _rows(whole.shape[0], layout.part, layout.parts)
    return whole[start:stop]


def assembled(
    name: str, mine: Tensor, shape: tuple[int, ...], config: GPTConfig, mesh: DeviceMesh, layout: Layout
) -> Tensor:
    """``piece`` 的逆：各进程的块拼成整个参数；每个进程都要来，都得到结果。

    Args:
        name: 参数名。
        mine: 这个进程的一块。
        shape: 整个参数的形状。
        config: 整个模型的配置。
        mesh: 通信用的网格。
        layout: 这个进程的位置。
    """
    dim = cut_dim(name) if layout.tp > 1 else None
    if layout.shards_data:
        rows = shape[0] // (layout.tp if dim == 0 else 1)
        mine = _stacked(mine, rows, mesh["data"])
    if dim is not None:
        mine = in_model_order(name, torch.cat(_gathered(mine, mesh["tensor"]), dim), config, layout.tp)
    return mine


def in_model_order(name: str, whole: Tensor, config: GPTConfig, tp: int) -> Tensor:
    """切成 ``tp`` 份的各块按次序拼好之后，``c_attn`` 的行排回模型里的次序；别的参数原样。"""
    if tp == 1 or ".c_attn." not in name:
        return whole
    return whole[torch.from_numpy(np.argsort(head_order(config, tp))).to(whole.device)]


def _rows(count: int, part: int, parts: int) -> tuple[int, int]:
    """第 0 维的 ``count`` 行里第 ``part`` 份的起止；与 ``torch.chunk`` 相同，份多于行时后面的为空。"""
    each = -(-count // parts)
    return min(part * each, count), min((part + 1) * each, count)


def _stacked(mine: Tensor, rows: int, parts: DeviceMesh) -> Tensor:
    """沿第 0 维拼起来；长短不一，先补成一样长才能通信。"""
    each = -(-rows // parts.size())
    padded = mine.new_zeros((each, *mine.shape[1:]))
    padded[: len(mine)] = mine
    return torch.cat(_gathered(padded, parts))[:rows]


def _gathered(mine: Tensor, peers: DeviceMesh) -> list[Tensor]:
    found = [torch.empty_like(mine) for _ in range(peers.size())]
    dist.all_gather(found, mine.contiguous(), group=peers.get_group())
    return found
