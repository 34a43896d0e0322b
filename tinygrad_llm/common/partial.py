"""只存了一部分参数的检查点：LoRA 的支路、末几层、分类头；其余的在它出发的那次运行里。

流入：检查点与它记着的出处；流出：完整的权重，支路已经并入，于是生成、对话、量化、导出都不必知道它是怎样练成的。
支路怎样并入与 ``lora.py`` 的 ``merge`` 相同。下一个文件：``session.py``（``load_weights`` 在这里把权重补全）。
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinygrad_llm.common.checkpoint import Checkpoint, check_tensors
from tinygrad_llm.common.config import GPTConfig, parameter_shapes
from tinygrad_llm.common.errors import CheckpointError
from tinygrad_llm.common.lineage import weights_digest
from tinygrad_llm.common.quantization import STATE_KEY, dequantized, join

__all__ = ["base_weights", "completed", "find_base", "folded", "is_partial", "trained_shapes"]

A, B = ".lora_A", ".lora_B"


def is_partial(state: Mapping[str, Any]) -> bool:
    """检查点里是不是只有一部分参数。"""
    method = state.get("method")
    return isinstance(method, dict) and bool(method.get("trained"))


def trained_shapes(state: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """检查点里应有的参数与形状。"""
    return {name: tuple(shape) for name, shape in state["method"]["trained"].items()}


def completed(config: GPTConfig, checkpoint: Checkpoint, folder: Path) -> Checkpoint:
    """补全一个检查点；它自己的参数盖过出发点的，支路并入权重，模型没有的（分类头）不算在内。

    Args:
        config: 模型配置。
        checkpoint: 只有一部分参数的检查点。
        folder: 它在哪里。

    Returns:
        完整的检查点，``state`` 里不再有量化的记载：并入支路之后权重是浮点数。

    Raises:
        CheckpointError: 张量与记载不符，出发点找不到，或已不是原来的权重。
    """
    check_tensors(checkpoint.model, trained_shapes(checkpoint.state), where=str(folder))
    shapes = parameter_shapes(config)
    own = {name: array for name, array in checkpoint.model.items() if name in shapes}
    base = {} if own.keys() == shapes.keys() else base_weights(checkpoint.state, folder)  # 自己什么都有，就不必找
    weights = folded({**base, **own}, checkpoint.model, checkpoint.state["method"].get("adapter", {}))
    state = {name: value for name, value in checkpoint.state.items() if name != STATE_KEY}
    return replace(checkpoint, model=weights, state=state)


def folded(
    weights: Mapping[str, NDArray[Any]], branches: Mapping[str, NDArray[Any]], settings: Mapping[str, Any]
) -> dict[str, NDArray[Any]]:
    """把支路并入权重：``W + (α/r)·B·A``，先以 float64 相乘。

    Args:
        weights: 参数名到数组。
        branches: 含有 ``层.lora_A``、``层.lora_B`` 的数组；没有的层不动。
        settings: LoRA 的 ``rank`` 与 ``alpha``。

    Returns:
        新的权重；没有支路的与原来是同一个数组。
    """
    found = dict(weights)
    for name, a in branches.items():
        if name.endswith(A):
            layer = name.removesuffix(A)
            delta = branches[layer + B].astype(np.float64) @ a.astype(np.float64)
            delta *= float(settings["alpha"]) / int(settings["rank"])
            weight = found[f"{layer}.weight"]
            found[f"{layer}.weight"] = (weight.astype(np.float64) + delta).astype(weight.dtype)
    return found


def find_base(state: Mapping[str, Any], folder: Path) -> Path:
    """出发点的检查点文件夹：照记着的路径找；整个 ``runs/`` 搬走了，就在自己旁边找同名的。

    Args:
        state: 检查点的状态。
        folder: 检查点所在的运行文件夹，或其中的检查点文件夹。

    Raises:
        CheckpointError: 两处都没有。
    """
    source = state.get("source") or {}
    run = folder.parent.parent if folder.parent.name == "checkpoints" else folder
    named = Path(str(source.get("run", "")))
    for base in (named, run.parent / named.name):
        if source and base.exists():
            kept = base / "checkpoints" / f"step_{int(source['step']):06d}"
            return kept if kept.exists() else base
    raise CheckpointError(
        f"this run holds only what was trained on top of {named or 'another run'}, which is not there",
        where=str(folder),
        fix=f"put that run beside it, as {run.parent / named.name}",
    )


def base_weights(state: Mapping[str, Any], folder: Path) -> dict[str, NDArray[Any]]:
    """出发点的权重，量化了的已还原。

    Args:
        state: 检查点的状态，或只有 ``source`` 一项的字典。
        folder: 检查点所在的运行文件夹，或其中的检查点文件夹。

    Raises:
        CheckpointError: 出发点不在了，或已不是原来的权重。
    """
    from tinygrad_llm.common.session import load_weights  # 两个文件互相用到

    base = find_base(state, folder)
    config, checkpoint = load_weights(base)
    weights = checkpoint.model
    if STATE_KEY in checkpoint.state:
        weights = dequantized(join(config, weights, checkpoint.state[STATE_KEY], where=str(base)))
    if weights_digest(weights) != state["source"].get("weights_sha256"):
        raise CheckpointError(
            "the run that this one was trained on top of has changed",
            where=str(base),
            fix="restore the weights that it had then",
        )
    return weights
