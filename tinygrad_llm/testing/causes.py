"""写错的导数像哪一种常见的错：把解析的与数值的 Jacobian 摆在一起，认出其中的规律。

流入：两个 Jacobian，与写出它们的那些数（各输入、各输出的值）；流出：一句英文的原因。下一站：``gradcheck.py``。
随机的数很难碰巧成规律，所以认出来的多半就是真的原因；认不出时只说清差了多少，不猜。
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from tinygrad_llm.ops.op import Array


@dataclass(frozen=True, eq=False)
class Evidence:
    """一个输出对一个输入的两份 Jacobian。

    Attributes:
        analytic: 反传得到的，``(输出元素数, 输入元素数)``。
        numeric: 中心差分得到的，同形。
        out_shape: 输出的形状。
        in_shape: 输入的形状。
        wrong: 哪些元素不符，同形的布尔数组。
        rtol: 认规律时的相对容差。
        atol: 认规律时的绝对容差。
        values: 名字到值：各输入与各输出，用来认「乘错了操作数」。
        others: 别的输入的名字到同一输出对它的数值 Jacobian，用来认「给错了输入」。
        own: 这个输入的名字。
    """

    analytic: Array
    numeric: Array
    out_shape: tuple[int, ...]
    in_shape: tuple[int, ...]
    wrong: Array
    rtol: float = 1e-4
    atol: float = 1e-6
    values: Mapping[str, Array] = field(default_factory=dict)
    others: Mapping[str, Array] = field(default_factory=dict)
    own: str = ""

    def close(self, a: Array, b: Array) -> Array:
        """逐元素：``a`` 与基准 ``b`` 是不是同一个数。"""
        with np.errstate(invalid="ignore"):
            return np.asarray(np.abs(a - b) <= self.atol + self.rtol * np.abs(b))

    def same(self, a: Array, b: Array) -> bool:
        """处处是同一个数，而且不是处处为零。"""
        return a.shape == b.shape and bool(self.close(a, b).all()) and bool((np.abs(b) > self.atol).any())

    @property
    def boxed(self) -> tuple[Array, Array]:
        """两份 Jacobian，按输出的轴、输入的轴展开。"""
        shape = (*self.out_shape, *self.in_shape)
        return self.analytic.reshape(shape), self.numeric.reshape(shape)


def likely_cause(evidence: Evidence) -> str:
    """最像的原因，一句英文。"""
    if not np.isfinite(evidence.analytic).all():
        return "the backward gives inf or nan"
    for rule in (_zero, _sign, _moved, _ignores_upstream, _other_input, _factor, _missing_reduce, _operand, _power):
        found = rule(evidence)
        if found:
            return found
    return _partly(evidence) or _offset(evidence) or _nothing(evidence)


def _zero(e: Evidence) -> str:
    if (np.abs(e.analytic) > e.atol).any():
        return ""
    return "zero gradient: the input is not differentiated (detached, None from backward, or left out of the graph)"


def _sign(e: Evidence) -> str:
    return "sign: every entry is the negative of what it should be" if e.same(-e.analytic, e.numeric) else ""


def _moved(e: Evidence) -> str:
    """两根等长的轴对调、转置写成了 reshape，或错开了一格。"""
    ours, theirs = e.boxed
    outs, ins = len(e.out_shape), len(e.in_shape)
    for i in range(outs + ins):
        for j in range(i + 1, outs + ins):
            if ours.shape[i] == ours.shape[j] > 1 and e.same(ours, theirs.swapaxes(i, j)):
                return _swap_text(i, j, outs)
    if ins >= 2:
        turned = theirs.swapaxes(-1, -2).reshape(ours.shape)
        if e.same(ours, turned):
            return "transpose: the gradient was reshaped to the input's shape where it should be transposed"
    for axis in range(outs, outs + ins):
        for shift in (1, -1):
            if e.same(ours, np.roll(theirs, shift, axis)):
                return f"shifted: every gradient lands one place off along axis {axis - outs} of the input"
    return ""


def _swap_text(i: int, j: int, outs: int) -> str:
    if i >= outs:
        return f"transpose: axes {i - outs} and {j - outs} of the gradient are swapped"
    if j < outs:
        return f"transpose or wrong axis: axes {i} and {j} of the upstream gradient are swapped"
    return "transpose: an operand is used as it is where its transpose belongs (or the other way round)"


def _ignores_upstream(e: Evidence) -> str:
    if e.analytic.shape[0] < 2 or not e.same(e.analytic, np.broadcast_to(e.analytic[:1], e.analytic.shape)):
        return ""
    return "upstream gradient unused: backward gives the same whatever the gradient of the output is"


def _other_input(e: Evidence) -> str:
    for name, other in e.others.items():
        if e.same(e.analytic, other):
            return f"wrong operand: this is the gradient of {name}; are two results of backward swapped?"
        if e.same(-e.analytic, other):
            return f"wrong operand: this is minus the gradient of {name}"
    return ""


def _factor(e: Evidence) -> str:
    """处处差同一个倍数。"""
    ratio = _constant_ratio(e, np.ones_like(e.wrong, dtype=bool))
    return "" if ratio is None else _factor_text(ratio, e)


def _constant_ratio(e: Evidence, where: Array) -> float | None:
    """``where`` 之内，解析的是数值的几倍；不是常数则为 ``None``。"""
    ours, theirs = e.analytic[where], e.numeric[where]
    big = np.abs(theirs) > 100 * e.atol
    if not big.any():
        return None
    ratio = float(np.sum(ours[big] * theirs[big]) / np.sum(theirs[big] ** 2))
    if not np.isfinite(ratio) or abs(ratio) < 1e-8:
        return None
    return ratio if e.close(ours, ratio * theirs).all() else None


def _factor_text(ratio: float, e: Evidence) -> str:
    sizes = [(f"{n} = size of axis {k} of the output", n) for k, n in enumerate(e.out_shape)]
    sizes += [(f"{n} = size of axis {k} of the input", n) for k, n in enumerate(e.in_shape)]
    numbers = ((e.in_shape, "input"), (e.out_shape, "output"))
    sizes += [(f"{int(np.prod(s))} = number of elements of the {name}", int(np.prod(s))) for s, name in numbers]
    sign = "the sign is wrong too, and " if ratio < 0 else ""
    size = abs(ratio)
    if abs(size - 2) < 1e-3:
        return f"factor: {sign}twice too large"
    if abs(size - 0.5) < 1e-4:
        return f"factor: {sign}half of what it should be (a factor 2 is missing)"
    for text, n in sizes:
        if n > 1 and abs(size - n) < 1e-3 * n:
            return f"factor: {sign}n times too large, n = {text} (a mean whose 1/n was forgotten?)"
        if n > 1 and abs(size * n - 1) < 1e-3:
            return f"factor: {sign}1/n of what it should be, n = {text} (a sum treated as a mean?)"
    return f"factor: every entry is {ratio:.6g} times what it should be"


def _missing_reduce(e: Evidence) -> str:
    """少了对某根轴的求和：那根轴上，只有一个位置的影响还在。"""
    ours, theirs = e.boxed
    outs, ins = len(e.out_shape), len(e.in_shape)
    alive, expected = np.abs(ours) > e.atol, np.abs(theirs) > e.atol
    for k in range(1, min(outs, ins) + 1):  # 从右边数起对齐，与广播相同
        i, j = outs - k, outs + ins - k
        n = ours.shape[i]
        if n != ours.shape[j] or n < 2:
            continue
        index = np.arange(n)
        off = np.moveaxis(np.ones(ours.shape, dtype=bool), (i, j), (0, 1)).copy()
        off[index, index] = False
        off = np.moveaxis(off, (0, 1), (i, j))
        if (expected & off).any() and not (alive & off).any():
            axis = outs - k
            return f"missing reduce: nothing crosses axis {axis}; a sum over axis {axis} was forgotten in backward"
    for axis in range(outs + ins):
        rest = tuple(k for k in range(outs + ins) if k != axis)
        reached, wanted = alive.any(rest), expected.any(rest)
        if reached.sum() == 1 < wanted.sum():
            at = int(np.argmax(reached))
            side, place = ("output", axis) if axis < outs else ("input", axis - outs)
            return f"missing reduce over axis {place}: only index {at} of axis {place} of the {side} takes part"
    return ""


def _operand(e: Evidence) -> str:
    """解析的都是某个量的元素，而数值的都是另一个量的元素。"""
    for used in _names_within(e, e.analytic):
        for meant in _names_within(e, e.numeric):
            if used != meant:
                return f"wrong operand: backward multiplies by {used} where {meant} belongs"
    return ""


def _names_within(e: Evidence, jacobian: Array) -> Iterator[str]:
    """哪些量的元素（或相反数）装得下 ``jacobian`` 的全部非零元素；单个数不算，太容易碰巧。"""
    found = np.unique(np.abs(jacobian[np.abs(jacobian) > e.atol]).round(10))
    if found.size < 2:
        return
    for name, value in e.values.items():
        pool = np.abs(np.asarray(value, np.float64)).reshape(-1)
        if pool.size >= 2 and all(e.close(pool, one).any() for one in found):
            yield name


def _power(e: Evidence) -> str:
    """差一个逐元素的因子，而这个因子就是某个量。"""
    big = np.abs(e.numeric) > 100 * e.atol
    if big.sum() < 2 or not e.close(e.analytic[~big], e.numeric[~big]).all():
        return ""
    rows, columns = np.nonzero(big)
    ratio = e.analytic[big] / e.numeric[big]
    for name, value in e.values.items():
        flat = np.asarray(value, np.float64).reshape(-1)
        for size, picked in ((e.analytic.shape[1], columns), (e.analytic.shape[0], rows)):
            if flat.size != size or size < 2:
                continue
            with np.errstate(divide="ignore", invalid="ignore"):
                if np.allclose(ratio, flat[picked], rtol=1e-3):
                    return f"factor: one factor {name} too many (chain rule applied twice?)"
                if np.allclose(ratio, 1 / flat[picked], rtol=1e-3):
                    return f"factor: a factor {name} is missing (chain rule)"
    return ""


def _partly(e: Evidence) -> str:
    """只错了一部分，而那一部分有规律。"""
    wrong = e.wrong
    if wrong.all():
        return ""
    where = _where(e)
    if not (np.abs(e.analytic[wrong]) > e.atol).any():
        return f"zero gradient{where}: those entries are not differentiated"
    ratio = _constant_ratio(e, wrong)
    if ratio is None:
        return ""
    return f"sign{where}" if abs(ratio + 1) < 1e-4 else f"{_factor_text(ratio, e)}{where}"


def _where(e: Evidence) -> str:
    """错的那些元素，输入是否恰好都为正或都为负。"""
    own = e.values.get(e.own)
    if own is not None and own.size == e.wrong.shape[1]:
        bad, flat = e.wrong.any(0), np.asarray(own, np.float64).reshape(-1)
        for text, side in ((f" where {e.own} < 0", flat < 0), (f" where {e.own} > 0", flat > 0)):
            if (bad == side).all():
                return text
    return f" in {int(e.wrong.sum())} of {e.wrong.size} entries"


def _offset(e: Evidence) -> str:
    """处处（或在本该非零之处）差同一个加数。"""
    for where in (np.ones_like(e.wrong, dtype=bool), np.abs(e.numeric) > e.atol):
        apart = (e.analytic - e.numeric)[where]
        outside = e.close(e.analytic[~where], e.numeric[~where]).all()
        if apart.size > 1 and outside and np.ptp(apart) <= 10 * e.atol + e.rtol * abs(float(apart.mean())):
            return f"off by a constant: every gradient is {float(apart.mean()):+.6g} off"
    return ""


def _nothing(e: Evidence) -> str:
    big = e.wrong & (np.abs(e.numeric) > e.atol)
    if not big.any():
        return "a gradient where there should be none"
    ratio = e.analytic[big] / e.numeric[big]
    return f"no simple pattern (a term missing?): got/expected runs from {ratio.min():.4g} to {ratio.max():.4g}"
