"""复数进得了哪些算子：名单之外的（比大小、取整、大多数融合算子）一律拒绝，与 torch 一样。

流入：算子与它的参数；流出：无，或一条 ``NotImplementedError``。只在出现过复数的进程里才用得着。下一站：``graph.py``。
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tinygrad_llm.ops.op import Op

ACCEPTS_COMPLEX = frozenset({
    # 只搬运，不计算
    "as_strided", "cast", "cat", "clone", "copied", "diagonal", "embedding", "expand", "fill", "flip", "gather",
    "index", "index_put", "masked_fill", "permute", "reshape", "roll", "scatter_add_zeros", "scatter_index",
    "scatter_rows", "scatter_view", "through_memory", "tril", "triu", "unfold", "where", "write_region",
    # 处处解析：实数的求导表代入共轭就是
    "acos", "acosh", "add", "asin", "asinh", "atan", "atanh", "cofactor", "col2im", "conv_transpose", "conv_weight",
    "convolution", "cos", "cosh", "cumprod", "cumsum", "det", "div", "dot", "exp", "exp2", "expm1", "im2col", "inv",
    "lerp", "linear", "log", "log10", "log1p", "log2", "matmul", "matrix_exp", "mean", "mm", "mul", "mv", "neg",
    "pad_constant", "pow", "pow_scalar", "prod", "recurrence", "resample", "rsqrt", "sin", "sinc", "sinh", "solve",
    "solve_triangular", "sqrt", "sub", "sum", "sum_all", "tan", "tanh", "vm",
    # 为复数而写
    "complex_abs", "complex_angle", "conj", "fft_c2c", "fft_c2r", "imag", "real", "sgn", "view_as_real",
})  # fmt: skip
"""接受复数的算子的名字。"""


def refuse_complex(op: Op, args: Sequence[Any], tensor_type: Any) -> None:
    """算子不接受复数，而参数里有：报错。

    Raises:
        NotImplementedError: 点名算子与 dtype。
    """
    if op.name in ACCEPTS_COMPLEX:
        return
    for a in args:
        if isinstance(a, tensor_type) and a.array.dtype.kind == "c":
            raise NotImplementedError(f"{op.name}: not implemented for {a.dtype} (shape {a.array.shape})")
