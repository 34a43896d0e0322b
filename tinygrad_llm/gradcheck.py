"""梯度检查：解析导数与中心差分逐元素对照。

流入：一个由 Tensor 组成的函数与 float64 输入；流出：真，或一条指明「哪个输出对哪个输入的哪个元素」的错误。
中心差分 ``(f(x + h) - f(x - h)) / 2h`` 的误差是 ``O(h²)``，在 float64 下约 1e-9，足以识别任何写错的导数。
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinygrad_llm import dtypes
from tinygrad_llm.autograd import enable_grad, grad, no_grad
from tinygrad_llm.ops.op import Array
from tinygrad_llm.tensor import Tensor


class GradcheckError(RuntimeError):
    """解析导数与数值导数不符。"""


def gradcheck(
    func: Callable[..., Any],
    inputs: Tensor | Sequence[Any],
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    raise_exception: bool = True,
) -> bool:
    """对照 ``func`` 的解析 Jacobian 与中心差分。

    Args:
        func: 输入 Tensor、输出一个或一串 Tensor 的函数。
        inputs: 输入；需要梯度的必须是 float64。
        eps: 差分步长。
        atol: 绝对容差。
        rtol: 相对容差。
        raise_exception: 不符时抛错还是返回假。

    Returns:
        是否全部相符。

    Raises:
        GradcheckError: 某个元素不符；消息里有输出、输入、元素的位置，期望值与实得值。
        ValueError: 没有需要梯度的输入，或精度低于 float64。
    """
    args = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    wanted = [i for i, a in enumerate(args) if isinstance(a, Tensor) and a.requires_grad]
    if not wanted:
        raise ValueError("gradcheck expects at least one input tensor to require gradient")
    for i in wanted:
        if args[i].dtype is not dtypes.float64:
            raise ValueError(f"gradcheck: input {i} is {args[i].dtype!r}; central differences need float64")
    outputs = _outputs(func, args)
    for o, output in enumerate(outputs):
        for i in wanted:
            analytic = _analytic_jacobian(func, args, o, i)
            numeric = _numeric_jacobian(func, args, o, i, eps)
            message = _compare(analytic, numeric, output, args[i], o, i, atol, rtol)
            if message and raise_exception:
                raise GradcheckError(message)
            if message:
                return False
    return True


def gradgradcheck(
    func: Callable[..., Any],
    inputs: Tensor | Sequence[Any],
    grad_outputs: Tensor | Sequence[Tensor] | None = None,
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    raise_exception: bool = True,
) -> bool:
    """对照二阶导：把「``func`` 的梯度」当作函数再做一次 ``gradcheck``。

    Args:
        func: 同 ``gradcheck``。
        inputs: 同 ``gradcheck``。
        grad_outputs: 各输出的梯度；缺省取固定种子的正态数。
        eps: 差分步长。
        atol: 绝对容差。
        rtol: 相对容差。
        raise_exception: 不符时抛错还是返回假。

    Returns:
        是否全部相符。
    """
    args = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    wanted = [i for i, a in enumerate(args) if isinstance(a, Tensor) and a.requires_grad]
    outputs = _outputs(func, args)
    if grad_outputs is None:
        draw = np.random.default_rng(0)
        given = [Tensor.wrap(draw.standard_normal(o.array.shape)).requires_grad_() for o in outputs]
    else:
        given = [grad_outputs] if isinstance(grad_outputs, Tensor) else list(grad_outputs)

    def first_gradient(*all_inputs: Any) -> tuple[Any, ...]:
        own, seeds = list(all_inputs[: len(args)]), list(all_inputs[len(args) :])
        found = _outputs(func, own)
        targets = [own[i] for i in wanted]
        grads = grad(found, targets, seeds, create_graph=True, allow_unused=True)
        return tuple(g for g in grads if g is not None and g.requires_grad)

    return gradcheck(first_gradient, [*args, *given], eps=eps, atol=atol, rtol=rtol, raise_exception=raise_exception)


def _outputs(func: Callable[..., Any], args: Sequence[Any]) -> list[Tensor]:
    with enable_grad():
        result = func(*args)
    return list(result) if isinstance(result, (tuple, list)) else [result]


def _analytic_jacobian(func: Callable[..., Any], args: Sequence[Any], o: int, i: int) -> Array:
    """逐个输出元素反传，得到 ``(输出元素数, 输入元素数)`` 的 Jacobian。"""
    output = _outputs(func, args)[o]
    jacobian = np.zeros((output.array.size, args[i].array.size))
    for row in range(output.array.size if output.requires_grad else 0):
        seed = np.zeros(output.array.shape)
        seed.reshape(-1)[row] = 1
        (found,) = grad(output, args[i], Tensor.wrap(seed), retain_graph=True, allow_unused=True)
        if found is not None:
            jacobian[row] = found.array.reshape(-1)
    return jacobian


def _numeric_jacobian(func: Callable[..., Any], args: Sequence[Any], o: int, i: int, eps: float) -> Array:
    """逐个输入元素前后各挪一小步。"""
    original = args[i].array
    columns = []
    for column in range(original.size):
        values = []
        for step in (eps, -eps):
            moved = np.array(original, order="C")  # 保证 reshape(-1) 是视图
            moved.reshape(-1)[column] += step
            shifted = Tensor.wrap(moved).requires_grad_()
            values.append(_outputs(func, [*args[:i], shifted, *args[i + 1 :]])[o].array.reshape(-1).astype(np.float64))
        with no_grad():
            columns.append((values[0] - values[1]) / (2 * eps))
    size = _outputs(func, args)[o].array.size
    return np.stack(columns, axis=1) if columns else np.zeros((size, 0))


def _compare(
    analytic: Array, numeric: Array, output: Tensor, target: Tensor, o: int, i: int, atol: float, rtol: float
) -> str:
    with np.errstate(invalid="ignore"):
        wrong = ~(np.abs(analytic - numeric) <= atol + rtol * np.abs(numeric))
    if not wrong.any():
        return ""
    row, column = (int(n) for n in np.argwhere(wrong)[0])
    at_output = tuple(int(n) for n in np.unravel_index(row, output.array.shape))
    at_input = tuple(int(n) for n in np.unravel_index(column, target.array.shape))
    name = output.node.name() if output.node is not None else "output"
    return (
        f"Jacobian mismatch for output {o} ({name}) with respect to input {i}: {int(wrong.sum())} of {wrong.size} "
        f"entries differ; first at output{list(at_output)}, input{list(at_input)}: "
        f"numerical {numeric[row, column]:.10g}, analytical {analytic[row, column]:.10g}"
    )
