"""``export``：把一个运行里的模型写成别的软件打得开的格式。

流入：命令行；流出：HF 文件夹，或一个 GGUF 文件。
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from tinygrad_llm.common.errors import UserError
from tinygrad_llm.common.run_names import run_folder
from tinygrad_llm.common.train_config import choice_problems

__all__ = ["ExportConfig", "export"]

Format = Literal["hf", "gguf"]
ExportDType = Literal["float32", "float16", "bfloat16", "q8_0", "q4_0", "q4_1"]


@dataclass(frozen=True)
class ExportConfig:
    """把一个运行里的模型写成 HF 文件夹或 GGUF。"""

    cli_markers: ClassVar[tuple[str, ...]] = ("PositionalRequiredArgs", "FlagCreatePairsOff")

    run: str
    """运行名，或运行文件夹、检查点文件夹的路径。"""
    out: Path
    """写到这个文件夹；它须不存在或是空的。"""
    format: Format = "hf"
    """hf：transformers 打得开的文件夹；gguf：llama.cpp 一类的软件打得开的单个文件。"""
    dtype: ExportDType = "float32"
    """权重写成什么类型；后三种只属于 gguf。"""
    runs_dir: str = "runs"
    """放各次运行的文件夹。"""

    def __post_init__(self) -> None:
        problems = choice_problems(self, format=Format, dtype=ExportDType)
        if self.format == "hf" and self.dtype.startswith("q"):
            problems.append(f"--dtype {self.dtype} belongs to --format gguf")
        if problems:
            raise UserError("; ".join(problems), where="export settings", fix="correct the flags named above")

    @property
    def folder(self) -> Path:
        """要写出的运行。"""
        return run_folder(self.runs_dir, self.run)


def export(config: ExportConfig) -> None:
    """写出，并说明写了什么。"""
    from tinygrad_llm.common.weights.export_gguf import write_gguf
    from tinygrad_llm.common.weights.export_hf import write_hf_folder
    from tinygrad_llm.common.weights.exporting import load_for_export

    model = load_for_export(config.folder)
    if config.format == "hf":
        write_hf_folder(model, config.out, config.dtype)
        written = config.out
    else:
        written = write_gguf(model, config.out, config.dtype)
    vocabulary = "no tokenizer" if model.tokenizer is None else "its tokenizer"
    print(f"{written}: {model.family}, {config.dtype}, with {vocabulary}")
