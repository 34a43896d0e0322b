"""优化器公式里用得着的几样：分块、步数、就地的插值，以及超参数的检查。

流入：NumPy 数组与超参数；流出：就地更新的数组。
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tinygrad_llm import dtypes
from tinygrad_llm.ops.op import Array
from tinygrad_llm.tensor import Tensor

BLOCK = 1 << 16
"""一块的元素数：更新公式的十来步逐元素运算在缓存里做完一块再做下一块。"""


def blocks(*arrays: Array) -> Iterator[tuple[Array, ...]]:
    """把若干同形状的连续数组摊平，一块一块地并排取出（视图）。"""
    flats = [a.reshape(-1) for a in arrays]
    for start in range(0, flats[0].size, BLOCK):
        yield tuple([flat[start : start + BLOCK] for flat in flats])


def scalar(value: Any) -> Any:
    """单元素的 Tensor 变成 Python 数；别的原样返回。"""
    return value.item() if isinstance(value, Tensor) else value


def scalar_state(value: float) -> Tensor:
    """以 0 维 Tensor 存着的标量状态（步数之类），至少是 float32。"""
    wide = dtypes.get_default_dtype().numpy == np.float64
    return Tensor.wrap(np.asarray(value, np.float64 if wide else np.float32))


def zeros_like(theta: Array) -> Tensor:
    """与参数同形状的零状态。"""
    return Tensor.wrap(np.zeros(theta.shape, theta.dtype))


def start(state: dict[str, Any], theta: Array, *names: str) -> None:
    """第一步：步数与各个零状态。"""
    if not state:
        state["step"] = scalar_state(0.0)
        state.update({name: zeros_like(theta) for name in names})


def advance(state: dict[str, Any]) -> float:
    """步数加一，返回加过之后的步数。"""
    if not isinstance(state["step"], Tensor):
        state["step"] = scalar_state(state["step"])
    state["step"].array += 1
    return float(state["step"].array)


def lerp(a: Array, b: Array, weight: float) -> None:
    """``a ← a + weight · (b - a)``；``weight`` 过半时从 ``b`` 那头算起，与 torch 相同。"""
    if weight < 0.5:
        a += (b - a) * weight
    else:
        a[...] = b - (b - a) * (1 - weight)


def decayed(theta: Array, grad: Array, decay: float) -> Array:
    """加上 L2 项之后的梯度。"""
    return grad + theta * decay if decay else grad


def require(condition: Any, name: str, value: Any) -> None:
    """超参数不合法时报错。"""
    if not condition:
        raise ValueError(f"Invalid {name}: {value}")


def require_rate(lr: Any) -> None:
    """学习率要不小于 0；是 Tensor 时只能有一个元素。"""
    if isinstance(lr, Tensor) and lr.numel() != 1:
        raise ValueError("Tensor lr must be 1-element")
    require(lr >= 0, "learning rate", lr)


def require_betas(betas: Any) -> None:
    """两个衰减率都要在 ``[0, 1)`` 里。"""
    require(0 <= betas[0] < 1, "beta parameter at index 0", betas[0])
    require(0 <= betas[1] < 1, "beta parameter at index 1", betas[1])


def require_one_kind(fused: bool | None, foreach: bool | None, differentiable: bool) -> None:
    """几种执行方式互相排斥。"""
    if fused and differentiable:
        raise RuntimeError("`fused` does not support `differentiable`")
    if fused and foreach:
        raise RuntimeError("`fused` and `foreach` cannot be `True` together.")
