"""逐元素算子：每个算子一行公式、一行导数。

流入与流出都是数组（或 Tensor）。形状按 NumPy 规则广播；广播的反向（对被广播的轴求和）由引擎统一处理，
所以这里的求导表可以当作「形状相同」来读。下一站：``reduce.py``。
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_llm.ops.bfloat16 import is_bfloat16, narrowed
from tinygrad_llm.ops.op import Array, op
from tinygrad_llm.ops.special import erf as _erf


@op("y = a + b", a=lambda g: g, b=lambda g: g)
def add(a: Array, b: Array) -> Any:
    """``y = a + b``。"""
    return np.add(a, b)


@op("y = a - b", a=lambda g: g, b=lambda g: -g)
def sub(a: Array, b: Array) -> Any:
    """``y = a - b``。"""
    return np.subtract(a, b)


@op("y = a ⊙ b", a=lambda g, b: g * b, b=lambda g, a: g * a)
def mul(a: Array, b: Array) -> Any:
    """``y = a ⊙ b``。"""
    return np.multiply(a, b)


@op("y = a / b", a=lambda g, b: g / b, b=lambda g, a, b: -g * (a / b / b))
def div(a: Array, b: Array) -> Any:
    """``y = a / b``（真除法）。"""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.true_divide(a, b)


@op("y = -x", x=lambda g: -g)
def neg(x: Array) -> Any:
    """``y = -x``。"""
    return np.negative(x)


@op(
    "y = a ** b",
    a=lambda g, a, b: where(b == 0, 0.0, g * (b * pow(a, b - 1))),
    b=lambda g, a, b, y: where((a == 0) & (b.real >= 0), 0.0, g * (y * log(a))),
)
def pow(a: Array, b: Array) -> Any:
    """``y = a ** b``，指数是数组；``0 ** 0`` 处两个导数都取 0，与 torch 一致。"""
    with np.errstate(all="ignore"):
        return _integer_power(a, b) if np.asarray(b).dtype.kind == "i" else _through_float64(np.power, a, b)


def _through_float64(function: Any, *x: Any) -> Any:
    """float32 的函数在 float64 里算、舍入一次：NumPy 的 float32 版常差末位，位置编码之类的表便与 torch 不同。"""
    if np.result_type(*x) != np.float32:
        return function(*x)
    return function(*x, dtype=np.float64).astype(np.float32)


def _integer_power(a: Array, b: Array) -> Any:
    """整数的整数次幂；负指数的结果向 0 取整，只有底数 ±1 不为 0，与 torch 一致。"""
    inverse = np.where(a == 1, 1, np.where(a == -1, np.where(b % 2 == 0, 1, -1), 0))
    return np.where(b < 0, inverse, np.power(a, np.maximum(b, 0))).astype(np.asarray(b).dtype)


def _scalar_power(x: Array, exponent: float) -> Any:
    """小整数次幂改用连乘：NumPy 的 float32 ``x ** 3`` 比 ``x * x * x`` 慢百倍。"""
    if exponent == 2:
        return x * x
    if exponent == 3:
        return x * x * x
    with np.errstate(all="ignore"):
        return np.power(x, exponent)


@op(
    "y = x ** c",
    x=lambda g, x, exponent: g * (exponent * pow_scalar(x, exponent=exponent - 1)) if exponent else zeros(g),
)
def pow_scalar(x: Array, *, exponent: float) -> Any:
    """``y = x ** c``，指数 ``c`` 是 Python 数。"""
    return _scalar_power(x, exponent)


@op("y = exp(x)", x=lambda g, y: g * y)
def exp(x: Array) -> Any:
    """``y = exp(x)``，只留输出。"""
    with np.errstate(over="ignore"):
        return _through_float64(np.exp, x)


@op("y = ln x", x=lambda g, x: g / x)
def log(x: Array) -> Any:
    """``y = ln x``。"""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.log(x)


@op("y = ln(1 + x)", x=lambda g, x: g / (x + 1))
def log1p(x: Array) -> Any:
    """``y = ln(1 + x)``，在 0 附近保持精度。"""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.log1p(x)


@op("y = √x", x=lambda g, y: g / (y * 2))
def sqrt(x: Array) -> Any:
    """``y = √x``。"""
    with np.errstate(invalid="ignore"):
        return np.sqrt(x)


@op("y = 1/√x", x=lambda g, y: -0.5 * g * (y * y * y))
def rsqrt(x: Array) -> Any:
    """``y = 1/√x``。"""
    with np.errstate(divide="ignore", invalid="ignore"):
        return 1 / np.sqrt(x)


@op("y = sin x", x=lambda g, x: g * cos(x))
def sin(x: Array) -> Any:
    """``y = sin x``。"""
    with np.errstate(invalid="ignore"):
        return _through_float64(np.sin, x)


@op("y = cos x", x=lambda g, x: -g * sin(x))
def cos(x: Array) -> Any:
    """``y = cos x``。"""
    with np.errstate(invalid="ignore"):
        return _through_float64(np.cos, x)


@op("y = tanh x", x=lambda g, y: g * (1 - y * y))
def tanh(x: Array) -> Any:
    """``y = tanh x``，导数用输出表示：``1 - y²``。"""
    return np.tanh(x)


@op("y = erf x", x=lambda g, x: g * (exp(-(x * x)) * 1.1283791670955126))
def erf(x: Array) -> Any:
    """``y = erf x``；导数 ``2/√π · exp(-x²)``。"""
    return _erf(x)


@op("y = 1/(1 + e⁻ˣ)", x=lambda g, y: g * (y * (1 - y)))
def sigmoid(x: Array) -> Any:
    """``y = σ(x)``，导数用输出表示：``y(1 - y)``；``exp`` 上溢成 inf 时，``1/inf`` 正是要的 0。"""
    with np.errstate(over="ignore", invalid="ignore"):
        y = np.exp(np.negative(x))
        y += 1
        return np.divide(1, y, out=y) if y.ndim else 1 / y


def _passed(g: Any, y: Any) -> Any:
    """``y`` 为正（或 NaN）处的 ``g``，其余是 0；清零用按位与：``np.where`` 遇到杂乱的掩码，分支全猜错，慢十倍。"""
    if type(g) is not np.ndarray or g.dtype.kind != "f" or not g.ndim:
        return masked_fill(g, y <= 0, value=0.0)
    integer = np.dtype(f"i{g.dtype.itemsize}")
    keep = (y <= 0).view(np.int8).astype(integer)
    keep -= 1  # 要的是 -1，即各位全为 1；不要的是 0
    bits = g.view(integer) if g.flags.c_contiguous else np.ascontiguousarray(g).view(integer)
    np.bitwise_and(bits, keep, out=keep)
    return keep.view(g.dtype)


@op("y = max(x, 0)", x=lambda g, y: _passed(g, y))
def relu(x: Array) -> Any:
    """``y = max(x, 0)``；在 0 处导数取 0。"""
    return np.maximum(x, 0)


@op("y = |x|", x=lambda g, x: g * sign(x))
def abs(x: Array) -> Any:
    """``y = |x|``；在 0 处导数取 0。"""
    return np.abs(x)


def zeros(g: Any) -> Any:
    """分段常数的函数的梯度：形状同 ``g``，处处为 0（``g`` 里有无穷大也一样）。"""
    return masked_fill(g, True, value=0.0)


@op("y = sign(x)", x=lambda g: zeros(g))
def sign(x: Array) -> Any:
    """``y = sign(x)``；处处导数为 0，NaN 的符号是 0。"""
    dtype = np.asarray(x).dtype
    return np.array(x) if dtype.kind == "b" else np.subtract(np.greater(x, 0), np.less(x, 0), dtype=dtype)


@op(
    "y = max(a, b)",
    a=lambda g, a, b: _shared(g, a < b, a == b),
    b=lambda g, a, b: _shared(g, b < a, a == b),
)
def maximum(a: Array, b: Array) -> Any:
    """``y = max(a, b)``；相等时两边各得一半梯度，与 torch 一致。"""
    return np.maximum(b, a)  # 相等时 NumPy 给第二个：-0 与 +0 相遇，torch 留下 a


@op(
    "y = min(a, b)",
    a=lambda g, a, b: _shared(g, a > b, a == b),
    b=lambda g, a, b: _shared(g, b > a, a == b),
)
def minimum(a: Array, b: Array) -> Any:
    """``y = min(a, b)``；相等时两边各得一半梯度。"""
    return np.minimum(b, a)


def _shared(g: Any, loses: Any, ties: Any) -> Any:
    """输者得 0（``g`` 是 NaN 也得 0），平局得一半，胜者全得；与 NaN 相比谁也不输。"""
    return where(loses, 0.0, where(ties, g * 0.5, g))


@op(
    "y = max(a, b)（不理 NaN）",
    a=lambda g, a, b: masked_fill(g, ~((a >= b) | (b != b)), value=0.0),
    b=lambda g, a, b: masked_fill(g, (a >= b) | (b != b), value=0.0),
)
def fmax(a: Array, b: Array) -> Any:
    """``y = max(a, b)``，一边是 NaN 就取另一边；相等时梯度归 ``a``。"""
    return np.fmax(a, b)


@op(
    "y = min(a, b)（不理 NaN）",
    a=lambda g, a, b: masked_fill(g, ~((a <= b) | (b != b)), value=0.0),
    b=lambda g, a, b: masked_fill(g, (a <= b) | (b != b), value=0.0),
)
def fmin(a: Array, b: Array) -> Any:
    """``y = min(a, b)``，一边是 NaN 就取另一边；相等时梯度归 ``a``。"""
    return np.fmin(a, b)


@op("y = c ? a : b", a=lambda g, cond: where(cond, g, 0.0), b=lambda g, cond: where(cond, 0.0, g))
def where(cond: Array, a: Array, b: Array) -> Any:
    """``y = cond ? a : b``；没被选中的一边梯度为 0（即使另一边是 NaN）。"""
    return np.where(cond, a, b)


@op("y = mask ? c : x", x=lambda g, mask: masked_fill(g, mask, value=0.0))
def masked_fill(x: Array, mask: Array, *, value: float) -> Any:
    """把 ``mask`` 为真处换成常数 ``value``；那些位置梯度为 0。"""
    return np.asarray(np.where(mask, np.asarray(value, dtype=np.asarray(x).dtype), x), order="C")


@op("y = min(max(x, lo), hi)", x=lambda g, x, min, max: masked_fill(g, _outside(x, min, max), value=0.0))
def clamp(x: Array, *, min: float | None = None, max: float | None = None) -> Any:
    """``y = clip(x, min, max)``；落在区间内（含端点）的元素传回梯度。"""
    return np.clip(x, min, max)


@op(
    "y = min(max(x, lo), hi)",
    x=lambda g, x, low, high: masked_fill(g, _outside(x, low, high), value=0.0),
    low=lambda g, x, low, high: where((x < low) if high is None else (x < low) & (low < high), g, 0.0),
    high=lambda g, x, low, high: where((x > high) if low is None else (x > high) | (high < low), g, 0.0),
)
def clamp_between(x: Array, low: Array | None, high: Array | None) -> Any:
    """``y = clip(x, low, high)``，两端是数组，也可求导；``low > high`` 时取 ``high``。"""
    y = x if low is None else np.maximum(x, low)
    return y if high is None else np.minimum(y, high)


def _outside(x: Any, low: Any, high: Any) -> Any:
    """落在区间之外的位置；NaN 也算在外，与 torch 一致。"""
    if low is None:
        return ~(x <= high)
    return ~(x >= low) if high is None else ~((x >= low) & (x <= high))


@op(
    "y = a + w (b - a)",
    a=lambda g, weight: g * (1 - weight),
    b=lambda g, weight: g * weight,
    weight=lambda g, a, b: g * (b - a),
)
def lerp(a: Array, b: Array, weight: Array) -> Any:
    """线性插值；从近的一端出发，``w = 0`` 与 ``w = 1`` 时恰好是两端。"""
    return np.where(np.abs(weight) < 0.5, a + weight * (b - a), b - (b - a) * (1 - weight))


@op("y = c", x=lambda g: zeros(g), value=lambda g: g)
def fill(x: Array, value: Array) -> Any:
    """形状与 dtype 同 ``x``，处处是 ``value``。"""
    return np.full_like(x, value)


@op("y = x", x=lambda g: g)
def clone(x: Array) -> Any:
    """``y = x`` 的一份拷贝。"""
    return np.array(x)


@op("y = x（换 dtype）", x=lambda g: g)
def cast(x: Array, *, dtype: Any) -> Any:
    """换一种 dtype；反向由引擎把梯度换回输入的 dtype。"""
    x = np.asarray(x)
    if x.dtype.kind == "c" and np.dtype(dtype).kind not in "cb":
        x = x.real
    if is_bfloat16(dtype) or is_bfloat16(x.dtype):
        return np.array(narrowed(x, dtype))
    with np.errstate(all="ignore"):
        return x.astype(dtype)


for _op, _ufunc in ((add, np.add), (sub, np.subtract), (mul, np.multiply), (neg, np.negative), (tanh, np.tanh)):
    _op.forward = _ufunc  # 前向就是一个 NumPy 函数：直接指过去，省掉一层 Python 调用
