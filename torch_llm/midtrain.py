"""``python -m torch_llm midtrain``：换一种数据接着训练，掺一份旧数据，量忘了多少。

流入：``TorchMidtrainConfig``；流出：运行文件夹与报告。数据怎样混合见 ``tinygrad_llm/common/midtraining.py``，
训练就是 ``pretrain.py`` 的那一个循环。
"""

from __future__ import annotations

from tinygrad_llm.common.midtraining import TorchMidtrainConfig


def main(config: TorchMidtrainConfig) -> None:
    """训练，写出运行文件夹与报告。"""
    from tinygrad_llm.common.midtraining import prepare_midtraining
    from torch_llm.pretrain import run_and_report

    run_and_report(config, lambda: prepare_midtraining(config))
