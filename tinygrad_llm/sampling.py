"""随机数的工厂函数：均匀、正态、整数、排列与抽样。

流入：形状与生成器；流出：Tensor。同一种子之下与 torch 的 CPU 实现逐个相同。
"""

from __future__ import annotations

from collections.abc import Callable
from operator import index as as_int
from typing import Any

import numpy as np

from tinygrad_llm import dtypes, rejection
from tinygrad_llm.creation import empty_like, finish, float_type, shape_of
from tinygrad_llm.joining import broadcast_shapes
from tinygrad_llm.layouts import strided
from tinygrad_llm.methods.operands import tensors
from tinygrad_llm.methods.sampling import constant_in
from tinygrad_llm.methods.shaping import sizes
from tinygrad_llm.ops.bfloat16 import is_low, narrowed
from tinygrad_llm.out import made_into
from tinygrad_llm.random import Generator, default_generator
from tinygrad_llm.tensor import Tensor


@made_into
def rand(
    *args: Any,
    size: Any = None,
    generator: Generator | None = None,
    dtype: Any = None,
    layout: Any = strided,
    device: Any = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
) -> Tensor:
    """``[0, 1)`` 上的均匀随机数。"""
    result = finish(np.empty(shape_of("rand", args, size), float_type(dtype)), False, device, layout, pin_memory)
    return result.uniform_(generator=generator).requires_grad_(requires_grad)  # type: ignore[no-any-return]


@made_into
def randn(
    *args: Any,
    size: Any = None,
    generator: Generator | None = None,
    dtype: Any = None,
    layout: Any = strided,
    device: Any = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
) -> Tensor:
    """标准正态随机数。"""
    result = finish(np.empty(shape_of("randn", args, size), float_type(dtype)), False, device, layout, pin_memory)
    return result.normal_(generator=generator).requires_grad_(requires_grad)  # type: ignore[no-any-return]


def rand_like(
    input: Tensor, *, generator: Generator | None = None, requires_grad: bool = False, **options: Any
) -> Tensor:
    """同形状的均匀随机数；其余参数同 ``empty_like``。"""
    filled = empty_like(input, **options).uniform_(generator=generator)
    return filled.requires_grad_(requires_grad)  # type: ignore[no-any-return]


def randn_like(
    input: Tensor, *, generator: Generator | None = None, requires_grad: bool = False, **options: Any
) -> Tensor:
    """同形状的标准正态随机数；其余参数同 ``empty_like``。"""
    filled = empty_like(input, **options).normal_(generator=generator)
    return filled.requires_grad_(requires_grad)  # type: ignore[no-any-return]


@made_into
def randint(
    low: int = 0,
    high: Any = None,
    size: Any = None,
    *,
    generator: Generator | None = None,
    dtype: Any = None,
    layout: Any = strided,
    device: Any = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
) -> Tensor:
    """``[low, high)`` 上的随机整数；``randint(high, size)`` 与 ``randint(high, size=size)`` 也行。

    Raises:
        RuntimeError: 区间为空，或超出 dtype。
        TypeError: 界不是整数。
    """
    if size is None:
        low, high, size = 0, low, high
    elif high is None:
        low, high = 0, low
    shape = shape_of("randint", (), size)
    wanted = np.dtype(np.int64) if dtype is None else dtypes.as_numpy(dtype)
    result = finish(np.empty(shape, wanted), False, device, layout, pin_memory)
    filled = result.random_(as_int(low), as_int(high), generator=generator)
    return filled.requires_grad_(requires_grad)  # type: ignore[no-any-return]


def randint_like(
    input: Tensor,
    low: int = 0,
    high: Any = None,
    *,
    generator: Generator | None = None,
    requires_grad: bool = False,
    **options: Any,
) -> Tensor:
    """同形状、同类型的随机整数；其余参数同 ``empty_like``。"""
    first, last = (0, low) if high is None else (low, high)
    filled = empty_like(input, **options).random_(as_int(first), as_int(last), generator=generator)
    return filled.requires_grad_(requires_grad)  # type: ignore[no-any-return]


@made_into
def randperm(
    n: int,
    *,
    generator: Generator | None = None,
    dtype: Any = dtypes.int64,
    layout: Any = strided,
    device: Any = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
) -> Tensor:
    """``0 … n-1`` 的随机排列。

    Raises:
        RuntimeError: ``n`` 为负，或 dtype 放不下。
    """
    count, wanted = as_int(n), dtypes.as_numpy(dtype)
    if count < 0 or wanted.kind == "b" or (wanted.kind in "iu" and count > int(np.iinfo(wanted).max)):
        raise RuntimeError(f"randperm: n = {count} must be non-negative and fit in {wanted}")
    order = (generator or default_generator).permutation(count)
    return finish(order.astype(wanted), requires_grad, device, layout, pin_memory)


