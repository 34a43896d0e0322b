"""``python -m torch_llm generate``：从训练好的运行生成一段文字。

流入：``GenerateConfig``；流出：标准输出上的文字。
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tinygrad_llm.common.decoding.settings import GenerateConfig

if TYPE_CHECKING:
    from tinygrad_llm.common.decoding.slots import BatchDecoder
    from tinygrad_llm.common.tokenizers.interface import TextTokenizer


def main(config: GenerateConfig) -> None:
    """生成；torch 在这里才导入，``--help`` 因此立即可答。"""
    from tinygrad_llm.common.decoding.printing import print_generation
    from torch_llm.decoding.slots import TorchSlots
    from torch_llm.loading import load_model

    loaded = load_model(config.folder)

    def open_draft(folder: Path) -> tuple[TextTokenizer, BatchDecoder]:
        draft = load_model(folder)
        return draft.tokenizer, TorchSlots(draft.model)

    def open_slots(count: int) -> BatchDecoder:
        return TorchSlots(loaded.model, count, kv_cache=config.kv_cache)

    print_generation(config, loaded.tokenizer, open_slots, open_draft)
