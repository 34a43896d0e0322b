"""一次生成要什么：开头、长短、怎样挑 token、何时停。

流入：命令行、对话或服务器；流出：一次查完的冻结 dataclass。下一个文件：``generation.py``。
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from tinygrad_llm.common.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["MAX_LOGPROBS", "MAX_SEED", "Constraint", "Request", "Sampling", "penalises", "sampling_problems"]

MAX_SEED = 2**64 - 1
"""Philox 的密钥放得下的最大种子。"""
MAX_LOGPROBS = 20
"""每一步至多报几个候选。"""


class Constraint(Protocol):
    """语法约束：哪些 token 还接得下去。状态由它给出，别人只保管，不拆看。"""

    def start(self) -> Hashable:
        """一个字也没写时的状态。"""

    def mask(self, state: Hashable) -> NDArray[np.bool_]:
        """``(V,)``：``True`` 的 token 可以接在这个状态之后；结束 token 不在内，见 ``is_final``。"""

    def advance(self, state: Hashable, token: int) -> Hashable:
        """写下 ``token`` 之后的状态；``token`` 须是 ``mask`` 允许的。"""

    def is_final(self, state: Hashable) -> bool:
        """可以就此结束吗。"""


@dataclass(frozen=True)
class Sampling:
    """怎样从 logits 里选下一个 token；各步的次序见 ``generation.py``。

    Attributes:
        temperature: 温度；0 表示取最大。
        top_k: 只留概率最大的 k 个；``None`` 不截断。
        top_p: 只留累计概率达到 p 的最小集合；``None`` 不截断。
        min_p: 只留概率不小于「最大的概率 × p」的；``None`` 不截断。
        repetition_penalty: 出现过的 token（含开头）的分数：正的除以它，负的乘以它；1 不罚。
        presence_penalty: 写出过的 token 的分数一律减去它；0 不罚。
        frequency_penalty: 每写出过一次，分数减去它；0 不罚。
        seed: 种子；随机数是（种子，位置）的纯函数。
        logit_bias: token 到加在分数上的数；``-inf`` 表示禁用。
    """

    temperature: float = 0.8
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    seed: int = 0
    logit_bias: Mapping[int, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if problems := sampling_problems(self):
            raise UserError("; ".join(problems), where="sampling settings", fix="correct the settings named above")

    @property
    def is_penalised(self) -> bool:
        """罚不罚重复。"""
        return penalises(self)


@dataclass(frozen=True)
class Request:
    """一次生成的全部要求。

    Attributes:
        prompt: 开头的 id，至少一个。
        max_tokens: 至多写几个 token。
        sampling: 怎样挑。
        stop: 停止串：写出其中一个就停，它本身不显示。
        stop_ids: 停止 token：写出其中一个就停。
        logprobs: 每一步报几个概率最大的候选；0 只报选中的那个，``None`` 不算。
        constraint: 语法约束；``None`` 不约束。
    """

    prompt: tuple[int, ...]
    max_tokens: int = 200
    sampling: Sampling = field(default_factory=Sampling)
    stop: tuple[str, ...] = ()
    stop_ids: frozenset[int] = frozenset()
    logprobs: int | None = None
    constraint: Constraint | None = None

    def __post_init__(self) -> None:
        problems = []
        if not self.prompt:
            problems.append("the prompt is empty: a model continues from at least one token")
        if any(id < 0 for id in (*self.prompt, *self.stop_ids)):
            problems.append("token ids must not be negative")
        if self.max_tokens < 1:
            problems.append(f"max_tokens must be at least 1, got {self.max_tokens}")
        if not all(self.stop):
            problems.append("a stop string must not be empty")
        if self.logprobs is not None and not 0 <= self.logprobs <= MAX_LOGPROBS:
            problems.append(f"logprobs must be from 0 to {MAX_LOGPROBS}, got {self.logprobs}")
        if problems:
            raise UserError("; ".join(problems), where="generation request", fix="correct the settings named above")


def penalises(settings: Any) -> bool:
    """罚不罚重复。

    Args:
        settings: 有三种惩罚的对象：``Sampling``，或命令行的设置。
    """
    return (settings.repetition_penalty, settings.presence_penalty, settings.frequency_penalty) != (1, 0, 0)


def sampling_problems(settings: Any, prefix: str = "") -> list[str]:
    """抽样的设置里不在范围内的，各一句；写成「不在范围内」的否定式，NaN 也会被挡住。

    Args:
        settings: 有 ``Sampling`` 各字段的对象；没有的字段不查。
        prefix: 名字之前写什么；``"--"`` 表示按 flag 的写法称呼。
    """
    ranges: dict[str, tuple[float, float, str]] = {
        "temperature": (0, math.inf, "a finite number, 0 (greedy) or above"),
        "top_k": (1, math.inf, "at least 1"),
        "top_p": (math.nextafter(0, 1), 1, "above 0 and at most 1"),
        "min_p": (0, 1, "from 0 to 1"),
        "repetition_penalty": (math.nextafter(0, 1), math.inf, "a finite number above 0"),
        "presence_penalty": (-math.inf, math.inf, "a finite number"),
        "frequency_penalty": (-math.inf, math.inf, "a finite number"),
        "seed": (0, MAX_SEED, f"from 0 to {MAX_SEED}"),
    }
    problems = []
    for name, (low, high, wanted) in ranges.items():
        value = getattr(settings, name, None)
        if value is not None and not (math.isfinite(value) and low <= value <= high):
            shown = prefix + (name.replace("_", "-") if prefix else name)
            problems.append(f"{shown} must be {wanted}, got {value}")
    bias = getattr(settings, "logit_bias", {})
    if any(id < 0 or math.isnan(value) or value == math.inf for id, value in bias.items()):
        problems.append("logit_bias must map token ids to numbers below infinity")
    return problems
