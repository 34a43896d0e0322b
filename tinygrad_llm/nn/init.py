"""参数初始化：与 ``torch.nn.init`` 同名同义，就地写入、不记图。

流入：Tensor；流出：同一个 Tensor。``manual_seed`` 之后，随机的初值与 torch 相同（正态数相差不超过几个 ulp）。
"""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_llm.autograd import no_grad
from tinygrad_llm.ops.op import Array
from tinygrad_llm.sampling import randperm
from tinygrad_llm.tensor import Tensor

_LINEAR = ("linear", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d")


# ---- 一种分布


@no_grad
def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0, generator: Any = None) -> Tensor:
    """均匀 ``U(a, b)``。"""
    return tensor.uniform_(a, b, generator=generator)  # type: ignore[no-any-return]


@no_grad
def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0, generator: Any = None) -> Tensor:
    """正态 ``N(mean, std²)``。"""
    return tensor.normal_(mean, std, generator=generator)  # type: ignore[no-any-return]


@no_grad
def trunc_normal_(
    tensor: Tensor, mean: float = 0.0, std: float = 1.0, a: float = -2.0, b: float = 2.0, generator: Any = None
) -> Tensor:
    """截断正态：``N(mean, std²)`` 里落在 ``[a, b]`` 内的部分。

    区间里的概率大于 0.3 时，落在外面的重抽；否则先抽均匀数，再按密度的大小决定收不收。
    """
    if mean < a - 2 * std or mean > b + 2 * std:
        message = "mean is more than 2 std from [a, b] in nn.init.trunc_normal_. The distribution may be incorrect."
        warnings.warn(message, stacklevel=3)
    if tensor.is_meta:
        return tensor
    inside = _normal_cdf((b - mean) / std) - _normal_cdf((a - mean) / std)
    if inside > 0.3:
        values = _redrawn(tensor, mean, std, (a, b), generator)
    else:
        values = _thinned(tensor, mean, std, (a, b), generator)
    return tensor.copy_(Tensor.wrap(values))  # type: ignore[no-any-return]


def _normal_cdf(x: float) -> float:
    return (1.0 + math.erf(x / math.sqrt(2.0))) / 2.0


def _redrawn(tensor: Tensor, mean: float, std: float, bounds: tuple[float, float], generator: Any) -> Array:
    """越界的整块重抽，直到都在里面。"""
    low, high = np.asarray(bounds, tensor.array.dtype)
    values: Array = np.array(tensor.normal_(mean, std, generator=generator).array)
    while (outside := (values < low) | (values > high)).any():
        values = np.where(outside, tensor.normal_(mean, std, generator=generator).array, values)
    return values


def _thinned(tensor: Tensor, mean: float, std: float, bounds: tuple[float, float], generator: Any) -> Array:
    """均匀地抽，以密度与峰值之比的概率收下，没收下的重抽。"""
    mode = max(bounds[0], min(mean, bounds[1]))
    log_peak = -0.5 * ((mode - mean) / std) ** 2
    values, pending = np.array(tensor.array), np.ones(tensor.array.shape, bool)
    while pending.any():
        candidates = np.array(tensor.uniform_(*bounds, generator=generator).array)
        values = np.where(pending, candidates, values)
        log_density = ((candidates - mean) / std) ** 2 * -0.5 - log_peak
        with np.errstate(divide="ignore"):
            pending = pending & (np.log(tensor.uniform_(generator=generator).array) > log_density)
    return values


@no_grad
def constant_(tensor: Tensor, val: float) -> Tensor:
    """常数。"""
    return tensor.fill_(val)  # type: ignore[no-any-return]


def ones_(tensor: Tensor) -> Tensor:
    """全 1。"""
    return constant_(tensor, 1.0)  # type: ignore[no-any-return]


def zeros_(tensor: Tensor) -> Tensor:
    """全 0。"""
    return constant_(tensor, 0.0)  # type: ignore[no-any-return]


# ---- 由形状决定的


@no_grad
def eye_(tensor: Tensor) -> Tensor:
    """单位阵。

    Raises:
        ValueError: 不是二维。
    """
    _require_matrix(tensor)
    return tensor.copy_(Tensor.wrap(np.eye(*tensor.array.shape, dtype=tensor.array.dtype)))  # type: ignore[no-any-return]


