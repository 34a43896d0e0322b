"""卷积层与转置卷积层；``Unfold`` 与 ``Fold``。

流入：超参数；流出：Module。初始化、名字与 torch 相同。函数在 ``convolution.py``。
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from tinygrad_llm.creation import empty
from tinygrad_llm.nn import convolution as F
from tinygrad_llm.nn import init
from tinygrad_llm.nn.module import Module, Parameter
from tinygrad_llm.nn.padding import pad
from tinygrad_llm.nn.windows import repeated
from tinygrad_llm.tensor import Tensor

PADDING_MODES = ("zeros", "reflect", "replicate", "circular")


class _Kernel(Module):
    """卷积与转置卷积共有的部分：一个核、一个偏置，同样的初始化。

    Attributes:
        axes: 空间轴数。
        weight: ``(O, C/groups, *核)``，转置时为 ``(C, O/groups, *核)``。
        bias: ``(O,)`` 或 ``None``。
    """

    axes = 0
    transposed = False

    def _build(self, shape: tuple[int, ...], bias: bool, device: Any, dtype: Any) -> None:
        self.weight = Parameter(empty(shape, device=device, dtype=dtype))
        if bias:
            self.bias = Parameter(empty(self.out_channels, device=device, dtype=dtype))
        else:
            self.register_parameter("bias", None)
        self.reset_parameters()

    def _set_channels(self, in_channels: int, out_channels: int, groups: int) -> None:
        if groups <= 0:
            raise ValueError("groups must be a positive integer")
        if in_channels % groups or out_channels % groups:
            raise ValueError(f"in_channels {in_channels} and out_channels {out_channels} must be divisible by {groups}")
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups

    def _set_window(self, kernel_size: Any, stride: Any, padding: Any, dilation: Any, output_padding: Any) -> None:
        self.kernel_size, self.stride = repeated(kernel_size, self.axes), repeated(stride, self.axes)
        self.padding = padding if isinstance(padding, str) else repeated(padding, self.axes)
        self.dilation, self.output_padding = repeated(dilation, self.axes), repeated(output_padding, self.axes)

    def reset_parameters(self) -> None:
        """``U(-1/√fan_in, 1/√fan_in)``，与 torch 相同。"""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            fan_in = math.prod(self.weight.array.shape[1:])
            bound = 1 / math.sqrt(fan_in) if fan_in else 0.0
            init.uniform_(self.bias, -bound, bound)

    def extra_repr(self) -> str:
        """打印形状与非缺省的参数。"""
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        for name, usual in (("padding", 0), ("dilation", 1), ("output_padding", 0)):
            value = getattr(self, name)
            text += "" if value == (usual,) * len(value) else f", {name}={value}"
        text += "" if self.groups == 1 else f", groups={self.groups}"
        text += "" if self.bias is not None else ", bias=False"
        return text + ("" if self.padding_mode == "zeros" else f", padding_mode={self.padding_mode}")


class _Convolution(_Kernel):
    """卷积层。"""

    function: Callable[..., Tensor]

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self._set_channels(in_channels, out_channels, groups)
        self._set_window(kernel_size, stride, padding, dilation, 0)
        if padding_mode not in PADDING_MODES:
            raise ValueError(f"padding_mode must be one of {PADDING_MODES}, but got {padding_mode!r}")
        if isinstance(padding, str) and padding not in ("same", "valid"):
            raise ValueError(f"Invalid padding string {padding!r}, should be 'same' or 'valid'")
        if padding == "same" and any(step != 1 for step in self.stride):
            raise ValueError("padding='same' is not supported for strided convolutions")
        self.padding_mode = padding_mode
        self._build((out_channels, in_channels // groups, *self.kernel_size), bias, device, dtype)

    def forward(self, input: Tensor) -> Tensor:
        """``(N, C, *空间) → (N, O, *空间)``；批次轴可以没有。"""
        return self._conv_forward(input, self.weight, self.bias)

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """换一个核来卷：LoRA 与权重标准化的子类用这个名字。"""
        padding = self.padding
        if self.padding_mode != "zeros":
            input, padding = pad(input, self._margins(), self.padding_mode), 0
        return type(self).function(input, weight, bias, self.stride, padding, self.dilation, self.groups)

    def _margins(self) -> list[int]:
        """``pad`` 的写法：从最后一轴往前，每轴前后各补多少。"""
        if not isinstance(self.padding, str):
            return [p for p in reversed(self.padding) for _ in range(2)]
        total = [d * (k - 1) * (self.padding == "same") for d, k in zip(self.dilation, self.kernel_size, strict=True)]
        return [side for t in reversed(total) for side in (t // 2, t - t // 2)]


class Conv1d(_Convolution):
    """一维卷积层，参数同 ``torch.nn.Conv1d``。"""

    axes, function = 1, F.conv1d


class Conv2d(_Convolution):
    """二维卷积层，参数同 ``torch.nn.Conv2d``。"""

    axes, function = 2, F.conv2d


class Conv3d(_Convolution):
    """三维卷积层，参数同 ``torch.nn.Conv3d``。"""

    axes, function = 3, F.conv3d


class _Transposed(_Kernel):
    """转置卷积层。"""

    transposed = True
    function: Callable[..., Tensor]

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        output_padding: Any = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Any = 1,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        if padding_mode != "zeros":
            raise ValueError(f'Only "zeros" padding mode is supported for {type(self).__name__}')
        super().__init__()
        self._set_channels(in_channels, out_channels, groups)
        self._set_window(kernel_size, stride, padding, dilation, output_padding)
        self.padding_mode = padding_mode
        self._build((in_channels, out_channels // groups, *self.kernel_size), bias, device, dtype)

    def forward(self, input: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        """``(N, C, *空间) → (N, O, *空间)``；``output_size`` 在几个可能的长度里指定一个。

        Raises:
            ValueError: ``output_size`` 不在可能的范围里。
        """
        extra = self.output_padding if output_size is None else self._extra(input, list(output_size))
        return type(self).function(
            input, self.weight, self.bias, self.stride, self.padding, extra, self.groups, self.dilation
        )

    def _extra(self, input: Tensor, wanted: list[int]) -> list[int]:
        lead = input.array.ndim - self.axes
        wanted = wanted[lead:] if len(wanted) == lead + self.axes else wanted
        if len(wanted) != self.axes:
            raise ValueError(f"output_size must have {self.axes} or {lead + self.axes} elements, got {len(wanted)}")
        settings = zip(
            input.array.shape[lead:], self.stride, self.padding, self.dilation, self.kernel_size, strict=True
        )
        least = [(n - 1) * s - 2 * p + d * (k - 1) + 1 for n, s, p, d, k in settings]
        extra = [w - m for w, m in zip(wanted, least, strict=True)]
        if any(not 0 <= e < s for e, s in zip(extra, self.stride, strict=True)):
            raise ValueError(
                f"requested an output size of {wanted}, but valid sizes start at {least} (stride {self.stride})"
            )
        return extra


class ConvTranspose1d(_Transposed):
    """一维转置卷积层，参数同 ``torch.nn.ConvTranspose1d``。"""

    axes, function = 1, F.conv_transpose1d


class ConvTranspose2d(_Transposed):
    """二维转置卷积层，参数同 ``torch.nn.ConvTranspose2d``。"""

    axes, function = 2, F.conv_transpose2d


class ConvTranspose3d(_Transposed):
    """三维转置卷积层，参数同 ``torch.nn.ConvTranspose3d``。"""

    axes, function = 3, F.conv_transpose3d


class Unfold(Module):
    """取出全部二维窗口，参数同 ``F.unfold``。"""

    def __init__(self, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> None:
        super().__init__()
        self.kernel_size, self.dilation, self.padding, self.stride = kernel_size, dilation, padding, stride

    def forward(self, input: Tensor) -> Tensor:
        """``(N, C, H, W) → (N, C·kH·kW, L)``。"""
        return F.unfold(input, self.kernel_size, self.dilation, self.padding, self.stride)

    def extra_repr(self) -> str:
        """打印窗口。"""
        return f"kernel_size={self.kernel_size}, dilation={self.dilation}, padding={self.padding}, stride={self.stride}"


class Fold(Module):
    """把窗口加回原位，参数同 ``F.fold``。"""

    def __init__(
        self, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1
    ) -> None:
        super().__init__()
        self.output_size = output_size
        self.kernel_size, self.dilation, self.padding, self.stride = kernel_size, dilation, padding, stride

    def forward(self, input: Tensor) -> Tensor:
        """``(N, C·kH·kW, L) → (N, C, H, W)``。"""
        return F.fold(input, self.output_size, self.kernel_size, self.dilation, self.padding, self.stride)

    def extra_repr(self) -> str:
        """打印窗口与输出的大小。"""
        return (
            f"output_size={self.output_size}, kernel_size={self.kernel_size}, "
            f"dilation={self.dilation}, padding={self.padding}, stride={self.stride}"
        )
