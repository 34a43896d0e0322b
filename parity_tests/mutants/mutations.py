"""一个函数的语法树 → 它的全部变异体：符号、转置、轴、漏掉的归约、常数、留错的量、差一、ε 的位置……

流入：``ast`` 的函数节点；流出：``Mutation``。每个变异体只改一处，改的都是写求导公式的人真会写错的地方。
类型判断（``type(g) is ndarray``）、缓冲区（``out=``）与 dtype 不改：它们挑的是快慢，不是导数。下一站：``targets.py``。
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator
from typing import Any, NamedTuple

Function = ast.Lambda | ast.FunctionDef
Path = tuple[tuple[str, int | None], ...]

UNARY = frozenset(
    [
        "exp",
        "log",
        "log1p",
        "sqrt",
        "rsqrt",
        "sin",
        "cos",
        "tanh",
        "sigmoid",
        "sign",
        "abs",
        "erf",
        "conj",
    ]  # 丢掉它，公式仍说得通
)
TRANSPOSES = frozenset(["permute", "transpose", "swapaxes", "moveaxis", "flip", "flipped", "conj"])
REDUCTIONS = frozenset(["sum", "mean"])
SWAPS = {
    "sin": "cos", "cos": "sin", "maximum": "minimum", "minimum": "maximum", "max": "min", "min": "max",
    "tril": "triu", "triu": "tril", "sum": "mean", "mean": "sum", "sqrt": "rsqrt", "rsqrt": "sqrt",
}  # fmt: skip
SPEED_ONLY = frozenset(["out", "dtype", "check", "order", "copy", "casting", "keep", "strict", "writeable"])
"""实参的名字：管的是快慢、内存与查错，不进算式。"""
WORK = {"split": 2, "row_blocks": 1, "cost": 0}
"""函数 → 第几个实参说的是活有多大（``cost = …`` 也是）：由它定一块多大、分给几个线程，不进算式。"""
DISPATCH = frozenset([
    "type", "isinstance", "hasattr", "flags", "base", "ndim", "is_causal_block", "dtype", "may_overwrite", "threads",
    "_SMALL", "_FEW", "_WORTH_SPLITTING",
])  # fmt: skip
METADATA = frozenset(["shape", "dtype", "ndim", "size"])
"""``y.shape`` 换成 ``g.shape``：同一个形状。"""
SETTINGS = frozenset([
    "self", "needs", "shapes", "into", "dim", "keepdim", "state", "group", "shape_", "window", "groups", "key", "path",
    "edge", "source", "node", "leaf", "sources", "target",
])  # fmt: skip
"""不是数的形参：换错了立刻报错，太容易认，不算数。"""
COMMUTATIVE = frozenset([
    "multiply", "add", "maximum", "minimum", "max", "min", "fmax", "fmin", "hypot", "logaddexp", "isinstance", "empty",
    "ones", "zeros", "broadcast_shapes",
])  # fmt: skip
CONSTANT = frozenset(["zeros", "zeros_like", "empty_like", "start", "_start", "_tops", "result_type"])
"""处处为 0 的数组（优化器的 ``start`` 也只造零状态）：变号、加倍还是它自己，照同形状的另一个数组去造也还是它。
``result_type`` 同理：几个操作数本来就要同一种 dtype。"""
SHAPED = frozenset(["full_like", "ones_like"])
"""第一个实参只给形状的函数。"""
OPERATORS: dict[type[ast.operator], tuple[str, type[ast.operator]]] = {
    ast.Add: ("sign", ast.Sub),
    ast.Sub: ("sign", ast.Add),
    ast.Mult: ("operator", ast.Div),
    ast.Div: ("operator", ast.Mult),
    ast.BitAnd: ("condition", ast.BitOr),
    ast.BitOr: ("condition", ast.BitAnd),
}
COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is,
}  # fmt: skip


class Mutation(NamedTuple):
    """一个变异体。

    Attributes:
        kind: 哪一类错误，如 ``"sign"``。
        before: 改之前的那一小段。
        after: 改之后的。
        node: 整个函数改之后的语法树。
    """

    kind: str
    before: str
    after: str
    node: Function


def mutations(function: Function, saves: tuple[str, ...] = ()) -> Iterator[Mutation]:
    """一个函数的全部变异体，次序固定，没有重复。

    Args:
        function: 函数或 lambda 的语法树。
        saves: 求导表的一行还可以留下的东西（``y`` 与各个输入的名字）；据此造出「留错了量」的变异体。

    Yields:
        变异体；与原文编译成同一段代码的不算。
    """
    seen = {ast.unparse(function)}
    for kind, before, after, node in _all(function, saves):
        ast.fix_missing_locations(node)
        text = ast.unparse(node)
        if text not in seen:
            seen.add(text)
            yield Mutation(kind, before, after, node)


def _all(function: Function, saves: tuple[str, ...]) -> Iterator[tuple[str, str, str, Function]]:
    names = [a.arg for a in function.args.args if a.arg not in SETTINGS]
    for path, node in _spots(function):
        if _is_result(node) and _is_condition(function):
            continue
        for kind, new in _replacements(node, names):
            yield kind, _line(node), _line(new) if new else "(nothing)", _replaced(function, path, new)
    if isinstance(function, ast.Lambda):
        yield from _stale_saves(function, names, saves)


def _is_result(node: ast.AST) -> bool:
    """``_walk`` 另造的 ``return``：一个结果整个变号、加倍。"""
    return isinstance(node, ast.Return) and not hasattr(node, "lineno")


def _is_condition(function: Function) -> bool:
    """返回真假的函数：变号、加倍，真假不变。"""
    returns = getattr(function, "returns", None)
    return isinstance(returns, ast.Name) and returns.id == "bool"


def _line(node: ast.AST) -> str:
    """一处的文字；``if`` 语句只写条件。"""
    return ast.unparse(node).partition("\n")[0]


def _spots(function: Function) -> Iterator[tuple[Path, ast.AST]]:
    """可以改的每一处，连同从函数走到那里的路。"""
    if isinstance(function, ast.Lambda):
        yield from _walk(function.body, (("body", None),), is_result=True)
    else:
        for i, statement in enumerate(function.body):
            yield from _walk(statement, (("body", i),))


def _walk(node: ast.AST, path: Path, is_result: bool = False) -> Iterator[tuple[Path, ast.AST]]:
    if isinstance(node, (ast.Raise, ast.Assert, ast.Import, ast.ImportFrom, ast.JoinedStr)):
        return
    if isinstance(node, ast.Attribute) and node.attr in METADATA and isinstance(node.value, ast.Name):
        return
    if isinstance(node, ast.Call) and _called(node) in CONSTANT:
        return
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return  # 文档字符串
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id in WORK:
        return
    if is_result and isinstance(node, ast.expr) and not isinstance(node, (ast.Tuple, ast.IfExp, ast.Constant)):
        yield path, ast.Return(value=node)
    yield path, node
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns", "decorator_list", "args", "ctx", "op", "ops", "func") and not (
            isinstance(node, ast.Call) and field == "args"
        ):
            if field == "func" and isinstance(value, ast.Attribute):
                yield from _walk(value.value, (*path, ("func", None), ("value", None)))
            continue
        if isinstance(node, (ast.Assign, ast.AugAssign, ast.For, ast.comprehension, ast.NamedExpr)) and field in (
            "target", "targets",
        ):  # fmt: skip
            continue
        if field == "test" and _is_dispatch(value):
            continue
        for i, child in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if isinstance(node, ast.Call) and field == "args" and _is_idle(node, i):
                continue
            if isinstance(child, ast.AST) and not (isinstance(child, ast.keyword) and child.arg in SPEED_ONLY):
                result = isinstance(node, ast.Return) or (isinstance(node, ast.IfExp) and is_result and field != "test")
                if _is_inferred(node, child):
                    yield (*path, (field, i)), child
                else:
                    yield from _walk(child, (*path, (field, i)), result)


def _is_idle(call: ast.Call, place: int | None) -> bool:
    """第几个实参不进算式：活有多大，或只给形状。"""
    name = _called(call)
    return place == WORK.get(name) or (place == 0 and name in SHAPED)


def _is_inferred(call: ast.AST, side: ast.AST) -> bool:
    """``reshape(-1, …)``：NumPy 把任何负数都当作「由总数算出」，-2 也一样。"""
    return isinstance(call, ast.Call) and _called(call) == "reshape" and isinstance(side, ast.UnaryOp)


def _is_dispatch(test: Any) -> bool:
    """条件看的是类型或内存布局：挑的是快慢不同的两条路，算的是同一个数。"""
    words = {n.id for n in ast.walk(test) if isinstance(n, ast.Name)}
    words |= {n.attr for n in ast.walk(test) if isinstance(n, ast.Attribute)}
    return bool(words & DISPATCH)


def _replaced(function: Function, path: Path, new: ast.AST | None) -> Function:
    """沿 ``path`` 换掉一处之后的函数；``None`` 是把语句删掉。只另造路上的节点，其余与原来的共用：整棵抄写慢十倍。"""
    result = copy.copy(function)
    spot: Any = result
    for field, i in path[:-1]:
        child = copy.copy(getattr(spot, field) if i is None else getattr(spot, field)[i])
        _put(spot, field, i, child)
        spot = child
    _put(spot, *path[-1], copy.deepcopy(new) if new is not None else ast.Pass())
    return result


def _put(node: Any, field: str, i: int | None, value: Any) -> None:
    """换掉 ``node`` 的一个孩子；孩子们列成一列的，先另抄这一列。"""
    if i is not None:
        value = [value if j == i else one for j, one in enumerate(getattr(node, field))]
    setattr(node, field, value)


def _replacements(node: ast.AST, names: list[str]) -> Iterator[tuple[str, ast.AST | None]]:
    if isinstance(node, ast.Return) and isinstance(node.value, ast.expr) and _is_result(node):
        yield "sign", ast.UnaryOp(ast.USub(), node.value)
        yield "constant", ast.BinOp(node.value, ast.Mult(), ast.Constant(2))
    elif isinstance(node, ast.BinOp):
        yield from _of_operator(node)
    elif isinstance(node, ast.UnaryOp):
        yield ("sign" if isinstance(node.op, ast.USub) else "condition"), node.operand
    elif isinstance(node, ast.Constant):
        yield from _of_constant(node)
    elif isinstance(node, ast.Attribute) and node.attr in ("T", "mT"):
        yield "transpose", node.value
    elif isinstance(node, ast.Call):
        yield from _of_call(node, names)
    elif isinstance(node, ast.Compare) and type(node.ops[0]) in COMPARISONS:
        yield "condition", ast.Compare(node.left, [COMPARISONS[type(node.ops[0])](), *node.ops[1:]], node.comparators)
    elif isinstance(node, ast.BoolOp):
        yield "condition", ast.BoolOp(ast.Or() if isinstance(node.op, ast.And) else ast.And(), node.values)
    elif isinstance(node, ast.IfExp) and not _is_dispatch(node.test):
        if not _uses(node.test, ["need", "needs"]):  # 没人要的梯度多算一份，引擎照样不用
            yield "condition", node.body
        yield "condition", node.orelse
    elif isinstance(node, ast.Name) and node.id in names and len(names) > 1:
        yield "wrong operand", ast.Name(names[(names.index(node.id) + 1) % len(names)], ast.Load())
    else:
        yield from _of_statement(node)


def _of_operator(node: ast.BinOp) -> Iterator[tuple[str, ast.AST]]:
    left, operator, right = node.left, node.op, node.right
    if type(operator) in OPERATORS:
        kind, other = OPERATORS[type(operator)]
        yield kind, ast.BinOp(left, other(), right)
    if isinstance(operator, (ast.Add, ast.Sub)):
        yield "dropped term", left
    if isinstance(operator, ast.Add):
        yield "dropped term", right
    if isinstance(operator, (ast.Mult, ast.Div)):
        yield "dropped factor", left
    if isinstance(operator, (ast.Mult, ast.MatMult)):
        yield "dropped factor", right
    if isinstance(operator, ast.MatMult):
        yield "operand order", ast.BinOp(right, operator, left)
    if isinstance(operator, ast.Add) and _is_root(left):
        root: Any = copy.deepcopy(left)
        root.args[0] = ast.BinOp(root.args[0], ast.Add(), right)
        yield "eps place", root


def _is_root(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and _called(node) == "sqrt"


def _of_constant(node: ast.Constant) -> Iterator[tuple[str, ast.AST]]:
    value = node.value
    if isinstance(value, bool):
        yield "axis", ast.Constant(not value)
    elif isinstance(value, int):
        yield "off by one", ast.Constant(value + 1)
    elif isinstance(value, float):
        yield "constant", ast.Constant(value * 1.5 if value else 1.0)


def _called(node: ast.Call) -> str:
    return node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")


def _of_call(node: ast.Call, names: list[str]) -> Iterator[tuple[str, ast.AST]]:
    name = _called(node)
    is_method = isinstance(node.func, ast.Attribute) and not _is_module(node.func.value)
    first: ast.expr | None = node.func.value if is_method else (node.args[0] if node.args else None)  # type: ignore[attr-defined]
    if first is not None and not isinstance(first, ast.Starred):
        for kind, known in (("transpose", TRANSPOSES), ("missing reduce", REDUCTIONS), ("dropped function", UNARY)):
            if name in known:
                yield kind, first
    if name == "reduce" and node.args:
        yield "missing reduce", node.args[0]
    if name in SWAPS and isinstance(node.func, (ast.Name, ast.Attribute)) and name + SWAPS[name] != "sqrtrsqrt":
        func: Any = copy.deepcopy(node.func)
        setattr(func, "id" if isinstance(func, ast.Name) else "attr", SWAPS[name])
        yield "wrong function", ast.Call(func, node.args, node.keywords)
    if len(node.args) > 1 and name not in COMMUTATIVE and all(_uses(a, names) for a in node.args[:2]):
        yield "operand order", ast.Call(node.func, [node.args[1], node.args[0], *node.args[2:]], node.keywords)
    if name == "where" and len(node.args) == 3:
        yield "condition", ast.Call(node.func, [node.args[0], node.args[2], node.args[1]], node.keywords)
    if name == "sqrt" and node.args and isinstance(node.args[0], ast.BinOp) and isinstance(node.args[0].op, ast.Add):
        inner = node.args[0]
        yield "eps place", ast.BinOp(ast.Call(node.func, [inner.left], []), ast.Add(), inner.right)


def _uses(node: ast.AST, names: list[str]) -> bool:
    return any(isinstance(n, ast.Name) and n.id in names for n in ast.walk(node))


def _is_module(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and node.id in ("np", "math", "reduce", "shape", "elementwise")


def _of_statement(node: ast.AST) -> Iterator[tuple[str, ast.AST | None]]:
    if isinstance(node, ast.AugAssign):
        if type(node.op) in OPERATORS:
            kind, other = OPERATORS[type(node.op)]
            yield kind, ast.AugAssign(node.target, other(), node.value)
        yield "dropped term", None
    elif isinstance(node, ast.Expr):
        yield "dropped term", None
    elif isinstance(node, ast.If) and not isinstance(node.test, (ast.Compare, ast.UnaryOp, ast.BoolOp)):
        if _is_dispatch(node.test):
            return
        yield "condition", ast.If(ast.UnaryOp(ast.Not(), node.test), node.body, node.orelse)


def _stale_saves(
    function: ast.Lambda, names: list[str], saves: tuple[str, ...]
) -> Iterator[tuple[str, str, str, Function]]:
    """把留下的 ``y`` 换成输入，或把输入换成 ``y``、换成另一个输入。"""
    for name in names:
        for other in saves:
            if name in saves and other not in names:
                renamed = _Rename(name, other).visit(copy.deepcopy(function))
                yield "stale save", name, other, renamed


class _Rename(ast.NodeTransformer):
    def __init__(self, old: str, new: str) -> None:
        self.old, self.new = old, new

    def visit_arg(self, node: ast.arg) -> ast.arg:
        return ast.arg(self.new if node.arg == self.old else node.arg)

    def visit_Name(self, node: ast.Name) -> ast.Name:
        return ast.Name(self.new if node.id == self.old else node.id, node.ctx)
