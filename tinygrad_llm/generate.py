"""``python -m tinygrad_llm generate``：从训练好的运行生成一段文字。

流入：训练好的模型与开头的 token；流出：文字。模型怎样算在 ``decoding.py``；怎样选 token 在 ``common/decoding/``。
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tinygrad_llm.common.decoding.settings import GenerateConfig

if TYPE_CHECKING:
    from tinygrad_llm.common.decoding.slots import BatchDecoder
    from tinygrad_llm.common.tokenizers.interface import TextTokenizer


def main(config: GenerateConfig) -> None:
    """``python -m tinygrad_llm generate``：从训练好的运行生成一段文字。"""
    from tinygrad_llm.common.decoding.printing import print_generation
    from tinygrad_llm.decoding import NumpySlots
    from tinygrad_llm.loading import load_model

    loaded = load_model(config.folder)

    def open_draft(folder: Path) -> tuple[TextTokenizer, BatchDecoder]:
        draft = load_model(folder)
        return draft.tokenizer, NumpySlots(draft.model)

    def open_slots(count: int) -> BatchDecoder:
        return NumpySlots(loaded.model, count, kv_cache=config.kv_cache)

    print_generation(config, loaded.tokenizer, open_slots, open_draft)
