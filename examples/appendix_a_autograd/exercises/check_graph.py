"""第五个练习的判分：在几张小图与两张大图上核对反向传播。

流入：读者的函数；流出：一句英文提示，空串表示通过。局部导数都取正数，于是「少了」就是丢了路径，「多了」就是重复计算。
下一个文件：``check_optimizer.py``。
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

import tinygrad_llm as tg

Inputs = dict[str, list[tuple[str, float]]]
_LOOKUPS_PER_NODE = 20  # 正确的做法每个节点只查两三次


class TooManyLookupsError(RuntimeError):
    """查表次数远多于节点数。"""


class _Counted(Mapping[str, Sequence[tuple[str, float]]]):
    """会数查了多少次的只读字典。"""

    def __init__(self, inputs: Inputs) -> None:
        self.inputs, self.left = inputs, _LOOKUPS_PER_NODE * len(inputs)

    def __getitem__(self, name: str) -> Sequence[tuple[str, float]]:
        self.left -= 1
        if self.left < 0:
            raise TooManyLookupsError
        return self.inputs[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.inputs)

    def __len__(self) -> int:
        return len(self.inputs)


def _random_graph(seed: int, size: int) -> Inputs:
    """一张随机的无环图，字典次序打乱；第 i 个节点只用到编号更小的节点。"""
    draw = np.random.default_rng(seed)
    nodes = [
        (f"n{i}", [(f"n{draw.integers(i)}", float(draw.uniform(0.2, 1))) for _ in range(3)] if i else [])
        for i in range(size)
    ]
    return {nodes[i][0]: nodes[i][1] for i in draw.permutation(size)}


def _by_engine(output: str, inputs: Inputs) -> dict[str, float]:
    """同一张图用 Tensor 搭出来（每个节点是其输入的加权和），梯度由引擎算。"""
    tensors: dict[str, Any] = {}
    for name in sorted(inputs, key=lambda name: int(name[1:])):
        terms = [tensors[source] * local for source, local in inputs[name]]
        tensors[name] = sum(terms[1:], terms[0]) if terms else tg.tensor(1.0, dtype=tg.float64, requires_grad=True)
    found = tg.autograd.grad(tensors[output], list(tensors.values()), allow_unused=True)
    return {name: g.item() for name, g in zip(tensors, found, strict=True) if g is not None}


def _differences(answer: Callable[..., Any], output: str, inputs: Inputs, expected: dict[str, float]) -> str:
    try:
        got = answer(output, _Counted(inputs))
    except TooManyLookupsError:
        return "walks every path separately, which is exponential: process each node once, after all its gradients"
    except RecursionError:
        return f"recursion runs out of stack on a chain of {len(inputs)} nodes: keep an explicit list instead"
    if not isinstance(got, Mapping):
        return f"should return a dict, got {type(got).__name__}"
    if got.get(output) != 1.0:
        return f"the derivative of the output with respect to itself is 1, got {got.get(output)}"
    for name, value in expected.items():
        if name not in got:
            return f"no gradient for {name}: count only the edges that can be reached from the output"
        if not np.isclose(got[name], value, rtol=1e-9):
            where = f"at {name}: got {got[name]:g}, should be {value:g}"
            if got[name] < value:
                return f"a path is lost, forgot to accumulate: a value used twice adds both gradients ({where})"
            return f"counted twice: a node passed its gradient on too early; go in topological order ({where})"
    return ""


def check_backpropagate(answer: Callable[..., Any]) -> str:
    """练习 5：同一输入用两次、菱形、随机图、五万节点的链、路径有 2⁴⁰ 条的图。"""
    square: Inputs = {"y": [("x", 3.0), ("x", 3.0)], "x": []}
    diamond: Inputs = {
        "y": [("s", 3.25), ("u", 2.25)],
        "x": [],
        "u": [("s", 1.0)],
        "s": [("x", 1.5), ("x", 1.5)],
        "unrelated": [("s", 1.0)],
    }
    tangle = _random_graph(0, 30)
    last = "n24"  # 其后的节点用到了前面的节点，却与它无关
    chain: Inputs = {f"c{i}": [(f"c{i - 1}", 1.0)] if i else [] for i in range(50_000)}
    doubling: Inputs = {f"d{i}": [(f"d{i - 1}", 1.0)] * 2 if i else [] for i in range(41)}
    cases: list[tuple[str, Inputs, dict[str, float]]] = [
        ("y", square, {"x": 6.0}),
        ("y", diamond, {"u": 2.25, "s": 5.5, "x": 16.5}),
        (last, tangle, _by_engine(last, tangle)),
        ("d40", doubling, {"d0": 2.0**40}),
        ("c49999", chain, {"c0": 1.0}),
    ]
    for output, inputs, expected in cases:
        problem = _differences(answer, output, inputs, expected)
        if problem:
            return problem
    return ""
