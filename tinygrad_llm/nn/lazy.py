"""``LazyLinear`` 等：输入的宽度不写，第一次前向时从输入里看出来，之后就变成普通的那一层。

流入：输出的宽度等超参数；流出：Module。参数在那之前是 ``UninitializedParameter``，见 ``parameter.py``。
"""

from __future__ import annotations

from typing import Any

from tinygrad_llm.autograd import no_grad
from tinygrad_llm.creation import tensor
from tinygrad_llm.nn.convolution_layers import (
    Conv1d,
    Conv2d,
    Conv3d,
    ConvTranspose1d,
    ConvTranspose2d,
    ConvTranspose3d,
)
from tinygrad_llm.nn.layers import Linear
from tinygrad_llm.nn.normalization_layers import (
    BatchNorm1d,
    BatchNorm2d,
    BatchNorm3d,
    InstanceNorm1d,
    InstanceNorm2d,
    InstanceNorm3d,
)
from tinygrad_llm.nn.parameter import UninitializedBuffer, UninitializedParameter, is_lazy


class LazyModuleMixin:
    """第一次前向时才知道大小的层共有的部分；与一个普通的层一起继承。

    Attributes:
        cls_to_become: 大小定下来之后变成的类。
    """

    cls_to_become: Any = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        layer: Any = self
        self._load_hook = layer._register_load_state_dict_pre_hook(self._lazy_load_hook)
        self._initialize_hook = layer.register_forward_pre_hook(_infer, with_kwargs=True)

    def initialize_parameters(self, *args: Any, **kwargs: Any) -> None:
        """从第一次前向的输入定下大小；由子类实现。

        Raises:
            NotImplementedError: 子类没有实现。
        """
        raise NotImplementedError(f"initialize_parameters is not implemented for {type(self).__name__}")

    def has_uninitialized_params(self) -> bool:
        """还有没有大小不知道的参数或缓冲区。"""
        layer: Any = self
        return any(map(is_lazy, (*layer._parameters.values(), *layer._buffers.values())))

    def reset_parameters(self) -> None:
        """大小定下来之后才有初值可言。"""
        if not self.has_uninitialized_params():
            super().reset_parameters()  # type: ignore[misc]

    def _materialize(self, **shapes: tuple[int, ...]) -> None:
        """名字对应的参数与缓冲区定下形状，再取初值；没有的跳过。"""
        with no_grad():
            for name, shape in shapes.items():
                found = getattr(self, name)
                if found is not None:
                    found.materialize(shape)
            self.reset_parameters()

    def _lazy_load_hook(self, state_dict: Any, prefix: str, *_: Any) -> None:
        """装入已有大小的参数：先照它的大小定下来。"""
        layer: Any = self
        for name, own in (*layer._parameters.items(), *layer._buffers.items()):
            given = state_dict.get(prefix + name)
            if given is not None and is_lazy(own) and not is_lazy(given):
                own.materialize(given.shape)


def _infer(module: Any, args: Any, kwargs: Any) -> None:
    """前向之前的钩子：定下大小，然后自己退场。"""
    module.initialize_parameters(*args, **kwargs)
    if module.has_uninitialized_params():
        raise RuntimeError(f"module {type(module).__name__} has not been fully initialized")
    for name in ("_initialize_hook", "_load_hook"):
        getattr(module, name).remove()
        delattr(module, name)
    if module.cls_to_become is not None:
        module.__class__ = module.cls_to_become


class LazyLinear(LazyModuleMixin, Linear):
    """输入宽度待定的 ``Linear``。"""

    cls_to_become = Linear

    def __init__(self, out_features: int, bias: bool = True, device: Any = None, dtype: Any = None) -> None:
        super().__init__(0, 0, False)
        self.weight = UninitializedParameter(device=device, dtype=dtype)
        self.out_features = out_features
        if bias:
            self.bias = UninitializedParameter(device=device, dtype=dtype)

    def reset_parameters(self) -> None:
        """大小定下来之后才有初值可言。"""
        if self.in_features:
            super().reset_parameters()

    def initialize_parameters(self, input: Any) -> None:
        """末轴的长度就是输入宽度。"""
        self.in_features = input.shape[-1]
        if self.has_uninitialized_params():
            self._materialize(weight=(self.out_features, self.in_features), bias=(self.out_features,))


