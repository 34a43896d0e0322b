"""解码里的矩阵乘法：行数很少时，做同一个乘法，各个库快慢差几倍。

流入：模型、一层与它的输入；流出：``W x + b``。用它的是 ``slots.py``（一列 token）与 ``one.py``（一个 token）。

- **MKL**（torch 缺省的）：在 Intel 的处理器上，乘一两行最快；行数再多，每次都要把权重重新整理一遍。
- **oneDNN**：别家的处理器上，MKL 用不上快的内核，乘一行只读到内存带宽的一半，乘几行还要慢几倍，这时都交给它。
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from tinygrad_llm.common.system import cpu_vendor
from torch_llm.gpt import GPT

__all__ = ["Products", "onednn", "prefers_onednn"]

_PACKED_ROWS = 8
"""照这么多行来排次序。"""
_FEWEST_PACKED = 3
"""Intel 的处理器上，少于这么多行时 MKL 的矩阵乘向量更快。"""


def prefers_onednn(like: Tensor) -> bool:
    """与 ``like`` 同设备、同类型的矩阵乘法，行数很少时是不是 oneDNN 更快。"""
    return _runs_onednn(like) and torch.backends.mkl.is_available() and "Intel" not in cpu_vendor()


def onednn(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """``x @ weight.T + bias``：``(rows, in) → (rows, out)``；``weight`` 可以是排好次序的。"""
    y: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return y


class Products:
    """一个模型的各个矩阵乘法，用这台机器上快的那个库。

    Args:
        model: 模型。
        packed: 另存一份 oneDNN 排好次序的权重：几行到几十行一起算时快三成左右，多占一份权重的内存；此后权重不能再变。
    """

    def __init__(self, model: GPT, *, packed: bool = False) -> None:
        is_faster = prefers_onednn(model.ln_f.weight)
        self._mine = set(_plain(model)) if is_faster or packed else set()
        self._packed = {
            module: torch.ops.mkldnn._reorder_linear_weight(_weight(module).detach(), _PACKED_ROWS)
            for module in (self._mine if packed else ())
        }
        self._fewest = 1 if is_faster else _FEWEST_PACKED

    def __call__(self, module: Any, x: Tensor) -> Tensor:
        """``module(x)``，或模型的 ``logits(x)``：``(rows, in) → (rows, out)``。"""
        if len(x) < self._fewest or module not in self._mine:
            found: Tensor = module.logits(x) if isinstance(module, GPT) else module(x)
            return found
        weight = self._packed[module] if self._packed else _weight(module)
        return onednn(x, weight, getattr(module, "bias", None))


def _plain(model: GPT) -> list[nn.Module]:
    """能交给 oneDNN 的：CPU 上 float32 的普通线性层，与没有换过的输出层（以模型自己为名）。"""
    if not _runs_onednn(model.ln_f.weight):
        return []
    found: list[nn.Module] = [module for module in model.h.modules() if type(module) is nn.Linear]
    return found + [model] * (type(model).logits is GPT.logits and type(model.wte) is nn.Embedding)


def _weight(module: Any) -> Tensor:
    weight: Tensor = module.head_weight() if isinstance(module, GPT) else module.weight
    return weight


def _runs_onednn(like: Tensor) -> bool:
    return like.device.type == "cpu" and like.dtype == torch.float32 and torch.backends.mkldnn.is_available()
