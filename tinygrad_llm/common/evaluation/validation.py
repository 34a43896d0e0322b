"""在一串 token 上评估：每 token 的纳特、困惑度、每字节的比特。

流入：引擎与 token；流出：``Figures``。各批的和在 float64 里累加，最后才除，所以结果与怎样分批无关；
每批几行只由上下文长度决定，``--batch-size`` 与 ``--accumulate`` 于是连舍入都不影响。训练中由 ``common/loop.py`` 调用；
训练之后的评测从下一个文件 ``likelihood.py`` 读起。
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from tinygrad_llm.common.batches import IGNORE_INDEX, Ids, Tokens, evaluation_batches
from tinygrad_llm.common.ranks import ALONE, Ranks, shared_out
from tinygrad_llm.common.session import bits_per_byte

__all__ = ["EVALUATION_TOKENS", "Figures", "evaluate"]

EVALUATION_TOKENS = 4096
"""每批约这么多个 token：放得下，矩阵也够大。"""


class Figures(NamedTuple):
    """一次评估的结果。

    Attributes:
        loss: 每 token 的平均损失，纳特。
        perplexity: 困惑度 ``exp(loss)``。
        bits_per_byte: 每字节的比特数，与分词器无关。
        tokens: 预测了多少个 token。
    """

    loss: float
    perplexity: float
    bits_per_byte: float
    tokens: int


class Evaluator(Protocol):
    """会算一个批次的损失之和的引擎。"""

    def evaluate(self, x: NDArray[np.int64], y: NDArray[np.int64]) -> float:
        """一个批次的损失之和（纳特）。"""


def evaluate(
    engine: Evaluator,
    ids: Ids | Tokens,
    context: int,
    byte_lengths: NDArray[Any],
    *,
    rows: int | None = None,
    ranks: Ranks = ALONE,
    is_stopped: Callable[[], bool] = lambda: False,
) -> Figures | None:
    """评估一遍。

    Args:
        engine: 引擎。
        ids: 按原文次序的 token，至少两个。
        context: 窗口长度。
        byte_lengths: 每个 token 的字节数 ``(V,)``。
        rows: 每批几行；缺省由 ``EVALUATION_TOKENS`` 决定。
        ranks: 合训的几个进程，各算一份。
        is_stopped: 每批之后问一次，要不要半途停下。

    Returns:
        结果；半途停下为 ``None``。
    """
    nats, tokens, n_bytes = 0.0, 0.0, 0.0
    batches = evaluation_batches(ids, context, rows or max(1, EVALUATION_TOKENS // context))
    for x, y in shared_out(batches, ranks):
        if is_stopped():
            return None
        nats += engine.evaluate(x, y)
        valid = y[y != IGNORE_INDEX]
        tokens += valid.size
        n_bytes += int(byte_lengths[valid].sum())
    nats, tokens, n_bytes = ranks.total([nats, tokens, n_bytes])
    loss = nats / tokens
    with np.errstate(over="ignore"):  # 发散了的模型：困惑度是无穷
        perplexity = float(np.exp(np.float64(loss)))
    return Figures(loss, perplexity, bits_per_byte(nats, n_bytes), int(tokens))
