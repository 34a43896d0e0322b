"""求导表的源码：取自声明算子的文件，所以显示的就是执行的。

流入：算子与它的 VJP；流出：给人看的源码。下一站：``substitution.py``。
"""

from __future__ import annotations

import ast
import functools
import inspect
import linecache
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tinygrad_llm.autograd.function import Function
from tinygrad_llm.ops.op import Op

_LINES_SHOWN = 8
"""不止一行的 VJP，连同它的名字显示几行。"""


def source_line(path: str, line: int) -> dict[str, Any]:
    """一行源码：文件名、行号、去掉缩进的内容。"""
    return {"file": Path(path).name, "line": line, "text": linecache.getline(path, line).strip()}


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
    return f"{rule.__name__}({', '.join(inspect.signature(rule).parameters)})\n{_first_lines(rule)}"


@functools.cache
def _first_lines(rule: Any) -> str:
    """函数体的头几行，不带文档；源码找不到（例如在交互的会话里定义）则为空。"""
    try:
        text = textwrap.dedent(inspect.getsource(rule))
        tree = ast.parse(text)
    except (OSError, SyntaxError):
        return ""
    function = next((one for one in ast.walk(tree) if isinstance(one, ast.FunctionDef)), None)
    if function is None:
        return text.strip()
    body = function.body[1:] if ast.get_docstring(function) and len(function.body) > 1 else function.body
    lines = text.splitlines()[body[0].lineno - 1 : function.end_lineno]
    kept = [line.rstrip() for line in lines if line.strip()]
    more = ["    ..."] if len(kept) > _LINES_SHOWN else []
    return "\n".join([*kept[:_LINES_SHOWN], *more])


def vjp_sources(declared: Any, needs: Sequence[bool]) -> dict[str, str]:
    """需要的各行的源码；一次算出全部梯度的（以及自定义算子的），键是 ``"*"``。

    Args:
        declared: 算子，或 ``Function`` 的子类。
        needs: 各输入是否要算梯度。
    """
    if not any(needs):
        return {}
    if not isinstance(declared, Op):
        derivative = declared.vjp if declared.backward is Function.backward else declared.backward
        return {"*": f"{declared.__name__}.{derivative.__name__}(ctx, g)\n{_first_lines(derivative)}"}
    if declared.joint is not None:
        return {"*": _called(declared.joint)}
    pairs = zip(declared.inputs, needs, strict=True)
    return {name: rule_source(declared.vjps[name], name) for name, need in pairs if need}
