"""LoRA 的支路与别处往来：``peft`` 的文件夹读进来、写出去；支路并入底座，成为普通的运行。

流入：只存了支路的运行，或 ``adapter_model.safetensors`` 与 ``adapter_config.json``；流出：另一种。
我们的 ``c_attn`` 是 q、k、v 拼成的。写成 Llama 的样子时，三处用同一个 A，B 各取自己的行；读回来时三个 A 若不相同，
就拼成秩 3r 的一对：A 上下相接，B 排成分块对角。下一个文件：``adapter_command.py``。
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinygrad_llm.common.adapter import TARGETS, LoRAConfig
from tinygrad_llm.common.config import GPTConfig, parameter_shapes
from tinygrad_llm.common.errors import CheckpointError, DataError
from tinygrad_llm.common.manifest import read_json
from tinygrad_llm.common.safetensors import read_safetensors, write_safetensors
from tinygrad_llm.common.weights.hf_config import family_of
from tinygrad_llm.common.weights.names import Link, hf_links

__all__ = ["read_peft", "write_peft"]

Arrays = dict[str, NDArray[Any]]
WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
PREFIX = "base_model.model."
MAX_CONFIG_BYTES = 1 << 20
PLAIN = {"use_dora": False, "use_rslora": False, "bias": "none", "rank_pattern": {}, "alpha_pattern": {},
         "modules_to_save": None, "layer_replication": None}  # fmt: skip
"""``peft`` 的几项花样，只收不用它们的。"""


def write_peft(folder: Path, config: GPTConfig, branches: Mapping[str, NDArray[Any]], lora: LoRAConfig) -> None:
    """写成 ``peft`` 打得开的文件夹。

    Args:
        folder: 写到哪里；没有则创建。
        config: 底座的模型配置。
        branches: ``层.lora_A``、``层.lora_B`` 到数组。
        lora: 设置。

    Raises:
        UserError: 底座不是 ``transformers`` 有的结构。
    """
    family = family_of(config)
    tensors: Arrays = {}
    modules: list[str] = []
    for layer, link in _adapted(config, branches).items():
        a, b = branches[f"{layer}.lora_A"], branches[f"{layer}.lora_B"]
        for name, rows in zip(link.theirs, _cut(b, link), strict=True):
            module = name.removesuffix(".weight")
            modules.append(module.rpartition(".")[2])
            tensors[f"{PREFIX}{module}.lora_A.weight"] = np.array(a)
            tensors[f"{PREFIX}{module}.lora_B.weight"] = np.ascontiguousarray(rows)
    described = {
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": "", "inference_mode": True,
        "r": lora.rank, "lora_alpha": lora.alpha, "lora_dropout": lora.dropout,
        "target_modules": sorted(set(modules)), "fan_in_fan_out": family == "gpt2", **PLAIN,
    }  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    write_safetensors(folder / WEIGHTS, tensors)
    (folder / CONFIG).write_text(json.dumps(described, indent=1) + "\n", encoding="utf-8")


def read_peft(folder: Path, config: GPTConfig) -> tuple[Arrays, LoRAConfig]:
    """读 ``peft`` 的文件夹；没有支路的层补零，秩不足的也补零，输出不变。

    Args:
        folder: 文件夹。
        config: 底座的模型配置。

    Returns:
        ``层.lora_A``、``层.lora_B`` 到数组（float32），与设置。

    Raises:
        DataError: 不是 LoRA、用了我们没有的花样，或形状与底座不符。
        CheckpointError: 文件坏了。
    """
    path = folder / CONFIG
    described = read_json(path, MAX_CONFIG_BYTES)
    rank, alpha = _settings(described, path)
    tensors, _ = read_safetensors(folder / WEIGHTS)
    theirs = {name.removeprefix(PREFIX): array.astype(np.float32) for name, array in tensors.items()}
    links = {link.ours.removesuffix(".weight"): link for link in hf_links(config, family_of(config))}
    pairs = {layer: _pair(theirs, link, rank, config, path) for layer, link in links.items() if _kind(layer) in TARGETS}
    kinds = {_kind(layer) for layer, pair in pairs.items() if pair is not None}
    if theirs or not kinds:
        name = next(iter(theirs), "no LoRA weights")
        raise DataError(
            "the adapter does not fit this model", where=f"{folder}: {name}", fix="name its base model in --from"
        )
    widest = max(len(pair[0]) for pair in pairs.values() if pair is not None)
    shapes, found = parameter_shapes(config), {}
    for layer, pair in pairs.items():
        if _kind(layer) in kinds:
            out, inner = shapes[f"{layer}.weight"]
            a, b = pair or (np.zeros((0, inner), np.float32), np.zeros((out, 0), np.float32))
            found[f"{layer}.lora_A"] = np.pad(a, ((0, widest - len(a)), (0, 0)))
            found[f"{layer}.lora_B"] = np.pad(b, ((0, 0), (0, widest - b.shape[1])))
    targets = tuple(kind for kind in TARGETS if kind in kinds)
    return found, LoRAConfig(widest, alpha * widest / rank, float(described.get("lora_dropout") or 0.0), targets)


def _settings(described: Mapping[str, Any], path: Path) -> tuple[int, float]:
    """秩与缩放。"""
    rank, alpha = described.get("r"), described.get("lora_alpha")
    is_lora = described.get("peft_type") == "LORA" and type(rank) is int and rank > 0
    if not is_lora or not isinstance(alpha, int | float):
        raise DataError("not the settings of a LoRA adapter", where=str(path), fix="give a folder that peft wrote")
    fancy = [name for name, plain in PLAIN.items() if (described.get(name) or plain) != plain]
    if fancy:
        raise DataError(f"adapters with {', '.join(fancy)} are not supported", where=str(path))
    return int(str(rank)), float(alpha)


def _adapted(config: GPTConfig, branches: Mapping[str, NDArray[Any]]) -> dict[str, Link]:
    links = {link.ours.removesuffix(".weight"): link for link in hf_links(config, family_of(config))}
    return {
        name.removesuffix(".lora_A"): links[name.removesuffix(".lora_A")] for name in branches if name.endswith("A")
    }


def _cut(b: NDArray[Any], link: Link) -> list[NDArray[Any]]:
    return np.split(b, np.cumsum(link.rows)[:-1]) if len(link.rows) > 1 else [b]


def _pair(
    theirs: Arrays, link: Link, rank: int, config: GPTConfig, path: Path
) -> tuple[NDArray[Any], NDArray[Any]] | None:
    """一层的 A 与 B，从 ``theirs`` 里取走；一处支路也没有为 ``None``。"""
    out, inner = parameter_shapes(config)[link.ours]
    parts = []
    for name, rows in zip(link.theirs, link.rows or (out,), strict=True):
        module = name.removesuffix(".weight")
        a, b = theirs.pop(f"{module}.lora_A.weight", None), theirs.pop(f"{module}.lora_B.weight", None)
        shapes = [None if one is None else one.shape for one in (a, b)]
        if shapes not in ([None, None], [(rank, inner), (rows, rank)]):
            raise CheckpointError(f"the adapter of {module} has another shape", where=str(path), fix="check the base")
        parts.append((a, b, rows))
    given = [a for a, _, _ in parts if a is not None]
    if not given:
        return None
    if len(given) == len(parts) and all(np.array_equal(a, given[0]) for a in given):
        return given[0], np.concatenate([b for _, b, _ in parts if b is not None])
    a_all, b_all, row, column = np.concatenate(given), np.zeros((out, rank * len(given)), np.float32), 0, 0
    for _, b, rows in parts:
        if b is not None:
            b_all[row : row + rows, column : column + rank] = b
            column += rank
        row += rows
    return a_all, b_all


def _kind(layer: str) -> str:
    return layer.rpartition(".")[2]
