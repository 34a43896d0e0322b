"""词嵌入。"""

import tinygrad_llm as tg


def embedding() -> None:
    """四个词、每个两维；句子是 2 0 2，词 2 出现两次。"""
    table = tg.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0], [7.0, 8.0]], dtype=tg.float64, requires_grad=True)
    ids = tg.tensor([2, 0, 2])
    c = tg.tensor([[1.0, 2.0], [3.0, 4.0], [10.0, 20.0]], dtype=tg.float64)

    rows = tg.nn.functional.embedding(ids, table)  # (3, 2)
    loss = (rows * c).sum()
    loss.backward()
