"""LoRA：冻结原来的权重，只学低秩的支路（PyTorch 版）。

流入：一个模型与设置；流出：同一个模型，线性层旁边多了支路。支路的文件格式见 ``tinygrad_llm/common/adapter.py``。
分界线以下与 ``tinygrad_llm/lora.py`` 逐字相同，有测试逐行比较；``gpt.py`` 不必为它改一个字。
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tinygrad_llm.common.adapter import LoRAConfig, initial_adapter
from tinygrad_llm.common.errors import UserError

# ---- 以下两份文件逐字相同 ----


class LoRALinear(nn.Module):
    """在冻结的线性层旁边加一条低秩的支路：``y = Wx + b + (α/r)·B·A·x``（Hu 等，2021）。

    A 随机、B 为 0，所以开始时输出分毫不变；此时 ``∂L/∂A = (α/r)·Bᵀ·(…) = 0`` 而 ``∂L/∂B ≠ 0``，第一步只有 B 在动。
    要学的是 ``r·(in + out)`` 个数，而不是 ``in·out`` 个。

    它故意没有 ``weight``：绕过 ``forward`` 直接读权重的代码会漏掉支路，不如当场报错；要那样用，先 ``merge``。

    Args:
        base: 原来的线性层；参数从此不求导。
        rank: 秩 r。
        alpha: 缩放 α；实际乘 ``α/r``，换秩时学习率便不必重调。
        dropout: 支路输入的 dropout 概率。

    Attributes:
        base: 原来的线性层。
        lora_A: ``A``，形状 ``(r, in)``。
        lora_B: ``B``，形状 ``(out, r)``。
        scale: ``α/r``。
        is_on: 支路是否接通；断开时与原来的层相同。
        original: 并入之前的权重；没有并入时为 ``None``。
    """

    def __init__(self, base: Any, rank: int, alpha: float, dropout: float = 0.0) -> None:
        super().__init__()
        self.base = base
        for p in base.parameters():
            p.requires_grad_(False)
        out_features, in_features = base.weight.shape
        like = {"dtype": base.weight.dtype, "device": base.weight.device}
        self.lora_A = nn.Parameter(torch.zeros(rank, in_features, **like))
        self.lora_B = nn.Parameter(torch.zeros(out_features, rank, **like))
        self.drop = nn.Dropout(dropout)
        self.scale, self.is_on = alpha / rank, True
        self.original: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        """``(..., in) → (..., out)``。"""
        y = self.base(x)
        if self.original is not None or not self.is_on:
            return y
        return y + F.linear(F.linear(self.drop(x), self.lora_A), self.lora_B) * self.scale

    def delta(self) -> Tensor:
        """支路等于给权重加上多少：``(α/r)·B·A``，形状 ``(out, in)``；先以 float64 相乘。"""
        return (self.lora_B.detach().double() @ self.lora_A.detach().double()) * self.scale

    def merge(self) -> None:
        """把支路并入权重，此后推理不多花一分时间；原来的权重留着，``unmerge`` 才能逐位还原。"""
        if self.original is None:
            weight = self.base.weight
            self.original = weight.detach().clone()
            with torch.no_grad():
                weight.copy_((weight.double() + self.delta()).to(weight.dtype))

    def unmerge(self) -> None:
        """``merge`` 的逆。"""
        if self.original is not None:
            with torch.no_grad():
                self.base.weight.copy_(self.original)
            self.original = None


class LoRA:
    """一个模型上的全部支路：添上、取下、并入、换一套。

    添上之后，模型里只有支路求导。

    Args:
        model: 模型；就地改动。
        config: 秩、缩放、添在哪些层上。
        seed: A 的种子；初值是（种子，参数名）的纯函数，两个引擎相同。

    Attributes:
        config: 同参数。
        layers: 层的名字到支路。

    Raises:
        UserError: ``config.targets`` 里有模型没有的层。
    """

    def __init__(self, model: Any, config: LoRAConfig, seed: int = 0) -> None:
        self.model, self.config = model, config
        self.layers: dict[str, LoRALinear] = {}
        found = [name for name, _ in model.named_modules() if name.rsplit(".", 1)[-1] in config.targets]
        missing = set(config.targets) - {name.rsplit(".", 1)[-1] for name in found}
        if missing:
            raise UserError(f"the model has no layers named {', '.join(sorted(missing))}", where="LoRA targets")
        for p in model.parameters():
            p.requires_grad_(False)
        for name in found:
            parent, last = model.get_submodule(name.rpartition(".")[0]), name.rpartition(".")[2]
            layer = LoRALinear(getattr(parent, last), config.rank, config.alpha, config.dropout)
            setattr(parent, last, layer)
            self.layers[name] = layer
        self.load(initial_adapter({name: self._shapes(layer) for name, layer in self.layers.items()}, seed))

    def state(self) -> dict[str, Tensor]:
        """支路的参数：``h.0.attn.c_attn.lora_A`` → ``(r, in)``，``….lora_B`` → ``(out, r)``。"""
        return {
            f"{name}.{half}": getattr(layer, half).detach()
            for name, layer in self.layers.items()
            for half in ("lora_A", "lora_B")
        }

    def load(self, arrays: dict[str, Any]) -> None:
        """换上另一套支路，例如另一个任务的。

        Args:
            arrays: 名字到 NumPy 数组，与 ``state`` 的名字、形状一致。

        Raises:
            UserError: 名字或形状不合。
        """
        expected = {name: tuple(value.shape) for name, value in self.state().items()}
        if expected != {name: tuple(array.shape) for name, array in arrays.items()}:
            raise UserError(
                "the adapter does not fit this model or these LoRA settings",
                where=next(iter(set(expected) ^ set(arrays)), "shapes"),
                fix="use the rank and targets that the adapter was trained with",
            )
        with torch.no_grad():
            for name, layer in self.layers.items():
                layer.unmerge()
                for half in ("lora_A", "lora_B"):
                    value = getattr(layer, half)
                    value.copy_(torch.from_numpy(arrays[f"{name}.{half}"]).to(value.dtype))

    def switch(self, is_on: bool) -> None:
        """接通或断开全部支路；断开时就是原来的模型，可以充当参考模型，不必另存一份。"""
        for layer in self.layers.values():
            layer.is_on = is_on

    def merge(self) -> None:
        """全部并入权重。"""
        for layer in self.layers.values():
            layer.merge()

    def unmerge(self) -> None:
        """全部还原。"""
        for layer in self.layers.values():
            layer.unmerge()

    def remove(self, keep: bool) -> None:
        """取下支路，模型恢复原来的结构与参数名。

        Args:
            keep: 先并入权重；否则回到原来的权重。
        """
        for name, layer in self.layers.items():
            layer.merge() if keep else layer.unmerge()
            setattr(self.model.get_submodule(name.rpartition(".")[0]), name.rpartition(".")[2], layer.base)
        for p in self.model.parameters():
            p.requires_grad_(True)

    @staticmethod
    def _shapes(layer: LoRALinear) -> tuple[int, int, int]:
        return layer.lora_B.shape[0], layer.lora_A.shape[1], layer.lora_A.shape[0]
