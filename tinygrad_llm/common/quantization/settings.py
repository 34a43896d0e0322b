"""``quantize`` 的设置。

流入：命令行与 TOML；流出：一次校验完毕的冻结 dataclass。
下一站：``command.py`` 与 ``torch_llm/quantization/command.py``。
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from tinygrad_llm.common.errors import UserError
from tinygrad_llm.common.run_names import run_folder
from tinygrad_llm.common.train_config import choice_problems

from .scheme import GROUPS, Format, Scheme
from .storage import HEADS

__all__ = ["CalibratedConfig", "LayersConfig", "Method", "QuantizeConfig", "ReportConfig"]

Method = Literal["rtn", "gptq", "awq"]
MIN_TOKENS = 256


@dataclass(frozen=True)
class QuantizeConfig:
    """量化一个运行，写成另一个运行。"""

    cli_markers: ClassVar[tuple[str, ...]] = ("PositionalRequiredArgs",)

    source: str
    """要量化的运行：名字，或运行文件夹、检查点文件夹的路径。"""
    run: str = ""
    """新的运行名，结果写在 ``RUNS_DIR/RUN/``；缺省为原来的名字加上格式，如 ``toy-int8``。"""
    runs_dir: str = "runs"
    """放各次运行的文件夹。"""
    format: Format = "int8"
    """``int8`` 每行一个比例尺；``int4`` 每行每组一个。"""
    group: int = 32
    """int4 几列一组：32、64 或 128；越小越准，也越大，几千万参数的小模型用 64 就要差许多。"""
    head: Format = "int8"
    """词嵌入与输出层的格式，不低于其余各层：它们直接决定每个 token 的概率。"""

    def __post_init__(self) -> None:
        if problems := self.problems():
            raise UserError("; ".join(problems), where="quantisation settings", fix="correct the flags named above")

    def problems(self) -> list[str]:
        """各项设置里不对的地方。"""
        problems = choice_problems(self, format=Format, head=Format)
        if self.group not in GROUPS:
            problems.append(f"--group must be one of {', '.join(map(str, GROUPS))}, got {self.group}")
        if self.run and (Path(self.run).name != self.run or self.run in (".", "..")):
            problems.append(f"--run must be a plain folder name, got {self.run!r}")
        return problems

    @property
    def target(self) -> Path:
        """新的运行文件夹。"""
        return Path(self.runs_dir) / (self.run or f"{Path(self.source).name}-{self.format}")

    @property
    def source_folder(self) -> Path:
        """要量化的运行文件夹。"""
        return run_folder(self.runs_dir, self.source)

    def scheme(self, format: Format) -> Scheme:
        """这种格式的存法；int4 有没有零点由误差定。"""
        return Scheme("int8") if format == "int8" else Scheme("int4", self.group)

    def scheme_of(self, name: str) -> Scheme:
        """一个参数的存法。"""
        is_head = name in HEADS
        return self.scheme("int8" if "int8" in (self.format, self.head if is_head else self.format) else "int4")


@dataclass(frozen=True)
class CalibratedConfig(QuantizeConfig):
    """量化一个运行，写成另一个运行；舍入可以看校准数据。"""

    method: Method = "rtn"
    """``rtn`` 就近舍入；``gptq`` 逐列舍入、误差摊给后面的列；``awq`` 先放大重要的输入通道再舍入。"""
    calibration: str = "python-docs"
    """gptq 与 awq 校准用的语料（开头的八成）：名字，或文件、文件夹的路径。"""
    calibration_tokens: int = 16384
    """校准用几个 token，均匀地取自语料各处。"""

    def problems(self) -> list[str]:
        """各项设置里不对的地方。"""
        problems = super().problems() + choice_problems(self, method=Method)
        if self.calibration_tokens < MIN_TOKENS:
            problems.append(f"--calibration-tokens must be at least {MIN_TOKENS}, got {self.calibration_tokens}")
        return problems


@dataclass(frozen=True, kw_only=True)
class _Measured:
    """在哪些文字上量，结果写到哪里。"""

    runs_dir: str = "runs"
    """放各次运行的文件夹。"""
    corpora: str = "python-docs,storyworld-en"
    """评估用的语料（末尾的两成），逗号隔开。"""
    tokens: int = 4096
    """每个语料评估几个 token。"""
    out: Path = Path("runs/quantization")
    """结果写进这个文件夹。"""

    def __post_init__(self) -> None:
        if problems := self.problems():
            raise UserError("; ".join(problems), where="report settings", fix="correct the flags named above")

    def problems(self) -> list[str]:
        """各项设置里不对的地方。"""
        few = self.tokens < MIN_TOKENS
        return [f"--tokens must be at least {MIN_TOKENS}, got {self.tokens}"] if few else []

    def folder(self, run: str) -> Path:
        """运行名对应的文件夹；本身就是现成的路径时原样返回。"""
        return run_folder(self.runs_dir, run)


@dataclass(frozen=True)
class ReportConfig(_Measured):
    """困惑度、大小与速度的表：几个运行放在一起比，第一个是基准。"""

    cli_markers: ClassVar[tuple[str, ...]] = ("PositionalRequiredArgs",)

    runs: tuple[str, ...]
    """要比较的运行，没有量化的基准放在最前：名字，或文件夹的路径。"""
    decode_tokens: int = 16
    """量速度时每一轮生成几个 token；0 表示不量。"""
    rounds: int = 5
    """轮流量几轮，取中位数。"""

    def problems(self) -> list[str]:
        """各项设置里不对的地方。"""
        problems = super().problems()
        for name, least in (("decode_tokens", 0), ("rounds", 1)):
            if getattr(self, name) < least:
                problems.append(f"--{name.replace('_', '-')} must be at least {least}, got {getattr(self, name)}")
        return problems


@dataclass(frozen=True)
class LayersConfig(_Measured):
    """逐层的误差：每个矩阵单独量化时，它的输出错多少，整个模型的损失变多少。"""

    cli_markers: ClassVar[tuple[str, ...]] = ("PositionalRequiredArgs",)

    run: str
    """没有量化的运行：名字，或文件夹的路径。"""
    format: Format = "int4"
    """``int8`` 或 ``int4``。"""
    group: int = 32
    """int4 几列一组。"""

    def problems(self) -> list[str]:
        """各项设置里不对的地方。"""
        problems = super().problems() + choice_problems(self, format=Format)
        if self.group not in GROUPS:
            problems.append(f"--group must be one of {', '.join(map(str, GROUPS))}, got {self.group}")
        return problems
