"""池化层与它们的逆，一到三维。

流入：窗口的大小等超参数；流出：Module。函数在 ``pooling.py``；输出长度给定的池化层在 ``adaptive_layers.py``。
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tinygrad_llm.nn import pooling as F
from tinygrad_llm.nn.module import Module
from tinygrad_llm.nn.windows import repeated
from tinygrad_llm.tensor import Tensor


class _MaxPool(Module):
    """最大池化层。

    Args:
        kernel_size: 窗口的长度。
        stride: 步长，缺省等于 ``kernel_size``。
        padding: 两侧补多少。
        dilation: 窗口内相邻两格的间隔。
        return_indices: 是否连下标一起返回。
        ceil_mode: 最后一个窗口能否伸出去。
    """

    function: Callable[..., Any]

    def __init__(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__()
        self.kernel_size, self.stride = kernel_size, kernel_size if stride is None else stride
        self.padding, self.dilation = padding, dilation
        self.return_indices, self.ceil_mode = return_indices, ceil_mode

    def forward(self, input: Tensor) -> Any:
        """每个窗口取最大值。"""
        settings = (self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode, self.return_indices)
        return type(self).function(input, *settings)

    def extra_repr(self) -> str:
        """打印窗口。"""
        return (
            f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, "
            f"dilation={self.dilation}, ceil_mode={self.ceil_mode}"
        )


class MaxPool1d(_MaxPool):
    """一维最大池化层，参数同 ``torch.nn.MaxPool1d``。"""

    function = F.max_pool1d


class MaxPool2d(_MaxPool):
    """二维最大池化层，参数同 ``torch.nn.MaxPool2d``。"""

    function = F.max_pool2d


class MaxPool3d(_MaxPool):
    """三维最大池化层，参数同 ``torch.nn.MaxPool3d``。"""

    function = F.max_pool3d


class _MaxUnpool(Module):
    """最大池化的逆。

    Args:
        kernel_size: 窗口的长度。
        stride: 步长，缺省等于 ``kernel_size``。
        padding: 池化时两侧补了多少。
    """

    axes = 0
    function: Callable[..., Tensor]

    def __init__(self, kernel_size: Any, stride: Any = None, padding: Any = 0) -> None:
        super().__init__()
        self.kernel_size = repeated(kernel_size, self.axes)
        self.stride = repeated(kernel_size if stride is None else stride, self.axes)
        self.padding = repeated(padding, self.axes)

    def forward(self, input: Tensor, indices: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        """值放回下标处，其余为 0。"""
        return type(self).function(input, indices, self.kernel_size, self.stride, self.padding, output_size)

    def extra_repr(self) -> str:
        """打印窗口。"""
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class MaxUnpool1d(_MaxUnpool):
    """一维最大池化的逆，参数同 ``torch.nn.MaxUnpool1d``。"""

    axes, function = 1, F.max_unpool1d


class MaxUnpool2d(_MaxUnpool):
    """二维最大池化的逆，参数同 ``torch.nn.MaxUnpool2d``。"""

    axes, function = 2, F.max_unpool2d


class MaxUnpool3d(_MaxUnpool):
    """三维最大池化的逆，参数同 ``torch.nn.MaxUnpool3d``。"""

    axes, function = 3, F.max_unpool3d


class _AvgPool(Module):
    """平均池化层。

    Args:
        kernel_size: 窗口的长度。
        stride: 步长，缺省等于 ``kernel_size``。
        padding: 两侧补多少零。
        ceil_mode: 最后一个窗口能否伸出去。
        count_include_pad: 补的零算不算个数。
        divisor_override: 代替个数作除数。
    """

    function: Callable[..., Tensor]

    def __init__(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> None:
        super().__init__()
        self.kernel_size, self.stride = kernel_size, kernel_size if stride is None else stride
        self.padding, self.ceil_mode = padding, ceil_mode
        self.count_include_pad, self.divisor_override = count_include_pad, divisor_override

    def forward(self, input: Tensor) -> Tensor:
        """每个窗口取平均。"""
        window = (self.kernel_size, self.stride, self.padding)
        return type(self).function(input, *window, self.ceil_mode, self.count_include_pad, self.divisor_override)

    def extra_repr(self) -> str:
        """打印窗口。"""
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class AvgPool1d(_AvgPool):
    """一维平均池化层，参数同 ``torch.nn.AvgPool1d``。"""

    def __init__(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        super().__init__(kernel_size, stride, padding, ceil_mode, count_include_pad)
        self.kernel_size, self.stride = repeated(self.kernel_size, 1), repeated(self.stride, 1)
        self.padding = repeated(padding, 1)

    def forward(self, input: Tensor) -> Tensor:
        """每个窗口取平均。"""
        window = (self.kernel_size, self.stride, self.padding)
        return F.avg_pool1d(input, *window, self.ceil_mode, self.count_include_pad)


class AvgPool2d(_AvgPool):
    """二维平均池化层，参数同 ``torch.nn.AvgPool2d``。"""

    function = F.avg_pool2d


class AvgPool3d(_AvgPool):
    """三维平均池化层，参数同 ``torch.nn.AvgPool3d``。"""

    function = F.avg_pool3d


class _LPPool(Module):
    """Lp 池化层。

    Args:
        norm_type: 幂次 p。
        kernel_size: 窗口的长度。
        stride: 步长，缺省等于 ``kernel_size``。
        ceil_mode: 最后一个窗口能否伸出去。
    """

    function: Callable[..., Tensor]

    def __init__(self, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False) -> None:
        super().__init__()
        self.norm_type, self.kernel_size, self.stride, self.ceil_mode = norm_type, kernel_size, stride, ceil_mode

    def forward(self, input: Tensor) -> Tensor:
        """窗口里 ``(Σ xᵖ)^(1/p)``。"""
        return type(self).function(input, float(self.norm_type), self.kernel_size, self.stride, self.ceil_mode)

    def extra_repr(self) -> str:
        """打印窗口。"""
        return (
            f"norm_type={self.norm_type}, kernel_size={self.kernel_size}, stride={self.stride}, "
            f"ceil_mode={self.ceil_mode}"
        )


class LPPool1d(_LPPool):
    """一维Lp 池化层，参数同 ``torch.nn.LPPool1d``。"""

    function = F.lp_pool1d


class LPPool2d(_LPPool):
    """二维Lp 池化层，参数同 ``torch.nn.LPPool2d``。"""

    function = F.lp_pool2d


class LPPool3d(_LPPool):
    """三维Lp 池化层，参数同 ``torch.nn.LPPool3d``。"""

    function = F.lp_pool3d
