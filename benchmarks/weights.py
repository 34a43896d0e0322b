"""测速用的权重：读自运行或取初值，量化成某种格式；解码一个 token 至少要读多少字节。

流入：模型配置与系统的名字；流出：权重、模型、字节数。
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.decode import weight_bytes
from tinygrad_llm.common.config import GPTConfig, parameter_shapes
from tinygrad_llm.common.quantization import Scheme, matrices, quantize
from tinygrad_llm.common.quantization.storage import HEADS

SCHEMES = {"int8": Scheme("int8"), "int4": Scheme("int4", 32, has_zero=True)}
"""系统名末尾的格式，到各层的存法；词嵌入与输出层总是 int8，与 ``quantize`` 的缺省相同。"""


def load_weights(run: str | None, model: GPTConfig) -> Any:
    """参数名到数组：运行文件夹里的，没有给就取初值。"""
    if run is None:
        from tinygrad_llm.common.initial import initial_weights

        return initial_weights(model, 0)
    from tinygrad_llm.common.session import load_trained

    return load_trained(Path(run))[2].model


def scheme_of(name: str, format: str) -> Scheme:
    """一个参数的存法。"""
    return SCHEMES["int8" if name in HEADS else format]


def quantised(model: GPTConfig, weights: Any, format: str) -> Any:
    """torch 的量化模型；网格盖住整个范围，不搜索：快慢与怎样舍入无关。"""
    from torch_llm.quantization.model import assembled

    whole = {name: quantize(weights[name], scheme_of(name, format), search=False) for name in matrices(model)}
    return assembled(model, {**weights, **whole})


def bytes_read(system: str, model: GPTConfig, gguf: Path | None = None) -> float:
    """解码一步至少要从内存读的字节：权重读一遍，嵌入只读一行，不计（除非输出层与它共用）。

    Args:
        system: 系统名，末尾是格式，如 ``torch-int4``。
        model: 模型配置。
        gguf: llama.cpp 读的文件；它的权重就是这么大。
    """
    format = system.rpartition("-")[2]
    if system == "llama.cpp" and gguf is not None:
        return float(gguf.stat().st_size)
    if format not in SCHEMES:
        return weight_bytes(model) / (2 if format == "bf16" else 1)
    total = 0.0
    for name, shape in parameter_shapes(model).items():
        if name == "wpe.weight" or (name == "wte.weight" and not model.tie_head):
            continue
        rows, columns = shape if len(shape) == 2 else (shape[0], 1)
        if name not in matrices(model):
            total += 4 * rows * columns
            continue
        scheme = scheme_of(name, format)
        grid = 2 * (1 + scheme.has_zero) if scheme.format == "int4" else 4  # 比例尺与零点，字节
        total += rows * (columns / (2 if scheme.format == "int4" else 1) + grid * scheme.groups(columns))
    return total
