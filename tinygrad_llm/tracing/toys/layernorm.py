"""层归一化。"""

import tinygrad_llm as tg


def layernorm() -> None:
    """两行三列，逐行减均值、除标准差，再乘 ``w`` 加 ``b``；损失是与目标的均方误差。"""
    x = tg.tensor([[1.0, 2.0, 4.0], [-1.0, 0.0, 3.0]], dtype=tg.float64, requires_grad=True)  # (2, 3)
    w = tg.tensor([1.0, 0.5, 2.0], dtype=tg.float64, requires_grad=True)
    b = tg.tensor([0.0, 0.1, -0.1], dtype=tg.float64, requires_grad=True)
    target = tg.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 1.0]], dtype=tg.float64)

    mu = x.mean(-1, keepdim=True)  # (2, 1)
    d = x - mu
    var = (d * d).mean(-1, keepdim=True)  # (2, 1)
    xhat = d / tg.sqrt(var + 1e-5)
    y = xhat * w + b
    loss = ((y - target) ** 2).mean()
    loss.backward()
