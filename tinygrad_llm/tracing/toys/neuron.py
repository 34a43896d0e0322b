"""一个神经元：链式法则只有一条链。"""

import tinygrad_llm as tg


def neuron() -> None:
    """逻辑回归的一个样本：``L = BCE(σ(w x + b), y)``。"""
    w = tg.tensor(2.2, dtype=tg.float64, requires_grad=True)
    b = tg.tensor(0.0, dtype=tg.float64, requires_grad=True)
    x = tg.tensor(1.1, dtype=tg.float64)
    y = tg.tensor(1.0, dtype=tg.float64)

    z = w * x + b
    a = tg.sigmoid(z)
    loss = tg.nn.functional.binary_cross_entropy(a, y, reduction="none")  # 只有一个样本，不必取平均
    loss.backward()
