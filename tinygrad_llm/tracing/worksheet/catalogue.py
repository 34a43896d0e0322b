"""错误的目录：每一种常见的错误有名字、改法，以及「犯了它会写下什么数」。

流入：一格的处境（``Case``）；流出：各种错误会得到的数。判分时拿学习者的数一一对照，说出像是哪一种。
目录的各行写在 ``mistakes/`` 里，一族一个文件。下一站：``mistakes/anywhere.py``。
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tinygrad_llm.tracing.worksheet.replay import Call, summed
from tinygrad_llm.tracing.worksheet.titles import TITLES

Array = NDArray[Any]

FORWARD, LOCAL, CONTRIBUTION, SUM, FINAL = "F", "D", "C", "S", "G"
"""格的种类：前向的值、局部导数、贡献、到此为止的和、最终梯度；也是格的编号的第一个字母。"""


@dataclass(frozen=True, eq=False)
class Case:
    """一格的处境：该算什么，手里有哪些数。

    Attributes:
        kind: 格的种类。
        correct: 用手里的数算，这一格应当是多少。
        call: 这一步的算子与手里的输入；求和的格没有。
        position: 对第几个输入求导；前向的格是 -1。
        g: 手里的输出的梯度；局部导数的格是全 1。
        y: 手里的输出；前向的格没有。
        incoming: 局部导数的格：这一步真正收到的梯度。
        contributions: 求和的格：加进来的各份贡献，按先后。
        written: 学习者写下的数；形状不对时是 ``None``。
        unit: 写到的那一位的大小，形状同 ``written``。
        swapped: 与这一格互相填反了的那些格的数。
        elsewhere: 别的格的数。
    """

    kind: str
    correct: Array
    call: Call | None = None
    position: int = -1
    g: Array | None = None
    y: Array | None = None
    incoming: Array | None = None
    contributions: tuple[Array, ...] = ()
    written: Array | None = None
    unit: Array | None = None
    swapped: tuple[Array, ...] = ()
    elsewhere: tuple[Array, ...] = ()

    @property
    def op(self) -> str:
        """算子名；求和的格是空的。"""
        return "" if self.call is None else self.call.op.name

    @property
    def inputs(self) -> tuple[Any, ...]:
        """手里的各输入。"""
        return () if self.call is None else self.call.inputs

    @property
    def attrs(self) -> dict[str, Any]:
        """算子的属性。"""
        return {} if self.call is None else self.call.attrs

    def edge(self, g: Array | None = None, y: Array | None = None, inputs: Any = None) -> Iterator[Array]:
        """求导表的这一行，换掉 ``g``、``y`` 或输入之后得到的数。"""
        assert self.call is not None
        if self.g is not None:
            raw = self.call.vjp(self.position, self.g if g is None else g, self.y if y is None else y, inputs)
            if raw is not None:
                yield from self.fit(raw)

    def fit(self, raw: Array) -> Iterator[Array]:
        """广播之后的形状 → 这一格要填的形状：贡献要对广播的轴求和，局部导数不求。"""
        if self.kind == LOCAL:
            if raw.shape != self.correct.shape:
                raw = np.broadcast_to(raw, self.correct.shape) if not raw.shape else raw
            yield raw
            return
        found = summed(raw, self.correct.shape)
        if found is not None:
            yield found


Finder = Callable[[Case], Iterator[Array]]


class Row(NamedTuple):
    """目录的一行。

    Attributes:
        id: 错误的名字，见 ``titles.py``。
        kinds: 在哪几种格里可能犯。
        find: 处境 → 犯了这个错会写下的数；不可能犯就什么也不给。
    """

    id: str
    kinds: str
    find: Finder

    def candidates(self, case: Case) -> Iterator[Array]:
        """犯了这个错会写下的数。"""
        if case.kind in self.kinds:
            with np.errstate(all="ignore"):
                yield from self.find(case)


ROWS: list[Row] = []
"""全部的行；同一种错误在不同的算子上写法不同，各占一行。"""


def mistake(id: str, *, on: str) -> Callable[[Finder], Finder]:
    """登记目录的一行：被装饰的函数从处境算出犯错的人会写下的数。

    Args:
        id: 错误的名字。
        on: 可能犯它的格的种类，如 ``"DC"``。

    Returns:
        装饰器。

    Raises:
        KeyError: ``titles.py`` 里没有这个名字。
    """
    TITLES[id]

    def register(find: Finder) -> Finder:
        ROWS.append(Row(id, on, find))
        return find

    return register
