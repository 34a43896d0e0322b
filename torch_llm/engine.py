"""解码引擎：KV 缓存预先分配、就地写入，每步只算一个新位置。

流入：模型与新的 token；流出：最后一个位置的 logits。选 token 的规则在 ``tinygrad_llm/common/decoding/``，两个引擎共用。
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from torch_llm.gpt import GPT, KVCache


class TorchDecoder:
    """把模型包成「喂进 token、得到下一个的 logits」。

    Args:
        model: 模型。

    Attributes:
        context: 最长上下文。
    """

    def __init__(self, model: GPT) -> None:
        self.model, self.context = model, model.config.context
        self.reset()

    def reset(self) -> None:
        """换一个空缓存。"""
        self.cache = KVCache(self.model, 1, self.context)

    def feed(self, ids: NDArray[np.int64]) -> NDArray[Any]:
        """喂进 ``(n,)`` 个 token，返回最后一个位置的 logits ``(V,)``。"""
        self.model.eval()
        device = self.model.wte.weight.device
        with torch.no_grad():
            logits: NDArray[Any] = self.model(torch.from_numpy(ids[None]).to(device), self.cache)[0, -1].cpu().numpy()
        return logits
