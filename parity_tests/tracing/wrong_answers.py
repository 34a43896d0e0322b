"""犯错的人：照每一种错误，用 NumPy 独立地算出他会写下的数。

流入：一份记录的一格；流出：（错误的名字，写下的数）。这里只看记录里的数与教科书上的公式，不用判分的目录，
也不用引擎的求导表：目录若把公式写错了，或者认错了名字，两边就对不上。
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from tinygrad_llm.tracing.trace import Trace
from tinygrad_llm.tracing.worksheet.cells import Cell, Sheet

Wrong = tuple[str, Any]


class Local(NamedTuple):
    """逐元素算子的教科书导数：各输入的名字到 ``(x, y, c)`` 的函数；``x`` 是各输入，``c`` 是属性。"""

    by_input: tuple[Callable[[Any, Any, Any], Any], ...]


LOCALS: dict[str, Local] = {
    "add": Local((lambda x, y, c: 1.0, lambda x, y, c: 1.0)),
    "sub": Local((lambda x, y, c: 1.0, lambda x, y, c: -1.0)),
    "mul": Local((lambda x, y, c: x[1], lambda x, y, c: x[0])),
    "div": Local((lambda x, y, c: 1 / x[1], lambda x, y, c: -x[0] / x[1] ** 2)),
    "neg": Local((lambda x, y, c: -1.0,)),
    "exp": Local((lambda x, y, c: y,)),
    "log": Local((lambda x, y, c: 1 / x[0],)),
    "sqrt": Local((lambda x, y, c: 1 / (2 * y),)),
    "rsqrt": Local((lambda x, y, c: -(y**3) / 2,)),
    "sigmoid": Local((lambda x, y, c: y * (1 - y),)),
    "tanh": Local((lambda x, y, c: 1 - y**2,)),
    "relu": Local((lambda x, y, c: (x[0] > 0) * 1.0,)),
    "pow_scalar": Local((lambda x, y, c: c["exponent"] * x[0] ** (c["exponent"] - 1),)),
    "binary_cross_entropy": Local((lambda x, y, c: (x[0] - x[1]) / (x[0] * (1 - x[0])),)),
    "masked_fill": Local((lambda x, y, c: 1.0 - x[1],)),
}


def wrong_answers(sheet: Sheet, cell: Cell) -> Iterator[Wrong]:
    """一格里各种可能的错误。"""
    with np.errstate(all="ignore"):
        yield from anywhere(cell)
        if cell.kind == "F":
            yield from forward(sheet.trace, cell)
        elif cell.place is None or cell.kind == "S":
            yield from sums(sheet.trace, cell)
        else:
            yield from edge(sheet.trace, cell)


def anywhere(cell: Cell) -> Iterator[Wrong]:
    """符号、小数点、舍入与抄写。"""
    right = cell.expected
    yield "sign-error", -1.0 * right
    yield "decimal-slip", right * 10
    yield "decimal-slip", right / 100
    yield "rounded-too-early", right * 1.006
    yield "rounded-too-early", right * 0.985
    text = f"{right.item():.4g}" if right.size == 1 else ""
    first = len(text) - len(text.lstrip("-0."))  # 第一位有效数字
    digits = [i for i, mark in enumerate(text) if mark.isdigit() and i >= first]
    for i, j in pairwise(digits):
        swapped = text[:i] + text[j] + text[i + 1 : j] + text[i] + text[j + 1 :]
        if "e" not in text and text[i] != text[j] and text[j] != "0":
            yield "digits-swapped", float(swapped)
            break
    if right.size > 1 and not cell.rows:
        moved = right.copy().ravel()
        moved[[0, -1]] = moved[[-1, 0]]
        yield "reordered", moved.reshape(right.shape)


# ---- 求和


def sums(trace: Trace, cell: Cell) -> Iterator[Wrong]:
    """没有把各条路径的贡献都加上。"""
    given: list[Any] = []
    for backward in trace.backwards:
        for step in backward.steps:
            for i, edge in enumerate(step.edges):
                before = cell.place is None or (backward.id == cell.place[0] and (step.index, i) <= cell.place[1:])
                if edge.value == cell.value and before:
                    given.append(edge.contribution)
    if len(given) < 2:
        return
    total = sum(given)
    yield "forgot-accumulate", given[-1]
    yield "forgot-accumulate", given[0]
    yield "counted-twice", total + given[-1]
    yield "sign-in-sum", total - 2 * given[-1]
    yield "sign-in-sum", total - 2 * given[0]
    if not all(np.array_equal(one, given[0]) for one in given):  # 几份都相等，平均就是只留了一份
        yield "averaged-paths", total / len(given)
    if len(given) > 2:
        yield "missed-path", total - given[1]


# ---- 前向


def forward(trace: Trace, cell: Cell) -> Iterator[Wrong]:
    """前向的一步算错了。"""
    record = trace.nodes[cell.node]
    x = [None if i is None else trace.values[i].data for i in record.inputs]
    y, c, op = cell.expected, record.raw_attrs, record.op
    yield from _forward_elementwise(op, x, y, c)
    yield from _forward_matrix(op, x, y)
    yield from _forward_rows(op, x, y, c)


def _forward_elementwise(op: str, x: list[Any], y: Any, c: Any) -> Iterator[Wrong]:
    if op in ("add", "sub"):
        yield "missing-term", np.broadcast_to(x[0], y.shape)
        yield "missing-term", np.broadcast_to(x[1], y.shape)
        yield "sign-inside", x[0] - x[1] if op == "add" else x[0] + x[1]
        yield "wrong-operation", x[0] * x[1]
    if op == "sub":
        yield "wrong-order", x[1] - x[0]
    if op == "div":
        yield "wrong-order", x[1] / x[0]
        yield "wrong-operation", x[0] * x[1]
    if op in ("mul", "div") and np.ndim(x[1]) == 0 and np.ndim(x[0]):
        yield "missing-scale", x[0]
    if op == "mul" and x[0] is not x[1]:
        yield "wrong-operation", x[0] + x[1]
    squares = op == "mul" and np.shape(x[0]) == np.shape(x[1]) and np.array_equal(x[0], x[1])
    if squares or (op == "pow_scalar" and c["exponent"] == 2):
        yield "forgot-square", x[0]
        yield "power-as-product", 2 * x[0]
    if op == "sqrt":
        yield "forgot-square", x[0]
    if op == "exp":
        yield "sign-inside", np.exp(-x[0])
    if op == "sigmoid":
        yield "sign-inside", 1 / (1 + np.exp(x[0]))
    if op == "relu":
        yield "forgot-gate", x[0]
    if op in ("log", "cross_entropy", "binary_cross_entropy", "log_softmax"):
        yield "log-base", y / np.log(10)


def _forward_matrix(op: str, x: list[Any], y: Any) -> Iterator[Wrong]:
    if op in ("mm", "matmul"):
        yield from _product("wrong-order", x[1], x[0])
        yield from _product("missing-transpose", x[0], np.swapaxes(x[1], -1, -2))
        yield from _product("missing-transpose", np.swapaxes(x[0], -1, -2), x[1])
        if np.shape(x[0]) == np.shape(x[1]):
            yield "elementwise-product", x[0] * x[1]
    if op == "linear":
        bias = 0 if x[2] is None else x[2]
        if np.shape(x[1])[0] == np.shape(x[1])[1]:
            yield "missing-transpose", x[0] @ x[1] + bias
        if x[2] is not None:
            yield "missing-term", x[0] @ np.transpose(x[1])
    if op == "permute":
        yield "missing-transpose", x[0]


def _forward_rows(op: str, x: list[Any], y: Any, c: Any) -> Iterator[Wrong]:
    if op in ("mean", "sum", "sum_all"):
        axes = tuple(range(np.ndim(x[0]))) if op == "sum_all" else tuple(c["dim"])
        n = int(np.prod([np.shape(x[0])[axis] for axis in axes]))
        if n > 1:
            yield ("missing-mean-factor", y * n) if op == "mean" else ("extra-mean-factor", y / n)
        if len(axes) == 1 and np.ndim(x[0]) == 2:
            total = np.sum(x[0], axis=1 - axes[0] % 2, keepdims=c.get("keepdim", False))
            yield "wrong-axis", total / np.shape(x[0])[1 - axes[0] % 2] if op == "mean" else total
    if op == "softmax":
        yield "forgot-normalise", np.exp(x[0])
        if np.ndim(x[0]) == 2 and np.isfinite(x[0]).all():
            yield "wrong-axis", np.exp(x[0]) / np.exp(x[0]).sum(axis=1 - c["dim"] % 2, keepdims=True)
    if op == "log_softmax":
        yield "forgot-normalise", x[0]
    if op == "cross_entropy":
        yield "missing-mean-factor", y * len(x[1])
        yield "extra-mean-factor", y / len(x[1])
    if op == "layer_norm":
        n = np.shape(x[0])[-1]
        hat = (x[0] - x[0].mean(-1, keepdims=True)) / np.sqrt(
            ((x[0] - x[0].mean(-1, keepdims=True)) ** 2).sum(-1, keepdims=True) / (n - 1) + c["eps"]
        )
        yield "wrong-denominator", hat * x[1] + x[2]
        if np.any(x[2]):
            yield "missing-term", y - x[2]
    if op == "masked_fill":
        yield "forgot-mask", x[0]
        for mask in off_by_one(x[1]):
            yield "mask-off-by-one", np.where(mask, c["value"], x[0])
    if op == "embedding" and np.max(x[1]) + 1 < len(x[0]):
        yield "index-off-by-one", x[0][np.asarray(x[1]) + 1]
    if op == "index" and takes_one_row(c["key"], len(x[0])):
        yield "index-off-by-one", np.asarray(x[0][c["key"][0] + 1])
    if op == "attention":
        q, k, v = x[:3]
        yield "missing-scale", attend(q, k, 1.0, causal(q, k, c)) @ v
        yield "forgot-mask", attend(q, k, c["scale"], np.zeros_like(causal(q, k, c))) @ v
        yield "mask-off-by-one", attend(q, k, c["scale"], np.triu(causal(q, k, c), 2)) @ v


def takes_one_row(key: Any, rows: int) -> bool:
    """取第几行，而且后面还有一行。"""
    return isinstance(key, tuple) and len(key) == 1 and isinstance(key[0], int) and key[0] + 1 < rows


def off_by_one(mask: Any) -> Iterator[Any]:
    """因果掩码多遮或少遮一条对角线；别的掩码不管。"""
    rows, columns = np.shape(mask)[-2:]
    upper = np.arange(columns)[None, :] - np.arange(rows)[:, None]
    if np.array_equal(np.asarray(mask, bool), np.broadcast_to(upper >= 1, np.shape(mask))):
        yield upper >= 0
        yield upper >= 2


def causal(q: Any, k: Any, c: Any) -> Any:
    """遮住未来的掩码。"""
    shape = (np.shape(q)[-2], np.shape(k)[-2])
    return np.triu(np.ones(shape, bool), 1) if c["is_causal"] else np.zeros(shape, bool)


def attend(q: Any, k: Any, scale: float, mask: Any) -> Any:
    """注意力的权重。"""
    scores = np.where(mask, -np.inf, np.einsum("...id,...jd->...ij", q, k) * scale)
    e = np.exp(scores - scores.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def _product(name: str, a: Any, b: Any) -> Iterator[Wrong]:
    if np.ndim(a) >= 2 and np.ndim(b) >= 2 and np.shape(a)[-1] == np.shape(b)[-2]:
        yield name, np.einsum("...ij,...jk->...ik", a, b)


# ---- 反向


def edge(trace: Trace, cell: Cell) -> Iterator[Wrong]:
    """局部导数或贡献算错了。"""
    assert cell.place is not None
    step = trace.backwards[cell.place[0]].steps[cell.place[1]]
    arrow, record = step.edges[cell.place[2]], step.record
    x = [None if i is None else trace.values[i].data for i in record.inputs]
    y, g = trace.values[record.output].data, np.asarray(step.incoming)
    op, c, place = record.op, record.raw_attrs, arrow.input
    if cell.kind == "D":
        if not np.all(g == 1):
            yield "incoming-in-local", cell.expected * g
        yield from _elementwise(op, x, y, c, place, np.ones_like(g), lambda raw: np.broadcast_to(raw, g.shape))
        return
    shape = cell.expected.shape
    if op in LOCALS:
        if not np.all(g == 1):
            yield "chain-cut", undone(np.broadcast_to(LOCALS[op].by_input[place](x, y, c), g.shape), shape)
        if op not in ("relu", "masked_fill"):
            yield "forgot-local", undone(g, shape)
        yield from _elementwise(op, x, y, c, place, g, lambda raw: undone(np.broadcast_to(raw, g.shape), shape))
        raw = np.broadcast_to(g * LOCALS[op].by_input[place](x, y, c), g.shape)
        if raw.shape != shape:
            yield "forgot-broadcast-sum", raw
            yield from first_copy(raw, shape)
    yield from _matrix(op, x, g, place, cell.expected)
    yield from _rows(op, x, y, c, g, place, cell.expected)
    yield from _selected(op, x, c, g, place, shape)


def undone(raw: Any, shape: tuple[int, ...]) -> Any:
    """广播的轴加起来。"""
    while np.ndim(raw) > len(shape):
        raw = raw.sum(axis=0)
    for axis, n in enumerate(shape):
        if n == 1 and raw.shape[axis] != 1:
            raw = raw.sum(axis=axis, keepdims=True)
    return raw


def first_copy(raw: Any, shape: tuple[int, ...]) -> Iterator[Wrong]:
    """广播的几份里只取第一份。"""
    while np.ndim(raw) > len(shape):
        raw = raw[0]
    for axis, n in enumerate(shape):
        if n == 1:
            raw = np.take(raw, [0], axis=axis)
    yield "forgot-broadcast-sum", raw


def _elementwise(
    op: str, x: list[Any], y: Any, c: Any, place: int, g: Any, fit: Callable[[Any], Any]
) -> Iterator[Wrong]:
    """逐元素的算子：导数写错了。"""
    if op not in LOCALS:
        return
    local = LOCALS[op].by_input[place]
    if op in ("sigmoid", "tanh", "exp", "sqrt", "rsqrt"):
        yield "input-for-output", fit(g * local(x, x[0], c))
    if op == "log":
        yield "output-for-input", fit(g * local([y], y, c))
    if op in ("mul", "div") and place == 0 and np.shape(x[1]) == np.shape(y):
        yield "output-for-input", fit(g * local([x[0], y], y, c))
    if op in ("mul", "div") and np.shape(x[0]) == np.shape(x[1]):
        yield "wrong-operand", fit(g * LOCALS[op].by_input[place](x[::-1], y, c))
    if op == "tanh":
        yield "forgot-square", fit(g * (1 - y))
        yield "half-derivative", fit(g * y * y)
    if op == "sigmoid":
        yield "half-derivative", fit(g * y)
        yield "half-derivative", fit(g * (1 - y))
    if op == "div" and place == 1:
        yield "forgot-square", fit(-g * x[0] / x[1])
    if op == "div" and place == 0:
        yield "forgot-reciprocal", fit(g * x[1])
    if op == "log":
        yield "forgot-reciprocal", fit(g * x[0])
    if op == "pow_scalar":
        yield "missing-factor-two", fit(g * x[0] ** (c["exponent"] - 1))
        yield "power-not-lowered", fit(g * c["exponent"] * x[0] ** c["exponent"])
    if op == "sqrt":
        yield "missing-factor-two", fit(g / y)
        yield "forgot-reciprocal", fit(g * y / 2)
    if op == "relu":
        yield "forgot-gate", fit(g)


def _matrix(op: str, x: list[Any], g: Any, place: int, right: Any) -> Iterator[Wrong]:
    """矩阵乘：转置、次序、操作数。"""
    if op in ("mm", "matmul"):
        a, b = x
        at, bt = np.swapaxes(a, -1, -2), np.swapaxes(b, -1, -2)
        if not np.all(g == 1):
            one = np.ones_like(g)
            yield from _product("chain-cut", one, bt) if place == 0 else _product("chain-cut", at, one)
        yield "missing-transpose", np.swapaxes(right, -1, -2)
        yield from _product("missing-transpose", g, b) if place == 0 else _product("missing-transpose", a, g)
        yield from _product("wrong-order", bt, g) if place == 0 else _product("wrong-order", g, at)
        yield from _product("wrong-operand", g, at) if place == 0 else _product("wrong-operand", bt, g)
    if op == "linear" and place < 2:
        weight = x[1]
        one = np.ones_like(g)
        yield "chain-cut", one @ weight if place == 0 else one.T @ x[0]
        if place == 0 and weight.shape[0] == weight.shape[1]:
            yield "missing-transpose", g @ weight.T
        if place == 1:
            yield "missing-transpose", x[0].T @ g
    if op == "linear" and place == 2 and len(g) > 1:
        yield "forgot-broadcast-sum", g
        yield "forgot-broadcast-sum", g[0]
    if op == "permute":
        yield "missing-transpose", g


def _rows(op: str, x: list[Any], y: Any, c: Any, g: Any, place: int, right: Any) -> Iterator[Wrong]:
    """归约、softmax、归一化与损失。"""
    if op == "mean" and np.size(x[0]) != np.size(y):
        yield "missing-mean-factor", np.broadcast_to(g if c["keepdim"] or not g.ndim else g[:, None], np.shape(x[0]))
    if op in ("sum", "sum_all") and np.size(x[0]) != np.size(y):
        yield "extra-mean-factor", right / (np.size(x[0]) / np.size(y))
    if op == "softmax":
        yield "softmax-elementwise", g * y * (1 - y)
        yield "chain-cut", y * (1 - y.sum(axis=c["dim"], keepdims=True))
    if op == "log_softmax":
        yield "softmax-elementwise", g * (1 - np.exp(y))
    if op == "cross_entropy":
        e = np.exp(x[0] - x[0].max(axis=1, keepdims=True))
        n = 1 if c["reduction"] == "sum" else len(x[0])
        yield "forgot-one-hot", g * e / e.sum(axis=1, keepdims=True) / n
        if n > 1:
            yield "missing-mean-factor", right * n
    if op == "layer_norm":
        mu = x[0].mean(-1, keepdims=True)
        sigma = np.sqrt(((x[0] - mu) ** 2).mean(-1, keepdims=True) + c["eps"])
        if place == 0:
            yield "statistics-as-constants", g * x[1] / sigma
        if place == 1:
            yield "forgot-local", g.sum(axis=0)
            yield "forgot-broadcast-sum", g * (x[0] - mu) / sigma
        if place == 2:
            yield "forgot-broadcast-sum", g
    if op == "attention":
        yield from _heads(x, c, g, place)


def _heads(x: list[Any], c: Any, g: Any, place: int) -> Iterator[Wrong]:
    q, k, v = x[:3]
    variants = [
        ("missing-scale", 1.0, causal(q, k, c), False),
        ("forgot-mask", c["scale"], np.zeros_like(causal(q, k, c)), False),
        ("mask-off-by-one", c["scale"], np.triu(causal(q, k, c), 2), False),
        ("softmax-elementwise", c["scale"], causal(q, k, c), True),
    ]
    for name, scale, mask, is_diagonal in variants:
        p = attend(q, k, scale, mask)
        if place == 2:
            if not is_diagonal:
                yield name, np.einsum("...ij,...id->...jd", p, g)
            continue
        dp = np.einsum("...id,...jd->...ij", g, v)
        ds = scale * p * (dp * (1 - p) if is_diagonal else dp - (p * dp).sum(-1, keepdims=True))
        yield name, np.einsum("...ij,...jd->...id", ds, k) if place == 0 else np.einsum("...ij,...id->...jd", ds, q)


def _selected(op: str, x: list[Any], c: Any, g: Any, place: int, shape: tuple[int, ...]) -> Iterator[Wrong]:
    """查表、下标与掩码。"""
    if op == "masked_fill":
        yield "forgot-mask", g
        for mask in off_by_one(x[1]):
            yield "mask-off-by-one", np.where(mask, 0.0, g)
    if op == "embedding":
        index = np.asarray(x[1])
        last = np.zeros(shape)
        for row, i in enumerate(index):
            last[i] = g[row]
        if len(set(index.tolist())) < len(index):
            yield "scatter-overwrote", last
        if index.max() + 1 < shape[0]:
            moved = np.zeros(shape)
            for row, i in enumerate(index):
                moved[i + 1] += g[row]
            yield "index-off-by-one", moved
    if op == "index" and takes_one_row(c["key"], shape[0]):
        moved = np.zeros(shape)
        moved[c["key"][0] + 1] = g
        yield "index-off-by-one", moved
