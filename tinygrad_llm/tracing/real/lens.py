"""logit lens：每一层的残差流，提前过一遍最后的归一化与输出层，看模型此刻会猜哪个词。

流入：一次前向的记录与模型；流出：各层各位置的概率与 SVG（nostalgebraist，2020）。

最后一行就是模型真正的输出；往上（往浅）各行是「如果到此为止」的猜测。
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

import tinygrad_llm as tg
from tinygrad_llm.gpt import GPT
from tinygrad_llm.nn import functional as F
from tinygrad_llm.ops.op import Array
from tinygrad_llm.tracing.arrays import Summary
from tinygrad_llm.tracing.real.svg import MONO, Box, Label, bar, clipped, drawing, rule, series, shade_scale, text
from tinygrad_llm.tracing.trace import NodeRecord, Trace

TOP = 5
"""最后一个位置列出几个候选。"""


def residual_streams(trace: Trace, nodes: Sequence[NodeRecord], layers: int) -> list[Array]:
    """各层入口处的残差流，最后一个是第 ``layers`` 层的出口。

    Args:
        trace: 记录；残差流不能大于它的 ``limit``。
        nodes: 其中一次前向的算子调用。
        layers: 几层。

    Returns:
        ``layers + 1`` 个 ``(T, C)``；批里有几条序列时取第一条。
    """
    found = []
    for place in stream_values(nodes, layers):
        value = trace.values[place]
        if isinstance(value.data, Summary):
            raise ValueError(f"the residual stream {value.shape} is larger than the limit of the recording")
        found.append(value.data[0])
    return found


def stream_values(nodes: Sequence[NodeRecord], layers: int) -> list[int]:
    """残差流在各层入口处是哪个值：送进 ``ln_1`` 的；最后一个是送进 ``ln_f`` 的。"""
    modules = [*(f"h.{i}.ln_1" for i in range(layers)), "ln_f"]
    return [next(one.inputs[0] or 0 for one in nodes if one.module == module) for module in modules]


def lens(model: GPT, streams: Sequence[Array]) -> Array:
    """各层各位置的下一个 token 的概率。

    Args:
        model: 模型；用它的 ``ln_f`` 与输出层。
        streams: ``residual_streams`` 的结果。

    Returns:
        ``(层, T, V)``，float64，每行的和是 1。
    """
    weight = model.wte.weight if model.config.tie_head else model.lm_head.weight
    with tg.no_grad():
        logits = [F.linear(model.ln_f(tg.from_numpy(x)), weight) for x in streams]
        return np.stack([F.softmax(one.double(), dim=-1).numpy() for one in logits])


_CELL_HEIGHT = 26


def lens_svg(shares: Array, tokens: Sequence[str], vocabulary: Sequence[str]) -> str:
    """一格写着这一层在这个位置最看好的 token，越浓越有把握。

    Args:
        shares: ``lens`` 的结果。
        tokens: 各位置的输入。
        vocabulary: 每个 token 的文字。

    Returns:
        SVG。
    """
    layers, length, _ = shares.shape
    cell = min(84.0, max(52.0, 820 / length))
    left, top = 112.0, 62.0
    room = max(3, int(cell / 8))
    width = max(760.0, left + cell * length + 12)
    parts = [
        text(left - 8, top - 24, Label("输入", "input"), size=11, anchor="end", opacity="0.75"),
        *(
            text(left + cell * (t + 0.5), top - 24, clipped(token, room), size=12, anchor="middle", font_family=MONO)
            for t, token in enumerate(tokens)
        ),
        text(left - 8, top - 8, Label("读出处", "read after"), size=11, anchor="end", opacity="0.75"),
    ]
    best = shares.argmax(axis=-1)
    for layer in range(layers):
        y = top + _CELL_HEIGHT * layer
        parts.append(text(left - 8, y + 17, _name(layer, layers), size=11, anchor="end"))
        for t in range(length):
            box = Box(left + cell * t + 1, y + 1, cell - 2, _CELL_HEIGHT - 2)
            parts += _cell(box, shares[layer, t], vocabulary, best[layer, t] == best[-1, t])
    bottom = top + _CELL_HEIGHT * layers
    parts.append(
        rule(left, bottom - _CELL_HEIGHT - 0.5, left + cell * length, bottom - _CELL_HEIGHT - 0.5, opacity=0.5)
    )
    parts += shade_scale(Box(left, bottom + 14, 160, 10), series(0), "p = 0", "1")
    words = Label("粗体：已经与最后的猜测相同", "bold: already the final guess")
    parts.append(text(left + 176, bottom + 23, words, size=11, opacity="0.75"))
    parts += _candidates(shares[:, -1], vocabulary, Box(left, bottom + 84, min(width - left - 12, 760), 0))
    height = bottom + 84 + layers * 30 + 16
    return drawing(width, height, parts, Label("各层猜的下一个 token", "the next token as each layer would guess it"))


def _name(layer: int, layers: int) -> str | Label:
    if layer == 0:
        return Label("词嵌入", "embedding")
    last = layer == layers - 1
    return Label(f"第 {layer} 层{'（输出）' if last else ''}", f"layer {layer}{' (output)' if last else ''}")


def _cell(box: Box, shares: Array, vocabulary: Sequence[str], agrees: bool) -> list[str]:
    order = np.argsort(-shares, kind="stable")[:TOP]
    hint = "\n".join(f"{vocabulary[i]} {shares[i]:.3f}" for i in order)
    first, share = vocabulary[order[0]], float(shares[order[0]])
    room = max(3, int((box.width - 4) / 7))
    style = {"font_family": MONO, "font_weight": "700" if agrees else None, "pointer_events": "none"}
    return [
        bar(box, series(0), max(share, 0.02) * 0.8, hint, rx="3"),
        text(box.x + box.width / 2, box.y + 16, clipped(first, room), size=11, anchor="middle", **style),
    ]


def _candidates(shares: Array, vocabulary: Sequence[str], box: Box) -> list[str]:
    """最后一个位置：每一层最看好的几个，条长是概率。"""
    words = Label(f"最后一个位置：每层最看好的 {TOP} 个", f"the last position: the {TOP} best guesses of each layer")
    parts = [text(box.x, box.y - 18, words, size=13, font_weight="600")]
    wide = box.width / TOP
    for layer, row in enumerate(shares):
        y = box.y + 30 * layer
        parts.append(text(box.x - 8, y + 14, _name(layer, len(shares)), size=11, anchor="end"))
        for place, token in enumerate(np.argsort(-row, kind="stable")[:TOP]):
            x, share = box.x + wide * place, float(row[token])
            same = token == shares[-1].argmax()
            parts += [
                bar(Box(x, y, max((wide - 14) * share, 1), 20), series(1 if same else 0), 0.55, rx="2"),
                text(x + 5, y + 14, vocabulary[token], size=11, font_family=MONO, font_weight="700" if same else None),
                text(x + wide - 16, y + 14, f"{share:.2f}", size=10, anchor="end", opacity="0.75"),
            ]
    return parts
