"""梯度检查：解析导数与中心差分逐元素对照。

流入：一个由 Tensor 组成的函数与 float64 输入；流出：真，或一条指明「哪个输出对哪个输入的哪个元素」的错误。
中心差分 ``(f(x + h) - f(x - h)) / 2h`` 的误差是 ``O(h²)``，在 float64 下约 1e-9，足以识别任何写错的导数。
像哪一种错，由 ``testing/causes.py`` 认；命令行与 pytest 的用法见 ``gradchecker``。
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinygrad_llm import dtypes
from tinygrad_llm.autograd import enable_grad, grad
from tinygrad_llm.complexes import as_real, realified
from tinygrad_llm.ops.op import Array
from tinygrad_llm.tensor import Tensor
from tinygrad_llm.testing.causes import Evidence, likely_cause


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
    nondet_tol: float = 0.0,
    check_undefined_grad: bool = True,
    check_grad_dtypes: bool = False,
    check_batched_grad: bool = False,
    check_batched_forward_grad: bool = False,
    check_forward_ad: bool = False,
    check_backward_ad: bool = True,
    fast_mode: bool = False,
    masked: bool | None = None,
) -> bool:
    """对照 ``func`` 的解析 Jacobian 与中心差分。

    Args:
        func: 输入 Tensor、输出一个或一串 Tensor 的函数。
        inputs: 输入；需要梯度的应当是 float64（或 complex128），否则警告。复数当作一对实数来查。
        eps: 差分步长。
        atol: 绝对容差。
        rtol: 相对容差。
        raise_exception: 不符时抛错还是返回假。
        nondet_tol: 同样的反传做两次，结果至多差这么多。
        check_undefined_grad: 有几个输出时，缺了一个输出的梯度，结果是否等于把它当作 0。
        check_grad_dtypes: 梯度的类型是否与输入相同。
        check_batched_grad: 只能为假：一次反传只走一个向量。
        check_batched_forward_grad: 只能为假：没有前向模式。
        check_forward_ad: 只能为假：没有前向模式。
        check_backward_ad: 只能为真：要检查的就是反传。
        fast_mode: 不逐个元素，只对照两个随机方向之间的一个数；不符时再逐个元素找出是哪里。
        masked: 只能为 ``None`` 或假：没有稀疏张量。

    Returns:
        是否全部相符。

    Raises:
        AssertionError: 反传与前向模式都不检查。
        GradcheckError: 某个元素不符；消息里有输出、输入、元素的位置，期望值、实得值与最像的原因。
        NotImplementedError: 要检查这里没有的东西。
        ValueError: 没有需要梯度的输入。
    """
    _refuse(
        "gradcheck", check_batched_grad=check_batched_grad, check_batched_forward_grad=check_batched_forward_grad,
        check_forward_ad=check_forward_ad, masked=masked,
    )  # fmt: skip
    if not check_backward_ad:
        raise AssertionError("Expected at least one of check_forward_ad or check_backward_ad to be True")
    func, args = realified(func, [inputs] if isinstance(inputs, Tensor) else list(inputs))
    problem = None
    if fast_mode:
        problem = _fast_problem(func, args, eps, atol, rtol)
    if problem or not fast_mode:
        problem = _slow_problem(func, args, eps, atol, rtol) or problem
    problem = problem or _repeat_problem(func, args, nondet_tol, check_grad_dtypes)
    if check_undefined_grad:
        problem = problem or _undefined_problem(func, args, atol, rtol)
    if problem and raise_exception:
        raise GradcheckError(problem)
    return not problem


def gradgradcheck(
    func: Callable[..., Any],
    inputs: Tensor | Sequence[Any],
    grad_outputs: Tensor | Sequence[Tensor] | None = None,
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    gen_non_contig_grad_outputs: bool = False,
    raise_exception: bool = True,
    nondet_tol: float = 0.0,
    check_undefined_grad: bool = True,
    check_grad_dtypes: bool = False,
    check_batched_grad: bool = False,
    check_fwd_over_rev: bool = False,
    check_rev_over_rev: bool = True,
    fast_mode: bool = False,
    masked: bool | None = False,
) -> bool:
    """对照二阶导：把「``func`` 的梯度」当作函数再做一次 ``gradcheck``。

    Args:
        func: 同 ``gradcheck``。
        inputs: 同 ``gradcheck``。
        grad_outputs: 各输出的梯度；缺省取固定种子的正态数。
        eps: 差分步长。
        atol: 绝对容差。
        rtol: 相对容差。
        gen_non_contig_grad_outputs: 缺省的 ``grad_outputs`` 在内存里不连续。
        raise_exception: 不符时抛错还是返回假。
        nondet_tol: 同 ``gradcheck``。
        check_undefined_grad: 同 ``gradcheck``。
        check_grad_dtypes: 同 ``gradcheck``。
        check_batched_grad: 只能为假。
        check_fwd_over_rev: 只能为假：没有前向模式。
        check_rev_over_rev: 只能为真：要检查的就是反传的反传。
        fast_mode: 同 ``gradcheck``。
        masked: 只能为 ``None`` 或假。

    Returns:
        是否全部相符。

    Raises:
        AssertionError: 什么也不检查。
    """
    _refuse("gradgradcheck", check_fwd_over_rev=check_fwd_over_rev)
    if not check_rev_over_rev:
        raise AssertionError("Expected at least one of check_fwd_over_rev or check_rev_over_rev to be True")
    func, args = realified(func, [inputs] if isinstance(inputs, Tensor) else list(inputs))
    wanted = [i for i, a in enumerate(args) if isinstance(a, Tensor) and a.requires_grad]
    if grad_outputs is None:
        draw = np.random.default_rng(0)
        given = [_random_like(o, draw, gen_non_contig_grad_outputs) for o in _outputs(func, args)]
    else:
        given = [as_real(g) for g in ([grad_outputs] if isinstance(grad_outputs, Tensor) else grad_outputs)]

    def first_gradient(*all_inputs: Any) -> tuple[Any, ...]:
        own, seeds = list(all_inputs[: len(args)]), list(all_inputs[len(args) :])
        pairs = [(y, v) for y, v in zip(_outputs(func, own), seeds, strict=True) if y.requires_grad]
        found = [y for y, _ in pairs], [own[i] for i in wanted], [v for _, v in pairs]
        return tuple(g for g in grad(*found, create_graph=True, allow_unused=True) if g is not None)

    return gradcheck(
        first_gradient, [*args, *given], eps=eps, atol=atol, rtol=rtol, raise_exception=raise_exception,
        nondet_tol=nondet_tol, check_undefined_grad=check_undefined_grad, check_grad_dtypes=check_grad_dtypes,
        check_batched_grad=check_batched_grad, fast_mode=fast_mode, masked=masked,
    )  # fmt: skip


def _refuse(name: str, **options: Any) -> None:
    for option, value in options.items():
        if value:
            raise NotImplementedError(
                f"{name}: {option}=True is not offered; there is one reverse pass per vector, on dense tensors"
            )


def _random_like(output: Tensor, draw: Any, is_strided: bool) -> Tensor:
    shape = output.array.shape
    if is_strided and shape:
        return Tensor.wrap(draw.standard_normal((*shape[:-1], 2 * shape[-1]))[..., ::2]).requires_grad_()  # type: ignore[no-any-return]
    return Tensor.wrap(np.asarray(draw.standard_normal(shape))).requires_grad_()  # type: ignore[no-any-return]


def _wanted(args: Sequence[Any]) -> list[int]:
    """要检查的输入。"""
    wanted = [i for i, a in enumerate(args) if isinstance(a, Tensor) and a.requires_grad]
    if not wanted:
        raise ValueError("gradcheck expects at least one input tensor to require gradient")
    return wanted


def _outputs(func: Callable[..., Any], args: Sequence[Any]) -> list[Tensor]:
    """浮点的输出；别的谈不上导数。"""
    with enable_grad():
        result = func(*args)
    many = list(result) if isinstance(result, (tuple, list)) else [result]
    return [y for y in many if isinstance(y, Tensor) and y.is_floating_point()]


def _slow_problem(func: Callable[..., Any], args: Sequence[Any], eps: float, atol: float, rtol: float) -> str:
    """逐个元素对照；第一处不符的说明，没有则为空。"""
    for i in _wanted(args):
        if args[i].dtype is not dtypes.float64:
            warnings.warn(
                f"Input #{i} requires gradient and is not a double precision floating point. "
                "This check will likely fail if all the inputs are not of double precision floating point.",
                stacklevel=3,
            )
    outputs = _outputs(func, args)
    for i in _wanted(args):
        numeric = _numeric_jacobians(func, args, i, eps, len(outputs))
        for o, output in enumerate(outputs):
            analytic = _analytic_jacobian(func, args, o, i)
            problem = _compare(analytic, numeric[o], output, args[i], o, i, atol, rtol)
            if problem:
                return problem
    return ""


def _analytic_jacobian(func: Callable[..., Any], args: Sequence[Any], o: int, i: int) -> Array:
    """逐个输出元素反传，得到 ``(输出元素数, 输入元素数)`` 的 Jacobian。"""
    output = _outputs(func, args)[o]
    jacobian = np.zeros((output.array.size, args[i].array.size))
    for row in range(output.array.size if output.requires_grad else 0):
        seed = np.zeros(output.array.shape, output.array.dtype)
        seed.reshape(-1)[row] = 1
        (found,) = grad(output, args[i], Tensor.wrap(seed), retain_graph=True, allow_unused=True)
        if found is not None:
            jacobian[row] = found.array.reshape(-1)
    return jacobian


def _numeric_jacobians(func: Callable[..., Any], args: Sequence[Any], i: int, eps: float, count: int) -> list[Array]:
    """第 ``i`` 个输入逐个元素前后各挪一小步，得到各输出的 Jacobian。"""
    original = args[i].array
    columns: list[list[Array]] = [[] for _ in range(count)]
    for column in range(original.size):
        step = np.zeros(original.size)
        step[column] = eps
        for found, slope in zip(columns, _slopes(func, args, i, step.reshape(original.shape), eps), strict=True):
            found.append(slope)
    sizes = [y.array.size for y in _outputs(func, args)] if original.size == 0 else []
    return [np.stack(c, axis=1) for c in columns] if original.size else [np.zeros((n, 0)) for n in sizes]


def _slopes(func: Callable[..., Any], args: Sequence[Any], i: int, step: Array, eps: float) -> list[Array]:
    """第 ``i`` 个输入前后各挪 ``step``，各输出的变化率（拉成一维）。"""
    ends = []
    for moved in (args[i].array + step, args[i].array - step):
        shifted = Tensor.wrap(np.asarray(moved, dtype=args[i].array.dtype)).requires_grad_()
        outputs = _outputs(func, [*args[:i], shifted, *args[i + 1 :]])
        ends.append([y.array.reshape(-1).astype(np.float64) for y in outputs])
    with np.errstate(invalid="ignore"):
        return [(high - low) / (2 * eps) for high, low in zip(*ends, strict=True)]


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
    values = {"the input": target.array, "the output": output.array}
    evidence = Evidence(
        analytic, numeric, output.array.shape, target.array.shape, wrong, values=values, own="the input"
    )  # fmt: skip
    return (
        f"Jacobian mismatch for output {o} ({name}) with respect to input {i}: {int(wrong.sum())} of {wrong.size} "
        f"entries differ; first at output{list(at_output)}, input{list(at_input)}: "
        f"numerical {numeric[row, column]:.10g}, analytical {analytic[row, column]:.10g}\n"
        f"likely cause: {likely_cause(evidence)}"
    )


def _fast_problem(func: Callable[..., Any], args: Sequence[Any], eps: float, atol: float, rtol: float) -> str:
    """两个随机方向之间的导数：``uᵀ J v`` 只需一次反传、两次前向。"""
    draw = np.random.default_rng(0)
    for i in _wanted(args):
        v = draw.standard_normal(args[i].array.shape)
        v /= max(float(np.linalg.norm(v)), eps)
        for o, slope in enumerate(_slopes(func, args, i, eps * v, eps)):
            output = _outputs(func, args)[o]
            u = draw.standard_normal(output.array.shape)
            u /= max(float(np.linalg.norm(u)), eps)
            analytic = 0.0
            if output.requires_grad:
                seed = Tensor.wrap(np.asarray(u, dtype=output.array.dtype))
                (found,) = grad(output, args[i], seed, materialize_grads=True)
                analytic = float((found.array * v).sum())
            numeric = float((slope * u.reshape(-1)).sum())
            if not abs(analytic - numeric) <= atol + rtol * abs(numeric):
                return (
                    f"Jacobian mismatch for output {o} with respect to input {i} along random directions: "
                    f"numerical {numeric:.10g}, analytical {analytic:.10g}"
                )
    return ""


def _random_vectors(outputs: list[Tensor]) -> list[Tensor]:
    """各输出的随机梯度，种子固定。"""
    draw = np.random.default_rng(0)
    return [Tensor.wrap(np.asarray(draw.standard_normal(y.array.shape), dtype=y.array.dtype)) for y in outputs]


def _backward(outputs: list[Tensor], vectors: Sequence[Tensor | None], targets: list[Tensor]) -> list[Array]:
    """反传一次，得到各输入的梯度；梯度是 ``None`` 的输出不参加。"""
    pairs = [(y, v) for y, v in zip(outputs, vectors, strict=True) if v is not None and y.requires_grad]
    if not pairs:
        return [np.zeros_like(t.array) for t in targets]
    ys, vs = zip(*pairs, strict=True)
    return [g.array for g in grad(ys, targets, vs, retain_graph=True, materialize_grads=True)]


def _repeat_problem(func: Callable[..., Any], args: Sequence[Any], tolerance: float, checks_dtypes: bool) -> str:
    """同样的反传做两次，结果应当相同；输出的梯度是 0，各输入的也应当是 0；顺带核对类型。"""
    targets, outputs = [args[i] for i in _wanted(args)], _outputs(func, args)
    vectors = _random_vectors(outputs)
    first, second = (_backward(outputs, vectors, targets) for _ in range(2))
    for i, (a, b, target) in enumerate(zip(first, second, targets, strict=True)):
        with np.errstate(invalid="ignore"):
            apart = np.abs(a - b)
        if (apart > tolerance).any():
            return (
                f"Backward is not reentrant: running it twice with the same input and grad_output gives gradients of "
                f"input {i} that differ by up to {float(apart.max()):.3g} (nondet_tol={tolerance})"
            )
        if checks_dtypes and dtypes.of(a) is not target.dtype:
            return f"the gradient of input {i} has dtype {dtypes.of(a)}, the input has {target.dtype}"
    zeros = [Tensor.wrap(np.zeros_like(y.array)) for y in outputs]
    for i, g in enumerate(_backward(outputs, zeros, targets)):
        if g.any():
            return f"backward not multiplied by grad_output: zeros give a gradient of input {i} that is not zero"
    return ""


def _undefined_problem(func: Callable[..., Any], args: Sequence[Any], atol: float, rtol: float) -> str:
    """缺了一个输出的梯度，应当等于明写它的梯度为 0。"""
    targets, outputs = [args[i] for i in _wanted(args)], _outputs(func, args)
    vectors: list[Any] = list(_random_vectors(outputs))
    for o, output in enumerate(outputs if len(outputs) > 1 else ()):
        zero = Tensor.wrap(np.zeros_like(output.array))
        absent, written = ([*vectors[:o], instead, *vectors[o + 1 :]] for instead in (None, zero))
        pairs = zip(_backward(outputs, absent, targets), _backward(outputs, written, targets), strict=True)
        for i, (a, b) in enumerate(pairs):
            with np.errstate(invalid="ignore"):
                apart = np.abs(a - b) > atol + rtol * np.abs(b)
            if apart.any():
                return (
                    f"Expected the backward function to treat an undefined gradient of output {o} as zeros, but the "
                    f"gradient of input {i} is another"
                )
    return ""
