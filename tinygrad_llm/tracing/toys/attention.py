"""因果自注意力：三个词，每个两维。

``Q = x Wq``，``K = x Wk``，``V = x Wv``；分数 ``Q Kᵀ / √2`` 遮住未来，逐行 softmax 得到 p，输出 ``p V``；
损失是与目标的平方差之和，L = 0.5928。

p 的第一行是 [1, 0, 0]：第一个词只看得见自己，权重不管怎样都是 1，所以它的分数的梯度是 0，q 的第一行也是 0。
被遮住的分数是 -inf，exp 之后是 0，梯度也是 0。x 用了三次，它的梯度是经由 Q、K、V 的三份之和。

梯度，以及反传走错时的梯度::

    right                x = [[0.6129, 1.186], [0.2097, -0.1271], [0.07355, 0.4979]]
    right                Wq = [[-0.1102, 0.1403], [0.01198, 0.04255]]
    right                Wk = [[0.008092, 0.0763], [0.0912, -0.001823]]
    right                Wv = [[-0.009547, 1.536], [0.04373, 0.4115]]
    no_accumulation      x = [[0, 0], [0.08061, -0.04153], [-0.08313, 0.07916]]
    forgotten_zero_grad  x = [[1.226, 2.373], [0.4194, -0.2541], [0.1471, 0.9959]]

不累加时 x 只剩经由 Q 的一份，所以第一个词的梯度是 0。x 是叶子，不再往下传，次序错了也不要紧。

可以试着：去掉 masked_fill 那一行，看 p 的右上角亮起来；把 √2 去掉，看 softmax 变尖了多少。
"""

import tinygrad_llm as tg


def attention() -> None:
    """``O = softmax(掩码(Q Kᵀ / √2)) V``，损失是与目标的平方差之和。"""
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
    loss = ((out - target) ** 2).sum()
    loss.backward()
