"""分类的损失的层：交叉熵、负对数似然与 CTC。

流入：超参数；流出：Module。计算在 ``class_losses.py`` 与 ``ctc.py``。
"""

from __future__ import annotations

import math
from typing import Any

from tinygrad_llm.nn import functional as F
from tinygrad_llm.nn.layers import Linear
from tinygrad_llm.nn.linear_cross_entropy import LinearCrossEntropyOptions
from tinygrad_llm.nn.loss_layers import Loss, WeightedLoss
from tinygrad_llm.tensor import Tensor


class CrossEntropyLoss(WeightedLoss):
    """logits 上的交叉熵。

    Args:
        weight: ``(C,)``，各类别的权重。
        ignore_index: 忽略的类别号。
        reduction: ``"mean"``、``"sum"`` 或 ``"none"``。
        label_smoothing: 匀给所有类别的比例。
    """

    def __init__(
        self,
        weight: Tensor | None = None,
        *,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(weight, reduction=reduction)
        self.ignore_index, self.label_smoothing = ignore_index, label_smoothing

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """``(N, C)``、``(N,)`` → 标量。"""
        return F.cross_entropy(
            input,
            target,
            self.weight,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
            label_smoothing=self.label_smoothing,
        )


class NLLLoss(WeightedLoss):
    """对数概率上的负对数似然。

    Args:
        weight: ``(C,)``，各类别的权重。
        ignore_index: 忽略的类别号。
        reduction: ``"mean"``、``"sum"`` 或 ``"none"``。
    """

    def __init__(self, weight: Tensor | None = None, *, ignore_index: int = -100, reduction: str = "mean") -> None:
        super().__init__(weight, reduction=reduction)
        self.ignore_index = ignore_index

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """``(N, C)``、``(N,)`` → 标量。"""
        return F.nll_loss(input, target, self.weight, ignore_index=self.ignore_index, reduction=self.reduction)


class LinearCrossEntropyLoss(WeightedLoss):
    """全连接接交叉熵。

    Args:
        in_features: 输入宽度。
        num_classes: 类别数 C。
        out_features: 每个样本在这些位置各分一次类。
        bias: 全连接是否有偏置。
        device: 只能是 CPU。
        dtype: 参数类型。
        reduction: ``"mean"``、``"sum"`` 或 ``"none"``。
        weight: ``(C,)``，各类别的权重。
        ignore_index: 忽略的类别号。
        label_smoothing: 匀给所有类别的比例。
        options: 怎样分块；缺省不分块。

    Attributes:
        linear: 全连接层，输出宽度是 ``C · ∏ out_features``。

    Raises:
        RuntimeError: ``weight`` 的形状不符，或 ``label_smoothing`` 不在 ``[0, 1]``。
    """

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        *,
        out_features: tuple[int, ...] = (),
        bias: bool = False,
        device: Any = None,
        dtype: Any = None,
        reduction: str = "mean",
        weight: Tensor | None = None,
        ignore_index: int | None = None,
        label_smoothing: float = 0.0,
        options: LinearCrossEntropyOptions | None = None,
    ) -> None:
        super().__init__(weight, reduction=reduction)
        if weight is not None and weight.array.shape != (num_classes,):
            raise RuntimeError(f"expected weight shape to be {(num_classes,)}, got {weight.array.shape}")
        if not 0 <= label_smoothing <= 1:
            raise RuntimeError(f"expected label_smoothing to be in range [0, 1], got {label_smoothing}")
        self.num_classes, self.out_features = num_classes, out_features
        self.ignore_index, self.label_smoothing, self.options = ignore_index, label_smoothing, options
        wide = math.prod(out_features, start=num_classes)
        self.linear = Linear(in_features, wide, bias=bias, device=device, dtype=dtype)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """``(N, in)``、``(N,)`` → 标量。"""
        places = (self.num_classes, *self.out_features)
        return F.linear_cross_entropy(
            input,
            self.linear.weight.reshape(*places, self.linear.in_features),
            target,
            linear_bias=None if self.linear.bias is None else self.linear.bias.reshape(places),
            weight=self.weight,
            reduction=self.reduction,
            ignore_index=self.ignore_index,
            label_smoothing=self.label_smoothing,
            options=self.options,
        )

    def extra_repr(self) -> str:
        """打印形状与参数。"""
        return (
            f"in_features={self.linear.in_features}, num_classes={self.num_classes}, "
            f"out_features={self.out_features}, bias={self.linear.bias is not None}, reduction={self.reduction}, "
            f"ignore_index={self.ignore_index}, label_smoothing={self.label_smoothing}, "
            f"options={self.options}"
        )


class CTCLoss(Loss):
    """CTC 损失：不知道对齐方式时的序列标注。

    Args:
        blank: 空白符的类别号。
        reduction: ``"mean"``、``"sum"`` 或 ``"none"``。
        zero_infinity: 无法对齐的序列是否记作 0。
    """

    def __init__(self, blank: int = 0, reduction: str = "mean", zero_infinity: bool = False) -> None:
        super().__init__(reduction=reduction)
        self.blank, self.zero_infinity = blank, zero_infinity

    def forward(self, log_probs: Tensor, targets: Tensor, input_lengths: Any, target_lengths: Any) -> Tensor:
        """``(T, N, C)``、``(N, S)`` 与各自的长度 → 标量。"""
        return F.ctc_loss(
            log_probs, targets, input_lengths, target_lengths, self.blank, self.reduction, self.zero_infinity
        )
