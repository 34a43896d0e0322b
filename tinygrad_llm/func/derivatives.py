"""由函数得到它的导数：梯度、向量乘 Jacobian、Jacobian 乘向量。

流入：函数；流出：另一个函数，参数与结果可以是任意嵌套的容器。名字与 ``torch.func`` 相同。下一站：``jacobians.py``。
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from tinygrad_llm.autograd.mode import enable_grad, is_grad_enabled
from tinygrad_llm.func.level import Level, only_tensors, split_aux, zeros_like
from tinygrad_llm.func.trees import flatten, unflatten
from tinygrad_llm.tensor import Tensor

Function = Callable[..., Any]


def grad_and_value(func: Function, argnums: int | tuple[int, ...] = 0, has_aux: bool = False) -> Function:
    """梯度函数，连同原来的值一起返回。

    Args:
        func: 返回 0 维 Tensor 的函数。
        argnums: 对第几个位置参数求导；元组则得到元组。
        has_aux: ``func`` 返回 ``(输出, 附带的东西)``。

    Returns:
        与 ``func`` 同样调用的函数，返回 ``(梯度, 值)``；``has_aux`` 时值是 ``(值, 附带的东西)``。
    """

    @functools.wraps(func)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        level = Level()
        with enable_grad():
            changed, chosen = level.enter_some(args, argnums)
            output, aux = split_aux(func(*changed, **kwargs), has_aux, "grad_and_value(f)(*args)")
            _check_scalar(output)
            level.look_at(output)
            targets, structure = flatten(chosen)
            found = level.gradients([output], [None], targets, create_graph=level.is_tracked)
        grads = level.leave(unflatten(found, structure))
        value = level.leave(output)
        return (grads, (value, level.leave(aux))) if has_aux else (grads, value)

    return wrapper


def _check_scalar(output: Any) -> None:
    if not isinstance(output, Tensor):
        raise RuntimeError(f"grad_and_value(f)(*args): Expected f(*args) to return a Tensor, got {type(output)}")
    if output.array.ndim != 0:
        raise RuntimeError(
            "grad_and_value(f)(*args): Expected f(*args) to return a scalar Tensor, got tensor with "
            f"{output.array.ndim} dims. Maybe you wanted to use the vjp or jacrev APIs instead?"
        )


def grad(func: Function, argnums: int | tuple[int, ...] = 0, has_aux: bool = False) -> Function:
    """梯度函数；参数同 ``grad_and_value``，``has_aux`` 时返回 ``(梯度, 附带的东西)``。"""
    both = grad_and_value(func, argnums, has_aux)

    @functools.wraps(func)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        grads, value = both(*args, **kwargs)
        return (grads, value[1]) if has_aux else grads

    return wrapper


def vjp(func: Function, *primals: Any, has_aux: bool = False) -> Any:
    """向量乘 Jacobian。

    Args:
        func: 函数。
        *primals: 求值的点。
        has_aux: ``func`` 返回 ``(输出, 附带的东西)``。

    Returns:
        ``(输出, vjp_fn)``，``has_aux`` 时再加附带的东西；``vjp_fn(cotangents)`` 给出元组，可多次调用。

    Raises:
        RuntimeError: 输出里有不是 Tensor 的。
    """
    level = Level()
    with enable_grad():
        fresh = level.enter(primals)
        output, aux = split_aux(func(*fresh), has_aux, "vjp(f, *primals)")
        outputs = only_tensors(output, "vjp(f, *primals): expected f(*primals) to return only tensors")
        level.look_at(output)
    structure = flatten(output)[1]
    targets, primal_structure = flatten(fresh)

    def vjp_fn(cotangents: Any, retain_graph: bool = True, create_graph: bool | None = None) -> Any:
        vectors, given = flatten(cotangents)
        if given != structure:
            raise RuntimeError(
                "Expected pytree structure of cotangents to be the same as pytree structure of outputs to the function."
            )
        later = is_grad_enabled() and (level.is_tracked or any(_traced(v) for v in vectors))
        options = {"retain_graph": retain_graph, "create_graph": later if create_graph is None else create_graph}
        found = level.gradients(outputs, vectors, targets, **options)
        return unflatten(found if options["create_graph"] else [g.detach() for g in found], primal_structure)

    kept = level.leave(output)
    return (kept, vjp_fn, level.leave(aux)) if has_aux else (kept, vjp_fn)


def _traced(v: Any) -> bool:
    return isinstance(v, Tensor) and v.requires_grad


class Pushforward:
    """Jacobian 乘向量：梯度是向量的线性函数，再对那个向量求一次导。

    Args:
        level: 输入所在的那一层。
        output: 函数的输出。

    Attributes:
        outputs: 输出的叶子。
        structure: 输出的结构。
    """

    def __init__(self, level: Level, output: Any) -> None:
        self._level = level
        self.outputs, self.structure = flatten(output)
        with enable_grad():
            self._dual = [zeros_like(y).requires_grad_() for y in self.outputs]
            self._backward = level.gradients(self.outputs, self._dual, level.inputs, create_graph=True)

    def __call__(self, tangents: list[Any], *, create_graph: bool) -> list[Tensor]:
        """各输出沿 ``tangents`` 的方向导数；可多次调用。"""
        options = {"retain_graph": True, "create_graph": create_graph}
        return self._level.gradients(self._backward, tangents, self._dual, **options)


def jvp(func: Function, primals: Any, tangents: Any, *, strict: bool = False, has_aux: bool = False) -> Any:
    """Jacobian 乘向量，靠反传两次（引擎没有前向模式）。

    Args:
        func: 函数。
        primals: 求值的点，一个元组。
        tangents: 方向，结构与 ``primals`` 相同。
        strict: 输出与输入无关时，报错而不是给 0。
        has_aux: ``func`` 返回 ``(输出, 附带的东西)``。

    Returns:
        ``(输出, 方向导数)``，``has_aux`` 时再加附带的东西。

    Raises:
        RuntimeError: 不是元组、没有 Tensor、结构或形状不同，或 ``strict`` 不许的情形。
    """
    vectors = _checked_tangents(primals, tangents)
    level = Level()
    with enable_grad():
        output, aux = split_aux(func(*level.enter(primals)), has_aux, "jvp(f, primals, tangents)")
        outputs = only_tensors(output, "jvp(f, primals, tangents): expected f(*primals) to return only tensors")
        level.look_at(output)
        if strict and not all(y.requires_grad for y in outputs):
            raise RuntimeError(
                "jvp(f, primals, tangents, strict=True): The output of f is independent of the inputs. "
                "This is not allowed with strict=True."
            )
        later = level.outside and (level.is_tracked or any(_traced(v) for v in vectors))
        push = Pushforward(level, output)
        found = push(vectors, create_graph=later)
    moved = unflatten(found if later else [t.detach() for t in found], push.structure)
    kept = level.leave(output)
    return (kept, moved, level.leave(aux)) if has_aux else (kept, moved)


def _checked_tangents(primals: Any, tangents: Any) -> list[Any]:
    where = "jvp(f, primals, tangents)"
    if not isinstance(primals, tuple):
        raise RuntimeError(f"{where}: Expected primals to be a tuple. E.g. it should be valid to call f(*primals).")
    points, structure = flatten(primals)
    vectors, given = flatten(tangents)
    if structure != given:
        raise RuntimeError(f"{where}: Expected primals and tangents to have the same python structure.")
    if not points:
        raise RuntimeError(f"{where}: Expected primals to contain at least one Tensor.")
    check_directions(points, only_tensors(tangents, f"{where}: expected tangents to be tensors"))
    return vectors


def check_directions(points: list[Any], tangents: list[Any]) -> None:
    """方向与点的形状要相同。

    Raises:
        RuntimeError: 不同。
    """
    for x, t in zip(points, tangents, strict=True):
        if isinstance(x, Tensor) and x.array.shape != t.array.shape:
            raise RuntimeError(f"jvp: a tangent has shape {t.array.shape}, its primal has shape {x.array.shape}")


def linearize(func: Function, *primals: Any) -> tuple[Any, Function]:
    """在一点处的线性近似：函数只算一次，之后可以沿许多方向求 ``jvp``。

    Args:
        func: 函数。
        *primals: 求值的点。

    Returns:
        ``(输出, jvp_fn)``；``jvp_fn(*tangents)`` 给出沿 ``tangents`` 的方向导数。

    Raises:
        RuntimeError: 输出里有不是 Tensor 的，或方向的形状不对。
    """
    level = Level()
    with enable_grad():
        output = func(*level.enter(primals))
        only_tensors(output, "linearize(f, *primals): expected f(*primals) to return only tensors")
        level.look_at(output)
    push = Pushforward(level, output)
    structure = flatten(primals)[1]

    def jvp_fn(*tangents: Any) -> Any:
        vectors, given = flatten(tangents)
        if given != structure:
            raise RuntimeError(f"jvp_fn: expected {len(primals)} tangents with the structure of primals")
        check_directions(level.inputs, vectors)
        return unflatten([t.detach() for t in push(vectors, create_graph=False)], push.structure)

    return level.leave(output), jvp_fn
