"""``python -m tinygrad_llm distill``：老师教学生。

流入：``DistillConfig``；流出：学生的运行文件夹与报告。数据怎样备齐见 ``common/tuning/distillation.py``，损失见
``objectives_distillation.py``。
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from tinygrad_llm.common.tuning.distillation_config import DistillConfig, DistillSeedsConfig

if TYPE_CHECKING:
    from tinygrad_llm.common.decoding.slots import BatchDecoder
    from tinygrad_llm.common.lineage import Ancestor
    from tinygrad_llm.gpt import GPT

__all__ = ["distill", "seeds"]


def distill(config: DistillConfig) -> None:
    """蒸馏，写出学生的运行文件夹与报告。"""
    from tinygrad_llm.common.engine import LanguageModelling, Method
    from tinygrad_llm.common.loop import train
    from tinygrad_llm.common.tuning.distillation import prepare_distillation
    from tinygrad_llm.objectives_distillation import DistillationMethod
    from tinygrad_llm.train import finish
    from tinygrad_llm.tuning import MethodEngine

    found = prepare_distillation(config, lambda teacher: _slots(config, teacher))
    method: Method = LanguageModelling()
    if config.level == "logits" and config.alpha:
        model = _teacher(config, found.teacher)
        method = DistillationMethod(model, config.alpha, config.temperature, config.reverse)
    train(found.session, MethodEngine(found.session.model, config, method))
    finish(config)


def seeds(config: DistillSeedsConfig) -> None:
    """几个种子：有老师与没有老师的学生相比。"""
    from tinygrad_llm.common.tuning.distillation_study import compare_students

    compare_students(config, DistillConfig, distill)


def _teacher(config: DistillConfig, teacher: Ancestor) -> GPT:
    from tinygrad_llm.train import build_model

    return build_model(teacher.model, teacher.initial(config.dtype))


def _slots(config: DistillConfig, teacher: Ancestor) -> Callable[[int, int], BatchDecoder]:
    from tinygrad_llm.decoding import NumpySlots

    model = _teacher(config, teacher)
    return lambda count, context: NumpySlots(model, count, context)
