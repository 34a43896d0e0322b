"""一个块的 GPT：真正的模型，小到每个数都看得见。

宽度 4，两个头，词表 5 个词，句长 3；输出层与词嵌入共用权重。读入 1 3 1，预测 3 1 4，L = 2.2613。

看两处相加：残差把 x 分成两路，反向时两路的梯度在 x 相加，直通的那一路没有乘任何东西，这就是残差的用处；
``wte.weight`` 用了两次，一次查表，一次作输出层，两份梯度相加；词 1 在句子里出现两次，它那一行又是两份之和。

梯度，以及反传走错时的梯度（只列出两个参数）::

    right                block.ln_1.bias = [1.384, -0.247, -0.7846, -0.2724]
    right                block.attn.c_proj.bias = [-0.3374, 0.694, -0.0735, -0.2831]
    naive_recursion      block.ln_1.bias = [12.56, -1.086, -6.857, -3.405]
    naive_recursion      block.attn.c_proj.bias = [-0.2421, 1.428, -0.4455, -0.7401]
    no_accumulation      block.ln_1.bias = [0.1692, 0.3451, 0.2223, -0.1819]
    no_accumulation      block.attn.c_proj.bias = [-0.385, 0.3271, 0.1125, -0.05466]
    forgotten_zero_grad  block.ln_1.bias = [2.768, -0.494, -1.569, -0.5447]
    wrong_order          block.ln_1.bias = [0.6232, -0.1736, -0.349, -0.265]
    wrong_order          block.attn.c_proj.bias = [0.04763, 0.3669, -0.186, -0.2285]

正确的次序走 32 步，朴素递归要走 82 步：每过一个残差，路径就多分出几条。

可以试着：``--composed`` 把 LayerNorm 等拆成最小的算子；把输出层换成单独的 ``nn.Linear``，
看 ``wte.weight`` 没出现的词的梯度变成 0。
"""

from __future__ import annotations

from typing import Any

import tinygrad_llm as tg
from tinygrad_llm import nn
from tinygrad_llm.nn import functional as F

VOCABULARY, WIDTH, HEADS, LENGTH = 5, 4, 2, 3


class Attention(nn.Module):
    """两个头的因果自注意力。"""

    def __init__(self) -> None:
        super().__init__()
        self.c_attn = nn.Linear(WIDTH, 3 * WIDTH, bias=False)
        self.c_proj = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: tg.Tensor) -> Any:
        """``(T, C)`` → ``(T, C)``。"""
        T, C = x.shape
        q, k, v = self.c_attn(x).split(C, dim=-1)
        q = q.view(T, HEADS, C // HEADS).transpose(0, 1)  # (H, T, D)
        k = k.view(T, HEADS, C // HEADS).transpose(0, 1)
        v = v.view(T, HEADS, C // HEADS).transpose(0, 1)
        scores = q @ k.transpose(-2, -1) / (C // HEADS) ** 0.5  # (H, T, T)
        future = tg.triu(tg.ones(T, T, dtype=tg.bool), diagonal=1)
        p = F.softmax(scores.masked_fill(future, float("-inf")), dim=-1)
        y = (p @ v).transpose(0, 1).reshape(T, C)
        return self.c_proj(y)


class MLP(nn.Module):
    """先放宽一倍，过 GELU，再收回来。"""

    def __init__(self) -> None:
        super().__init__()
        self.c_fc = nn.Linear(WIDTH, 2 * WIDTH)
        self.c_proj = nn.Linear(2 * WIDTH, WIDTH)

    def forward(self, x: tg.Tensor) -> Any:
        """``(T, C)`` → ``(T, C)``。"""
        return self.c_proj(F.gelu(self.c_fc(x)))


class Block(nn.Module):
    """注意力与 MLP，各加在残差上。"""

    def __init__(self) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(WIDTH)
        self.attn = Attention()
        self.ln_2 = nn.LayerNorm(WIDTH)
        self.mlp = MLP()

    def forward(self, x: tg.Tensor) -> Any:
        """``(T, C)`` → ``(T, C)``。"""
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class GPT(nn.Module):
    """词嵌入加位置嵌入，一个块，输出层与词嵌入共用权重。"""

    def __init__(self) -> None:
        super().__init__()
        self.wte = nn.Embedding(VOCABULARY, WIDTH)
        self.wpe = nn.Embedding(LENGTH, WIDTH)
        self.block = Block()
        self.ln_f = nn.LayerNorm(WIDTH)

    def forward(self, ids: tg.Tensor) -> Any:
        """``(T,)`` → ``(T, V)``。"""
        x = self.wte(ids) + self.wpe(tg.arange(len(ids)))
        x = self.ln_f(self.block(x))
        return F.linear(x, self.wte.weight)


tg.manual_seed(0)
model = GPT().double()
with tg.no_grad():  # 权重在 -1 与 1 之间，只留一位小数，方便手算
    for weight in model.parameters():
        if weight.dim() == 2:
            weight.copy_((weight.uniform_(-1.0, 1.0) * 10).round() / 10)


def gpt() -> None:
    """读 1 3 1，预测 3 1 4。"""
    ids, targets = tg.tensor([1, 3, 1]), tg.tensor([3, 1, 4])
    logits = model(ids)  # (T, V)
    loss = F.cross_entropy(logits, targets)
    loss.backward()
