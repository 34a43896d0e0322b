"""因果自注意力：三个词，每个两维。"""

import tinygrad_llm as tg


def attention() -> None:
    """``O = softmax(掩码(Q Kᵀ / √2)) V``，损失是与目标的均方误差。"""
    x = tg.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]], dtype=tg.float64, requires_grad=True)  # (T, D) = (3, 2)
    Wq = tg.tensor([[0.5, -0.2], [0.3, 0.8]], dtype=tg.float64, requires_grad=True)  # (D, D)
    Wk = tg.tensor([[0.4, 0.1], [-0.6, 0.9]], dtype=tg.float64, requires_grad=True)
    Wv = tg.tensor([[1.0, 0.5], [-0.5, 1.0]], dtype=tg.float64, requires_grad=True)
    target = tg.tensor([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]], dtype=tg.float64)
    future = tg.tensor([[False, True, True], [False, False, True], [False, False, False]])  # 第 i 行看不见 i 之后的词

    q = x @ Wq
    k = x @ Wk
    v = x @ Wv
    scores = q @ k.T / 2**0.5  # (T, T)
    scores = scores.masked_fill(future, float("-inf"))
    p = tg.softmax(scores, dim=-1)  # (T, T)，每一行之和为 1
    out = p @ v  # (T, D)
    loss = ((out - target) ** 2).mean()
    loss.backward()
