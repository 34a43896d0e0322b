"""``redteam`` 与 ``canary`` 各动词的设置。

流入：命令行与 TOML；流出：一次查完的冻结 dataclass。下一站：``command.py`` 与 ``canary_command.py``。
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from tinygrad_llm.common.errors import UserError
from tinygrad_llm.common.run_names import run_folder

__all__ = [
    "DataConfig", "DemonstrationConfig", "Family", "LeaksConfig", "MeasureConfig", "PlantConfig", "RedteamConfig",
    "SearchConfig",
]  # fmt: skip

Family = Literal["storyworld", "gatekeeper"]
Language = Literal["en", "zh", "both"]
_MARKERS = ("PositionalRequiredArgs", "FlagCreatePairsOff")


def _refuse(problems: list[str], where: str) -> None:
    if problems:
        raise UserError("; ".join(problems), where=where, fix="correct the flags named above")


def _below_one(settings: object, *names: str) -> list[str]:
    """小于 1 的各项，各一句。"""
    flags = {f"--{name.replace('_', '-')}": getattr(settings, name) for name in names}
    return [f"{flag} must be at least 1, got {value}" for flag, value in flags.items() if value < 1]


@dataclass(frozen=True, kw_only=True)
class _OfRun:
    """用哪个模型。"""

    runs_dir: str = "runs"
    """放各次运行的文件夹。"""
    slots: int = 16
    """同时写几个回答。"""

    def folder(self, run: str) -> Path:
        """运行名对应的文件夹；本身就是现成的路径时原样返回。"""
        return run_folder(self.runs_dir, run)


@dataclass(frozen=True, kw_only=True)
class _OfChat(_OfRun):
    """用哪个会对话的模型。"""

    template: str = ""
    """对话的模板：ours、alpaca 或 chatml；缺省为模型自己的。"""
    tokens: int = 48
    """一个回答至多几个 token。"""


@dataclass(frozen=True, kw_only=True)
class RedteamConfig(_OfChat):
    """给一个运行做红队：每种变形的攻击成功率、拒绝率与乱拒率，都带 95 % 的区间。"""

    cli_markers: ClassVar[tuple[str, ...]] = _MARKERS

    run: str
    """运行名，或运行文件夹、检查点文件夹的路径；须会对话。"""
    probes: Family = "storyworld"
    """问什么：``storyworld`` 的守则写在对话里，``gatekeeper`` 的秘密在权重里。"""
    count: int = 100
    """该拒绝的与该回答的提问各几个。"""
    lang: Language = "both"
    """提问的语言。"""
    seed: int = 0
    """提问与变形的种子。"""
    mutations: tuple[str, ...] = ()
    """只用这几种变形；缺省全部。"""
    regressions: Path | None = None
    """回归文件（JSON lines）：先重放其中的攻击，再添上这一次找到的；修好了的又漏，就以退出码 1 结束。"""
    out: Path | None = None
    """报告写到哪个文件夹；缺省是运行的文件夹。"""

    def __post_init__(self) -> None:
        _refuse(_below_one(self, "count", "slots", "tokens"), "redteam settings")


@dataclass(frozen=True, kw_only=True)
class SearchConfig(_OfChat):
    """按梯度找一串 token，接在提问后面套出秘密；与随机地找比，花同样多的前向。"""

    cli_markers: ClassVar[tuple[str, ...]] = _MARKERS

    run: str
    """运行名，或运行文件夹、检查点文件夹的路径；须会对话。"""
    prompts: int = 8
    """对几个提问来找，各用一个种子。"""
    length: int = 8
    """接几个 token。"""
    budget: int = 600
    """每次至多花几次前向；一次梯度算三次。"""
    seed: int = 0
    """种子。"""
    out: Path | None = None
    """结果写到哪个文件夹；缺省是运行的文件夹。"""

    def __post_init__(self) -> None:
        _refuse(_below_one(self, "prompts", "length", "budget", "slots", "tokens"), "search settings")


@dataclass(frozen=True, kw_only=True)
class LeaksConfig(_OfRun):
    """让一个运行写许多段，找出其中的个人信息。"""

    cli_markers: ClassVar[tuple[str, ...]] = _MARKERS

    run: str
    """运行名，或运行文件夹、检查点文件夹的路径。"""
    samples: int = 100
    """写几段。"""
    prompts: tuple[str, ...] = ()
    """开头，轮流用；缺省从文本起始符开始。"""
    temperature: float = 1.0
    """温度。"""
    tokens: int = 100
    """一段至多几个 token。"""
    corpus: str = ""
    """训练文本（语料名，或文件、文件夹的路径）：查每一处是不是照抄来的。"""
    seed: int = 0
    """抽样的种子。"""
    out: Path | None = None
    """结果写到哪个文件夹；缺省是运行的文件夹。"""

    def __post_init__(self) -> None:
        problems = _below_one(self, "samples", "slots", "tokens")
        if not 0 <= self.temperature < 100:
            problems.append(f"--temperature must be from 0 to 100, got {self.temperature}")
        _refuse(problems, "leak scan settings")


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """写出拒绝的指令数据（SFT）与偏好对（DPO），该拒绝与该回答的各半。"""

    cli_markers: ClassVar[tuple[str, ...]] = _MARKERS

    out: Path
    """写到哪个文件夹：``sft.jsonl`` 与 ``preferences.jsonl``。"""
    probes: Family = "storyworld"
    """哪一种玩具守则。"""
    count: int = 2000
    """几条。"""
    split: Literal["train", "val", "test"] = "train"
    """划分；红队的提问来自 ``test``。"""
    lang: Language = "both"
    """语言。"""
    seed: int = 0
    """种子。"""

    def __post_init__(self) -> None:
        _refuse(_below_one(self, "count"), "refusal data settings")


@dataclass(frozen=True, kw_only=True)
class DemonstrationConfig:
    """造一个守门人，攻破它，从找到的攻击里学，再攻一次；全程离线，几分钟。"""

    cli_markers: ClassVar[tuple[str, ...]] = _MARKERS

    runs_dir: str = "runs"
    """两个阶段的模型写在这里：``gatekeeper-guarded`` 与 ``gatekeeper-hardened``。"""
    steps: int = 1000
    """有问必答学几步。"""
    rounds: int = 2
    """找攻击、从中学，来回几轮。"""
    harden_steps: int = 150
    """每一轮从找到的攻击里学几步。"""
    count: int = 80
    """该拒绝的与该回答的提问各几个。"""
    prompts: int = 20
    """对几个提问按梯度找。"""
    budget: int = 300
    """每次找至多花几次前向。"""
    slots: int = 16
    """同时写几个回答。"""
    tokens: int = 32
    """一个回答至多几个 token。"""
    seed: int = 0
    """种子。"""
    out: Path = Path("runs/gatekeeper")
    """报告写到哪个文件夹。"""

    def __post_init__(self) -> None:
        names = ("steps", "rounds", "harden_steps", "count", "prompts", "budget", "slots", "tokens")
        _refuse(_below_one(self, *names), "demonstration settings")


@dataclass(frozen=True, kw_only=True)
class PlantConfig:
    """往训练文本里埋金丝雀；训练之后用 ``canary measure`` 量。"""

    cli_markers: ClassVar[tuple[str, ...]] = _MARKERS

    corpus: str
    """原来的文本：语料名，或文件、文件夹的路径。"""
    out: Path
    """埋好的文档写到这个 JSON lines 文件；旁边的 ``.canaries.json`` 记着埋了什么。"""
    repetitions: tuple[int, ...] = (0, 1, 2, 4, 8, 16, 32)
    """各埋几遍；0 是对照，从不埋。"""
    each: int = 4
    """每种遍数几句。"""
    digits: int = 3
    """号码几位；3 位有 1000 个候选，逐个数得遍。"""
    documents: int = 0
    """只用前几篇文档；0 为全部。"""
    seed: int = 0
    """号码与位置的种子。"""

    def __post_init__(self) -> None:
        problems = _below_one(self, "each", "digits")
        if not self.repetitions or min(self.repetitions) < 0:
            problems.append("--repetitions takes counts of 0 or more")
        if self.documents < 0:
            problems.append(f"--documents must not be negative, got {self.documents}")
        _refuse(problems, "planting settings")


@dataclass(frozen=True, kw_only=True)
class MeasureConfig(_OfRun):
    """一个运行把金丝雀背得有多牢：暴露度对重复遍数，写得出来的比例，等级相关。"""

    cli_markers: ClassVar[tuple[str, ...]] = _MARKERS

    run: str
    """用埋了金丝雀的文本训练出来的运行。"""
    canaries: Path
    """``canary plant`` 写下的 ``.canaries.json``。"""
    slots: int = 64
    """同时算几个候选。"""
    samples: int = 2000
    """号码多得数不遍时，抽几个来估。"""
    seed: int = 0
    """抽样的种子。"""
    out: Path | None = None
    """报告写到哪个文件夹；缺省是运行的文件夹。"""

    def __post_init__(self) -> None:
        _refuse(_below_one(self, "slots", "samples"), "canary settings")
