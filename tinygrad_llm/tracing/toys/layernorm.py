"""层归一化：从 y 回到 x 有三条路。

逐行减去均值、除以标准差，再乘 ``w`` 加 ``b``，与目标比较；L = 2.5783。

x 直接用在 d 里，又用在均值 mu 里；d 直接用在 xhat 里，又用在方差里。三条路的梯度都加到 x 上。加起来之后，
x 的每一行梯度之和是 0：整行一起平移，输出不变；它与 xhat 的内积也几乎是 0：整行一起放大，输出（除了 1e-5）也不变。

梯度，以及反传走错时的梯度::

    right                x = [[0.174, -0.261, 0.08701], [-0.05563, 0.07417, -0.01854]]
    right                w = [1.028, 0.1046, 1.899]  b = [-1.017, -0.3766, 1.406]
    naive_recursion      x = [[-1.206, -1.929, 0.2808], [-0.8298, -0.1912, 0.2782]]
    no_accumulation      x = [[0, 0, 0], [0, 0, 0]]
    no_broadcast_sum     x = [[-0.1179, -0.08989, 0.3711], [-0.176, -0.005961, 0.16]]
    no_broadcast_sum     b = [[-0.3563, -0.3445, 0.8575], [-0.6602, -0.03204, 0.5485]]
    forgotten_zero_grad  x = [[0.348, -0.522, 0.174], [-0.1113, 0.1483, -0.03708]]
    wrong_order          x = [[-0.6028, -0.4552, 1.058], [-0.471, -0.09196, 0.5629]]

不累加时 x 是 0（舍入误差约 1e-17）：最后到达的那一份经由方差与均值，而 d 的每一行之和本来就是 0。

可以试着：把 x 的一行都加上 7，或都乘上 10，看 y 与梯度怎样变。
"""

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
