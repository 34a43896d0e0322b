"""逐个抽的离散与伽马随机数：泊松、二项与标准伽马，靠「先提议，再决定收不收」。

流入：分布的参数与生成器；流出：Python 数。抽数的次序与 torch 的 CPU 实现相同，于是同一种子之下样本也相同。
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygrad_llm.random import Generator


def poisson(rate: float, source: Generator) -> int:
    """泊松分布的一个样本：均值小时数连乘几个均匀数才小于 ``exp(-rate)``，大时用变换拒绝法（Hörmann，1993）。

    Raises:
        RuntimeError: 均值为负。
    """
    if not rate >= 0:
        raise RuntimeError(f"invalid Poisson rate, expected rate to be non-negative, got {rate}")
    if rate >= 10:
        return _poisson_large(rate, source)
    count, product, least = 0, 1.0, math.exp(-rate)
    while rate > 0:
        product *= source.one_uniform()
        if product <= least:
            break
        count += 1
    return count


def _poisson_large(rate: float, source: Generator) -> int:
    b = 0.931 + 2.53 * math.sqrt(rate)
    a = -0.059 + 0.02483 * b
    inverse_alpha, v_box = 1.1239 + 1.1328 / (b - 3.4), 0.9277 - 3.6224 / (b - 2)
    while True:
        u, v = source.one_uniform() - 0.5, source.one_uniform()
        us = 0.5 - abs(u)
        k = math.floor((2 * a / us + b) * u + rate + 0.43) if us else -1
        if us >= 0.07 and v <= v_box:  # 落在方框里：不算对数也知道收下
            return k
        if k < 0 or (us < 0.013 and v > us):
            continue
        height = math.log(v * inverse_alpha / (a / (us * us) + b)) if v else -math.inf
        if height <= k * math.log(rate) - rate - math.lgamma(k + 1):
            return k


def binomial(count: Any, prob: Any, source: Generator) -> float:
    """二项分布的一个样本；``prob`` 过半时数失败的次数。

    Args:
        count: 试几次；NumPy 的浮点数，中间结果按它的类型舍入，与 torch 相同。
        prob: 每次成功的概率，类型同 ``count``。
        source: 生成器。
    """
    if count <= 0 or prob <= 0:
        return 0.0
    if prob >= 1:
        return float(count)
    if math.isnan(prob):
        return math.nan
    rarer = prob if prob <= 0.5 else 1 - prob
    draw = _binomial_large if count * rarer >= 10 else _binomial_small
    successes = draw(count, rarer, source)
    return successes if prob <= 0.5 else float(count) - successes


def _binomial_small(count: Any, prob: Any, source: Generator) -> float:
    """一段一段地跳：两次成功之间隔几次，服从几何分布。"""
    log_failure, tried, successes = float(np.log1p(-prob)), 0.0, 0
    while True:
        u = source.one_uniform()
        tried += math.ceil(math.log(u) / log_failure) if u else math.inf
        if tried > count:
            return float(successes)
        successes += 1


def _binomial_large(count: Any, prob: Any, source: Generator) -> float:
    """变换拒绝法 BTRS（Hörmann，1993）。"""
    n, p = float(count), float(prob)
    spread = float(np.sqrt(count * prob * (1 - prob)))
    b = 1.15 + 2.53 * spread
    a = -0.0873 + 0.0248 * b + 0.01 * p
    center, v_box = float(count * prob) + 0.5, 0.92 - 4.2 / b
    alpha, mode = (2.83 + 5.1 / b) * spread, math.floor((count + 1) * prob)
    log_odds = math.log(prob / (1 - prob))
    log_peak = math.lgamma(mode + 1) + math.lgamma(n - mode + 1)
    while True:
        u, v = source.one_uniform() - 0.5, source.one_uniform()
        us = 0.5 - abs(u)
        k = math.floor((2 * a / us + b) * u + center) if us else -1
        if not 0 <= k <= n:
            continue
        if us >= 0.07 and v <= v_box:
            return float(k)
        height = math.log(v * alpha / (a / (us * us) + b)) if v else -math.inf
        if height <= log_peak - math.lgamma(k + 1) - math.lgamma(n - k + 1) + (k - mode) * log_odds:
            return float(k)


def gamma(shape: Any, source: Generator) -> float:
    """标准伽马分布的一个样本（Marsaglia 与 Tsang，2000）；``shape`` 小于 1 时先抽大 1 的，再缩小。

    Args:
        shape: 形状参数；NumPy 的浮点数，中间结果按它的类型舍入，与 torch 相同。
        source: 生成器。
    """
    one, scale = shape.dtype.type(1), 1.0
    if shape < 1:
        if shape == 0:
            return 0.0
        scale = (1 - source.one_uniform()) ** float(one / shape)
        shape = shape + one
    d = float(shape - shape.dtype.type(np.float32(1) / np.float32(3)))
    c = 1 / math.sqrt(9 * d)
    while True:
        x = source.one_normal()
        while (y := 1 + c * x) <= 0:
            x = source.one_normal()
        v, u = y * y * y, 1 - source.one_uniform()
        if u < 1 - float(np.float32(0.0331)) * x**4 or math.log(u) < 0.5 * x * x + d * (1 - v + math.log(v)):
            return scale * d * v
