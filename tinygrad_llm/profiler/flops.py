"""矩阵乘积的浮点运算次数：一次乘加算两次。

流入：算子名与各数组的形状；流出：次数，不是矩阵乘积的为 0。只数公式要的，反传里重算的、偏置、softmax 都不数。
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

Shape = tuple[int, ...]

_FORWARD: dict[str, Callable[[Sequence[Shape], Shape], int]] = {
    "matmul": lambda ins, out: 2 * math.prod(out) * ins[0][-1],
    "mm": lambda ins, out: 2 * math.prod(out) * ins[0][-1],
    "mv": lambda ins, out: 2 * math.prod(ins[0]),
    "vm": lambda ins, out: 2 * math.prod(ins[1]),
    "dot": lambda ins, out: 2 * math.prod(ins[0]),
    "linear": lambda ins, out: 2 * math.prod(out) * ins[0][-1],
    "linear_cross_entropy": lambda ins, out: 2 * math.prod(ins[0]) * ins[1][0],
    "token_loss": lambda ins, out: 2 * math.prod(ins[0]) * ins[1][0],
    "attention": lambda ins, out: 2 * math.prod(ins[0][:-1]) * ins[1][-2] * (ins[0][-1] + ins[2][-1]),
    "convolution": lambda ins, out: 2 * math.prod(out) * math.prod(ins[1][1:]),
    "conv_transpose": lambda ins, out: 2 * math.prod(ins[0]) * math.prod(ins[1][1:]),
    "conv_weight": lambda ins, out: 2 * math.prod(ins[1]) * math.prod(out[1:]),
}
"""算子名 →（各输入的形状，输出的形状）→ 次数。"""

_FACTORS = 2
"""两个矩阵相乘：每个因子的梯度又是一次同样大的乘法。"""


def forward_flops(op: str, inputs: Sequence[Shape], output: Shape) -> int:
    """前向的次数。"""
    formula = _FORWARD.get(op)
    return 0 if formula is None else formula(inputs, output)


def backward_flops(op: str, forward: int, needs: Sequence[bool]) -> int:
    """反向的次数。

    Args:
        op: 算子名。
        forward: 前向的次数。
        needs: 各输入是否需要梯度；第二个之后的（偏置、标签）不是因子。

    Returns:
        次数；注意力前向两次乘法、反向四次，不论要几个梯度都一起算出。
    """
    return forward * (2 if op == "attention" else sum(needs[:_FACTORS]))
