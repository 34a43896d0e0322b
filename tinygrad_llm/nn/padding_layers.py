"""补边层：四种模式，各有一到三维。

流入：各轴补多少；流出：Module。函数在 ``padding.py``。
"""

from __future__ import annotations

from typing import Any

from tinygrad_llm.nn.module import Module
from tinygrad_llm.nn.padding import pad
from tinygrad_llm.nn.windows import repeated
from tinygrad_llm.tensor import Tensor


class _Pad(Module):
    """补边层。

    Args:
        padding: 每边同样多，或从最后一轴往前的 ``(左, 右, 上, 下, …)``。
    """

    axes = 0
    mode = ""

    def __init__(self, padding: Any) -> None:
        super().__init__()
        self.padding = repeated(padding, 2 * self.axes)

    def forward(self, input: Tensor) -> Tensor:
        """补边。"""
        return pad(input, self.padding, self.mode)

    def extra_repr(self) -> str:
        """打印补多少。"""
        return f"{self.padding}"


class ReflectionPad1d(_Pad):
    """一维镜像补边，边上的点不重复。"""

    axes, mode = 1, "reflect"


class ReflectionPad2d(_Pad):
    """二维镜像补边，边上的点不重复。"""

    axes, mode = 2, "reflect"


class ReflectionPad3d(_Pad):
    """三维镜像补边，边上的点不重复。"""

    axes, mode = 3, "reflect"


class ReplicationPad1d(_Pad):
    """一维复制补边：重复边上的点。"""

    axes, mode = 1, "replicate"


class ReplicationPad2d(_Pad):
    """二维复制补边：重复边上的点。"""

    axes, mode = 2, "replicate"


class ReplicationPad3d(_Pad):
    """三维复制补边：重复边上的点。"""

    axes, mode = 3, "replicate"


class _CircularPad(_Pad):
    """循环补边；与 torch 一样先检查轴数。"""

    mode = "circular"

    def forward(self, input: Tensor) -> Tensor:
        """补边。

        Raises:
            ValueError: 轴数不对。
        """
        if input.array.ndim not in (self.axes + 1, self.axes + 2):
            raise ValueError(f"expected {self.axes + 1}D or {self.axes + 2}D input (got {input.array.ndim}D input)")
        return super().forward(input)


class CircularPad1d(_CircularPad):
    """一维循环补边：首尾相接。"""

    axes = 1


class CircularPad2d(_CircularPad):
    """二维循环补边：首尾相接。"""

    axes = 2


class CircularPad3d(_CircularPad):
    """三维循环补边：首尾相接。"""

    axes = 3


class _ConstantPad(_Pad):
    """常数补边。

    Args:
        padding: 每边同样多，或从最后一轴往前的 ``(左, 右, 上, 下, …)``。
        value: 补上的值。
    """

    def __init__(self, padding: Any, value: float) -> None:
        super().__init__(padding)
        self.value = value

    def forward(self, input: Tensor) -> Tensor:
        """补边。"""
        return pad(input, self.padding, "constant", self.value)

    def extra_repr(self) -> str:
        """打印补多少、补什么。"""
        return f"padding={self.padding}, value={self.value}"


class ConstantPad1d(_ConstantPad):
    """一维常数补边。"""

    axes = 1


class ConstantPad2d(_ConstantPad):
    """二维常数补边。"""

    axes = 2


class ConstantPad3d(_ConstantPad):
    """三维常数补边。"""

    axes = 3


class _ZeroPad(_ConstantPad):
    """补零。"""

    def __init__(self, padding: Any) -> None:
        super().__init__(padding, 0.0)

    def extra_repr(self) -> str:
        """打印补多少。"""
        return f"{self.padding}"


class ZeroPad1d(_ZeroPad):
    """一维补零。"""

    axes = 1


class ZeroPad2d(_ZeroPad):
    """二维补零。"""

    axes = 2


class ZeroPad3d(_ZeroPad):
    """三维补零。"""

    axes = 3
