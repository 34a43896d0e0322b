"""终端里的样子：前向的表，按执行次序的反向，最后是各个梯度与 torch 的对照。

流入：``Trace``；流出：一行行文字，至多 100 列。下一站：``command.py``。
"""

from __future__ import annotations

import itertools
import re
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from tinygrad_llm.tracing.arrays import Snapshot, Summary, norm_of
from tinygrad_llm.tracing.exports import columns
from tinygrad_llm.tracing.formulas import edge_rule
from tinygrad_llm.tracing.picture import gradient_text
from tinygrad_llm.tracing.substitution import number, shape_text, shown
from tinygrad_llm.tracing.trace import Backward, EdgeRecord, NodeRecord, Step, Trace, Value

WIDTH = 100
_NAME_LIMIT = 26
_BLOCK = 64
"""至多几个数的数组写出各个数。"""

_STYLES = {"head": "1", "dim": "2", "name": "1", "grad": "33", "good": "32", "bad": "31"}
_ESCAPE = re.compile("\x1b\\[[0-9;]*m")


@dataclass(frozen=True)
class Section:
    """文字里的一段：``--step`` 每次显示一段。

    Attributes:
        kind: ``"intro"``、``"forward"``、``"seed"``、``"backward"`` 或 ``"gradients"``。
        lines: 各行。
    """

    kind: str
    lines: list[str]


def text(trace: Trace, *, color: bool = False, arrays: bool = False) -> str:
    """一份记录的全部文字。

    Args:
        trace: 记录。
        color: 是否用终端的颜色。
        arrays: 是否写出矩阵里的各个数。
    """
    return "\n".join(line for one in sections(trace, color=color, arrays=arrays) for line in one.lines)


def sections(trace: Trace, *, color: bool = False, arrays: bool = False) -> Iterator[Section]:
    """同 ``text``，一段一段地给。"""
    trace.settle()
    return _Terminal(trace, color, arrays).sections()


def gradients(trace: Trace, *, color: bool = False) -> str:
    """只要最后的梯度表。"""
    trace.settle()
    return "\n".join(_Terminal(trace, color, False).gradient_lines())


