"""把一个有不同的程序改小：删步骤，把步骤换成叶子，绕过步骤，缩形状；只要那个不同还在，就接着改。

流入：``Program`` 与「这个不同还在吗」；流出：最小的 ``Program``。下一站：``writing.py`` 把它印成代码。
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from parity_tests.random_programs.program import Leaf, Node, Program, Ref, Step, mapped, used_by, without_unused
from parity_tests.random_programs.running import leaf_tensor, perform, quiet

MOST_TRIES = 3000


def shrink(program: Program, still_differs: Callable[[Program], bool], tries: int = MOST_TRIES) -> Program:
    """改小，直到没有一种改法还留得住那个不同。

    Args:
        program: 有不同的程序。
        still_differs: 改小了的程序是否还有同一种不同。
        tries: 至多试多少次。

    Returns:
        最小的程序。
    """
    best, going = program, True
    while going and tries > 0:
        going = False
        for smaller in _smaller(best):
            tries -= 1
            if tries <= 0:
                break
            if still_differs(smaller):
                best, going = smaller, True
                break
    return best


def _smaller(program: Program) -> Iterator[Program]:
    """各种改法，大刀阔斧的在前。"""
    cleaned = without_unused(program)
    if len(cleaned.nodes) < len(program.nodes):
        yield cleaned
    yield from _fewer_outputs(program)
    if program.backward != "loss":
        yield dataclasses.replace(program, backward="loss")
    yield from _halves(program)
    values = _values(program)
    steps = list(reversed(program.steps))
    for step in steps:
        yield from _as_leaf(program, step, values)
    for step in steps:
        yield from _bypassed(program, step, values)
    for step in steps:
        if step.no_grad:
            yield _replaced(program, dataclasses.replace(step, no_grad=False))
    yield from _simpler_leaves(program)


def _fewer_outputs(program: Program) -> Iterator[Program]:
    outputs = program.outputs
    if len(outputs) > 1:
        for place in range(len(outputs)):
            yield without_unused(dataclasses.replace(program, outputs=(outputs[place],)))
        for place in range(len(outputs)):
            yield dataclasses.replace(program, outputs=outputs[:place] + outputs[place + 1 :])


def _halves(program: Program) -> Iterator[Program]:
    """一次删去一长串没有被输出用到的副作用。"""
    writes = [step.id for step in program.steps if step.writes]
    width = len(writes)
    while width >= 1:
        for start in range(0, len(writes), width):
            gone = set(writes[start : start + width])
            yield from _dropped(program, gone)
        width //= 2


def _dropped(program: Program, gone: set[int]) -> Iterator[Program]:
    """删去几步就地写入；后面用到它们结果的，改用被写的变量。"""
    instead: dict[int, Any] = {}
    nodes: list[Node] = []
    for node in program.nodes:
        if node.id in gone and isinstance(node, Step):
            instead[node.id] = mapped(node.args[0], lambda one: instead.get(getattr(one, "id", -1), one))
        else:
            nodes.append(_renamed(node, instead))
    if all(isinstance(one, Ref) for one in instead.values()):
        outputs = tuple((instead[out].id if out in instead else out, weight) for out, weight in program.outputs)
        yield without_unused(dataclasses.replace(program, nodes=tuple(nodes), outputs=outputs))


def _renamed(node: Node, instead: dict[int, Any]) -> Node:
    if isinstance(node, Leaf) or not used_by(node) & instead.keys():
        return node

    def change(one: Any) -> Any:
        return instead.get(one.id, one) if isinstance(one, Ref) else one

    kwargs = tuple((name, mapped(value, change)) for name, value in node.kwargs)
    return dataclasses.replace(node, args=mapped(node.args, change), kwargs=kwargs)


def _as_leaf(program: Program, step: Step, values: dict[int, Any]) -> Iterator[Program]:
    """把一步换成叶子，值就是它算出来的；求导的与不求导的都试。"""
    value = values.get(step.id)
    if step.writes or not isinstance(value, torch.Tensor):
        return
    name = str(value.dtype).split(".")[-1]
    array = np.round(value.detach().numpy(), 3) if value.dtype.is_floating_point else value.numpy()
    for needs in (True, False) if value.dtype.is_floating_point else (False,):
        yield _replaced(program, Leaf(step.id, np.array(array), name, needs))


def _bypassed(program: Program, step: Step, values: dict[int, Any]) -> Iterator[Program]:
    """绕过一步：后面改用它的某个实参。"""
    if step.writes:
        return
    shape = getattr(values.get(step.id), "shape", None)
    for id in sorted(used_by(step)):
        if shape is not None and getattr(values.get(id), "shape", None) == shape:
            nodes = tuple(_renamed(node, {step.id: Ref(id)}) for node in program.nodes if node.id != step.id)
            outputs = tuple((id if out == step.id else out, weight) for out, weight in program.outputs)
            yield without_unused(dataclasses.replace(program, nodes=nodes, outputs=outputs))


def _replaced(program: Program, new: Node) -> Program:
    nodes = tuple(new if node.id == new.id else node for node in program.nodes)
    return without_unused(dataclasses.replace(program, nodes=nodes))


def _simpler_leaves(program: Program) -> Iterator[Program]:
    """缩形状，把值变简单；缩一个叶子不行，就一起缩所有那么长的维。"""
    for leaf in program.leaves:
        for dim, size in enumerate(leaf.values.shape):
            if size > 1:
                yield _replaced(program, dataclasses.replace(leaf, values=leaf.values.take([0], dim)))
                yield _replaced(program, dataclasses.replace(leaf, values=leaf.values.take(range(size - 1), dim)))
    for size in sorted({size for leaf in program.leaves for size in leaf.values.shape if size > 1}):
        yield dataclasses.replace(program, nodes=tuple(_narrower(node, size) for node in program.nodes))
    for leaf in program.leaves:
        if leaf.requires_grad:
            yield _replaced(program, dataclasses.replace(leaf, requires_grad=False))
        if leaf.dtype == "float32":
            yield _replaced(program, dataclasses.replace(leaf, dtype="float64"))
        if leaf.values.dtype.kind == "f" and leaf.values.size:
            for simple in (np.ones_like(leaf.values), np.round(leaf.values), np.round(leaf.values, 1)):
                if not np.array_equal(simple, leaf.values) and not _is_simple(leaf.values, simple):
                    yield _replaced(program, dataclasses.replace(leaf, values=simple + 0.0))


def _is_simple(values: Any, simple: Any) -> bool:
    """已经是这么简单了：整数的叶子不再换成一位小数。"""
    return bool(
        np.array_equal(values, np.ones_like(values))
        or (np.array_equal(values, np.round(values)) and (simple != 1).any())
    )


def _narrower(node: Node, size: int) -> Node:
    if isinstance(node, Step):
        return node
    values = node.values
    for dim, length in enumerate(values.shape):
        if length == size:
            values = values.take(range(size - 1), dim)
    return dataclasses.replace(node, values=values)


def _values(program: Program) -> dict[int, Any]:
    """各个变量在 torch 里刚算出来时的值；torch 拒绝的那一步之后没有。"""
    values: dict[int, Any] = {}
    fresh: dict[int, Any] = {}
    with quiet():
        for node in program.nodes:
            try:
                made = leaf_tensor(torch, node, {}) if isinstance(node, Leaf) else perform(torch, node, values)
            except Exception:
                break
            values[node.id] = made
            fresh[node.id] = made.detach().clone() if isinstance(made, torch.Tensor) else made
    return fresh
