"""一份记录：张量、算子调用、每趟反传的每一步，按发生的先后。

流入：``recorder.py`` 填好的各项；流出：可读的属性与各种导出（JSON、图、文字、网页）。下一站：``formulas.py``。

填记录的人只留下编号与数组；公式、代入了数的式子、求导表的源码都在有人看时才写出来，记录因此便宜。
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tinygrad_llm.ops.bfloat16 import extras, widened
from tinygrad_llm.ops.op import Array, Op
from tinygrad_llm.tracing import formulas
from tinygrad_llm.tracing.arrays import Snapshot
from tinygrad_llm.tracing.real.flops import flops_of
from tinygrad_llm.tracing.sources import source_line, vjp_sources


@dataclass(eq=False)
class Value:
    """见过的一个张量。

    Attributes:
        id: 编号，按首次出现的先后。
        name: 用户的变量名或参数的路径；没有则为 ``None``。
        label: 总有、各不相同的名字。
        kind: ``"leaf"`` 需要梯度、不由记录里的算子产生；``"result"`` 是算子的输出；其余为 ``"constant"``。
        shape: 形状。
        dtype: 元素类型的名字。
        requires_grad: 是否需要梯度。
        data: 首次见到它时的内容。
        grad: 叶子是 ``backward`` 留在 ``.grad`` 里的，别的是到达它的总和；没有梯度则为 ``None``。
        torch_grad: torch 算出的梯度；没有比过则为 ``None``。
        module: 产生它（或持有它）的模块的路径。
        producer: 产生它的算子调用的编号；叶子与常数为 ``None``。
    """

    id: int
    name: str | None
    label: str
    kind: str
    shape: tuple[int, ...]
    dtype: str
    requires_grad: bool
    data: Snapshot
    grad: Snapshot | None = None
    torch_grad: Snapshot | None = None
    module: str = ""
    producer: int | None = None


@dataclass(eq=False)
class NodeRecord:
    """一次算子调用。

    Attributes:
        id: 编号，按先后。
        op: 算子名；自定义算子是类名。
        inputs: 各输入的编号；没给的为 ``None``。
        output: 输出的编号。
        needs: 各输入是否要算梯度。
        module: 所在模块的路径。
        time_ns: 前向用的时间。
        saved_bytes: 为反向留下的数组共几个字节。
        raw_attrs: 属性的值。
        location: （文件，行号）：用户自己的那一行；找不到则为 ``None``。
        declared: 算子；自定义算子则是 ``Function`` 的子类。
        outputs: 自定义算子的全部输出的编号；别的只有一个。
        graph_node: 引擎里的节点；不在图上的，以及数组太大、没有留下的，为 ``None``。
        saved: 节点为反向留下的值；数组太大、没有留下的为 ``None``。
        trace: 所属的记录。
    """

    id: int
    op: str
    inputs: list[int | None]
    output: int
    needs: list[bool]
    module: str
    time_ns: int
    saved_bytes: int
    raw_attrs: dict[str, Any]
    location: tuple[str, int] | None
    declared: Any
    outputs: list[int]
    graph_node: Any
    saved: Any
    trace: Trace = field(repr=False)

    @property
    def formula(self) -> str:
        """前向公式；自定义算子是 ``y = 名字(x₁, …)``。"""
        if isinstance(self.declared, Op):
            return self.declared.formula
        return f"y = {self.op}({', '.join(self.input_names)})"

    @cached_property
    def input_names(self) -> list[str]:
        """各输入在公式里的名字。"""
        return formulas.input_names(self.declared, len(self.inputs))

    @cached_property
    def attrs(self) -> dict[str, str]:
        """属性，写成文字。"""
        return {name: formulas.attr_text(value) for name, value in self.raw_attrs.items()}

    @cached_property
    def vjps(self) -> dict[str, str]:
        """求导表里需要的各行的源码；一次算出全部梯度的，键是 ``"*"``。"""
        return vjp_sources(self.declared, self.needs)

    @cached_property
    def text(self) -> str:
        """标量：代入了数的公式；张量：代入了形状的公式。"""
        return formulas.forward_text(self)

    @cached_property
    def source(self) -> dict[str, Any] | None:
        """用户自己的那一行：文件名、行号与内容。"""
        return None if self.location is None else source_line(*self.location)

    @property
    def flops(self) -> int:
        """前向的浮点运算次数。"""
        shapes = [None if i is None else self.trace.values[i].shape for i in self.inputs]
        return flops_of(self.op, shapes, self.trace.values[self.output].shape, self.raw_attrs)

    def vjp(self, g: Any) -> list[tuple[int, Array]]:
        """再算一次反向：输出的梯度 → 各输入的（位置，梯度），梯度还没有对广播轴求和。

        Args:
            g: 输出的梯度，形状与输出相同。

        Raises:
            ValueError: 没有在图上，或反向要用的数组太大、没有留下。
        """
        node = self.graph_node
        if node is None or self.saved is None:
            reason = (
                "its saved arrays were too large to keep; raise limit" if any(self.needs) else "it needs no gradient"
            )
            raise ValueError(f"cannot re-run the derivative of {self.op} (node {self.id}): {reason}")
        g = np.asarray(g)
        before, node.saved = node.saved, self.saved
        try:
            if not isinstance(self.declared, Op):
                return [(i, np.asarray(grad)) for i, grad in node.vjp(g)]
            saved = self.saved
            if extras.low_precision:
                g, saved = widened(g), [widened(one) for one in saved]
            found: list[tuple[int, Array]] = []
            for position, rule, _, slots in node.plan.rules:
                result = rule(g, *[saved[slot] for slot in slots])
                rows = enumerate(result) if node.plan.is_joint else ((position, result),)
                found += [(i, np.array(one)) for i, one in rows if one is not None and self.needs[i]]
            return found
        finally:
            node.saved = before


@dataclass(eq=False)
class EdgeRecord:
    """反向的一步里，流向一个输入的那份梯度。

    Attributes:
        input: 第几个输入。
        value: 那个输入的编号。
        raw: VJP 的结果，还没有对广播轴求和。
        contribution: 真正加上去的那一份。
        before: 加之前，这趟反传里已有的和；还没有则为 ``None``。
        after: 加之后的和。
        raw_shape: ``raw`` 的形状。
        summed_axes: ``raw`` 的哪些轴是广播出来、被求和掉的。
        step: 所属的一步；由别处造的边没有。
    """

    input: int
    value: int
    raw: Snapshot
    contribution: Snapshot
    before: Snapshot | None
    after: Snapshot
    raw_shape: tuple[int, ...]
    summed_axes: tuple[int, ...]
    step: Step | None = field(default=None, repr=False)

    @property
    def vjp(self) -> str:
        """求导表的这一行。"""
        return "" if self.step is None else formulas.edge_source(self.step.record, self.input)

    @property
    def text(self) -> str:
        """代入了数（张量则是形状）的这一行。"""
        return "" if self.step is None else formulas.edge_text(self.step.record, self)


@dataclass(eq=False)
class Step:
    """反向的一步：一个节点的 VJP。

    Attributes:
        index: 这趟反传里的第几步。
        node: 哪次算子调用。
        incoming: 它收到的梯度；多输出的自定义算子是第一个输出的。
        time_ns: 用的时间。
        edges: 流向各输入的梯度，按相加的先后。
        arrived: 钩子换掉之前的梯度；没有换过则为 ``None``。
        incoming_all: 多输出的自定义算子各输出收到的梯度；别的为 ``None``。
        record: 那次算子调用。
    """

    index: int
    node: int
    incoming: Snapshot
    time_ns: int
    edges: list[EdgeRecord]
    arrived: Snapshot | None
    incoming_all: list[Snapshot | None] | None
    record: NodeRecord = field(repr=False)


@dataclass(eq=False)
class Accumulation:
    """一趟反传之后，一份梯度加到一个叶子的 ``.grad`` 上。

    Attributes:
        value: 叶子的编号。
        before: 原来的 ``.grad``；没有则为 ``None``。
        added: 这趟反传的总和。
        after: 之后的 ``.grad``；``autograd.grad`` 不动 ``.grad``，与 ``before`` 相同。
    """

    value: int
    before: Snapshot | None
    added: Snapshot
    after: Snapshot | None


@dataclass(eq=False)
class Backward:
    """一趟反传。

    Attributes:
        id: 编号，按开始的先后。
        root: 起点的编号；有几个起点时是第一个。
        seed: 起点的梯度。
        steps: 各步。
        roots: 全部起点：（编号，梯度）。
        accumulated: 走完之后加到 ``.grad`` 上的各份。
    """

    id: int
    root: int
    seed: Snapshot
    steps: list[Step]
    roots: list[tuple[int, Snapshot]]
    accumulated: list[Accumulation] = field(default_factory=list)


class Event(NamedTuple):
    """发生的一件事：一次前向、一趟反传的开始，或反传的一步。"""

    kind: str
    node: int | None = None
    backward: int | None = None
    step: int | None = None


class Trace:
    """一份记录；``with tinygrad_llm.trace() as t:`` 得到的就是它。

    Attributes:
        title: 标题。
        limit: 至多几个元素的数组留下拷贝。
        values: 见过的张量。
        nodes: 算子调用。
        backwards: 各趟反传。
        events: 全部的先后。
        extensions: 随 JSON 一同写出的别的内容，见 ``SCHEMA.md`` 末尾。
        settle: 记录还没结束就要看时，先补齐标签。
        origin: （程序，融合算子是否拆开）：照此可以再运行一遍；不是由 ``programs.py`` 运行的为 ``None``。
    """

    def __init__(self, title: str | None = None, limit: int = 4096) -> None:
        self.title, self.limit = title or "trace", limit
        self.values: list[Value] = []
        self.nodes: list[NodeRecord] = []
        self.backwards: list[Backward] = []
        self.events: list[Event] = []
        self.extensions: dict[str, Any] = {}
        self.settle: Callable[[], None] = nothing
        self.origin: tuple[str, bool] | None = None

    @property
    def dtype(self) -> str:
        """计算主要用的浮点类型：第一个需要梯度的值的；没有则是第一个浮点的。"""
        wanted = [one for one in self.values if one.requires_grad] or [v for v in self.values if "float" in v.dtype]
        return wanted[0].dtype if wanted else "float32"

    def __repr__(self) -> str:
        steps = sum(len(one.steps) for one in self.backwards)
        return f"<Trace {self.title!r}: {len(self.nodes)} ops, {steps} backward steps, {len(self.values)} values>"

    def __str__(self) -> str:
        from tinygrad_llm.tracing.terminal import text

        return text(self)

    def __getitem__(self, name: str) -> Value:
        """按名字或标签找一个张量；同名的几个取最先的。

        Raises:
            KeyError: 没有；消息列出有的。
        """
        self.settle()
        for value in self.values:
            if name in (value.label, value.name):
                return value
        known = ", ".join(value.label for value in self.values[:12])
        raise KeyError(f"no value named {name!r}; there are {known}")

    def __iter__(self) -> Iterator[Event]:
        return iter(self.events)

    def to_dict(self, limit: int | None = None) -> dict[str, Any]:
        """全部内容，见 ``SCHEMA.md``。

        Args:
            limit: 元素更多的数组只写概要；缺省是记录时的 ``limit``。
        """
        from tinygrad_llm.tracing.json_form import trace_dict

        return trace_dict(self, limit)

    def to_json(self, path: str | Path | None = None, limit: int | None = None) -> str:
        """同 ``to_dict``，写成严格的 JSON；给了 ``path`` 就写进文件。"""
        from tinygrad_llm.tracing.json_form import trace_json

        return _written(trace_json(self, limit), path)

    def to_svg(self, path: str | Path | None = None, fold: int | None = None) -> str:
        """计算图的 SVG：分层排好，写着每个值与它的梯度；浅色与深色都能看。

        Args:
            path: 给了就写进这个文件。
            fold: 路径多于几段的模块折成一个方框；缺省是方框太多才折。
        """
        from tinygrad_llm.tracing.exports import svg

        return _written(svg(self, fold), path)

    def to_dot(self, path: str | Path | None = None, fold: int | None = None) -> str:
        """计算图的 DOT，供 Graphviz；参数同 ``to_svg``。"""
        from tinygrad_llm.tracing.exports import dot

        return _written(dot(self, fold), path)

    def to_mermaid(self, path: str | Path | None = None, fold: int | None = None) -> str:
        """计算图的 Mermaid，GitHub 与许多笔记软件都会画；参数同 ``to_svg``。"""
        from tinygrad_llm.tracing.exports import mermaid

        return _written(mermaid(self, fold), path)

    def to_html(self, path: str | Path | None = None) -> str:
        """一个自足的网页：逐步重放前向与反向，双击即可打开；给了 ``path`` 就写进文件。"""
        from tinygrad_llm.tracing.player.page import page

        return _written(page(self._document()), path)

    def _repr_html_(self) -> str:
        from tinygrad_llm.tracing.player.page import frame

        return frame(self._document())

    def _document(self) -> dict[str, Any]:
        """播放器要的全部内容：记录，连同五种走错的反传。"""
        from tinygrad_llm.tracing.faults import faults_json

        return {**self.to_dict(), "faults": faults_json(self)}

    def plot(self, ax: Any = None, *, fold: int | None = None) -> Any:
        """用 matplotlib 画出计算图，返回坐标系；参数见 ``real/plot.py``。"""
        from tinygrad_llm.tracing.real.plot import plot

        return plot(self, ax, fold=fold)


def nothing() -> None:
    """记录已经结束，没有什么要补。"""


def _written(text: str, path: str | Path | None) -> str:
    if path is not None:
        Path(path).write_text(text, encoding="utf-8")
    return text
