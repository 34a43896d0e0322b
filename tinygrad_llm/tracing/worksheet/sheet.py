"""写出练习：一份 Markdown，公式来自引擎，数字留空。

流入：``Sheet``；流出：给人填的文字。每一格是表里的一行，第一列是编号，最后一列是要填的地方。下一站：``reading.py``。
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinygrad_llm.ops.op import Op
from tinygrad_llm.tracing.trace import EdgeRecord, NodeRecord, Step, Trace
from tinygrad_llm.tracing.worksheet.catalogue import CONTRIBUTION, FINAL, FORWARD, LOCAL, SUM
from tinygrad_llm.tracing.worksheet.cells import Cell, Place, Sheet, asked_nodes, is_copy

Array = NDArray[Any]

MARK = "tinygrad_llm worksheet"
"""练习文件里那行注释的开头；后面是 JSON。"""

SHOWN = 256
"""给定的数组至多印出这么多个数。"""

_PLAIN = {
    "sum": "每一项都是 g",
    "sum_all": "每一项都是 g",
    "mean": "每一项都是 g / n",
    "pow_scalar": " g · c · xᶜ⁻¹",
    "index": "取出的位置放 g，其余是 0",
    "embedding": "取出的行放 g，同一行取了几次就加几次",
    "masked_fill": "遮住的位置是 0，其余是 g",
    "permute": "把轴换回去",
    "expand": "广播的轴求和",
    "binary_cross_entropy": " g · (x - t) / (x(1 - x))",
    "triu": "下三角是 0",
    "tril": "上三角是 0",
}
"""求导表里写得像程序的几行，换成人话。"""

_GUIDE = """\
- 把 `____`（或列表里的 `_`）换成你算的数。可以写小数、分数与算式：`0.25`、`-1/6`、`2*0.3`、`exp(-1)`。
- 小数至少写三位有效数字；写几位，就按几位判。矩阵写成 `[[1, 2], [3, 4]]`，形状不要变。
- 可以只填一部分。前面填错了、后面照着算对的，后面不扣分。
- g 是传来的梯度：最后的结果对这一步输出的导数。贡献 = g 与局部导数的乘积，广播的轴要加起来。"""


def render(sheet: Sheet, about: dict[str, Any], how: str, source: str = "") -> str:
    """一张空白的练习。

    Args:
        sheet: 练习。
        about: 重新得到这份记录要用的东西，写进注释。
        how: 怎样判分。
        source: 程序的源码；没有则不印。
    """
    counts = {kind: sum(one.kind == kind for one in sheet.cells.values()) for kind in "FDCSG"}
    text = json.dumps(about, ensure_ascii=False)
    lines = [f"# 反向传播练习：{sheet.trace.title}", "", f"<!-- {MARK}: {text} -->", ""]
    lines += [
        f"共 {len(sheet.cells)} 格：前向的值 F {counts[FORWARD]} 格，局部导数 D {counts[LOCAL]} 格，贡献 C "
        f"{counts[CONTRIBUTION]} 格，到此为止的和 S {counts[SUM]} 格，最终梯度 G {counts[FINAL]} 格。",
        "",
        _GUIDE,
        f"- 填好之后判分：`{how}`。",
        "",
    ]
    if source:
        lines += ["## 程序", "", "```python", source.rstrip(), "```", ""]
    lines += _known(sheet)
    lines += _forward(sheet)
    for backward in sheet.trace.backwards:
        lines += _backward(sheet, backward.id)
    finals = list(sheet.finals.values())
    if finals:
        lines += ["## 最终梯度", "", "全部反传走完之后，留在 `.grad` 里的数。", "", *_head("对谁")]
        lines += [_row(cell, f"`∂L/∂{_label(sheet.trace, cell.value)}`") for cell in finals]
        lines.append("")
    return "\n".join(lines)


# ---- 各节


def _known(sheet: Sheet) -> list[str]:
    """给定的数：要填的各步用到、又不必由读者算的。"""
    trace = sheet.trace
    hidden: set[int] = set()
    for record in trace.nodes:
        if record.id in sheet.forward or any(i in hidden for i in record.inputs):
            hidden.update(record.outputs)
    used: dict[int, None] = {}
    for record in asked_nodes(trace):
        for i in record.inputs:
            if i is not None and i not in hidden:
                used[i] = None
    lines = ["## 已知", "", "| 名字 | 形状 | 值 |", "| :--- | :--- | :--- |"]
    for i in used:
        value = trace.values[i]
        shape = "标量" if value.shape == () else f"`{list(value.shape)}`"
        shown = (
            f"`{numbers(value.data)}`" if isinstance(value.data, np.ndarray) and value.data.size <= SHOWN else "见程序"
        )
        lines.append(f"| `{_escaped(value.label)}` | {shape} | {shown} |")
    return [*lines, ""]


def _forward(sheet: Sheet) -> list[str]:
    trace = sheet.trace
    lines = ["## 前向", "", *_head("这一步", "公式")]
    asked = {record.id for record in asked_nodes(trace)}
    for record in trace.nodes:
        label = _label(trace, record.output)
        code = (
            ""
            if record.source is None
            else f"第 {record.source['line']} 行：`{_escaped(record.source['text'].partition('  #')[0])}`"
        )
        step = f"`{label}`，{code}" if code else f"`{label}`"
        if record.id in sheet.forward:
            lines.append(_row(sheet.forward[record.id], step, f"`{_escaped(record.formula)}`，{_operands(record)}"))
        elif record.id in asked:
            lines.append(f"| — | {step} | `{_escaped(record.formula)}` | 太大，不问 |")
        elif is_copy(trace, record) and any(record.needs):
            lines.append(f"| — | {step} | 就是 `{_label(trace, record.inputs[0])}`，只换形状 | 不必填 |")
    return [*lines, ""]


def _backward(sheet: Sheet, number: int) -> list[str]:
    trace = sheet.trace
    backward = trace.backwards[number]
    which = f"（第 {number + 1} 趟）" if len(trace.backwards) > 1 else ""
    root = _label(trace, backward.root)
    seed = (
        f"`{numbers(backward.seed)}`" if isinstance(backward.seed, np.ndarray) and backward.seed.size <= 64 else "给定"
    )
    lines = [f"## 反向{which}", "", f"从 `L = {root}` 开始，`∂L/∂{root}` = {seed}。", ""]
    for step in backward.steps:
        lines += _step(sheet, number, step)
    return lines


def _step(sheet: Sheet, number: int, step: Step) -> list[str]:
    trace, record = sheet.trace, step.record
    label = _label(trace, record.output)
    title = f"### 第 {step.index + 1} 步：`{label}` 的 {record.op}"
    arrived = reference(sheet, number, step.index)
    rows: list[str] = []
    for i, edge in enumerate(step.edges):
        rows += _edge_rows(sheet, (number, step.index, i), step, edge)
    if not rows:
        return [title, "", "只换形状：梯度的数不变，换回输入的形状。", ""]
    g = f"传来的梯度 `g = ∂L/∂{label}`：{arrived}。"
    return [title, "", f"`{record.formula}`，{_operands(record)}。{g}", "", *_head("要算什么", "怎样算"), *rows, ""]


def _edge_rows(sheet: Sheet, place: Place, step: Step, edge: EdgeRecord) -> Iterator[str]:
    trace, record, cells = sheet.trace, step.record, sheet.edges[place]
    name, label = record.input_names[edge.input], _label(trace, edge.value)
    rule = _rule(record, edge)
    if LOCAL in cells:
        yield _row(cells[LOCAL], f"局部导数 `∂y/∂{name}`（`{name} = {label}`）", f"{rule}，其中 g = 1")
    if CONTRIBUTION in cells:
        summed = f"；再对第 {'、'.join(map(str, edge.summed_axes))} 轴求和" if edge.summed_axes else ""
        how = f"g × {cells[LOCAL].id}" if LOCAL in cells else rule
        yield _row(cells[CONTRIBUTION], f"给 `{label}` 的贡献", f"{how}{_escaped(summed)}")
    if SUM in cells:
        added = cells[CONTRIBUTION].id if CONTRIBUTION in cells else "这一份"
        yield _row(cells[SUM], f"`{label}` 的梯度到此为止的和", f"前面的和 + {added}")


def reference(sheet: Sheet, backward: int, step: int) -> str:
    """一步收到的梯度在哪一格。"""
    steps = sheet.trace.backwards[backward].steps
    output = steps[step].record.output
    for earlier in reversed(steps[:step]):
        for i, edge in reversed(list(enumerate(earlier.edges))):
            if edge.value == output:
                cells = sheet.edges[backward, earlier.index, i]
                cell = cells.get(SUM) or cells.get(CONTRIBUTION)
                return f"就是 {cell.id}" if cell else f"{reference(sheet, backward, earlier.index)}，换成这里的形状"
    return "就是起点的梯度"


# ---- 写法


def _head(*titles: str) -> list[str]:
    return [f"| 格 | {' | '.join(titles)} | 填在这里 |", f"| :--- |{' :--- |' * (len(titles) + 1)}"]


def _row(cell: Cell, *columns: str) -> str:
    which = f"（只填第 `{list(cell.rows)}` 行）" if cell.rows else ""
    first, *rest = columns
    return f"| {cell.id} | {' | '.join([first + which, *rest])} | `{_blank(cell.asked)}` |"


def _blank(array: Array) -> str:
    """一格的空白：标量是一条线，数组的每个数一个 ``_``。"""
    return "____" if not array.ndim else _nested(array, lambda x: "_")


def numbers(array: Array, noise: float = 0.0) -> str:
    """数或嵌套的列表，六位有效数字；小于 ``noise`` 的就是 0。"""
    return _nested(array, lambda x: "0" if abs(x) <= noise else f"{x:.6g}")


def _nested(array: Array, write: Any) -> str:
    if not array.ndim:
        return str(write(array.item()))
    return f"[{', '.join(_nested(np.asarray(one), write) for one in array)}]"


def _label(trace: Trace, i: int | None) -> str:
    return "" if i is None else _escaped(trace.values[i].label)


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")


def _operands(record: NodeRecord) -> str:
    """公式里的各个字母是谁，属性是多少。"""
    values = record.trace.values
    named = [
        f"`{name} ← {_escaped(values[i].label)}`"
        for name, i in zip(record.input_names, record.inputs, strict=False)
        if i is not None
    ]
    defaults = record.declared.defaults if isinstance(record.declared, Op) else {}
    raw = record.raw_attrs
    shown = [name for name in raw if name not in defaults or repr(raw[name]) != repr(defaults[name])]
    attrs = [f"`{name} = {_escaped(record.attrs[name])}`" for name in shown]
    return "，".join([*named, *attrs])


def _rule(record: NodeRecord, edge: EdgeRecord) -> str:
    """求导表的这一行；一次算出全部梯度的，用它自己的说明。"""
    declared = record.declared
    if isinstance(declared, Op) and declared.joint is not None:
        found = inspect.getdoc(declared.joint)
        text = " ".join((found or "").partition("\n\n")[0].split()) or edge.vjp.partition("\n")[0]
        return _escaped(text.replace("``", "`"))
    first = edge.vjp.partition("\n")[0]
    plain = _PLAIN.get(record.op, "")
    return f"`{_escaped(re.sub(r'.* if type[(]g[)] is _ndarray else ', '', first))}`{plain and f'，即{plain}'}"
