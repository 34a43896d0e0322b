"""一步训练里有哪些矩阵乘法，各算多少：屋顶线（roofline）与伸缩律都由此而来。

流入：模型配置与批大小；流出：乘法的清单与浮点运算次数。别的运算不到总数的百分之一，这里不计。
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

from tinygrad_llm.common.config import GPTConfig, parameter_shapes


class Dense(NamedTuple):
    """一个线性层：``(rows, inner) × (inner, outer)``；反向还有同样大的两次，``dX`` 与 ``dW``。

    Attributes:
        rows: ``B·T``。
        inner: 输入宽度。
        outer: 输出宽度。
    """

    rows: int
    inner: int
    outer: int


class CausalBlock(NamedTuple):
    """因果注意力的一块：若干个头，每头 ``queries`` 个查询、看得见的 ``keys`` 个键。

    Attributes:
        heads: ``B·H``。
        queries: 查询数。
        keys: 键数。
        size: 每头宽度 D。
    """

    heads: int
    queries: int
    keys: int
    size: int


BLOCK = 128
"""注意力按这么多个查询分块，被遮住的块不算。"""


def dense_products(config: GPTConfig, batch: int) -> list[Dense]:
    """全部线性层，按前向的次序；嵌入是查表，不是乘法。"""
    rows, width, hidden = batch * config.context, config.n_embd, config.hidden_size
    attention = config.n_head * config.head_size
    gate = [Dense(rows, width, hidden)] if config.mlp == "swiglu" else []
    layer = [
        Dense(rows, width, (config.n_head + 2 * config.kv_heads) * config.head_size),
        Dense(rows, attention, width),
        *gate,
        Dense(rows, width, hidden),
        Dense(rows, hidden, width),
    ]
    return [*layer * config.n_layer, Dense(rows, width, config.vocab_size)]


def attention_products(config: GPTConfig, batch: int) -> list[CausalBlock]:
    """一层注意力的各块；每块前向两次乘法，反向四次，大小都一样。"""
    blocks = []
    for start in range(0, config.context, BLOCK):
        stop = min(start + BLOCK, config.context)
        first = 0 if config.window is None else max(0, start - config.window + 1)
        blocks.append(CausalBlock(batch * config.n_head, stop - start, stop - first, config.head_size))
    return blocks


def dense_flops(config: GPTConfig, batch: int) -> int:
    """一步里线性层的浮点运算次数：前向一份，反向两份。"""
    return sum(3 * 2 * one.rows * one.inner * one.outer for one in dense_products(config, batch))


def attention_flops(config: GPTConfig, batch: int) -> int:
    """一步里注意力乘法的浮点运算次数，被遮住的块不算。"""
    one_layer = sum(6 * 2 * one.heads * one.queries * one.keys * one.size for one in attention_products(config, batch))
    return config.n_layer * one_layer


def step_flops(config: GPTConfig, batch: int) -> int:
    """一步里全部矩阵乘法的浮点运算次数。"""
    return dense_flops(config, batch) + attention_flops(config, batch)


def row_flops(config: GPTConfig, width: int, trained: Mapping[str, tuple[int, ...]] | None = None) -> int:
    """``width`` 个 token 的一行，在一步里的浮点运算次数；注意力随长度的平方而长，不能按 token 摊。

    Args:
        config: 模型配置。
        width: 几个 token。
        trained: 要学的参数与形状；``None`` 是全部。冻住的没有 ``dW``；``dX`` 与注意力的反向只传到最靠前的、有东西要学的
            一层；模型里没有的矩阵（LoRA 的两个、分类器的一个）另有前向与 ``dX``。
    """
    if trained is None:
        return step_flops(replace(config, context=width), 1)
    base = parameter_shapes(config)
    learned = {name: math.prod(shape) for name, shape in trained.items() if len(shape) == 2}
    added = sum(size for name, size in learned.items() if name not in base)
    tables = {"wpe.weight"} if config.tie_head else {"wte.weight", "wpe.weight"}  # 只查表：没有乘法
    gradients = sum(size for name, size in learned.items() if name not in tables)
    reached = config.n_layer - min((_depth(name, config.n_layer) for name in trained), default=config.n_layer)
    return _frozen_row(config, width, reached) + 2 * width * (gradients + 2 * added)


def _depth(name: str, layers: int) -> int:
    """这个参数在第几层；嵌入在第 0 层，末尾的归一化与输出层在各层之后。"""
    if name.startswith("h."):
        return int(name.split(".")[1])
    return 0 if name.startswith(("wte.", "wpe.")) else layers


def _frozen_row(config: GPTConfig, width: int, reached: int) -> int:
    """前向，以及末尾 ``reached`` 层与输出层的 ``dX``、注意力的反向；没有 ``dW``。"""
    row = replace(config, context=width)
    head = 2 * width * config.n_embd * config.vocab_size
    dense, attention = dense_flops(row, 1) // 3, attention_flops(row, 1) // 3
    layer = (dense - head) // config.n_layer + 2 * (attention // config.n_layer)
    return dense + attention + head + reached * layer
