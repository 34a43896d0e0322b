"""广播。"""

import tinygrad_llm as tg


def broadcast() -> None:
    """``y = s (x ⊙ w + b)``：w 沿行广播，b 沿列广播，s 广播到每个元素；``L = mean(y²)``。"""
    x = tg.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], dtype=tg.float64)  # (2, 3)
    w = tg.tensor([0.5, -1.0, 2.0], dtype=tg.float64, requires_grad=True)  # (3,)
    b = tg.tensor([[1.0], [-1.0]], dtype=tg.float64, requires_grad=True)  # (2, 1)
    s = tg.tensor(0.5, dtype=tg.float64, requires_grad=True)  # ()

    h = x * w + b  # (2, 3)
    y = s * h
    loss = (y * y).mean()
    loss.backward()
