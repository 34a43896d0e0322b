"""整个函数的导数：Jacobian、Hessian，以及它们与向量的积，名字与 ``torch.autograd.functional`` 相同。

流入：一个由 Tensor 到 Tensor 的函数与它的输入（一个 Tensor 或一个元组）；流出：输出与导数，结构与输入、输出相同。

引擎只会从后往前（向量乘 Jacobian）。往前的一种（Jacobian 乘向量）靠反传两次：梯度是 ``v`` 的线性函数，
再对 ``v`` 求一次导就把 Jacobian 转置了过来。下一站：``functional_checks.py``。
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinygrad_llm.autograd import functional_checks as check
from tinygrad_llm.autograd import graph
from tinygrad_llm.autograd.engine import grad
from tinygrad_llm.autograd.functional_checks import tupled
from tinygrad_llm.autograd.mode import enable_grad, is_grad_enabled, set_grad_enabled

Function = Callable[..., Any]


def vjp(func: Function, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False) -> Any:
    """向量乘 Jacobian。

    Args:
        func: 函数。
        inputs: 输入，一个 Tensor 或一个元组。
        v: 与输出同形的向量；输出只有一个数时可省略（取 1）。
        create_graph: 结果是否可再求导。
        strict: 某个输入与输出无关时，报错而不是给 0。

    Returns:
        ``(输出, 与输入同结构的积)``。

    Raises:
        RuntimeError: ``v`` 的形状不对，或 ``strict`` 不许的情形。
        TypeError: 输入或输出不是 Tensor。
    """
    with enable_grad():
        is_tuple, xs, many, ys = _called(func, inputs, "vjp", create_graph, strict)
        if v is None:
            check.one_number(ys, "The vector v can only be None if the user-provided function returns a single Tensor")
        vs = _vectors(v, ys, many, "vjp", create_graph)
    with set_grad_enabled(create_graph or is_grad_enabled()):
        found = check.filled(_products(ys, xs, vs, create_graph), xs, strict, create_graph, "back")
    return _unpacked(_given(ys, create_graph), many), _unpacked(_given(found, create_graph), is_tuple)


def jvp(func: Function, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False) -> Any:
    """Jacobian 乘向量，靠反传两次。

    Args:
        func: 函数。
        inputs: 输入，一个 Tensor 或一个元组。
        v: 与输入同形的向量；输入只有一个数时可省略（取 1）。
        create_graph: 结果是否可再求导。
        strict: 某个输入与输出无关时，报错而不是给 0。

    Returns:
        ``(输出, 与输出同结构的积)``。

    Raises:
        RuntimeError: ``v`` 的形状不对，或 ``strict`` 不许的情形。
        TypeError: 输入或输出不是 Tensor。
    """
    with enable_grad():
        is_tuple, xs = tupled(inputs, "inputs", "jvp")
        if v is None:
            check.one_number(
                xs, "The vector v can only be None if the input to the user-provided function is a single Tensor"
            )
        vs = _vectors(v, xs, is_tuple, "jvp", create_graph)
        _, xs, many, ys = _called(func, inputs, "jvp", create_graph, strict)
        dual = _zeros(ys)
        backward = _products(ys, xs, dual, True)
        check.traced(backward, "grad_inputs", strict)
    with set_grad_enabled(create_graph or is_grad_enabled()):
        found = check.filled(_products(backward, dual, vs, create_graph), ys, strict, create_graph, "back_trick")
    return _unpacked(_given(ys, create_graph), many), _unpacked(_given(found, create_graph), many)


def vhp(func: Function, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False) -> Any:
    """向量乘 Hessian；``func`` 返回一个数。参数与返回值同 ``hvp``。"""
    return _hessian_product("vhp", func, inputs, v, create_graph, strict)


def hvp(func: Function, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False) -> Any:
    """Hessian 乘向量；``func`` 返回一个数。Hessian 对称，它与 ``vhp`` 同值，但多反传一次，``vhp`` 更快。

    Args:
        func: 函数。
        inputs: 输入，一个 Tensor 或一个元组。
        v: 与输入同形的向量；输入只有一个数时可省略（取 1）。
        create_graph: 结果是否可再求导。
        strict: 梯度或 Hessian 与某个输入无关时，报错而不是给 0。

    Returns:
        ``(输出, 与输入同结构的积)``。

    Raises:
        RuntimeError: 输出不是一个数、``v`` 的形状不对，或 ``strict`` 不许的情形。
        TypeError: 输入或输出不是 Tensor。
    """
    return _hessian_product("hvp", func, inputs, v, create_graph, strict)


def _hessian_product(name: str, func: Function, inputs: Any, v: Any, create_graph: bool, strict: bool) -> Any:
    with enable_grad():
        is_tuple, xs = tupled(inputs, "inputs", name)
        if v is None:
            check.one_number(
                xs, "The vector v can only be None if the input to the user-provided function is a single Tensor"
            )
        vs = _vectors(v, xs, is_tuple, name, create_graph)
        _, xs, many, ys = _called(func, inputs, name, create_graph, strict)
        check.only_number(ys, many, name)
        first = _products(ys, xs, (None,), True)
        check.traced(first, "jacobian", strict)
        sources, targets, stage = first, xs, "double_back"
        if name == "hvp":
            targets = _zeros(xs)
            sources, stage = _products(first, xs, targets, True), "double_back_trick"
    with set_grad_enabled(create_graph or is_grad_enabled()):
        found = check.filled(_products(sources, targets, vs, create_graph), xs, strict, create_graph, stage)
    return _given(ys, create_graph)[0], _unpacked(_given(found, create_graph), is_tuple)


def jacobian(
    func: Function,
    inputs: Any,
    create_graph: bool = False,
    strict: bool = False,
    vectorize: bool = False,
    strategy: str = "reverse-mode",
) -> Any:
    """Jacobian：每个输出对每个输入的全部偏导。

    Args:
        func: 函数。
        inputs: 输入，一个 Tensor 或一个元组。
        create_graph: 结果是否可再求导。
        strict: 某个输出与某个输入无关时，报错而不是给 0。
        vectorize: torch 用它要求一次算完各行；这里总是逐行计算，结果相同，只照样核对它与别的参数能否并用。
        strategy: ``"reverse-mode"`` 逐行（输出少时快）；``"forward-mode"`` 逐列（输入少时快），须 ``vectorize=True``。

    Returns:
        形状为 ``输出的形状 + 输入的形状``；输出、输入是元组时，外层元组对应输出，内层对应输入。

    Raises:
        RuntimeError: 参数不能并用，或 ``strict`` 不许的情形。
        TypeError: 输入或输出不是 Tensor。
    """
    check.strategy(strategy, create_graph=create_graph, strict=strict, vectorize=vectorize)
    if strategy == "forward-mode":
        return _jacobian_by_columns(func, inputs)
    with enable_grad():
        is_tuple, xs, many, ys = _called(func, inputs, "jacobian", create_graph, strict)
        rows = tuple(_jacobian_rows(i, y, xs, create_graph, strict) for i, y in enumerate(ys))
    found = tuple(_unpacked(_given(row, create_graph), is_tuple) for row in rows)
    return _unpacked(found, many)


def _jacobian_rows(i: int, y: Any, xs: Sequence[Any], create_graph: bool, strict: bool) -> tuple[Any, ...]:
    """第 ``i`` 个输出的 Jacobian：逐个元素反传一次，再按输入叠起来。"""
    from tinygrad_llm.joining import stack

    columns: list[list[Any]] = [[] for _ in xs]
    for seed in _basis(y):
        found = _products((y,), xs, (seed,), create_graph, retain_graph=True)
        for column, x, g in zip(columns, xs, check.jacobian_row(found, i, create_graph, strict), strict=True):
            column.append(_zero(x) if g is None else g)
    shapes = [tuple(y.array.shape) + tuple(x.array.shape) for x in xs]
    return tuple(
        stack(column).reshape(shape) if column else x.new_zeros(shape)
        for column, x, shape in zip(columns, xs, shapes, strict=True)
    )


def _jacobian_by_columns(func: Function, inputs: Any) -> Any:
    """逐个输入元素做一次 ``jvp``，得到 Jacobian 的一列。"""
    from tinygrad_llm.joining import stack

    with enable_grad():
        is_tuple, xs, many, ys = _called(func, inputs, "jacobian", False, False)
    blocks = []
    for j, x in enumerate(xs):
        columns = []
        for seed in _basis(x):
            _, found = jvp(func, xs, tuple(seed if k == j else _zero(o) for k, o in enumerate(xs)))
            columns.append(found if many else (found,))
        shapes = [tuple(y.array.shape) + tuple(x.array.shape) for y in ys]
        blocks.append([
            stack([c[i] for c in columns], -1).reshape(shape) if columns else x.new_zeros(shape)
            for i, shape in enumerate(shapes)
        ])  # fmt: skip
    rows = tuple(_unpacked(tuple(row), is_tuple) for row in zip(*blocks, strict=True))
    return _unpacked(rows, many)


def hessian(
    func: Function,
    inputs: Any,
    create_graph: bool = False,
    strict: bool = False,
    vectorize: bool = False,
    outer_jacobian_strategy: str = "reverse-mode",
) -> Any:
    """Hessian：Jacobian 的 Jacobian；``func`` 返回一个数。

    Args:
        func: 函数。
        inputs: 输入，一个 Tensor 或一个元组。
        create_graph: 结果是否可再求导。
        strict: 梯度或 Hessian 与某个输入无关时，报错而不是给 0。
        vectorize: 见 ``jacobian``。
        outer_jacobian_strategy: 外面一层 ``jacobian`` 的 ``strategy``。

    Returns:
        形状为 ``输入的形状 + 输入的形状``；输入是元组时，两层元组依次对应两次求导的输入。

    Raises:
        RuntimeError: 输出不是一个数，或 ``strict`` 不许的情形。
        TypeError: 输入或输出不是 Tensor。
    """
    is_tuple, xs = tupled(inputs, "inputs", "hessian")

    def number(*args: Any) -> Any:
        many, ys = tupled(func(*args), "outputs of the user-provided function", "hessian")
        check.traced(ys, "outputs", strict)
        check.only_number(ys, many, "hessian")
        return ys[0].squeeze()

    def first(*args: Any) -> Any:
        found = jacobian(number, args, create_graph=True)
        check.traced(found, "jacobian", strict)
        return found

    found = jacobian(first, xs, create_graph, strict, vectorize, outer_jacobian_strategy)
    return found if is_tuple else found[0][0]


def _called(func: Function, inputs: Any, name: str, create_graph: bool, strict: bool) -> Any:
    """换上新的输入再调用：``(输入是不是元组, 输入, 输出是不是元组, 输出)``。"""
    is_tuple, xs = tupled(inputs, "inputs", name)
    fresh = tuple(_fresh(x, create_graph, True) for x in xs)
    many, ys = tupled(func(*fresh), "outputs of the user-provided function", name)
    check.traced(ys, "outputs", strict)
    return is_tuple, fresh, many, ys


def _fresh(x: Any, create_graph: bool, needs_grad: bool) -> Any:
    """另一个 Tensor：与函数自己捕获的同一个输入区别开。要可再求导就接着原来的图，否则从这里重新开始。"""
    if create_graph and x.requires_grad:
        return x.view(x.array.shape)
    return x.detach().requires_grad_(needs_grad)


def _vectors(v: Any, like: Sequence[Any], is_tuple: bool, name: str, create_graph: bool) -> tuple[Any, ...]:
    if v is None:
        return (None,) * len(like)
    _, vs = tupled(v, "v", name)
    check.same_sizes(vs, like, is_tuple)
    return tuple(_fresh(one, create_graph, False) for one in vs)


def _products(
    outputs: Sequence[Any], inputs: Sequence[Any], vectors: Sequence[Any], create_graph: bool, retain_graph: Any = None
) -> tuple[Any, ...]:
    """``grad``，但不可导的输出略过；一个可导的也没有就全是 ``None``。"""
    pairs = [(y, v) for y, v in zip(outputs, vectors, strict=True) if y is not None and y.requires_grad]
    if not pairs:
        return (None,) * len(inputs)
    ys, vs = zip(*pairs, strict=True)
    return grad(ys, inputs, vs, retain_graph, create_graph, allow_unused=True)  # type: ignore[no-any-return]


def _zeros(like: Sequence[Any]) -> tuple[Any, ...]:
    """反传两次用的 ``v``：它的值不要紧，只要可导。"""
    return tuple(_zero(t).requires_grad_() for t in like)


def _zero(like: Any) -> Any:
    return graph.tensor_type.wrap(np.zeros_like(like.array))


def _basis(like: Any) -> Any:
    """与 ``like`` 同形、只有一个元素为 1 的向量，逐个给出。"""
    for k in range(like.array.size):
        seed = np.zeros(like.array.shape, like.array.dtype)
        seed.reshape(-1)[k] = 1
        yield graph.tensor_type.wrap(seed)


def _given(values: Sequence[Any], create_graph: bool) -> tuple[Any, ...]:
    """交给用户的结果：没有要求可再求导，就不留历史。"""
    return tuple(values) if create_graph else tuple(v.detach() for v in values)


def _unpacked(values: tuple[Any, ...], is_tuple: bool) -> Any:
    return values if is_tuple else values[0]
