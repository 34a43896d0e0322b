"""``python -m torch_llm generate``：从训练好的运行生成一段文字。

流入：``GenerateConfig``；流出：标准输出上的文字。
"""

from __future__ import annotations

from tinygrad_llm.common.decoding.settings import GenerateConfig


def main(config: GenerateConfig) -> None:
    """生成；torch 在这里才导入，``--help`` 因此立即可答。"""
    from tinygrad_llm.common.decoding.printing import print_generation
    from tinygrad_llm.common.session import load_trained
    from torch_llm.decoding.slots import TorchSlots
    from torch_llm.loop import build_model
    from torch_llm.runtime import pick_device

    model_config, tokenizer, checkpoint = load_trained(config.folder)
    device = pick_device(checkpoint.model["wte.weight"].dtype.name)
    model = build_model(model_config, checkpoint.model, device, adopt=True)
    print_generation(config, tokenizer, lambda slots: TorchSlots(model, slots))
