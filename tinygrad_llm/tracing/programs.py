"""被追踪的程序：按玩具的名字或 ``FILE.py:FUNCTION`` 找到它，边运行边记录，再请 torch 算一遍。

流入：用户给的名字；流出：填好 ``torch_grad`` 的记录。程序是一个普通的文件，里面有一个不必给参数的函数；
它旁边的模块也照常导入。文件怎样装入见 ``loading.py``，torch 那一遍见 ``second_run.py``。
"""

from __future__ import annotations

import inspect
import random
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import numpy as np

import tinygrad_llm
from tinygrad_llm.common.errors import UserError
from tinygrad_llm.tracing import trace
from tinygrad_llm.tracing.loading import Source, loaded, own_line
from tinygrad_llm.tracing.second_run import fill_torch_gradients
from tinygrad_llm.tracing.toys import TOYS
from tinygrad_llm.tracing.trace import Trace

_TOYS = Path(__file__).with_name("toys")


@dataclass(frozen=True)
class Program:
    """一个可以追踪的程序。

    Attributes:
        source: 哪个文件。
        function: 其中的哪个函数；空串表示文件里只有一个，就用它。
        title: 记录的标题。
    """

    source: Source
    function: str
    title: str


def list_toys() -> list[tuple[str, str]]:
    """全部玩具：（名字，一句英文说明），由易到难。"""
    return list(TOYS.items())


def copy_toy(name: str, path: str | Path) -> Path:
    """把一个玩具存成自己的文件，随便改；改完用 ``trace FILE.py`` 运行。

    Args:
        name: 玩具的名字。
        path: 存到哪里，须以 ``.py`` 结尾，且还不存在。

    Returns:
        写好的文件。

    Raises:
        UserError: 没有这个玩具，或者不能写在那里。
    """
    target = Path(path)
    if name not in TOYS:
        raise _no_toy(name)
    if target.suffix != ".py":
        raise UserError(f'"{path}" is not the name of a Python file', fix=f"give one, such as my_{name}.py")
    if target.exists():
        raise UserError(f"{path} is already there and was not touched", fix="give another name, or delete it first")
    if not target.parent.is_dir():
        raise UserError(f"there is no folder {target.parent}", fix="create it, or give another place")
    shutil.copyfile(_TOYS / f"{name}.py", target)
    return target


def find_program(target: str) -> Program:
    """``NAME``、``FILE.py`` 或 ``FILE.py:FUNCTION`` 指的是哪个程序；文件此时还没有运行。

    Raises:
        UserError: 没有这样的玩具或文件。
    """
    if target in TOYS:
        return Program(Source(_TOYS / f"{target}.py"), target, target)
    text, colon, function = target.rpartition(":")
    if not colon or not text.endswith(".py"):
        text, function = target, ""
    if not text.endswith(".py"):
        raise _no_toy(target)
    path = Path(text)
    if not path.is_file():
        near = get_close_matches(path.name, [one.name for one in path.parent.glob("*.py")], n=1)
        hint = f'did you mean "{path.with_name(near[0])}"?' if near else "give the path of a Python file"
        raise UserError(f"there is no file {text}", where=f"the current folder is {Path.cwd()}", fix=hint)
    return Program(Source(path.resolve()), function, function or path.stem)


def run_program(target: str, *, composed: bool = False, limit: int = 4096, with_torch: bool = True) -> Trace:
    """运行一个程序，把整个计算记下来，再用 torch 把同一个文件运行一遍，填上它的梯度。

    Args:
        target: 同 ``find_program``。
        composed: 把融合算子拆成普通算子再记。
        limit: 至多几个元素的数组留下拷贝。
        with_torch: 是否也用 torch 运行。

    Returns:
        记录；torch 那一列没有填，或没有填全的，原因在 ``extensions["torch_note"]``。

    Raises:
        UserError: 找不到程序，或程序自己出了错；消息指出用户的哪一行。
    """
    program = find_program(target)
    with _explained(program), _seeded(tinygrad_llm), loaded(program.source) as module:
        function = _function(module, program)
        with trace(title=program.title, composed=composed, limit=limit) as found:
            function()
    found.origin = (target, composed)
    if not found.nodes:
        raise UserError(
            f"{target} computed nothing that can be traced",
            where=f"{program.source.name}: {function.__name__}()",
            fix="compute with tensors of tinygrad_llm inside the function",
        )
    if with_torch:
        with _same_seeds():
            note = fill_torch_gradients(found, program.source, function.__name__)
        if note:
            found.extensions["torch_note"] = note
    return found


def _function(module: ModuleType, program: Program) -> FunctionType:
    """文件里要运行的那个函数。"""
    file = program.source.name
    own = [one for one in vars(module).values() if isinstance(one, FunctionType) and one.__module__ == module.__name__]
    ready = [one.__name__ for one in own if not _required(one) and not one.__name__.startswith("_")]
    name = program.function or (ready[0] if len(ready) == 1 else program.source.path.stem)
    found = getattr(module, name, None)
    listed = ", ".join(ready) or "none"
    if found is None and not program.function:
        raise UserError(f"{file} has {len(ready)} functions to run: {listed}", fix=f"say which: {file}:FUNCTION")
    if not isinstance(found, FunctionType):
        near = get_close_matches(name, ready, n=1)
        hint = f'did you mean "{file}:{near[0]}"?' if near else f"functions to run in this file: {listed}"
        raise UserError(f"{file} has no function {name}", fix=hint)
    if _required(found):
        raise UserError(
            f"{name}() needs arguments: {', '.join(_required(found))}",
            where=f"{file}, line {found.__code__.co_firstlineno}",
            fix="give them defaults, or write a function without parameters that calls it",
        )
    return found


def _required(function: FunctionType) -> list[str]:
    """一个函数必须给的参数。"""
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    parameters = inspect.signature(function).parameters.values()
    return [one.name for one in parameters if one.default is one.empty and one.kind not in variadic]


def _no_toy(name: str) -> UserError:
    near = get_close_matches(name, TOYS, n=1)
    hint = f'did you mean "{near[0]}"? ' if near else ""
    return UserError(f'there is no toy model "{name}"', fix=f"{hint}use one of: {', '.join(TOYS)}; or FILE.py:FUNCTION")


@contextmanager
def _explained(program: Program) -> Iterator[None]:
    """用户的程序出的错，缩成三行：错误、用户自己的那一行、怎么办。"""
    try:
        yield
    except UserError:
        raise
    except SyntaxError as error:
        line = f", line {error.lineno}: {(error.text or '').strip()}" if error.lineno else ""
        file = Path(error.filename or program.source.name).name
        raise UserError(f"SyntaxError: {error.msg}", where=file + line, fix="correct that line") from error
    except (Exception, SystemExit) as error:
        first = str(error).strip().partition("\n")[0]
        fix = "correct that line, then run it again"
        if isinstance(error, ModuleNotFoundError):
            fix = f"install {error.name}, or put it beside {program.source.name}"
        raise UserError(f"{type(error).__name__}: {first}", where=own_line(error, program.source), fix=fix) from error


@contextmanager
def _seeded(library: Any) -> Iterator[None]:
    """之内的随机数从种子 0 开始；出来时各还原样。"""
    state = library.get_rng_state()
    try:
        with _same_seeds():
            library.manual_seed(0)
            yield
    finally:
        library.set_rng_state(state)


@contextmanager
def _same_seeds() -> Iterator[None]:
    """Python 与 NumPy 的随机数也从 0 开始，两遍才会用同样的数据。"""
    states = random.getstate(), np.random.get_state()
    random.seed(0)
    np.random.seed(0)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
