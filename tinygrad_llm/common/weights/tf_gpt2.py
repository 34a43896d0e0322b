"""OpenAI 发布的 GPT-2：TensorFlow 检查点、``hparams.json``、``encoder.json`` 与 ``vocab.bpe`` 在同一个文件夹里。

流入：文件夹；流出：``ModelFiles``。检查点怎样读见 ``tf_bundle.py``。
那边的线性层是宽度为 1 的卷积：权重多一维，也是转置的。
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import cast

from tinygrad_llm.common.checkpoint import check_tensors
from tinygrad_llm.common.config import GPTConfig
from tinygrad_llm.common.errors import CheckpointError, UserError
from tinygrad_llm.common.lazy import Array, LazyTensor
from tinygrad_llm.common.manifest import read_bounded, read_json
from tinygrad_llm.common.tokenizers import Tokenizer
from tinygrad_llm.common.tokenizers.formats import load_any
from tinygrad_llm.common.weights.hf_config import checked_layers
from tinygrad_llm.common.weights.model_files import ModelFiles
from tinygrad_llm.common.weights.names import Link, gathered, their_shapes
from tinygrad_llm.common.weights.tf_bundle import read_bundle

__all__ = ["HPARAMS", "read_tf_gpt2"]

HPARAMS = "hparams.json"
_LAYER = {
    "ln_1.weight": "ln_1/g", "ln_1.bias": "ln_1/b", "ln_2.weight": "ln_2/g", "ln_2.bias": "ln_2/b",
    **{f"{part}.{kind}": f"{part.replace('.', '/')}/{short}"
       for part in ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")
       for kind, short in (("weight", "w"), ("bias", "b"))},
}  # fmt: skip
_TOP = {"wte.weight": "wte", "wpe.weight": "wpe", "ln_f.weight": "ln_f/g", "ln_f.bias": "ln_f/b"}


def read_tf_gpt2(folder: Path, *, tokenizer: Tokenizer | None = None) -> ModelFiles:
    """读一个文件夹；权重轮到时才读。

    Args:
        folder: 文件夹。
        tokenizer: 用它代替文件夹里的分词器。

    Raises:
        CheckpointError: 缺文件，文件坏了，或与 ``hparams.json`` 不符。
        DataError: 分词器坏了。
    """
    config = _config(folder)
    tensors = {name: _flat(name, one) for name, one in read_bundle(folder / _prefix(folder)).items()}
    checked_layers(config, tensors, str(folder))
    links = [*_links(_TOP, "", "model/")]
    for layer in range(config.n_layer):
        links += _links(_LAYER, f"h.{layer}.", f"model/h{layer}/")
    check_tensors(cast(dict[str, Array], tensors), their_shapes(config, links), where=str(folder))
    if tokenizer is None and (folder / "vocab.bpe").is_file():
        tokenizer = load_any(folder / "vocab.bpe")
    origin = {"source": str(folder), "format": "tensorflow"}
    return ModelFiles(config, gathered(tensors, config, links), tokenizer, "", origin)


def _links(names: dict[str, str], ours: str, theirs: str) -> list[Link]:
    return [Link(ours + a, (theirs + b,), is_turned=b.endswith("/w")) for a, b in names.items()]


def _flat(name: str, tensor: LazyTensor) -> LazyTensor:
    """卷积的核 ``(1, in, out)`` → ``(in, out)``。"""
    if not name.endswith("/w") or len(tensor.shape) != 3 or tensor.shape[0] != 1:
        return tensor
    return LazyTensor(tensor.shape[1:], tensor.dtype, lambda: tensor.read()[0])


def _prefix(folder: Path) -> str:
    """``checkpoint`` 文件里最近的那一个；没有它就是 ``model.ckpt``。"""
    path = folder / "checkpoint"
    if not path.is_file():
        return "model.ckpt"
    text = read_bounded(path, 1 << 16).decode("utf-8", "replace")
    found = re.search(r'^model_checkpoint_path:\s*"([\w.-]{1,200})"\s*$', text, re.MULTILINE)
    if not found:
        raise CheckpointError("the file names no checkpoint", where=str(path), fix="fetch the files again")
    return found[1]


def _config(folder: Path) -> GPTConfig:
    path = folder / HPARAMS
    data = read_json(path, 1 << 16)
    numbers = {name: data.get(name) for name in ("n_vocab", "n_ctx", "n_embd", "n_head", "n_layer")}
    if not all(type(value) is int and 0 < value < 1 << 31 for value in numbers.values()):
        raise CheckpointError("the model's shape is missing or damaged", where=str(path), fix="fetch the files again")
    shape = cast(dict[str, int], numbers)
    try:
        return GPTConfig(shape["n_vocab"], shape["n_ctx"], shape["n_layer"], shape["n_head"], n_embd=shape["n_embd"])
    except UserError as error:
        raise CheckpointError(error.problem, where=str(path), fix="fetch the files again") from error
