"""程序即数据：叶子、步骤、输出；没有一行文本，所以能直接执行、改小、再印成代码。

流入：生成器挑出的算子与参数；流出：``Program``。下一站：``running.py`` 执行它，``writing.py`` 把它印成代码。
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

from parity_tests.strategies import Array


@dataclasses.dataclass(frozen=True)
class Ref:
    """引用一个变量。

    Attributes:
        id: 变量的编号。
    """

    id: int


@dataclasses.dataclass(frozen=True)
class Dtype:
    """引擎里的一个 dtype。

    Attributes:
        name: 如 ``float64``。
    """

    name: str


@dataclasses.dataclass(frozen=True, eq=False)
class Leaf:
    """一个叶子。

    Attributes:
        id: 变量的编号。
        values: float64、int64 或布尔的数组。
        dtype: 在引擎里的 dtype 的名字。
        requires_grad: 是否求导。
    """

    id: int
    values: Array
    dtype: str
    requires_grad: bool


@dataclasses.dataclass(frozen=True)
class Step:
    """一步：调用一个方法、函数或运算符，结果是变量 ``id``。

    Attributes:
        id: 变量的编号。
        target: ``.exp`` 是第一个实参的方法，``nn.functional.gelu`` 是引擎里的函数，``+``、``[]``、``[]=`` 是运算符。
        args: 位置实参：``Ref``、``Dtype``、Python 的数，或它们的元组、列表、切片。
        kwargs: 具名实参。
        no_grad: 在 ``no_grad`` 之内执行。
    """

    id: int
    target: str
    args: tuple[Any, ...]
    kwargs: tuple[tuple[str, Any], ...] = ()
    no_grad: bool = False

    @property
    def writes(self) -> bool:
        """这一步有没有副作用：删掉它，别的变量就变了。"""
        name = self.target.removeprefix(".")
        return self.target == "[]=" or name in AUGMENTED or name == "retain_grad" or name.endswith("_")


AUGMENTED = ("+=", "-=", "*=", "/=")

Node = Leaf | Step


@dataclasses.dataclass(frozen=True)
class Program:
    """一个程序。

    Attributes:
        nodes: 叶子与步骤，按执行的次序。
        outputs: （输出，乘在它上面的叶子）；损失是各对乘积之和的和。
        backward: ``loss`` 一次反传；``outputs`` 从几个输出各带着梯度反传；``twice`` 留着图反传两次；
            ``second`` 先用 ``create_graph`` 求一阶导，再对「损失加一阶导的平方和」反传。
        watched: 改小时必须留着的变量：不同就出在它身上。
    """

    nodes: tuple[Node, ...]
    outputs: tuple[tuple[int, int], ...]
    backward: str = "loss"
    watched: int = -1

    @property
    def steps(self) -> list[Step]:
        """全部步骤。"""
        return [node for node in self.nodes if isinstance(node, Step)]

    @property
    def leaves(self) -> list[Leaf]:
        """全部叶子。"""
        return [node for node in self.nodes if isinstance(node, Leaf)]


def references(value: Any) -> Iterator[int]:
    """一个实参里引用了哪些变量。"""
    if isinstance(value, Ref):
        yield value.id
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from references(item)


def used_by(step: Step) -> set[int]:
    """一步引用的全部变量。"""
    return {*references(step.args), *(one for _, value in step.kwargs for one in references(value))}


def mapped(value: Any, change: Callable[[Any], Any]) -> Any:
    """把一个实参里的 ``Ref`` 与 ``Dtype`` 逐个换掉，容器照旧。"""
    if isinstance(value, (Ref, Dtype)):
        return change(value)
    if isinstance(value, (tuple, list)):
        return type(value)(mapped(item, change) for item in value)
    return value


def without_unused(program: Program) -> Program:
    """去掉没有人用、也没有副作用的步骤与叶子。"""
    wanted = {program.watched, *(one for pair in program.outputs for one in pair)}
    kept: list[Node] = []
    for node in reversed(program.nodes):
        if node.id in wanted or (isinstance(node, Step) and node.writes):
            kept.append(node)
            if isinstance(node, Step):
                wanted |= used_by(node)
    return dataclasses.replace(program, nodes=tuple(reversed(kept)))
