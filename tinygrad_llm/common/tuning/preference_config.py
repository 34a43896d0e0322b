"""由偏好微调与奖励模型的设置。

流入：命令行与 TOML；流出：冻结的 dataclass。下一个文件：``preference_data.py``。
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from tinygrad_llm.common.train_config import choice_problems
from tinygrad_llm.common.tuning.config import ScopedConfig, TorchTuneConfig
from tinygrad_llm.common.tuning.plain import beyond_one_step

__all__ = ["DpoConfig", "RewardConfig", "TorchDpoConfig", "TorchRewardConfig"]

Loss = Literal["dpo", "ipo", "kto", "orpo"]
REASONS = ("wrong", "rude", "off_format", "too_long")
BETAS = {"dpo": 0.1, "ipo": 0.5, "kto": 0.1, "orpo": 0.1}
"""没有给 ``--beta`` 时的取值。IPO 要每个 token 平均拉开 1/(2β)：0.1 要拉开 5 纳特，离出发点太远。"""
LORA_TIMES = 10
"""LoRA 的峰值学习率的缺省值是学全部参数时的几倍：B 由 0 起步，见 ``adapter.py``。"""


@dataclass(frozen=True)
class _PreferenceConfig(ScopedConfig):
    """偏好数据的设置。"""

    fixed_on_resume: ClassVar[tuple[str, ...]] = (*ScopedConfig.fixed_on_resume, "template", "reasons")
    rounds: ClassVar[float] = 1.0
    """看第二遍，差的回答就被压得过头。"""
    parallel_kinds: ClassVar[tuple[str, ...]] = ("auto",)

    data: str = ""
    """偏好：JSONL 文件（prompt、chosen、rejected，可以是消息的列表），或 ``storyworld:preferences:COUNT``。"""
    template: str = ""
    """对话的模板：ours、alpaca 或 chatml；缺省由分词器有哪些特殊 token 推断。"""
    reasons: tuple[str, ...] = ()
    """故事世界的偏好对只取这几种差法：wrong、rude、off_format、too_long；缺省四种都要。"""
    epochs: float = 0.0
    """数据走几轮；给了它，步数由它算出，代替 ``--steps``。两样都不给，就走一轮。"""
    lr: float = 1e-5
    """峰值学习率；LoRA 的缺省值是它的十倍。"""

    @classmethod
    def dialled(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """同 ``ScopedConfig.dialled``，只是 LoRA 的学习率照这种方法自己的来定。

        Args:
            given: 用户点名的设置。
        """
        found = super().dialled(given)
        return {**found, "lr": LORA_TIMES * cls.lr} if "lr" in found else found

    def more_problems(self) -> list[str]:
        """不对的设置，各一句。"""
        wrong = [reason for reason in self.reasons if reason not in REASONS]
        said = [f"--reasons must be among {', '.join(REASONS)}, got {', '.join(wrong)}"] if wrong else []
        return [*super().more_problems(), *said, *beyond_one_step(self, self.parallel_kinds)]


@dataclass(frozen=True)
class DpoConfig(_PreferenceConfig):
    """由偏好微调的全部设置。"""

    fixed_on_resume: ClassVar[tuple[str, ...]] = (
        *_PreferenceConfig.fixed_on_resume, "loss", "beta", "label_smoothing", "desirable_weight", "undesirable_weight",
    )  # fmt: skip

    parallel_kinds: ClassVar[tuple[str, ...]] = ("auto", "ddp")

    run: str = "dpo"
    """运行名；结果写在 ``RUNS_DIR/RUN/``。"""
    loss: Loss = "dpo"
    """损失：``dpo``、``ipo``（平方损失），``kto``（不要成对，只要好或不好），``orpo``（不要参考模型）。"""
    beta: float | None = None
    """β：DPO、IPO、KTO 里越大离出发点越近；ORPO 里是偏好一项的权重。缺省 IPO 0.5，另外三种 0.1。"""
    label_smoothing: float = 0.0
    """DPO 的标签有多大可能是反的。"""
    desirable_weight: float = 1.0
    """KTO 里好的回答的权重。"""
    undesirable_weight: float = 1.0
    """KTO 里不好的回答的权重。"""
    quiz: int = 100
    """每次评估让模型答几道题，算精确匹配；0 表示不答。"""
    quiz_data: str = ""
    """题从哪里来，写法同 sft 的 ``--data``；缺省：故事世界的偏好用它的指令题，别的数据不答题。"""
    kl_answers: int = 64
    """每次评估让模型自己写几个回答，量它离出发点的 KL；0 表示不量。"""
    answer_tokens: int = 96
    """一个回答至多写几个 token。"""
    shown: int = 4
    """样本里写出几题的问与答。"""

    def more_problems(self) -> list[str]:
        """不对的设置，各一句。"""
        problems = [*super().more_problems(), *choice_problems(self, loss=Loss)]
        if self.beta is not None and not (math.isfinite(self.beta) and self.beta > 0):
            problems.append(f"--beta must be a finite number above 0, got {self.beta}")
        if not 0 <= self.label_smoothing < 0.5:
            problems.append(f"--label-smoothing must be at least 0 and below 0.5, got {self.label_smoothing}")
        if self.label_smoothing and self.loss != "dpo":
            problems.append(f"--label-smoothing belongs to --loss dpo, not to {self.loss}")
        for name in ("desirable_weight", "undesirable_weight"):
            value, flag = getattr(self, name), f"--{name.replace('_', '-')}"
            if not (math.isfinite(value) and value >= 0):
                problems.append(f"{flag} must be a finite number, at least 0, got {value}")
            elif value != 1.0 and self.loss != "kto":
                problems.append(f"{flag} belongs to --loss kto, not to {self.loss}")
        for name, least in (("quiz", 0), ("kl_answers", 0), ("answer_tokens", 1), ("shown", 0)):
            if getattr(self, name) < least:
                problems.append(f"--{name.replace('_', '-')} must be at least {least}, got {getattr(self, name)}")
        if self.loss == "kto" and (self.accumulate != 1 or self.batch_size < 2):
            problems.append(
                "--loss kto takes its baseline from the whole batch: --accumulate 1, --batch-size 2 or more"
            )
        return problems

    @property
    def beta_or_default(self) -> float:
        """β；没有给就由损失而定。"""
        return BETAS[self.loss] if self.beta is None else self.beta

    @property
    def quiz_source(self) -> str:
        """题的出处；没有为空。"""
        return self.quiz_data or ("storyworld:instructions" if self.data.startswith("storyworld:") else "")

    @property
    def needs_reference(self) -> bool:
        """损失里有没有参考模型。"""
        return self.loss != "orpo"


@dataclass(frozen=True)
class TorchDpoConfig(DpoConfig, TorchTuneConfig):
    """torch 上由偏好微调的全部设置。"""


@dataclass(frozen=True)
class RewardConfig(_PreferenceConfig):
    """奖励模型的全部设置。"""

    fixed_on_resume: ClassVar[tuple[str, ...]] = (*_PreferenceConfig.fixed_on_resume, "margin")

    run: str = "reward"
    """运行名；结果写在 ``RUNS_DIR/RUN/``。"""
    margin: float = 0.0
    """更好的回答至少该高出多少。"""
    lr: float = 2e-4
    """峰值学习率；没有出发点要守着，可以比偏好的大得多。"""

    def more_problems(self) -> list[str]:
        """不对的设置，各一句。"""
        problems = super().more_problems()
        if not (math.isfinite(self.margin) and self.margin >= 0):
            problems.append(f"--margin must be a finite number, at least 0, got {self.margin}")
        return problems


@dataclass(frozen=True)
class TorchRewardConfig(RewardConfig, TorchTuneConfig):
    """torch 上奖励模型的全部设置。"""
