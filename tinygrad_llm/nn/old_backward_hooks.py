"""旧式的反向钩子：挂在 Module 最后一个算子上，只看得到那个算子的梯度。

流入：前向的输入与输出；流出：输出的节点上多了钩子。新写的程序用 ``register_full_backward_hook``。
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from tinygrad_llm.tensor import Tensor

BOTH = "Cannot use both regular backward hooks and full backward hooks on a single Module. Please use only one of them."
BOTH_EVERYWHERE = (
    "Cannot use both regular backward hooks and full backward hooks as a global Module hook. "
    "Please use only one of them."
)


def attach(module: Any, hooks: Sequence[Callable[..., Any]], args: Any, result: Any) -> None:
    """第一个输出张量的节点反传之后，调用各 ``hook(module, grad_input, grad_output)``。"""
    node = getattr(_first_tensor(result), "grad_fn", None)
    if node is None:
        return
    for hook in hooks:
        node.register_hook(functools.partial(hook, module))
    missed = _missed(args, result, node)
    if missed:
        message = f"Using a non-full backward hook {missed}. Please use register_full_backward_hook."
        warnings.warn(message, FutureWarning, stacklevel=5)


def _first_tensor(result: Any) -> Any:
    while not isinstance(result, Tensor):
        if isinstance(result, dict):
            result = next(value for value in result.values() if isinstance(value, Tensor))
        else:
            result = result[0]
    return result


def _missed(args: Any, result: Any, node: Any) -> str:
    """钩子看不全的几种情形；看得全的是空串。"""
    outputs = result if isinstance(result, tuple) else (result,)
    if not all(isinstance(y, Tensor) for y in outputs):
        return "on a Module that does not return a single Tensor or a tuple of Tensors misses some grad_output"
    if not all(isinstance(a, Tensor) for a in args):
        return "on a Module that does not take a single Tensor or a tuple of Tensors misses some grad_input"
    ends = {y.grad_fn for y in outputs if y.grad_fn is not None}
    if ends != {node}:
        return "when outputs come from different nodes misses some grad_output"
    if {a.grad_fn for a in args if a.grad_fn is not None} != {source for source, _ in node.next_functions}:
        return "when the forward contains multiple nodes misses some grad_input"
    return ""
