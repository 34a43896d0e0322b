"""``vmap``：把只管一个样本的函数用到一批上。

流入：函数与一批输入；流出：一批输出。做法是老老实实的循环：逐个样本切出来、调用、再叠起来，所以不比循环快，
但函数里可以有依赖数据的分支。与别的变换可以任意套用，如 ``vmap(grad(loss))`` 得到逐样本的梯度。
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_llm.func.derivatives import Function
from tinygrad_llm.func.draws import Draws
from tinygrad_llm.func.trees import Structure, flatten, spread, unflatten
from tinygrad_llm.joining import stack
from tinygrad_llm.tensor import Tensor


def vmap(
    func: Function,
    in_dims: Any = 0,
    out_dims: Any = 0,
    randomness: str = "error",
    *,
    chunk_size: int | None = None,
) -> Function:
    """一次一个样本的函数 → 一次一批的函数。

    Args:
        func: 函数，返回 Tensor（或装着 Tensor 的容器）。
        in_dims: 各输入的哪一轴是样本；``None`` 表示各样本共用；结构可以与位置参数相同，也可以只是一个数。
        out_dims: 各输出的样本放在哪一轴；``None`` 表示各样本的结果必须相同，只留一份。
        randomness: 函数里抽随机数时，``"error"`` 报错，``"same"`` 各样本抽到相同的，``"different"`` 各抽各的。
        chunk_size: torch 一次并行算这么多个样本；这里本来就一个一个算，只核对它是正数。

    Returns:
        与 ``func`` 同样调用的函数；关键字参数各样本共用。

    Raises:
        ValueError: ``chunk_size`` 不是正数。
    """
    if chunk_size is not None and chunk_size <= 0:
        raise ValueError(f"vmap: chunk_size should be None or greater than 0. (got {chunk_size})")
    draws = Draws(randomness)

    @functools.wraps(func)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        name = f"vmap({getattr(func, '__name__', type(func).__name__)}, in_dims={in_dims}, ...)(<inputs>)"
        leaves, structure = flatten(args)
        dims = _input_dims(name, in_dims, leaves, structure)
        size = _batch_size(leaves, dims)

        def call(pick: Callable[[Any, int], Any]) -> Any:
            picked = [v if d is None else pick(v, d) for v, d in zip(leaves, dims, strict=True)]
            return func(*unflatten(picked, structure), **kwargs)

        if size == 0:  # 一个样本也没有：拿 0 试一次，只为知道输出的形状
            return _joined(draws.each([lambda: call(_blank)]), out_dims, size)
        return _joined(draws.each([functools.partial(call, _sample(i)) for i in range(size)]), out_dims, size)

    return wrapper


def _sample(i: int) -> Callable[[Tensor, int], Tensor]:
    return lambda v, dim: v.select(dim, i)


def _blank(v: Tensor, dim: int) -> Tensor:
    shape = list(v.array.shape)
    del shape[dim]
    return Tensor.wrap(np.zeros(shape, v.array.dtype))


def _input_dims(name: str, in_dims: Any, leaves: list[Any], structure: Structure) -> list[Any]:
    if not isinstance(in_dims, (int, tuple)):
        raise ValueError(
            f"{name}: expected `in_dims` to be int or a (potentially nested) tuple matching the structure of inputs, "
            f"got: {type(in_dims)}."
        )
    if not leaves:
        raise ValueError(f"{name}: got no inputs.")
    dims = spread(in_dims, structure)
    if dims is None:
        raise ValueError(f"{name}: in_dims is not compatible with the structure of `inputs`.")
    for dim, leaf in zip(dims, leaves, strict=True):
        _check_input_dim(name, dim, leaf)
    return dims


def _check_input_dim(name: str, dim: Any, leaf: Any) -> None:
    if dim is None:
        return
    if not isinstance(dim, int):
        raise ValueError(
            f"{name}: Got in_dim={dim} for an input but in_dim must be either an integer dimension or None."
        )
    if not isinstance(leaf, Tensor):
        raise ValueError(
            f"{name}: Got in_dim={dim} for an input but the input is of type {type(leaf)}. We cannot vmap over "
            "non-Tensor arguments, please use None as the respective in_dim"
        )
    n = leaf.array.ndim
    if not -n <= dim < n:
        raise ValueError(
            f"{name}: Got in_dim={dim} for some input, but that input is a Tensor of dimensionality {n} so expected "
            f"in_dim to satisfy -{n} <= in_dim < {n}."
        )


def _batch_size(leaves: list[Any], dims: list[Any]) -> int:
    sizes = [leaf.array.shape[d] for leaf, d in zip(leaves, dims, strict=True) if d is not None]
    if not sizes:
        raise ValueError("vmap: Expected at least one Tensor to vmap over")
    if len(set(sizes)) > 1:
        raise ValueError(
            "vmap: Expected all tensors to have the same size in the mapped dimension, got sizes "
            f"{sizes} for the mapped dimension"
        )
    return int(sizes[0])


def _joined(results: list[Any], out_dims: Any, size: int) -> Any:
    """各样本的结果叠成一批。"""
    flat = [flatten(result)[0] for result in results]
    structure = flatten(results[0])[1]
    dims = spread(out_dims, structure)
    if dims is None:
        raise ValueError(f"vmap(..., out_dims={out_dims})(<inputs>): out_dims does not fit the structure of `outputs`.")
    return unflatten([_stacked([row[i] for row in flat], d, size) for i, d in enumerate(dims)], structure)


def _stacked(values: list[Any], dim: Any, size: int) -> Any:
    for value in values:
        if not isinstance(value, Tensor):
            raise ValueError(f"vmap(f, ...): `f` must only return Tensors, got type {type(value)} as a return.")
    if dim is None:
        if any(not np.array_equal(v.array, values[0].array) for v in values):
            raise ValueError("vmap(f, ...): `f` can not return a different Tensor per sample when out_dim is None")
        return values[0]
    if not isinstance(dim, int):
        raise ValueError(f"vmap(f, ..., out_dims={dim}): `out_dims` must be an int, None or a collection of them.")
    joined = stack(values, dim)
    return joined if size else joined.narrow(dim, 0, 0)
