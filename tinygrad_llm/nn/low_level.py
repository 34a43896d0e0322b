"""``torch`` 顶层与 ``nn.functional`` 同名、参数却不同的函数：dropout、归一化、查表与几种损失。

流入：Tensor；流出：Tensor。顶层的写法更底层：参数的次序不同，归约用数字 0、1、2 表示不归约、平均与求和。
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tinygrad_llm.nn import functional as F
from tinygrad_llm.nn.dropouts import feature_dropout as _feature_dropout
from tinygrad_llm.tensor import Tensor


def _dropout(name: str, function: Callable[..., Tensor], is_inplace: bool) -> Callable[..., Tensor]:
    def dropped(input: Tensor, p: float, train: bool) -> Tensor:
        if not 0 <= p <= 1:
            raise RuntimeError(f"{name}: dropout probability has to be between 0 and 1, but got {p}")
        return function(input, p, train, is_inplace)

    dropped.__name__ = dropped.__qualname__ = name
    dropped.__doc__ = f"``{name}(input, p, train)``；不训练时原样返回输入。"
    return dropped


dropout, dropout_ = (_dropout(name, F.dropout, name[-1] == "_") for name in ("dropout", "dropout_"))
feature_dropout, feature_dropout_ = (
    _dropout(name, _feature_dropout, name[-1] == "_") for name in ("feature_dropout", "feature_dropout_")
)
alpha_dropout, alpha_dropout_ = (
    _dropout(name, F.alpha_dropout, name[-1] == "_") for name in ("alpha_dropout", "alpha_dropout_")
)
feature_alpha_dropout, feature_alpha_dropout_ = (
    _dropout(name, F.feature_alpha_dropout, name[-1] == "_")
    for name in ("feature_alpha_dropout", "feature_alpha_dropout_")
)


def embedding(
    weight: Tensor, indices: Tensor, padding_idx: int = -1, scale_grad_by_freq: bool = False, sparse: bool = False
) -> Tensor:
    """查表，表在前、下标在后；``padding_idx`` 为 -1 表示没有。"""
    padding = None if padding_idx < 0 else padding_idx
    return F.embedding(indices, weight, padding, scale_grad_by_freq=scale_grad_by_freq, sparse=sparse)


def layer_norm(
    input: Tensor,
    normalized_shape: Any,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    cudnn_enable: bool = True,
) -> Tensor:
    """同 ``nn.functional.layer_norm``；``cudnn_enable`` 只与 GPU 有关。"""
    return F.layer_norm(input, normalized_shape, weight, bias, eps)


def group_norm(
    input: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    cudnn_enabled: bool = True,
) -> Tensor:
    """同 ``nn.functional.group_norm``；``cudnn_enabled`` 只与 GPU 有关。"""
    return F.group_norm(input, num_groups, weight, bias, eps)


def batch_norm(
    input: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    training: bool,
    momentum: float,
    eps: float,
    cudnn_enabled: bool,
) -> Tensor:
    """同 ``nn.functional.batch_norm``，``weight`` 与 ``bias`` 在前；``cudnn_enabled`` 只与 GPU 有关。"""
    return F.batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)


def instance_norm(
    input: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    use_input_stats: bool,
    momentum: float,
    eps: float,
    cudnn_enabled: bool,
) -> Tensor:
    """同 ``nn.functional.instance_norm``，``weight`` 与 ``bias`` 在前；``cudnn_enabled`` 只与 GPU 有关。"""
    return F.instance_norm(input, running_mean, running_var, weight, bias, use_input_stats, momentum, eps)


def adaptive_max_pool1d(input: Tensor, output_size: Any) -> tuple[Tensor, Tensor]:
    """最大值与它们的下标，总是两个。"""
    return F.adaptive_max_pool1d(input, output_size, return_indices=True)  # type: ignore[no-any-return]


def max_pool1d_with_indices(
    input: Tensor, kernel_size: Any, stride: Any = (), padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False
) -> tuple[Tensor, Tensor]:
    """最大值与它们的下标；``stride`` 为空表示同 ``kernel_size``。"""
    step = stride if stride != () and stride != [] else None
    return F.max_pool1d(input, kernel_size, step, padding, dilation, ceil_mode, return_indices=True)  # type: ignore[no-any-return]


# ---- 损失


def _reduction(number: int) -> str:
    """归约的数字变成名字；别的数字与 torch 一样当作不归约。"""
    if not isinstance(number, int):
        raise TypeError(f"argument 'reduction' must be int, not {type(number).__name__}")
    return {1: "mean", 2: "sum"}.get(number, "none")


def kl_div(input: Tensor, target: Tensor, reduction: int = 0, *, log_target: bool = False) -> Tensor:
    """同 ``nn.functional.kl_div``。"""
    return F.kl_div(input, target, reduction=_reduction(reduction), log_target=log_target)


def binary_cross_entropy_with_logits(
    input: Tensor, target: Tensor, weight: Tensor | None = None, pos_weight: Tensor | None = None, reduction: int = 0
) -> Tensor:
    """同 ``nn.functional.binary_cross_entropy_with_logits``。"""
    how = _reduction(reduction)
    return F.binary_cross_entropy_with_logits(input, target, weight, reduction=how, pos_weight=pos_weight)


def cosine_embedding_loss(
    input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0.0, reduction: int = 0
) -> Tensor:
    """同 ``nn.functional.cosine_embedding_loss``。"""
    return F.cosine_embedding_loss(input1, input2, target, margin, reduction=_reduction(reduction))


def hinge_embedding_loss(input: Tensor, target: Tensor, margin: float = 1.0, reduction: int = 0) -> Tensor:
    """同 ``nn.functional.hinge_embedding_loss``。"""
    return F.hinge_embedding_loss(input, target, margin, reduction=_reduction(reduction))


def margin_ranking_loss(
    input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0.0, reduction: int = 0
) -> Tensor:
    """同 ``nn.functional.margin_ranking_loss``。"""
    return F.margin_ranking_loss(input1, input2, target, margin, reduction=_reduction(reduction))


def triplet_margin_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    margin: float = 1.0,
    p: float = 2.0,
    eps: float = 1e-6,
    swap: bool = False,
    reduction: int = 0,
) -> Tensor:
    """同 ``nn.functional.triplet_margin_loss``。"""
    how = _reduction(reduction)
    return F.triplet_margin_loss(anchor, positive, negative, margin, p, eps, swap, reduction=how)


def poisson_nll_loss(input: Tensor, target: Tensor, log_input: bool, full: bool, eps: float, reduction: int) -> Tensor:
    """同 ``nn.functional.poisson_nll_loss``。"""
    return F.poisson_nll_loss(input, target, log_input, full, eps=eps, reduction=_reduction(reduction))


def ctc_loss(
    log_probs: Tensor,
    targets: Tensor,
    input_lengths: Any,
    target_lengths: Any,
    blank: int = 0,
    reduction: int = 0,
    zero_infinity: bool = False,
) -> Tensor:
    """同 ``nn.functional.ctc_loss``。"""
    how = _reduction(reduction)
    return F.ctc_loss(log_probs, targets, input_lengths, target_lengths, blank, how, zero_infinity)
