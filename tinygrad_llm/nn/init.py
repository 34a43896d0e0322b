"""参数初始化：与 ``torch.nn.init`` 同名同义，就地写入、不记图。"""

from __future__ import annotations

import math
from typing import Any

from tinygrad_llm.autograd import no_grad
from tinygrad_llm.tensor import Tensor


@no_grad
def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0, generator: Any = None) -> Tensor:
    """正态 ``N(mean, std²)``。"""
    return tensor.normal_(mean, std, generator=generator)  # type: ignore[no-any-return]


@no_grad
def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0, generator: Any = None) -> Tensor:
    """均匀 ``U(a, b)``。"""
    return tensor.uniform_(a, b, generator=generator)  # type: ignore[no-any-return]


@no_grad
def constant_(tensor: Tensor, val: float) -> Tensor:
    """常数。"""
    return tensor.fill_(val)  # type: ignore[no-any-return]


def zeros_(tensor: Tensor) -> Tensor:
    """全 0。"""
    return constant_(tensor, 0.0)  # type: ignore[no-any-return]


def ones_(tensor: Tensor) -> Tensor:
    """全 1。"""
    return constant_(tensor, 1.0)  # type: ignore[no-any-return]


@no_grad
def trunc_normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0, a: float = -2.0, b: float = 2.0) -> Tensor:
    """截断正态：用均匀数经正态分位函数换算，落在 ``[a, b]`` 内。"""
    from statistics import NormalDist

    import numpy as np

    unit = NormalDist()
    low, high = unit.cdf((a - mean) / std), unit.cdf((b - mean) / std)
    tensor.uniform_(2 * low - 1, 2 * high - 1)
    quantile = np.vectorize(lambda u: unit.inv_cdf(min(max((u + 1) / 2, 1e-12), 1 - 1e-12)), otypes=[float])
    values = np.clip(quantile(tensor.array) * std + mean, a, b)
    return tensor.copy_(Tensor.wrap(values))  # type: ignore[no-any-return]


def _fans(tensor: Tensor) -> tuple[int, int]:
    if tensor.ndim < 2:
        raise ValueError("Fan in and fan out can not be computed for tensor with fewer than 2 dimensions")
    rest = math.prod(tensor.shape[2:])
    return tensor.shape[1] * rest, tensor.shape[0] * rest


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """各激活函数的推荐增益。

    Raises:
        ValueError: 未知的激活函数。
    """
    if nonlinearity == "leaky_relu":
        return math.sqrt(2 / (1 + (0.01 if param is None else param) ** 2))
    gains = {"linear": 1.0, "sigmoid": 1.0, "tanh": 5 / 3, "relu": math.sqrt(2)}
    if nonlinearity not in gains:
        raise ValueError(f"Unsupported nonlinearity {nonlinearity}")
    return gains[nonlinearity]


def kaiming_uniform_(
    tensor: Tensor, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu", generator: Any = None
) -> Tensor:
    """Kaiming 均匀初始化（He 等，2015）：界为 ``gain · √(3/fan)``。"""
    fan = _fans(tensor)[0 if mode == "fan_in" else 1]
    bound = math.sqrt(3.0) * calculate_gain(nonlinearity, a) / math.sqrt(fan) if fan else 0.0
    return uniform_(tensor, -bound, bound, generator)  # type: ignore[no-any-return]


def kaiming_normal_(
    tensor: Tensor, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu", generator: Any = None
) -> Tensor:
    """Kaiming 正态初始化：标准差为 ``gain/√fan``。"""
    fan = _fans(tensor)[0 if mode == "fan_in" else 1]
    return normal_(tensor, 0.0, calculate_gain(nonlinearity, a) / math.sqrt(fan), generator)  # type: ignore[no-any-return]


def xavier_uniform_(tensor: Tensor, gain: float = 1.0, generator: Any = None) -> Tensor:
    """Xavier 均匀初始化（Glorot 与 Bengio，2010）：界为 ``gain · √(6/(fan_in + fan_out))``。"""
    bound = gain * math.sqrt(6 / sum(_fans(tensor)))
    return uniform_(tensor, -bound, bound, generator)  # type: ignore[no-any-return]


def xavier_normal_(tensor: Tensor, gain: float = 1.0, generator: Any = None) -> Tensor:
    """Xavier 正态初始化：标准差为 ``gain · √(2/(fan_in + fan_out))``。"""
    return normal_(tensor, 0.0, gain * math.sqrt(2 / sum(_fans(tensor))), generator)  # type: ignore[no-any-return]
