"""全程的设置：用哪个引擎、写到哪里，以及每一站多大。

流入：命令行；流出：``JourneyConfig`` 与它选定的 ``Scale``。下一个文件：``runner.py``。
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tinygrad_llm.common.errors import UserError
from tinygrad_llm.common.train_config import choice_problems

__all__ = ["SCALES", "JourneyConfig", "NumpyJourneyConfig", "Scale"]

EngineName = Literal["torch", "numpy"]


@dataclass(frozen=True)
class Scale:
    """一个引擎走的各站有多大。

    Attributes:
        package: 由哪个包的命令行来走。
        pretrain: 它的预训练动词。
        corpus_mb: 语料约多少兆字符。
        shape: 模型的 flag。
        steps: 各站训练几步。
        rates: 各站的峰值学习率。
        batches: 各站的批大小。
        muon: 由 Muon 更新矩阵的几站，其余用 AdamW：练得太准的模型，由奖励学时就没有可涨的了。
        lora_rank: LoRA 的秩；学的参数不到二十分之一。
        items: 各站的数据有几条。
        quiz: 评估时答几道题。
        attack: 红队的大小：``redteam demo`` 的几项设置。
    """

    package: str
    pretrain: str
    corpus_mb: float
    shape: tuple[str, ...]
    steps: dict[str, int]
    rates: dict[str, float]
    batches: dict[str, int]
    muon: tuple[str, ...]
    lora_rank: int
    items: dict[str, int]
    quiz: int
    attack: dict[str, int]


SCALES: dict[EngineName, Scale] = {
    "torch": Scale(
        package="torch_llm",
        pretrain="pretrain",
        corpus_mb=5,
        shape=("--preset", "toy", "--context", "256", "--n-embd", "192", "--n-head", "6"),
        steps={"pretrain": 180, "midtrain": 60, "sft": 300, "lora": 200, "dpo": 20, "grpo": 28},
        rates={"pretrain": 1e-2, "midtrain": 5e-3, "sft": 1e-3, "lora": 4e-3, "dpo": 3e-5, "grpo": 1.5e-4},
        batches={"pretrain": 16, "midtrain": 16, "sft": 32, "lora": 32, "dpo": 16, "grpo": 128},
        muon=("pretrain", "midtrain"),
        lora_rank=8,
        items={"dialogues": 2000, "instructions": 6000, "preferences": 800},
        quiz=200,
        attack={"count": 40, "prompts": 10, "budget": 150},
    ),
    "numpy": Scale(
        package="tinygrad_llm",
        pretrain="train",
        corpus_mb=1.5,
        shape=("--preset", "toy", "--context", "128", "--n-embd", "96", "--n-head", "4"),
        steps={"pretrain": 700, "midtrain": 80, "sft": 450, "lora": 300, "dpo": 40, "grpo": 40},
        rates={"pretrain": 1e-2, "midtrain": 1.5e-3, "sft": 5e-3, "lora": 1e-2, "dpo": 1e-5, "grpo": 1e-4},
        batches={"pretrain": 8, "midtrain": 8, "sft": 16, "lora": 16, "dpo": 16, "grpo": 128},
        muon=("pretrain", "midtrain", "sft"),
        lora_rank=4,
        items={"dialogues": 800, "instructions": 3000, "preferences": 600},
        quiz=80,
        attack={"count": 40, "prompts": 10, "budget": 200},
    ),
}
"""每个引擎的大小；两个核上十分钟之内走完。"""


@dataclass(frozen=True)
class JourneyConfig:
    """从一堆文字走到一个量过、攻过、上了线的小模型；全程不联网，做完的站不重做。"""

    engine: EngineName = "torch"
    """由哪个引擎来走；numpy 走同样的各站，模型更小。"""
    run: str = "journey"
    """放结果的文件夹的名字。"""
    runs_dir: str = "runs"
    """放各次运行的文件夹。"""
    until: str = ""
    """走到这一站为止；缺省走完。"""
    workers: int | None = None
    """用几个 CPU 核；缺省为可用的核数。"""
    seed: int = 0
    """各站的种子。"""

    def __post_init__(self) -> None:
        problems = choice_problems(self, engine=EngineName)
        if not self.run or Path(self.run).name != self.run or self.run in (".", ".."):
            problems.append(f"--run must be a plain folder name, got {self.run!r}")
        if self.workers is not None and self.workers < 1:
            problems.append(f"--workers must be at least 1, got {self.workers}")
        if self.seed < 0:
            problems.append(f"--seed must be at least 0, got {self.seed}")
        if problems:
            raise UserError("; ".join(problems), where="journey settings", fix="correct the flags named above")

    @property
    def folder(self) -> Path:
        """放结果的文件夹。"""
        return Path(self.runs_dir) / self.run

    @property
    def scale(self) -> Scale:
        """各站的大小。"""
        return SCALES[self.engine]


@dataclass(frozen=True)
class NumpyJourneyConfig(JourneyConfig):
    """从一堆文字走到一个量过、攻过、上了线的小模型；全程不联网，做完的站不重做。"""

    engine: EngineName = "numpy"
    """由哪个引擎来走；torch 走同样的各站，模型大些。"""
