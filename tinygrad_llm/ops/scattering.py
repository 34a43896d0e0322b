"""按下标归约的算子：沿一根轴把许多元素乘到、比到同一个位置上。

流入与流出都是数组（或 Tensor）。相加由 ``shape.py`` 的 ``scatter_add_zeros`` 组合得到。下一站：``linear.py``。
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_llm.ops.elementwise import where
from tinygrad_llm.ops.op import Array, op
from tinygrad_llm.ops.shape import along, copy_of, gather, scatter_add_zeros

_UFUNCS: dict[str, Any] = {"prod": np.multiply, "amax": np.maximum, "amin": np.minimum}


def _sum(x: Any, src: Any, index: Any, dim: int) -> Any:
    return scatter_add_zeros(src, index, dim=dim, shape=tuple(x.shape))


def _product_slope(g: Any, x: Any, src: Any, index: Any, dim: int) -> Any:
    """积对 ``x`` 的导数是别的因子之积；``x`` 为 0 处先换成 1 再乘一遍。"""
    nonzero = where(x == 0, 1.0, x)
    return g * scatter_reduce(nonzero, src, index, dim=dim, reduce="prod") / nonzero


def _product_slope_src(g: Any, x: Any, src: Any, index: Any, y: Any, dim: int) -> Any:
    """对 ``src`` 同理：一个位置恰有一个 0 时，把它换成 1 再乘；有两个以上则导数为 0。"""
    zero = src == 0
    zeros = gather(_sum(x, where(zero, 1.0, 0.0), index, dim), index, dim=dim)
    single = zero & (zeros == 1)
    others = scatter_reduce(x, where(single, 1.0, src), index, dim=dim, reduce="prod")
    alone = gather(g * others, index, dim=dim)
    return where(single, alone, gather(g * y, index, dim=dim) / where(zero, 1.0, src))


def _extreme_share(g: Any, x: Any, src: Any, index: Any, y: Any, dim: int) -> Any:
    """极值由并列者平分；返回每一份的梯度与两边各是否并列。"""
    mine = where(x == y, 1.0, 0.0)
    theirs = where(src == gather(y, index, dim=dim), 1.0, 0.0)
    return g / (mine + _sum(x, theirs, index, dim)), mine, theirs


def _reduce_vjp(
    g: Any, x: Any, src: Any, index: Any, y: Any, dim: int, reduce: str, needs: tuple[bool, ...]
) -> tuple[Any, ...]:
    if reduce == "prod":
        to_x = _product_slope(g, x, src, index, dim) if needs[0] else None
        return to_x, _product_slope_src(g, x, src, index, y, dim) if needs[1] else None, None
    share, mine, theirs = _extreme_share(g, x, src, index, y, dim)
    return share * mine if needs[0] else None, gather(share, index, dim=dim) * theirs if needs[1] else None, None


@op("y = x，y[index] = y[index] ∘ src（沿 dim）", joint=_reduce_vjp, wrt="x src")
def scatter_reduce(x: Array, src: Array, index: Array, *, dim: int, reduce: str) -> Any:
    """``x`` 的拷贝，沿 ``dim`` 按下标把 ``src`` 归约进去；``reduce`` 是 ``prod``、``amax`` 或 ``amin``。"""
    y = copy_of(x)
    with np.errstate(over="ignore", invalid="ignore"):
        _UFUNCS[reduce].at(y, along(index, dim), src)
    return y
