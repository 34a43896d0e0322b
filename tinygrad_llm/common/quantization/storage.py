"""整个模型的量化：哪些张量量化，存成什么名字，读回来时怎样核对。

流入：参数名到数组；流出：检查点里的数组与元数据，或者反过来。
矩阵怎样舍入见 ``rounding.py``；运行文件夹见 ``command.py``。

矩阵 ``NAME`` 存成 ``NAME.codes``、``NAME.scale`` 与（有零点时）``NAME.zero``；归一化、偏置与位置嵌入原样不动。
元数据在检查点的 ``state["quantization"]`` 里，与张量同样有摘要保护。
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from tinygrad_llm.common.checkpoint import check_tensors
from tinygrad_llm.common.config import GPTConfig, parameter_shapes
from tinygrad_llm.common.errors import CheckpointError, UserError

from .rounding import Packed, choose_scheme, dequantize, quantize
from .scheme import Scheme

__all__ = [
    "STATE_KEY",
    "Rounder",
    "dequantized",
    "expected_shapes",
    "join",
    "matrices",
    "quantize_tensors",
    "schemes_of",
    "split",
]

Array = npt.NDArray[Any]
Rounder = Callable[[str, Array, Scheme], Packed]
"""（参数名，矩阵，存法）到量化了的矩阵。"""
STATE_KEY = "quantization"
VERSION = 1
HEADS = ("wte.weight", "lm_head.weight")
"""词嵌入与输出层。"""


def matrices(config: GPTConfig) -> list[str]:
    """要量化的参数：各线性层、词嵌入与输出层；位置嵌入每步只读一行，不量化。"""
    return [name for name, shape in parameter_shapes(config).items() if len(shape) == 2 and name != "wpe.weight"]


def nearest(name: str, w: Array, scheme: Scheme) -> Packed:
    """就近舍入；``Rounder`` 里最简单的一个。"""
    return quantize(w, scheme)


def quantize_tensors(
    config: GPTConfig, tensors: Mapping[str, Array], scheme_of: Callable[[str], Scheme], rounder: Rounder = nearest
) -> dict[str, Array | Packed]:
    """量化一个模型的全部矩阵。

    Args:
        config: 模型配置。
        tensors: 参数名到数组。
        scheme_of: 参数名到存法；int4 有没有零点，逐个矩阵按误差定。
        rounder: 怎样舍入。

    Returns:
        参数名到量化了的矩阵，或原样的数组。
    """
    chosen = set(matrices(config))
    return {
        name: rounder(name, array, choose_scheme(array, scheme_of(name))) if name in chosen else array
        for name, array in tensors.items()
    }


def split(tensors: Mapping[str, Array | Packed]) -> tuple[dict[str, Array], dict[str, Any]]:
    """拆成检查点里的数组，与描述它们的元数据。

    Returns:
        名字到数组；``{"version": ..., "tensors": {参数名: 存法}}``。
    """
    arrays: dict[str, Array] = {}
    described: dict[str, Any] = {}
    for name, value in tensors.items():
        if isinstance(value, Packed):
            described[name] = value.scheme.to_dict()
            arrays |= {f"{name}.{part}": array for part, array in value.arrays().items()}
        else:
            arrays[name] = value
    return arrays, {"version": VERSION, "tensors": described}


def schemes_of(config: GPTConfig, metadata: object, *, where: str) -> dict[str, Scheme]:
    """核对元数据，得到每个矩阵的存法。

    Args:
        config: 模型配置。
        metadata: 检查点里的 ``state["quantization"]``。
        where: 报错时指出的位置。

    Returns:
        参数名到存法。

    Raises:
        CheckpointError: 元数据损坏，或与模型不符。
    """
    if not isinstance(metadata, dict) or not isinstance(metadata.get("tensors"), dict):
        raise _damaged("does not list the quantised tensors", where)
    if metadata.get("version") != VERSION:
        raise _damaged(f"has version {metadata.get('version')!r}, and this program reads version {VERSION}", where)
    listed = metadata["tensors"]
    strangers = sorted(set(listed) - set(matrices(config)))
    if strangers or not listed:
        raise _damaged(f"names {strangers[0]!a}, no matrix of the model" if strangers else "names no tensor", where)
    try:
        return {name: Scheme.from_dict(values) for name, values in listed.items()}
    except UserError as error:
        raise _damaged(f"is damaged: {error.problem}", where) from error


def stored_shapes(config: GPTConfig, schemes: Mapping[str, Scheme]) -> dict[str, tuple[int, ...]]:
    """检查点里应有的名字与形状。"""
    found: dict[str, tuple[int, ...]] = {}
    for name, shape in parameter_shapes(config).items():
        if name in schemes:
            found |= {f"{name}.{part}": wanted for part, (wanted, _) in schemes[name].parts(shape).items()}
        else:
            found[name] = shape
    return found


def expected_shapes(config: GPTConfig, state: Mapping[str, Any], *, where: str) -> dict[str, tuple[int, ...]]:
    """一个检查点里应有的名字与形状，不论它量化了没有。

    Args:
        config: 模型配置。
        state: 检查点的 ``state``。
        where: 报错时指出的位置。

    Raises:
        CheckpointError: 元数据损坏，或与模型不符。
    """
    if STATE_KEY not in state:
        return parameter_shapes(config)
    return stored_shapes(config, schemes_of(config, state[STATE_KEY], where=where))


def join(config: GPTConfig, arrays: Mapping[str, Array], metadata: object, *, where: str) -> dict[str, Array | Packed]:
    """``split`` 的逆；核对名字、形状、类型与比例尺。

    Args:
        config: 模型配置。
        arrays: 检查点里的数组。
        metadata: 检查点里的元数据。
        where: 报错时指出的位置。

    Returns:
        参数名到量化了的矩阵，或原样的数组。

    Raises:
        CheckpointError: 元数据损坏，或数组与它不符。
    """
    schemes = schemes_of(config, metadata, where=where)
    check_tensors(arrays, stored_shapes(config, schemes), where=where)
    found: dict[str, Array | Packed] = {}
    for name, shape in parameter_shapes(config).items():
        if name not in schemes:
            found[name] = arrays[name]
            continue
        parts = schemes[name].parts(shape)
        for part, (_, kinds) in parts.items():
            kind = arrays[f"{name}.{part}"].dtype.name
            if kind not in kinds:
                raise _damaged(f"calls for {name}.{part} of {' or '.join(kinds)}, but it is {kind}", where)
        packed = Packed(schemes[name], (shape[0], shape[1]), **{part: arrays[f"{name}.{part}"] for part in parts})
        if not (packed.scale > 0).all():
            raise _damaged(f"comes with a scale of {name} that is not positive", where)
        found[name] = packed
    return found


def dequantized(tensors: Mapping[str, Array | Packed], dtype: Any = np.float32) -> dict[str, Array]:
    """全部还原成浮点数：参数名到数组。"""
    return {
        name: (dequantize(value) if isinstance(value, Packed) else value).astype(dtype, copy=False)
        for name, value in tensors.items()
    }


def _damaged(problem: str, where: str) -> CheckpointError:
    return CheckpointError(f"the quantisation metadata {problem}", where=where, fix="quantise the run again")
