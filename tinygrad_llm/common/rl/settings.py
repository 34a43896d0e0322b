"""强化学习的设置：在训练的设置之外，加上题目、奖励、采样与目标里的几个系数。

流入：命令行与 TOML；流出：冻结的 dataclass。下一个文件：``problems.py``。
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal

from tinygrad_llm.common.advantages import Scale
from tinygrad_llm.common.errors import UserError
from tinygrad_llm.common.rl.objective import METHODS, Average, MethodName, Objective
from tinygrad_llm.common.rl.rewards import RewardName
from tinygrad_llm.common.torch_config import TorchConfig
from tinygrad_llm.common.train_config import FIXED_ON_RESUME, TrainConfig, choice_problems

__all__ = ["RLConfig", "TorchRLConfig"]

_FIXED = (
    "method", "task", "lang", "level", "reward", "template", "group", "minibatches", "updates", "answer_tokens",
    "temperature", "average", "scale", "clip", "kl_weight", "entropy_weight", "gamma", "lam", "whiten", "value_weight",
)  # fmt: skip
_MEANINGLESS = (
    "corpus", "data", "packing", "document_mask", "depth", "sample_tokens", "sample_prompts", "dry_run",
    "profile",
)  # fmt: skip
_TORCH_MEANINGLESS = ("tier", "compile", "auto_batch", "parallel", "tp", "sharded_checkpoints", "qat")
_CRITIC = ("gamma", "lam", "whiten", "value_weight", "value_clip")


@dataclass(frozen=True)
class RLConfig(TrainConfig):
    """一次强化学习的全部设置。"""

    fixed_on_resume: ClassVar[tuple[str, ...]] = (*FIXED_ON_RESUME, *_FIXED)

    run: str = "rl"
    """运行名；结果写在 ``RUNS_DIR/RUN/``。"""
    method: MethodName = "grpo"
    """方法：``reinforce``（减基线）、``ppo``（价值头、GAE）、``grpo``（组内比较）、``grpo-simple``（在策略的简化）。"""
    task: str = "arithmetic"
    """题目：``arithmetic``、``copy``、``format``、``questions``、``storyworld:TYPE+TYPE``、JSONL，或 ``gym:NAME``。"""
    lang: Literal["en", "zh", "both"] = "en"
    """题目的语言。"""
    level: int = 0
    """题目的难度，1 到 3；0 表示混合。"""
    reward: RewardName = "verified"
    """奖励：``verified`` 核对过的，``contains`` 出现过答案就算（有空子可钻），``short`` 核对过的，越短越好。"""
    template: str = "ours"
    """对话的格式：``ours``、``alpaca``、``chatml``。"""
    group: int = 8
    """每道题写几个回答。"""
    batch_size: int = 64
    """每步更新用几个回答；一次采样写 ``--batch-size`` × ``--minibatches`` 个。"""
    minibatches: int = 1
    """一次采样切成几个批次，依次更新。"""
    updates: int | None = None
    """一次采样用几遍；缺省 PPO 4，GRPO 2，另外两种总是 1。"""
    answer_tokens: int = 32
    """一个回答至多几个 token。"""
    temperature: float = 1.0
    """采样的温度；学的就是这个温度下的分布。"""
    average: Average | None = None
    """损失怎样平均：``sequence`` 先在每个回答里平均，``token`` 全部 token 一起；缺省由方法而定。"""
    scale: Scale | None = None
    """组内的优势除以标准差（``std``）或不除（``none``）；缺省 GRPO 除，它的简化不除。"""
    clip: float = 0.2
    """PPO 与 GRPO 的比值截断 ε。"""
    kl_weight: float | None = None
    """离开出发点的代价 β：PPO 从逐 token 的奖励里扣，其余加在损失里；缺省 PPO 与 GRPO 0.02，另外两种 0。"""
    entropy_weight: float = 0.0
    """熵的系数：鼓励多样。"""
    gamma: float = 1.0
    """PPO 的折扣 γ。"""
    lam: float = 0.95
    """GAE 的 λ。"""
    whiten: bool = True
    """PPO 的优势先化成均值 0、标准差 1。"""
    value_weight: float = 0.5
    """PPO 里价值的误差的系数。"""
    value_clip: float = 0.2
    """PPO 里价值离采样时至多多远。"""
    eval_problems: int = 64
    """评估用几道留出的题。"""
    eval_samples: int = 8
    """评估时每题写几个回答，由此估计 pass@1 到 pass@N。"""
    watch: str = ""
    """量遗忘的数据，写作 ``NAME=PATH,…``；缺省为出发点来历里的预训练与中段训练数据，``none`` 不量。"""
    watch_tokens: int = 32768
    """每份量遗忘的数据至多看开头的几个 token。"""
    steps: int = 100
    """总步数；须是「一次采样更新几步」的倍数。"""
    lr: float = 1e-4
    """峰值学习率。"""
    schedule: Literal["cosine", "linear", "wsd"] = "linear"
    """预热之后的学习率：``cosine``、``linear``，或先平后降的 ``wsd``。"""
    warmup_steps: int = 4
    """线性预热的步数。"""
    weight_decay: float = 0.0
    """矩阵参数的权重衰减。"""
    dropout: float | None = 0.0
    """强化学习不用 dropout：它会让比值乱跳。"""
    skip_spikes: bool = False
    """策略梯度的损失不说明好坏，不看它跳不跳。"""
    eval_every: int = 20
    """每隔几步在留出的题上评估；0 表示只在首尾评估。"""
    sample_every: int = 20
    """每隔几步记下几道题的回答；0 表示只在末尾。"""
    save_every: int = 20
    """每隔几步存一个检查点；0 表示只在末尾存。"""

    @property
    def passes(self) -> int:
        """一次采样用几遍。"""
        return METHODS[self.method].updates if self.updates is None else self.updates

    @property
    def pace(self) -> int:
        """一次采样更新几步。"""
        return self.passes * self.minibatches

    @property
    def prompts_per_rollout(self) -> int:
        """一次采样几道题。"""
        return self.batch_size * self.minibatches // self.group

    @property
    def scale_or_default(self) -> Scale:
        """组内的优势除不除以标准差。"""
        return self.scale or METHODS[self.method].scale or "none"

    @property
    def average_or_default(self) -> Average:
        """损失怎样平均。"""
        return self.average or METHODS[self.method].average

    @property
    def kl(self) -> float:
        """KL 的系数。"""
        return METHODS[self.method].kl_weight if self.kl_weight is None else self.kl_weight

    @property
    def kl_in_reward(self) -> float:
        """逐 token 的奖励里扣多少；有价值头的方法才在那里扣。"""
        return self.kl if METHODS[self.method].has_critic else 0.0

    def objective(self, vocab_size: int) -> Objective:
        """损失里的几个系数。

        Args:
            vocab_size: 分词器的词表大小。
        """
        preset = METHODS[self.method]
        return Objective(
            temperature=self.temperature,
            clip=self.clip if preset.is_clipped else None,
            kl_weight=0.0 if preset.has_critic else self.kl,
            entropy_weight=self.entropy_weight,
            value_weight=self.value_weight if preset.has_critic else None,
            value_clip=self.value_clip,
            vocab_size=vocab_size,
        )

    def __post_init__(self) -> None:
        super().__post_init__()
        problems = choice_problems(self, method=MethodName, reward=RewardName, lang=Literal["en", "zh", "both"])
        problems += choice_problems(self, **{name: kind for name, kind in (("average", Average), ("scale", Scale))
                                             if getattr(self, name) is not None})  # fmt: skip
        if not problems:
            problems = self._ranges() or [*self._counts(), *self._misplaced()]
        if problems:
            raise UserError("; ".join(problems), where="reinforcement settings", fix="correct the flags named above")

    def _ranges(self) -> list[str]:
        """不在范围内的。"""
        above_0, below_1 = math.nextafter(0, 1), math.nextafter(1, 0)
        ranges: dict[str, tuple[float, float, str]] = {
            "level": (0, 3, "from 0 to 3"),
            "group": (1, math.inf, "at least 1"),
            "minibatches": (1, math.inf, "at least 1"),
            "passes": (1, math.inf, "at least 1"),
            "answer_tokens": (1, math.inf, "at least 1"),
            "temperature": (above_0, math.inf, "above 0"),
            "clip": (above_0, below_1, "above 0 and below 1"),
            "kl": (0, math.inf, "at least 0"),
            "entropy_weight": (0, math.inf, "at least 0"),
            "gamma": (0, 1, "from 0 to 1"),
            "lam": (0, 1, "from 0 to 1"),
            "value_weight": (above_0, math.inf, "above 0"),
            "value_clip": (above_0, math.inf, "above 0"),
            "eval_problems": (1, math.inf, "at least 1"),
            "eval_samples": (1, math.inf, "at least 1"),
            "watch_tokens": (2, math.inf, "at least 2"),
        }
        flags = {"passes": "updates", "kl": "kl-weight"}
        return [
            f"--{flags.get(name, name.replace('_', '-'))} must be a finite number {wanted}, got {getattr(self, name)}"
            for name, (low, high, wanted) in ranges.items()
            if not (math.isfinite(getattr(self, name)) and low <= getattr(self, name) <= high)
        ]

    def _counts(self) -> list[str]:
        """各个数目合不合得上。"""
        problems, preset = [], METHODS[self.method]
        if preset.is_grouped and self.group < 2:
            problems.append(f"--method {self.method} compares answers: --group must be at least 2, got {self.group}")
        if self.batch_size * self.minibatches < 2:
            problems.append("a rollout needs two or more answers: raise --batch-size")
        if self.group >= 1 and self.batch_size * self.minibatches % self.group:
            problems.append(f"--group {self.group} does not divide a rollout of {self.batch_size * self.minibatches}")
        if not preset.is_clipped and self.pace != 1:
            problems.append(f"--method {self.method} is on-policy: one update for each rollout, got {self.pace}")
        return problems + [
            f"--{name.replace('_', '-')} must be a multiple of the {self.pace} updates of a rollout, "
            f"got {getattr(self, name)}"
            for name in ("steps", "stop_at", "eval_every", "sample_every", "save_every")
            if (getattr(self, name) or 0) % self.pace
        ]

    def _misplaced(self) -> list[str]:
        """在这里、或对这种方法没有意义的。"""
        defaults: dict[str, Any] = {field.name: field.default for field in fields(self)}
        given = {name for name, value in defaults.items() if getattr(self, name) != value}
        problems = [
            f"--{name.replace('_', '-')} means nothing in reinforcement learning"
            for name in (*_MEANINGLESS, *_TORCH_MEANINGLESS)
            if name in given
        ]
        preset, unused = METHODS[self.method], list[str]()
        unused += [] if preset.has_critic else _CRITIC
        unused += [] if preset.is_clipped else ["clip"]
        unused += [] if preset.is_grouped else ["scale"]
        problems += [f"--{name.replace('_', '-')} means nothing with --method {self.method}"
                     for name in unused if name in given]  # fmt: skip
        if not self.from_run:
            problems.append("--from is missing: reinforcement learning starts from a trained run")
        if self.dropout:
            problems.append("--dropout must be 0: it would make the ratios random")
        if self.skip_spikes:
            problems.append("--skip-spikes watches the loss, and a policy gradient's loss says nothing")
        return problems


@dataclass(frozen=True)
class TorchRLConfig(RLConfig, TorchConfig):
    """torch 上一次强化学习的全部设置。"""
