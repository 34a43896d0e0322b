"""从运行文件夹到一个能用的模型，不论它的权重是浮点数还是量化了的整数。

流入：运行文件夹；流出：``Loaded``。下一站：解码引擎。
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tinygrad_llm.common.checkpoint import Checkpoint
from tinygrad_llm.common.config import GPTConfig
from tinygrad_llm.common.quantization import STATE_KEY
from tinygrad_llm.common.session import load_trained
from tinygrad_llm.common.tokenizers import Tokenizer
from torch_llm.gpt import GPT
from torch_llm.loop import build_model
from torch_llm.quantization.model import quantized_model
from torch_llm.quantization.weight import Compute
from torch_llm.runtime import pick_device

__all__ = ["Loaded", "Trained", "load_model"]

Trained = tuple[GPTConfig, Tokenizer, Checkpoint]
"""``load_trained`` 的返回值。"""


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


def load_model(
    folder: Path, device: torch.device | str | None = None, compute: Compute = "fast", trained: Trained | None = None
) -> Loaded:
    """读一个训练好的、转换来的或量化了的运行。

    Args:
        folder: 运行文件夹，或其中的某个检查点文件夹。
        device: 放在哪里；``None`` 时选最好的，量化了的总在 CPU 上：快的整数内核在那里。
        compute: 量化了的权重怎样算，见 ``quantization/weight.py``。
        trained: 已经读好的 ``load_trained(folder)``；不给就在这里读。

    Raises:
        CheckpointError: 缺失、损坏，或与配置不符。
    """
    config, tokenizer, checkpoint = trained or load_trained(folder)
    arrays, state = checkpoint.model, checkpoint.state
    if STATE_KEY in state:
        model = quantized_model(config, arrays, state[STATE_KEY], device or "cpu", compute=compute, where=str(folder))
    else:
        where = device or pick_device(arrays["wte.weight"].dtype.name)
        model = build_model(config, arrays, where, adopt=True).eval()
    return Loaded(model, tokenizer, state)
