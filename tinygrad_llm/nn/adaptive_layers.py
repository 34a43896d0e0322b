"""输出长度给定的池化层：adaptive 与 fractional。

流入：输出的空间形状；流出：Module。函数在 ``adaptive.py``。
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tinygrad_llm.nn import adaptive as F
from tinygrad_llm.nn.module import Module
from tinygrad_llm.nn.windows import repeated
from tinygrad_llm.tensor import Tensor


class _AdaptiveAvgPool(Module):
    """输出长度给定的平均池化层。

    Args:
        output_size: 输出的空间形状；二维以上可以用 ``None`` 表示该轴不变。
    """

    function: Callable[..., Tensor]

    def __init__(self, output_size: Any) -> None:
        super().__init__()
        self.output_size = output_size

    def forward(self, input: Tensor) -> Tensor:
        """池化到 ``output_size``。"""
        return type(self).function(input, self.output_size)

    def extra_repr(self) -> str:
        """打印输出的空间形状。"""
        return f"output_size={self.output_size}"


class AdaptiveAvgPool1d(_AdaptiveAvgPool):
    """一维自适应平均池化层，参数同 ``torch.nn.AdaptiveAvgPool1d``。"""

    function = F.adaptive_avg_pool1d


class AdaptiveAvgPool2d(_AdaptiveAvgPool):
    """二维自适应平均池化层，参数同 ``torch.nn.AdaptiveAvgPool2d``。"""

    function = F.adaptive_avg_pool2d


class AdaptiveAvgPool3d(_AdaptiveAvgPool):
    """三维自适应平均池化层，参数同 ``torch.nn.AdaptiveAvgPool3d``。"""

    function = F.adaptive_avg_pool3d


class _AdaptiveMaxPool(Module):
    """输出长度给定的最大池化层。

    Args:
        output_size: 输出的空间形状；二维以上可以用 ``None`` 表示该轴不变。
        return_indices: 是否连下标一起返回。
    """

    function: Callable[..., Any]

    def __init__(self, output_size: Any, return_indices: bool = False) -> None:
        super().__init__()
        self.output_size, self.return_indices = output_size, return_indices

    def forward(self, input: Tensor) -> Any:
        """池化到 ``output_size``。"""
        return type(self).function(input, self.output_size, self.return_indices)

    def extra_repr(self) -> str:
        """打印输出的空间形状。"""
        return f"output_size={self.output_size}"


class AdaptiveMaxPool1d(_AdaptiveMaxPool):
    """一维自适应最大池化层，参数同 ``torch.nn.AdaptiveMaxPool1d``。"""

    function = F.adaptive_max_pool1d


class AdaptiveMaxPool2d(_AdaptiveMaxPool):
    """二维自适应最大池化层，参数同 ``torch.nn.AdaptiveMaxPool2d``。"""

    function = F.adaptive_max_pool2d


class AdaptiveMaxPool3d(_AdaptiveMaxPool):
    """三维自适应最大池化层，参数同 ``torch.nn.AdaptiveMaxPool3d``。"""

    function = F.adaptive_max_pool3d


class _FractionalMaxPool(Module):
    """分数最大池化层：窗口的起点是随机的。

    Args:
        kernel_size: 窗口的长度。
        output_size: 输出的空间形状。
        output_ratio: 输出与输入的长度之比，与 ``output_size`` 二选一。
        return_indices: 是否连下标一起返回。
        _random_samples: 指定随机数，``(N, C, 空间轴数)``。
    """

    axes = 0
    function: Callable[..., Any]

    def __init__(
        self,
        kernel_size: Any,
        output_size: Any = None,
        output_ratio: Any = None,
        return_indices: bool = False,
        _random_samples: Tensor | None = None,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        self.kernel_size, self.return_indices = repeated(kernel_size, self.axes), return_indices
        self.register_buffer("_random_samples", _random_samples)
        self.output_size = None if output_size is None else repeated(output_size, self.axes)
        self.output_ratio = None if output_ratio is None else repeated(output_ratio, self.axes)
        if (output_size is None) == (output_ratio is None):
            raise ValueError(f"{name} requires exactly one of output_size and output_ratio")
        if self.output_ratio is not None and not all(0 < ratio < 1 for ratio in self.output_ratio):
            raise ValueError(f"output_ratio must be between 0 and 1 (got {output_ratio})")

    def forward(self, input: Tensor) -> Any:
        """池化到给定的形状。"""
        size = (self.kernel_size, self.output_size, self.output_ratio)
        return type(self).function(input, *size, self.return_indices, self._random_samples)


class FractionalMaxPool2d(_FractionalMaxPool):
    """二维分数最大池化层，参数同 ``torch.nn.FractionalMaxPool2d``。"""

    axes, function = 2, F.fractional_max_pool2d


class FractionalMaxPool3d(_FractionalMaxPool):
    """三维分数最大池化层，参数同 ``torch.nn.FractionalMaxPool3d``。"""

    axes, function = 3, F.fractional_max_pool3d
