"""按批、按组、按样本标准化的层。

流入：通道数等超参数；流出：Module。函数在 ``normalization.py``；LayerNorm 与 RMSNorm 在 ``norm_layers.py``。
"""

from __future__ import annotations

import warnings
from typing import Any

from tinygrad_llm import dtypes
from tinygrad_llm.creation import empty, ones, zeros
from tinygrad_llm.nn import init
from tinygrad_llm.nn import normalization as F
from tinygrad_llm.nn.module import Module, Parameter
from tinygrad_llm.tensor import Tensor


def _set_affine(layer: Module, count: int, affine: bool, bias: bool, device: Any, dtype: Any) -> None:
    """登记缩放与平移；不要的登记成空位。"""
    for name, wanted in (("weight", affine), ("bias", affine and bias)):
        layer.register_parameter(name, Parameter(empty(count, device=device, dtype=dtype)) if wanted else None)


def _reset_affine(layer: Module) -> None:
    """缩放取 1，平移取 0。"""
    if layer.weight is not None:
        init.ones_(layer.weight)
    if layer.bias is not None:
        init.zeros_(layer.bias)


class _Tracking(Module):
    """带滑动统计量的标准化层。

    Attributes:
        weight: ``(C,)`` 缩放，初值 1。
        bias: ``(C,)`` 平移，初值 0。
        running_mean: ``(C,)`` 均值的滑动平均。
        running_var: ``(C,)`` 方差的滑动平均。
        num_batches_tracked: 更新过几次。
    """

    _version = 2
    ranks: tuple[int, ...] = ()

    def _build(
        self, count: int, eps: float, momentum: float | None, affine: bool, track: bool, device: Any, dtype: Any,
        bias: bool,
    ) -> None:  # fmt: skip
        self.num_features, self.eps, self.momentum = count, eps, momentum
        self.affine, self.track_running_stats = affine, track
        _set_affine(self, count, affine, bias, device, dtype)
        self.register_buffer("running_mean", zeros(count, device=device, dtype=dtype) if track else None)
        self.register_buffer("running_var", ones(count, device=device, dtype=dtype) if track else None)
        self.register_buffer("num_batches_tracked", zeros((), dtype=dtypes.int64) if track else None)
        self.reset_parameters()

    def reset_running_stats(self) -> None:
        """滑动平均回到均值 0、方差 1。"""
        if self.track_running_stats:
            self.running_mean.zero_()
            self.running_var.fill_(1)
            self.num_batches_tracked.zero_()

    def reset_parameters(self) -> None:
        """滑动平均、缩放与平移都回到初值。"""
        self.reset_running_stats()
        _reset_affine(self)

    def _load_from_state_dict(self, state_dict: Any, prefix: str, local_metadata: Any, *rest: Any) -> None:
        """版本 2 之前的状态里没有 ``num_batches_tracked``：缺了不算错，留着自己的。"""
        key = f"{prefix}num_batches_tracked"
        if self.track_running_stats and local_metadata.get("version", 1) < 2 and key not in state_dict:
            state_dict[key] = self.num_batches_tracked
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *rest)

    def _check_rank(self, input: Tensor) -> None:
        if input.array.ndim not in self.ranks:
            wanted = " or ".join(f"{rank}D" for rank in self.ranks)
            raise ValueError(f"expected {wanted} input (got {input.array.ndim}D input)")

    def extra_repr(self) -> str:
        """打印通道数与各项设定。"""
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"bias={self.bias is not None}, track_running_stats={self.track_running_stats}"
        )


class _BatchNorm(_Tracking):
    """按批标准化。"""

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self._build(num_features, eps, momentum, affine, track_running_stats, device, dtype, bias)

    def forward(self, input: Tensor) -> Tensor:
        """形状不变；训练时更新滑动平均。

        Raises:
            ValueError: 轴数不对。
        """
        self._check_rank(input)
        factor = self.momentum or 0.0
        if self.training and self.track_running_stats:
            self.num_batches_tracked.add_(1)
            factor = 1.0 / self.num_batches_tracked.item() if self.momentum is None else self.momentum
        tracked = not self.training or self.track_running_stats
        return F.batch_norm(
            input,
            self.running_mean if tracked else None,
            self.running_var if tracked else None,
            self.weight,
            self.bias,
            self.training or self.running_mean is None,
            factor,
            self.eps,
        )


