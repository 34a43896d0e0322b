"""按下标求和：``einsum``、``tensordot``，以及一串矩阵之积与两两距离。

流入：一个或几个 Tensor 与下标；流出：Tensor。两个张量的缩并都化成一次批量的矩阵乘法，又快又不占地方。
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from tinygrad_llm.linalg.checks import require_float, require_same
from tinygrad_llm.linalg.products import multi_dot
from tinygrad_llm.methods.shaping import axis
from tinygrad_llm.ops.distances import chebyshev, euclidean
from tinygrad_llm.ops.reduce import vector_norm
from tinygrad_llm.out import with_out
from tinygrad_llm.tensor import Tensor

Labels = list[int]
"""一个张量各轴的下标；``...`` 里的轴用负数，从右往左是 -1、-2、…。"""

_ELLIPSIS = -1000


@with_out
def tensordot(a: Tensor, b: Tensor, dims: Any = 2) -> Any:
    """``a`` 与 ``b`` 在若干对轴上求和。

    Args:
        a: Tensor。
        b: Tensor。
        dims: 整数 ``n`` 表示 ``a`` 的最后 ``n`` 根与 ``b`` 的最前 ``n`` 根；或两个等长的轴号列表。

    Raises:
        RuntimeError: 轴数或长度不合，或 dtype 不同。
    """
    dims = dims.tolist() if isinstance(dims, Tensor) else dims
    if not isinstance(dims, int) and (isinstance(dims, str) or len(dims) != 2):
        raise RuntimeError(f"tensordot: dims must be an int or two lists of ints, got {dims!r}")
    if isinstance(dims, int):
        if not 0 <= dims <= min(a.ndim, b.ndim):
            raise RuntimeError(f"tensordot: dims={dims} does not fit shapes {a.array.shape} and {b.array.shape}")
        dims = (list(range(a.ndim - dims, a.ndim)), list(range(dims)))
    left, right = ([one] if isinstance(one, int) else list(one) for one in dims)
    if len(left) != len(right):
        raise RuntimeError(f"tensordot: both dimension lists should have same length, got {left} and {right}")
    if a.dtype is not b.dtype:
        raise RuntimeError(f"tensordot: both inputs should have same dtype, got {a.dtype} and {b.dtype}")
    left, right = [axis(d, a.ndim) for d in left], [axis(d, b.ndim) for d in right]
    if len(set(left)) < len(left) or len(set(right)) < len(right):
        raise RuntimeError(f"tensordot: a dimension appears twice in {left} or {right}")
    letters = list(range(a.ndim + b.ndim))
    names_a, names_b = letters[: a.ndim], letters[a.ndim :]
    for i, j in zip(left, right, strict=True):
        if a.array.shape[i] != b.array.shape[j] and 1 not in (a.array.shape[i], b.array.shape[j]):
            raise RuntimeError(
                f"tensordot: contracted dimensions need to match, got shapes {a.array.shape} and {b.array.shape}"
            )
        names_b[j] = names_a[i]
    kept = [n for i, n in enumerate(names_a) if i not in left] + [n for j, n in enumerate(names_b) if j not in right]
    return _summed([a, b], [names_a, names_b], kept)


def chain_matmul(*matrices: Any) -> Any:
    """一串矩阵之积，自动选乘法次数最少的次序。

    Raises:
        RuntimeError: 一个也没给，或不是二维。
    """
    parts = list(matrices[0]) if len(matrices) == 1 and isinstance(matrices[0], (list, tuple)) else list(matrices)
    if not parts:
        raise RuntimeError("chain_matmul: expected one or more matrices")
    if any(m.ndim != 2 for m in parts):
        raise RuntimeError(f"chain_matmul: expected matrices, got shapes {[m.array.shape for m in parts]}")
    return parts[0] if len(parts) == 1 else multi_dot(parts)


def einsum(*args: Any) -> Any:
    """爱因斯坦求和。

    Args:
        *args: ``einsum("ij,jk->ik", a, b)``，张量也可以放在一个列表里；或逐个给出张量与整数下标
            ``einsum(a, [0, 1], b, [1, 2], [0, 2])``。没写输出时，是只出现一次的下标，按字母排。

    Returns:
        输出下标次序的 Tensor。

    Raises:
        ValueError: 没有给张量。
        RuntimeError: 写法不对，或同一下标的长度不同。
    """
    if len(args) < 2:
        raise ValueError(
            "einsum: must specify the equation string and at least one operand, or operands and subscripts"
        )
    if isinstance(args[0], str):
        operands = list(args[1]) if len(args) == 2 and isinstance(args[1], (list, tuple)) else list(args[1:])
        terms, output = _parsed(args[0])
    else:
        count = len(args) // 2
        operands = list(args[: 2 * count : 2])
        terms = [_sublist(part) for part in args[1 : 2 * count : 2]]
        output = _sublist(args[-1]) if len(args) % 2 else None
    if len(terms) != len(operands):
        raise RuntimeError(f"einsum: {len(terms)} operands in the equation, {len(operands)} given")
    wide = [_without_ellipsis(t, x.ndim) for t, x in zip(terms, operands, strict=True)]
    return _summed(operands, wide, _output_labels(output, wide))


def _parsed(equation: str) -> tuple[list[Labels], Labels | None]:
    """``"ij,jk->ik"`` → 各输入与输出的下标；没有箭头时输出是 ``None``。"""
    inputs, arrow, output = equation.partition("->")
    return [_labels(term) for term in inputs.split(",")], _labels(output) if arrow else None


def _labels(term: str) -> Labels:
    letters, dots, rest = term.replace(" ", "").partition("...")
    for letter in letters + rest:
        if not (letter.isascii() and letter.isalpha()):
            raise RuntimeError(f"einsum: invalid subscript {letter!r} in {term!r}, subscripts must be in [a-zA-Z]")
    return [ord(c) for c in letters] + [_ELLIPSIS] * bool(dots) + [ord(c) for c in rest]


def _sublist(part: Any) -> Labels:
    """整数下标的写法；0 到 25 是大写字母，26 到 51 是小写，与 torch 的次序一致。"""
    for one in part:
        if one is not Ellipsis and not (isinstance(one, int) and 0 <= one < 52):
            raise RuntimeError(f"einsum: subscripts must be in [0, 52) or Ellipsis, got {one!r}")
    return [_ELLIPSIS if one is Ellipsis else one for one in part]


def _without_ellipsis(labels: Labels, ndim: int) -> Labels:
    """``...`` 换成它代表的轴。"""
    named = len(labels) - (_ELLIPSIS in labels)
    if named > ndim or (named < ndim and _ELLIPSIS not in labels) or labels.count(_ELLIPSIS) > 1:
        raise RuntimeError(f"einsum: {named} subscripts do not fit an operand of {ndim} dimensions")
    if _ELLIPSIS not in labels:
        return labels
    at = labels.index(_ELLIPSIS)
    return [*labels[:at], *range(named - ndim, 0), *labels[at + 1 :]]


def _output_labels(output: Labels | None, terms: list[Labels]) -> Labels:
    """输出的下标；``...`` 换成各输入里最长的那一段。"""
    found = [label for term in terms for label in term]
    wide = sorted({label for label in found if label < 0})
    if output is None:
        return wide + sorted(label for label in set(found) if label >= 0 and found.count(label) == 1)
    at = output.index(_ELLIPSIS) if _ELLIPSIS in output else 0
    labels = [*output[:at], *wide, *output[at + 1 :]] if _ELLIPSIS in output else output
    if len(set(labels)) < len(labels) or not set(labels) <= set(found):
        raise RuntimeError("einsum: an output subscript appears twice, or in no operand")
    return labels


def _summed(operands: Sequence[Any], terms: Sequence[Labels], output: Labels) -> Any:
    """从左往右两两缩并；每一步把后面不再用到的下标加掉。"""
    sizes: dict[int, int] = {}
    for x, term in zip(operands, terms, strict=True):
        for label, n in zip(term, x.array.shape, strict=True):
            if sizes.setdefault(label, n) != n and 1 not in (n, sizes[label]):
                raise RuntimeError(f"einsum: a subscript has sizes {sizes[label]} and {n}, operands must agree")
            sizes[label] = n if sizes[label] == 1 else sizes[label]
    x, labels = _distinct(operands[0], list(terms[0]))
    for i in range(1, len(operands)):
        later = {*output, *(label for term in terms[i + 1 :] for label in term)}
        x, labels = _pair(x, labels, *_distinct(operands[i], list(terms[i])), later, sizes)
    gone = [i for i, label in enumerate(labels) if label not in output]
    if gone:
        x = x.sum(gone)
        labels = [label for label in labels if label in output]
    x = x.permute([labels.index(label) for label in output])
    return x.contiguous() if len(operands) > 1 else x


def _distinct(x: Any, labels: Labels) -> tuple[Any, Labels]:
    """同一个下标出现两次就取对角线。"""
    for label in set(labels):
        while labels.count(label) > 1:
            i = labels.index(label)
            j = labels.index(label, i + 1)
            if x.array.shape[i] != x.array.shape[j]:
                raise RuntimeError(f"einsum: a repeated subscript has sizes in shape {x.array.shape} that differ")
            x = x.diagonal(0, i, j)
            labels = [*labels[:i], *labels[i + 1 : j], *labels[j + 1 :], label]
    return x, labels


def _pair(a: Any, in_a: Labels, b: Any, in_b: Labels, later: set[int], sizes: dict[int, int]) -> tuple[Any, Labels]:
    """两个张量缩并：``(批, 左, 和) @ (批, 和, 右)``。"""
    if a.array.dtype.kind == "b" and b.array.dtype.kind == "b" and (set(in_a) | set(in_b)) - later:
        raise RuntimeError(f"einsum: no sums of bool tensors (shapes {a.array.shape} and {b.array.shape})")
    a, in_a = _alone_summed(a, in_a, later | set(in_b))
    b, in_b = _alone_summed(b, in_b, later | set(in_a))
    shared = [label for label in in_a if label in in_b]
    batch, summed = [s for s in shared if s in later], [s for s in shared if s not in later]
    left, right = ([s for s in labels if s not in shared] for labels in (in_a, in_b))
    order = [*batch, *left, *right]
    if not summed:  # 没有求和，只是逐元素相乘
        return _spread(a, in_a, order) * _spread(b, in_b, order), order
    a = _grouped(a, in_a, (batch, left, summed), sizes)
    b = _grouped(b, in_b, (batch, summed, right), sizes)
    return (a @ b).reshape([sizes[label] for label in order]), order


def _spread(x: Any, labels: Labels, order: Labels) -> Any:
    """各轴按 ``order`` 排好，没有的轴补长度 1。"""
    sizes = dict(zip(labels, x.array.shape, strict=True))
    x = x.permute([labels.index(label) for label in order if label in labels])
    return x.reshape([sizes.get(label, 1) for label in order])


def _alone_summed(x: Any, labels: Labels, wanted: set[int]) -> tuple[Any, Labels]:
    """只在这一个张量里出现、后面也不用的下标，先加掉。"""
    gone = [i for i, label in enumerate(labels) if label not in wanted]
    return (x.sum(gone), [label for label in labels if label in wanted]) if gone else (x, labels)


def _grouped(x: Any, labels: Labels, groups: Sequence[Labels], sizes: dict[int, int]) -> Any:
    """各轴按 ``groups`` 的次序排好，每一组并成一轴；长度为 1 的轴先广播。"""
    order = [label for group in groups for label in group]
    x = x.permute([labels.index(label) for label in order])
    full = [sizes[label] for label in order]
    x = x if list(x.array.shape) == full else x.expand(full)
    return x.reshape([math.prod(sizes[label] for label in group) for group in groups])


_MODES = ("use_mm_for_euclid_dist_if_necessary", "use_mm_for_euclid_dist", "donot_use_mm_for_euclid_dist")


def cdist(x1: Tensor, x2: Tensor, p: float = 2.0, compute_mode: str = _MODES[0]) -> Any:
    """两组点两两之间的 p-距离。

    Args:
        x1: ``(..., P, M)``。
        x2: ``(..., R, M)``，批可以广播。
        p: 非负数，可以是 inf。
        compute_mode: 欧氏距离是否由矩阵乘法求得；缺省在点多于 25 个时才用。

    Returns:
        ``(..., P, R)``。

    Raises:
        RuntimeError: 不到二维、``M`` 不等、dtype 不合，或 ``p`` 为负。
        ValueError: 没有这种 ``compute_mode``。
    """
    if compute_mode not in _MODES:
        raise ValueError(f"cdist: {compute_mode!r} is not a valid compute_mode, choose from {_MODES}")
    shapes = x1.array.shape, x2.array.shape
    if min(x1.ndim, x2.ndim) < 2 or shapes[0][-1] != shapes[1][-1]:
        raise RuntimeError(f"cdist: expected (..., P, M) and (..., R, M), got shapes {shapes}")
    require_float("cdist", x1, x2)
    require_same("cdist", x1, x2)
    if p < 0:
        raise RuntimeError(f"cdist: expected p >= 0, got {p}")
    many = max(shapes[0][-2], shapes[1][-2]) > 25
    if p == 2 and (compute_mode == _MODES[1] or (compute_mode == _MODES[0] and many)):
        return euclidean(x1, x2)
    apart = x1.unsqueeze(-2) - x2.unsqueeze(-3)
    return chebyshev(apart) if p == math.inf else vector_norm(apart, p=float(p), dim=(apart.ndim - 1,))
