"""换一组数，把一步重算一遍：前向是什么，反向的一条边又是什么。

流入：算子、属性、学习者（或某个错误）手里的数；流出：输出，以及「在 g 之下对第几个输入的 VJP」。
判分靠它认出「前面错了、这一步没错」，错误的目录靠它算出「犯了这个错会写下什么」。下一站：``context.py``。
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinygrad_llm.autograd.traversal import unbroadcast
from tinygrad_llm.ops.op import Op

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Call:
    """一次算子调用，输入可以换成别的数。

    Attributes:
        op: 算子。
        inputs: 各输入；没有给的是 ``None``。
        attrs: 算子的全部属性。
    """

    op: Op
    inputs: tuple[Any, ...]
    attrs: dict[str, Any]

    def replaced(self, **changes: Any) -> Call:
        """属性换掉几个。"""
        return Call(self.op, self.inputs, {**self.attrs, **changes})

    def with_inputs(self, inputs: Sequence[Any]) -> Call:
        """输入换成另一组。"""
        return Call(self.op, tuple(inputs), self.attrs)

    def forward(self) -> Array | None:
        """输出；这组数算不出来（形状不合）时为 ``None``。"""
        found = self._run()
        return None if found is None else found[0]

    def vjp(self, position: int, g: Array, y: Array | None = None, inputs: Sequence[Any] | None = None) -> Array | None:
        """对第 ``position`` 个输入的 VJP，广播的轴还没有求和。

        Args:
            position: 第几个输入。
            g: 输出的梯度。
            y: 求导表里的 ``y`` 用这个数；不给则用输入算出来的。
            inputs: 求导表里的输入用这些数；不给则用前向的输入。

        Returns:
            梯度；这组数算不出来时为 ``None``。
        """
        found = self._run()
        plan = self.op.plan(tuple(i == position for i in range(len(self.inputs))))
        if found is None or plan is None:
            return None
        output, kept = found
        shown = self.inputs if inputs is None else tuple(inputs)
        shapes = [np.shape(one) for one in self.inputs]
        attrs = [self.attrs[name] for name in self.op.attrs]
        pool = [*shown, output if y is None else y, shapes, plan.needs, lambda _: None, *attrs, *kept]
        saved = plan.pick(pool)
        try:
            with np.errstate(all="ignore"):
                for place, rule, _, slots in plan.rules:
                    result = rule(g, *[saved[slot] for slot in slots])
                    if plan.is_joint:
                        return None if result[position] is None else np.asarray(result[position])
                    if place == position:
                        return np.asarray(result)
        except (ValueError, TypeError, IndexError):  # 换进去的数形状不合：这样的错误在这一步不可能发生
            return None
        return None

    def gradient(self, position: int, g: Array, y: Array | None = None, inputs: Sequence[Any] | None = None) -> Any:
        """同 ``vjp``，但广播的轴已经求和：就是引擎要加上去的那一份。"""
        raw = self.vjp(position, g, y, inputs)
        return None if raw is None else summed(raw, np.shape(self.inputs[position]))

    def _run(self) -> tuple[Array, list[Any]] | None:
        try:
            with np.errstate(all="ignore"):
                found = self.op.forward(*self.inputs, **self.attrs)
        except (ValueError, TypeError, IndexError):
            return None
        if self.op.keeps and type(found) is tuple:
            return np.asarray(found[0]), list(found[1:])
        return np.asarray(found), []


def summed(raw: Array, shape: tuple[int, ...]) -> Array | None:
    """对广播的轴求和，还原成 ``shape``；还原不成时为 ``None``。"""
    try:
        return np.asarray(unbroadcast(raw, shape))
    except (ValueError, RuntimeError):
        return None
