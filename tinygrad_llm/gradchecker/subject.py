"""要检查的东西：哪个引擎写的、有哪些变量、怎样算一遍。

流入：``FILE.py:NAME`` 或 ``pkg.mod:NAME``，与选定的输入；流出：一个 ``Subject``，不再分函数、模块与 ``Function``。
下一站：``jacobians.py``。
"""

from __future__ import annotations

import ast
import importlib
import inspect
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import CellType, CodeType, ModuleType
from typing import Any

import numpy as np

from tinygrad_llm.common.errors import UserError
from tinygrad_llm.gradchecker.inputs import Chosen, Draw, as_array, choose, given
from tinygrad_llm.ops.op import Op
from tinygrad_llm.tracing.loading import Source, loaded

ENGINES = ("tinygrad_llm", "torch")


@dataclass(frozen=True, eq=False)
class Target:
    """用户指的那个名字。

    Attributes:
        value: 函数、类或模块的实例。
        name: 名字。
        beside: 同一个文件里的名字。
    """

    value: Any
    name: str
    beside: dict[str, Any]


@dataclass(frozen=True, eq=False)
class Subject:
    """可以反复算的函数。

    Attributes:
        m: 引擎：``tinygrad_llm`` 或 ``torch`` 这个包。
        name: 名字。
        variables: 名字到要检查的叶子，float64；改写其中的数，``run`` 就算另一处。
        run: 算一遍，得到全部浮点输出。
        chosen: 选定的输入。
        module: 检查的是模块时，它的实例。
    """

    m: Any
    name: str
    variables: dict[str, Any]
    run: Callable[[], list[Any]]
    chosen: Chosen
    module: Any = None


@contextmanager
def opened(where: str) -> Iterator[Target]:
    """装入 ``FILE.py:NAME`` 或 ``pkg.mod:NAME``；``with`` 之内可以用。

    Raises:
        UserError: 没有这个文件、模块或名字。
    """
    place, _, name = where.rpartition(":")
    if not place or not name:
        raise UserError(f'cannot read "{where}"', fix="write FILE.py:NAME or pkg.mod:NAME")
    if place.endswith(".py"):
        path = Path(place).resolve()
        if not path.is_file():
            raise UserError(f"no such file: {place}", fix="write FILE.py:NAME, from the folder you are in")
        with loaded(Source(path)) as module:
            yield _picked(module, name, place)
        return
    sys.path.insert(0, str(Path.cwd()))
    try:
        try:
            module = importlib.import_module(place)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{place}.".startswith(f"{error.name}."):
                raise
            raise UserError(f"no module {place}", fix="write FILE.py:NAME or pkg.mod:NAME") from None
        yield _picked(module, name, place)
    finally:
        sys.path.remove(str(Path.cwd()))


def _picked(module: ModuleType, name: str, place: str) -> Target:
    value: Any = module
    for part in name.split("."):
        if not hasattr(value, part):
            known = [
                n for n, v in vars(module).items() if callable(v) and getattr(v, "__module__", "") == module.__name__
            ]
            raise UserError(f"{place} has no {name}", fix=f"it has {', '.join(known[:8]) or 'no functions'}")
        value = getattr(value, part)
    if not callable(value):
        raise UserError(f"{name} in {place} is not callable", fix="name a function, an nn.Module or a Function")
    return Target(value, name.rpartition(".")[2], vars(module))


def engine_behind(target: Target) -> Any:
    """写它用的是哪个引擎：看它自己、它的基类与它用到的名字；都看不出就用 NumPy 引擎。"""
    for name in _tops(target.value, set()):
        if name in ENGINES:
            return importlib.import_module(name)
    return importlib.import_module(ENGINES[0])


def _tops(value: Any, seen: set[int]) -> Iterator[str]:
    """``value`` 涉及的各个顶层包，由近及远。"""
    if id(value) in seen:
        return
    seen.add(id(value))
    kind = value if isinstance(value, type) else type(value)
    for base in kind.__mro__:
        yield base.__module__.partition(".")[0]
    if isinstance(value, ModuleType):
        yield value.__name__.partition(".")[0]
    yield str(getattr(value, "__module__", "")).partition(".")[0]
    function = inspect.unwrap(getattr(value, "func", value)) if callable(value) else value
    code, names = getattr(function, "__code__", None), getattr(function, "__globals__", {})
    if code is None:
        return
    held = [cell.cell_contents for cell in getattr(function, "__closure__", None) or () if not _is_blank(cell)]
    for one in (*held, *(getattr(function, "__defaults__", None) or ())):
        yield from _tops(one, seen)
    used = list(_names(code))
    for name in [*used, *map(str, getattr(function, "__annotations__", {}).values())]:
        held_by = names.get(name.partition(".")[0])
        if held_by is None:
            continue
        yield from _tops(held_by, seen)
        if isinstance(held_by, ModuleType) and held_by.__name__.partition(".")[0] not in (*ENGINES, "numpy"):
            for inner in used:  # 用户自己的另一个文件：helper.norm(x) 里的 norm
                yield from _tops(vars(held_by).get(inner), seen)


