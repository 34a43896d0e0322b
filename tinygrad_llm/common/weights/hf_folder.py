"""HF 的模型文件夹：``config.json`` 与 safetensors（可以分成几个），分词器也在里面。

流入：文件夹；流出：``ModelFiles``，权重轮到时才读。里面的代码与 ``pytorch_model.bin``（pickle）从来不碰。
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from tinygrad_llm.common.checkpoint import check_tensors
from tinygrad_llm.common.config import GPTConfig
from tinygrad_llm.common.errors import CheckpointError
from tinygrad_llm.common.lazy import Array, LazyTensor
from tinygrad_llm.common.manifest import read_bounded, read_json
from tinygrad_llm.common.safetensors import lazy_safetensors
from tinygrad_llm.common.tokenizers import Tokenizer
from tinygrad_llm.common.tokenizers.formats import load_any
from tinygrad_llm.common.weights.hf_config import checked_layers, config_from_hf
from tinygrad_llm.common.weights.jinja import chat_template_name
from tinygrad_llm.common.weights.model_files import ModelFiles
from tinygrad_llm.common.weights.names import Family, gathered, hf_links, their_shapes

__all__ = ["read_hf_folder"]

WEIGHTS, INDEX, CONFIG = "model.safetensors", "model.safetensors.index.json", "config.json"
MAX_JSON_BYTES = 16 << 20
_PREFIX = {"gpt2": "transformer.", "llama": "model.", "qwen3": "model."}
_BUFFERS = (".attn.bias", ".attn.masked_bias", ".rotary_emb.inv_freq")
"""不是参数：因果掩码与旋转角，旧的文件里有时存着。"""


def read_hf_folder(folder: Path, *, tokenizer: Tokenizer | None = None) -> ModelFiles:
    """读一个 HF 文件夹；权重轮到时才读。

    Args:
        folder: 文件夹。
        tokenizer: 用它代替文件夹里的分词器。

    Raises:
        CheckpointError: 缺文件，文件坏了，或装的不是我们认得的模型。
        DataError: 分词器坏了，或不是字节级 BPE。
    """
    config, family = config_from_hf(read_json(folder / CONFIG, MAX_JSON_BYTES), str(folder / CONFIG))
    tensors = _plain_names(_tensors(folder), config, family)
    checked_layers(config, tensors, str(folder))
    links = hf_links(config, family)
    check_tensors(cast(dict[str, Array], tensors), their_shapes(config, links), where=str(folder))
    if tokenizer is None and any((folder / name).is_file() for name in ("tokenizer.json", "vocab.json", "vocab.bpe")):
        tokenizer = load_any(folder)
    chat = chat_template_name(_chat_template(folder), tokenizer)
    return ModelFiles(
        config, gathered(tensors, config, links), tokenizer, chat, {"source": str(folder), "format": "hf"}
    )


def _tensors(folder: Path) -> dict[str, LazyTensor]:
    """一个文件，或索引所列的几个文件里的张量。"""
    if not (folder / INDEX).is_file():
        if not (folder / WEIGHTS).is_file():
            raise CheckpointError(
                f"the folder has no {WEIGHTS}", where=str(folder), fix="other weight files are not read: convert them"
            )
        return _floats(lazy_safetensors(folder / WEIGHTS)[0], folder / WEIGHTS)
    places = read_json(folder / INDEX, MAX_JSON_BYTES).get("weight_map")
    if not isinstance(places, dict) or not all(_is_file_name(name) for name in places.values()):
        raise CheckpointError("the index of the shards is damaged", where=str(folder / INDEX), fix="fetch it again")
    found: dict[str, LazyTensor] = {}
    for file in sorted(set(places.values())):
        shard = _floats(lazy_safetensors(folder / file)[0], folder / file)
        if shard.keys() != {name for name, place in places.items() if place == file}:
            raise CheckpointError(
                f"the index does not agree with {file}", where=str(folder / INDEX), fix="fetch the folder again"
            )
        found |= shard
    return found


def _is_file_name(name: object) -> bool:
    """只许是同一文件夹里的 safetensors，不许走到别处去。"""
    return isinstance(name, str) and name.endswith(".safetensors") and not set(name) & set("/\\\0:")


def _floats(tensors: dict[str, LazyTensor], path: Path) -> dict[str, LazyTensor]:
    odd = [name for name, one in tensors.items() if one.dtype.kind != "f" and not name.endswith(_BUFFERS)]
    if odd:
        raise CheckpointError(
            f"{odd[0][:60]!a} is stored as {tensors[odd[0]].dtype}, not as a float",
            where=str(path),
            fix="use weights that are not quantised",
        )
    return tensors


def _plain_names(tensors: Mapping[str, LazyTensor], config: GPTConfig, family: Family) -> dict[str, LazyTensor]:
    """补上有时省去的前缀，去掉不是参数的与共用的输出层。"""
    prefix = _PREFIX[family]
    if not any(name.startswith(prefix) for name in tensors):
        tensors = {name if name.startswith("lm_head.") else prefix + name: one for name, one in tensors.items()}
    return {
        name: one
        for name, one in tensors.items()
        if not name.endswith(_BUFFERS) and not (config.tie_head and name == "lm_head.weight")
    }


def _chat_template(folder: Path) -> Any:
    """对话模板的源码；只拿来辨认，不执行。"""
    if (folder / "chat_template.jinja").is_file():
        return read_bounded(folder / "chat_template.jinja", MAX_JSON_BYTES).decode("utf-8", "replace")
    path = folder / "tokenizer_config.json"
    return read_json(path, MAX_JSON_BYTES).get("chat_template") if path.is_file() else None
