"""无状态的层：与 ``torch.nn.functional`` 同名同义。

流入：Tensor；流出：Tensor。能走融合算子就走融合算子。下一站：``layers.py``。
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygrad_llm import dtypes
from tinygrad_llm.autograd.graph import apply
from tinygrad_llm.creation import where
from tinygrad_llm.ops import activation, attention, loss, norm, shape
from tinygrad_llm.ops import elementwise as ew
from tinygrad_llm.ops import linear as linear_ops
from tinygrad_llm.ops.attention import rotary as _rotary
from tinygrad_llm.random import default_generator
from tinygrad_llm.tensor import Tensor


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``y = x Wᵀ + b``。

    Args:
        input: ``(..., in)``。
        weight: ``(out, in)``。
        bias: ``(out,)``。

    Returns:
        ``(..., out)``。

    Raises:
        RuntimeError: 内侧长度或 dtype 不符。
    """
    x, w = input.array, weight.array
    if x.dtype != w.dtype:
        raise RuntimeError(f"linear: input is {input.dtype}, weight is {weight.dtype}; they must have the same dtype")
    if x.ndim == 0 or x.shape[-1] != w.shape[-1]:
        raise RuntimeError(f"linear: input {x.shape} does not fit weight {w.shape}: last dimensions must be equal")
    return apply(linear_ops.linear, (input, weight, bias), {})  # type: ignore[no-any-return]


def embedding(input: Tensor, weight: Tensor, padding_idx: int | None = None) -> Tensor:
    """查表。

    Args:
        input: 任意形状的整数下标。
        weight: ``(V, D)``。
        padding_idx: 该行不接收梯度。

    Returns:
        ``input.shape + (D,)``。

    Raises:
        IndexError: 下标越界；消息里写明越界的值与表长。
        RuntimeError: 下标不是整数。
    """
    ids = input.array
    if ids.dtype.kind not in "iu":
        raise RuntimeError(f"embedding: indices must be integers, got {input.dtype}")
    rows = len(weight.array)
    if ids.size and (int(ids.max()) >= rows or int(ids.min()) < 0):
        bad = int(ids.max()) if int(ids.max()) >= rows else int(ids.min())
        raise IndexError(f"index out of range in self: id {bad} is not in [0, {rows})")
    if padding_idx is not None:
        keep = Tensor.wrap(np.arange(rows) != padding_idx % rows)
        weight = where(keep.unsqueeze(1), weight, weight.detach())
    return apply(shape.embedding, (weight, input), {})  # type: ignore[no-any-return]


def one_hot(tensor: Tensor, num_classes: int = -1) -> Tensor:
    """整数 → 独热。

    Raises:
        RuntimeError: 类别为负，或不小于 ``num_classes``。
    """
    ids = tensor.array
    if ids.size and (int(ids.min()) < 0 or 0 <= num_classes <= int(ids.max())):
        raise RuntimeError(f"one_hot: class values must be in [0, {num_classes}), got {ids.min()} … {ids.max()}")
    n = int(tensor.array.max()) + 1 if num_classes == -1 else num_classes
    return Tensor.wrap((tensor.array[..., None] == np.arange(n)).astype(np.int64))


