"""写回别处的格式时共用的部分：运行里的模型，要写成的类型，临时文件夹里写好再改名到位。

流入：一个运行；流出：``Exported``，交给 ``export_hf.py`` 或 ``export_gguf.py``。
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tinygrad_llm.common.chat import TEMPLATES, Template
from tinygrad_llm.common.config import GPTConfig, parameter_shapes
from tinygrad_llm.common.errors import OutOfDiskError, UserError
from tinygrad_llm.common.files import sync_folder, temporary_sibling
from tinygrad_llm.common.lazy import Array
from tinygrad_llm.common.session import TOKENIZER, load_trained, load_weights
from tinygrad_llm.common.tokenizers import END_OF_TEXT, Tokenizer
from tinygrad_llm.common.weights.hf_config import family_of
from tinygrad_llm.common.weights.names import Family

__all__ = ["Exported", "checked_finite", "load_for_export", "put_in_place"]


@dataclass(frozen=True)
class Exported:
    """要写出的模型。

    Attributes:
        config: 模型配置。
        family: 写成哪一家。
        weights: 参数名到数组。
        tokenizer: 分词器；运行里没有时为 ``None``。
        template: 对话模板；没有时为 ``None``。
        name: 模型的名字。
    """

    config: GPTConfig
    family: Family
    weights: Mapping[str, Array]
    tokenizer: Tokenizer | None
    template: Template | None
    name: str

    @property
    def end_ids(self) -> tuple[int | None, int | None]:
        """文本结束符，与一段回答的结束符（没有对话模板时相同）。"""
        found = self.tokenizer
        eot = found.special(END_OF_TEXT) if found is not None and END_OF_TEXT in found.specials else None
        if found is None or self.template is None:
            return eot, eot
        return eot, found.special(self.template.stop)


def load_for_export(folder: Path) -> Exported:
    """载入一个运行，定下写成哪一家。

    Raises:
        CheckpointError: 检查点缺失或损坏。
        UserError: 三家都装不下这个模型。
    """
    run = folder.parent.parent if folder.parent.name == "checkpoints" else folder
    tokenizer: Tokenizer | None = None
    if (run / TOKENIZER).exists():
        config, tokenizer, checkpoint = load_trained(folder)
    else:
        config, checkpoint = load_weights(folder)
    family = family_of(config)
    weights = dict(checkpoint.model)
    if family == "gpt2" and not config.bias:  # 那边总有偏置：补上零，函数不变
        shapes = parameter_shapes(GPTConfig(**{**config.to_dict(), "bias": True}))
        weights |= {name: np.zeros(shape, np.float32) for name, shape in shapes.items() if name not in weights}
    template = TEMPLATES.get(str(checkpoint.state.get("chat_template", "")))
    return Exported(config, family, weights, tokenizer, template if tokenizer else None, run.resolve().name)


def checked_finite(array: Array, name: str, dtype: str) -> Array:
    """换成较窄的类型之后仍都有限。

    Raises:
        UserError: 有的数装不下。
    """
    if not np.isfinite(array).all():
        raise UserError(f"{name} holds numbers beyond {dtype}", fix="export it as float32 or bfloat16")
    return array


@contextmanager
def put_in_place(target: Path, needed: int) -> Iterator[Path]:
    """先写在旁边的临时文件夹里，全部落盘之后改名到位；中途失败什么也不留下。

    Args:
        target: 要写成的文件夹，须不存在或是空的。
        needed: 大约要多少字节。

    Yields:
        临时文件夹。

    Raises:
        UserError: 那里已有东西。
        OutOfDiskError: 写不下。
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UserError("there is something here already", where=str(target), fix="give another --out")
    temporary = temporary_sibling(target.absolute())
    try:
        temporary.mkdir(parents=True)
        free = shutil.disk_usage(temporary).free
        if free < needed:
            raise OSError(f"needs about {needed:,} bytes, {free:,} free")
        yield temporary
        for path in temporary.iterdir():
            with path.open("rb") as file:
                os.fsync(file.fileno())
        if target.exists():
            target.rmdir()
        temporary.rename(target)
        sync_folder(target.absolute().parent)
    except OSError as error:
        raise OutOfDiskError(
            f"cannot write the model: {error.strerror or error}", where=str(target), fix="free some space there"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
