"""乘整数权重的内核：int8 的两种、int4 的一种，哪种快就用哪种。

流入：一个 ``PackedWeight``；流出：``Kernel``。用它的是 ``weight.py`` 与 ``decoding/one_integer.py``。

解码一个 token，快慢取决于读权重的快慢；int8 有两个内核，按矩阵的大小来选：

- **两个平面**（``Planes``）：激活量化成 16 位整数 ``X``，拆成高低两个字节，当作两行 8 位整数去乘，再合起来
  ``256·高 + 低``。整数相乘、相加没有舍入，误差只有激活的 16 位舍入。每次调用有几十微秒的开销，大矩阵才值得。
- **边读边还原**（``_int8``、``_int4``）：激活事先舍入成 bfloat16，torch 的内核；小矩阵用它。
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from tinygrad_llm.common.quantization.packing import unpack_nibbles

if TYPE_CHECKING:
    from torch_llm.quantization.weight import PackedWeight

__all__ = ["LOW", "Arena", "Kernel", "Planes", "has_exact_bytes", "make_kernel"]

LOW = torch.bfloat16
"""边读边还原的内核收的激活。"""
INT8_COLUMNS = 32
"""int8 内核按这么多列一块地读：不是整数倍时它会读到行外（torch 2.13），那样的矩阵先补 0。"""
INT4_ROWS = 16
"""int4 内核要求行数是它的整数倍。"""
KERNEL_GROUPS = (128, 64, 32)
"""int4 内核收的组大小。"""
PLANES_SIZE = 1 << 23
"""int8 矩阵至少有这么多个数，两个平面才比 bfloat16 的内核快。"""
BLOCK_BYTES = 1 << 25
"""``Arena`` 一块有多大。"""
ALIGNMENT = 64
LARGEST = 32512.0
"""激活量化成 ``-LARGEST`` 到 ``LARGEST`` 的整数：加上 ``MIDDLE`` 之后，高低两个字节都在 0 到 255 之间。"""
MIDDLE = 128
"""一个字节里代表 0 的数。"""
SHIFT = 257 * MIDDLE + 0.5
"""两个字节的 ``MIDDLE``；另加一半，截去小数就成了四舍五入。"""
LEAST = 2.0**-100
"""激活的最大绝对值比它还小，就当作它：除法不溢出。"""


Kernel = Callable[[Tensor], Tensor]
"""``x @ W.T``：``(rows, in) → (rows, out)``，由 ``LOW`` 到 ``LOW``；``Planes`` 另外也收 float32，给出 float32。"""


class Planes:
    """激活量化成 16 位整数，拆成两个字节分别去乘。

    Args:
        codes: ``(out, in)`` 的 int8。
        scale: ``(out,)`` 的 float32。
    """

    def __init__(self, codes: Tensor, scale: Tensor) -> None:
        self._codes, self._scale = torch.ops.onednn.qlinear_prepack(codes, None), scale
        self._zeros = torch.zeros(len(codes), dtype=torch.int32)

    def __call__(self, x: Tensor) -> Tensor:
        """见 ``Kernel``；结果是 float32。"""
        x, (rows, columns) = x.float(), x.shape
        size = x.abs().amax(1, keepdim=True).clamp_min_(LEAST)
        whole = (x * (LARGEST / size)).add_(SHIFT).to(torch.int32)
        y = self._sums(_bytes_of(whole).reshape(2 * rows, columns)).view(rows, 2, -1)
        return torch.add(y[:, 0], y[:, 1], alpha=256).mul_(size / LARGEST)

    def _sums(self, rows: Tensor) -> Tensor:
        """``(rows - MIDDLE) @ codes.T * scale``：``(rows, in)`` 的 uint8 到 ``(rows, out)`` 的 float32。"""
        y: Tensor = torch.ops.onednn.qlinear_pointwise(
            rows, 1.0, MIDDLE, self._codes, self._scale, self._zeros, None, 1.0, 0, torch.float32, "none", [], ""
        )
        return y


def _bytes_of(whole: Tensor) -> Tensor:
    """int32 的两个低字节 ``(rows, in) → (rows, 2, in)``；是视图。"""
    return whole.view(torch.uint8).view(*whole.shape, 4)[..., :2].transpose(1, 2)


@cache
def has_exact_bytes() -> bool:
    """这台机器上 oneDNN 的 8 位整数乘法是不是准的。

    没有 VNNI 的处理器把两项乘积先加成 16 位，会溢出；旧的 torch 没有这个算子。取两端的数乘一次就知道。
    """
    codes = torch.full((16, 64), 127, dtype=torch.int8)
    codes[::2] = -127
    rows = torch.tensor([[255], [0]], dtype=torch.uint8).expand(2, 64).contiguous()
    try:
        found = Planes(codes, torch.ones(16))._sums(rows)
    except (AttributeError, RuntimeError):  # 没有这个算子，或没有这样的内核
        return False
    return torch.equal(found, (rows.float() - MIDDLE) @ codes.float().T)


class Arena:
    """把许多矩阵放进几大块内存：一大块可以用 2 MiB 的页，逐个放只有 4 KiB 的页。

    解码一个 token 要把全部权重读一遍，页小了，查页表的时间占到读的五分之一。numpy 为大的数组向系统要大页。
    """

    def __init__(self) -> None:
        self._free = torch.empty(0, dtype=torch.uint8)

    def keep(self, tensor: Tensor) -> Tensor:
        """复制一份，放在 64 字节对齐的地方。"""
        size = -(-tensor.nbytes // ALIGNMENT) * ALIGNMENT
        if size > len(self._free):
            block = torch.from_numpy(np.empty(max(size, BLOCK_BYTES) + ALIGNMENT, np.uint8))
            self._free = block[-block.data_ptr() % ALIGNMENT :]
        mine, self._free = self._free[: tensor.nbytes], self._free[size:]
        return mine.view(tensor.dtype).view(tensor.shape).copy_(tensor)


def make_kernel(weight: PackedWeight, keep: Callable[[Tensor], Tensor] = lambda tensor: tensor) -> Kernel:
    """给一个矩阵挑内核；形状不合内核的规矩时，补 0 补到合。

    Args:
        weight: 矩阵。
        keep: 内核自己要排一份权重时，放到哪里。
    """
    if weight.packed.scheme.format == "int4":
        return _int4(weight, keep)
    if weight.shape.numel() >= PLANES_SIZE and has_exact_bytes():
        return Planes(weight.codes, weight.scale)
    return _int8(weight)


def _int8(weight: PackedWeight) -> Kernel:
    low, missing = weight.scale.to(LOW), -weight.shape[1] % INT8_COLUMNS
    codes = F.pad(weight.codes, (0, missing)) if missing else weight.codes
    if missing:
        return lambda x: torch._weight_int8pack_mm(F.pad(x, (0, missing)), codes, low)
    return lambda x: torch._weight_int8pack_mm(x, codes, low)


def _int4(weight: PackedWeight, keep: Callable[[Tensor], Tensor]) -> Kernel:
    out, columns = weight.shape
    given = weight.packed.scheme.group
    group = next((g for g in KERNEL_GROUPS if g <= given and columns % g == 0), given)
    right, below = -columns % group, -out % INT4_ROWS
    whole = torch.from_numpy(unpack_nibbles(weight.packed.codes, columns).astype(np.int32))
    laid_out = keep(torch._convert_weight_to_int4pack_for_cpu(F.pad(whole, (0, right, 0, below)), 1))
    zero = torch.zeros_like(weight.scale) if weight.zero is None else weight.zero
    spread = torch.stack((weight.scale, zero), dim=-1).repeat_interleave(given // group, dim=1)  # (out, groups, 2)
    spread = F.pad(spread[:, : (columns + right) // group], (0, 0, 0, 0, 0, below))
    table = spread.transpose(0, 1).to(LOW).contiguous()
    if right or below:
        return lambda x: torch._weight_int4pack_mm_for_cpu(F.pad(x, (0, right)), laid_out, group, table)[:, :out]
    return lambda x: torch._weight_int4pack_mm_for_cpu(x, laid_out, group, table)
