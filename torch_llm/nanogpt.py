"""nanoGPT 的 ``ckpt.pt``：名字与我们的几乎相同，只是装在一个 pickle 里。

流入：文件；流出：``ModelFiles``，权重轮到时才读。只由 ``torch.load(weights_only=True)`` 打开：
它只认得张量与普通的容器，不执行任何代码；
张量映射在文件上，优化器的那两份从不读进内存。先用 zip 自己的校验和核对每个字节，坏了的不交给它。
"""

from __future__ import annotations

import zipfile
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from tinygrad_llm.common.checkpoint import check_tensors
from tinygrad_llm.common.config import GPTConfig, parameter_shapes
from tinygrad_llm.common.errors import CheckpointError, DataError, UserError
from tinygrad_llm.common.lazy import LazyTensor
from tinygrad_llm.common.tokenizers import Tokenizer
from tinygrad_llm.common.tokenizers.formats import load_named
from tinygrad_llm.common.weights.hf_config import checked_layers
from tinygrad_llm.common.weights.model_files import ModelFiles

__all__ = ["read_nanogpt"]

MAX_PICKLE_BYTES = 16 << 20
_CHUNK = 1 << 20
_WHOLE = {
    "n_layer": "n_layer",
    "n_head": "n_head",
    "n_embd": "n_embd",
    "block_size": "context",
    "vocab_size": "vocab_size",
}
_GPT2_VOCABULARIES = (50257, 50304)  # 后者补到 64 的倍数；补出的行照样留着，分词器从不产生它们


def read_nanogpt(path: Path, *, tokenizer: Tokenizer | None = None) -> ModelFiles:
    """读一个 ``ckpt.pt``。

    Args:
        path: 文件。
        tokenizer: 分词器；不给时，词表大小是 GPT-2 的就用本机的 GPT-2 词表（有的话）。

    Raises:
        CheckpointError: 读不了，坏了，或装的不是 nanoGPT 的模型。
    """
    _check_archive(path)
    content = _loaded(path)
    arguments, state = content.get("model_args"), content.get("model")
    if not isinstance(arguments, dict) or not isinstance(state, dict):
        raise _refuse(path, "holds no model and model_args")
    config = _config(arguments, path)
    tensors = _tensors(state, path)
    checked_layers(config, tensors, str(path))
    check_tensors(cast(dict[str, NDArray[Any]], tensors), parameter_shapes(config), where=str(path))
    if tokenizer is None and config.vocab_size in _GPT2_VOCABULARIES:
        tokenizer = _known_gpt2()
    return ModelFiles(config, tensors, tokenizer, "", {"source": str(path), "format": "nanogpt"})


def _refuse(path: Path, problem: str) -> CheckpointError:
    return CheckpointError(f"nanoGPT checkpoint {problem}", where=str(path), fix="use another copy of the file")


def _check_archive(path: Path) -> None:
    """是一个没有压缩的 zip，每个成员的校验和都对，描述它们的那一份不太大。"""
    try:
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                _check_member(path, archive, info)
    except OSError as error:
        raise _refuse(path, f"cannot be read: {error.strerror or error}") from error
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        raise _refuse(path, f"is damaged: {str(error)[:100]}") from error


def _check_member(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> None:
    """读到末尾，``zipfile`` 自己核对校验和。"""
    if info.compress_type != zipfile.ZIP_STORED:
        raise _refuse(path, "is compressed, which torch never does")
    if info.filename.endswith(".pkl") and info.file_size > MAX_PICKLE_BYTES:
        raise _refuse(path, f"describes its tensors in {info.file_size} bytes")
    with archive.open(info) as member:
        while member.read(_CHUNK):
            pass


def _loaded(path: Path) -> dict[str, Any]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # 敌意的 pickle 能让解析器抛出任何异常；它们都只说明一件事：这不是一个好的检查点
        said = str(error).splitlines() or [type(error).__name__]
        raise _refuse(path, f"is not plain tensors and numbers: {said[0][:100]}") from error
    if not isinstance(content, dict):
        raise _refuse(path, "does not hold a table")
    return content


def _config(arguments: dict[Any, Any], path: Path) -> GPTConfig:
    numbers = {ours: arguments.get(theirs) for theirs, ours in _WHOLE.items()}
    bias, dropout = arguments.get("bias", True), arguments.get("dropout", 0.0)
    is_plain = all(type(value) is int and 0 < value < 1 << 31 for value in numbers.values())
    if not is_plain or not isinstance(bias, bool) or type(dropout) not in (int, float):
        raise _refuse(path, "has model_args that are missing or damaged")
    try:
        return GPTConfig(**cast(dict[str, Any], numbers), mlp="gelu", bias=bias, dropout=float(dropout))
    except UserError as error:
        raise _refuse(path, f"contradicts itself: {error.problem[:150]}") from error


def _tensors(state: dict[Any, Any], path: Path) -> dict[str, LazyTensor]:
    """去掉编译与外层的前缀；因果掩码与共用的输出层不是参数。"""
    found: dict[str, LazyTensor] = {}
    total, room = 0, path.stat().st_size
    for key, tensor in state.items():
        if not isinstance(key, str) or not isinstance(tensor, torch.Tensor):
            raise _refuse(path, "has a model that is not a table of tensors")
        name = key.removeprefix("_orig_mod.").removeprefix("transformer.")
        if name == "lm_head.weight" or name.endswith((".attn.bias", ".attn.masked_bias")):
            continue
        total += tensor.numel() * tensor.element_size()
        if not tensor.is_floating_point() or tensor.layout != torch.strided or tensor.is_meta or total > room:
            raise _refuse(path, f"holds {name[:60]!a}, which is not an ordinary tensor")
        found[name] = LazyTensor(tuple(tensor.shape), np.dtype(np.float32), partial(_read, tensor))
    return found


def _read(tensor: torch.Tensor) -> NDArray[Any]:
    return tensor.detach().to(torch.float32).contiguous().numpy()


def _known_gpt2() -> Tokenizer | None:
    try:
        return load_named("gpt2")
    except DataError:  # 本机没有它；转换照样完成，以后可以用 --tokenizer 再来
        return None
