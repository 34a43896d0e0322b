"""引擎与训练方法的约定：循环只认识这里的几样东西，不认识 torch，也不认识 NumPy 的 autograd。

流入：一个批次（几个数组，第一维是行）；流出：一步的结果。引擎有 ``tinygrad_llm/train.py``、``tuning.py`` 与
``torch_llm/loop.py``；方法是「批次从哪里来」加上「损失怎样算」。下一站：``loop.py``。
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tinygrad_llm.common.batches import IGNORE_INDEX
from tinygrad_llm.common.decoding.single import Decoder
from tinygrad_llm.common.decoding.slots import BatchDecoder

__all__ = [
    "Arrays", "Batch", "Engine", "Examined", "LanguageModelling", "Method", "StepResult", "averaged", "micro_batches",
    "summed", "valid_tokens",
]  # fmt: skip

Arrays = dict[str, NDArray[Any]]
Batch = tuple[NDArray[Any], ...]
"""一个批次：x、y 与方法要的别的数组，第一维都是行。"""


@dataclass(frozen=True)
class StepResult:
    """一步训练的结果。

    Attributes:
        loss: 全局批次上每个单位（语言模型是有效 token）的平均损失。
        grad_norm: 裁剪前的梯度全局范数。
        updated: 参数是否更新了；守卫不答应（非有限、尖峰）时跳过更新。
        figures: 方法另外报告的数字，每个单位的平均，例如偏好的 ``margin``。
    """

    loss: float
    grad_norm: float
    updated: bool
    figures: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Examined:
    """一个批次上的和：损失、方法另外报告的数字、有几个单位。"""

    loss: float
    figures: Mapping[str, float]
    units: float


class Method(Protocol):
    """一种训练方法：学哪些参数、损失怎样算。一份文字两个引擎共用，所以张量与模型的类型写作 ``Any``。"""

    def attach(self, model: Any) -> Mapping[str, Any]:
        """把要添的东西添到模型上（支路、分类头）；返回要学的参数，名字到参数，检查点里存的就是它们。"""

    def units(self, batch: Batch) -> float:
        """这个批次的损失该除以几：语言模型是有效 token 数，偏好是对数，分类是权重之和。"""

    def loss(self, model: Any, *batch: Any) -> tuple[Any, dict[str, Any]]:
        """各单位的损失**之和**，与另外要报告的数字之和；批次已是张量。除以单位数由引擎来做。"""


class Engine(Protocol):
    """一个引擎：会训练一步、会评估、会生成、会交出与装回状态。

    Attributes:
        name: ``"numpy"`` 或 ``"torch"``。
        updates: 更新过几步；没有更新的步不算。
        accepts: 看过损失与梯度范数之后，答应不答应更新；缺省只要求有限，循环换上守卫的。
        loss_scale: float16 放大损失的倍数与它的计数；不放大则为空。
    """

    name: str
    updates: int
    accepts: Callable[[float, float], bool]
    loss_scale: dict[str, float]

    def describe(self) -> str:
        """给人看的一行：在哪里、怎样算。"""

    def train_step(self, step: int, batch: Batch, lr: float) -> StepResult:
        """用一个全局批次更新一步。"""

    def evaluate(self, x: NDArray[np.int64], y: NDArray[np.int64]) -> float:
        """一个批次的语言模型损失之和（纳特）。"""

    def examine(self, batch: Batch) -> Examined:
        """照训练的方法算一个批次的损失，不求导。"""

    def product(self, size: int) -> Callable[[], object]:
        """备好两个 ``size × size`` 的矩阵，返回「以训练的精度乘一次」；用来量峰值。"""

    def memory_bytes(self) -> int:
        """内存至今的峰值，字节；在显卡上是显存。"""

    def decoder(self) -> Decoder:
        """带 KV 缓存的生成器。"""

    def slots(self, count: int, context: int | None = None) -> BatchDecoder:
        """同时写几个序列的生成器；``context`` 是每个槽的上限，缺省为模型的上下文。"""

    def export(self) -> tuple[Arrays, Arrays, int]:
        """交出参数、优化器的状态、更新过几步。"""

    def restore(self, model: Arrays, states: Arrays, updates: int) -> None:
        """装回 ``export`` 的结果。"""


class LanguageModelling:
    """缺省的方法：全部参数，下一个 token 的交叉熵。预训练、中段训练与指令微调都是它，只是批次不同。"""

    def attach(self, model: Any) -> Mapping[str, Any]:
        """全部参数。"""
        return dict(model.named_parameters())

    def units(self, batch: Batch) -> int:
        """有效 token 数。"""
        return valid_tokens(batch)

    def loss(self, model: Any, *batch: Any) -> tuple[Any, dict[str, Any]]:
        """交叉熵之和。"""
        return model.loss(*batch), {}


def valid_tokens(batch: Batch) -> int:
    """语言模型的单位：``batch[1]`` 里要预测的 token 数。"""
    return int((batch[1] != IGNORE_INDEX).sum())


def micro_batches(batch: Batch, accumulate: int) -> list[Batch]:
    """把一个全局批次按行切成 ``accumulate`` 个微批。"""
    size = len(batch[0]) // accumulate
    return [tuple(array[i : i + size] for array in batch) for i in range(0, len(batch[0]), size)]


def averaged(sums: Mapping[str, float], units: float) -> dict[str, float]:
    """各个和除以单位数；一个单位也没有时是 0。"""
    return {name: total / (units or 1) for name, total in sums.items()}


def summed(parts: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """几份同名的和加起来。"""
    total: dict[str, float] = {}
    for part in parts:
        for name, value in part.items():
            total[name] = total.get(name, 0.0) + value
    return total
