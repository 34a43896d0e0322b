"""在几条样本上训练一个玩具：哪个引擎都行，只用它公开的一步训练。

流入：引擎与样本；流出：学过的引擎，末了的损失。它没有检查点与日志，要那些，用普通的训练动词。
下一个文件：``demonstration.py``。
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from tinygrad_llm.common.batches import Example, Examples, Padded
from tinygrad_llm.common.engine import Batch, StepResult
from tinygrad_llm.common.schedule import learning_rate

__all__ = ["Practice", "Trainable", "practise"]


class Trainable(Protocol):
    """会训练一步的引擎。"""

    def train_step(self, step: int, batch: Batch, lr: float) -> StepResult:
        """用一个批次更新一步。"""


@dataclass(frozen=True)
class Practice:
    """怎样训练。

    Attributes:
        steps: 几步。
        lr: 峰值学习率。
        batch_size: 一步几条。
        seed: 打乱的种子。
    """

    steps: int
    lr: float
    batch_size: int = 16
    seed: int = 0


def practise(
    engine: Trainable, samples: Sequence[Example], practice: Practice, *, vocab_size: int, context: int, pad: int,
) -> float:  # fmt: skip
    """训练若干步，学习率预热之后按余弦降下来。

    Args:
        engine: 引擎。
        samples: 样本。
        practice: 怎样训练。
        vocab_size: 词表大小。
        context: 一行至多多长。
        pad: 填充处的 id。

    Returns:
        末十步的平均损失。
    """
    collected = Examples(samples, vocab_size=vocab_size, context=context)
    stream = Padded(collected, batch_size=practice.batch_size, seed=practice.seed, pad=pad)
    losses: list[float] = []
    for step in range(practice.steps):
        rate = learning_rate(
            step,
            peak=practice.lr,
            minimum=practice.lr * 0.05,
            warmup_steps=min(20, practice.steps // 10),
            total_steps=practice.steps,
        )
        losses.append(engine.train_step(step, stream.batch(step), rate).loss)
    return float(np.mean(losses[-10:]))
