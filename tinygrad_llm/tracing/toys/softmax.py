"""softmax 与交叉熵。"""

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
