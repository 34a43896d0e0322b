"""菱形：一个值用了两次。"""

import tinygrad_llm as tg


def diamond() -> None:
    """``y = s u``，其中 ``s = x²``，``u = s + 1``：s 用了两次，x 也用了两次。"""
    x = tg.tensor(1.5, dtype=tg.float64, requires_grad=True)

    s = x * x
    u = s + 1.0
    y = s * u
    y.backward()
