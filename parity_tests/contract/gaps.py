"""误差与界：两次计算相差多少，舍入最多允许差多少。

流入：两个本应相等的结果；流出：``Gap``。下一站：``implementation.py``。

界不是试出来的数。两次计算做的是同样的乘加，只是次序不同：长度 n 的内积，每次舍入的相对误差至多 u，
最坏是 ``n·u``；把各次舍入看作均值为 0 的随机量，则以至少 ``1 - 2n·exp(-λ²/2)`` 的概率不超过 ``λ·√n·u``
（Higham 与 Mary，2019，A new approach to probabilistic rounding error analysis）。取 ``λ = 8``：n 是一千时，
越界的概率约 3e-11。n 是一条路径上各个乘积的长度之和，两次计算各算一份；反向另走两遍同样的乘积。

舍入会被放大：几个分量几乎相等的向量，LayerNorm 除以的 σ 很小。放大多少，量出来：每个权重随机地改动 ``±√u``，
结果变动了多少倍的 ``√u``（条件数的定义）；它与结果里最大的数，取大者作为大小。
次序也相同的（同样的形状、同样的数），界是 0：逐位相同。
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from parity_tests.tolerances import as_array
from tinygrad_llm.common.config import GPTConfig

LAMBDA = 8.0
"""舍入误差超出 ``λ·√n·u`` 的概率不超过 ``2n·exp(-λ²/2)``。"""

BACKWARD = 3
"""前向一遍、反向两遍：梯度的路径上的乘积是前向的三倍。"""


@dataclass(frozen=True)
class Gap:
    """一处比较。

    Attributes:
        what: 比的是什么，英文，用于报告。
        error: 最大的绝对误差；形状或类型不同、有一边非有限时为无穷。
        bound: 界；0 表示逐位相同。
    """

    what: str
    error: float
    bound: float

    @property
    def is_broken(self) -> bool:
        """超出了界；界自己是无穷的（改动权重就溢出了），也算。"""
        return not self.error <= self.bound < np.inf

    @property
    def share(self) -> float:
        """误差占界的几成；逐位相同的占 0。"""
        return self.error / self.bound if self.bound else (np.inf if self.error else 0.0)


def exact(what: str, found: Any, expected: Any) -> Gap:
    """应当逐位相同。"""
    return Gap(what, _distance(as_array(found), as_array(expected)), 0.0)


def close(what: str, found: Any, expected: Any, roundings: int, scale: float | None = None) -> Gap:
    """应当只差舍入。

    Args:
        what: 比的是什么。
        found: 一个结果。
        expected: 另一个结果；类型决定 u。
        roundings: 路径上舍入的次数 n。
        scale: 结果的大小；缺省为 ``expected`` 里最大的绝对值。

    Returns:
        误差与界。
    """
    a, b = as_array(found), as_array(expected)
    size = _largest(b) if scale is None else scale
    return Gap(what, _distance(a, b), LAMBDA * math.sqrt(roundings) * unit_of(b.dtype) * size)


def close_all(
    what: str, found: Mapping[str, Any], expected: Mapping[str, Any], roundings: int, scale: float | None = None
) -> list[Gap]:
    """一组数（如全部梯度）各自只差舍入；大小按整组里最大的数计：有的梯度在数学上恒为 0，自己没有大小可言。"""
    if scale is None:
        scale = max((_largest(b) for b in expected.values()), default=0.0)
    return [close(f"{what} {name}", found[name], b, roundings, scale) for name, b in expected.items()]


def exact_all(what: str, found: Mapping[str, Any], expected: Mapping[str, Any]) -> list[Gap]:
    """一组数各自逐位相同。"""
    return [exact(f"{what} {name}", found[name], b) for name, b in expected.items()]


def size_of(expected: Any, nudged: Any) -> float:
    """结果的大小：最大的数，或（权重改动 ``√u`` 时的变动）÷ ``√u``，取大者。

    Args:
        expected: 结果；一组数时，按整组计。
        nudged: 权重改动之后的同一个结果。

    Returns:
        大小。
    """
    if isinstance(expected, Mapping):
        return max(size_of(expected[name], nudged[name]) for name in expected)
    a, b = as_array(expected), as_array(nudged)
    return max(_largest(a), _distance(a, b) / math.sqrt(unit_of(a.dtype)))


def unit_of(dtype: Any) -> float:
    """舍入单位 u。"""
    return float(np.finfo(dtype).eps) / 2


def forward_roundings(config: GPTConfig, length: int) -> int:
    """从 token 到 logits 最长的一条路径上，两次计算合起来的舍入次数。"""
    width, head = config.n_embd, config.head_size
    attention = 2 * width + 3 * head + 2 * length + config.n_head * head
    feed_forward = 3 * width + config.hidden_size
    return 2 * (config.n_layer * (attention + feed_forward) + 3 * width)


def backward_roundings(config: GPTConfig, rows: int, length: int) -> int:
    """从 token 到梯度；``rows`` 个位置的梯度还要加在一起。"""
    return BACKWARD * forward_roundings(config, length) + 2 * (rows + config.vocab_size)


def _largest(a: Any) -> float:
    return float(np.max(np.abs(as_array(a)), initial=0.0))


def _distance(a: Any, b: Any) -> float:
    if a.shape != b.shape or a.dtype != b.dtype:
        return np.inf
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return np.inf
    return float(np.max(np.abs(a.astype(np.float64) - b.astype(np.float64)), initial=0.0))