class _Terminal:
    """写文字的人。"""

    def __init__(self, trace: Trace, color: bool, arrays: bool) -> None:
        self.trace, self.color, self.arrays = trace, color, arrays
        outputs = [trace.values[node.output].label for node in trace.nodes]
        self.name_width = min(max((columns(name) for name in outputs), default=4), _NAME_LIMIT)
        self.formula_width = min(max((columns(node.formula) for node in trace.nodes), default=8), 34)
        self.last_source: tuple[str, str] | None = None

    def sections(self) -> Iterator[Section]:
        """全部各段。"""
        yield Section("intro", self._intro())
        phase = ""
        for event in self.trace:
            lines: list[str] = []
            if event.kind == "forward" and event.node is not None:
                if phase != "forward":
                    lines += ["", self._styled("head", "FORWARD")]
                    self.last_source = None
                lines += self._forward(self.trace.nodes[event.node])
            elif event.backward is not None:
                one = self.trace.backwards[event.backward]
                if event.kind == "seed":
                    lines += ["", self._seed(one)]
                elif event.step is not None:
                    lines += self._step(one.steps[event.step])
            phase = event.kind
            yield Section(event.kind, lines)
        yield Section("gradients", ["", *self.gradient_lines()])

    # ---- 开头与前向

    def _intro(self) -> list[str]:
        trace = self.trace
        steps = sum(len(one.steps) for one in trace.backwards)
        counts = f"{_counted(len(trace.nodes), 'op')}, {_counted(steps, 'backward step')}, {trace.dtype}"
        lines = [f"{self._styled('head', trace.title)}: {counts}", ""]
        for title, kind in (("leaves", "leaf"), ("constants", "constant")):
            known = [value for value in trace.values if value.kind == kind and value.name is not None]
            words = [f"{value.label} = {shown(value.data)}" for value in known]
            lines += _wrapped(f"{title:<10} ", words, " " * 11) if words else []
        for value in self.trace.values:
            if value.kind != "result" and value.name is not None and (block := self._block(value.data)):
                lines += [f"  {value.label}", *block]
        return lines

    def _forward(self, node: NodeRecord) -> list[str]:
        lines = []
        place = (node.module, "" if node.source is None else f"{node.source['file']}:{node.source['line']}")
        if place != self.last_source and node.source is not None:
            code = f"{place[1]}  {node.source['text']}"
            module = f"  [{node.module}]" if node.module else ""
            lines.append("  " + self._styled("dim", _cut(code, WIDTH - 2 - columns(module)) + module))
        self.last_source = place
        name = _padded(_cut(self.trace.values[node.output].label, self.name_width), self.name_width)
        head = f"  {node.id:>3}  {self._styled('name', name)}  {_padded(node.formula, self.formula_width)}  "
        return [*lines, *self._fitted(head, [node.text]), *self._block(self.trace.values[node.output].data)]

    # ---- 反向

    def _seed(self, one: Backward) -> str:
        values = self.trace.values
        roots = ", ".join(f"{values[i].label} (seed {shown(seed)})" for i, seed in one.roots)
        count = f" {one.id + 1} of {len(self.trace.backwards)}" if len(self.trace.backwards) > 1 else ""
        return f"{self._styled('head', f'BACKWARD{count}')} from {roots}, in the order the engine fires"

    def _step(self, step: Step) -> list[str]:
        node, values = step.record, self.trace.values
        inputs = ", ".join(values[i].label for i in node.inputs if i is not None)
        left = f"  {step.index + 1:>3}  {self._styled('name', values[node.output].label)} = {node.op}({inputs})"
        right = f"g = {gradient_text(step.incoming)}"
        room = WIDTH - columns(right) - 2
        left = left if _width(left) <= room else _cut(_ESCAPE.sub("", left), room)
        lines = [left + " " * max(2, WIDTH - _width(left) - columns(right)) + self._styled("grad", right)]
        if step.arrived is not None:
            lines.append(f"       a hook changed {shown(step.arrived)} into {shown(step.incoming)}")
        names = [self.trace.values[edge.value].label for edge in step.edges]
        width = min(max((columns(name) for name in names), default=0), _NAME_LIMIT)
        for name, edge in zip(names, step.edges, strict=True):
            lines += self._edge(name, width, node, edge)
        return lines

    def _edge(self, name: str, width: int, node: NodeRecord, edge: EdgeRecord) -> list[str]:
        """一条边：求导表的一行 = 代入的数 = 贡献，右边是这个值至今的和。"""
        head = f"       {_padded(_cut(name, width), width)}  "
        rule, numbers = edge_rule(node, edge.input), edge.text
        chain = [rule, *([f"= {numbers}"] if numbers != rule else [])]
        lines = self._fitted(head, chain)
        total = gradient_text(edge.after)
        if edge.before is not None:
            before, share = gradient_text(edge.before), gradient_text(edge.contribution)
            if share.startswith("norm"):
                total = f"{before} and {share} add up to {total}"
            else:
                total = f"{before} + {share} = {total}".replace("+ -", "- ")
        so_far = f"grad of {name}: {total}"
        room = WIDTH - _width(lines[-1])
        if columns(so_far) + 3 <= room:
            lines[-1] += " " * (room - columns(so_far)) + self._styled("grad", so_far)
        else:
            wrapped = textwrap.wrap(so_far, WIDTH - 9 - width, subsequent_indent="  ")
            lines += [" " * (9 + width) + self._styled("grad", line) for line in wrapped]
        return lines + self._block(edge.after)

    def _block(self, value: Snapshot) -> list[str]:
        """要看各个数时：一个不大的矩阵，各列对齐；轴更多的一片一片地写。"""
        if not self.arrays or isinstance(value, Summary) or not 1 < value.size <= _BLOCK or "," in shown(value):
            return []
        rows = np.asarray(value).reshape(-1, value.shape[-1]).tolist()
        cells = [[number(one) for one in row] for row in rows]
        width = max(len(cell) for row in cells for cell in row)
        if len(rows[0]) * (width + 2) > WIDTH - 12:
            return []
        slab = value.shape[-2] if value.ndim > 2 else len(rows)
        gap = [[""] if n and n % slab == 0 else [] for n in range(len(rows))]
        written = ["  ".join(f"{cell:>{width}}" for cell in row) for row in cells]
        return [f"{'':12}{line}".rstrip() for n, row in enumerate(written) for line in (*gap[n], row)]

    def _fitted(self, head: str, parts: list[str]) -> list[str]:
        """接在 ``head`` 之后；一行写不下就在各部分之间、等号之前折。"""
        pad = " " * _width(head)
        whole = " ".join(parts)
        if _width(head) + columns(whole) <= WIDTH:
            return [head + whole]
        lines: list[str] = []
        for part in parts:
            whole = re.sub(r"\[[^\]]*\]", lambda found: found[0].replace(" ", "\u00a0"), part)  # 向量不从中间折开
            pieces = textwrap.wrap(whole, WIDTH - len(pad), subsequent_indent="  ", break_long_words=False)
            lines += [piece.replace("\u00a0", " ") for piece in pieces] or [part]
        return [head + lines[0], *(pad + line for line in lines[1:])]

    # ---- 最后的梯度

    def gradient_lines(self) -> list[str]:
        """叶子的梯度，torch 的与两者之差。"""
        leaves = [value for value in self.trace.values if value.kind == "leaf" and value.requires_grad]
        if not leaves:
            return ["no leaf requires a gradient"]
        has_torch = any(value.torch_grad is not None for value in self.trace.values)
        header = ["leaf", "value", "gradient", *(["torch", "|difference|"] if has_torch else [])]
        rows = [self._gradient_row(value, has_torch, gradient_text) for value in leaves]
        widths = _widths([header, *rows])
        if sum(widths) + 2 * len(widths) > WIDTH:
            rows = [self._gradient_row(value, has_torch, _brief) for value in leaves]
            widths = _widths([header, *rows])
        lines = [self._styled("head", "GRADIENTS")]
        for n, row in enumerate([header, *rows]):
            cells = [_padded(cell, width) for cell, width in zip(row, widths, strict=True)]
            line = f"  {'  '.join(cells)}".rstrip()
            lines.append(self._styled("dim", line) if n == 0 else line)
            if n and (grad := leaves[n - 1].grad) is not None:
                lines += self._block(grad)
        return [*lines, *self._torch_summary(has_torch)]

    def _gradient_row(self, value: Value, has_torch: bool, written: Callable[[Snapshot | None], str]) -> list[str]:
        data = shown(value.data) if written is gradient_text else shape_text(value.shape)
        row = [_cut(value.label, 40), data, written(value.grad) or "none"]
        if has_torch:
            row += [written(value.torch_grad) or "none", _difference_text(value)]
        return row

    def _torch_summary(self, has_torch: bool) -> list[str]:
        note = self.trace.extensions.get("torch_note")
        lines = [self._styled("dim", line) for line in textwrap.wrap(f"  torch: {note}", WIDTH)] if note else []
        if has_torch:
            compared = [v for v in self.trace.values if v.torch_grad is not None and v.grad is not None]
            gaps = [gap for gap in map(difference, compared) if gap is not None]
            worst = max(gaps, default=0.0)
            style = "good" if worst <= _tolerance(self.trace) else "bad"
            words = f"{_counted(len(compared), 'gradient')} compared with torch, largest difference {number(worst, 2)}"
            lines.append("  " + self._styled(style, words))
        return lines

    def _styled(self, style: str, words: str) -> str:
        return f"\x1b[{_STYLES[style]}m{words}\x1b[0m" if self.color else words


