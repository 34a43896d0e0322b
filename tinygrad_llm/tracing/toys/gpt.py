"""一个块的 GPT。"""

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
