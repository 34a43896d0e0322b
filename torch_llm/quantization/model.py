"""把整数的权重装进同一个 GPT：``gpt.py`` 一个字不改。

流入：配置、检查点里的数组与元数据；流出：``GPT``。下一站：解码引擎，或 ``evaluate.py``。
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from tinygrad_llm.common.config import GPTConfig
from tinygrad_llm.common.quantization import Packed, join
from torch_llm.gpt import GPT
from torch_llm.quantization.kernels import Arena
from torch_llm.quantization.weight import Compute, PackedWeight, stacked

__all__ = ["PackedEmbedding", "PackedLinear", "assembled", "quantized_model"]


class PackedLinear(nn.Module):
    """权重是整数的线性层，用法与 ``nn.Linear`` 相同。

    Args:
        weight: ``(out, in)`` 的整数权重。
        bias: ``(out,)``；没有时为 ``None``。
    """

    def __init__(self, weight: PackedWeight, bias: Tensor | None = None) -> None:
        super().__init__()
        self.weight = weight
        self.bias = None if bias is None else nn.Parameter(bias, requires_grad=False)
        self.out_features, self.in_features = weight.shape

    def forward(self, x: Tensor) -> Tensor:
        """``(..., in) → (..., out)``。"""
        return self.weight.linear(x, self.bias)


class PackedEmbedding(nn.Module):
    """权重是整数的词嵌入：查到哪一行，还原哪一行。

    Args:
        weight: ``(V, C)`` 的整数权重。
    """

    def __init__(self, weight: PackedWeight) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, ids: Tensor) -> Tensor:
        """``(...) → (..., C)``。"""
        return self.weight.rows(ids)


class PackedGatedMLP(nn.Module):
    """SwiGLU：升维的两个矩阵按行拼成一个，只乘一次；每乘一次都有固定的开销。

    Args:
        gate: 门。
        fc: 升维。
        proj: 降维。
    """

    def __init__(self, gate: PackedLinear, fc: PackedLinear, proj: PackedLinear) -> None:
        super().__init__()
        biases: list[Tensor] = [part.bias for part in (gate, fc) if part.bias is not None]
        self.c_both = PackedLinear(stacked((gate.weight, fc.weight)), torch.cat(biases) if biases else None)
        self.c_proj = proj

    def forward(self, x: Tensor) -> Tensor:
        """``(..., C) → (..., C)``。"""
        gate, fc = self.c_both(x).chunk(2, dim=-1)
        y: Tensor = self.c_proj(F.silu(gate) * fc)
        return y


def assembled(
    config: GPTConfig,
    tensors: Mapping[str, NDArray[Any] | Packed],
    device: torch.device | str = "cpu",
    compute: Compute = "fast",
    is_merged: bool = True,
) -> GPT:
    """一个 GPT：矩阵是 ``Packed`` 的各层换成整数的，其余照旧（float32）。

    Args:
        config: 模型配置。
        tensors: 参数名到数组或量化了的矩阵。
        device: 放在哪个设备上。
        compute: 怎样算，见 ``weight.py``。
        is_merged: SwiGLU 升维的两个矩阵并成一个，少乘一次；要在旁边添支路的不能并。

    Returns:
        处于 ``eval`` 状态、不求导的模型。
    """
    with torch.device("meta"):  # 先不分配：大矩阵马上就要换掉
        model = GPT(config)
    plain = {name: torch.tensor(value, dtype=torch.float32, device=device)
             for name, value in tensors.items() if not isinstance(value, Packed)}  # fmt: skip
    model.load_state_dict(plain, strict=False, assign=True)
    for name, value in tensors.items():
        if isinstance(value, Packed):
            path = name.removesuffix(".weight")
            weight = PackedWeight(value, compute, device)
            module: nn.Module = (
                PackedEmbedding(weight) if path == "wte" else PackedLinear(weight, plain.get(f"{path}.bias"))
            )
            parent, _, last = path.rpartition(".")
            setattr(model.get_submodule(parent), last, module)
    arena = Arena()
    for block in model.h:
        if is_merged:
            _merge_gate(block)
        for module in block.modules():
            if isinstance(module, PackedLinear):
                module.weight.settle(arena)
    return model.requires_grad_(False).eval()


def _merge_gate(block: Any) -> None:
    """SwiGLU 的两个升维矩阵存法相同时，并成一个。"""
    mlp = block.mlp
    gate, fc, proj = (getattr(mlp, name, None) for name in ("c_gate", "c_fc", "c_proj"))
    if not (isinstance(gate, PackedLinear) and isinstance(fc, PackedLinear) and isinstance(proj, PackedLinear)):
        return
    schemes = [(part.weight.packed.scheme.format, part.weight.packed.scheme.group) for part in (gate, fc)]
    if schemes[0] == schemes[1]:
        block.mlp = PackedGatedMLP(gate, fc, proj)


def quantized_model(
    config: GPTConfig,
    arrays: Mapping[str, NDArray[Any]],
    metadata: object,
    device: torch.device | str = "cpu",
    *,
    compute: Compute = "fast",
    is_merged: bool = True,
    where: str = "the checkpoint",
) -> GPT:
    """由检查点里的数组与元数据造一个量化了的 GPT。

    Args:
        config: 模型配置。
        arrays: 检查点里的数组。
        metadata: 检查点里的 ``state["quantization"]``。
        device: 放在哪个设备上。
        compute: 怎样算，见 ``weight.py``。
        is_merged: 见 ``assembled``。
        where: 报错时指出的位置。

    Raises:
        CheckpointError: 元数据损坏，或数组与它不符。
    """
    return assembled(config, join(config, arrays, metadata, where=where), device, compute, is_merged)
