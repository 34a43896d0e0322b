"""输入从哪里来：形状、旁边的 ``inputs()``、默认值、注解，依次取第一个有的。

流入：要检查的函数与命令行的选择；流出：一串有名字的输入。规矩写在包的文档里。下一站：``subject.py``。
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinygrad_llm.common.errors import UserError
from tinygrad_llm.ops.op import Array

DEFAULT_SHAPE = (2, 3)
_EMPTY = inspect.Parameter.empty
_SEVERAL = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


@dataclass(frozen=True)
class Draw:
    """没有给数时怎样取数。

    Attributes:
        seed: 种子。
        low: 均匀分布的下界；``None`` 则取标准正态数。
        high: 上界。
    """

    seed: int = 0
    low: float | None = None
    high: float | None = None

    def arrays(self, shapes: Sequence[tuple[int, ...]]) -> list[Array]:
        """各个形状的 float64 数组。"""
        rng = np.random.default_rng(self.seed)
        if self.low is None or self.high is None:
            return [np.asarray(rng.standard_normal(shape)) for shape in shapes]
        return [np.asarray(rng.uniform(self.low, self.high, shape)) for shape in shapes]

    def __str__(self) -> str:
        kind = "normal numbers" if self.low is None else f"numbers from {self.low:g} to {self.high:g}"
        return f"{kind}, seed {self.seed}"


@dataclass(frozen=True, eq=False)
class Chosen:
    """选定的输入。

    Attributes:
        names: 各输入的名字。
        values: 各输入：数组（浮点的要检查，除非在 ``constant`` 里），或别的值。
        constant: 哪几个不检查。
        origin: 它们从哪里来，一句英文。
    """

    names: list[str]
    values: list[Any]
    constant: frozenset[int]
    origin: str


def read_shapes(text: str) -> list[tuple[int, ...]]:
    """``"3,4 ()"`` → ``[(3, 4), ()]``。

    Raises:
        UserError: 写法不对。
    """
    try:
        shapes = [tuple(int(n) for n in word.strip("()").split(",") if n) for word in text.split()]
    except ValueError:
        shapes = []
    if not shapes or any(n < 0 for shape in shapes for n in shape):
        raise UserError(f'cannot read the shapes "{text}"', fix='write one per tensor, like --shapes "3,4 4,5 ()"')
    return shapes


def choose(
    function: Callable[..., Any], name: str, beside: Mapping[str, Any], shapes: str, draw: Draw, skip: int = 0
) -> Chosen:
    """选定 ``function`` 的输入。

    Args:
        function: 要检查的函数（模块则是它的 ``forward``）。
        name: 用户写的名字。
        beside: 定义它的文件里的名字，从中找 ``inputs()``。
        shapes: ``--shapes``；空则不用。
        draw: 怎样取数。
        skip: 略过最前面几个参数（``ctx``）。

    Raises:
        UserError: 选不出来。
    """
    maker = beside.get(f"{name}_inputs") or beside.get("inputs")
    if not shapes and callable(maker):
        made = maker()
        return given(function, made if isinstance(made, (tuple, list)) else [made], f"from {maker.__name__}()", skip)
    parameters = _parameters(function, skip)
    if parameters is None:
        if not shapes:
            raise UserError(f"{name} has no signature to read the inputs from", fix='give --shapes "3,4 4,5"')
        sizes = read_shapes(shapes)
        return Chosen([f"x{i}" for i in range(len(sizes))], list(draw.arrays(sizes)), frozenset(), str(draw))
    if shapes:
        return _shaped(name, parameters, read_shapes(shapes), draw)
    return _from_parameters(function, name, parameters, draw)


def given(function: Callable[..., Any], values: Sequence[Any], origin: str, skip: int = 0) -> Chosen:
    """用户给的输入：张量换成数组，名字取自函数的参数。"""
    parameters = _parameters(function, skip) or []
    several = [p for p in parameters if p.kind is inspect.Parameter.VAR_POSITIONAL]
    single = [p.name for p in parameters if p.kind not in _SEVERAL]
    names = [single[i] if i < len(single) else f"x{i}" for i in range(len(values))]
    if parameters and not several and len(values) > len(single):
        raise UserError(
            f"{len(values)} inputs for the {len(single)} parameters {', '.join(single)}", fix="give one for each"
        )
    asked = [i for i, value in enumerate(values) if getattr(value, "requires_grad", False)]
    constant = frozenset(range(len(values))) - frozenset(asked) if asked else frozenset()
    return Chosen(names, [as_array(value) for value in values], constant, origin)


def as_array(value: Any) -> Any:
    """任一引擎的张量 → NumPy 数组（浮点的成为 float64）；别的原样。"""
    if hasattr(value, "detach"):
        value = value.detach().numpy()
    if isinstance(value, np.ndarray):
        return value.astype(np.float64) if np.issubdtype(value.dtype, np.floating) else value.copy()
    return value


def _parameters(function: Callable[..., Any], skip: int) -> list[inspect.Parameter] | None:
    try:
        return list(inspect.signature(function).parameters.values())[skip:]
    except (TypeError, ValueError):  # 内建函数没有签名
        return None


def _is_array(value: Any) -> bool:
    return isinstance(value, np.ndarray) or hasattr(value, "detach")


def _shaped(name: str, parameters: list[inspect.Parameter], shapes: list[tuple[int, ...]], draw: Draw) -> Chosen:
    """``--shapes``：依次给位置参数；其余的要有默认值。"""
    slots = [p for p in parameters if p.kind not in (*_SEVERAL, inspect.Parameter.KEYWORD_ONLY)]
    takes_more = any(p.kind is inspect.Parameter.VAR_POSITIONAL for p in parameters)
    needed = [p.name for p in slots if p.default is _EMPTY]
    if len(shapes) < len(needed) or (len(shapes) > len(slots) and not takes_more):
        raise UserError(
            f"{name} takes {', '.join(p.name for p in slots) or 'no parameters'}, and --shapes gives {len(shapes)}",
            fix="give one shape for each tensor, in that order",
        )
    names = [slots[i].name if i < len(slots) else f"x{i}" for i in range(len(shapes))]
    return Chosen(names, list(draw.arrays(shapes)), frozenset(), str(draw))


def _from_parameters(
    function: Callable[..., Any], name: str, parameters: list[inspect.Parameter], draw: Draw
) -> Chosen:
    """默认值与注解。"""
    hints = _hints(function)
    names: list[str] = []
    values: list[Any] = []
    free: list[tuple[int, tuple[int, ...]]] = []
    for p in parameters:
        if p.kind in _SEVERAL or p.kind is inspect.Parameter.KEYWORD_ONLY:
            continue
        hint = hints.get(p.name)
        if p.default is not _EMPTY and not _is_array(p.default):
            break  # 后面的都有默认值，照旧
        if p.default is _EMPTY and hint in (int, float, bool, str):
            raise UserError(
                f"parameter {p.name} of {name} is a number without a default",
                fix=f"define inputs() beside {name}, returning a tuple of its inputs",
            )
        if p.default is _EMPTY:
            free.append((len(values), _annotated(hint)))
        names.append(p.name)
        values.append(None if p.default is _EMPTY else as_array(p.default))
    for (i, _), array in zip(free, draw.arrays([shape for _, shape in free]), strict=True):
        values[i] = array
    return Chosen(names, values, frozenset(), str(draw) if free else "from the parameters' defaults")


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function, include_extras=True)
    except (NameError, TypeError, AttributeError):  # 注解里的名字只供检查器用
        return {}


def _annotated(hint: Any) -> tuple[int, ...]:
    """``Annotated[Tensor, (3, 4)]`` → ``(3, 4)``；没有写的取缺省。"""
    for note in getattr(hint, "__metadata__", ()):
        if isinstance(note, tuple) and all(isinstance(n, int) for n in note):
            return note
    return DEFAULT_SHAPE
