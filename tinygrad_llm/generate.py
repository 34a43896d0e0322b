"""NumPy 引擎的生成：KV 缓存在内存里就地增长，每步只算一个新位置。

流入：训练好的模型与开头的 token；流出：文字。选 token 的规则在 ``common/decode.py``，两个引擎共用。
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

import tinygrad_llm as tg
from tinygrad_llm.common.decode import print_generation
from tinygrad_llm.common.session import load_trained
from tinygrad_llm.common.train_config import GenerateConfig
from tinygrad_llm.gpt import GPT, KVCache
from tinygrad_llm.ops import cores


class NumpyDecoder:
    """把模型包成「喂进 token、得到下一个的 logits」。

    Args:
        model: 模型。
        threads: BLAS 用几个线程；缺省不动它。逐个生成时，每步都要把全部权重读一遍，快慢取决于内存，用满各核才够。

    Attributes:
        context: 最长上下文。
    """

    def __init__(self, model: GPT, threads: int | None = None) -> None:
        self.model, self.context, self.threads = model, model.config.context, threads or cores.threads()
        self.reset()

    def reset(self) -> None:
        """换一个空缓存。"""
        self.cache = KVCache(self.model, 1, self.context)

    def feed(self, ids: NDArray[np.int64]) -> NDArray[Any]:
        """喂进 ``(n,)`` 个 token，返回最后一个位置的 logits ``(V,)``。"""
        self.model.eval()
        with tg.no_grad(), cores.blas_threads(self.threads):
            return self.model(tg.from_numpy(ids[None]), self.cache).array[0, -1]  # type: ignore[no-any-return]


def main(config: GenerateConfig) -> None:
    """``python -m tinygrad_llm generate``：从训练好的运行生成一段文字。"""
    from tinygrad_llm.train import build_model

    model_config, tokenizer, checkpoint = load_trained(config.folder)
    print_generation(config, tokenizer, NumpyDecoder(build_model(model_config, checkpoint.model)))