def difference(value: Value) -> float | None:
    """与 torch 的梯度最多差多少；有一边没有则为 ``None``，都是概要则比范数。"""
    ours, theirs = value.grad, value.torch_grad
    if ours is None or theirs is None:
        return None
    if isinstance(ours, Summary) or isinstance(theirs, Summary):
        both = isinstance(ours, Summary) and isinstance(theirs, Summary)
        return abs(ours.norm - theirs.norm) if both else None  # type: ignore[union-attr]
    if ours.shape != theirs.shape:
        return float("inf")
    with np.errstate(all="ignore"):
        gap = np.abs(np.asarray(ours) - np.asarray(theirs))
    same = (np.asarray(ours) == np.asarray(theirs)) | (np.isnan(ours) & np.isnan(theirs))
    return float(np.where(same, 0, gap).max(initial=0.0))


def _brief(value: Snapshot | None) -> str:
    """表格太宽时：只写范数，标量写数。"""
    if value is None or value.size == 1:
        return gradient_text(value)
    return f"norm {number(norm_of(value))}"


def _widths(rows: list[list[str]]) -> list[int]:
    return [max(columns(row[i]) for row in rows) for i in range(len(rows[0]))]


def _difference_text(value: Value) -> str:
    gap = difference(value)
    return "" if gap is None else number(gap, 2)


def _tolerance(trace: Trace) -> float:
    """差多少还算只是舍入：按最大的梯度折算。"""
    sizes = [value.grad for value in trace.values if value.grad is not None]
    largest = max(map(_largest, sizes), default=1.0)
    return (1e-10 if trace.dtype == "float64" else 1e-4) * max(largest, 1.0)


def _largest(value: Snapshot) -> float:
    if isinstance(value, Summary):
        return max(abs(value.min), abs(value.max))
    finite = np.abs(value[np.isfinite(value)])
    return float(finite.max(initial=0.0))


def _counted(count: int, word: str) -> str:
    return f"{count:,} {word}" if count == 1 else f"{count:,} {word}s"


def _wrapped(head: str, words: list[str], indent: str) -> list[str]:
    """用逗号隔开，在词与词之间折行；每个词自己不折。"""
    lines, line = [], head
    for word, following in itertools.zip_longest(words, words[1:]):
        piece = word + ("," if following is not None else "")
        if columns(line) + columns(piece) > WIDTH and line.strip():
            lines.append(line.rstrip())
            line = indent
        line += piece + " "
    return [*lines, line.rstrip()]


def _cut(words: str, width: int) -> str:
    """太长就从末尾截断。"""
    if columns(words) <= width:
        return words
    while columns(words) > width - 1:
        words = words[:-1]
    return f"{words}…"


def _padded(words: str, width: int) -> str:
    return words + " " * (width - columns(words))


def _width(line: str) -> int:
    return columns(_ESCAPE.sub("", line))
