"""复数的参数：更新公式照实数写，复数当作一对实数来更新，与 torch 一致。

流入：复数数组与状态；流出：就地更新的数组。状态存成复数，更新时看作实数，两边是同一块内存。
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tinygrad_llm.ops.complex import view_as_complex, view_as_real
from tinygrad_llm.ops.op import Array
from tinygrad_llm.tensor import Tensor


def as_reals(x: Array) -> Array:
    """复数数组看作实数（最后添一根长度为 2 的轴）；实数原样返回。"""
    return view_as_real.forward(x) if x.dtype.kind == "c" else x


def update_as_reals(
    update: Callable[..., None], theta: Array, grad: Array, state: dict[str, Any], group: dict[str, Any]
) -> None:
    """在实数的视图上执行 ``update``；它新建的、与参数同形状的状态换回复数。"""
    real_state = {name: _through(as_reals, value) for name, value in state.items()}
    update(as_reals(theta), as_reals(grad), real_state, group)
    shape = (*theta.shape, 2)
    for name, value in real_state.items():
        is_pairs = isinstance(value, Tensor) and value.array.shape == shape
        state[name] = _through(view_as_complex.forward, value) if is_pairs else value


def _through(function: Callable[[Array], Array], value: Any) -> Any:
    return Tensor.wrap(function(value.array)) if isinstance(value, Tensor) else value
