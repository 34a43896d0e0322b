"""``python -m torch_llm sft`` 等：从一次训练好的运行出发微调。

流入：各种微调的设置；流出：运行文件夹与报告。数据与评估在 ``tinygrad_llm/common/tuning/``，训练就是 ``pretrain.py``
的那一个循环。
"""

from __future__ import annotations

from tinygrad_llm.common.tuning.config import TorchSftConfig


def sft(config: TorchSftConfig) -> None:
    """指令微调：只学回答。"""
    from tinygrad_llm.common.tuning.sft import prepare_sft
    from torch_llm.pretrain import run_and_report

    run_and_report(config, lambda: prepare_sft(config))