def _is_blank(cell: CellType) -> bool:
    """闭包的变量还没有赋值。"""
    return cell == CellType()


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def subject(
    target: Target,
    *,
    shapes: str = "",
    draw: Draw | None = None,
    init: str = "",
    values: Sequence[Any] | None = None,
    chosen: Chosen | None = None,
) -> Subject:
    """备好输入与变量。

    Args:
        target: 要检查的。
        shapes: ``--shapes``。
        draw: 怎样取数。
        init: 构造函数的参数，写作调用时括号里的样子。
        values: 现成的输入；``None`` 则照规矩选。
        chosen: 已经选定的输入。

    Raises:
        UserError: 输入选不出来，或构造不成。
    """
    draw, m = draw or Draw(), engine_behind(target)
    skip, module = 0, None
    call: Any = target.value
    read: Any = call.forward if isinstance(call, Op) else call
    is_class = isinstance(target.value, type)
    if is_class and issubclass(target.value, m.autograd.Function):
        has_context = call.setup_context is m.autograd.Function.setup_context
        call, read, skip = call.apply, call.forward, int(has_context)
    elif isinstance(target.value, m.nn.Module) or (is_class and issubclass(target.value, m.nn.Module)):
        m.manual_seed(draw.seed)
        module = (constructed(call, init) if is_class else call).double()
        call, read = module, module.forward
    if chosen is None and values is not None:
        chosen = given(read, values, "as given", skip)
    elif chosen is None:
        chosen = choose(read, target.name, target.beside, shapes, draw, skip)
    return _assembled(m, target.name, call, chosen, module)


def constructed(kind: type, init: str) -> Any:
    """``Linear`` 与 ``"8, 4, bias=False"`` → 一个实例。

    Raises:
        UserError: 写法不对，或构造函数不接受。
    """
    try:
        call: Any = ast.parse(f"f({init})", mode="eval").body
        words = {k.arg: ast.literal_eval(k.value) for k in call.keywords if k.arg}
        return kind(*(ast.literal_eval(one) for one in call.args), **words)
    except (SyntaxError, ValueError, TypeError) as error:
        raise UserError(
            f"cannot construct {kind.__name__}({init}): {_first_line(error)}",
            fix='give its arguments like --init "8, 4, bias=False", or name an instance',
        ) from None


def _assembled(m: Any, name: str, call: Callable[..., Any], chosen: Chosen, module: Any) -> Subject:
    args: list[Any] = []
    variables: dict[str, Any] = {}
    for i, (label, value) in enumerate(zip(chosen.names, chosen.values, strict=True)):
        if isinstance(value, np.ndarray):
            is_checked = i not in chosen.constant and np.issubdtype(value.dtype, np.floating)
            value = m.tensor(value, requires_grad=True) if is_checked else m.tensor(value)
            if is_checked:
                variables[label] = value
        args.append(value)
    if module is not None:
        variables.update({n: p for n, p in module.named_parameters() if p.requires_grad})
    if not variables:
        raise UserError(f"{name} has no floating input to differentiate", fix='give --shapes "3,4", or define inputs()')
    return Subject(m, name, variables, lambda: floating(call(*args)), chosen, module)


def floating(result: Any) -> list[Any]:
    """结果里的浮点张量，依次。"""
    if isinstance(result, dict):
        return [y for value in result.values() for y in floating(value)]
    if isinstance(result, (tuple, list)):
        return [y for value in result for y in floating(value)]
    return [result] if hasattr(result, "is_floating_point") and result.is_floating_point() else []


def twin(target: Target, ours: Subject, init: str) -> Subject:
    """另一个引擎写的同一个函数，用同样的输入；模块的参数按名字抄过去。

    Raises:
        UserError: 参数的名字或形状对不上。
    """
    made = subject(target, init=init, chosen=ours.chosen)
    own = [] if ours.module is None else [n for n in ours.variables if n not in ours.chosen.names]
    if own and made.module is None:
        raise UserError(f"{ours.name} is a module and {target.name} is none", fix="name a module as the twin")
    for name in own:
        there = made.variables.get(name)
        here = as_array(ours.variables[name])
        if there is None or tuple(there.shape) != here.shape:
            raise UserError(f"the twin {target.name} has no parameter {name} of shape {here.shape}")
        with made.m.no_grad():
            there.copy_(made.m.tensor(here))
    return made


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0]
