"""总账里每一格附的五行脚本都调用它：把一个例子重量一遍，说出差在哪里。"""

from __future__ import annotations

from typing import Any

import numpy as np


def replay(op: str, inputs: list[Any], attrs: dict[str, Any], check: str, layouts: list[str] | None = None) -> float:
    """重放一个例子，打印最大的一处误差。

    Args:
        op: 算子名。
        inputs: 位置参数。
        attrs: 属性。
        check: ``"forward"``、``"gradient"`` 或 ``"difference"``。
        layouts: 各输入的内存布局，``strategies.LAYOUTS`` 的键；缺省都是连续的。

    Returns:
        相对误差，与总账里的同一个数。
    """
    from parity_tests.ledger.measure import DIFFERENCE, Case, measure, tolerance

    is_single = any(isinstance(a, np.ndarray) and a.dtype in (np.float32, np.complex64) for a in inputs)
    dtype = "float32" if is_single else "float64"
    case = Case(op, tuple(inputs), tuple(layouts or ["contiguous"] * len(inputs)), attrs)
    error = measure(case, dtype, check == DIFFERENCE)[check]
    baseline = "difference" if check == DIFFERENCE else "torch"
    print(f"{op} {dtype} {check}: {error.where}")
    print(f"  engine {error.ours}  {baseline} {error.theirs}")
    verdict = "within" if error.passed else "OUTSIDE"
    limit = tolerance(check, dtype)
    print(f"  relative {error.relative:.3e}, {error.ulps:.3g} ulp: {verdict} rtol {limit.rtol:g}, atol {limit.atol:g}")
    return error.relative