class BatchNorm1d(_BatchNorm):
    """``(N, C)`` 或 ``(N, C, L)`` 按批标准化，参数同 ``torch.nn.BatchNorm1d``。"""

    ranks = (2, 3)


class BatchNorm2d(_BatchNorm):
    """``(N, C, H, W)`` 按批标准化，参数同 ``torch.nn.BatchNorm2d``。"""

    ranks = (4,)


class BatchNorm3d(_BatchNorm):
    """``(N, C, D, H, W)`` 按批标准化，参数同 ``torch.nn.BatchNorm3d``。"""

    ranks = (5,)


class _InstanceNorm(_Tracking):
    """按样本标准化；缺省没有缩放平移，也不记滑动平均。"""

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = False,
        track_running_stats: bool = False,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self._build(num_features, eps, momentum, affine, track_running_stats, device, dtype, bias)

    def forward(self, input: Tensor) -> Tensor:
        """形状不变；批次轴可以没有。

        Raises:
            ValueError: 轴数不对，或通道数不等于 ``num_features`` 而有缩放。
        """
        self._check_rank(input)
        single = input.array.ndim == self.ranks[0]
        channels = input.array.shape[0 if single else 1]
        if channels != self.num_features and self.affine:
            raise ValueError(f"expected input with num_features={self.num_features} channels, got {input.array.shape}")
        if channels != self.num_features:
            warnings.warn(f"input {input.array.shape} does not match num_features={self.num_features}", stacklevel=2)
        x = input.unsqueeze(0) if single else input
        fresh = self.training or not self.track_running_stats
        stats = (self.running_mean, self.running_var, self.weight, self.bias)
        y = F.instance_norm(x, *stats, fresh, self.momentum or 0.0, self.eps)
        return y.squeeze(0) if single else y


class InstanceNorm1d(_InstanceNorm):
    """``(N, C, L)`` 按样本标准化，参数同 ``torch.nn.InstanceNorm1d``。"""

    ranks = (2, 3)


class InstanceNorm2d(_InstanceNorm):
    """``(N, C, H, W)`` 按样本标准化，参数同 ``torch.nn.InstanceNorm2d``。"""

    ranks = (3, 4)


class InstanceNorm3d(_InstanceNorm):
    """``(N, C, D, H, W)`` 按样本标准化，参数同 ``torch.nn.InstanceNorm3d``。"""

    ranks = (4, 5)


class GroupNorm(Module):
    """按组标准化。

    Args:
        num_groups: 组数。
        num_channels: 通道数，须被组数整除。
        eps: 加在方差上的小数。
        affine: 是否有缩放。
        device: 只能是 CPU。
        dtype: 参数类型。
        bias: 是否有平移。

    Attributes:
        weight: ``(C,)`` 缩放，初值 1。
        bias: ``(C,)`` 平移，初值 0。
    """

    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__()
        if num_channels % num_groups:
            raise ValueError(f"num_channels ({num_channels}) must be divisible by num_groups ({num_groups})")
        self.num_groups, self.num_channels, self.eps, self.affine = num_groups, num_channels, eps, affine
        _set_affine(self, num_channels, affine, bias, device, dtype)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """缩放与平移回到初值。"""
        _reset_affine(self)

    def forward(self, input: Tensor) -> Tensor:
        """形状不变。"""
        return F.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        """打印组数、通道数与各项设定。"""
        return (
            f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}, "
            f"bias={self.bias is not None}"
        )


class LocalResponseNorm(Module):
    """局部响应归一化，参数同 ``F.local_response_norm``。"""

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> None:
        super().__init__()
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k

    def forward(self, input: Tensor) -> Tensor:
        """形状不变。"""
        return F.local_response_norm(input, self.size, self.alpha, self.beta, self.k)

    def extra_repr(self) -> str:
        """打印各项设定。"""
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"
