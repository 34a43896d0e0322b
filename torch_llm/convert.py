"""``python -m torch_llm convert``：同 ``python -m tinygrad_llm convert``，另外认得 nanoGPT 的 ``ckpt.pt``。

流入：``ConvertConfig``；流出：运行文件夹。
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tinygrad_llm.common.weights.command import ConvertConfig, convert_with

if TYPE_CHECKING:
    from tinygrad_llm.common.tokenizers import Tokenizer
    from tinygrad_llm.common.weights.model_files import ModelFiles


def main(config: ConvertConfig) -> None:
    """转换；torch 只在读 ``ckpt.pt`` 时才导入。"""
    convert_with(config, {".pt": _read_pt})


def _read_pt(path: Path, *, tokenizer: Tokenizer | None) -> ModelFiles:
    from torch_llm.nanogpt import read_nanogpt

    return read_nanogpt(path, tokenizer=tokenizer)
