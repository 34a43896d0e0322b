"""一个神经元：链式法则只有一条链。

逻辑回归的一个样本：``z = w x + b``，``a = σ(z)``，``L = -(y ln a + (1 - y) ln(1 - a))``；
取 w = 2.2，x = 1.1，b = 0，y = 1。

前向得到 z = 2.42，a = 0.9183，L = 0.0852。反向每次乘一个局部导数：∂L/∂a = -1/a = -1.0889，∂a/∂z = a (1 - a) = 0.0750，
两者的积恰好是「预测减去目标」：∂L/∂z = a - y = -0.0817。再乘 x 得 ∂L/∂w，乘 1 得 ∂L/∂b。

梯度，以及反传走错时的梯度::

    right                w = -0.08983  b = -0.08166
    forgotten_zero_grad  w = -0.1797  b = -0.1633

别的走法在这里不会错：一条链上没有用了两次的值，也没有广播。

可以试着：把 y 改成 0，看梯度变号、变大；把 w 改成 22，看 σ 饱和之后 ∂a/∂z 变成几。
"""

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
