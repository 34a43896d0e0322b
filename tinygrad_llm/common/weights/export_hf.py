"""写成 HF 文件夹，``transformers`` 直接打得开：配置、权重、分词器、生成的设置。

流入：``Exported``；流出：``config.json``、``model.safetensors``、``tokenizer.json`` 等。反过来读见 ``hf_folder.py``。
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_llm.common.config import parameter_count
from tinygrad_llm.common.errors import UserError
from tinygrad_llm.common.lazy import Array, LazyTensor
from tinygrad_llm.common.safetensors import write_safetensors
from tinygrad_llm.common.tokenizers import Tokenizer
from tinygrad_llm.common.tokenizers.formats_hf import hf_json
from tinygrad_llm.common.weights.exporting import Exported, checked_finite, put_in_place
from tinygrad_llm.common.weights.ggml import BY_NAME, encoded
from tinygrad_llm.common.weights.hf_config import config_to_hf
from tinygrad_llm.common.weights.jinja import jinja_of
from tinygrad_llm.common.weights.names import hf_links, to_theirs

__all__ = ["HF_DTYPES", "write_hf_folder"]

HF_DTYPES: dict[str, np.dtype[Any]] = {
    "float32": np.dtype(np.float32),
    "float16": np.dtype(np.float16),
    "bfloat16": np.dtype(np.uint16),
}


def write_hf_folder(model: Exported, target: Path, dtype: str) -> None:
    """写出整个文件夹。

    Args:
        model: 模型。
        target: 文件夹，须不存在或是空的。
        dtype: ``float32``、``float16`` 或 ``bfloat16``。

    Raises:
        UserError: 那里已有东西，没有这种类型，有的数装不下，或词表用 HF 的格式写不全。
        OutOfDiskError: 写不下。
    """
    if dtype not in HF_DTYPES:
        raise UserError(f"an HF folder cannot hold {dtype}", fix=f"use one of {', '.join(HF_DTYPES)}")
    eot, stop = model.end_ids
    tokens = {"bos_token_id": eot, "eos_token_id": stop, "pad_token_id": eot if stop != eot else None}
    texts: dict[str, Any] = {
        "config.json": config_to_hf(model.config, model.family, dtype, tokens),
        "generation_config.json": {"_from_model_config": True} | tokens,
    }
    if model.tokenizer is not None:
        texts["tokenizer_config.json"] = _tokenizer_config(model, model.tokenizer)
        texts["tokenizer.json"] = json.loads(hf_json(model.tokenizer))
    theirs = to_theirs(model.weights, hf_links(model.config, model.family))
    stored = {name: _stored(name, array, dtype) for name, array in theirs.items()}
    with put_in_place(target, parameter_count(model.config) * HF_DTYPES[dtype].itemsize + (1 << 24)) as folder:
        for name, content in texts.items():
            (folder / name).write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        write_safetensors(folder / "model.safetensors", stored, {"format": "pt"})


def _stored(name: str, array: Array, dtype: str) -> LazyTensor:
    return LazyTensor(array.shape, HF_DTYPES[dtype], partial(_narrowed, name, array, dtype), dtype == "bfloat16")


def _narrowed(name: str, array: Array, dtype: str) -> Array:
    if dtype == "bfloat16":
        return encoded(array, BY_NAME["BF16"]).reshape(array.shape)
    with np.errstate(over="ignore"):
        return checked_finite(array.astype(HF_DTYPES[dtype], copy=False), name, dtype)


def _tokenizer_config(model: Exported, tokenizer: Tokenizer) -> dict[str, Any]:
    eot, stop = model.end_ids
    names = dict(zip(tokenizer.layout.special_ids, tokenizer.specials, strict=True))
    found: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": model.config.context,
        "clean_up_tokenization_spaces": False,
    }
    if eot is not None and stop is not None:
        found |= {"bos_token": names[eot], "eos_token": names[stop]}
    if model.template is not None:
        found["chat_template"] = jinja_of(model.template)
    return found
