"""``python -m tinygrad_llm generate``：从训练好的运行生成一段文字。

流入：训练好的模型与开头的 token；流出：文字。模型怎样算在 ``decoding.py``；怎样选 token 在 ``common/decoding/``。
"""

from __future__ import annotations

from tinygrad_llm.common.decoding.settings import GenerateConfig


def main(config: GenerateConfig) -> None:
    """``python -m tinygrad_llm generate``：从训练好的运行生成一段文字。"""
    from tinygrad_llm.common.decoding.printing import print_generation
    from tinygrad_llm.decoding import NumpySlots
    from tinygrad_llm.loading import load_model

    loaded = load_model(config.folder)
    print_generation(config, loaded.tokenizer, lambda slots: NumpySlots(loaded.model, slots))
