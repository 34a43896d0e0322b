"""把量化了的模型写成普通的运行文件夹；就近舍入的 ``quantize`` 命令。

流入：一个运行；流出：另一个运行，``generate``、``chat`` 照常读它。下一个文件：``storage.py``。
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tinygrad_llm.common.checkpoint import Checkpoint, save_checkpoint
from tinygrad_llm.common.config import GPTConfig
from tinygrad_llm.common.errors import UserError
from tinygrad_llm.common.progress import format_bytes
from tinygrad_llm.common.runlog import TRACES_OF_A_RUN
from tinygrad_llm.common.session import TOKENIZER, load_trained
from tinygrad_llm.common.tokenizers import Tokenizer

from .rounding import Packed, quantize
from .scheme import Scheme, qat_scheme
from .settings import QuantizeConfig
from .storage import HEADS, STATE_KEY, Array, Rounder, nearest, quantize_tensors, split

__all__ = ["load_floats", "main", "sizes", "write_quantized"]


def load_floats(folder: Path) -> tuple[GPTConfig, Tokenizer, Checkpoint]:
    """读一个还没有量化的运行。

    Raises:
        CheckpointError: 缺失或损坏。
        UserError: 它已经量化了。
    """
    config, tokenizer, checkpoint = load_trained(folder)
    if STATE_KEY in checkpoint.state:
        raise UserError("this run is already quantised", where=str(folder), fix="start from the run it was made from")
    return config, tokenizer, checkpoint


def check_target(folder: Path) -> None:
    """新的运行文件夹里不能已有运行；先查，量化要花时间。

    Raises:
        UserError: 已有一个。
    """
    if any((folder / name).exists() for name in TRACES_OF_A_RUN):
        raise UserError("this folder already holds a run", where=str(folder), fix="give another name with --run")


def write_quantized(
    settings: QuantizeConfig,
    tokenizer: Tokenizer,
    checkpoint: Checkpoint,
    tensors: Mapping[str, Array | Packed],
    details: Mapping[str, Any],
) -> Path:
    """写成一个运行文件夹：检查点（没有优化器状态）、分词器。没有 ``config.toml``：量化了的不能接着训练。

    Args:
        settings: 量化的设置。
        tokenizer: 分词器。
        checkpoint: 原来的检查点；它的状态照抄，另加元数据。
        tensors: 参数名到量化了的矩阵或原样的数组。
        details: 写进元数据的其余各项：方法、校准数据等。

    Returns:
        检查点文件夹。

    Raises:
        UserError: 那里已有一个运行。
        OutOfDiskError: 写不下。
    """
    check_target(settings.target)
    arrays, metadata = split(tensors)
    state = {**checkpoint.state, STATE_KEY: {**metadata, **details}}
    is_new = not settings.target.exists()
    try:
        written = save_checkpoint(settings.target, Checkpoint(checkpoint.step, arrays, {}, state))
        tokenizer.save(settings.target / TOKENIZER)
    except BaseException:
        if is_new:
            shutil.rmtree(settings.target, ignore_errors=True)
        raise
    return written


def rounder(checkpoint: Checkpoint) -> Rounder:
    """就近舍入；量化感知训练过的矩阵，照训练时的网格舍入：权重就是对着它学的。"""
    trained = checkpoint.state.get("settings")
    told = trained if isinstance(trained, dict) else {}
    if told.get("qat", "off") == "off":
        return nearest
    learnt = qat_scheme(told["qat"], told["qat_group"])

    def same_grid(name: str, w: Array, scheme: Scheme) -> Packed:
        is_same = (scheme.format, scheme.group) == (learnt.format, learnt.group) and name not in HEADS
        return quantize(w, learnt, search=False) if is_same else nearest(name, w, scheme)

    return same_grid


def sizes(tensors: Mapping[str, Array | Packed], before: Mapping[str, Array]) -> str:
    """给人看的一行：前后各多大，平均每个权重几位。"""
    old, new = (sum(value.nbytes for value in values) for values in (before.values(), tensors.values()))
    bits = 8 * new / sum(value.size for value in before.values())
    return f"{format_bytes(old)} -> {format_bytes(new)}, {bits:.2f} bits per weight"


def main(settings: QuantizeConfig) -> None:
    """``quantize``：就近舍入，写成一个新的运行；两个引擎写出同样的字节。"""
    check_target(settings.target)
    config, tokenizer, checkpoint = load_floats(settings.source_folder)
    tensors = quantize_tensors(config, checkpoint.model, settings.scheme_of, rounder(checkpoint))
    write_quantized(settings, tokenizer, checkpoint, tensors, {"format": settings.format, "method": "rtn"})
    print(f"{settings.target}: {settings.format} rtn, {sizes(tensors, checkpoint.model)}")
