"""``train`` 与 ``midtrain`` 的入口：引擎用到才加载，``--help`` 因此立即可答。

流入：设置；流出：同 ``train.py`` 的 ``main``。
"""

from __future__ import annotations

from tinygrad_llm.common.midtraining import MidtrainConfig
from tinygrad_llm.common.train_config import TrainConfig
from tinygrad_llm.common.tuning.classify_settings import ApplyConfig, GridConfig
from tinygrad_llm.common.tuning.config import ClassifyConfig, SftConfig
from tinygrad_llm.common.tuning.ways import SftCompareConfig

__all__ = ["classify", "classify_apply", "classify_grid", "compare_ways", "midtrain", "sft", "train"]


def train(config: TrainConfig) -> None:
    """训练，写出运行文件夹与报告。"""
    from tinygrad_llm.train import main

    main(config)


def sft(config: SftConfig) -> None:
    """指令微调：只学回答。"""
    from tinygrad_llm.tuning import sft as run

    run(config)


def compare_ways(config: SftCompareConfig) -> None:
    """同样的指令微调，学全部参数、末几层、LoRA 各一次，比一比。"""
    from tinygrad_llm.common.tuning.compare import compare_ways as run

    run(config, "tinygrad_llm")


def classify(config: ClassifyConfig) -> None:
    """分类：一个头，取最后一个真正的 token 的特征。"""
    from tinygrad_llm.tuning import classify as run

    run(config)


def classify_grid(config: GridConfig) -> None:
    """分类的消融。"""
    from tinygrad_llm.tuning import classify_grid as run

    run(config)


def classify_apply(config: ApplyConfig) -> None:
    """给文字贴标签。"""
    from tinygrad_llm.tuning import classify_apply as run

    run(config)


def midtrain(config: MidtrainConfig) -> None:
    """换一种数据接着训练，掺一份旧数据，量忘了多少。"""
    from tinygrad_llm.train import midtrain as run

    run(config)
