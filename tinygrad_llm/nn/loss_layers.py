"""损失的层：回归与似然。分类的在 ``class_loss_layers.py``，间隔的在 ``margin_loss_layers.py``。

流入：超参数；流出：Module。计算在 ``losses.py`` 与 ``likelihood_losses.py``。
"""

from __future__ import annotations

from tinygrad_llm.nn import functional as F
from tinygrad_llm.nn.module import Module
from tinygrad_llm.tensor import Tensor


class Loss(Module):
    """只有归约方式一个参数的损失。

    Args:
        reduction: ``"mean"``、``"sum"`` 或 ``"none"``。
    """

    def __init__(self, *, reduction: str = "mean") -> None:
        super().__init__()
        self.reduction = reduction


class WeightedLoss(Loss):
    """带权重的损失。

    Args:
        weight: 权重，登记成缓冲区。
        reduction: ``"mean"``、``"sum"`` 或 ``"none"``。
    """

    def __init__(self, weight: Tensor | None = None, *, reduction: str = "mean") -> None:
        super().__init__(reduction=reduction)
        self.register_buffer("weight", weight)


class MSELoss(Loss):
    """均方误差。"""

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """同形状 → 标量。"""
        return F.mse_loss(input, target, reduction=self.reduction)


class L1Loss(Loss):
    """平均绝对误差。"""

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """同形状 → 标量。"""
        return F.l1_loss(input, target, reduction=self.reduction)


class SmoothL1Loss(Loss):
    """小的误差取平方、大的取绝对值。

    Args:
        reduction: ``"mean"``、``"sum"`` 或 ``"none"``。
        beta: 两段的分界。
    """

    def __init__(self, *, reduction: str = "mean", beta: float = 1.0) -> None:
        super().__init__(reduction=reduction)
        self.beta = beta

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """同形状 → 标量。"""
        return F.smooth_l1_loss(input, target, reduction=self.reduction, beta=self.beta)


class HuberLoss(Loss):
    """小的误差取平方、大的取绝对值，再乘 ``delta``。

    Args:
        reduction: ``"mean"``、``"sum"`` 或 ``"none"``。
        delta: 两段的分界。

    Raises:
        TypeError: ``delta`` 不是数。
    """

    def __init__(self, reduction: str = "mean", delta: float = 1.0) -> None:
        super().__init__(reduction=reduction)
        if not isinstance(delta, (float, int)):
            raise TypeError(f"delta must be a float or int, got: {type(delta)}")
        self.delta = delta

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """同形状 → 标量。"""
        return F.huber_loss(input, target, reduction=self.reduction, delta=self.delta)


class BCELoss(WeightedLoss):
    """概率上的二元交叉熵。"""

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """同形状 → 标量。"""
        return F.binary_cross_entropy(input, target, self.weight, reduction=self.reduction)


class BCEWithLogitsLoss(WeightedLoss):
    """logits 上的二元交叉熵。

    Args:
        weight: 可广播的权重。
        reduction: ``"mean"``、``"sum"`` 或 ``"none"``。
        pos_weight: 正例的权重，可广播。
    """

    def __init__(
        self, weight: Tensor | None = None, *, reduction: str = "mean", pos_weight: Tensor | None = None
    ) -> None:
        super().__init__(weight, reduction=reduction)
        self.register_buffer("pos_weight", pos_weight)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """同形状 → 标量。"""
        return F.binary_cross_entropy_with_logits(
            input, target, self.weight, reduction=self.reduction, pos_weight=self.pos_weight
        )


class SoftMarginLoss(Loss):
    """``ln(1 + e^{-t x})``，目标是 ±1。"""

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """同形状 → 标量。"""
        return F.soft_margin_loss(input, target, reduction=self.reduction)


class KLDivLoss(Loss):
    """KL 散度逐点的项。

    Args:
        reduction: ``"batchmean"``、``"mean"``、``"sum"`` 或 ``"none"``。
        log_target: 目标是否已取对数。
    """

    def __init__(self, *, reduction: str = "mean", log_target: bool = False) -> None:
        super().__init__(reduction=reduction)
        self.log_target = log_target

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """对数概率与概率 → 标量。"""
        return F.kl_div(input, target, reduction=self.reduction, log_target=self.log_target)


class PoissonNLLLoss(Loss):
    """泊松分布的负对数似然。

    Args:
        log_input: 输入是否已取对数。
        full: 是否加上 ``ln t!`` 的近似。
        eps: 加在速率上的小数。
        reduction: ``"mean"``、``"sum"`` 或 ``"none"``。
    """

    def __init__(
        self, log_input: bool = True, full: bool = False, *, eps: float = 1e-8, reduction: str = "mean"
    ) -> None:
        super().__init__(reduction=reduction)
        self.log_input, self.full, self.eps = log_input, full, eps

    def forward(self, log_input: Tensor, target: Tensor) -> Tensor:
        """同形状 → 标量。"""
        return F.poisson_nll_loss(log_input, target, self.log_input, self.full, eps=self.eps, reduction=self.reduction)


class GaussianNLLLoss(Loss):
    """高斯分布的负对数似然。

    Args:
        full: 是否加上 ``ln(2π)/2``。
        eps: 方差的下限。
        reduction: ``"mean"``、``"sum"`` 或 ``"none"``。
    """

    def __init__(self, *, full: bool = False, eps: float = 1e-6, reduction: str = "mean") -> None:
        super().__init__(reduction=reduction)
        self.full, self.eps = full, eps

    def forward(self, input: Tensor, target: Tensor, var: Tensor | float) -> Tensor:
        """均值、观测、方差 → 标量。"""
        return F.gaussian_nll_loss(input, target, var, self.full, self.eps, self.reduction)
