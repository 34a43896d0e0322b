"""微调的设置：在训练的设置之外，加上任务数据与怎样对付坏数据。

流入：命令行与 TOML；流出：冻结的 dataclass，各种方法在它之上再添几项。下一个文件：``session.py``。
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal

from tinygrad_llm.common.adapter import LoRAConfig
from tinygrad_llm.common.chat.render import TrainOn
from tinygrad_llm.common.errors import UserError
from tinygrad_llm.common.torch_config import TorchConfig
from tinygrad_llm.common.train_config import FIXED_ON_RESUME, TrainConfig, choice_problems
from tinygrad_llm.common.tuning.labelled_rows import Padding, Pool
from tinygrad_llm.common.tuning.scope import Scope

__all__ = [
    "LORA_RATE",
    "ClassifyConfig",
    "OnError",
    "Overflow",
    "ScopedConfig",
    "SftConfig",
    "TorchClassifyConfig",
    "TorchSftConfig",
    "TorchTuneConfig",
    "TuneConfig",
]

OnError = Literal["stop", "skip"]
Overflow = Literal["error", "skip", "crop"]

LORA_RATE = 4e-3
"""LoRA 的峰值学习率的缺省值：B 由 0 起步，要比学全部参数时大几倍；再大一倍，两百万参数的底座上就练坏了。"""
_MEANINGLESS = ("corpus", "packing", "document_mask", "depth")
"""训练的设置里与微调无关的；指令微调另有自己的 ``packing``。"""


@dataclass(frozen=True)
class TuneConfig(TrainConfig):
    """各种微调共有的设置。"""

    fixed_on_resume: ClassVar[tuple[str, ...]] = (*FIXED_ON_RESUME, "max_tokens", "overflow", "on_error")
    needs_data: ClassVar[bool] = True
    """这种方法要不要 ``--data``；自己写数据的（强化学习）不要。"""

    run: str = "tuned"
    """运行名；结果写在 ``RUNS_DIR/RUN/``。"""
    data: str = ""
    """任务数据：JSONL 文件（逗号隔开可以有几个），或 ``storyworld:KIND:COUNT``，见各动词的说明。"""
    val_data: str = ""
    """留作评估的数据；缺省为 ``--data`` 末尾 ``--val-fraction`` 的一段，storyworld 则取它的 val 划分。"""
    epochs: float = 0.0
    """数据走几轮；给了它，步数由它算出，代替 ``--steps``。"""
    max_tokens: int | None = None
    """一条样本至多几个 token；缺省为模型的上下文。"""
    overflow: Overflow = "error"
    """超长的样本：报错，略过，或裁短。"""
    on_error: OnError = "stop"
    """坏数据：遇到就停，或按原因计数后略过。"""
    watch: str = ""
    """量遗忘的数据，写作 ``NAME=PATH,…``；缺省为出发点自己的预训练与中段训练数据，``none`` 不量。"""
    watch_tokens: int = 32768
    """每份量遗忘的数据至多看开头的几个 token。"""
    lr: float = 5e-4
    """峰值学习率。"""
    weight_decay: float = 0.01
    """矩阵参数的权重衰减。"""

    def __post_init__(self) -> None:
        super().__post_init__()
        problems = choice_problems(self, overflow=Overflow, on_error=OnError)
        if not self.from_run:
            problems.append("--from is missing: tuning starts from a trained run")
        if self.needs_data and not self.data:
            problems.append("--data is missing: what should it learn?")
        if not (math.isfinite(self.epochs) and self.epochs >= 0):
            problems.append(f"--epochs must be a finite number, at least 0, got {self.epochs}")
        for name, least in (("max_tokens", 2), ("watch_tokens", 2)):
            value = getattr(self, name)
            if value is not None and value < least:
                problems.append(f"--{name.replace('_', '-')} must be at least {least}, got {value}")
        problems += [*_meaningless(self), *self.more_problems()]
        if problems:
            raise UserError("; ".join(problems), where="tuning settings", fix="correct the flags named above")

    def more_problems(self) -> list[str]:
        """某一种方法自己的设置里不对的，各一句。"""
        return []


@dataclass(frozen=True)
class TorchTuneConfig(TuneConfig, TorchConfig):
    """torch 上各种微调共有的设置。"""


@dataclass(frozen=True)
class ScopedConfig(TuneConfig):
    """可以只学一部分参数的微调。"""

    fixed_on_resume: ClassVar[tuple[str, ...]] = (
        *TuneConfig.fixed_on_resume, "lora_rank", "lora_alpha", "lora_dropout", "lora_targets", "last_layers",
    )  # fmt: skip
    rounds: ClassVar[float] = 0.0
    """命令行上步数与轮数都没有给时走几轮；0 表示照 ``steps`` 的缺省值。"""

    lora_rank: int = 0
    """LoRA 的秩：冻结原来的权重，只学低秩的支路，检查点里也只存支路；0 表示不用。"""
    lora_alpha: float | None = None
    """LoRA 的缩放 α，支路实际乘 α/r；缺省为秩的两倍。"""
    lora_dropout: float = 0.0
    """LoRA 支路输入的 dropout 概率。"""
    lora_targets: tuple[str, ...] = ("c_attn", "c_proj", "c_fc")
    """LoRA 添在哪些层上：c_attn、c_proj、c_fc、c_gate（SwiGLU 的门）。"""
    last_layers: int | None = None
    """只学末几层与最后的归一化，其余冻结；0 表示只学归一化（与分类头）。"""

    @classmethod
    def dialled(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """LoRA 的学习率另有缺省值；步数与轮数都没有给，就走几轮；用户点名的不在其中。

        Args:
            given: 用户点名的设置。
        """
        own = {"lr": LORA_RATE} if given.get("lora_rank") and "lr" not in given else {}
        if cls.rounds and not {"steps", "epochs"} & given.keys():
            own["epochs"] = cls.rounds
        return {**own, **super().dialled(given)}

    def more_problems(self) -> list[str]:
        """不对的设置，各一句。"""
        if not self.lora_rank:
            return []
        if self.last_layers is not None:
            return ["--lora-rank and --last-layers exclude each other"]
        try:
            LoRAConfig(self.lora_rank, self.lora_alpha or 2.0 * self.lora_rank, self.lora_dropout, self.lora_targets)
        except UserError as error:
            return [f"--lora: {error.problem}"]
        return []

    @property
    def scope(self) -> Scope:
        """学哪些参数。"""
        alpha = self.lora_alpha or 2.0 * self.lora_rank
        lora = LoRAConfig(self.lora_rank, alpha, self.lora_dropout, self.lora_targets) if self.lora_rank else None
        return Scope(lora, self.last_layers)


@dataclass(frozen=True)
class ClassifyConfig(ScopedConfig):
    """分类的全部设置。"""

    fixed_on_resume: ClassVar[tuple[str, ...]] = (
        *ScopedConfig.fixed_on_resume, "labels", "pool", "padding", "pad_to", "pad_mask", "causal", "class_weights",
    )  # fmt: skip

    run: str = "classifier"
    """运行名；结果写在 ``RUNS_DIR/RUN/``。"""
    data: str = ""
    """带标签的文字：JSONL 文件（``text`` 与 ``label``；逗号隔开可以有几个），或 ``storyworld:TASK:COUNT``，TASK 是
    topic、sentiment、spam。"""
    val_data: str = ""
    """留作评估的数据；缺省为每一类里由文字的摘要挑出的 ``--val-fraction``，storyworld 则取它的 val 划分。"""
    labels: tuple[str, ...] = ()
    """全部类别，次序固定，``label`` 可以写序号；缺省为训练数据里出现过的。"""
    pool: Pool = "last"
    """特征取哪里：最后一个真正的 token、第一个，或各个真正的 token 的平均。"""
    padding: Padding = "right"
    """填充在哪一边。"""
    pad_to: int = 0
    """一律填充到几个 token，更长的文字算超长；0 表示填充到同一批里最长的那么长。"""
    pad_mask: bool = True
    """填充不算文字：注意力看不见它，特征也不取自它。"""
    causal: bool = True
    """每个位置只看得见自己与之前的，如同预训练时；关掉它，前后都看得见。"""
    class_weights: bool = False
    """各类按个数的倒数加权：少的类别不被淹没。"""

    def more_problems(self) -> list[str]:
        """不对的设置，各一句。"""
        problems = [*super().more_problems(), *choice_problems(self, pool=Pool, padding=Padding)]
        if self.pad_to < 0:
            problems.append(f"--pad-to must be at least 0, got {self.pad_to}")
        if len(set(self.labels)) != len(self.labels) or len(self.labels) == 1:
            problems.append("--labels must be two or more different names")
        return problems


@dataclass(frozen=True)
class TorchClassifyConfig(ClassifyConfig, TorchTuneConfig):
    """torch 上一次分类的全部设置。"""


@dataclass(frozen=True)
class SftConfig(ScopedConfig):
    """指令微调的全部设置。"""

    fixed_on_resume: ClassVar[tuple[str, ...]] = (*ScopedConfig.fixed_on_resume, "template", "train_on")
    rounds: ClassVar[float] = 3.0

    run: str = "sft"
    """运行名；结果写在 ``RUNS_DIR/RUN/``。"""
    data: str = ""
    """对话：JSONL 文件（自己的格式、ShareGPT、Alpaca；逗号隔开可以有几个），或 ``storyworld:KIND:COUNT``，KIND 是
    instructions（``instructions@1`` 到 ``@3`` 只取一级难度）、questions、choices、policy、dialogues。"""
    epochs: float = 0.0
    """数据走几轮；给了它，步数由它算出，代替 ``--steps``。两样都不给，就走三轮。"""
    eval_every: int = 500
    """每隔几步在验证集上评估；0 表示只在首尾评估。"""
    sample_every: int = 500
    """每隔几步写一次样本；0 表示只在首尾写。"""
    template: str = ""
    """对话的模板：ours、alpaca 或 chatml；缺省由分词器有哪些特殊 token 推断。"""
    packing: Literal["windows", "bos", "split"] = "windows"
    """对话怎样成行：``windows`` 一条一行，填充到这一批里最长的那么长；``bos`` 几条装进 ``--max-tokens`` 长的一行，
    谁也看不见别人，位置各自数起，损失与一条一行相同，短对话多时省下填充。批大小数的是行。"""
    train_on: TrainOn = "assistant"
    """学哪些 token：每句回答（``assistant``）、最后一句回答（``last``），或连提示一起全部（``all``）。"""
    lr: float = 1e-3
    """峰值学习率；照几百万个参数的模型定的，大模型要小一些。LoRA 另有缺省值。"""
    quiz: int = 400
    """每次评估让模型答几道留作评估的题，算精确匹配，末了按题型列表；0 表示不答。"""
    answer_tokens: int = 96
    """一题至多写几个 token。"""
    shown: int = 4
    """样本里写出几题的问与答。"""

    def more_problems(self) -> list[str]:
        """不对的设置，各一句。"""
        problems = [*super().more_problems(), *choice_problems(self, train_on=TrainOn)]
        if self.packing == "split":
            problems.append("--packing split would cut conversations: use bos, which packs whole ones, or windows")
        for name, least in (("quiz", 0), ("answer_tokens", 1), ("shown", 0)):
            if getattr(self, name) < least:
                problems.append(f"--{name.replace('_', '-')} must be at least {least}, got {getattr(self, name)}")
        return problems


@dataclass(frozen=True)
class TorchSftConfig(SftConfig, TorchTuneConfig):
    """torch 上一次指令微调的全部设置。"""


def _meaningless(settings: TrainConfig) -> list[str]:
    defaults: dict[str, Any] = {field.name: field.default for field in fields(TrainConfig)}
    own = ("packing",) if isinstance(settings, SftConfig) else ()
    given = [name for name in _MEANINGLESS if name not in own and getattr(settings, name) != defaults[name]]
    return [f"--{name.replace('_', '-')} means nothing when tuning" for name in given]
