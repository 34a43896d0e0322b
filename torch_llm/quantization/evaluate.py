"""量化之后还剩多少：困惑度与解码的速度。

流入：模型与 token；流出：数字。下一个文件：``report.py`` 把它们排成表与图。
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from torch_llm.engine import TorchDecoder
from torch_llm.gpt import GPT

__all__ = ["decode_speeds", "mean_loss"]

ROWS = 4
"""一次前向几行。"""
PROMPT = 16


@torch.no_grad()
def mean_loss(model: GPT, ids: NDArray[np.int64]) -> float:
    """每个 token 的平均损失（纳特）：每窗里除第一个之外的 token；困惑度是它的指数。

    Args:
        model: 模型。
        ids: ``(B, T)``。
    """
    total = 0.0
    device = model.ln_f.weight.device
    for rows in torch.from_numpy(ids).to(device).split(ROWS):
        logits = model(rows[:, :-1]).float()
        total += float(F.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten(), reduction="sum"))
    return total / ids[:, 1:].size


def decode_speeds(models: Mapping[str, GPT], tokens: int, rounds: int) -> dict[str, float]:
    """批大小为 1 的解码速度：几个模型轮流生成，同受一时的干扰；各取每个 token 用时的中位数。

    Args:
        models: 名字到模型。
        tokens: 每一轮生成几个 token。
        rounds: 几轮。

    Returns:
        名字到每秒几个 token。
    """
    decoders = {name: TorchDecoder(model) for name, model in models.items()}
    spent: dict[str, list[float]] = {name: [] for name in decoders}
    for _ in range(rounds):
        for name, decoder in decoders.items():
            decoder.reset()
            token = int(decoder.feed(np.arange(min(PROMPT, decoder.context // 2), dtype=np.int64)).argmax())
            for _ in range(min(tokens, decoder.context // 2 - 1)):
                started_at = time.perf_counter()
                token = int(decoder.feed(np.array([token])).argmax())
                spent[name].append(time.perf_counter() - started_at)
    return {name: 1 / statistics.median(seconds) if seconds else math.nan for name, seconds in spent.items()}
