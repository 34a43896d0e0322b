"""2-2-1 网络：矩阵乘法的两个导数，和一个被广播的偏置。

异或的四个样本一起走：``H = tanh(X W1 + b1)``，``Y = H W2 + b2``，``L = mean((Y - T)²)``；L = 0.4310。

矩阵乘法的反向还是矩阵乘法：``Y = H W`` 给出 ``∂L/∂H = G Wᵀ``，``∂L/∂W = Hᵀ G``，形状对得上的写法只有一种。
b1 加到每一行上，它的梯度就要把每一行的加回来。

梯度，以及反传走错时的梯度::

    right                W1 = [[-0.2042, 0.1536], [-0.344, 0.3002]]  b1 = [-0.4257, 0.3521]
    right                W2 = [[-0.1001], [-0.3131]]  b2 = [-0.7405]
    no_broadcast_sum     b1 = [[0.1142, -0.09789], [-0.3357, 0.2964], [-0.1959, 0.1498], [-0.008283, 0.003777]]
    no_broadcast_sum     b2 = [[0.1648], [-0.499], [-0.3933], [-0.01293]]
    forgotten_zero_grad  b1 = [-0.8514, 0.7042]  b2 = [-1.481]

不求和时 b1 的梯度有四行，每个样本一行；照它更新，b1 会悄悄变成 (4, 2)，网络从此对每个样本各用一个偏置。

可以试着：多加几个隐藏单元；把 tanh 换成 relu，看哪些单元的梯度是 0。
"""

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
