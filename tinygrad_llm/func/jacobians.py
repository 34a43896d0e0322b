"""由函数得到它的 Jacobian 与 Hessian，逐行或逐列计算。

流入：函数；流出：返回 Jacobian 的函数，结构是「输出的结构里套着输入的结构」。名字与 ``torch.func`` 相同。
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tinygrad_llm.autograd.mode import enable_grad
from tinygrad_llm.func.derivatives import Function, Pushforward
from tinygrad_llm.func.draws import Draws
from tinygrad_llm.func.level import Level, only_tensors, split_aux
from tinygrad_llm.func.trees import flatten, unflatten
from tinygrad_llm.joining import stack
from tinygrad_llm.tensor import Tensor


def jacrev(
    func: Function, argnums: int | tuple[int, ...] = 0, *, has_aux: bool = False, chunk_size: int | None = None
) -> Function:
    """Jacobian 函数，逐行计算：每个输出元素反传一次；输出比输入少时快。

    Args:
        func: 函数。
        argnums: 对第几个位置参数求导；元组则内层也是元组。
        has_aux: ``func`` 返回 ``(输出, 附带的东西)``。
        chunk_size: torch 一次并行算这么多行；这里本来就一行一行算，只核对它是正数。

    Returns:
        与 ``func`` 同样调用的函数，返回 Jacobian；``has_aux`` 时返回 ``(Jacobian, 附带的东西)``。

    Raises:
        ValueError: ``chunk_size`` 不是正数。
    """
    check_chunk_size(chunk_size, "jacrev")

    def by_rows(level: Level, output: Any, targets: list[Tensor]) -> list[list[Tensor]]:
        options = {"retain_graph": True, "create_graph": level.is_tracked}
        found = []
        for y in flatten(output)[0]:
            rows = [level.gradients([y], [seed], targets, **options) for seed in _basis(y)]
            found.append([_block([row[i] for row in rows], y, x, 0) for i, x in enumerate(targets)])
        return found

    return _jacobian(func, argnums, has_aux, by_rows)


def jacfwd(
    func: Function, argnums: int | tuple[int, ...] = 0, has_aux: bool = False, *, randomness: str = "error"
) -> Function:
    """Jacobian 函数，逐列计算：每个输入元素沿它的方向求一次 ``jvp``；输入比输出少时快。

    Args:
        func: 函数。
        argnums: 对第几个位置参数求导；元组则内层也是元组。
        has_aux: ``func`` 返回 ``(输出, 附带的东西)``。
        randomness: 函数里抽随机数时，``"error"`` 报错，``"same"`` 各列用同一次抽样；没有 ``"different"``。

    Returns:
        与 ``func`` 同样调用的函数，返回 Jacobian；``has_aux`` 时返回 ``(Jacobian, 附带的东西)``。

    Raises:
        NotImplementedError: ``randomness="different"``。
    """
    draws = Draws(randomness)
    if randomness == "different":
        raise NotImplementedError("jacfwd evaluates the function once: use randomness='same'")

    def once(*args: Any, **kwargs: Any) -> Any:
        (result,) = draws.each([lambda: func(*args, **kwargs)])
        return result

    def by_columns(level: Level, output: Any, targets: list[Tensor]) -> list[list[Tensor]]:
        push = Pushforward(level, output)
        columns: list[list[list[Tensor]]] = []
        for x in targets:
            rest = [Tensor.wrap(np.zeros_like(t.array)) for t in targets]
            at = next(i for i, t in enumerate(targets) if t is x)
            seeds = ([*rest[:at], seed, *rest[at + 1 :]] for seed in _basis(x))
            columns.append([push(list(seed), create_graph=level.is_tracked) for seed in seeds])
        return [
            [_block([c[i] for c in column], y, x, -1) for column, x in zip(columns, targets, strict=True)]
            for i, y in enumerate(push.outputs)
        ]

    return _jacobian(functools.wraps(func)(once), argnums, has_aux, by_columns)


def hessian(func: Function, argnums: int | tuple[int, ...] = 0) -> Function:
    """Hessian 函数：Jacobian 的 Jacobian。"""
    return jacrev(jacrev(func, argnums), argnums)


def _jacobian(func: Function, argnums: Any, has_aux: bool, blocks: Callable[..., list[list[Tensor]]]) -> Function:
    @functools.wraps(func)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        level = Level()
        with enable_grad():
            changed, chosen = level.enter_some(args, argnums)
            output, aux = split_aux(func(*changed, **kwargs), has_aux, "jacobian(f)(*args)")
            only_tensors(output, "vjp(f, *primals): expected f(*primals) to return only tensors")
            level.look_at(output)
            structure = flatten(chosen)[1]
            found = [unflatten(list(row), structure) for row in blocks(level, output, level.inputs)]
        result = level.leave(unflatten(found, flatten(output)[1]))
        return (result, level.leave(aux)) if has_aux else result

    return wrapper


def _basis(like: Tensor) -> Iterator[Tensor]:
    """与 ``like`` 同形、只有一个元素为 1 的向量，逐个给出。"""
    for k in range(like.array.size):
        seed = np.zeros(like.array.shape, like.array.dtype)
        seed.reshape(-1)[k] = 1
        yield Tensor.wrap(seed)


def _block(parts: list[Tensor], y: Tensor, x: Tensor, dim: int) -> Tensor:
    """几行（或几列）叠成形状为 ``y 的形状 + x 的形状`` 的一块。"""
    shape = tuple(y.array.shape) + tuple(x.array.shape)
    return stack(parts, dim).reshape(shape) if parts else x.new_zeros(shape)  # type: ignore[no-any-return]


def check_chunk_size(chunk_size: int | None, name: str) -> None:
    """``chunk_size`` 是 ``None`` 或正数。

    Raises:
        ValueError: 不是。
    """
    if chunk_size is not None and chunk_size <= 0:
        raise ValueError(f"{name}: `chunk_size` should be greater than 0.")
