"""整数的权重，用起来像一个张量：``F.linear``、``F.embedding`` 遇到它，就走量化的内核。

流入：``Packed``；流出：``PackedWeight``。下一个文件：``model.py`` 把它装进 GPT。

一个 token 的解码快慢取决于要读多少字节，于是少的几行直接乘整数（见 ``kernels.py``）；
行数一多，瓶颈变成乘法次数，就先还原成 bfloat16 再乘：一次还原的工夫由许多行分摊。
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from tinygrad_llm.common.quantization import Packed
from tinygrad_llm.common.quantization.packing import MIDDLE
from torch_llm.quantization.kernels import LOW, Arena, Kernel, Planes, make_kernel

__all__ = ["Compute", "PackedWeight", "stacked"]

Compute = Literal["fast", "exact", "w8a8"]
"""怎样算：快的内核；还原成激活的类型再乘（与 NumPy 引擎同义）；激活也逐 token 量化成 int8。"""
FEW_ROWS = 12
"""至多这么多行时直接乘整数：再多就不如先还原。"""


class PackedWeight:
    """``(out, in)`` 的整数权重。

    Args:
        packed: 量化了的矩阵。
        compute: 怎样算。
        device: 放在哪个设备上。

    Attributes:
        shape: ``(out, in)``。
        dtype: 激活的类型，总是 float32。
    """

    def __init__(self, packed: Packed, compute: Compute = "fast", device: torch.device | str = "cpu") -> None:
        self.packed, self.compute, self.device = packed, compute, torch.device(device)
        self.shape, self.dtype, self.ndim = torch.Size(packed.shape), torch.float32, 2
        self.codes = torch.from_numpy(packed.codes).to(self.device)
        self.scale = torch.from_numpy(packed.scale.astype(np.float32)).to(self.device)
        zero = packed.zero
        self.zero = None if zero is None else torch.from_numpy(zero.astype(np.float32)).to(self.device)
        self._low_scale = self.scale.bfloat16()

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def is_fast(self) -> bool:
        """少的几行走快的内核吗。"""
        return self.compute == "fast" and self.device.type == "cpu"

    @cached_property
    def kernel(self) -> Kernel:
        """少的几行用的内核；用到才造：拼成一个的几个矩阵用不着各自的。"""
        return make_kernel(self)

    def settle(self, arena: Arena) -> None:
        """把整数搬进 ``arena``，造好内核；不走快的内核就不必。"""
        if not self.is_fast:
            return
        if self.packed.scheme.format == "int8":
            self.codes = arena.keep(self.codes)
            self.packed = replace(self.packed, codes=self.codes.numpy())
        self.kernel = make_kernel(self, arena.keep)

    def detach(self) -> PackedWeight:
        """它没有梯度。"""
        return self

    def size(self, dim: int) -> int:
        """某一维的大小。"""
        return self.shape[dim]

    def to(self, dtype: torch.dtype) -> Tensor:
        """还原成某种浮点类型的 ``(out, in)``。"""
        return self._restored(self.codes, self.scale, self.zero, dtype)

    def rows(self, ids: Tensor) -> Tensor:
        """还原若干行：``(...) → (..., in)``，词嵌入用。"""
        flat = ids.reshape(-1)
        zero = None if self.zero is None else self.zero[flat]
        found = self._restored(self.codes[flat], self.scale[flat], zero, torch.float32)
        return found.view(*ids.shape, self.shape[1])

    def row(self, id: int) -> Tensor:
        """还原一行 ``(in,)``；解码时一个 token 只查一行。"""
        if self.packed.scheme.format == "int8":
            return self.codes[id] * self.scale[id]
        return self.rows(torch.tensor(id))

    def linear(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """``x @ W.T + bias``：``(..., in) → (..., out)``，类型与 ``x`` 相同。"""
        if x.requires_grad and torch.is_grad_enabled():
            found: Tensor = _FrozenLinear.apply(x, self)  # type: ignore[no-untyped-call]
            return found if bias is None else found + bias
        rows = x.numel() // self.shape[1]
        if self.compute == "w8a8" and self.packed.scheme.format == "int8":
            y = self._integer_linear(x)
        elif self.compute == "exact":
            return F.linear(x, self.to(x.dtype), bias)
        elif self.is_fast and rows <= FEW_ROWS:
            few = x.reshape(rows, self.shape[1])
            y = self.kernel(few if isinstance(self.kernel, Planes) else few.to(LOW)).view(*x.shape[:-1], self.shape[0])
        else:
            y = self._restored_linear(x.to(torch.bfloat16))
        y = y.to(x.dtype)
        return y if bias is None else y + bias

    def _restored(self, codes: Tensor, scale: Tensor, zero: Tensor | None, dtype: torch.dtype) -> Tensor:
        if self.packed.scheme.format == "int8":
            return codes.to(dtype) * scale.to(dtype)[:, None]
        columns, group = self.shape[1], self.packed.scheme.group
        values = torch.stack((codes & 15, codes >> 4), dim=-1).flatten(1)[:, :columns].to(dtype) - MIDDLE
        if columns % group:
            values = F.pad(values, (0, -columns % group))
        values = values.view(len(codes), -1, group) * scale.to(dtype)[:, :, None]
        if zero is not None:
            values += zero.to(dtype)[:, :, None]
        return values.flatten(1)[:, :columns]

    def _restored_linear(self, x: Tensor) -> Tensor:
        """还原成 bfloat16 再乘；int8 的整数本身没有舍入，比例尺乘在结果上。"""
        if self.packed.scheme.format == "int8":
            return F.linear(x, self.codes.to(torch.bfloat16)) * self._low_scale
        return F.linear(x, self.to(torch.bfloat16))

    def _integer_linear(self, x: Tensor) -> Tensor:
        """激活逐 token 量化成 int8，整数相乘、int32 累加（没有舍入），再乘回两个比例尺。"""
        flat = x.reshape(-1, self.shape[1]).float()
        scale = flat.abs().amax(1, keepdim=True).clamp_min(torch.finfo(torch.float32).tiny) / 127
        codes = (flat / scale).round_().to(torch.int8)
        sums = torch._int_mm(codes, self.codes.t())
        return (sums * scale * self.scale).view(*x.shape[:-1], self.shape[0])

    @classmethod
    def __torch_function__(
        cls, function: Callable[..., Any], types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """torch 的函数遇到它时走这里：线性层、词嵌入、按行拼接；别的不支持。"""
        kwargs = kwargs or {}
        if function is F.linear:
            x, weight, *rest = args
            return weight.linear(x, *rest, **kwargs)
        if function in (F.embedding, torch.embedding):
            (weight, ids) = (args[1], args[0]) if function is F.embedding else (args[0], args[1])
            return weight.rows(ids)
        if function in (torch.cat, torch.concat, torch.concatenate):
            return stacked(args[0])
        return NotImplemented


class _FrozenLinear(torch.autograd.Function):
    """冻结的整数权重：前向与反传各还原一次，图里只留整数，不留还原的矩阵。"""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: PackedWeight) -> Tensor:
        ctx.weight = weight
        return F.linear(x, weight.to(x.dtype))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None]:
        return g @ ctx.weight.to(g.dtype), None


def stacked(weights: Sequence[PackedWeight]) -> PackedWeight:
    """几个矩阵按行拼成一个，例如 q、k、v。"""
    first = weights[0].packed
    if any(one.packed.scheme.format != first.scheme.format or one.packed.scheme.group != first.scheme.group
           or one.packed.shape[1] != first.shape[1] for one in weights):  # fmt: skip
        raise TypeError("only packed weights of one format and width can be concatenated")
    has_zero = any(one.packed.zero is not None for one in weights)
    zeros = [np.zeros_like(one.packed.scale) if one.packed.zero is None else one.packed.zero for one in weights]
    together = Packed(
        replace(first.scheme, has_zero=has_zero),
        (sum(len(one) for one in weights), first.shape[1]),
        np.concatenate([one.packed.codes for one in weights]),
        np.concatenate([one.packed.scale for one in weights]),
        np.concatenate(zeros) if has_zero else None,
    )
    return PackedWeight(together, weights[0].compute, weights[0].device)
