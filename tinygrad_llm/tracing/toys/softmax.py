"""softmax 与交叉熵：为什么梯度是 p 减去 one-hot。

三个类别的 logits z = [2, 1, 0.1]，正确答案是第 0 类：``e = exp(z)``，``p = e / Σe``，``L = -ln p[0]``；
p = [0.6590, 0.2424, 0.0986]，L = 0.4170。

e 用了两次：作分子，又进了分母 total。经由分子的那份只到第 0 类，等于 -1；经由分母的那份人人有，等于 p；
相加正是 p - onehot。total 是标量，除法时广播到三个元素，它的梯度要把三份加起来。

梯度，以及反传走错时的梯度::

    right                z = [-0.341, 0.2424, 0.09857]
    naive_recursion      z = [-1.341, 0.2424, 0.09857]
    no_accumulation      z = [0.659, 0.2424, 0.09857]
    no_broadcast_sum     z = [-0.341, 0, 0]
    forgotten_zero_grad  z = [-0.682, 0.4849, 0.1971]
    wrong_order          z = [-1, 0, 0]

只剩 p、只剩 -onehot，两个错数合起来就是对的。

可以试着：给 z 的每个元素加上 100，梯度不变，e 却大得吓人；加上 1000，e 就溢出了，实际的实现因此先减去最大值。
"""

import tinygrad_llm as tg


def softmax() -> None:
    """三个类别的 logits，正确答案是第 0 类：``L = -ln softmax(z)[0]``。"""
    z = tg.tensor([2.0, 1.0, 0.1], dtype=tg.float64, requires_grad=True)
    target = 0

    e = tg.exp(z)
    total = e.sum()
    p = e / total
    loss = -tg.log(p[target])
    loss.backward()
