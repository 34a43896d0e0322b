"""要画的图：记录里的值与算子变成方框，模块可以折成一个。

流入：``Trace`` 与折到第几层；流出：``Picture``，只有方框与箭头，没有坐标。下一站：``layout.py``。

一个方框是一个叶子、一个常数，或一次算子调用连同它的输出。折叠按执行的先后：同一个模块里连着执行的几步折成一个，
模块被再次调用就另起一个，图因此永远没有环。
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field

from tinygrad_llm.tracing.arrays import Snapshot, Summary, norm_of
from tinygrad_llm.tracing.substitution import number, shape_text, shown
from tinygrad_llm.tracing.trace import NodeRecord, Trace, Value

MANY = 80
"""方框再多就自动折叠模块。"""

_FEW = 24
"""方框不多时，箭头上写出流过的梯度。"""


@dataclass
class Box:
    """一个方框。

    Attributes:
        kind: ``"leaf"``、``"constant"``、``"op"`` 或 ``"module"``。
        title: 第一行。
        data: 内容：标量是数，别的是形状。
        grad: 梯度；没有则为空。
        tip: 停在上面时的说明。
        module: 所在模块的路径。
    """

    kind: str
    title: str
    data: str
    grad: str
    tip: str
    module: str


@dataclass
class Arrow:
    """一个箭头：前向的方向。

    Attributes:
        source: 从哪个方框。
        target: 到哪个方框。
        label: 反传时沿它流回的梯度；不写则为空。
    """

    source: int
    target: int
    label: str = ""


@dataclass
class Picture:
    """方框与箭头。"""

    boxes: list[Box] = field(default_factory=list)
    arrows: list[Arrow] = field(default_factory=list)


def picture(trace: Trace, fold: int | None = None) -> Picture:
    """记录的图。

    Args:
        trace: 记录。
        fold: 路径多于几段的模块折成一个方框；``None`` 是方框太多才折，折到不多为止。
    """
    trace.settle()
    depths = [one.module.count(".") + 1 for one in trace.nodes if one.module]
    deepest = max(depths, default=0)
    if fold is not None:
        return _folded(trace, fold)
    found = _folded(trace, deepest)
    while len(found.boxes) > MANY and deepest > 0:
        deepest -= 1
        found = _folded(trace, deepest)
    return found


def _folded(trace: Trace, depth: int) -> Picture:
    found, home = Picture(), {}
    for path, group in itertools.groupby(trace.nodes, lambda node: _cut(node.module, depth)):
        run = list(group)
        if path is not None and (len(run) > 1 or _owns_parameters(trace, run[0])):
            found.boxes.append(_module_box(path, run))
            home.update({value: len(found.boxes) - 1 for node in run for value in node.outputs})
            continue
        for node in run:
            found.boxes.append(_op_box(trace, node))
            home.update(dict.fromkeys(node.outputs, len(found.boxes) - 1))
    flows = _flows(trace)
    drawn: dict[tuple[int, int], Arrow] = {}
    for node in trace.nodes:
        for position, value in enumerate(node.inputs):
            if value is None:
                continue
            target = home[node.output]
            if value not in home:
                if found.boxes[target].kind == "module":
                    continue  # 参数与常数一同折进模块
                found.boxes.append(_value_box(trace.values[value]))
                home[value] = len(found.boxes) - 1
            pair = home[value], target
            if pair[0] != target and pair not in drawn:
                drawn[pair] = Arrow(*pair)
            if pair in drawn and (flow := flows.get((node.id, position))):
                drawn[pair].label += (" + " if drawn[pair].label else "") + flow
    found.arrows = list(drawn.values())
    if len(found.boxes) > _FEW:
        for arrow in found.arrows:
            arrow.label = ""
    return found


def _cut(module: str, depth: int) -> str | None:
    """多于 ``depth`` 段的模块折进前 ``depth + 1`` 段；不必折的为 ``None``。"""
    parts = module.split(".") if module else []
    return ".".join(parts[: depth + 1]) if len(parts) > depth else None


def _owns_parameters(trace: Trace, node: NodeRecord) -> bool:
    """这次调用是否用到了自己模块的参数。"""
    values = [trace.values[i] for i in node.inputs if i is not None]
    return any(one.kind == "leaf" and one.module == node.module for one in values)


def _flows(trace: Trace) -> dict[tuple[int, int], str]:
    """（算子调用，第几个输入）→ 最后一趟反传里流过的梯度，标量才写。"""
    found = {}
    for one in trace.backwards:
        for step in one.steps:
            for edge in step.edges:
                if not isinstance(edge.contribution, Summary) and edge.contribution.size == 1:
                    found[step.node, edge.input] = shown(edge.contribution)
    return found


def gradient_text(grad: Snapshot | None) -> str:
    """梯度：标量与很短的向量写数，别的写范数。"""
    if grad is None:
        return ""
    text = shown(grad)
    if not text.startswith("[") or "," in text:
        return text
    return f"norm {number(norm_of(grad))}"


def _value_box(value: Value) -> Box:
    title = value.label if value.name is not None or value.kind == "leaf" else "constant"
    tip = f"{value.label}: {value.dtype} {shape_text(value.shape)}"
    return Box(value.kind, title, shown(value.data), gradient_text(value.grad), tip, value.module)


def _op_box(trace: Trace, node: NodeRecord) -> Box:
    output = trace.values[node.output]
    title = node.op if output.name is None else f"{output.label} = {node.op}"
    lines = [node.formula, node.text]
    if node.source is not None:
        lines.append(f"{node.source['file']}:{node.source['line']}  {node.source['text']}")
    return Box("op", title, shown(output.data), gradient_text(output.grad), "\n".join(lines), node.module)


def _module_box(path: str, run: list[NodeRecord]) -> Box:
    trace, last = run[0].trace, run[-1]
    inside = {i for node in run for i in node.inputs if i is not None and trace.values[i].kind == "leaf"}
    parameters = sum(math.prod(trace.values[i].shape) for i in inside)
    output = trace.values[last.output]
    ops = run[0].op if len(run) == 1 else f"{len(run)} ops"
    data = f"{ops}, {parameters:,} parameters" if parameters else ops
    tip = "\n".join([path, *dict.fromkeys(node.op for node in run)])
    return Box("module", path, f"{data} → {shape_text(output.shape)}", gradient_text(output.grad), tip, path)
