"""``backward`` 与 ``grad`` 的参数：torch 认的各种写法，变成等长的两串。

流入：一个或一串 Tensor、字典、``None``；流出：列表，或与 torch 同类的错误。下一站：``engine.py``。
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from tinygrad_llm.autograd import graph


def listed(value: Any) -> list[Any]:
    """一个 Tensor 或一串，都变成列表。"""
    if isinstance(value, (list, tuple)):
        return list(value)
    return [value] if isinstance(value, graph.tensor_type) else list(value)


def gradients(given: Any, outputs: list[Any]) -> list[Any]:
    """各输出的梯度；没有给就都是 ``None``，多给的不看。

    Raises:
        RuntimeError: 给少了。
    """
    if given is None:
        return [None] * len(outputs)
    found = listed(given)
    if len(found) < len(outputs):
        raise RuntimeError(f"got {len(outputs)} tensors and {len(found)} gradients")
    return found[: len(outputs)]


def targets(given: Any, function: str) -> list[Any]:
    """对谁求梯度；也可以是名字到 Tensor 的字典。

    Raises:
        RuntimeError: 一个也没有。
        TypeError: 是字典以外的映射。
    """
    if type(given) is dict:
        found = list(given.values())
    elif isinstance(given, Mapping):
        raise TypeError(f"`inputs` argument to `{function}()` must be a dict, not {type(given).__name__}")
    else:
        found = listed(given)
    if not found:
        raise RuntimeError(f"`inputs` argument to `{function}()` cannot be empty.")
    return [t.refreshed() for t in found]


def renamed_gradients(grad_tensors: Any, grad_variables: Any) -> Any:
    """``grad_variables`` 是 ``grad_tensors`` 从前的名字。

    Raises:
        RuntimeError: 两个都给了。
    """
    if grad_variables is None:
        return grad_tensors
    warnings.warn("`grad_variables` is deprecated. Use `grad_tensors` instead.", FutureWarning, stacklevel=3)
    if grad_tensors is not None:
        raise RuntimeError(
            "`grad_tensors` and `grad_variables` (deprecated) arguments both passed to `backward()`. "
            "Please only use `grad_tensors`."
        )
    return grad_variables


def may_be_unused(allow_unused: bool | None, materialize_grads: bool) -> bool:
    """无关的输入是否允许；不写 ``allow_unused`` 时，补零就允许。

    Raises:
        ValueError: 要补零，又说不允许。
    """
    if materialize_grads and allow_unused is False:
        raise ValueError(
            "Expected allow_unused to be True or not passed when materialize_grads=True, but got: allow_unused=False."
        )
    return materialize_grads if allow_unused is None else allow_unused


def check_grad_options(only_inputs: bool, is_grads_batched: bool) -> None:
    """``grad`` 的两个选项都只有一种取法。

    Raises:
        NotImplementedError: 要一次走一批向量。
    """
    if not only_inputs:
        warnings.warn("only_inputs argument is deprecated and is ignored now", FutureWarning, stacklevel=3)
    if is_grads_batched:
        raise NotImplementedError(
            "grad: is_grads_batched=True is not offered; call grad once per vector with retain_graph=True and stack, "
            "or use autograd.functional.jacobian"
        )


def initial_gradient(i: int, output: Any, gradient: Any) -> Any:
    """第 ``i`` 个输出的梯度；标量没有给就是 1。

    Raises:
        RuntimeError: 输出不需要梯度，不是标量而没有给，或给的形状、实复数与输出不符。
        TypeError: 给的不是 Tensor。
    """
    if not output.refreshed().needs_grad:
        raise RuntimeError(f"element {i} of tensors does not require grad and does not have a grad_fn")
    if gradient is None:
        if output.array.size != 1:
            shape_ = tuple(output.array.shape)
            raise RuntimeError(f"grad can be implicitly created only for scalar outputs, got shape {shape_}")
        if output.array.dtype.kind == "c":
            raise RuntimeError(f"grad can be implicitly created only for real scalar outputs but got {output.dtype}")
        one = np.array(1, output.array.dtype)  # 比 np.ones 快
        return graph.tensor_type.wrap(one if output.array.ndim == 0 else one.reshape(output.array.shape))
    if not isinstance(gradient, graph.tensor_type):
        raise TypeError(f"gradients can be either Tensors or None, but got {type(gradient).__name__}")
    if gradient.array.shape != output.array.shape:
        raise RuntimeError(
            f"Mismatch in shape: grad_output[{i}] has a shape of {gradient.array.shape} and output[{i}] has a shape of "
            f"{output.array.shape}."
        )
    if (gradient.array.dtype.kind == "c") != (output.array.dtype.kind == "c"):
        raise RuntimeError(
            "For complex Tensors, both grad_output and output are required to have the same dtype. Mismatch in dtype: "
            f"grad_output[{i}] has a dtype of {gradient.dtype} and output[{i}] has a dtype of {output.dtype}."
        )
    return gradient
