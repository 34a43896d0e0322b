"""一个序列的解码器：成批的那份（``decoding/slots.py``）只用一个槽。

流入：模型与新的 token；流出：最后一个位置的 logits。选 token 的规则在 ``common/decoding``，两个引擎共用。
"""

from __future__ import annotations

from tinygrad_llm.common.decoding.slots import OneSlot
from torch_llm.decoding.slots import TorchSlots
from torch_llm.gpt import GPT


class TorchDecoder(OneSlot):
    """把模型包成「喂进 token、得到下一个的 logits」。

    Args:
        model: 模型。

    Attributes:
        context: 最长上下文。
    """

    def __init__(self, model: GPT) -> None:
        super().__init__(TorchSlots(model))
