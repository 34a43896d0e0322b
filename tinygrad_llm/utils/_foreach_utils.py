"""``torch.utils._foreach_utils``：按类型把几列张量分组，自己写的优化器用它们挑走 ``_foreach`` 的路。

流入：几列张量，其中可以有 ``None``；流出：(设备, dtype) 到分好的几列与原来的位置。
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tinygrad_llm.cpu import device as Device
from tinygrad_llm.dtypes import dtype as Dtype
from tinygrad_llm.tensor import Tensor

_foreach_supported_types = [Tensor]


def _get_foreach_kernels_supported_devices() -> list[str]:
    """有专门的多张量核的设备：没有 GPU，一个也没有。"""
    return []


def _get_fused_kernels_supported_devices() -> list[str]:
    """有融合的优化器核的设备。"""
    return ["cpu"]


def _device_has_foreach_support(device: Device) -> bool:
    return device.type == "cpu"


def _has_foreach_support(tensors: Sequence[Any], device: Device) -> bool:
    """都是普通的张量，就可以用 ``_foreach`` 函数。"""
    return _device_has_foreach_support(device) and all(
        t is None or isinstance(t, tuple(_foreach_supported_types)) for t in tensors
    )


def _group_tensors_by_device_and_dtype(
    tensorlistlist: Sequence[Sequence[Any]], with_indices: bool = False
) -> dict[tuple[Device, Dtype], tuple[list[list[Any]], list[int]]]:
    """照第一列的设备与 dtype 分组；别的列同一位置的东西跟着走。

    Args:
        tensorlistlist: 几列一样长的张量；第一列没有 ``None``。
        with_indices: 是否给出各组原来的位置。
    """
    groups: dict[tuple[Device, Dtype], tuple[list[list[Any]], list[int]]] = {}
    for i, first in enumerate(tensorlistlist[0]):
        key = (first.device, first.dtype)
        lists, indices = groups.setdefault(key, ([[] for _ in tensorlistlist], []))
        for column, given in zip(lists, tensorlistlist, strict=True):
            if given:
                column.append(given[i])
        if with_indices:
            indices.append(i)
    return groups
