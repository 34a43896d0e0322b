"""公式：前向的公式与求导表的源码，以及把数（或形状）代进去的样子。

流入：一条算子调用或一条边的记录；流出：给人看的文字。源码取自声明算子的文件，所以显示的就是执行的。下一站：``json_form.py``。
"""

from __future__ import annotations

import ast
import functools
import inspect
import linecache
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tinygrad_llm.ops.op import Op
from tinygrad_llm.tracing.arrays import Summary

if TYPE_CHECKING:
    from tinygrad_llm.tracing.trace import EdgeRecord, NodeRecord

_LINES_SHOWN = 8
"""一次算出全部梯度的函数，连同它的名字显示几行。"""


def source_line(path: str, line: int) -> dict[str, Any]:
    """一行源码：文件名、行号、去掉缩进的内容。"""
    return {"file": Path(path).name, "line": line, "text": linecache.getline(path, line).strip()}


def input_names(declared: Any, count: int) -> list[str]:
    """各输入的名字；可变参数的算子与自定义算子自己编号。"""
    if isinstance(declared, Op) and not declared.variadic:
        return list(declared.inputs[:count])
    stem = declared.inputs[0] if isinstance(declared, Op) else "x"
    return [f"{stem}[{i}]" for i in range(count)]


def attr_text(value: Any) -> str:
    """一个属性写成文字。"""
    if isinstance(value, np.ndarray):
        return f"array{value.shape}"
    if isinstance(value, np.dtype):
        return str(value)
    if callable(value):
        return getattr(value, "__name__", type(value).__name__)
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


# ---- 求导表的源码


class _Lambda(NamedTuple):
    """源码里的一个 ``lambda``：在哪一行、形参、作为哪个关键字参数、冒号之后的内容。"""

    line: int
    parameters: tuple[str, ...]
    keyword: str
    body: str


@functools.cache
def _lambdas(path: str) -> list[_Lambda]:
    """一个文件里的全部 ``lambda``。"""
    text = "".join(linecache.getlines(path))
    keywords: dict[ast.AST, str] = {}
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.keyword):
            keywords[node.value] = node.arg or ""
        elif isinstance(node, ast.Lambda):
            names = tuple(one.arg for one in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs))
            body = " ".join((ast.get_source_segment(text, node.body) or "").split())
            found.append(_Lambda(node.lineno, names, keywords.get(node, ""), body))
    return found


@functools.cache
def rule_source(rule: Callable[..., Any], name: str) -> str:
    """求导表的一行：``lambda`` 只留下冒号之后，别的函数写成调用。

    Args:
        rule: VJP。
        name: 对哪个输入求导。
    """
    code = rule.__code__
    if rule.__name__ != "<lambda>":
        return _called(rule)
    parameters = code.co_varnames[: code.co_argcount]
    near = [one for one in _lambdas(code.co_filename) if one.line == code.co_firstlineno]
    near = [one for one in near if one.parameters == parameters] or near
    near = [one for one in near if one.keyword == name] or near
    return near[0].body if near else _called(rule)


def _called(rule: Any) -> str:
    """写成调用的样子，连同函数的头几行。"""
    call = f"{rule.__name__}({', '.join(inspect.signature(rule).parameters)})"
    return f"{call}\n{_first_lines(rule)}"


@functools.cache
def _first_lines(rule: Any) -> str:
    """函数体的头几行，不带文档。"""
    text = textwrap.dedent(inspect.getsource(rule))
    function = next((one for one in ast.walk(ast.parse(text)) if isinstance(one, ast.FunctionDef)), None)
    if function is None:
        return text.strip()
    body = function.body[1:] if ast.get_docstring(function) else function.body
    lines = text.splitlines()[body[0].lineno - 1 : function.end_lineno]
    kept = [line.rstrip() for line in lines if line.strip()]
    more = ["    ..."] if len(kept) > _LINES_SHOWN else []
    return "\n".join([*kept[:_LINES_SHOWN], *more])


def vjp_sources(declared: Any, needs: Sequence[bool]) -> dict[str, str]:
    """需要的各行的源码；一次算出全部梯度的，键是 ``"*"``。"""
    if not any(needs):
        return {}
    if not isinstance(declared, Op):
        return {"*": f"{declared.__name__}.backward(ctx, g)\n{_first_lines(declared.derivative())}"}
    if declared.joint is not None:
        return {"*": _called(declared.joint)}
    return {
        name: rule_source(declared.vjps[name], name) for name, need in zip(declared.inputs, needs, strict=True) if need
    }


def edge_source(record: NodeRecord, position: int) -> str:
    """一条边用到的那一行。"""
    return record.vjps.get("*") or record.vjps.get(record.input_names[position], "")


# ---- 代入


def forward_text(record: NodeRecord) -> str:
    """代入了数或形状的前向公式。"""
    values = record.trace.values
    inputs = [values[i].data if i is not None else None for i in record.inputs]
    output = values[record.output].data
    return f"{shown(output)} = {record.op}({', '.join(shown(one) for one in inputs)})"


def edge_text(record: NodeRecord, edge: EdgeRecord) -> str:
    """代入了数或形状的一行求导表。"""
    return f"{edge_source(record, edge.input).splitlines()[0]} = {shown(edge.raw)}"


def shown(value: Any) -> str:
    """标量写数，数组写形状。"""
    if value is None:
        return "None"
    if isinstance(value, Summary) or value.size != 1:
        return f"[{', '.join(map(str, value.shape))}]"
    return f"{value.reshape(-1)[0]:.4g}"
