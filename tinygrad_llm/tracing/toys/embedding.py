"""词嵌入：查表的反向是按行相加。

四个词、每个两维的表；句子是 2 0 2，词 2 出现两次。损失 ``Σ rows ⊙ c`` 对第 i 行的梯度就是 c 的第 i 行，
于是每个位置的梯度一眼可见：词 2 收到 [1, 2] 与 [10, 20]，词 0 收到 [3, 4]，没出现的词 1 与词 3 是 0。L = 198。

梯度，以及反传走错时的梯度::

    right                table = [[3, 4], [0, 0], [11, 22], [0, 0]]
    no_accumulation      table = [[3, 4], [0, 0], [10, 20], [0, 0]]
    forgotten_zero_grad  table = [[6, 8], [0, 0], [22, 44], [0, 0]]

不累加就是把 ``np.add.at(grad, ids, g)`` 写成了 ``grad[ids] = g``：词 2 只剩后一次的 [10, 20]。它不报错，
句子里没有重复的词时结果也对，所以难找。

可以试着：让句子里每个词只出现一次，两种写法就看不出差别了。
"""

import tinygrad_llm as tg


def embedding() -> None:
    """四个词、每个两维；句子是 2 0 2，词 2 出现两次。"""
    table = tg.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0], [7.0, 8.0]], dtype=tg.float64, requires_grad=True)
    ids = tg.tensor([2, 0, 2])
    c = tg.tensor([[1.0, 2.0], [3.0, 4.0], [10.0, 20.0]], dtype=tg.float64)

    rows = tg.nn.functional.embedding(ids, table)  # (3, 2)
    loss = (rows * c).sum()
    loss.backward()
