"""各槽的 KV 缓存：一层一份，预先分配，就地写入，长短各自不同。

流入：新 token 的 k、v ``(N, Hkv, D)``；流出：一组相邻的槽里某一段位置的 k、v。记账在 ``common/decoding/slots.py``。
下一个文件：``slots.py``。
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from tinygrad_llm.common.decoding.slots import Group, untouched

__all__ = ["Int8Cache", "PlainCache", "SlotCache", "plain_caches"]


class SlotCache(Protocol):
    """一层的缓存。"""

    def write(self, slots: Tensor | int, positions: Tensor | int, k: Tensor, v: Tensor) -> None:
        """写进 N 个 token 的 k、v ``(N, Hkv, D)``；只有一个 token 时，槽与位置是两个整数。"""

    def read(self, group: Group) -> tuple[Tensor, Tensor]:
        """一组要看的 k、v，各为 ``(rows, Hkv, hi - lo, D)``。"""

    def share(self, source: int, target: int, length: int) -> None:
        """把一个槽的前 ``length`` 个位置复制给另一个。"""


class PlainCache:
    """与激活同样的类型。

    Args:
        k: ``(slots, Hkv, S, D)`` 的空张量。
        v: 同上。
    """

    def __init__(self, k: Tensor, v: Tensor) -> None:
        self.k, self.v = k, v

    def write(self, slots: Tensor | int, positions: Tensor | int, k: Tensor, v: Tensor) -> None:
        """见 ``SlotCache``。"""
        self.k[slots, :, positions] = k if isinstance(slots, Tensor) else k[0]
        self.v[slots, :, positions] = v if isinstance(slots, Tensor) else v[0]

    def read(self, group: Group) -> tuple[Tensor, Tensor]:
        """见 ``SlotCache``；是视图，不复制。"""
        rows, at = slice(group.first, group.first + group.rows), slice(group.lo, group.hi)
        return self.k[rows, :, at], self.v[rows, :, at]

    def share(self, source: int, target: int, length: int) -> None:
        """见 ``SlotCache``。"""
        for held in (self.k, self.v):
            held[target, :, :length] = held[source, :, :length]


class Int8Cache:
    """每个头、每个位置一个比例：``x ≈ scale · q``，q 是 -127 到 127 的整数，``scale = max|x| / 127``。

    一个位置的一个头从 4D 字节变成 D + 4 字节；误差不超过半个 ``scale``。读的时候还原成激活的类型。

    Args:
        shape: ``(slots, Hkv, S, D)``。
        like: 决定还原成什么类型，与设备。
    """

    def __init__(self, shape: tuple[int, int, int, int], like: Tensor) -> None:
        self.dtype = like.dtype
        self.held = [
            (_blank(shape, torch.int8, like.device), _blank((*shape[:3], 1), torch.float32, like.device))
            for _ in range(2)
        ]  # fmt: skip

    def write(self, slots: Tensor | int, positions: Tensor | int, k: Tensor, v: Tensor) -> None:
        """见 ``SlotCache``。"""
        for (q, scale), x in zip(self.held, (k, v), strict=True):
            exact = x.float()
            size = exact.abs().amax(-1, keepdim=True) / 127
            rounded = (exact / size.clamp_min(torch.finfo(torch.float32).tiny)).round().to(torch.int8)
            q[slots, :, positions] = rounded if isinstance(slots, Tensor) else rounded[0]
            scale[slots, :, positions] = size if isinstance(slots, Tensor) else size[0]

    def read(self, group: Group) -> tuple[Tensor, Tensor]:
        """见 ``SlotCache``。"""
        rows, at = slice(group.first, group.first + group.rows), slice(group.lo, group.hi)
        k, v = ((q[rows, :, at] * scale[rows, :, at]).to(self.dtype) for q, scale in self.held)
        return k, v

    def share(self, source: int, target: int, length: int) -> None:
        """见 ``SlotCache``。"""
        for pair in self.held:
            for held in pair:
                held[target, :, :length] = held[source, :, :length]


def plain_caches(layers: int, shape: tuple[int, int, int, int], like: Tensor) -> tuple[list[SlotCache], Tensor]:
    """各层的 ``PlainCache``，与它们共用的整块 ``(layers, 2, slots, Hkv, S, D)``：一次切片就切好了各层的 k 与 v。"""
    whole = _blank((layers, 2, *shape), like.dtype, like.device)
    return [PlainCache(k, v) for k, v in whole.unbind(0)], whole


def _blank(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """全 0 的张量；CPU 上的一页内存到写它时才真的占用，见 ``untouched``。"""
    if device.type != "cpu":
        return torch.zeros(shape, dtype=dtype, device=device)
    size = torch.empty((), dtype=dtype).element_size()
    return torch.from_numpy(untouched((*shape[:-1], shape[-1] * size), np.uint8)).view(dtype)
