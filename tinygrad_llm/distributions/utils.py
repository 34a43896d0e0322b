"""概率与 logits 的互换，参数的广播，以及用到才算的属性。

流入：数与 Tensor；流出：Tensor。各分布共用；名字同 ``torch.distributions.utils``。
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_llm import dtypes
from tinygrad_llm.absent import attributes
from tinygrad_llm.autograd import enable_grad
from tinygrad_llm.creation import tensor
from tinygrad_llm.joining import broadcast_tensors
from tinygrad_llm.promotion import finfo
from tinygrad_llm.tensor import Tensor

euler_constant = 0.57721566490153286060


def broadcast_all(*values: Any) -> tuple[Tensor, ...]:
    """数变成 Tensor（类型随第一个 Tensor，都是数则为缺省浮点类型），再互相广播。

    Raises:
        ValueError: 既不是数也不是 Tensor。
    """
    if not all(isinstance(value, (Tensor, int, float)) for value in values):
        kinds = [type(value).__name__ for value in values]
        raise ValueError(f"the parameters must be numbers or Tensors, got {kinds}")
    dtype = next((value.dtype for value in values if isinstance(value, Tensor)), dtypes.get_default_dtype())
    given = [value if isinstance(value, Tensor) else tensor(value, dtype=dtype) for value in values]
    return broadcast_tensors(*given)


def sum_rightmost(value: Tensor, dim: int) -> Tensor:
    """末尾 ``dim`` 轴求和。"""
    return value if dim == 0 else value.reshape(*value.shape[:-dim], -1).sum(-1)


def logits_to_probs(logits: Tensor, is_binary: bool = False) -> Tensor:
    """softmax；``is_binary`` 则 sigmoid。"""
    return logits.sigmoid() if is_binary else logits.softmax(-1)


def clamp_probs(probs: Tensor) -> Tensor:
    """截到 ``[ε, 1-ε]``。"""
    eps = finfo(probs.dtype).eps
    return probs.clamp(eps, 1 - eps)


def probs_to_logits(probs: Tensor, is_binary: bool = False) -> Tensor:
    """对数；``is_binary`` 则为 ``ln p - ln(1-p)``。先离开 0 与 1 一个 ε。"""
    inside = clamp_probs(probs)
    return inside.log() - (-inside).log1p() if is_binary else inside.log()


def clipped_sigmoid(x: Tensor) -> Tensor:
    """sigmoid，但到不了 0 与 1。"""
    limits = finfo(x.dtype)
    return x.sigmoid().clamp(limits.tiny, 1.0 - limits.eps)


class lazy_property:  # noqa: N801  与 torch 同名
    """第一次取用时才算、此后不再算的属性；总是记图，``no_grad`` 里第一次取用也不丢梯度。"""

    def __init__(self, wrapped: Callable[[Any], Any]) -> None:
        self.wrapped = wrapped
        functools.update_wrapper(self, wrapped)  # type: ignore[arg-type]

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        if instance is None:
            return self
        with enable_grad():
            value = self.wrapped(instance)
        instance.__dict__[self.wrapped.__name__] = value
        return value


def tril_matrix_to_vec(mat: Tensor, diag: int = 0) -> Tensor:
    """下三角（到第 ``diag`` 条对角线）排成一行。

    Raises:
        ValueError: ``diag`` 超出范围。
    """
    n = mat.shape[-1]
    if not -n <= diag < n:
        raise ValueError(f"diag ({diag}) provided is outside [{-n}, {n - 1}].")
    rows, columns = np.nonzero(np.tri(n, n, diag))
    return mat[..., rows, columns]


def vec_to_tril_matrix(vec: Tensor, diag: int = 0) -> Tensor:
    """``tril_matrix_to_vec`` 的逆：其余元素是 0。

    Raises:
        ValueError: 长度凑不成一个三角。
    """
    count, n = vec.shape[-1], max(1, -diag)
    while int(np.tri(n, n, diag).sum()) < count:
        n += 1
    rows, columns = np.nonzero(np.tri(n, n, diag))
    if len(rows) != count:
        raise ValueError(f"{count} elements cannot be the lower triangular part of a square matrix")
    flat = vec.new_zeros(*vec.shape[:-1], n * n)
    at = Tensor.wrap((rows * n + columns).astype(np.int64)).expand(vec.shape)
    return flat.scatter(-1, at, vec).reshape(*vec.shape[:-1], n, n)


__getattr__ = attributes(__name__)