class _LazyConvolution(LazyModuleMixin):
    """输入通道数待定的卷积。"""

    def _defer(self, out_channels: int, bias: bool, device: Any, dtype: Any) -> None:
        layer: Any = self
        layer.weight = UninitializedParameter(device=device, dtype=dtype)
        layer.out_channels = out_channels
        if bias:
            layer.bias = UninitializedParameter(device=device, dtype=dtype)

    def reset_parameters(self) -> None:
        """大小定下来之后才有初值可言。"""
        layer: Any = self
        if layer.in_channels:
            super().reset_parameters()

    def initialize_parameters(self, input: Any, *args: Any, **kwargs: Any) -> None:
        """通道轴的长度就是输入通道数。

        Raises:
            RuntimeError: 输入的轴数不对。
            ValueError: 通道数不能被组数整除。
        """
        layer: Any = self
        if not self.has_uninitialized_params():
            return
        lead = input.array.ndim - layer.axes - 1
        if lead not in (0, 1):
            raise RuntimeError(
                f"Expected {layer.axes + 1}D (unbatched) or {layer.axes + 2}D (batched) input to "
                f"{type(self).__name__}, but got input of size: {input.array.shape}"
            )
        layer.in_channels = channels = input.array.shape[lead]
        if channels % layer.groups:
            raise ValueError("in_channels must be divisible by groups")
        pair = (channels, layer.out_channels) if layer.transposed else (layer.out_channels, channels)
        shape = (pair[0], pair[1] // layer.groups, *layer.kernel_size)
        self._materialize(weight=shape, bias=(layer.out_channels,))


class _LazyPlain(_LazyConvolution):
    """卷积。"""

    def __init__(
        self, out_channels: int, kernel_size: Any, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
        groups: int = 1, bias: bool = True, padding_mode: str = "zeros", device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__(0, 0, kernel_size, stride, padding, dilation, groups, False, padding_mode)
        self._defer(out_channels, bias, device, dtype)


class _LazyTransposed(_LazyConvolution):
    """转置卷积。"""

    def __init__(
        self, out_channels: int, kernel_size: Any, stride: Any = 1, padding: Any = 0, output_padding: Any = 0,
        groups: int = 1, bias: bool = True, dilation: Any = 1, padding_mode: str = "zeros", device: Any = None,
        dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__(0, 0, kernel_size, stride, padding, output_padding, groups, False, dilation, padding_mode)
        self._defer(out_channels, bias, device, dtype)


class LazyConv1d(_LazyPlain, Conv1d):
    """输入通道数待定的 ``Conv1d``。"""

    cls_to_become = Conv1d


class LazyConv2d(_LazyPlain, Conv2d):
    """输入通道数待定的 ``Conv2d``。"""

    cls_to_become = Conv2d


class LazyConv3d(_LazyPlain, Conv3d):
    """输入通道数待定的 ``Conv3d``。"""

    cls_to_become = Conv3d


class LazyConvTranspose1d(_LazyTransposed, ConvTranspose1d):
    """输入通道数待定的 ``ConvTranspose1d``。"""

    cls_to_become = ConvTranspose1d


class LazyConvTranspose2d(_LazyTransposed, ConvTranspose2d):
    """输入通道数待定的 ``ConvTranspose2d``。"""

    cls_to_become = ConvTranspose2d


class LazyConvTranspose3d(_LazyTransposed, ConvTranspose3d):
    """输入通道数待定的 ``ConvTranspose3d``。"""

    cls_to_become = ConvTranspose3d


class _LazyNorm(LazyModuleMixin):
    """通道数待定的标准化层。"""

    def __init__(
        self, eps: float = 1e-5, momentum: float | None = 0.1, affine: bool = True, track_running_stats: bool = True,
        device: Any = None, dtype: Any = None, *, bias: bool = True,
    ) -> None:  # fmt: skip
        super().__init__(0, eps, momentum, False, False, bias=False)
        self.affine, self.track_running_stats = affine, track_running_stats
        if affine:
            self.weight = UninitializedParameter(device=device, dtype=dtype)
            self.bias = UninitializedParameter(device=device, dtype=dtype) if bias else None
        if track_running_stats:
            self.running_mean = UninitializedBuffer(device=device, dtype=dtype)
            self.running_var = UninitializedBuffer(device=device, dtype=dtype)
            self.num_batches_tracked = tensor(0)

    def reset_parameters(self) -> None:
        """大小定下来之后才有初值可言。"""
        layer: Any = self
        if layer.num_features:
            super().reset_parameters()

    def initialize_parameters(self, input: Any) -> None:
        """第二根轴的长度就是通道数。"""
        if self.has_uninitialized_params():
            self.num_features = count = input.array.shape[1]
            self._materialize(weight=(count,), bias=(count,), running_mean=(count,), running_var=(count,))


class LazyBatchNorm1d(_LazyNorm, BatchNorm1d):
    """通道数待定的 ``BatchNorm1d``。"""

    cls_to_become = BatchNorm1d


class LazyBatchNorm2d(_LazyNorm, BatchNorm2d):
    """通道数待定的 ``BatchNorm2d``。"""

    cls_to_become = BatchNorm2d


class LazyBatchNorm3d(_LazyNorm, BatchNorm3d):
    """通道数待定的 ``BatchNorm3d``。"""

    cls_to_become = BatchNorm3d


class LazyInstanceNorm1d(_LazyNorm, InstanceNorm1d):
    """通道数待定的 ``InstanceNorm1d``。"""

    cls_to_become = InstanceNorm1d


class LazyInstanceNorm2d(_LazyNorm, InstanceNorm2d):
    """通道数待定的 ``InstanceNorm2d``。"""

    cls_to_become = InstanceNorm2d


class LazyInstanceNorm3d(_LazyNorm, InstanceNorm3d):
    """通道数待定的 ``InstanceNorm3d``。"""

    cls_to_become = InstanceNorm3d
