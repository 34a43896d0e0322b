"""一个标量的梯度，拆成从损失到它的每一条路：每条路上局部导数的积，全部路的积之和。

流入：一份标量计算的记录；流出：``Explanation``。反传只走每条边一次，这里把它省掉的重复都写出来。下一站：``terminal.py``。
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tinygrad_llm.common.errors import UserError
from tinygrad_llm.tracing.substitution import number
from tinygrad_llm.tracing.trace import Backward, Trace, Value

_SHOWN = 16
"""文字里至多写出几条路。"""

_WIDTH = 100
"""一行至多几列。"""


@dataclass(frozen=True)
class Link:
    """一条路上的一段：从一个算子的输出到它的一个输入。

    Attributes:
        output: 输出的编号。
        input: 输入的编号。
        argument: 输入在公式里的名字；同一个值做两个输入时靠它区分。
        factor: 局部导数。
    """

    output: int
    input: int
    argument: str
    factor: float


@dataclass(frozen=True)
class Path:
    """从起点到目标的一条路。

    Attributes:
        seed: 起点的梯度。
        links: 依次经过的各段。
    """

    seed: float
    links: tuple[Link, ...]

    @property
    def product(self) -> float:
        """起点的梯度乘上一路的局部导数。"""
        return math.prod([one.factor for one in self.links], start=self.seed)


@dataclass(frozen=True)
class Explanation:
    """一个值的梯度的来历。

    Attributes:
        trace: 记录。
        target: 哪个值。
        roots: 起点的编号。
        paths: 各条路，次序与反传相同；太多时只有前面的一些。
        count: 一共几条路。
        total: 全部路的积之和。
        gradient: 引擎算出的梯度。
    """

    trace: Trace
    target: Value
    roots: tuple[int, ...]
    paths: list[Path]
    count: int
    total: float
    gradient: float

    def __str__(self) -> str:
        labels = [value.label for value in self.trace.values]
        name, top = self.target.label, " + ".join(labels[i] for i in self.roots)
        plural = "path" if self.count == 1 else "paths"
        lines = [f"d {top} / d {name}: the sum over {self.count:,} {plural} from {top} to {name}", ""]
        for i, path in enumerate(self.paths, 1):
            lines += [*self._path_lines(i, path, labels), ""]
        if self.count > len(self.paths):
            lines += [f"  ... and {self.count - len(self.paths):,} more paths", ""]
        terms = " ".join(("+ " + number(p.product)).replace("+ -", "- ") for p in self.paths).removeprefix("+ ")
        more = " + ..." if self.count > len(self.paths) else ""
        width = max(len("sum of the paths"), len("gradient found by backward"))
        shown = f"{terms}{more} = " if self.count > 1 else ""
        lines.append(f"{'sum of the paths':<{width}}  {shown}{number(self.total, 10)}")
        lines.append(f"{'gradient found by backward':<{width}}  {number(self.gradient, 10)}")
        return "\n".join(lines)

    def _path_lines(self, i: int, path: Path, labels: list[str]) -> list[str]:
        """一条路写三行（太长就折）：经过谁、哪些局部导数、它们的数。"""
        shown_twice = {(link.output, link.input) for link in path.links if self._is_ambiguous(link)}
        start = path.links[0].output if path.links else self.target.id
        names, symbols, factors = [labels[start]], [], []
        if path.seed != 1:
            symbols.append(f"seed of {labels[start]}")
            factors.append(number(path.seed))
        for link in path.links:
            as_argument = f" (as {link.argument})" if (link.output, link.input) in shown_twice else ""
            names.append(labels[link.input] + as_argument)
            symbols.append(f"∂{labels[link.output]}/∂{labels[link.input]}")
            factors.append(number(link.factor))
        index = f"  {i}. "
        pad = " " * len(index)
        product = " × ".join(f"({one})" if one.startswith("-") and n else one for n, one in enumerate(factors)) or "1"
        equals = f" = {number(path.product)}" if len(factors) > 1 else ""
        written = (index + " → ".join(names), pad + " · ".join(symbols), pad + product + equals)
        return [line for one in written for line in textwrap.wrap(one, _WIDTH, subsequent_indent=f"{pad}  ")]

    def _is_ambiguous(self, link: Link) -> bool:
        """一个值是不是做了同一个算子的几个输入。"""
        producer = self.trace.values[link.output].producer
        return producer is not None and self.trace.nodes[producer].inputs.count(link.input) > 1


def explain(trace: Trace, name: str, *, backward: int | None = None, limit: int = _SHOWN) -> Explanation:
    """一个标量的梯度，等于从损失到它的全部路上局部导数之积的和。

    Args:
        trace: 记录；从损失到目标的值都要是标量。
        name: 目标的名字或标签。
        backward: 第几趟反传；缺省是最后一趟到达它的。
        limit: 至多列出几条路；总和总是全部的。

    Returns:
        可以打印的说明。

    Raises:
        UserError: 没有这个值，梯度没有到达它，或路上有不是标量的值。
    """
    trace.settle()
    known = [value for value in trace.values if name in (value.label, value.name)]
    if not known:
        named = ", ".join(value.label for value in trace.values if value.requires_grad)
        raise UserError(f'there is no value named "{name}"', fix=f"use one of: {named}")
    passes = trace.backwards if backward is None else [trace.backwards[backward]]
    reached = [(one, value) for one in passes for value in known if _reaches(one, value)]
    if not reached:
        raise UserError(
            f"no gradient reaches {name}", fix="call backward() on something computed from it, inside trace()"
        )
    one, target = reached[-1]
    links = _links(trace, one, target)
    counts, sums = _totals(one, links, target)
    paths = [path for _, path in zip(range(limit), _walk(one, links, target), strict=False)]
    last = [edge.after for step in one.steps for edge in step.edges if edge.value == target.id]
    gradient = float(np.asarray(last[-1] if last else one.seed).reshape(-1)[0])
    roots = tuple(value for value, _ in one.roots)
    return Explanation(trace, target, roots, paths, counts, sums, gradient)


def _reaches(one: Backward, value: Value) -> bool:
    return any(root == value.id for root, _ in one.roots) or any(
        e.value == value.id for s in one.steps for e in s.edges
    )


def _links(trace: Trace, one: Backward, target: Value) -> dict[int, list[Link]]:
    """每个值分到各个输入的各段，只要通向目标的；局部导数由求导表以 1 代入得来。"""
    useful, chosen = {target.id}, []
    for step in reversed(one.steps):
        if any(edge.value in useful for edge in step.edges):
            useful.add(step.record.output)
            chosen.append(step)
    found: dict[int, list[Link]] = {}
    for step in reversed(chosen):
        record = step.record
        for i in (record.output, *[edge.value for edge in step.edges if edge.value in useful]):
            _refuse_arrays(trace.values[i])
        local = dict(record.vjp(np.ones(trace.values[record.output].shape, _dtype(trace, record.output))))
        found[record.output] = [
            Link(record.output, edge.value, record.input_names[edge.input], float(np.asarray(local[edge.input]).sum()))
            for edge in step.edges
            if edge.value in useful
        ]
    return found


def _dtype(trace: Trace, value: int) -> str:
    """一个值的 NumPy 类型；NumPy 没有 bfloat16，用 float32。"""
    name = trace.values[value].dtype
    return "float32" if name == "bfloat16" else name


def _refuse_arrays(value: Value) -> None:
    if math.prod(value.shape) != 1:
        raise UserError(
            f"explain follows scalars, and {value.label} has shape {list(value.shape)}",
            fix="explain a value of a scalar computation; for tensors, read the backward steps",
        )


def _totals(one: Backward, links: dict[int, list[Link]], target: Value) -> tuple[int, float]:
    """从各起点到目标的路一共几条、积之和是多少；值按产生的先后，所以一遍就够。"""
    counts, sums = {target.id: 1}, {target.id: 1.0}
    for output in sorted(links):
        counts[output] = sum(counts.get(link.input, 0) for link in links[output])
        sums[output] = sum(link.factor * sums.get(link.input, 0.0) for link in links[output])
    seeds = [(root, float(np.asarray(seed).sum())) for root, seed in one.roots]
    return sum(counts.get(root, 0) for root, _ in seeds), sum(seed * sums.get(root, 0.0) for root, seed in seeds)


def _walk(one: Backward, links: dict[int, list[Link]], target: Value) -> Iterator[Path]:
    """全部的路，深度优先；不用递归，链再长也走得完。"""
    for root, seed in one.roots:
        start = float(np.asarray(seed).sum())
        stack: list[tuple[int, tuple[Link, ...]]] = [(root, ())]
        while stack:
            at, so_far = stack.pop()
            if at == target.id:
                yield Path(start, so_far)
            stack += [(link.input, (*so_far, link)) for link in reversed(links.get(at, []))]
