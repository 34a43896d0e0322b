"""策略梯度的目标：四种方法各是同一个式子的哪几项。

流入：方法的名字与用户改过的几项；流出：``Objective``。损失在两边的 ``objectives_policy.py``，优势在 ``rollouts.py``。

============  ======================  ==========  =====================  ==============
方法           优势                     比值截断     KL 放在哪里              几步更新一次采样
============  ======================  ==========  =====================  ==============
reinforce     奖励减其余回答的均值        没有         没有（照样记下）          1
ppo           GAE（价值头）             有           逐 token 的奖励           4
grpo          组内标准化                有           损失                    2
grpo-simple   奖励减组内均值             没有         没有（照样记下）          1
============  ======================  ==========  =====================  ==============
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from tinygrad_llm.common.advantages import Scale

__all__ = ["METHODS", "NOTES", "Average", "MethodName", "Objective", "Preset"]

MethodName = Literal["reinforce", "ppo", "grpo", "grpo-simple"]
Average = Literal["sequence", "token"]

NOTES = ("reward", "true_reward", "length", "stopped", "advantage_std")
"""每次采样记下的数：奖励、核对的结果、长度（token）、自己停下的比例、优势的标准差。"""


class Preset(NamedTuple):
    """一种方法的缺省。

    Attributes:
        updates: 一次采样更新几遍。
        kl_weight: KL 的系数 β。
        average: 先在每个回答里平均，还是全部 token 一起平均。
        scale: 组内的优势除不除以标准差；不分组的方法没有。
        is_clipped: 截不截断比值；不截断的一次采样只能更新一步。
        is_grouped: 优势在同一道题的几个回答之间比较。
        has_critic: 要不要价值头。
    """

    updates: int
    kl_weight: float
    average: Average
    scale: Scale | None
    is_clipped: bool
    is_grouped: bool
    has_critic: bool


METHODS: dict[MethodName, Preset] = {
    "reinforce": Preset(1, 0.0, "sequence", None, is_clipped=False, is_grouped=False, has_critic=False),
    "ppo": Preset(4, 0.02, "token", None, is_clipped=True, is_grouped=False, has_critic=True),
    "grpo": Preset(2, 0.02, "sequence", "std", is_clipped=True, is_grouped=True, has_critic=False),
    "grpo-simple": Preset(1, 0.0, "token", "none", is_clipped=False, is_grouped=True, has_critic=False),
}


@dataclass(frozen=True)
class Objective:
    """损失里的几个系数。

    Attributes:
        temperature: 采样的温度；学的就是这个温度下的分布。
        clip: 比值截断的 ε；``None`` 不用比值，即 REINFORCE 的式子。
        kl_weight: 损失里 KL 的系数；放在奖励里的不算在这里。
        entropy_weight: 熵的系数，从损失里减去。
        value_weight: 价值的误差的系数；``None`` 没有价值头。
        value_clip: 价值离采样时至多多远。
        vocab_size: 只有这么多个 token 选得到；模型为凑整多出的行不算。
    """

    temperature: float
    clip: float | None
    kl_weight: float
    entropy_weight: float
    value_weight: float | None
    value_clip: float
    vocab_size: int
