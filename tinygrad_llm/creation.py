"""工厂函数与拼接函数：从数、列表、数组或随机数造出 Tensor。

流入：形状、数值；流出：Tensor。名字、参数与缺省值同 torch。
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygrad_llm import dtypes
from tinygrad_llm.autograd.graph import apply
from tinygrad_llm.cpu import device
from tinygrad_llm.methods.arithmetic import match
from tinygrad_llm.methods.shaping import axis, sizes
from tinygrad_llm.ops import elementwise as ew
from tinygrad_llm.ops import shape as sh
from tinygrad_llm.ops.bfloat16 import is_bfloat16, rounded
from tinygrad_llm.random import Generator, default_generator
from tinygrad_llm.tensor import Tensor


def _finish(array: Any, requires_grad: bool, where: Any) -> Tensor:
    if where is not None:
        device(where)
    array = np.asarray(array)
    result = Tensor.wrap(rounded(array) if is_bfloat16(array.dtype) else array)
    return result.requires_grad_() if requires_grad else result


def _float(dtype: dtypes.dtype | None) -> Any:
    return (dtype or dtypes.get_default_dtype()).numpy


def tensor(data: Any, *, dtype: dtypes.dtype | None = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """从数、嵌套列表或数组造一个新 Tensor（总是复制）。

    Args:
        data: 数、嵌套列表、数组或 Tensor。
        dtype: 元素类型；缺省时 Python 浮点取缺省浮点类型，数组保留自己的类型。
        device: 只能是 CPU。
        requires_grad: 是否需要梯度。

    Returns:
        新的叶子。
    """
    if isinstance(data, Tensor):
        data = data.array
    elif isinstance(data, (list, tuple)):
        data = _without_tensors(data)
    array = np.array(data, dtype=dtypes.as_numpy(dtype))
    if dtype is None and array.dtype == np.float64 and not isinstance(data, (np.ndarray, np.generic)):
        array = array.astype(dtypes.get_default_dtype().numpy)
    result = _finish(array, requires_grad, device)
    dtypes.of(result.array)  # 不支持的类型在这里就报错
    return result


def _without_tensors(data: Any) -> Any:
    if isinstance(data, (list, tuple)):
        return [_without_tensors(part) for part in data]
    return data.tolist() if isinstance(data, Tensor) else data


def as_tensor(data: Any, dtype: dtypes.dtype | None = None, device: Any = None) -> Tensor:
    """能不复制就不复制的 ``tensor``。"""
    if isinstance(data, Tensor):
        return data.to(dtype=dtype, device=device)  # type: ignore[no-any-return]
    if isinstance(data, np.ndarray):
        return from_numpy(data).to(dtype=dtype, device=device)  # type: ignore[no-any-return]
    return tensor(data, dtype=dtype, device=device)


def from_numpy(array: np.ndarray[Any, Any]) -> Tensor:
    """与数组共享内存的 Tensor。"""
    result = Tensor.wrap(array)
    dtypes.of(array)
    return result


def zeros(*size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """全 0。"""
    return _finish(np.zeros(sizes(size), _float(dtype)), requires_grad, device)


def ones(*size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """全 1。"""
    return _finish(np.ones(sizes(size), _float(dtype)), requires_grad, device)


def empty(*size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """未初始化。"""
    return _finish(np.empty(sizes(size), _float(dtype)), requires_grad, device)


def full(size: Any, fill_value: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """全部是同一个数。"""
    like = tensor(fill_value, dtype=dtype)
    return _finish(np.full(sizes((size,)), fill_value, like.array.dtype), requires_grad, device)


def zeros_like(x: Tensor, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """同形状的全 0。"""
    return _finish(np.zeros_like(x.array, dtype=dtypes.as_numpy(dtype)), requires_grad, device)


def ones_like(x: Tensor, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """同形状的全 1。"""
    return _finish(np.ones_like(x.array, dtype=dtypes.as_numpy(dtype)), requires_grad, device)


def empty_like(x: Tensor, *, dtype: Any = None, device: Any = None) -> Tensor:
    """同形状的未初始化 Tensor。"""
    return _finish(np.empty_like(x.array, dtype=dtypes.as_numpy(dtype)), False, device)


def full_like(x: Tensor, fill_value: Any, *, dtype: Any = None) -> Tensor:
    """同形状、全部是同一个数。"""
    return _finish(np.full_like(x.array, fill_value, dtype=dtypes.as_numpy(dtype)), False, None)


def arange(start: Any, end: Any = None, step: Any = 1, *, dtype: Any = None, device: Any = None) -> Tensor:
    """等差数列 ``[start, end)``；全是整数时为 int64，否则为缺省浮点类型。"""
    low, high = (0, start) if end is None else (start, end)
    integral = all(isinstance(v, (int, np.integer)) for v in (low, high, step))
    wanted = dtypes.as_numpy(dtype) or (np.int64 if integral else dtypes.get_default_dtype().numpy)
    return _finish(np.arange(low, high, step).astype(wanted), False, device)


def linspace(start: float, end: float, steps: int, *, dtype: Any = None, device: Any = None) -> Tensor:
    """首尾在内的等分点。"""
    return _finish(np.linspace(start, end, steps).astype(_float(dtype)), False, device)


def eye(n: int, m: int | None = None, *, dtype: Any = None) -> Tensor:
    """单位阵。"""
    return _finish(np.eye(n, m, dtype=_float(dtype)), False, None)


def rand(*size: Any, generator: Generator | None = None, dtype: Any = None, device: Any = None) -> Tensor:
    """``[0, 1)`` 上的均匀随机数。"""
    source = generator or default_generator
    return _finish(source.uniform(sizes(size), _float(dtype)), False, device)


def randn(
    *size: Any, generator: Generator | None = None, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """标准正态随机数。"""
    source = generator or default_generator
    return _finish(source.normal(sizes(size), _float(dtype)), requires_grad, device)


def rand_like(x: Tensor) -> Tensor:
    """同形状、同类型的均匀随机数。"""
    return rand(*x.shape, dtype=x.dtype)


def randn_like(x: Tensor) -> Tensor:
    """同形状、同类型的标准正态随机数。"""
    return randn(*x.shape, dtype=x.dtype)


def randint(low: int, high: Any = None, size: Any = None, *, generator: Any = None, dtype: Any = None) -> Tensor:
    """``[low, high)`` 上的随机整数；两个参数的写法 ``randint(high, size)`` 也行。

    Raises:
        RuntimeError: 区间为空。
    """
    if size is None:
        low, high, size = 0, low, high
    if low >= high:
        raise RuntimeError(f"randint expects low < high, got low={low}, high={high}")
    source = generator or default_generator
    return _finish(source.integers(low, high, sizes((size,))).astype((dtype or dtypes.int64).numpy), False, None)


def randperm(n: int, *, generator: Generator | None = None) -> Tensor:
    """``0 … n-1`` 的随机排列。"""
    return _finish((generator or default_generator).permutation(n), False, None)


def bernoulli(p: Tensor, *, generator: Generator | None = None) -> Tensor:
    """以概率 ``p`` 取 1。"""
    draws = (generator or default_generator).uniform(p.array.shape, np.float64)
    return Tensor.wrap((draws < p.array).astype(p.array.dtype))


def multinomial(
    x: Tensor, num_samples: int, replacement: bool = False, *, generator: Generator | None = None
) -> Tensor:
    """按各行的非负权重抽 ``num_samples`` 个下标。

    不放回时用「指数竞赛」：每个候选抽一个速率为权重的指数时刻，最早的几个就是样本。

    Raises:
        RuntimeError: 权重有负数、NaN、inf，某一行的和为 0，或不放回时候选不够。
    """
    weights = x.array.astype(np.float64)
    if not np.isfinite(weights).all() or (weights < 0).any() or (weights.sum(-1) <= 0).any():
        raise RuntimeError("probability tensor contains either `inf`, `nan` or element < 0, or a row sums to zero")
    if not replacement and num_samples > weights.shape[-1]:
        raise RuntimeError(f"cannot draw {num_samples} samples from {weights.shape[-1]} without replacement")
    source = generator or default_generator
    if replacement:
        edges = np.cumsum(weights / weights.sum(-1, keepdims=True), axis=-1)
        draws = source.uniform((*weights.shape[:-1], num_samples), np.float64)
        found = (draws[..., None] >= edges[..., None, :]).sum(-1)
        return Tensor.wrap(np.minimum(found, weights.shape[-1] - 1))
    with np.errstate(divide="ignore"):
        race = weights / source.exponential(weights.shape)
    return Tensor.wrap(np.argsort(-race, axis=-1, kind="stable")[..., :num_samples])


def _together(tensors: Sequence[Tensor]) -> list[Tensor]:
    """统一 dtype。"""
    common = tensors[0]
    for other in tensors[1:]:
        pair = match(common, other)
        common = pair[0] if pair else common
    return [t.to(common.dtype) for t in tensors]


def cat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """沿 ``dim`` 首尾相接。

    Raises:
        ValueError: 一个也没给。
    """
    if not tensors:
        raise ValueError("cat: expected a non-empty list of Tensors")
    kept = [t for t in tensors if t.array.shape != (0,)] or list(tensors)  # torch 忽略一维的空张量
    same = _together(kept)
    return apply(sh.cat, same, {"dim": axis(dim, same[0].ndim)})  # type: ignore[no-any-return]


def stack(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """沿一根新轴叠起来。

    Raises:
        RuntimeError: 一个也没给，或形状不同。
    """
    if not tensors:
        raise RuntimeError("stack expects a non-empty list of Tensors")
    if any(t.array.shape != tensors[0].array.shape for t in tensors):
        raise RuntimeError(f"stack expects tensors of equal size, got {[tuple(t.shape) for t in tensors]}")
    return cat([t.unsqueeze(dim) for t in tensors], axis(dim, tensors[0].ndim + 1))


def where(condition: Tensor, a: Any, b: Any) -> Tensor:
    """``condition ? a : b``。

    Raises:
        TypeError: ``a`` 与 ``b`` 都不是 Tensor 或数。
        RuntimeError: ``condition`` 不是布尔类型。
    """
    if condition.array.dtype.kind != "b":
        raise RuntimeError(f"where expected condition to be a boolean tensor, got {condition.dtype}")
    if not isinstance(a, Tensor) and not isinstance(b, Tensor):
        a = tensor(a)
    pair = match(a, b)
    if pair is None:
        raise TypeError(f"where: expected tensors or numbers, got {type(a).__name__} and {type(b).__name__}")
    return apply(ew.where, (condition, *pair), {})  # type: ignore[no-any-return]


def outer(a: Tensor, b: Tensor) -> Tensor:
    """外积。"""
    return a.unsqueeze(1) * b.unsqueeze(0)  # type: ignore[no-any-return]


def allclose(a: Tensor, b: Tensor, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> bool:
    """是否处处接近。"""
    return bool(np.allclose(a.array, b.array, rtol, atol, equal_nan))


def equal(a: Tensor, b: Tensor) -> bool:
    """形状与值是否完全相同。"""
    return bool(np.array_equal(a.array, b.array))
