"""各种测速共有的设置。"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tinygrad_llm.common.errors import UserError


@dataclass(frozen=True)
class Options:
    """各种测速共有的设置。"""

    steps: int = 10
    """每个系统要量几回没被打扰的。"""
    warmup: int = 3
    """计时之前先走几步。"""
    budget_s: float = 120.0
    """一个系统至多量这么多秒；慢的系统因此少量几回，但不少于两回。"""
    cores: int | None = None
    """每个系统用几个核；缺省用本进程可用的全部。"""
    peer_python: Path | None = None
    """装有 jax、mygrad、autograd、tinygrad 的解释器；缺省就用这一个。"""
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
        least = {"steps": 1, "warmup": 1, "budget_s": 0, "cores": 1}
        found = [
            f"--{name.replace('_', '-')} must be at least {low}, got {getattr(self, name)}"
            for name, low in least.items()
            if getattr(self, name) is not None and getattr(self, name) < low
        ]
        for name in ("json", "plot"):
            path = getattr(self, name)
            if path is not None and not path.absolute().parent.is_dir():
                found.append(f"--{name}: there is no folder {path.absolute().parent}")
        if self.plot is not None and self.plot.suffix != ".png":
            found.append(f"--plot must end in .png, got {self.plot.name}")
        if self.peer_python is not None and not self.peer_python.is_file():
            found.append(f"--peer-python: there is no file {self.peer_python}")
        return found

    def to_dict(self) -> dict[str, Any]:
        """可存成 JSON 的字典；路径写成文件名，不带走这台机器的目录。"""
        values = asdict(self)
        return {name: value.name if isinstance(value, Path) else value for name, value in values.items()}


def unknown(name: str, given: Collection[str], known: Collection[str]) -> list[str]:
    """一串名字里不认识的，写成一句；没有就是空列表。"""
    wrong = [one for one in given if one not in known]
    return [f"--{name} {' '.join(wrong)}: unknown, choose from {', '.join(known)}"] if wrong else []
