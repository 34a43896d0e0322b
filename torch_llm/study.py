"""``python -m torch_llm study VERB``：学习率试探、超参数的搜索、伸缩律，在 torch 上跑。

流入：命令行；流出：研究的文件夹。做法都在 ``tinygrad_llm/common/study``，与引擎无关。
"""

from __future__ import annotations

from dataclasses import dataclass

from tinygrad_llm.common.cli import Verb
from tinygrad_llm.common.environment import launched
from tinygrad_llm.common.errors import UserError
from tinygrad_llm.common.session import Session
from tinygrad_llm.common.study.cells import Lab, OnStep
from tinygrad_llm.common.study.lr_range import LrRange, find_rate
from tinygrad_llm.common.study.scaling import Scaling, run_scaling
from tinygrad_llm.common.study.sweep import Sweep, run_sweep
from tinygrad_llm.common.torch_config import TorchConfig
from torch_llm.pretrain import run_session

__all__ = ["VERBS", "lr_range", "scaling", "sweep"]

VERBS = {
    "lr-range": Verb(f"{__name__}:lr_range", "learning-rate range test: one short run, a curve, a suggested rate"),
    "sweep": Verb(f"{__name__}:sweep", "grid or random search over any training flags, several seeds, a ranked table"),
    "scaling": Verb(f"{__name__}:scaling", "sizes times token budgets, a fitted scaling law with intervals"),
}


def _alone(session: Session, config: TorchConfig, on_step: OnStep | None) -> None:
    """跑一格；研究里的训练很小，不由几个进程合训。"""
    if launched().world > 1:
        raise UserError("a study runs in one process", where="torchrun", fix="start it without torchrun")
    run_session(session, config, on_step)


LAB = Lab(TorchConfig, _alone)


@dataclass(frozen=True)
class TorchLrRange(LrRange, TorchConfig):
    """学习率试探的设置，torch 上。"""


@dataclass(frozen=True)
class TorchSweep(Sweep, TorchConfig):
    """超参数搜索的设置，torch 上。"""


@dataclass(frozen=True)
class TorchScaling(Scaling, TorchConfig):
    """伸缩律研究的设置，torch 上。"""


def lr_range(config: TorchLrRange) -> None:
    """学习率试探。"""
    find_rate(config, LAB)


def sweep(config: TorchSweep) -> None:
    """超参数的搜索。"""
    run_sweep(config, LAB)


def scaling(config: TorchScaling) -> None:
    """伸缩律的小研究。"""
    run_scaling(config, LAB)