def normal(
    mean: Any,
    std: Any = 1.0,
    size: Any = None,
    *,
    generator: Generator | None = None,
    dtype: Any = None,
    layout: Any = strided,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """正态随机数：均值与标准差是数（要给 ``size``）或 Tensor。

    Raises:
        RuntimeError: 标准差为负，或形状不能互相广播。
        TypeError: 都是数而没有给 ``size``。
    """
    if not isinstance(mean, Tensor) and not isinstance(std, Tensor):
        if size is None:
            raise TypeError("normal(): size is required when mean and std are numbers")
        result = finish(np.empty(sizes((size,)), float_type(dtype)), False, device, layout)
        return result.normal_(mean, std, generator=generator).requires_grad_(requires_grad)  # type: ignore[no-any-return]
    if isinstance(std, Tensor) and (std.array < 0).any():
        raise RuntimeError("normal expects all elements of std >= 0.0")
    if not isinstance(std, Tensor) and not std >= 0:
        raise RuntimeError(f"normal expects std >= 0.0, but found std {std}")
    like = mean if isinstance(mean, Tensor) else std
    shape = broadcast_shapes(*[t.array.shape for t in (mean, std) if isinstance(t, Tensor)])
    noise = Tensor.wrap(np.empty(shape, like.array.dtype)).normal_(generator=generator)
    center, spread = (p.detach() if isinstance(p, Tensor) else p for p in (mean, std))
    return constant_in(noise * spread + center, mean, std)  # type: ignore[no-any-return]


def bernoulli(input: Tensor, p: Any = None, *, generator: Generator | None = None) -> Tensor:
    """以 ``input`` 的元素（或 ``p``）为概率抽 0 与 1。"""
    return input.bernoulli(p, generator=generator)  # type: ignore[no-any-return]


def multinomial(
    input: Tensor, num_samples: int, replacement: bool = False, *, generator: Generator | None = None
) -> Tensor:
    """按各行的非负权重抽 ``num_samples`` 个下标。"""
    return input.multinomial(num_samples, replacement, generator=generator)  # type: ignore[no-any-return]


def poisson(input: Tensor, generator: Generator | None = None) -> Tensor:
    """以 ``input`` 的元素为均值的泊松随机数；梯度处处为 0。

    Raises:
        NotImplementedError: 不是浮点类型。
        RuntimeError: 均值为负。
    """
    tensors("poisson", input)
    source = generator or default_generator
    return _one_by_one("poisson", lambda rate: rejection.poisson(float(rate), source), input)


def binomial(count: Tensor, prob: Tensor, generator: Generator | None = None) -> Tensor:
    """试 ``count`` 次、每次成功的概率是 ``prob`` 的二项随机数；两者可广播，梯度处处为 0。

    Raises:
        RuntimeError: 两者的 dtype 不同。
        ValueError: 不是浮点类型。
    """
    tensors("binomial", count, prob)
    if count.array.dtype.kind != "f":
        raise ValueError(f"binomial only supports floating-point dtypes for count, got: {count.dtype}")
    if count.dtype is not prob.dtype:
        raise RuntimeError(f"binomial: count and prob must have the same dtype, got {count.dtype} and {prob.dtype}")
    source = generator or default_generator
    return _one_by_one("binomial", lambda n, p: rejection.binomial(n, p, source), count, prob)


def standard_gamma(alpha: Tensor, generator: Generator | None = None) -> Tensor:
    """形状参数为 ``alpha`` 的标准伽马随机数，不记图；至少是最小的正规数。"""
    source, least = generator or default_generator, np.finfo(alpha.array.dtype).tiny
    return _one_by_one("gamma", lambda shape: max(rejection.gamma(shape, source), float(least)), alpha.detach())


def _one_by_one(name: str, draw: Callable[..., float], *parameters: Tensor) -> Tensor:
    """参数互相广播，逐个元素抽一个数。"""
    if any(p.array.dtype.kind != "f" for p in parameters):
        raise NotImplementedError(f"{name} is not implemented for {[p.dtype for p in parameters]}")
    arrays = np.broadcast_arrays(*[p.array for p in parameters])
    drawn = np.array([draw(*values) for values in zip(*[a.reshape(-1) for a in arrays], strict=True)], np.float64)
    kind = parameters[0].array.dtype
    result = narrowed(drawn.astype(np.float32), kind) if is_low(kind) else drawn.astype(kind)
    return constant_in(Tensor.wrap(result.reshape(arrays[0].shape)), *parameters)  # type: ignore[no-any-return]
