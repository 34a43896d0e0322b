"""前四个练习的判分：把读者写的反向装进 ``autograd.Function``，交给 gradcheck；不对时辨认是哪一种常见的错。

流入：读者的函数；流出：一句英文提示，空串表示通过。辨认的办法是把每种常见错误也算一遍，看谁与答案一致。
下一个文件：``check_graph.py``。
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import tinygrad_llm as tg
from tinygrad_llm.autograd import Function
from tinygrad_llm.gradcheck import GradcheckError
from tinygrad_llm.nn import functional as F
from tinygrad_llm.ops.op import Array

Candidates = dict[str, Sequence[tuple[str, Any]]]  # 输出名 → [(提示, 犯了这种错会得到的值)]
NOT_SUMMED = "missing sum over a broadcast axis: a value used for many rows collects the gradients of all of them"


def draw(seed: int, *shape: int) -> Array:
    """固定种子的正态数。"""
    return np.random.default_rng(seed).standard_normal(shape)


def is_close(a: Any, b: Any) -> bool:
    """两个数组形状相同、数值相等（到舍入误差）。"""
    a, b = np.asarray(a), np.asarray(b)
    return a.shape == b.shape and bool(np.allclose(a, b, rtol=1e-9, atol=1e-12))


def shape_problem(name: str, got: Any, like: Array) -> str:
    """返回值不是与 ``like`` 同形状的数组时，说出差在哪里。"""
    if not isinstance(got, np.ndarray):
        return f"{name} should be an array, got {type(got).__name__}"
    if got.shape == like.shape:
        return "" if np.isfinite(got).all() else f"{name} contains inf or NaN"
    if got.ndim >= 2 and got.swapaxes(-1, -2).shape == like.shape:
        return f"{name} is transposed: its shape is {got.shape}, should be {like.shape}"
    hint = NOT_SUMMED if got.size > like.size else "summed over too many axes, or keepdims is missing"
    return f"{name} has shape {got.shape}, should be {like.shape}: {hint}"


def judge(
    forward: Callable[..., Any], backward: Callable[..., Any], inputs: dict[str, Array], known: Candidates, g: Array
) -> str:
    """检查一个反向：先看形状，再做 gradcheck，最后辨认错误。

    Args:
        forward: 用 Tensor 写的前向。
        backward: 读者的反向，``backward(g, *inputs)`` 返回与 ``inputs`` 等长的元组。
        inputs: 输入名到数组；梯度在提示里叫作 ``d`` 加输入名。
        known: 各输入的常见错误。
        g: 辨认错误时用的输出梯度。

    Returns:
        提示；通过为空串。
    """
    got = backward(g, *inputs.values())
    if not isinstance(got, tuple) or len(got) != len(inputs):
        return f"should return {len(inputs)} arrays, got {type(got).__name__}"
    for (name, like), value in zip(inputs.items(), got, strict=True):
        problem = shape_problem(f"d{name}", value, like)
        if problem:
            return problem
    leaves = [tg.tensor(value, requires_grad=True) for value in inputs.values()]
    try:
        tg.gradcheck(_as_function(forward, backward).apply, leaves, atol=1e-7, rtol=1e-6)
    except GradcheckError as error:
        return _recognise(forward, leaves, dict(zip(inputs, got, strict=True)), known, g) or str(error)
    return ""


def _as_function(forward: Callable[..., Any], backward: Callable[..., Any]) -> type[Function]:
    class Answer(Function):
        """前向由我们写，反向由读者写。"""

        @staticmethod
        def forward(ctx: Any, *args: Any) -> Any:
            ctx.save_for_backward(*args)
            return forward(*args)

        @staticmethod
        def backward(ctx: Any, *grad_outputs: Any) -> Any:
            arrays = [saved.detach().numpy() for saved in ctx.saved_tensors]
            return tuple(tg.tensor(d) for d in backward(grad_outputs[0].numpy(), *arrays))

    return Answer


def _recognise(
    forward: Callable[..., Any], leaves: list[Any], got: dict[str, Array], known: Candidates, g: Array
) -> str:
    right = tg.autograd.grad(forward(*leaves), leaves, tg.tensor(g))
    for (name, value), expected in zip(got.items(), right, strict=True):
        if is_close(value, expected.numpy()):
            continue
        usual = [("wrong sign", -expected.numpy()), *known.get(name, ())]
        return next((f"d{name}: {hint}" for hint, wrong in usual if is_close(value, wrong)), "")
    return ""


def check_softmax(answer: Callable[..., Any]) -> str:
    """练习 1。"""
    x, g = draw(0, 3, 4), draw(1, 3, 4)
    y = F.softmax(tg.tensor(x), -1).numpy()
    gy = g * y
    known = [
        ("missing sum over the last axis; y(1 - y) is only the diagonal of the Jacobian", gy * (1 - y)),
        ("the normaliser depends on x too: subtract sum(g * y) from g first", gy),
        ("mean where a sum belongs", y * (g - gy.mean(-1, keepdims=True))),
        ("summed over the wrong axis: each row is its own softmax", y * (g - gy.sum(0, keepdims=True))),
    ]

    def backward(g: Array, x: Array) -> tuple[Any]:
        return (answer(g, F.softmax(tg.tensor(x), -1).numpy()),)

    return judge(lambda x: F.softmax(x, -1), backward, {"x": x}, {"x": known}, g)


def check_cross_entropy(answer: Callable[..., Any]) -> str:
    """练习 2：先查公式，再查大数值。"""
    x, target = draw(2, 3, 4), np.array([2, 0, 3])
    p, onehot = F.softmax(tg.tensor(x), -1).numpy(), np.eye(4)[target]
    by_column = F.softmax(tg.tensor(x), 0).numpy()
    known = [
        ("wrong sign: it is p - onehot, not onehot - p", (onehot - p) / 3),
        ("the loss is a mean over rows: divide by N", p - onehot),
        ("divided by N * C: the mean is over rows only", (p - onehot) / 12),
        ("the target class is missing: subtract 1 at the target", p / 3),
        ("softmax over the wrong axis: each row is its own softmax", (by_column - onehot) / 3),
    ]
    problem = judge(
        lambda x: F.cross_entropy(x, tg.tensor(target)) * 1.0,
        lambda g, x: (g * answer(x.copy(), target),),
        {"x": x},
        {"x": known},
        np.array(1.0),
    )
    if problem:
        return problem.replace("dx", "dlogits")
    large = answer(1000 * x, target)
    if not np.isfinite(large).all():
        return "exp overflows for logits near 1000: subtract the row maximum before exp"
    return ""


def check_matmul(answer: Callable[..., Any]) -> str:
    """练习 3：先用方阵（转置错了形状也对得上），再用各种广播。"""
    for left, right in (((3, 3), (3, 3)), ((2, 3, 4), (4, 5)), ((2, 1, 3, 4), (5, 4, 2)), ((3, 4), (2, 4, 5))):
        a, b = draw(3, *left), draw(4, *right)
        g = draw(5, *np.matmul(a, b).shape)
        da, db = g @ b.swapaxes(-1, -2), a.swapaxes(-1, -2) @ g
        known: Candidates = {"a": _not_all(da, a.shape), "b": _not_all(db, b.shape)}
        if left == right:
            known = {
                "a": [("transpose b: da = g bT", g @ b), ("da and db are swapped", db), ("order: da = g bT", b.T @ g)],
                "b": [("transpose a: db = aT g", a @ g), ("da and db are swapped", da), ("order: db = aT g", g @ a.T)],
            }
        problem = judge(lambda a, b: a @ b, answer, {"a": a, "b": b}, known, g)
        if problem:
            return f"{problem} (a {left}, b {right})"
    return ""


def _not_all(full: Array, shape: tuple[int, ...]) -> list[tuple[str, Array]]:
    """广播轴上该求和而取了均值或其中一份。"""
    padded = (1,) * (full.ndim - len(shape)) + shape
    axes = tuple(i for i, (n, m) in enumerate(zip(padded, full.shape, strict=True)) if n == 1 and m > 1)
    first = full[tuple(slice(0, 1) if i in axes else slice(None) for i in range(full.ndim))]
    return [
        ("mean over a broadcast axis where a sum belongs", full.mean(axis=axes, keepdims=True).reshape(shape)),
        ("took one slice of a broadcast axis: sum over all of them", first.reshape(shape)),
    ]


def check_layer_norm(answer: Callable[..., Any]) -> str:
    """练习 4：``eps`` 取得很大，漏掉它也看得出来。"""
    eps, width = 0.1, 4
    x, w, b, g = draw(6, 3, width), draw(7, width), draw(8, width), draw(9, 3, width)
    centered = x - x.mean(-1, keepdims=True)

    def dx(u: Array, variance: Array, mean_path: int = 1, variance_path: int = 1, scale: int = 1) -> Array:
        rstd = 1 / np.sqrt(variance)
        h = centered * rstd
        d: Array = u - mean_path * u.mean(-1, keepdims=True) - variance_path * h * (u * h).mean(-1, keepdims=True)
        return d * rstd**scale

    u, var = g * w, (centered**2).mean(-1, keepdims=True)
    xhat = centered / np.sqrt(var + eps)
    known: Candidates = {
        "x": [
            ("mu and sigma depend on x too: three paths lead from x to y", dx(u, var + eps, 0, 0)),
            ("the path through the mean is missing: subtract mean(u)", dx(u, var + eps, 0)),
            ("the path through the variance is missing: subtract xhat * mean(u * xhat)", dx(u, var + eps, 1, 0)),
            ("forgot to divide by sigma at the end", dx(u, var + eps, scale=0)),
            ("forgot the weight: start from u = g * weight", dx(g, var + eps)),
            ("variance divided by D - 1: LayerNorm divides by D", dx(u, var * width / (width - 1) + eps)),
            ("forgot eps", dx(u, var)),
        ],
        "weight": [
            ("multiply by xhat before summing", g.sum(0)),
            ("multiply by xhat, not by x", (g * x).sum(0)),
            ("mean over rows where a sum belongs", (g * xhat).mean(0)),
        ],
        "bias": [("mean over rows where a sum belongs", g.mean(0)), ("the bias is not scaled by weight", u.sum(0))],
    }
    return judge(
        lambda x, weight, bias: F.layer_norm(x, (width,), weight, bias, eps),
        lambda g, x, weight, bias: answer(g, x, weight, eps),
        {"x": x, "weight": w, "bias": b},
        known,
        g,
    )
