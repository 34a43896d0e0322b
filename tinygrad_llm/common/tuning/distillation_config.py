"""蒸馏的设置。

流入：命令行与 TOML；流出：冻结的 dataclass。下一个文件：``distillation.py``。
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from tinygrad_llm.common.errors import UserError
from tinygrad_llm.common.torch_config import TorchConfig
from tinygrad_llm.common.train_config import FIXED_ON_RESUME, TrainConfig, choice_problems
from tinygrad_llm.common.tuning.plain import beyond_one_step

__all__ = ["DistillConfig", "DistillSeedsConfig", "TorchDistillConfig", "TorchDistillSeedsConfig"]

Level = Literal["logits", "sequence"]
Levels = Literal["both", "logits", "sequence"]


@dataclass(frozen=True)
class DistillConfig(TrainConfig):
    """蒸馏的全部设置：训练的设置，加上老师。"""

    fixed_on_resume: ClassVar[tuple[str, ...]] = (
        *FIXED_ON_RESUME, "teacher", "level", "alpha", "temperature", "reverse", "sequences", "prompt_tokens",
        "sampling_temperature",
    )  # fmt: skip

    run: str = "distilled"
    """运行名；结果写在 ``RUNS_DIR/RUN/``。"""
    teacher: str = ""
    """老师：运行名，或运行、检查点文件夹的路径。"""
    corpus: str = ""
    """语料；缺省为老师训练时用的语料或分片。"""
    level: Level = "logits"
    """学老师每个位置的整个分布（``logits``），或学它接着语料的开头写下的文字（``sequence``）。"""
    alpha: float = 0.7
    """``logits``：听老师的占几成，其余的照旧预测下一个 token；0 就是没有老师的训练。"""
    temperature: float = 1.0
    """``logits``：两边的 logits 都除以它，看得清老师在次要的 token 之间的偏好。"""
    reverse: bool = False
    """``logits``：用反向的 KL，只求自己说的老师也认可。"""
    sequences: int = 256
    """``sequence``：老师写几段。"""
    prompt_tokens: int = 16
    """``sequence``：每段的开头有几个 token 取自语料。"""
    sampling_temperature: float = 1.0
    """``sequence``：老师写的时候的温度；0 表示总取最可能的。"""
    watch: str = ""
    """学生由 ``--from`` 起步时量遗忘的数据，写作 ``NAME=PATH,…``；缺省为它从前的训练数据，``none`` 不量。"""
    watch_tokens: int = 32768
    """每份量遗忘的数据至多看开头的几个 token。"""

    levels: ClassVar[Any] = Level

    def __post_init__(self) -> None:
        super().__post_init__()
        problems = choice_problems(self, level=self.levels)
        if self.watch and not self.from_run:
            problems.append("--watch measures what a student forgets: it needs --from")
        if not self.teacher:
            problems.append("--teacher is missing: name a trained run")
        if not 0 <= self.alpha <= 1:
            problems.append(f"--alpha must be from 0 to 1, got {self.alpha}")
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            problems.append(f"--temperature must be a finite number above 0, got {self.temperature}")
        if not (math.isfinite(self.sampling_temperature) and self.sampling_temperature >= 0):
            problems.append(f"--sampling-temperature must be a finite number, at least 0: {self.sampling_temperature}")
        for name, least in (("sequences", 1), ("prompt_tokens", 1), ("watch_tokens", 2)):
            if getattr(self, name) < least:
                problems.append(f"--{name.replace('_', '-')} must be at least {least}, got {getattr(self, name)}")
        problems += beyond_one_step(self)
        problems += self.misplaced() if not problems else []
        if problems:
            raise UserError("; ".join(problems), where="distillation settings", fix="correct the flags named above")

    def misplaced(self) -> list[str]:
        """属于另一种蒸馏的设置。"""
        owners = {
            "logits": ("alpha", "temperature", "reverse"),
            "sequence": ("sequences", "prompt_tokens", "sampling_temperature"),
        }
        defaults = {name: getattr(DistillConfig, name) for names in owners.values() for name in names}
        return [
            f"--{name.replace('_', '-')} belongs to --level {level}"
            for level, names in owners.items()
            for name in names
            if level != self.level and getattr(self, name) != defaults[name]
        ]


@dataclass(frozen=True)
class TorchDistillConfig(DistillConfig, TorchConfig):
    """torch 上一次蒸馏的全部设置。"""


@dataclass(frozen=True)
class DistillSeedsConfig(DistillConfig):
    """几个种子的蒸馏与没有老师的训练。"""

    levels: ClassVar[Any] = Levels

    run: str = "distill-seeds"
    """放结果的文件夹的名字。"""
    level: Levels = "both"  # type: ignore[assignment]
    """比哪几种老师的教法：都比（``both``），或只比一种。"""
    seeds: int = 3
    """几个种子：``--seed`` 起，依次加一；初值、数据的次序与老师写的文字都由它而来。"""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.seeds < 2:
            raise UserError(f"--seeds must be at least 2, got {self.seeds}", fix="use 3")

    def misplaced(self) -> list[str]:
        """两种都比时，两种的设置都用得上。"""
        return [] if self.level == "both" else super().misplaced()


@dataclass(frozen=True)
class TorchDistillSeedsConfig(DistillSeedsConfig, TorchDistillConfig):
    """torch 上几个种子的蒸馏与没有老师的训练。"""
