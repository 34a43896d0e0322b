"""广播：前向复制了几份，反向就要加回来几份。

``y = s (x ⊙ w + b)``，``L = mean(y²)``：x 是 (2, 3)；w 是 (3,)，沿行复制；b 是 (2, 1)，沿列复制；
s 是标量，复制到每个元素。L = 8.7604。

每个算子的求导表都写得像形状相同一样；VJP 的结果与输入形状不同时，引擎把多出来的轴加起来：w 加掉第 0 轴，b 加掉第 1 轴，
s 两个轴都加掉。

梯度，以及反传走错时的梯度::

    right                w = [0.4583, -2.667, 7.25]  b = [[0.625], [0.5]]  s = 35.04
    naive_recursion      w = [1.833, -10.67, 29]  b = [[1.875], [1.5]]  s = 70.08
    no_accumulation      w = [0.2292, -1.333, 3.625]  b = [[0.3125], [0.25]]  s = 17.52
    no_broadcast_sum     w = [[0.125, -0.1667, 1.75], [0.3333, -2.5, 5.5]]
    no_broadcast_sum     b = [[0.125, -0.08333, 0.5833], [0.08333, -0.5, 0.9167]]
    no_broadcast_sum     s = [[0.375, 0.1667, 8.167], [0.1667, 6, 20.17]]
    forgotten_zero_grad  w = [0.9167, -5.333, 14.5]  b = [[1.25], [1]]  s = 70.08

y 在 y·y 里用了两次，所以不累加恰好少了一半。朴素递归里错会越滚越大：s 的梯度是该有的 2 倍，
b 隔着 h，是 3 倍，w 又多隔一层乘法，是 4 倍。

可以试着：把 b 改成 (1, 3)，看它的哪根轴被加掉。
"""

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
