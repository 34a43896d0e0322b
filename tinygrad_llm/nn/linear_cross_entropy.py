"""全连接接交叉熵：语言模型的最后一步。可以分块，从不物化整张 ``(N, C)`` 的 logits。

流入：特征、权重与类别；流出：损失。
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np

from tinygrad_llm.autograd.graph import apply
from tinygrad_llm.nn.basics import linear
from tinygrad_llm.nn.class_losses import check_weight, class_rows, cross_entropy, settled
from tinygrad_llm.ops import linear_loss
from tinygrad_llm.tensor import Tensor


@dataclass(frozen=True, kw_only=True)
class LinearCrossEntropyOptions:
    """``linear_cross_entropy`` 怎样分块。torch 里与半精度累加有关的几项在这里没有用处，所以没有。

    Attributes:
        batch_chunk_size: 一块的行数。
        chunking_method: 没有给行数时怎样定：``"aspect_ratio"`` 使一块 logits 与输入一样大，``"aspect_ratio:N"``
            再除以 N，``"auto"`` 即 ``"aspect_ratio:2"``，``None`` 不分块。

    Raises:
        ValueError: 行数不是正整数，或未知的办法。
    """

    batch_chunk_size: int | None = None
    chunking_method: str | None = "auto"

    def __post_init__(self) -> None:
        size = self.batch_chunk_size
        if size is not None and (not isinstance(size, int) or size <= 0):
            raise ValueError(f"batch_chunk_size must be positive int or None, got {size!r}")
        name, _, factor = (self.chunking_method or "auto").partition(":")
        known = name == "aspect_ratio" and (factor or "1").isdigit() and int(factor or "1") > 0
        if self.chunking_method not in (None, "auto") and not known:
            raise ValueError(f"invalid chunking_method: {self.chunking_method!r}")


def chunk_rows(options: LinearCrossEntropyOptions, rows: int, width: int, classes: int) -> int:
    """一块的行数；``options`` 的两项都给了却不一致时报错。

    Raises:
        ValueError: ``batch_chunk_size`` 与 ``chunking_method`` 给出不同的行数。
    """
    size, method = options.batch_chunk_size, options.chunking_method
    if method == "auto":
        method = None if size is not None else "aspect_ratio:2"
    fixed = rows if size is None else min(size, rows)
    if method is None:
        return max(fixed, 1)
    target = -(-rows // max(-(-classes // width), 1))
    power = 1 << (target - 1).bit_length() if target else 0
    found = min(power // int(method.partition(":")[2] or 1), rows)
    if size is not None and size != found:
        raise ValueError(f"batch_chunk_size={size} and chunking_method={method!r} disagree: the latter gives {found}")
    return max(found, 1)


def linear_cross_entropy(
    input: Tensor,
    linear_weight: Tensor,
    target: Tensor,
    *,
    linear_bias: Tensor | None = None,
    weight: Tensor | None = None,
    reduction: str = "mean",
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    options: LinearCrossEntropyOptions | None = None,
) -> Tensor:
    """全连接接交叉熵：``cross_entropy(x Wᵀ + b, target)``。

    Args:
        input: ``(N, in)`` 或 ``(in,)``。
        linear_weight: ``(C, in)``，或 ``(C, d₁, …, in)``：每个样本在 ``d₁, …`` 的每处各分一次类。
        target: 同 ``cross_entropy``。
        linear_bias: ``linear_weight`` 去掉最后一轴的形状。
        weight: ``(C,)``，各类别的权重。
        reduction: ``"mean"``、``"sum"`` 或 ``"none"``。
        ignore_index: 忽略的类别号，缺省 -100；目标是概率时不能给。
        label_smoothing: 匀给所有类别的比例。
        options: 怎样分块；缺省不分块。分块只用于整数类别、没有平滑、每个样本只分一次类，否则警告并不分块。

    Returns:
        标量；``"none"`` 时是去掉类别轴之后的形状。

    Raises:
        RuntimeError: 形状不合，或目标是概率却给了 ``ignore_index``。
        ValueError: 未知的 ``reduction``，或批大小不等。
        IndexError: 类别号越界。
    """
    x, w = input.array.shape, linear_weight.array.shape
    if len(x) not in (1, 2) or len(w) < 2 or x[-1] != w[-1] or (len(w) > 2 and len(x) == 1):
        raise RuntimeError(f"linear_cross_entropy: input {x} does not fit linear_weight {w}")
    if linear_bias is not None and linear_bias.array.shape != w[:-1]:
        raise RuntimeError(f"linear_cross_entropy: expected linear_bias shape {w[:-1]}, got {linear_bias.array.shape}")
    wanted = (*x[:-1], *w[:-1])
    if target.array.shape == wanted and ignore_index is not None:
        raise RuntimeError("linear_cross_entropy: ignore_index cannot be specified when target contains probabilities")
    skip = -100 if ignore_index is None else ignore_index
    plain = len(w) == 2 and label_smoothing == 0 and target.array.dtype == np.int64
    if options is not None and plain and target.array.shape == x[:-1]:
        return _chunked(input, linear_weight, target, linear_bias, weight, reduction, skip, options)
    if options is not None and not plain:
        warnings.warn(
            "linear_cross_entropy: options ignored; chunks need int64 classes, label_smoothing == 0 and a 2-D "
            f"linear_weight, got {target.dtype}, {label_smoothing} and {w}",
            stacklevel=2,
        )
    bias = None if linear_bias is None else linear_bias.reshape(-1)
    logits = linear(input, linear_weight.reshape(-1, w[-1]), bias).reshape(wanted)
    return cross_entropy(
        logits, target, weight, ignore_index=skip, reduction=reduction, label_smoothing=label_smoothing
    )


def _chunked(
    input: Tensor,
    linear_weight: Tensor,
    target: Tensor,
    linear_bias: Tensor | None,
    weight: Tensor | None,
    reduction: str,
    ignore_index: int,
    options: LinearCrossEntropyOptions,
) -> Tensor:
    """逐块算各行的损失，再归约。"""
    classes, width = linear_weight.array.shape
    check_weight("linear_cross_entropy", weight, classes, input)
    labels = class_rows("linear_cross_entropy", target, classes, ignore_index)
    safe = np.where(labels == ignore_index, 0, labels)
    kept = (labels != ignore_index).astype(input.array.dtype)
    share = kept if weight is None else kept * weight.array[safe]
    attrs = {"chunk": chunk_rows(options, len(labels), width, classes)}
    inputs = (input.reshape(-1, width), linear_weight, linear_bias, safe, share)
    each: Tensor = apply(linear_loss.linear_cross_entropy, inputs, attrs)
    return settled(each, labels, weight, ignore_index, reduction, target.array.shape)


def token_loss(x: Tensor, weight: Tensor, target: Tensor) -> Tensor:
    """输出层与损失：各位置交叉熵之和；梯度写在 logits 上，不另占内存。

    Args:
        x: ``(..., D)``。
        weight: ``(V, D)``。
        target: ``(...)`` 整数，-100 表示不计。

    Returns:
        标量。

    Raises:
        IndexError: 类别超出词表。
    """
    class_rows("token_loss", target.reshape(-1), weight.shape[0], -100)
    return apply(linear_loss.token_loss, (x, weight, target), {"ignore_index": -100})  # type: ignore[no-any-return]
