"""GGUF 文件里的模型：配置取自元数据，张量轮到时才解码，分词器也在同一个文件里。

流入：一个 ``.gguf``（Llama、Qwen3、GPT-2）；流出：``ModelFiles``。
元数据怎样读见 ``../gguf.py``，块怎样解见 ``ggml.py``。
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np

from tinygrad_llm.common.checkpoint import check_tensors
from tinygrad_llm.common.config import GPTConfig
from tinygrad_llm.common.errors import CheckpointError
from tinygrad_llm.common.gguf import GGUF, TensorInfo, read_gguf
from tinygrad_llm.common.lazy import Array, LazyTensor
from tinygrad_llm.common.tokenizers import Tokenizer
from tinygrad_llm.common.tokenizers.gguf_vocab import load_gguf_vocabulary
from tinygrad_llm.common.weights.ggml import BY_NUMBER, GGMLType, decode, stored_bytes
from tinygrad_llm.common.weights.hf_config import checked_layers
from tinygrad_llm.common.weights.jinja import chat_template_name
from tinygrad_llm.common.weights.model_files import ModelFiles
from tinygrad_llm.common.weights.names import FAMILIES, Family, gathered, gguf_links, their_shapes

__all__ = ["gguf_tensors", "read_gguf_model"]

MAX_ALIGNMENT = 1 << 20


def read_gguf_model(path: Path, *, tokenizer: Tokenizer | None = None) -> ModelFiles:
    """读一个 GGUF 文件；权重轮到时才读。

    Args:
        path: 文件。
        tokenizer: 用它代替文件里的分词器。

    Raises:
        CheckpointError: 文件坏了，或装的不是我们认得的模型。
        DataError: 元数据或词表坏了。
    """
    gguf = read_gguf(path)
    tensors = gguf_tensors(path, gguf)
    config, family = _config(gguf, tensors, path)
    links = gguf_links(config, family)
    check_tensors(cast(dict[str, Array], tensors), their_shapes(config, links), where=str(path))
    if tokenizer is None and "tokenizer.ggml.model" in gguf.metadata:
        tokenizer = load_gguf_vocabulary(path)
    chat = chat_template_name(gguf.metadata.get("tokenizer.chat_template"), tokenizer)
    origin = {"source": str(path), "format": "gguf", "name": str(gguf.metadata.get("general.name", ""))[:200]}
    return ModelFiles(config, gathered(tensors, config, links), tokenizer, chat, origin)


# ---- 张量 ----


def gguf_tensors(path: Path, gguf: GGUF) -> dict[str, LazyTensor]:
    """文件里的全部张量，形状倒成 NumPy 的次序；位置与大小都与文件核对过。

    Raises:
        CheckpointError: 类型不认得，或描述与文件对不上。
    """
    alignment = gguf.metadata.get("general.alignment", 32)
    if type(alignment) is not int or not 1 <= alignment <= MAX_ALIGNMENT:
        raise _refuse(path, f"has an impossible alignment {str(alignment)[:40]!r}")
    start = -(-gguf.data_start // alignment) * alignment
    end, found = start, {}
    room = path.stat().st_size
    for info in sorted(gguf.tensors, key=lambda one: one.offset):
        kind = BY_NUMBER.get(info.type)
        if kind is None:
            known = ", ".join(one.name for one in BY_NUMBER.values())
            raise _refuse(path, f"stores {_shown(info)} as GGML type {info.type}; known are {known}")
        shape = info.shape[::-1]
        nbytes = stored_bytes(shape, kind)
        begin = start + info.offset
        if nbytes is None or 0 in shape or begin % alignment or begin < end or begin + nbytes > room:
            raise _refuse(path, f"has a damaged shape or offset for {_shown(info)}, or is truncated")
        if info.name in found:
            raise _refuse(path, f"holds {_shown(info)} twice")
        end = begin + nbytes
        read = partial(_read, path, begin, nbytes, kind, shape)
        found[info.name] = LazyTensor(shape, np.dtype(np.float32), read)
    return found


def _read(path: Path, begin: int, nbytes: int, kind: GGMLType, shape: tuple[int, ...]) -> Array:
    try:
        with path.open("rb") as file:
            file.seek(begin)
            data = file.read(nbytes)
    except OSError as error:
        raise CheckpointError(
            f"cannot read the GGUF file: {error.strerror}", where=str(path), fix="check the path"
        ) from error
    if len(data) != nbytes:
        raise _refuse(path, "ended while a tensor was being read")
    return decode(data, kind).reshape(shape)


def _shown(info: TensorInfo) -> str:
    return ascii(info.name[:60])


def _refuse(path: Path, problem: str) -> CheckpointError:
    return CheckpointError(f"GGUF file {problem}", where=str(path), fix="use another file")


# ---- 配置 ----


def _config(gguf: GGUF, tensors: Mapping[str, LazyTensor], path: Path) -> tuple[GPTConfig, Family]:
    """元数据 → 模型配置；认不得的结构一律拒绝，而不是悄悄算错。"""
    family = next((name for name in FAMILIES if name == gguf.metadata.get("general.architecture")), None)
    if family is None:
        shown = str(gguf.metadata.get("general.architecture"))[:40]
        raise _refuse(path, f"holds the architecture {shown!r}; known are {', '.join(FAMILIES)}")
    keys = _Keys(gguf.metadata, family, path)
    keys.refuse_odd(tensors)
    layers, width, heads = keys.whole("block_count"), keys.whole("embedding_length"), keys.whole("attention.head_count")
    embedding = tensors.get("token_embd.weight")
    if embedding is None or len(embedding.shape) != 2:
        raise _refuse(path, "has no token embedding")
    is_gpt2 = family == "gpt2"
    hidden = keys.whole("feed_forward_length")
    size = keys.whole("attention.key_length", width // max(heads, 1))
    if not is_gpt2 and keys.whole("rope.dimension_count", size) != size:
        raise _refuse(path, "rotates only a part of each head, which is not supported")
    config = GPTConfig(
        vocab_size=embedding.shape[0],
        context=keys.whole("context_length"),
        n_layer=layers,
        n_head=heads,
        n_kv_head=None if is_gpt2 else keys.whole("attention.head_count_kv", heads),
        n_embd=width,
        head_dim=None if size * heads == width else size,
        hidden=None if hidden == 4 * width else hidden,
        norm="layernorm" if is_gpt2 else "rmsnorm",
        norm_eps=keys.real("attention.layer_norm_epsilon" if is_gpt2 else "attention.layer_norm_rms_epsilon"),
        position="learned" if is_gpt2 else "rope",
        rope_theta=keys.real("rope.freq_base", 10000.0),
        mlp="gelu_tanh" if is_gpt2 else "swiglu",
        bias=is_gpt2 or "blk.0.attn_q.bias" in tensors,
        qk_norm=family == "qwen3",
        tie_head="output.weight" not in tensors,
    )
    checked_layers(config, tensors, str(path))
    return config, family


class _Keys:
    """``架构.名字`` 这样的几个键，逐个核对类型。"""

    def __init__(self, metadata: Mapping[str, Any], family: Family, path: Path) -> None:
        self.metadata, self.family, self.path = metadata, family, path

    def whole(self, name: str, default: int | None = None) -> int:
        """一个非负整数。"""
        value = self.metadata.get(f"{self.family}.{name}", default)
        if type(value) is not int or not 0 <= value < 1 << 31:
            raise _refuse(self.path, f"gives {self.family}.{name} as {str(value)[:40]!r}")
        return value

    def real(self, name: str, default: float | None = None) -> float:
        """一个有限的数；文件里是 float32，取写出它的最短十进制。"""
        value = self.metadata.get(f"{self.family}.{name}", default)
        if type(value) not in (int, float) or not math.isfinite(value):
            raise _refuse(self.path, f"gives {self.family}.{name} as {str(value)[:40]!r}")
        return float(str(np.float32(value)))

    def refuse_odd(self, tensors: Mapping[str, LazyTensor]) -> None:
        """我们的模型没有的结构。"""
        scaling = self.metadata.get(f"{self.family}.rope.scaling.type", "none")
        if scaling != "none" or "rope_freqs.weight" in tensors:
            raise _refuse(self.path, "scales its rotary positions, which is not supported")
        if self.metadata.get(f"{self.family}.expert_count", 0) != 0:
            raise _refuse(self.path, "is a mixture of experts, which is not supported")
        if self.metadata.get(f"{self.family}.attention.sliding_window", 0) != 0:
            raise _refuse(self.path, "uses a sliding window, which is not supported")
