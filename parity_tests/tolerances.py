"""全部容差，一张表，每行写明理由；只许收紧，不许为了通过而放宽。

流入：比较的种类；流出：``(rtol, atol)``。下一站：``strategies.py``。
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np


class Tolerance(NamedTuple):
    """一种比较的容差：``|a - b| ≤ atol + rtol·|b|``。

    Attributes:
        rtol: 相对容差。
        atol: 绝对容差。
    """

    rtol: float
    atol: float


TABLE: dict[str, Tolerance] = {
    # 同一公式、不同的求和次序：几十项 O(1) 的数相加，舍入误差约 1e-14；留两个数量级给条件数
    "float64": Tolerance(1e-10, 1e-12),
    # 二阶导多除一次，幂与根号在定义域边上放大几百倍
    "float64 second order": Tolerance(1e-9, 1e-10),
    # float32 的 eps 约 1.2e-7；几十项求和再乘一个数量级的条件数
    "float32": Tolerance(1e-5, 1e-5),
    # 中心差分：截断误差 h²·f''' 约 1e-12，舍入误差 eps·|f|/h 约 1e-10·|f|；取 1e-6 还有余地
    "central difference": Tolerance(1e-6, 1e-6),
    # 二阶导的中心差分：一阶导本身更大，误差随之放大
    "central difference second order": Tolerance(1e-5, 1e-5),
    # 搬运、比较、整数与布尔：没有舍入，逐位相同
    "exact": Tolerance(0.0, 0.0),
    # 一百步优化器：每步一次舍入，相对误差近似按步数累加
    "optimizer float64": Tolerance(1e-12, 1e-14),
    # 整个 GPT 的 logits：两边矩阵乘法的求和次序不同
    "gpt float64": Tolerance(1e-12, 1e-12),
    "gpt float32": Tolerance(1e-5, 1e-5),
    # 与别人写的模型比，整个数组先除以其中最大的数：宽度 1、2 的归一化把舍入误差放大 1/√ε，
    # 一千多个随机配置里测得至多 3e-12
    "transformers float64": Tolerance(0.0, 1e-10),
    # Adam 把梯度除以 √v：梯度近 0 的元素把相对误差原样带进步长
    "gpt training float64": Tolerance(1e-8, 1e-10),
    # 两边的 float32 差最后一位时，舍入到 16 位恰好可能落到相邻的两个数上；这样的数相加，误差是 1 附近的一个 ulp
    "autocast bfloat16": Tolerance(2.0**-7, 2.0**-7),
    "autocast float16": Tolerance(2.0**-10, 2.0**-10),
    # torch 的 digamma、polygamma 与不完全伽马函数只精到 1e-9，多项分布的熵里还有一个 float32 的 lgamma
    "distribution": Tolerance(1e-7, 1e-9),
    # Box–Muller 的 log、cos 由各自的数学库计算，相差几个 ulp
    "random normal": Tolerance(1e-5, 1e-6),
}


def assert_close(ours: Any, theirs: Any, kind: str, what: str = "") -> None:
    """形状、dtype 与数值都相同，否则报出第一处不同。

    Args:
        ours: 数组、``tinygrad_llm`` 或 torch 的 Tensor。
        theirs: 同上，作为基准。
        kind: ``TABLE`` 的键。
        what: 出错时说明比的是什么。
    """
    a, b = as_array(ours), as_array(theirs)
    assert a.shape == b.shape, f"{what}: shape {a.shape} != {b.shape}"
    assert a.dtype == b.dtype, f"{what}: dtype {a.dtype} != {b.dtype}"
    rtol, atol = TABLE[kind]
    np.testing.assert_allclose(a, b, rtol=rtol, atol=atol, err_msg=what)


def as_array(value: Any) -> Any:
    """任何一种张量 → NumPy 数组。"""
    value = getattr(value, "array", value)
    return np.asarray(value.numpy(force=True) if hasattr(value, "detach") else value)
