"""一个序列从头写到尾；两个引擎共用，同一种子得到同样的 token。

流入：「喂进几个 token，得到下一个的 logits」的解码器与一个 ``Generation``；流出：一步步的 ``Step``，或一串 token。
下一站：``printing.py``。
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tinygrad_llm.common.decoding.generation import Generation, Step
from tinygrad_llm.common.decoding.request import Sampling
from tinygrad_llm.common.decoding.sampling import choose, finite_scores, uniform_at

__all__ = ["Decoder", "decode", "steps_of"]


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


def steps_of(decoder: Decoder, generation: Generation) -> Iterator[Step]:
    """让一个序列走到停下为止。

    Args:
        decoder: 带 KV 缓存的模型，缓存里恰是 ``generation.pending`` 之前的一切（新的序列：空的）。
        generation: 序列；构造时给了 ``context``，就不会越过模型的上下文。

    Yields:
        每一步的结果。
    """
    while not generation.finish:
        yield generation.advance(decoder.feed(np.asarray(generation.pending, dtype=np.int64)))


def decode(
    decoder: Decoder, prompt: Sequence[int], count: int, sampling: Sampling, size: int | None = None
) -> Iterator[int]:
    """生成 ``count`` 个 token，不管上下文有多长：用满时，留下后一半重新预填，再往下走。

    Args:
        decoder: 带 KV 缓存的模型。
        prompt: 开头的 token，至少一个。
        count: 生成多少个。
        sampling: 抽样方式；用到温度、三种截断与种子。
        size: 词表有几个 token；模型比词表多出的行从不可选。

    Yields:
        token 下标。
    """
    history = list(prompt)
    decoder.reset()
    pending = history[-decoder.context :]
    used = len(pending)
    for _ in range(count):
        scores = finite_scores(decoder.feed(np.asarray(pending, dtype=np.int64)))[:size]
        token = choose(scores, sampling, uniform_at(sampling.seed, len(history)))
        yield token
        history.append(token)
        pending = [token]
        if used + 1 > decoder.context:
            decoder.reset()
            pending = history[-max(1, decoder.context // 2) :]
            used = 0
        used += len(pending)
