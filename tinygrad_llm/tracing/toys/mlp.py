"""2-2-1 网络。"""

import tinygrad_llm as tg


def mlp() -> None:
    """异或的四个样本，一个隐藏层，均方误差。"""
    X = tg.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]], dtype=tg.float64)  # (4, 2)
    T = tg.tensor([[0.0], [1.0], [1.0], [0.0]], dtype=tg.float64)  # (4, 1)
    W1 = tg.tensor([[0.5, 0.8], [-0.3, 0.2]], dtype=tg.float64, requires_grad=True)  # (2 个输入, 2 个隐藏单元)
    b1 = tg.tensor([0.1, -0.1], dtype=tg.float64, requires_grad=True)
    W2 = tg.tensor([[0.7], [-0.6]], dtype=tg.float64, requires_grad=True)  # (2 个隐藏单元, 1 个输出)
    b2 = tg.tensor([0.2], dtype=tg.float64, requires_grad=True)

    H = tg.tanh(X @ W1 + b1)  # (4, 2)
    Y = H @ W2 + b2  # (4, 1)
    loss = ((Y - T) ** 2).mean()
    loss.backward()
