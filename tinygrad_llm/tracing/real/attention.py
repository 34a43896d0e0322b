"""注意力图：每一层、每一个头，各个位置看向了哪里。

流入：一次前向的记录；流出：权重与 SVG。融合算子不留下权重，这里由它记下的 q、k 重算；
拆开了的（``composed``）直接读 softmax 的输出。
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from tinygrad_llm.ops.op import Array
from tinygrad_llm.tracing.arrays import Summary
from tinygrad_llm.tracing.real.svg import (
    MONO,
    Box,
    Label,
    clipped,
    drawing,
    rule,
    series,
    shade_scale,
    shaded_cells,
    tag,
    text,
)
from tinygrad_llm.tracing.trace import NodeRecord, Trace


class AttentionMap(NamedTuple):
    """一层的注意力。

    Attributes:
        module: 模块的路径。
        weights: ``(H, T, S)``，每一行的和是 1；第 t 行是第 t 个位置看向各个位置的权重。
    """

    module: str
    weights: Array


def attention_maps(trace: Trace, nodes: Iterable[NodeRecord]) -> list[AttentionMap]:
    """从记录里取出各层的注意力；批里有几条序列时取第一条。

    Args:
        trace: 记录；q、k 不能大于它的 ``limit``。
        nodes: 其中的一段算子调用。

    Returns:
        由浅到深；没有注意力则为空。
    """
    found = []
    for node in nodes:
        if node.op == "attention":
            found.append(AttentionMap(node.module, _weights(trace, node)))
        elif node.op == "softmax" and node.module.endswith(".attn"):
            output = _data(trace, node.output)
            found.append(AttentionMap(node.module, output[0].reshape(-1, *output.shape[-2:])))
    return found


def _weights(trace: Trace, node: NodeRecord) -> Array:
    """``softmax(s · q kᵀ)``，以 float64 计算。"""
    q, k = (_data(trace, i)[0].astype(np.float64) for i in node.inputs[:2])
    k = np.repeat(k, q.shape[0] // k.shape[0], axis=0)  # GQA：几个查询头共用一个键头
    scores = node.raw_attrs["scale"] * (q @ k.swapaxes(-1, -2))
    if node.raw_attrs["is_causal"]:
        scores[:, np.triu(np.ones(scores.shape[-2:], bool), 1)] = -np.inf
    window = node.raw_attrs.get("window")
    if window is not None:
        scores[:, np.tril(np.ones(scores.shape[-2:], bool), -window)] = -np.inf
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    shares: Array = weights / weights.sum(axis=-1, keepdims=True)
    return shares


def _data(trace: Trace, value: int | None) -> Array:
    """一个值的内容；太大、只留了概要的不能用。"""
    if value is None:
        raise ValueError("attention was called without this input")
    data = trace.values[value].data
    if isinstance(data, Summary):
        raise ValueError(f"{trace.values[value].label} of shape {data.shape} is larger than the limit of the recording")
    return data


_SIDE = 150
_GAP = 24
_MANY = 40
"""一共多于这么多张，每张就画小一半。"""
_HINT = 0.05
"""权重至少这么大的格子，鼠标停上去写出是谁看向谁。"""


def attention_svg(maps: Sequence[AttentionMap], tokens: Sequence[str]) -> str:
    """全部的层与头：一行一层，一列一个头。

    Args:
        maps: ``attention_maps`` 的结果。
        tokens: 各个位置的文字。

    Returns:
        SVG。
    """
    heads = max(len(one.weights) for one in maps)
    side = max(_SIDE, 9 * len(tokens)) if heads * len(maps) <= _MANY else _SIDE // 2
    left, top = 86, 104
    width = left + heads * (side + _GAP) + 10
    parts = [text(left + (side + _GAP) * h + side / 2, 18, f"head {h}", anchor="middle") for h in range(heads)]
    for row, one in enumerate(maps):
        y = top + row * (side + _GAP)
        parts += _tokens_down(tokens, left - 6, y, side)
        parts.append(text(10, y + side / 2, str(_layer(one.module, row)), size=15, font_weight="600", opacity="0.6"))
        for head, weights in enumerate(one.weights):
            box = Box(left + head * (side + _GAP), y, side, side)
            parts += _tokens_across(tokens, box) if row == 0 else []
            parts += _map(weights, box, tokens, f"{one.module} head {head}")
    bottom = top + len(maps) * (side + _GAP)
    parts += shade_scale(Box(left, bottom + 24, 160, 10), series(0), "0", "1")
    words = Label(
        "每行一个位置：看向它自己与过去各个位置的权重，和是 1。左侧的大字是层号",
        "each row: how much one position reads from itself and the past, summing to 1; large digit: layer",
    )
    parts.append(text(left, bottom + 10, words, size=11, opacity="0.75"))
    return drawing(max(width, 760), bottom + 58, parts, Label("各层各头的注意力", "attention of every layer and head"))


def _layer(module: str, row: int) -> int:
    """``h.3.attn`` → 3；路径里没有层号则为第几行。"""
    digits = [int(part) for part in module.split(".") if part.isdigit()]
    return digits[-1] if digits else row


def _map(weights: Array, box: Box, tokens: Sequence[str], name: str) -> list[str]:
    """一个头：深浅是权重的平方根，小的权重也看得见。"""
    rows, columns = weights.shape
    tall, wide = box.height / rows, box.width / columns
    cells = [
        (Box(box.x + j * wide, box.y + i * tall, wide, tall), float(weights[i, j]))
        for i in range(rows)
        for j in range(columns)
        if weights[i, j] > 0
    ]
    hints = [
        _hint(cell, f"{name}: {tokens[i]} → {tokens[j]} {weights[i, j]:.2f}")
        for (cell, share), (i, j) in zip(cells, np.argwhere(weights > 0).tolist(), strict=True)
        if share >= _HINT
    ]
    frame = tag("rect", x=box.x + 0.0, y=box.y + 0.0, width=box.width + 0.0, height=box.height + 0.0, fill="none",
                stroke="currentColor", stroke_opacity="0.3")  # fmt: skip
    diagonal = rule(box.x, box.y, box.x + box.width, box.y + box.height, opacity=0.15)
    return [diagonal, shaded_cells(cells, series(0)), frame, *hints]


def _hint(cell: Box, words: str) -> str:
    """透明的一块，只为了鼠标停上去时有字。"""
    from html import escape

    shape = {"x": cell.x + 0.0, "y": cell.y + 0.0, "width": cell.width + 0.0, "height": cell.height + 0.0}
    return tag("rect", tag("title", escape(words)), **shape, fill_opacity="0")


def _tokens_down(tokens: Sequence[str], x: float, y: float, side: float) -> list[str]:
    step = side / len(tokens)
    size = min(10.0, max(step, 4.0))
    return [
        text(x, y + step * (i + 0.5) + size / 3, clipped(token, 9), size=size, anchor="end", font_family=MONO)
        for i, token in enumerate(tokens)
    ]


def _tokens_across(tokens: Sequence[str], box: Box) -> list[str]:
    step = box.width / len(tokens)
    size = min(10.0, max(step, 4.0))
    found = []
    for i, token in enumerate(tokens):
        x, y = box.x + step * (i + 0.5) + size / 3, box.y - 5
        turned = f"rotate(-90 {x:.1f} {y:.1f})"
        found.append(text(x, y, clipped(token, 9), size=size, font_family=MONO, transform=turned))
    return found
