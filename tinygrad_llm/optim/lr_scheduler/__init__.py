"""学习率调度：名字与 ``torch.optim.lr_scheduler`` 相同。

流入：优化器；流出：改写它的 ``lr``（有的还改写动量）。训练命令用的预热加余弦在 ``common/schedule.py``。
"""

from tinygrad_llm.optim.lr_scheduler.annealing import CosineAnnealingLR, CosineAnnealingWarmRestarts
from tinygrad_llm.optim.lr_scheduler.base import LRScheduler
from tinygrad_llm.optim.lr_scheduler.composite import ChainedScheduler, SequentialLR
from tinygrad_llm.optim.lr_scheduler.cyclic import CyclicLR
from tinygrad_llm.optim.lr_scheduler.decays import (
    ConstantLR,
    ExponentialLR,
    LinearLR,
    MultiStepLR,
    PolynomialLR,
    StepLR,
)  # fmt: skip
from tinygrad_llm.optim.lr_scheduler.lambdas import LambdaLR, MultiplicativeLR
from tinygrad_llm.optim.lr_scheduler.one_cycle import OneCycleLR
from tinygrad_llm.optim.lr_scheduler.plateau import ReduceLROnPlateau

_LRScheduler = LRScheduler  # 较早的代码用这个名字

__all__ = [
    "ChainedScheduler", "ConstantLR", "CosineAnnealingLR", "CosineAnnealingWarmRestarts", "CyclicLR", "ExponentialLR",
    "LRScheduler", "LambdaLR", "LinearLR", "MultiStepLR", "MultiplicativeLR", "OneCycleLR", "PolynomialLR",
    "ReduceLROnPlateau", "SequentialLR", "StepLR",
]  # fmt: skip
