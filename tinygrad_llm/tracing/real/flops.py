"""一次算子调用的浮点运算次数：照公式数，由形状算出。

流入：算子名、各输入与输出的形状、属性；流出：次数。录制者（``tracing/recorder.py``）逐个节点调用，
``overlay.py`` 把它们与时间、内存摆在一起。

数法：加、减、乘、除、比较、取反，以及一次 ``exp``、``tanh`` 之类的初等函数，各算一次；搬运与换形状不算。
矩阵乘积沿用 ``profiler/flops.py``（一次乘加算两次，因果掩码遮住的也算）；在它之外，这里还数偏置、激活与归一化。
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tinygrad_llm.profiler.flops import backward_flops, forward_flops

Shape = tuple[int, ...]
Shapes = Sequence[Shape | None]

_MOVES = """
    reshape permute expand index gather embedding cat flip roll tril triu write_region copied clone cast fill diagonal
    unfold as_strided through_memory index_put pick real imag complex conj view_as_real view_as_complex scatter_view
    pad_constant im2col where masked_fill mantissa
"""
"""只搬运，不运算。"""

_PER_ELEMENT = {
    1: """
        add sub mul div neg pow pow_scalar exp log log1p sqrt sin cos tanh erf abs sign maximum minimum fmax fmin exp2
        expm1 log2 log10 ldexp floor ceil trunc round angle remainder fmod copysign nextafter nan_to_num erfc erfcx
        erfinv ndtri log_ndtr lgamma digamma polygamma zeta igamma igammac i0 i0e i1 i1e tan asin acos atan sinh cosh
        asinh acosh atanh relu complex_angle
    """,
    2: "rsqrt clamp clamp_between div_floor div_trunc xlogy xlog1py sgn polar atan2 hardtanh",
    3: "prelu threshold logsigmoid sinc entr logit lerp complex_abs rotary",  # rotary 的一对数：四乘两加
    4: "sigmoid hypot softplus hardsigmoid hardshrink",
    5: "silu gelu elu hardswish softshrink logaddexp logaddexp2 mish",
    7: "binary_cross_entropy",
    9: "gelu_tanh",  # x³ 两次，0.044715·、+x、·√(2/π)、tanh、1+、x/2、最后一乘各一次
}
"""逐元素：输出的每个数几次。"""

_FREE = frozenset(_MOVES.split())
_EACH = {name: count for count, names in _PER_ELEMENT.items() for name in names.split()}


def _combine(ins: Shapes, out: Shape) -> int:
    """n 个数合成 m 个，n − m 次。"""
    return max(_size(ins[0]) - math.prod(out), 0)


def _exponentials(rows: int, width: int) -> int:
    """``ln Σ eˣ``：每行找最大、减去、取指数、求和，再取对数、加回最大值。"""
    return rows * (4 * width)


def _softmax(ins: Shapes, out: Shape, attrs: Mapping[str, Any]) -> int:
    return 5 * math.prod(out) - 2 * (math.prod(out) // max(_along(out, attrs), 1))


def _normalised(ins: Shapes, per_row: int, per_element: int) -> int:
    """归一化：缩放与平移给了才算。"""
    given = sum(shape is not None for shape in ins[1:])
    x = ins[0] or ()
    return _size(x) * (per_element + given) + per_row * math.prod(x[:-1])


def _square(per_cube: float) -> Callable[[Shapes, Shape, Mapping[str, Any]], int]:
    """``n × n`` 的分解与求逆：``c · n³``。"""

    def count(ins: Shapes, out: Shape, attrs: Mapping[str, Any]) -> int:
        shape = ins[0] or (1, 1)
        return round(per_cube * math.prod(shape[:-2]) * max(shape[-2:]) * min(shape[-2:]) ** 2)

    return count


_TABLE: dict[str, Callable[[Shapes, Shape, Mapping[str, Any]], int]] = {
    **dict.fromkeys(("sum", "sum_all", "prod", "amax", "amin"), lambda ins, out, attrs: _combine(ins, out)),
    "mean": lambda ins, out, attrs: _size(ins[0]),
    "nansum": lambda ins, out, attrs: _size(ins[0]) + _combine(ins, out),
    "chebyshev": lambda ins, out, attrs: 2 * _size(ins[0]),
    "var": lambda ins, out, attrs: 4 * _size(ins[0]),
    "std": lambda ins, out, attrs: 4 * _size(ins[0]) + math.prod(out),
    "vector_norm": lambda ins, out, attrs: 2 * _size(ins[0]) + math.prod(out),
    "logsumexp": lambda ins, out, attrs: 4 * _size(ins[0]),
    "softmax": _softmax,
    "log_softmax": lambda ins, out, attrs: 5 * math.prod(out),
    **dict.fromkeys(("cumsum", "cumprod"), lambda ins, out, attrs: math.prod(out)),
    "recurrence": lambda ins, out, attrs: 2 * math.prod(out),
    "logcumsumexp": lambda ins, out, attrs: 5 * math.prod(out),
    **dict.fromkeys(
        ("scatter_index", "scatter_add_zeros", "scatter_rows", "col2im"), lambda ins, out, attrs: _size(ins[0])
    ),
    "scatter_reduce": lambda ins, out, attrs: _size(ins[1]),
    "linear": lambda ins, out, attrs: math.prod(out) if len(ins) > 2 and ins[2] is not None else 0,
    "attention": lambda ins, out, attrs: 6 * math.prod((ins[0] or ())[:-1]) * (ins[1] or (1, 1))[-2],
    "cross_entropy": lambda ins, out, attrs: _exponentials(*_rows(ins[0])) + 2 * _rows(ins[0])[0],
    **dict.fromkeys(
        ("linear_cross_entropy", "token_loss"),
        lambda ins, out, attrs: _exponentials(_rows(ins[0])[0], _rows(ins[1])[0]) + 2 * _rows(ins[0])[0],
    ),
    "layer_norm": lambda ins, out, attrs: _normalised(ins, 3, 5),
    "rms_norm": lambda ins, out, attrs: _normalised(ins, 3, 3),
    "resample": lambda ins, out, attrs: 2 * math.prod(out) * _along(ins[0], attrs),
    "euclidean": lambda ins, out, attrs: 3 * math.prod(out) * (ins[0] or (1,))[-1],
    **dict.fromkeys(
        ("fft_c2c", "fft_r2c", "fft_c2r"),
        lambda ins, out, attrs: round(5 * _size(ins[0]) * math.log2(max(_along(ins[0], attrs), 2))),
    ),
    "cholesky": _square(1 / 3),
    **dict.fromkeys(("lu", "det", "logabsdet"), _square(2 / 3)),
    **dict.fromkeys(("solve", "solve_triangular", "inv", "cofactor"), _square(2)),
    "qr": _square(4 / 3),
    "eigh": _square(9),
    "svd": _square(20),
    "pinv": _square(22),
    "matrix_exp": _square(20),
}
"""其余各按自己的公式；矩阵乘积在 ``profiler/flops.py`` 之外多出来的部分也在这里。"""


def flops_of(op_name: str, input_shapes: Shapes, output_shape: Shape, attrs: Mapping[str, Any]) -> int:
    """一次前向的浮点运算次数。

    Args:
        op_name: 算子名。
        input_shapes: 各位置参数的形状；参数是 ``None`` 的为 ``None``，Python 的数为 ``()``。
        output_shape: 输出的形状。
        attrs: 属性；只用到 ``dim``，数或写成文字的数都可以。

    Returns:
        次数；不认识的名字（用户自己的 ``Function``）为 0。
    """
    each = _EACH.get(op_name)
    if each is not None:
        return each * math.prod(output_shape)
    own = _TABLE.get(op_name)
    shapes = [shape or () for shape in input_shapes]
    return forward_flops(op_name, shapes, output_shape) + (own(input_shapes, output_shape, attrs) if own else 0)


def backward_flops_of(op_name: str, input_shapes: Shapes, output_shape: Shape, needs: Sequence[bool]) -> int:
    """一次反向的浮点运算次数：只数矩阵乘积，别的算子的反向与前向同一个量级，远小于它们。"""
    shapes = [shape or () for shape in input_shapes]
    return backward_flops(op_name, forward_flops(op_name, shapes, output_shape), needs)


def is_counted(op_name: str) -> bool:
    """这个算子的公式在不在表里。"""
    known = op_name in _FREE or op_name in _EACH or op_name in _TABLE
    return known or forward_flops(op_name, [(2, 2, 2), (2, 2, 2), (2, 2, 2)], (2, 2, 2)) > 0


def _size(shape: Shape | None) -> int:
    return math.prod(shape) if shape is not None else 0


def _along(shape: Shape | None, attrs: Mapping[str, Any]) -> int:
    """属性 ``dim`` 所指的轴（可以不止一根）上有几个数。"""
    dims = [int(one) for one in re.findall(r"-?\d+", str(attrs.get("dim", -1)))]
    return math.prod(shape[dim] for dim in dims) if shape else 1


def _rows(shape: Shape | None) -> tuple[int, int]:
    """看成二维：行数与每行几个。"""
    shape = shape or (1,)
    return math.prod(shape[:-1]), shape[-1]
