"""往哪里放错误：算子的三种前向、求导表的每一行、``joint``、``composed``、它们的私有帮手，反传的累加，各个优化器的更新。

流入：``REGISTRY`` 与优化器的类；流出：``Target``：活着的函数、它的语法树、该由谁的测试来认。下一站：``checks.py``。
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import inspect
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from parity_tests.engine import op_table  # noqa: F401  它加载全部算子，``REGISTRY`` 才齐
from parity_tests.mutants.mutations import Function
from tinygrad_llm import optim
from tinygrad_llm.autograd import traversal
from tinygrad_llm.ops import REGISTRY
from tinygrad_llm.ops.op import Op
from tinygrad_llm.optim import arrays, lbfgs, line_search

TRAVERSAL = ("unbroadcast", "_reshaped_like", "_sum", "kept")
TRAVERSAL_METHODS = ("add_region", "accumulate", "accumulate_low", "deliver", "deliver_tensor", "put")


@dataclasses.dataclass
class Target:
    """一个可以放错误的函数。

    Attributes:
        name: 例如 ``mul.forward``、``mul.a``（求导表的一行）、``layer_norm.joint``、``norm._share``、``AdamW.update``。
        group: ``forward``、``row``、``joint``、``composed``、``helper``、``optimizer`` 或 ``traversal``。
        node: 它的语法树。
        function: 活着的函数对象；变异体换掉它的 ``__code__``。
        owners: 用到它的算子或优化器，按先近后远。
        saves: 求导表的一行可以留下的东西。
    """

    name: str
    group: str
    node: Function
    function: types.FunctionType
    owners: list[str]
    saves: tuple[str, ...] = ()


@functools.cache
def _functions_in(path: str) -> dict[int, list[Function]]:
    """一个文件里的全部函数：行号 → 语法树。"""
    found: dict[int, list[Function]] = {}
    for node in ast.walk(ast.parse(Path(path).read_text(encoding="utf-8"))):
        if isinstance(node, (ast.Lambda, ast.FunctionDef)):
            decorators = getattr(node, "decorator_list", [])
            first = min([node.lineno, *(d.lineno for d in decorators)])  # 与 co_firstlineno 一致
            found.setdefault(first, []).append(node)
    return found


def compiled(node: Function, path: str) -> types.CodeType:
    """一个函数的代码对象；装饰器、默认值与注解不算，它们在活着的函数上。"""
    if isinstance(node, ast.Lambda):
        tree: Any = ast.Expression(node)
    else:
        arguments = ast.arguments(
            node.args.posonlyargs, [ast.arg(a.arg) for a in node.args.args], node.args.vararg,
            [ast.arg(a.arg) for a in node.args.kwonlyargs], [None] * len(node.args.kwonlyargs), node.args.kwarg, [],
        )  # fmt: skip
        tree = ast.Module([ast.copy_location(ast.FunctionDef(node.name, arguments, node.body, []), node)], [])
    ast.fix_missing_locations(tree)
    mode = "eval" if isinstance(node, ast.Lambda) else "exec"
    whole = compile(tree, path, mode, flags=annotations.compiler_flag, dont_inherit=True)
    return next(c for c in whole.co_consts if isinstance(c, types.CodeType))


def syntax_of(function: types.FunctionType) -> Function | None:
    """活着的函数 → 它的语法树；工厂造出来的（有自由变量的）没有单独的一段，返回 ``None``。"""
    code = function.__code__
    if code.co_freevars:
        return None
    nodes = _functions_in(code.co_filename).get(code.co_firstlineno, [])
    names = code.co_varnames[: code.co_argcount]
    nodes = [n for n in nodes if (getattr(n, "name", "<lambda>"), tuple(a.arg for a in n.args.args)) ==
             (code.co_name, names)]  # fmt: skip
    for node in nodes:
        again = compiled(node, code.co_filename)
        if len(nodes) == 1 or (again.co_code, again.co_names) == (code.co_code, code.co_names):
            return node
    return None


def op_targets() -> list[Target]:
    """前向、求导表、``joint``、``composed`` 与它们用到的私有函数；几个算子共用的只算一次。"""
    found: dict[types.FunctionType, Target] = {}
    for name, op in sorted(REGISTRY.items()):
        saves = () if op.variadic else ("y", *op.inputs)
        for label, group, function in _functions_of(op):
            _add(found, f"{name}.{label}", group, function, name, saves if group == "row" else ())
    for target in list(found.values()):
        for helper in _helpers(target.function):
            for owner in target.owners:
                _add(found, f"{helper.__module__.rpartition('.')[2]}.{helper.__name__}", "helper", helper, owner)
    return list(found.values())


def _functions_of(op: Op) -> Iterator[tuple[str, str, Any]]:
    for label in ("forward", "plain", "rebuild"):
        yield label, "forward", getattr(op, label)
    if op.joint is not None:
        yield "joint", "joint", op.joint
    else:
        for label, vjp in op.vjps.items():
            yield label, "row", vjp
    if op.composed is not None:
        yield "composed", "composed", op.composed


def _add(
    found: dict[types.FunctionType, Target], name: str, group: str, function: Any, owner: str,
    saves: tuple[str, ...] = (),
) -> None:  # fmt: skip
    if not isinstance(function, types.FunctionType):
        return
    if function in found:
        if owner not in found[function].owners:
            found[function].owners.append(owner)
        return
    node = syntax_of(function)
    if node is not None:
        found[function] = Target(name, group, node, function, [owner], saves)


def _helpers(function: types.FunctionType) -> list[types.FunctionType]:
    """同一个文件里被它用到的私有函数，由近及远。"""
    found: list[types.FunctionType] = []
    todo = [function]
    while todo:
        caller = todo.pop(0)
        for name in _names(caller.__code__):
            callee = caller.__globals__.get(name)
            if (
                isinstance(callee, types.FunctionType)
                and callee.__module__ == function.__module__
                and name.startswith("_")
                and callee not in found
            ):
                found.append(callee)
                todo.append(callee)
    return found


def _names(code: types.CodeType) -> list[str]:
    found = list(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            found += _names(constant)
    return found


def optimizer_targets() -> list[Target]:
    """各优化器的 ``update``，它们的私有函数，``arrays.py`` 里的几样，L-BFGS 的方向与线搜索。"""
    found: dict[types.FunctionType, Target] = {}
    classes = {n: c for n, c in sorted(vars(optim).items()) if inspect.isclass(c) and "update" in vars(c)}
    for name, one in classes.items():
        if name == "Optimizer":
            continue
        owners = ["Adam", "AdamW"] if name == "Adam" else [name]
        for owner in owners:
            _add(found, f"{name}.update", "optimizer", vars(one)["update"], owner)
            for helper in _helpers(vars(one)["update"]) + _shared(vars(one)["update"]):
                _add(found, f"{helper.__module__.rpartition('.')[2]}.{helper.__name__}", "optimizer", helper, owner)
    for place in (lbfgs._Search, lbfgs._History):
        for label, method in vars(place).items():
            if label != "__init__":
                _add(found, f"LBFGS.{place.__name__}.{label}", "optimizer", method, "LBFGS")
    for helper in _module_functions(line_search):
        _add(found, f"line_search.{helper.__name__}", "optimizer", helper, "LBFGS")
    return list(found.values())


def _shared(update: types.FunctionType) -> list[types.FunctionType]:
    """``update`` 从别的优化器文件借来的公式。"""
    names = [update.__globals__.get(n) for n in _names(update.__code__)]
    wanted: list[Any] = [arrays.lerp, arrays.decayed, arrays.advance]
    return [f for f in names if isinstance(f, types.FunctionType) and (f in wanted or _is_formula(f))]


def _is_formula(function: types.FunctionType) -> bool:
    return function.__module__.startswith(optim.__name__) and function.__module__ != arrays.__name__


def _module_functions(module: types.ModuleType) -> list[types.FunctionType]:
    return [f for f in vars(module).values() if isinstance(f, types.FunctionType) and f.__module__ == module.__name__]


def traversal_targets() -> list[Target]:
    """反传里还原形状与累加梯度的那几个函数。"""
    found: dict[types.FunctionType, Target] = {}
    for name in TRAVERSAL:
        _add(found, f"traversal.{name}", "traversal", getattr(traversal, name), "traversal")
    for name in TRAVERSAL_METHODS:
        _add(found, f"traversal.{name}", "traversal", vars(traversal.Traversal)[name], "traversal")
    return list(found.values())


FAMILIES: dict[str, Callable[[], list[Target]]] = {
    "ops": op_targets,
    "optim": optimizer_targets,
    "traversal": traversal_targets,
}
