"""``sft-compare`` 的设置：同一个出发点、同样的数据与步数，换几种学法各练一次。

流入：命令行；流出：每一格（一种学法、一个种子）的 ``sft`` 设置。下一个文件：``compare.py``。
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, NamedTuple

from tinygrad_llm.common.errors import UserError
from tinygrad_llm.common.run_names import run_folder
from tinygrad_llm.common.tuning.config import LORA_RATE, SftConfig, TorchSftConfig

__all__ = ["Arm", "SftCompareConfig", "TorchSftCompareConfig", "Way", "arms", "way_of"]

ONCE = ("resume", "stop_at", "profile", "dry_run", "lora_rank", "last_layers")
"""由命令自己定的设置，给了没有意义。"""


class Way(NamedTuple):
    """一种学法。

    Attributes:
        name: 命令行上的写法，也是文件夹名的开头。
        settings: 它定下的设置。
        is_lora: 是不是只学支路。
    """

    name: str
    settings: dict[str, Any]
    is_lora: bool = False


def way_of(text: str) -> Way | None:
    """``full``、``last:K`` 或 ``lora:RANK``；不是这样写的为 ``None``。

    Args:
        text: 一种学法。
    """
    kind, colon, number = text.partition(":")
    if text == "full":
        return Way(text, {})
    if not colon or not (number.isascii() and number.isdigit()):
        return None
    if kind == "last":
        return Way(text, {"last_layers": int(number)})
    return Way(text, {"lora_rank": int(number)}, is_lora=True) if kind == "lora" and int(number) else None


@dataclass(frozen=True)
class SftCompareConfig(SftConfig):
    """几种学法相比的设置；其余的与 ``sft`` 相同。"""

    run: str = "sft-compare"
    """比较的名字；结果写在 ``RUNS_DIR/RUN/``，各格的运行也在其中。"""
    ways: tuple[str, ...] = ("full", "last:1", "lora:8")
    """几种学法，头一种是基准：``full`` 全部参数，``last:K`` 末 K 层，``lora:R`` 秩 R 的支路。"""
    seeds: int = 1
    """每种学法几个种子：``--seed`` 起，依次加一。"""
    lora_lr: float | None = None
    """LoRA 的峰值学习率；缺省为 ``sft`` 给 LoRA 的缺省值。别的学法用 ``--lr``。"""

    lora_steps: int | None = None
    """LoRA 走几步；缺省与别的学法一样多。低秩的支路学得慢，步数够了才看得出差多少。"""

    def more_problems(self) -> list[str]:
        """不对的设置，各一句。"""
        problems = [*super().more_problems()]
        unknown = [text for text in self.ways if way_of(text) is None]
        if unknown or not self.ways:
            problems.append(f"--ways must be some of full, last:K, lora:R, got {', '.join(unknown) or 'none'}")
        if len(set(self.ways)) != len(self.ways):
            problems.append("--ways names one way twice")
        if self.seeds < 1:
            problems.append(f"--seeds must be at least 1, got {self.seeds}")
        if self.lora_lr is not None and not 0 < self.lora_lr < float("inf"):
            problems.append(f"--lora-lr must be a finite number above 0, got {self.lora_lr}")
        if self.lora_steps is not None and (self.lora_steps < 1 or self.epochs):
            problems.append(f"--lora-steps must be at least 1, and goes with --steps, not --epochs: {self.lora_steps}")
        if not self.quiz:
            problems.append("--quiz must be at least 1: the ways are compared by answers")
        given = [name for name in ONCE if getattr(self, name)]
        if given:
            flags = ", ".join(f"--{name.replace('_', '-')}" for name in given)
            problems.append(f"{flags}: not here, the ways say it (the same command again goes on)")
        return problems


@dataclass(frozen=True)
class TorchSftCompareConfig(SftCompareConfig, TorchSftConfig):
    """torch 上几种学法相比的设置。"""


class Arm(NamedTuple):
    """一格：一种学法、一个种子。

    Attributes:
        way: 学法。
        seed: 种子。
        settings: 它的 ``sft`` 设置，``folder`` 是它的运行文件夹。
    """

    way: Way
    seed: int
    settings: SftConfig


def arms(config: SftCompareConfig) -> list[Arm]:
    """全部的格；先一个种子跑遍各种学法，再下一个种子。

    Args:
        config: 设置。

    Raises:
        UserError: 某一格的设置不合法。
    """
    kind = TorchSftConfig if isinstance(config, TorchSftCompareConfig) else SftConfig
    shared = {field.name: getattr(config, field.name) for field in fields(kind)}
    start = run_folder(config.runs_dir, config.from_run)
    found = []
    for seed in range(config.seed, config.seed + config.seeds):
        for way in filter(None, map(way_of, config.ways)):
            name = f"{way.name.replace(':', '-')}-seed{seed}"
            place = {"run": name, "runs_dir": str(config.folder), "from_run": str(start), "seed": seed}
            own = {"lr": config.lora_lr or LORA_RATE, "steps": config.lora_steps or config.steps}
            rate = own if way.is_lora else {}
            try:
                found.append(Arm(way, seed, kind(**{**shared, **place, **rate, **way.settings})))
            except UserError as error:
                raise UserError(error.problem, where=f"--ways {way.name}", fix=error.fix) from error
    return found
