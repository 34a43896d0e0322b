"""``python -m torch_llm distill``：老师教学生。

流入：``TorchDistillConfig``；流出：学生的运行文件夹与报告。数据怎样备齐见
``tinygrad_llm/common/tuning/distillation.py``，损失见 ``objectives_distillation.py``。
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from tinygrad_llm.common.environment import launched
from tinygrad_llm.common.errors import UserError
from tinygrad_llm.common.tuning.distillation_config import TorchDistillConfig, TorchDistillSeedsConfig

if TYPE_CHECKING:
    from tinygrad_llm.common.decoding.slots import BatchDecoder
    from tinygrad_llm.common.lineage import Ancestor
    from torch_llm.gpt import GPT

__all__ = ["distill", "seeds"]


def distill(config: TorchDistillConfig) -> None:
    """蒸馏，写出学生的运行文件夹与报告。

    Raises:
        UserError: 由 ``torchrun`` 起了几个进程。
    """
    if launched().world > 1:
        raise UserError(
            "distillation runs in one process", where=f"{launched().world} processes", fix="start it without torchrun"
        )
    from tinygrad_llm.common.engine import LanguageModelling, Method
    from tinygrad_llm.common.tuning.distillation import prepare_distillation
    from torch_llm.objectives_distillation import DistillationMethod
    from torch_llm.pretrain import finish, run_session

    found = prepare_distillation(config, lambda teacher: _slots(config, teacher))
    method: Method = LanguageModelling()
    if config.level == "logits" and config.alpha:
        model = _teacher(config, found.teacher)
        method = DistillationMethod(model, config.alpha, config.temperature, config.reverse)
    run_session(found.session, config, method=method)
    finish(config)


def seeds(config: TorchDistillSeedsConfig) -> None:
    """几个种子：有老师与没有老师的学生相比。"""
    from tinygrad_llm.common.tuning.distillation_study import compare_students

    compare_students(config, TorchDistillConfig, distill)


def _teacher(config: TorchDistillConfig, teacher: Ancestor) -> GPT:
    from torch_llm.loop import build_model
    from torch_llm.runtime import pick_runtime

    return build_model(teacher.model, teacher.initial(config.dtype), pick_runtime(config).device)


def _slots(config: TorchDistillConfig, teacher: Ancestor) -> Callable[[int, int], BatchDecoder]:
    from torch_llm.decoding.slots import TorchSlots

    model = _teacher(config, teacher)
    return lambda count, context: TorchSlots(model, count, context)
