"""写成 GGUF：``llama.cpp`` 一类的软件打得开的单个文件，分词器也在里面。

流入：``Exported``；流出：``NAME-DTYPE.gguf``。格式见 ``../gguf.py``，块见 ``ggml.py``；反过来读见 ``gguf_models.py``。
一维的（归一化与偏置）与位置表总存成 float32：它们很小，而舍入会处处放大。
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from tinygrad_llm.common.config import GPTConfig, parameter_count
from tinygrad_llm.common.errors import UserError
from tinygrad_llm.common.lazy import Array
from tinygrad_llm.common.tokenizers import Tokenizer
from tinygrad_llm.common.tokenizers.formats_hf import merge_rows
from tinygrad_llm.common.tokenizers.layout import MISSING
from tinygrad_llm.common.tokenizers.symbols import chars_of
from tinygrad_llm.common.weights.exporting import Exported, checked_finite, put_in_place
from tinygrad_llm.common.weights.ggml import BY_NAME, GGMLType, encoded, stored_bytes
from tinygrad_llm.common.weights.jinja import jinja_of
from tinygrad_llm.common.weights.names import Family, gguf_links, to_theirs

__all__ = ["GGUF_DTYPES", "write_gguf"]

ALIGNMENT = 32
GGUF_DTYPES = {"float32": ("F32", 0), "float16": ("F16", 1), "bfloat16": ("BF16", 32), "q8_0": ("Q8_0", 7),
               "q4_0": ("Q4_0", 2), "q4_1": ("Q4_1", 3)}  # fmt: skip
"""类型名到 GGML 的名字与 ``general.file_type``。"""

_PRE = {"gpt2": "gpt-2", "smollm": "smollm", "llama3": "llama-bpe", "qwen2": "qwen2", "o200k": "gpt-4o"}
_UINT32, _FLOAT32, _BOOL, _STRING, _ARRAY, _INT32 = 4, 6, 7, 8, 9, 5
_LAYOUT = {_UINT32: "<I", _FLOAT32: "<f", _BOOL: "<?", _INT32: "<i"}
_NORMAL, _CONTROL, _UNUSED = 1, 3, 5
Entry = tuple[int, Any]
"""一个值：类型号与内容；数组的内容是（元素的类型号，列表）。"""


def write_gguf(model: Exported, target: Path, dtype: str) -> Path:
    """写出一个文件。

    Args:
        model: 模型。
        target: 放它的文件夹，须不存在或是空的。
        dtype: ``GGUF_DTYPES`` 之一。

    Returns:
        写下的文件。

    Raises:
        UserError: 那里已有东西，没有这种类型，有的数装不下，或 GGUF 写不下这个模型或词表。
        OutOfDiskError: 写不下。
    """
    if dtype not in GGUF_DTYPES:
        raise UserError(f"a GGUF file cannot hold {dtype}", fix=f"use one of {', '.join(GGUF_DTYPES)}")
    wanted, file_type = GGUF_DTYPES[dtype]
    metadata = _model_keys(model.config, model.family) | {
        "general.name": (_STRING, model.name),
        "general.file_type": (_UINT32, file_type),
    }
    if model.tokenizer is not None:
        metadata |= _tokenizer_keys(model, model.tokenizer)
    tensors = to_theirs(model.weights, gguf_links(model.config, model.family))
    kinds = {name: _kind(name, array, BY_NAME[wanted]) for name, array in tensors.items()}
    with put_in_place(target, parameter_count(model.config) * 4 + (1 << 24)) as folder:
        path = folder / f"{model.name}-{dtype}.gguf"
        with path.open("wb") as file:
            _write(file, metadata, tensors, kinds, dtype)
    return target / path.name


def _kind(name: str, array: Array, wanted: GGMLType) -> GGMLType:
    if array.ndim < 2 or name.startswith("position"):
        return BY_NAME["F32"]
    return wanted if stored_bytes(array.shape, wanted) is not None else BY_NAME["F16"]


# ---- 键 ----


def _model_keys(config: GPTConfig, family: Family) -> dict[str, Entry]:
    is_gpt2 = family == "gpt2"
    if is_gpt2 and config.mlp == "gelu":
        raise UserError("GGUF's GPT-2 has the tanh GELU only", fix="export with --format hf")
    whole = {
        "context_length": config.context, "embedding_length": config.n_embd, "block_count": config.n_layer,
        "feed_forward_length": config.hidden_size, "attention.head_count": config.n_head,
        "vocab_size": config.vocab_size,
    }  # fmt: skip
    epsilon = "attention.layer_norm_epsilon" if is_gpt2 else "attention.layer_norm_rms_epsilon"
    real = {epsilon: config.norm_eps}
    if not is_gpt2:
        whole |= {"attention.head_count_kv": config.kv_heads, "rope.dimension_count": config.head_size,
                  "attention.key_length": config.head_size, "attention.value_length": config.head_size}  # fmt: skip
        real["rope.freq_base"] = config.rope_theta
    found: dict[str, Entry] = {"general.architecture": (_STRING, family)}
    found |= {f"{family}.{name}": (_UINT32, value) for name, value in whole.items()}
    return found | {f"{family}.{name}": (_FLOAT32, value) for name, value in real.items()}


def _tokenizer_keys(model: Exported, tokenizer: Tokenizer) -> dict[str, Entry]:
    if tokenizer.pattern not in _PRE:
        raise UserError(f"GGUF has no name for the pattern {tokenizer.pattern}", fix="export with --format hf")
    names = [f"[PAD{id}]" for id in range(model.config.vocab_size)]
    types = [_UNUSED] * len(names)
    layout = tokenizer.layout
    ordinary = [*zip(layout.symbol_ids, tokenizer.symbols, strict=True), *layout.unused.items()]
    for id, token in ordinary:
        if id != MISSING:
            names[id], types[id] = chars_of(token), _NORMAL
    for id, name in zip(layout.special_ids, tokenizer.specials, strict=True):
        names[id], types[id] = name, _CONTROL
    if len(set(names)) != len(names):
        raise UserError("a special token is also an ordinary token, which GGUF cannot tell apart")
    eot, stop = model.end_ids
    ids = {"bos_token_id": eot, "eos_token_id": stop, "eot_token_id": stop}
    merges = [" ".join(row) for row in merge_rows(tokenizer)]
    found: dict[str, Entry] = {
        "model": (_STRING, "gpt2"), "pre": (_STRING, _PRE[tokenizer.pattern]),
        "tokens": (_ARRAY, (_STRING, names)), "token_type": (_ARRAY, (_INT32, types)),
        "merges": (_ARRAY, (_STRING, merges)), "add_bos_token": (_BOOL, False), "add_space_prefix": (_BOOL, False),
    }  # fmt: skip
    found |= {name: (_UINT32, id) for name, id in ids.items() if id is not None}
    found = {f"tokenizer.ggml.{name}": entry for name, entry in found.items()}
    if model.template is not None:
        found["tokenizer.chat_template"] = (_STRING, jinja_of(model.template))
    return found


# ---- 字节 ----


def _write(
    file: BinaryIO,
    metadata: Mapping[str, Entry],
    tensors: Mapping[str, Array],
    kinds: Mapping[str, GGMLType],
    dtype: str,
) -> None:
    file.write(struct.pack("<4sIQQ", b"GGUF", 3, len(tensors), len(metadata)))
    for key, (type, value) in metadata.items():
        file.write(_text(key) + struct.pack("<I", type) + b"".join(_value(type, value)))
    offset = 0
    for name, array in tensors.items():
        shape = array.shape[::-1]
        file.write(_text(name) + struct.pack(f"<I{len(shape)}Q", len(shape), *shape))
        file.write(struct.pack("<IQ", kinds[name].number, offset))
        offset += _aligned(stored_bytes(array.shape, kinds[name]) or 0)
    file.write(bytes(_aligned(file.tell()) - file.tell()))
    for name, array in tensors.items():
        units = encoded(array, kinds[name])
        _check_fits(units, name, dtype)
        file.write(units.view(np.uint8).data)
        file.write(bytes(_aligned(units.nbytes) - units.nbytes))


def _check_fits(units: Array, name: str, dtype: str) -> None:
    """float16 的数与比例都没有溢出。"""
    for part in [units[field] for field in units.dtype.names or ()] or [units]:
        if part.dtype.kind == "f":
            checked_finite(part, name, dtype)


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def _text(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def _value(type: int, value: Any) -> Iterator[bytes]:
    if type == _STRING:
        yield _text(value)
    elif type == _ARRAY:
        inner, items = value
        yield struct.pack("<IQ", inner, len(items))
        for item in items:
            yield from _value(inner, item)
    else:
        yield struct.pack(_LAYOUT[type], value)
