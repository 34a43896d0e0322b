"""``python -m tinygrad_llm study VERB``：学习率试探、超参数的搜索、伸缩律，在 NumPy 上跑。

流入：命令行；流出：研究的文件夹。做法都在 ``common/study``，与引擎无关。
"""

from __future__ import annotations

from tinygrad_llm.common.cli import Verb
from tinygrad_llm.common.study.cells import Lab
from tinygrad_llm.common.study.lr_range import LrRange, find_rate
from tinygrad_llm.common.study.scaling import Scaling, run_scaling
from tinygrad_llm.common.study.sweep import Sweep, run_sweep
from tinygrad_llm.common.train_config import TrainConfig
from tinygrad_llm.train import run_session

__all__ = ["VERBS", "lr_range", "scaling", "sweep"]

VERBS = {
    "lr-range": Verb(f"{__name__}:lr_range", "learning-rate range test: one short run, a curve, a suggested rate"),
    "sweep": Verb(f"{__name__}:sweep", "grid or random search over any training flags, several seeds, a ranked table"),
    "scaling": Verb(f"{__name__}:scaling", "sizes times token budgets, a fitted scaling law with intervals"),
}
LAB = Lab(TrainConfig, run_session)


def lr_range(config: LrRange) -> None:
    """学习率试探。"""
    find_rate(config, LAB)


def sweep(config: Sweep) -> None:
    """超参数的搜索。"""
    run_sweep(config, LAB)


def scaling(config: Scaling) -> None:
    """伸缩律的小研究。"""
    run_scaling(config, LAB)
