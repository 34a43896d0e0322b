"""线搜索：沿一个方向找到满足强 Wolfe 条件的步长（Nocedal 与 Wright，2006，算法 3.5 与 3.6）。

流入：``t → (损失, 梯度)``；流出：步长与那里的损失、梯度。
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from tinygrad_llm.ops.op import Array

Probe = Callable[[Any], tuple[float, Array]]


class Found(NamedTuple):
    """线搜索的结果。

    Attributes:
        loss: 步长 ``t`` 处的损失。
        grad: 那里的梯度。
        t: 步长。
        evals: 求了几次损失。
    """

    loss: float
    grad: Array
    t: Any
    evals: int


class _Point(NamedTuple):
    """线上的一点：步长、损失、梯度与方向导数。"""

    t: Any
    loss: float
    grad: Array
    slope: Any


def cubic_minimum(a: _Point, b: _Point, bounds: tuple[Any, Any] | None = None) -> Any:
    """过两点、导数也吻合的三次曲线的极小点；没有极小点或两点重合时取区间的中点。"""
    low, high = bounds or (min(a.t, b.t), max(a.t, b.t))
    middle = (low + high) / 2.0
    if a.t == b.t:
        return middle
    if a.t > b.t:
        a, b = b, a
    d1 = a.slope + b.slope - 3 * (a.loss - b.loss) / (a.t - b.t)
    square = d1**2 - a.slope * b.slope
    if not square >= 0:
        return middle
    d2 = math.sqrt(square)
    best = b.t - (b.t - a.t) * ((b.slope + d2 - d1) / (b.slope - a.slope + 2 * d2))
    return min(max(best, low), high)


class _Wolfe:
    """强 Wolfe 条件与沿线的取值。"""

    def __init__(self, probe: Probe, d: Array, start: _Point, c1: float = 1e-4, c2: float = 0.9) -> None:
        self.probe, self.d, self.start, self.c1, self.c2 = probe, d, start, c1, c2
        self.evals = 0

    def at(self, t: Any) -> _Point:
        """求一点。"""
        loss, grad = self.probe(t)
        self.evals += 1
        return _Point(t, loss, grad, grad @ self.d)

    def is_high(self, point: _Point) -> bool:
        """下降得不够。"""
        return bool(point.loss > self.start.loss + self.c1 * point.t * self.start.slope)

    def is_level(self, point: _Point) -> bool:
        """坡度已经够平。"""
        return bool(abs(point.slope) <= -self.c2 * self.start.slope)


def strong_wolfe(
    probe: Probe,
    t: Any,
    d: Array,
    loss: float,
    grad: Array,
    slope: Any,
    tolerance_change: float = 1e-9,
    max_ls: int = 25,
) -> Found:
    """找到满足强 Wolfe 条件的步长。

    Args:
        probe: ``t → (损失, 梯度)``。
        t: 步长的初值。
        d: 方向。
        loss: 起点的损失。
        grad: 起点的梯度。
        slope: 起点的方向导数。
        tolerance_change: 区间窄到它就停。
        max_ls: 至多试几次。

    Returns:
        步长与那里的损失、梯度。
    """
    line = _Wolfe(probe, d, _Point(0, loss, grad, slope))
    bracket, tries = _bracket(line, t, max_ls)
    best = _zoom(line, bracket, tries, tolerance_change, max_ls)
    return Found(best.loss, best.grad, best.t, line.evals)


def _bracket(line: _Wolfe, t: Any, max_ls: int) -> tuple[list[_Point], int]:
    """往前走，直到区间里必有解；一步就走到解时只返回那一点。"""
    previous, point, tries = line.start, line.at(t), 0
    while tries < max_ls:
        if line.is_high(point) or (tries > 1 and point.loss >= previous.loss):
            return [previous, point], tries
        if line.is_level(point):
            return [point], tries
        if point.slope >= 0:
            return [previous, point], tries
        bounds = (point.t + 0.01 * (point.t - previous.t), point.t * 10)
        previous, point = point, line.at(cubic_minimum(previous, point, bounds))
        tries += 1
    return [line.start, point], tries


def _zoom(line: _Wolfe, bracket: list[_Point], tries: int, tolerance: float, max_ls: int) -> _Point:
    """缩小区间，直到有一点满足条件。"""
    ends, stalled = [bracket[0], bracket[-1]], False
    low, width = _lower(ends), float(np.abs(line.d).max())
    while len(bracket) > 1 and tries < max_ls and abs(ends[1].t - ends[0].t) * width >= tolerance:
        t, stalled = _inside(cubic_minimum(ends[0], ends[1]), [end.t for end in ends], stalled)
        point, high = line.at(t), 1 - low
        tries += 1
        if line.is_high(point) or point.loss >= ends[low].loss:
            ends[high] = point
            low = _lower(ends)
        elif line.is_level(point):
            return point
        else:
            if point.slope * (ends[high].t - ends[low].t) >= 0:
                ends[high] = ends[low]
            ends[low] = point
    return ends[low]


def _lower(ends: list[_Point]) -> int:
    """损失较小的一端。"""
    return 0 if ends[0].loss <= ends[1].loss else 1


def _inside(t: Any, ends: list[Any], stalled: bool) -> tuple[Any, bool]:
    """离端点太近时往里挪；第一次太近先记着，第二次才挪。"""
    margin = 0.1 * (max(ends) - min(ends))
    if min(max(ends) - t, t - min(ends)) >= margin:
        return t, False
    if not (stalled or t >= max(ends) or t <= min(ends)):
        return t, True
    closer_to_right = max(ends) - t < t - min(ends)
    return (max(ends) - margin if closer_to_right else min(ends) + margin), False
