"""各种来源读成的同一个样子，与把它写成运行文件夹的办法。

流入：``ModelFiles``；流出：``runs/NAME``。各种来源怎样读成它，见 ``gguf_models.py`` 等几个文件。
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from tinygrad_llm.common.checkpoint import Checkpoint, check_tensors, save_checkpoint
from tinygrad_llm.common.config import GPTConfig, parameter_shapes
from tinygrad_llm.common.errors import CheckpointError, UserError
from tinygrad_llm.common.files import write_atomically
from tinygrad_llm.common.lazy import Array, LazyTensor
from tinygrad_llm.common.runlog import CONFIG, TRACES_OF_A_RUN
from tinygrad_llm.common.session import TOKENIZER
from tinygrad_llm.common.tokenizers import Tokenizer
from tinygrad_llm.common.toml import dump_toml
from tinygrad_llm.common.train_config import DType, TrainConfig

__all__ = ["ModelFiles", "write_run"]


@dataclass(frozen=True)
class ModelFiles:
    """一个来源里的模型。

    Attributes:
        config: 模型配置。
        tensors: 我们的参数名到张量，轮到时才读。
        tokenizer: 分词器；来源里没有时为 ``None``。
        chat: 对话模板的名字；没有或不认得时为空。
        origin: 从哪里来，写进检查点的状态。
    """

    config: GPTConfig
    tensors: Mapping[str, LazyTensor]
    tokenizer: Tokenizer | None
    chat: str
    origin: dict[str, Any]


def write_run(
    files: ModelFiles, folder: Path, dtype: DType = "float32", tell: Callable[[str], None] = lambda _: None
) -> Path:
    """写成一个普通的运行文件夹：第 0 步的检查点、分词器、配置。

    Args:
        files: 模型。
        folder: 运行文件夹，须还没有运行。
        dtype: 存成什么类型。
        tell: 每读一个张量，告诉它名字。

    Returns:
        检查点文件夹。

    Raises:
        UserError: 那里已有一个运行。
        CheckpointError: 张量缺失、多出、形状不符，或含非有限的数；什么也没留下。
        OutOfDiskError: 写不下。
    """
    if any((folder / name).exists() for name in TRACES_OF_A_RUN):
        raise UserError("this folder already holds a run", where=str(folder), fix="give another name with --run")
    check_tensors(
        cast(dict[str, Array], files.tensors), parameter_shapes(files.config), where=str(files.origin["source"])
    )
    if files.tokenizer is not None and files.tokenizer.vocab_size > files.config.vocab_size:
        raise CheckpointError(
            f"the tokenizer has {files.tokenizer.vocab_size} ids, the model only {files.config.vocab_size}",
            where=str(files.origin["source"]),
            fix="give the model's own tokenizer with --tokenizer",
        )
    kind = np.dtype(dtype)
    tensors = {name: _checked(name, tensor, kind, files, tell) for name, tensor in files.tensors.items()}
    state = {
        "model": files.config.to_dict(),
        "tokenizer": None if files.tokenizer is None else files.tokenizer.digest,
        "chat_template": files.chat,
        "converted_from": files.origin,
    }
    is_new = not folder.exists()
    try:
        written = save_checkpoint(folder, Checkpoint(0, cast(dict[str, Array], tensors), {}, state))
        if files.tokenizer is not None:
            files.tokenizer.save(folder / TOKENIZER)
        write_atomically(folder / CONFIG, dump_toml(_settings(files, folder, dtype)).encode())
    except BaseException:
        if is_new:
            shutil.rmtree(folder, ignore_errors=True)
        raise
    return written


def _checked(
    name: str, tensor: LazyTensor, dtype: np.dtype[Any], files: ModelFiles, tell: Callable[[str], None]
) -> LazyTensor:
    """换成要存的类型；读到非有限的数就停下。"""

    def read() -> Array:
        tell(name)
        array = tensor.read().astype(dtype, copy=False)
        if not np.isfinite(array).all():
            raise CheckpointError(
                f"the weights hold NaN or infinity in {name}",
                where=str(files.origin["source"]),
                fix="use another copy of the file",
            )
        return array

    return LazyTensor(tensor.shape, dtype, read)


def _settings(files: ModelFiles, folder: Path, dtype: DType) -> TrainConfig:
    """运行文件夹里的 ``config.toml``：接着训练时的缺省设置；模型的全部形状在检查点里。"""
    config = files.config
    return TrainConfig(
        run=folder.name,
        runs_dir=str(folder.parent),
        preset="gpt2" if config.position == "learned" else "smollm2-135m",
        context=config.context,
        n_layer=config.n_layer,
        n_head=config.n_head,
        n_kv_head=config.n_kv_head,
        n_embd=config.n_embd,
        window=config.window,
        vocab_size=max(config.vocab_size, TrainConfig.vocab_size),
        dtype=dtype,
    )