@no_grad
def dirac_(tensor: Tensor, groups: int = 1) -> Tensor:
    """卷积核的单位元：每组里第 i 个输出通道原样取第 i 个输入通道。

    Args:
        tensor: ``(out, in/groups, *kernel)``，三到五维。
        groups: 组数。

    Raises:
        ValueError: 维数不对，或首轴不能被组数整除。
    """
    if tensor.ndim not in (3, 4, 5):
        raise ValueError("Only tensors with 3, 4, or 5 dimensions are supported")
    out, channels, *kernel = tensor.array.shape
    if out % groups:
        raise ValueError("dim 0 must be divisible by groups")
    values, each = np.zeros_like(tensor.array), out // groups
    centre = tuple(size // 2 for size in kernel)
    for group in range(groups):
        for d in range(min(each, channels)):
            values[(group * each + d, d, *centre)] = 1
    return tensor.copy_(Tensor.wrap(values))  # type: ignore[no-any-return]


@no_grad
def orthogonal_(tensor: Tensor, gain: float = 1, generator: Any = None) -> Tensor:
    """（半）正交阵：对正态随机阵做 QR 分解，符号取成唯一（Saxe 等，2014）。

    Args:
        tensor: 至少二维；首轴之外的轴并成一根。
        gain: 乘在外面的增益。
        generator: 生成器。

    Raises:
        ValueError: 不足二维。
    """
    if tensor.ndim < 2:
        raise ValueError("Only tensors with 2 or more dimensions are supported")
    if tensor.numel() == 0 or tensor.is_meta:
        return tensor
    flat: Array = normal_(tensor, 0, 1, generator).array.reshape(tensor.array.shape[0], -1)
    wide = flat.shape[0] < flat.shape[1]
    q, r = np.linalg.qr(flat.T if wide else flat)
    q = q * np.sign(np.diagonal(r))
    return tensor.copy_(Tensor.wrap((q.T if wide else q).reshape(tensor.array.shape) * gain))  # type: ignore[no-any-return]


@no_grad
def sparse_(tensor: Tensor, sparsity: float, std: float = 0.01, generator: Any = None) -> Tensor:
    """每列有 ``sparsity`` 那么多比例是 0，其余为 ``N(0, std²)``（Martens，2010）。

    Raises:
        ValueError: 不是二维。
    """
    _require_matrix(tensor)
    rows, columns = tensor.array.shape
    values = np.array(tensor.normal_(0, std, generator=generator).array)
    for column in range(columns):
        values[randperm(rows).array[: math.ceil(sparsity * rows)], column] = 0
    return tensor.copy_(Tensor.wrap(values))  # type: ignore[no-any-return]


def _require_matrix(tensor: Tensor) -> None:
    if tensor.ndim != 2:
        raise ValueError("Only tensors with 2 dimensions are supported")


# ---- 由扇入扇出定标的


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """各激活函数的推荐增益。

    Args:
        nonlinearity: 激活函数的名字。
        param: ``leaky_relu`` 的负斜率，缺省 0.01。

    Raises:
        ValueError: 未知的激活函数，或负斜率不是数。
    """
    if nonlinearity == "leaky_relu":
        slope = 0.01 if param is None else param
        if isinstance(slope, bool) or not isinstance(slope, (int, float)):
            raise ValueError(f"negative_slope {param} not a valid number")
        return math.sqrt(2.0 / (1 + slope**2))
    gains = {**dict.fromkeys(_LINEAR, 1), "sigmoid": 1, "tanh": 5.0 / 3, "relu": math.sqrt(2.0), "selu": 3.0 / 4}
    if nonlinearity not in gains:
        raise ValueError(f"Unsupported nonlinearity {nonlinearity}")
    return gains[nonlinearity]


def _calculate_fan_in_and_fan_out(tensor: Tensor) -> tuple[int, int]:
    """一个输出由几个输入算出，一个输入流进几个输出。"""
    if tensor.ndim < 2:
        raise ValueError("Fan in and fan out can not be computed for tensor with fewer than 2 dimensions")
    out, into, *kernel = tensor.array.shape
    return into * math.prod(kernel), out * math.prod(kernel)


def _calculate_correct_fan(tensor: Tensor, mode: str) -> int:
    """按 ``mode`` 取其中一个数。"""
    if mode.lower() not in ("fan_in", "fan_out"):
        raise ValueError(f"Mode {mode} not supported, please use one of ['fan_in', 'fan_out']")
    return _calculate_fan_in_and_fan_out(tensor)[mode.lower() == "fan_out"]


def xavier_uniform_(tensor: Tensor, gain: float = 1.0, generator: Any = None) -> Tensor:
    """Xavier 均匀初始化（Glorot 与 Bengio，2010）：界为 ``gain · √(6/(fan_in + fan_out))``。"""
    bound = math.sqrt(3.0) * (gain * math.sqrt(2.0 / sum(_calculate_fan_in_and_fan_out(tensor))))
    return uniform_(tensor, -bound, bound, generator)  # type: ignore[no-any-return]


def xavier_normal_(tensor: Tensor, gain: float = 1.0, generator: Any = None) -> Tensor:
    """Xavier 正态初始化：标准差为 ``gain · √(2/(fan_in + fan_out))``。"""
    std = gain * math.sqrt(2.0 / sum(_calculate_fan_in_and_fan_out(tensor)))
    return normal_(tensor, 0.0, std, generator)  # type: ignore[no-any-return]


def kaiming_uniform_(
    tensor: Tensor, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu", generator: Any = None
) -> Tensor:
    """Kaiming 均匀初始化（He 等，2015）：界为 ``gain · √(3/fan)``。

    Args:
        tensor: 至少二维。
        a: ``leaky_relu`` 的负斜率。
        mode: ``"fan_in"`` 或 ``"fan_out"``。
        nonlinearity: 激活函数的名字。
        generator: 生成器。

    Raises:
        ValueError: 不足二维，``mode`` 或激活函数不认识。
    """
    std = _kaiming_std(tensor, a, mode, nonlinearity)
    if std is None:
        return tensor
    bound = math.sqrt(3.0) * std
    return uniform_(tensor, -bound, bound, generator)  # type: ignore[no-any-return]


def kaiming_normal_(
    tensor: Tensor, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu", generator: Any = None
) -> Tensor:
    """Kaiming 正态初始化：标准差为 ``gain/√fan``；参数同 ``kaiming_uniform_``。"""
    std = _kaiming_std(tensor, a, mode, nonlinearity)
    return tensor if std is None else normal_(tensor, 0, std, generator)


def _kaiming_std(tensor: Tensor, a: float, mode: str, nonlinearity: str) -> float | None:
    """标准差；没有元素时提醒一声，返回 ``None``。"""
    if 0 in tensor.array.shape:
        warnings.warn("Initializing zero-element tensors is a no-op", stacklevel=3)
        return None
    return calculate_gain(nonlinearity, a) / math.sqrt(_calculate_correct_fan(tensor, mode))


# ---- torch 的内部名字：muP 等库直接导入它们

_no_grad_uniform_, _no_grad_normal_, _no_grad_trunc_normal_ = uniform_, normal_, trunc_normal_
_no_grad_fill_, _no_grad_zero_ = constant_, zeros_


# ---- 不带下划线的旧名


def _deprecated(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    new, old = function.__name__, function.__name__[:-1]

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Tensor:
        message = f"`nn.init.{old}` is now deprecated in favor of `nn.init.{new}`."
        warnings.warn(message, FutureWarning, stacklevel=2)
        return function(*args, **kwargs)

    call.__name__ = call.__qualname__ = old
    return call


uniform, normal, constant, eye, dirac = map(_deprecated, (uniform_, normal_, constant_, eye_, dirac_))
xavier_uniform, xavier_normal = _deprecated(xavier_uniform_), _deprecated(xavier_normal_)
kaiming_uniform, kaiming_normal = _deprecated(kaiming_uniform_), _deprecated(kaiming_normal_)
orthogonal, sparse = _deprecated(orthogonal_), _deprecated(sparse_)
