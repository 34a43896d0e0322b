"""NumPy 没有的误差函数一族：erf、erfc、erfcx 与它们的反函数。

流入与流出都是数组，一律以 float64 计算。做法：在间隔 1/512 的网格上用标准库 ``math.erf`` 取值，再在最近的格点处做
泰勒展开；erf 的各阶导数是 Hermite 多项式乘以高斯函数，可以递推，事先列成表。|h| ≤ 1/1024 时六阶的余项小于舍入误差。
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_llm.ops.op import Array

_STEP = 1 / 512
_LIMIT = 6.0  # erf(6) 与 1 之差约 2e-17，float64 已分辨不出
_SQRT_PI = math.sqrt(math.pi)
_GRID = np.arange(int(_LIMIT / _STEP) + 1) * _STEP
_VALUE = np.array([math.erf(x) for x in _GRID])
_COMPLEMENT = np.array([math.erfc(x) for x in _GRID])


def _derivatives(order: int) -> list[Array]:
    """各格点上的 ``erf⁽ⁿ⁾ / n!``，``n`` 从 1 到 ``order``。

    ``erf⁽ⁿ⁺¹⁾(p) = (-1)ⁿ Hₙ(p) · 2/√π · exp(-p²)``，``Hₙ₊₁ = 2p Hₙ - 2n Hₙ₋₁``。
    """
    hermite, previous = 2 / _SQRT_PI * np.exp(-_GRID * _GRID), np.zeros_like(_GRID)
    rows = []
    for n in range(order):
        rows.append((-1) ** n * hermite / math.factorial(n + 1))
        hermite, previous = 2 * _GRID * hermite - 2 * n * previous, hermite
    return rows


_TAYLOR = _derivatives(6)


def in_double(function: Callable[..., Any]) -> Callable[..., Any]:
    """让 ``function`` 只面对 float64 数组：先换型，结果再换回第一个参数的 dtype；溢出与 NaN 不给警告。"""

    @functools.wraps(function)
    def wrapped(*args: Any) -> Any:
        arrays = [np.asarray(x) for x in args]
        with np.errstate(all="ignore"):
            result = function(*[x.astype(np.float64, copy=False) for x in arrays])
            return np.asarray(result).astype(arrays[0].dtype, copy=False)

    return wrapped


def _taylor(size: Array) -> tuple[Array, Array]:
    """最近的格点号，以及 ``erf(size) - erf(格点)``；``size`` 非负，NaN 原样传过。"""
    near = np.rint(np.fmin(size, _LIMIT) / _STEP).astype(np.intp)
    h = size - near * _STEP
    total = _TAYLOR[-1][near]
    for row in _TAYLOR[-2::-1]:
        total = total * h + row[near]
    return near, total * h


@in_double
def erf(x: Array) -> Any:
    """误差函数 ``erf(x) = 2/√π ∫₀ˣ exp(-t²) dt``；与 ``math.erf`` 相差不超过几个 ulp。"""
    near, rise = _taylor(np.minimum(np.abs(x), _LIMIT))
    return np.copysign(_VALUE[near] + rise, x)


def _exp_square(x: Array, sign: int) -> Array:
    """``exp(±x²)``：先把 ``x`` 分成格点与零头，格点的平方没有舍入误差，指数再大也不失精度。"""
    x = np.clip(x, -1e3, 1e3)  # 无穷大的零头是 NaN；到这里早已是 0 或 inf
    point = np.rint(x / _STEP) * _STEP
    result: Array = np.exp(sign * point * point) * np.exp(sign * (x - point) * (x + point))
    return result


def _near_erfc(x: Array) -> Array:
    near, rise = _taylor(x)
    result: Array = _COMPLEMENT[near] - rise
    return result


def _far_erfcx(x: Array) -> Array:
    """连分数 ``√π erfcx(x) = 1/(x + ½/(x + 1/(x + 1½/(x + …))))``；``x ≥ 6`` 时 16 层足够。"""
    tail = x
    for n in range(16, 0, -1):
        tail = x + n / 2 / tail
    result: Array = 1 / (_SQRT_PI * tail)
    return result


def _positive_erfcx(x: Array) -> Array:
    near = np.piecewise(x, [x < _LIMIT], [_near_erfc, 1.0])
    return np.where(x < _LIMIT, _exp_square(np.minimum(x, _LIMIT), 1) * near, _far_erfcx(x))


@in_double
def erfc(x: Array) -> Any:
    """余误差函数 ``1 - erf(x)``；很小的尾巴也有完整的相对精度。"""
    size = np.abs(x)
    tail = np.piecewise(size, [size < _LIMIT], [_near_erfc, lambda far: _far_erfcx(far) * _exp_square(far, -1)])
    return np.where(x < 0, 2 - tail, tail)


@in_double
def erfcx(x: Array) -> Any:
    """缩放的余误差函数 ``exp(x²) erfc(x)``。"""
    size = np.abs(x)
    scaled = _positive_erfcx(size)
    return np.where(x < 0, 2 * _exp_square(size, 1) - scaled, scaled)


@in_double
def log_ndtr(x: Array) -> Any:
    """标准正态分布函数的对数；左尾用 ``erfcx``，不下溢。"""
    t = -x / math.sqrt(2)
    left = np.log(erfcx(np.maximum(t, 0)) / 2) - t * t
    return np.where(x < -1, left, np.log1p(-erfc(-t) / 2))


def _solve(value: Array, rest: Array) -> Array:
    """解 ``erf(x) = value``；``rest = 1 - value``。中段对 erf、尾部对 ln erfc 用牛顿法，初值各差约 1e-3，三步到底。"""
    y2 = value * value * (math.pi / 4)
    x = value * (_SQRT_PI / 2) * (1 + y2 * (1 / 3 + y2 * (7 / 30 + y2 * (127 / 630))))
    t = np.sqrt(-2 * np.log(rest / 2))  # Abramowitz–Stegun 26.2.23
    far = t - (2.515517 + t * (0.802853 + t * 0.010328)) / (1 + t * (1.432788 + t * (0.189269 + t * 0.001308)))
    far = far / math.sqrt(2)
    for _ in range(3):
        x = x - (erf(x) - value) * np.exp(x * x) * (_SQRT_PI / 2)
        scaled = _positive_erfcx(far)
        far = far + (np.log(scaled / rest) - far * far) * scaled * (_SQRT_PI / 2)
    return np.where(value < 0.5, x, np.where(rest == 0, np.inf, far))


@in_double
def erfinv(x: Array) -> Any:
    """``erf`` 的反函数；``±1`` 处为 ``±inf``，之外为 NaN。"""
    size = np.abs(x)
    return np.where(size > 1, np.nan, np.copysign(_solve(np.minimum(size, 1), 1 - np.minimum(size, 1)), x))


@in_double
def ndtri(p: Array) -> Any:
    """标准正态分布函数的反函数：``-√2 erfc⁻¹(2p)``。"""
    inside = np.clip(p, 0, 1)
    rest = 2 * np.minimum(inside, 1 - inside)
    result = math.sqrt(2) * np.copysign(_solve(1 - rest, rest), p - 0.5)
    return np.where(inside == p, result, np.nan)
