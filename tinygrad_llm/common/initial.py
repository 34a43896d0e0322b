"""初始权重：由（种子，参数名）决定的纯函数。

流入：配置与种子；流出：名字到数组。两个引擎、任何操作系统、任意多的进程都得到同一份数。下一站：``batches/windows.py``。
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinygrad_llm.common.config import GPTConfig, parameter_shapes

STD = 0.02
"""GPT-2 的初始标准差。"""


def initial_weights(config: GPTConfig, seed: int, dtype: str = "float32") -> dict[str, NDArray[Any]]:
    """全部参数的初值。

    矩阵取 ``N(0, 0.02²)``；写回残差流的投影再除以 ``√(2·n_layer)``，使残差流的方差不随深度增长（GPT-2）；
    归一化的缩放为 1，偏置为 0。先以 float64 抽样再换型，所以 float32 的初值就是 float64 初值的舍入。

    Args:
        config: 模型配置。
        seed: 种子。
        dtype: ``"float32"`` 或 ``"float64"``。

    Returns:
        参数名到数组，次序同 ``parameter_shapes``。
    """
    return dict(each_initial_weight(config, seed, dtype))


def each_initial_weight(config: GPTConfig, seed: int, dtype: str) -> Iterator[tuple[str, NDArray[Any]]]:
    """同 ``initial_weights``，一次给一个：大模型不必在内存里多放一份。"""
    for name, shape in parameter_shapes(config).items():
        yield name, _initial(config, seed, name, shape).astype(dtype)


def _initial(config: GPTConfig, seed: int, name: str, shape: tuple[int, ...]) -> NDArray[Any]:
    if name.endswith(".bias"):
        return np.zeros(shape)
    if len(shape) == 1:
        return np.ones(shape)
    std = STD / math.sqrt(2 * config.n_layer) if name.endswith("c_proj.weight") else STD
    return philox(seed, name).standard_normal(shape) * std


def philox(seed: int, name: str) -> np.random.Generator:
    """由（种子，名字）定出的一条 Philox 随机数列。

    Args:
        seed: 种子。
        name: 任意名字，例如参数名。

    Returns:
        与调用次序无关的生成器。
    """
    digest = hashlib.sha256(f"{seed}\0{name}".encode()).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "little")))
