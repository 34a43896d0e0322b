"""间隔的损失的层。

流入：超参数；流出：Module。计算在 ``margin_losses.py``。
"""

from __future__ import annotations

from collections.abc import Callable

from tinygrad_llm.nn import functional as F
from tinygrad_llm.nn.distance_layers import PairwiseDistance
from tinygrad_llm.nn.loss_layers import Loss, WeightedLoss
from tinygrad_llm.tensor import Tensor


class MarginRankingLoss(Loss):
    """两个得分谁该排在前面。

    Args:
        margin: 间隔。
        reduction: ``"mean"``、``"sum"`` 或 ``"none"``。
    """

    def __init__(self, margin: float = 0.0, *, reduction: str = "mean") -> None:
        super().__init__(reduction=reduction)
        self.margin = margin

    def forward(self, input1: Tensor, input2: Tensor, target: Tensor) -> Tensor:
        """同形状 → 标量。"""
        return F.margin_ranking_loss(input1, input2, target, self.margin, reduction=self.reduction)


class HingeEmbeddingLoss(Loss):
    """相似的罚距离，不相似的罚不够远。

    Args:
        margin: 间隔。
        reduction: ``"mean"``、``"sum"`` 或 ``"none"``。
    """

    def __init__(self, margin: float = 1.0, *, reduction: str = "mean") -> None:
        super().__init__(reduction=reduction)
        self.margin = margin

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """同形状 → 标量。"""
        return F.hinge_embedding_loss(input, target, self.margin, reduction=self.reduction)


class CosineEmbeddingLoss(Loss):
    """相似的罚夹角，不相似的罚夹角不够大。

    Args:
        margin: 间隔。
        reduction: ``"mean"``、``"sum"`` 或 ``"none"``。
    """

    def __init__(self, margin: float = 0.0, *, reduction: str = "mean") -> None:
        super().__init__(reduction=reduction)
        self.margin = margin

    def forward(self, input1: Tensor, input2: Tensor, target: Tensor) -> Tensor:
        """``(N, D)``、``(N, D)``、``(N,)`` → 标量。"""
        return F.cosine_embedding_loss(input1, input2, target, self.margin, reduction=self.reduction)


class MultiMarginLoss(WeightedLoss):
    """多分类的间隔损失。

    Args:
        p: 1 或 2。
        margin: 间隔。
        weight: ``(C,)``，各类别的权重。
        reduction: ``"mean"``、``"sum"`` 或 ``"none"``。

    Raises:
        ValueError: ``p`` 不是 1 或 2，或 ``weight`` 不是一维。
    """

    def __init__(
        self, p: int = 1, margin: float = 1.0, weight: Tensor | None = None, *, reduction: str = "mean"
    ) -> None:
        super().__init__(weight, reduction=reduction)
        if p not in (1, 2):
            raise ValueError(f"only p == 1 and p == 2 supported, got {p}")
        if weight is not None and weight.ndim != 1:
            raise ValueError(f"MultiMarginLoss: expected weight to be None or 1D tensor, got {weight.ndim}D instead")
        self.p, self.margin = p, margin

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """``(N, C)``、``(N,)`` → 标量。"""
        return F.multi_margin_loss(input, target, self.p, self.margin, self.weight, reduction=self.reduction)


class MultiLabelMarginLoss(Loss):
    """多标签的间隔损失。"""

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """同形状 → 标量。"""
        return F.multilabel_margin_loss(input, target, reduction=self.reduction)


class MultiLabelSoftMarginLoss(WeightedLoss):
    """多标签的二元交叉熵。"""

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """``(N, C)``、``(N, C)`` → 标量。"""
        return F.multilabel_soft_margin_loss(input, target, self.weight, reduction=self.reduction)


class TripletMarginLoss(Loss):
    """同类要比异类近出一个间隔。

    Args:
        margin: 间隔。
        p: 范数的次数。
        eps: 加在差上的小数。
        swap: 异类的距离是否也看正例。
        reduction: ``"mean"``、``"sum"`` 或 ``"none"``。

    Raises:
        ValueError: ``margin`` 不是正数。
    """

    def __init__(
        self, margin: float = 1.0, p: float = 2.0, eps: float = 1e-6, swap: bool = False, *, reduction: str = "mean"
    ) -> None:
        super().__init__(reduction=reduction)
        if margin <= 0:
            raise ValueError(f"TripletMarginLoss: expected margin to be greater than 0, got {margin} instead")
        self.margin, self.p, self.eps, self.swap = margin, p, eps, swap

    def forward(self, anchor: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        """三个 ``(N, D)`` → 标量。"""
        return F.triplet_margin_loss(
            anchor, positive, negative, self.margin, self.p, self.eps, self.swap, reduction=self.reduction
        )


class TripletMarginWithDistanceLoss(Loss):
    """距离自选的三元组损失。

    Args:
        distance_function: 距离；缺省为 ``PairwiseDistance()``。
        margin: 间隔。
        swap: 异类的距离是否也看正例。
        reduction: ``"mean"``、``"sum"`` 或 ``"none"``。

    Raises:
        ValueError: ``margin`` 不是正数。
    """

    def __init__(
        self,
        *,
        distance_function: Callable[[Tensor, Tensor], Tensor] | None = None,
        margin: float = 1.0,
        swap: bool = False,
        reduction: str = "mean",
    ) -> None:
        super().__init__(reduction=reduction)
        if margin <= 0:
            raise ValueError(f"expected margin to be greater than 0, got {margin} instead")
        self.distance_function = PairwiseDistance() if distance_function is None else distance_function
        self.margin, self.swap = margin, swap

    def forward(self, anchor: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        """三个 ``(N, D)`` → 标量。"""
        return F.triplet_margin_with_distance_loss(
            anchor,
            positive,
            negative,
            distance_function=self.distance_function,
            margin=self.margin,
            swap=self.swap,
            reduction=self.reduction,
        )