def layer_norm(
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """沿最后几轴标准化。

    Args:
        input: 末尾形状须等于 ``normalized_shape``。
        normalized_shape: 参与标准化的末尾形状。
        weight: 缩放，形状同 ``normalized_shape``。
        bias: 平移，形状同 ``normalized_shape``。
        eps: 加在方差上的小数。

    Returns:
        与 ``input`` 同形状。

    Raises:
        RuntimeError: 末尾形状不符。
    """
    rows, flat = _over_last(input, normalized_shape, "layer_norm")
    w, b = (None if p is None else p.reshape(-1) if flat else p for p in (weight, bias))
    y = apply(norm.layer_norm, (rows, w, b), {"eps": eps})
    return y.reshape(input.shape) if flat else y  # type: ignore[no-any-return]


def rms_norm(
    input: Tensor, normalized_shape: Sequence[int], weight: Tensor | None = None, eps: float | None = None
) -> Tensor:
    """沿最后几轴除以均方根；``eps`` 缺省为该 dtype 的机器精度。"""
    rows, flat = _over_last(input, normalized_shape, "rms_norm")
    w = None if weight is None else weight.reshape(-1) if flat else weight
    small = float(np.finfo(input.array.dtype).eps) if eps is None else eps
    y = apply(norm.rms_norm, (rows, w), {"eps": small})
    return y.reshape(input.shape) if flat else y  # type: ignore[no-any-return]


def _over_last(x: Tensor, normalized_shape: Sequence[int], name: str) -> tuple[Tensor, bool]:
    """融合算子只认最后一轴；``normalized_shape`` 有几轴就先并成一根。"""
    wanted = tuple(normalized_shape)
    if not wanted or x.array.shape[-len(wanted) :] != wanted:
        raise RuntimeError(
            f"{name}: normalized_shape={list(wanted)} does not match the end of input shape {x.array.shape}"
        )
    if len(wanted) == 1:
        return x, False
    return x.reshape(*x.array.shape[: -len(wanted)], math.prod(wanted)), True


def gelu(input: Tensor, approximate: str = "none") -> Tensor:
    """GELU；``approximate="tanh"`` 为 GPT-2 的近似。

    Raises:
        RuntimeError: 未知的近似名。
    """
    if approximate not in ("none", "tanh"):
        raise RuntimeError(f"approximate argument must be either none or tanh, got {approximate!r}")
    return apply(activation.gelu_tanh if approximate == "tanh" else activation.gelu, (input,), {})  # type: ignore[no-any-return]


def silu(input: Tensor, inplace: bool = False) -> Tensor:
    """``x σ(x)``。"""
    y: Tensor = apply(ew.silu, (input.clone() if inplace else input,), {})
    return input.write(y) if inplace else y


def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """``max(x, 0)``。"""
    y: Tensor = input.relu()
    return input.write(y) if inplace else y


def tanh(input: Tensor) -> Tensor:
    """双曲正切。"""
    return input.tanh()  # type: ignore[no-any-return]


def sigmoid(input: Tensor) -> Tensor:
    """``1/(1 + e⁻ˣ)``。"""
    return input.sigmoid()  # type: ignore[no-any-return]


def softmax(input: Tensor, dim: int, *, dtype: Any = None) -> Tensor:
    """沿 ``dim`` 归一化成概率。"""
    return input.softmax(dim, dtype)  # type: ignore[no-any-return]


def log_softmax(input: Tensor, dim: int, *, dtype: Any = None) -> Tensor:
    """softmax 的对数。"""
    return input.log_softmax(dim, dtype)  # type: ignore[no-any-return]


def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """以概率 ``p`` 置 0，其余放大 ``1/(1-p)``，使期望不变。

    Raises:
        ValueError: ``p`` 不在 ``[0, 1]``。
    """
    if not 0 <= p <= 1:
        raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")
    if not training or p == 0:
        return input
    keep = default_generator.uniform(input.array.shape, np.float64) < 1 - p
    scale = 0.0 if p == 1 else 1 / (1 - p)
    y: Tensor = input * Tensor.wrap(keep.astype(input.array.dtype) * input.array.dtype.type(scale))
    return input.write(y) if inplace else y


def rotary(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """旋转位置编码（前半与后半配对）。

    Args:
        x: ``(..., T, D)``。
        cos: ``(T, D/2)`` 或可广播。
        sin: 同 ``cos``。

    Returns:
        与 ``x`` 同形状。

    Raises:
        RuntimeError: 角度表需要梯度；这里把它当作常数。
    """
    if cos.requires_grad or sin.requires_grad:
        raise RuntimeError("rotary: cos and sin are constants here; detach() them")
    return apply(_rotary, (x, cos, sin), {})  # type: ignore[no-any-return]


def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """缩放点积注意力；没有掩码与 dropout 时走融合算子。

    Args:
        query: ``(..., H, T, D)``。
        key: ``(..., Hkv, S, D)``。
        value: ``(..., Hkv, S, V)``。
        attn_mask: 布尔（``True`` 为可见）或要加到分数上的浮点，可广播成 ``(..., H, T, S)``。
        dropout_p: 注意力权重的 dropout 概率。
        is_causal: 遮住未来（左上角对齐）；不能与 ``attn_mask`` 同用。
        scale: 缺省 ``1/√D``。
        enable_gqa: 允许 K、V 的头数是 Q 的约数。

    Returns:
        ``(..., H, T, V)``。

    Raises:
        RuntimeError: 头数不合，或掩码与 ``is_causal`` 同用。
    """
    heads, kv_heads = _head_counts(query, key)
    if heads != kv_heads and not (enable_gqa and heads % kv_heads == 0):
        raise RuntimeError(
            f"scaled_dot_product_attention: query has {heads} heads, key/value have {kv_heads}; "
            "pass enable_gqa=True and make the first a multiple of the second"
        )
    if attn_mask is not None and is_causal:
        raise RuntimeError("scaled_dot_product_attention: explicit attn_mask should not be set when is_causal=True")
    factor = 1 / math.sqrt(query.array.shape[-1]) if scale is None else scale
    aligned = query.array.shape[:-3] == key.array.shape[:-3] and key.array.shape[:-1] == value.array.shape[:-1]
    if attn_mask is None and dropout_p == 0 and query.ndim >= 3 and aligned and query.array.size and key.array.size:
        return apply(attention.attention, (query, key, value), {"is_causal": is_causal, "scale": factor})  # type: ignore[no-any-return]
    if heads != kv_heads:
        key, value = (x.repeat_interleave(heads // kv_heads, dim=-3) for x in (key, value))
    scores = (query @ key.transpose(-2, -1)) * factor
    if is_causal:
        attn_mask = Tensor.wrap(np.tril(np.ones(scores.array.shape[-2:], bool)))
    if attn_mask is not None:
        visible = attn_mask.dtype is dtypes.bool
        scores = scores.masked_fill(attn_mask.logical_not(), float("-inf")) if visible else scores + attn_mask
    weights = scores.softmax(-1)
    if attn_mask is not None:  # 什么也看不见的行：softmax 是 0/0，与 torch 一样取 0
        weights = weights.masked_fill(Tensor.wrap(np.isneginf(scores.array).all(-1, keepdims=True)), 0.0)
    return dropout(weights, dropout_p, dropout_p > 0) @ value  # type: ignore[no-any-return]


def _head_counts(query: Tensor, key: Tensor) -> tuple[int, int]:
    if query.ndim < 3:
        return 1, 1
    return query.array.shape[-3], key.array.shape[-3]


def cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """交叉熵。

    Args:
        input: logits，``(N, C)``、``(C,)`` 或 ``(N, C, d₁, …)``。
        target: 整数类别，形状为去掉类别轴之后的形状；等于 ``ignore_index`` 的不计。
        weight: ``(C,)``，各类别的权重。
        ignore_index: 忽略的类别号。
        reduction: ``"mean"``、``"sum"`` 或 ``"none"``。
        label_smoothing: 匀给所有类别的比例。

    Returns:
        标量；``"none"`` 时与 ``target`` 同形状。

    Raises:
        ValueError: 未知的 ``reduction``，或批大小不等。
        RuntimeError: 其它的形状不合。
        IndexError: 类别号越界。
    """
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"{reduction} is not a valid value for reduction")
    classes_axis = 0 if input.ndim == 1 else 1
    classes = input.array.shape[classes_axis]
    expected = tuple(n for i, n in enumerate(input.array.shape) if i != classes_axis)
    if target.array.shape != expected:
        other_batch = input.ndim > 1 and target.ndim > 0 and len(target.array) != len(input.array)
        raise (ValueError if other_batch else RuntimeError)(
            f"cross_entropy: input {input.array.shape} needs target of shape {expected}, got {target.array.shape}"
        )
    rows = input.unsqueeze(0) if input.ndim == 1 else input.permute(0, *range(2, input.ndim), 1).reshape(-1, classes)
    labels = target.array.reshape(-1)
    _check_labels(labels, classes, ignore_index)
    if weight is None and label_smoothing == 0:
        attrs = {"ignore_index": ignore_index, "reduction": reduction}
        y: Tensor = apply(loss.cross_entropy, (rows, target.reshape(-1)), attrs)
        return y.reshape(expected) if reduction == "none" else y
    return _weighted_cross_entropy(rows, labels, weight, ignore_index, reduction, label_smoothing, expected)


def _check_labels(labels: Any, classes: int, ignore_index: int) -> None:
    if labels.dtype.kind not in "iu":
        raise RuntimeError(f"cross_entropy: target must hold integer class ids, got {labels.dtype}")
    bad = labels[(labels != ignore_index) & ((labels < 0) | (labels >= classes))]
    if bad.size:
        raise IndexError(f"Target {int(bad[0])} is out of bounds: there are {classes} classes")


def _weighted_cross_entropy(
    rows: Tensor, labels: Any, weight: Tensor | None, ignore_index: int, reduction: str, smoothing: float, shape_: Any
) -> Tensor:
    valid = labels != ignore_index
    safe = Tensor.wrap(np.where(valid, labels, 0))
    log_p = rows.log_softmax(1)
    scaled = log_p if weight is None else log_p * weight
    picked = -scaled.gather(1, safe.unsqueeze(1)).squeeze(1)
    share = np.ones(len(labels), rows.array.dtype) if weight is None else weight.array[safe.array]
    total = (1 - smoothing) * picked - (smoothing / rows.array.shape[1]) * scaled.sum(1)
    total = total.masked_fill(Tensor.wrap(~valid), 0.0)
    if reduction == "none":
        return total.reshape(shape_)  # type: ignore[no-any-return]
    summed = total.sum()
    return summed / float(share[valid].sum()) if reduction == "mean" else summed  # type: ignore[no-any-return]


def mse_loss(input: Tensor, target: Tensor, *, reduction: str = "mean") -> Tensor:
    """均方误差。"""
    return _reduce((input - target) ** 2, reduction)


def l1_loss(input: Tensor, target: Tensor, *, reduction: str = "mean") -> Tensor:
    """平均绝对误差。"""
    return _reduce((input - target).abs(), reduction)


def nll_loss(input: Tensor, target: Tensor, *, ignore_index: int = -100, reduction: str = "mean") -> Tensor:
    """负对数似然；输入是对数概率 ``(N, C)``。"""
    labels = target.array
    _check_labels(labels, input.array.shape[1], ignore_index)
    valid = Tensor.wrap(labels != ignore_index)
    picked = -input.gather(1, Tensor.wrap(np.where(valid.array, labels, 0)).unsqueeze(1)).squeeze(1)
    kept = picked.masked_fill(valid.logical_not(), 0.0)
    return kept.sum() / int(valid.array.sum()) if reduction == "mean" else _reduce(kept, reduction)


def _reduce(value: Tensor, reduction: str) -> Tensor:
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"{reduction} is not a valid value for reduction")
    return value.mean() if reduction == "mean" else value.sum() if reduction == "sum" else value
