"""逐个 token 地生成文字；两个引擎共用，同一种子得到同样的 token。

流入：「喂进几个 token，得到下一个的 logits」的函数；流出：一串 token。下一站：两边的 ``generate.py``。
"""

from __future__ import annotations

import codecs
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tinygrad_llm.common.sampling import sample_token, uniform_at
from tinygrad_llm.common.tokenizers import Tokenizer
from tinygrad_llm.common.train_config import GenerateConfig


class Decoder(Protocol):
    """带 KV 缓存的模型。

    Attributes:
        context: 最长上下文。
    """

    context: int

    def reset(self) -> None:
        """清空缓存。"""

    def feed(self, ids: NDArray[np.int64]) -> NDArray[Any]:
        """接在缓存之后喂进 ``(n,)`` 个 token，返回最后一个位置的 logits ``(V,)``。"""


@dataclass(frozen=True)
class Sampling:
    """怎样从 logits 里选下一个 token。

    Attributes:
        temperature: 温度；0 表示取最大。
        top_k: 只留概率最大的 k 个。
        top_p: 只留累计概率达到 p 的最小集合。
        seed: 种子；随机数是（种子，位置）的纯函数。
    """

    temperature: float = 0.8
    top_k: int | None = None
    top_p: float | None = None
    seed: int = 0


def decode(decoder: Decoder, prompt: Sequence[int], count: int, sampling: Sampling) -> Iterator[int]:
    """生成 ``count`` 个 token。

    上下文用满时，留下后一半重新预填，再往下走。

    Args:
        decoder: 带 KV 缓存的模型。
        prompt: 开头的 token，至少一个。
        count: 生成多少个。
        sampling: 抽样方式。

    Yields:
        token 下标。
    """
    history = list(prompt)
    decoder.reset()
    pending = history[-decoder.context :]
    used = len(pending)
    for _ in range(count):
        logits = decoder.feed(np.asarray(pending, dtype=np.int64))
        token = sample_token(
            logits,
            temperature=sampling.temperature,
            top_k=sampling.top_k,
            top_p=sampling.top_p,
            uniform=uniform_at(sampling.seed, len(history)),
        )
        yield token
        history.append(token)
        pending = [token]
        if used + 1 > decoder.context:
            decoder.reset()
            pending = history[-max(1, decoder.context // 2) :]
            used = 0
        used += len(pending)


def print_generation(config: GenerateConfig, tokenizer: Tokenizer, decoder: Decoder) -> None:
    """按设置生成，边生成边打印到标准输出；不完整的 UTF-8 字节留到凑齐再打印。

    Args:
        config: 生成设置。
        tokenizer: 分词器。
        decoder: 带 KV 缓存的模型。
    """
    prompt = tokenizer.encode(config.prompt) or [tokenizer.eot]
    sampling = Sampling(config.temperature, config.top_k, config.top_p, config.seed)
    sys.stdout.write(config.prompt)
    utf8 = codecs.getincrementaldecoder("utf-8")(errors="replace")
    for token in decode(decoder, prompt, config.tokens, sampling):
        sys.stdout.write(utf8.decode(tokenizer.token_bytes(token)))
        sys.stdout.flush()
    sys.stdout.write(utf8.decode(b"", final=True) + "\n")
