"""从运行文件夹到一个能用的模型，不论它的权重是浮点数还是量化了的整数。

量化了的权重读进来就还原成 float32：NumPy 没有快的整数矩阵乘法，逐块还原再乘，每个 token 都要多写、多读一份浮点数；
所以在这里量化省的是磁盘，不是时间。

流入：运行文件夹；流出：``Loaded``。下一站：``generate.py``。
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinygrad_llm.common.quantization import STATE_KEY, dequantized, join
from tinygrad_llm.common.session import load_trained
from tinygrad_llm.common.tokenizers import Tokenizer
from tinygrad_llm.gpt import GPT

__all__ = ["Loaded", "load_model"]


@dataclass(frozen=True)
class Loaded:
    """读进来的模型。

    Attributes:
        model: 模型，处于 ``eval`` 状态。
        tokenizer: 分词器。
        state: 检查点的状态。
    """

    model: GPT
    tokenizer: Tokenizer
    state: dict[str, Any]


def load_model(folder: Path) -> Loaded:
    """读一个训练好的、转换来的或量化了的运行。

    Args:
        folder: 运行文件夹，或其中的某个检查点文件夹。

    Raises:
        CheckpointError: 缺失、损坏，或与配置不符。
    """
    from tinygrad_llm.train import build_model

    config, tokenizer, checkpoint = load_trained(folder)
    arrays, state = checkpoint.model, checkpoint.state
    if STATE_KEY in state:
        arrays = dequantized(join(config, arrays, state[STATE_KEY], where=str(folder)))
    model = build_model(config, arrays, adopt=True)
    model.eval()
    return Loaded(model, tokenizer, state)
