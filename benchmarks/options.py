"""各种测速共有的设置。"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.rounds import Plan
from tinygrad_llm.common.errors import UserError


@dataclass(frozen=True)
class Output:
    """结果写到哪里。"""

    json: Path | None = None
    """把全部数字写进这个 JSON 文件。"""
    plot: Path | None = None
    """把图画进这个 PNG 文件。"""
    quick: bool = False
    """少量几回、少量几种规模，几分钟做完。"""

    def __post_init__(self) -> None:
        problems = self.problems()
        if problems:
            raise UserError("; ".join(problems), where="benchmark settings", fix="correct the flags named above")

    def problems(self) -> list[str]:
        """各项设置里不对的地方，每处一句。"""
        found = []
        for name in ("json", "plot"):
            path = getattr(self, name)
            if path is not None and not path.absolute().parent.is_dir():
                found.append(f"--{name}: there is no folder {path.absolute().parent}")
        if self.plot is not None and self.plot.suffix != ".png":
            found.append(f"--plot must end in .png, got {self.plot.name}")
        return found

    def to_dict(self) -> dict[str, Any]:
        """可存成 JSON 的字典；路径写成文件名，不带走这台机器的目录。"""
        values = asdict(self)
        return {name: value.name if isinstance(value, Path) else value for name, value in values.items()}


@dataclass(frozen=True)
class Options(Output):
    """交替着量的各种测速共有的设置。"""

    steps: int | None = None
    """每个系统要量几回没被打扰的；缺省 15，``--quick`` 时 5。"""
    warmup: int = 3
    """计时之前先走几步。"""
    budget_s: float | None = None
    """一个系统至多量这么多秒，慢的因此少量几回，但不少于两回；缺省 90，``--quick`` 时 20。"""
    patience_s: float = 2.0
    """每一回之前，最多等机器静下来这么多秒。"""
    cores: int | None = None
    """每个系统用几个核；缺省用本进程可用的全部。"""

    def problems(self) -> list[str]:
        """各项设置里不对的地方，每处一句。"""
        least = {"steps": 1, "warmup": 1, "budget_s": 0, "patience_s": 0, "cores": 1}
        return [*super().problems(), *too_small(self, least)]

    @property
    def plan(self) -> Plan:
        """量多少回。"""
        steps = self.steps or (5 if self.quick else 15)
        return Plan(steps, self.budget_s or (20.0 if self.quick else 90.0), self.patience_s)

    @property
    def core_count(self) -> int:
        """每个系统用得上几个核。"""
        usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return min(self.cores or usable, usable)


def too_small(settings: Any, least: Mapping[str, float]) -> list[str]:
    """低于下限的设置，每项一句；没有给的（``None``）不算。

    Args:
        settings: 一个 dataclass。
        least: 字段名到下限。

    Returns:
        英文的句子，指名 flag。
    """
    return [
        f"--{name.replace('_', '-')} must be at least {low}, got {getattr(settings, name)}"
        for name, low in least.items()
        if getattr(settings, name) is not None and getattr(settings, name) < low
    ]


def unknown(name: str, given: Collection[str], known: Collection[str]) -> list[str]:
    """一串名字里不认识的，写成一句；没有就是空列表。"""
    wrong = [one for one in given if one not in known]
    return [f"--{name} {' '.join(wrong)}: unknown, choose from {', '.join(known)}"] if wrong else []
