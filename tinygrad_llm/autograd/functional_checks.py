"""``functional.py`` 的检查：输入与输出的结构、向量的形状、``strict`` 不许的情形。

流入：用户给的参数与求得的导数；流出：整理好的元组，或与 torch 同类同文的错误。
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygrad_llm.autograd import graph

_UNTRACED = {
    "outputs": "Output {i} of the user-provided function does not require gradients. The outputs must be computed in a "
    "differentiable manner from the input when running in strict mode.",
    "grad_inputs": "The gradient with respect to input {i} is independent of the inputs of the user-provided function. "
    "This is not allowed in strict mode.",
    "jacobian": "While computing the hessian, found that the jacobian of the user-provided function with respect to "
    "input {i} is independent of the input. This is not allowed in strict mode. You should ensure that your function "
    "is twice differentiable and that the jacobian depends on the inputs.",
}
_ABSENT = {
    "back": "The output of the user-provided function is independent of input {i}. This is not allowed in strict mode.",
    "back_trick": "The gradient with respect to the input is independent of entry {i} in the grad_outputs when using "
    "the double backward trick to compute forward mode gradients. This is not allowed in strict mode.",
    "double_back": "The jacobian of the user-provided function is independent of input {i}. This is not allowed in "
    "strict mode.",
    "double_back_trick": "The hessian of the user-provided function is independent of entry {i} in the grad_jacobian. "
    "This is not allowed in strict mode.",
}


def tupled(value: Any, what: str, function: str) -> tuple[bool, tuple[Any, ...]]:
    """一个 Tensor 或一个元组：``(是不是元组, 元组)``。

    Raises:
        TypeError: 里面有不是 Tensor 的。
    """
    is_tuple = isinstance(value, tuple)
    values = value if is_tuple else (value,)
    for i, one in enumerate(values):
        if not isinstance(one, graph.tensor_type):
            which = f"value at index {i}" if is_tuple else f"given {what}"
            raise TypeError(
                f"The {what} given to {function} must be either a Tensor or a tuple of Tensors but the {which} has "
                f"type {type(one)}."
            )
    return is_tuple, values


def one_number(values: Sequence[Any], reason: str) -> None:
    """省略 ``v`` 时，另一头只能有一个数。

    Raises:
        RuntimeError: 不止一个。
    """
    if len(values) != 1 or values[0].array.size != 1:
        raise RuntimeError(f"{reason} with a single element.")


def only_number(outputs: Sequence[Any], is_tuple: bool, function: str) -> None:
    """Hessian 的函数只能返回一个数。

    Raises:
        RuntimeError: 返回了元组，或不止一个数。
    """
    if is_tuple:
        raise RuntimeError(f"The function given to {function} should return a single Tensor")
    if outputs[0].array.size != 1:
        raise RuntimeError(f"The Tensor returned by the function given to {function} should contain a single element")


def same_sizes(vectors: Sequence[Any], like: Sequence[Any], is_tuple: bool) -> None:
    """``v`` 与另一头的个数、形状都要相同。

    Raises:
        RuntimeError: 不同。
    """
    if len(vectors) != len(like):
        wrong = f"v is a tuple of invalid length: should be {len(like)} but got {len(vectors)}."
        raise RuntimeError(wrong if is_tuple else "The given v should contain a single Tensor.")
    for i, (v, other) in enumerate(zip(vectors, like, strict=True)):
        if v.array.shape != other.array.shape:
            entry = f"Entry {i} in " if is_tuple else ""
            raise RuntimeError(f"{entry}v has invalid size: should be {other.array.shape} but got {v.array.shape}.")


def traced(values: Sequence[Any], what: str, strict: bool) -> None:
    """``strict`` 时，这些值都得与输入有关。

    Raises:
        RuntimeError: 有一个无关。
    """
    for i, value in enumerate(values if strict else ()):
        if value is None:
            raise RuntimeError(_ABSENT["back"].format(i=i))
        if not value.requires_grad:
            raise RuntimeError(_UNTRACED[what].format(i=i))


def filled(grads: Sequence[Any], like: Sequence[Any], strict: bool, create_graph: bool, stage: str) -> tuple[Any, ...]:
    """无关的补 0；``strict`` 时报错。

    Raises:
        RuntimeError: ``strict`` 而有一个无关，或要求可再求导而它不可再求导。
    """
    for i, g in enumerate(grads if strict else ()):
        if g is None:
            raise RuntimeError(_ABSENT[stage].format(i=i))
        if create_graph and not g.requires_grad:
            kind = "hessian" if "double" in stage else "jacobian"
            raise RuntimeError(
                f"The {kind} of the user-provided function is independent of input {i}. This is not allowed in strict "
                "mode when create_graph=True."
            )
    pairs = zip(grads, like, strict=True)
    return tuple(graph.tensor_type.wrap(np.zeros_like(t.array)) if g is None else g for g, t in pairs)


def jacobian_row(grads: Sequence[Any], output: int, create_graph: bool, strict: bool) -> Sequence[Any]:
    """``jacobian`` 的一行。

    Raises:
        RuntimeError: ``strict`` 而第 ``output`` 个输出与某个输入无关。
    """
    for i, g in enumerate(grads if strict else ()):
        if g is None:
            raise RuntimeError(
                f"Output {output} of the user-provided function is independent of input {i}. This is not allowed in "
                "strict mode."
            )
        if create_graph and not g.requires_grad:
            raise RuntimeError(
                f"The jacobian of the user-provided function is independent of input {output}. This is not allowed in "
                "strict mode when create_graph=True."
            )
    return grads


def strategy(name: str, *, create_graph: bool, strict: bool, vectorize: bool) -> None:
    """``jacobian`` 的参数能否并用。

    Raises:
        AssertionError: 没有这一种。
        NotImplementedError: 往前的一种与 ``create_graph`` 并用，或没有 ``vectorize``。
        RuntimeError: ``strict`` 与 ``vectorize`` 或往前的一种并用。
    """
    if name not in ("forward-mode", "reverse-mode"):
        raise AssertionError(f'Expected strategy to be either "forward-mode" or "reverse-mode", got {name!r}.')
    forward = name == "forward-mode"
    if forward and create_graph:
        raise NotImplementedError(
            'jacobian: `create_graph=True` and `strategy="forward-mode"` are not supported together'
        )
    if strict and (forward or vectorize):
        other = '`strategy="forward-mode"`' if forward else "`vectorize=True`"
        raise RuntimeError(f"jacobian: `strict=True` and {other} are not supported together")
    if forward and not vectorize:
        raise NotImplementedError('jacobian: `strategy="forward-mode"` is only implemented for `vectorize=True`')
