"""第 0 层：纯数组上的公式与导数，不认识 Tensor。

``REGISTRY`` 收着全部算子；每个算子的求导表就写在它的装饰器里。阅读次序：
``op`` → ``elementwise`` → ``shape`` → ``scan`` → ``reduce`` → ``linear`` → ``activation`` → ``norm`` → ``attention``
→ ``loss``。
"""

from tinygrad_llm.ops import (
    activation,
    attention,
    convolution,
    decompositions,
    distances,
    elementwise,
    exponential,
    interpolation,
    inverses,
    linear,
    linear_loss,
    loss,
    norm,
    piecewise,
    pooling,
    reduce,
    resampling,
    rounding,
    scan,
    shape,
    special_functions,
    trigonometry,
    views,
)  # fmt: skip
from tinygrad_llm.ops.op import REGISTRY, Array, Op, op

__all__ = [
    "REGISTRY", "Array", "Op", "activation", "attention", "convolution",
    "decompositions", "distances", "elementwise", "exponential", "interpolation", "inverses",
    "linear", "linear_loss", "loss", "norm", "op", "piecewise", "pooling", "reduce", "resampling", "rounding", "scan",
    "shape", "special_functions", "trigonometry", "views",
]  # fmt: skip
