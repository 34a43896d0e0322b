"""测速用的三种规模：小得能放进缓存的 T、中等的 S、一亿参数的 M。

词表与输出层不共用权重、没有 dropout，与公开的测法一致；别的预设照 ``--preset`` 的名字取，批大小由命令行给。
"""

from __future__ import annotations

from dataclasses import replace

from tinygrad_llm.common.config import GPTConfig, preset

SIZES: dict[str, tuple[GPTConfig, int]] = {
    "T": (GPTConfig(vocab_size=512, context=128, n_layer=4, n_head=4, n_embd=128, tie_head=False), 16),
    "S": (GPTConfig(vocab_size=4096, context=256, n_layer=6, n_head=6, n_embd=384, tie_head=False), 16),
    "M": (GPTConfig(vocab_size=50304, context=256, tie_head=False), 2),
}
"""名字到（模型配置，批大小）；M 是 GPT-2 small 的层与宽度。"""


def sized(name: str, context: int | None = None, batch: int | None = None) -> tuple[GPTConfig, int]:
    """按名字取一种规模；不是 T、S、M 就当作预设名。

    Args:
        name: ``T``、``S``、``M`` 或预设名。
        context: 覆盖序列长度。
        batch: 覆盖批大小；预设缺省为 16。

    Returns:
        （模型配置，批大小）。

    Raises:
        UserError: 没有这个名字。
    """
    if name not in SIZES:
        return preset(name, context=context), batch or 16
    config, size = SIZES[name]
    return replace(config, context=context or config.context), batch or size
