"""走错的反传的另一份算法：导数由 torch 逐个算子求出，次序与累加写成最直白的循环与递归。

流入：一次记录里的连线与前向的数；流出：各个值的梯度。与被测的 ``faults.py`` 不共用求导表，也不共用走法。
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from tinygrad_llm.ops.op import Array
from tinygrad_llm.tracing import Trace
from tinygrad_llm.tracing.trace import NodeRecord

Grads = dict[int, Array]
Parts = list[tuple[int, Array]]

_OPS: dict[str, Callable[..., Any]] = {
    "add": torch.add,
    "sub": torch.sub,
    "mul": torch.mul,
    "div": torch.div,
    "neg": torch.neg,
    "exp": torch.exp,
    "log": torch.log,
    "sqrt": torch.sqrt,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "mm": torch.mm,
    "matmul": torch.matmul,
    "sum": lambda x, dim, keepdim: x.sum(dim, keepdim=keepdim),
    "sum_all": torch.sum,
    "mean": lambda x, dim, keepdim: x.mean(dim, keepdim=keepdim),
    "pow_scalar": lambda x, exponent: x**exponent,
    "index": lambda x, key: x[key],
    "gather": lambda x, index, dim: x.gather(dim, index),
    "embedding": lambda weight, index: F.embedding(index, weight),
    "masked_fill": lambda x, mask, value: x.masked_fill(mask, value),
    "softmax": lambda x, dim: x.softmax(dim),
    "permute": lambda x, dims: x.permute(dims),
    "reshape": lambda x, shape: x.reshape(shape),
    "gelu": F.gelu,
    "linear": F.linear,
    "layer_norm": lambda x, weight, bias, eps: F.layer_norm(x, x.shape[-1:], weight, bias, eps),
    "binary_cross_entropy": lambda x, target: F.binary_cross_entropy(x, target, reduction="none"),
    "cross_entropy": lambda x, target, ignore_index, reduction: F.cross_entropy(
        x, target, ignore_index=ignore_index, reduction=reduction
    ),
}


def parts(trace: Trace, node: NodeRecord, g: Array) -> Parts:
    """一个节点把梯度 ``g`` 分给各个输入：（值的编号，那一份），按输入的次序。"""
    inputs: list[Any] = []
    for value, need in zip(node.inputs, node.needs, strict=True):
        array = None if value is None else torch.tensor(np.array(trace.values[value].data))
        inputs.append(array.requires_grad_() if need and array is not None else array)
    y = _OPS[node.op](*inputs, **node.raw_attrs)
    wanted = [i for i, need in enumerate(node.needs) if need]
    found = torch.autograd.grad(y, [inputs[i] for i in wanted], torch.tensor(g))
    return [(node.inputs[i] or 0, part.numpy()) for i, part in zip(wanted, found, strict=True)]


def _makers(trace: Trace) -> dict[int, NodeRecord]:
    return {node.output: node for node in trace.nodes if any(node.needs)}


def _start(trace: Trace) -> tuple[int, Grads]:
    root = trace.backwards[-1].root
    return root, {root: np.array(trace.backwards[-1].seed)}


def right(trace: Trace, left_over: Grads | None = None) -> Grads:
    """正确的走法；``left_over`` 是走之前已有的梯度。"""
    makers, (_, grads) = _makers(trace), _start(trace)
    grads = {**(left_over or {}), **grads}
    for node in reversed(trace.nodes):
        if node.output in makers and node.output in grads:
            for value, part in parts(trace, node, grads[node.output]):
                grads[value] = grads.get(value, np.zeros_like(part)) + part
    return grads


def naive_recursion(trace: Trace) -> Grads:
    """先把自己的各份加给输入，再逐个走下去；用的是输入此刻的累计值。"""
    makers, (root, grads) = _makers(trace), _start(trace)

    def visit(value: int) -> None:
        given = parts(trace, makers[value], grads[value])
        for one, part in given:
            grads[one] = grads.get(one, np.zeros_like(part)) + part
        for one, _ in given:
            if one in makers:
                visit(one)

    visit(root)
    return grads


def no_accumulation(trace: Trace) -> Grads:
    """正确的次序，等号写成了赋值；查表的反向也是。"""
    makers, (_, grads) = _makers(trace), _start(trace)
    for node in reversed(trace.nodes):
        if node.output not in makers or node.output not in grads:
            continue
        g = grads[node.output]
        if node.op == "embedding":
            weight, index = (np.array(trace.values[i or 0].data) for i in node.inputs)
            grads[node.inputs[0] or 0] = table = np.zeros_like(weight)
            for row, one in zip(g.reshape(-1, g.shape[-1]), index.reshape(-1), strict=True):
                table[one] = row
            continue
        for value, part in parts(trace, node, g):
            grads[value] = part
    return grads


def forgotten_zero_grad(trace: Trace) -> Grads:
    """走两遍，第二遍之前叶子上还留着第一遍的梯度。"""
    makers, first = _makers(trace), right(trace)
    return right(trace, {value: g for value, g in first.items() if value not in makers})


def wrong_order(trace: Trace) -> Grads:
    """待走的节点里总挑最早的那个，每个只走一次。"""
    makers, (root, grads) = _makers(trace), _start(trace)
    waiting, done = [makers[root]], set()
    while waiting:
        node = min(waiting, key=lambda one: one.id)
        waiting.remove(node)
        done.add(node.id)
        for value, part in parts(trace, node, grads[node.output]):
            grads[value] = grads.get(value, np.zeros_like(part)) + part
            maker = makers.get(value)
            if maker is not None and maker.id not in done and maker not in waiting:
                waiting.append(maker)
    return grads


WALKS: dict[str, Callable[[Trace], Grads]] = {
    "naive_recursion": naive_recursion,
    "no_accumulation": no_accumulation,
    "forgotten_zero_grad": forgotten_zero_grad,
    "wrong_order": wrong_order,
}
"""名字 → 另一份算法；不对广播轴求和的，测试里逐个手写。"""
