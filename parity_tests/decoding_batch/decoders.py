"""两个引擎的成批解码器与它们的参照：每个序列从头算一遍整段前向。

流入：引擎名与模型配置；流出：解码器、参照的 logits。
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

import tinygrad_llm as tg
from parity_tests.contract.cases import weights
from parity_tests.tolerances import as_array
from tinygrad_llm.common.config import GPTConfig
from tinygrad_llm.common.decoding.slots import BatchDecoder
from tinygrad_llm.decoding import NumpySlots
from tinygrad_llm.train import build_model
from torch_llm.decoding.slots import TorchSlots
from torch_llm.loop import build_model as build_torch_model


class Side:
    """一个引擎：模型、成批的解码器、整段前向。

    Args:
        engine: ``"numpy"`` 或 ``"torch"``。
        config: 模型配置。
        dtype: 浮点类型。
    """

    def __init__(self, engine: str, config: GPTConfig, dtype: str = "float32") -> None:
        self.is_numpy, self.m = engine == "numpy", tg if engine == "numpy" else torch
        build: Any = build_model if self.is_numpy else build_torch_model
        self.model = build(config, weights(config, dtype)).eval()

    def slots(
        self, count: int, kv_cache: Literal["plain", "int8"] = "plain", context: int | None = None
    ) -> BatchDecoder:
        """空的解码器。"""
        kind: Any = NumpySlots if self.is_numpy else TorchSlots
        made: BatchDecoder = kind(self.model, count, context, kv_cache)
        return made

    def whole(self, ids: list[int]) -> NDArray[Any]:
        """整段前向 ``(T, V)``，不用缓存。"""
        with self.m.no_grad():
            return np.array(as_array(self.model(self.m.tensor(np.array([ids]))))[0])


def relative(found: NDArray[Any], expected: NDArray[Any]) -> float:
    """最大的差，以 ``max(1, 最大的 logit)`` 为单位。"""
    return float(np.abs(found - expected).max()) / max(1.0, float(np.abs(expected).max()))


def letters(vocab_size: int) -> Any:
    """每个 id 是一个字的分词器：解码的测试只看 id，文字越简单越好。"""
    return _Letters(vocab_size)


class _Letters:
    specials: tuple[str, ...] = ()

    def __init__(self, vocab_size: int) -> None:
        self.vocab_size = vocab_size

    def token_bytes(self, id: int) -> bytes:
        """从 ``!`` 起的一个字。"""
        return chr(33 + id).encode()
