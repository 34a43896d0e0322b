"""形状算子的取样与 torch 对照：换形状、取下标、散播、拼接。

流入：hypothesis 的取样函数；流出：``(输入, 属性)``。``op_table.py`` 引用这里。
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st

from parity_tests.strategies import Draw, array, axes, booleans, integers, shapes
from tinygrad_llm.ops import shape as sh

Arguments = tuple[list[Any], dict[str, Any]]


def _shape(draw: Draw, small: bool, min_dims: int = 0, min_side: int = 0) -> tuple[int, ...]:
    return draw(shapes(min_dims, max(min_dims, 2), 1) if small else shapes(min_dims, 4, min_side))  # type: ignore[no-any-return]


def reshape(draw: Draw, small: bool) -> Arguments:
    """元素数不变的另一个形状。"""
    shape = _shape(draw, small)
    wanted = draw(st.sampled_from([(math.prod(shape),), tuple(reversed(shape)), (1, *shape), (*shape, 1)]))
    return [array(draw, shape)], {"shape": wanted}


def permute(draw: Draw, small: bool) -> Arguments:
    """任意的轴排列。"""
    shape = _shape(draw, small)
    return [array(draw, shape)], {"dims": tuple(draw(st.permutations(range(len(shape)))))}


def expand(draw: Draw, small: bool) -> Arguments:
    """长度为 1 的轴变长，前面再添几根轴。"""
    shape = tuple(1 if draw(st.booleans()) else n for n in _shape(draw, small))
    wanted = tuple(draw(st.integers(1 if small else 0, 3)) if n == 1 else n for n in shape)
    return [array(draw, shape)], {"shape": (*draw(shapes(0, 1, 1)), *wanted)}


def key(draw: Draw, shape: tuple[int, ...], *, unique: bool = False) -> Any:
    """一个 NumPy 下标：整数、切片、``None``、``...``、整数数组（可重复）或布尔数组。"""
    if draw(st.integers(0, 4)) == 0:
        return booleans(draw, shape[: draw(st.integers(1, len(shape)))])
    parts: list[Any] = []
    for n in shape[: draw(st.integers(0, len(shape)))]:
        kinds = ["slice", "int", "array"] if n else ["slice"]
        kind = draw(st.sampled_from(kinds))
        if kind == "slice":
            parts.append(slice(*sorted(draw(st.lists(st.integers(0, n), min_size=2, max_size=2)))))
        elif kind == "int":
            parts.append(draw(st.integers(-n, n - 1)))
        elif unique and any(isinstance(p, np.ndarray) for p in parts):
            parts.append(np.zeros((), np.int64))  # 第二个下标数组广播成常数，位置仍不重复
        else:
            parts.append(np.arange(n) if unique else integers(draw, (2,), -n, n))
    if draw(st.booleans()):
        parts.insert(draw(st.integers(0, len(parts))), None)
    if len([p for p in parts if p is not None]) < len(shape) and draw(st.booleans()):
        parts.append(Ellipsis)
    return tuple(parts)


def _places(shape: tuple[int, ...], key: Any) -> Any:
    """下标取到的位置，展平后的序号。"""
    return np.asarray(np.arange(math.prod(shape)).reshape(shape)[key])


def index(draw: Draw, small: bool) -> Arguments:
    """取下标。"""
    shape = _shape(draw, small, min_dims=1)
    return [array(draw, shape)], {"key": key(draw, shape)}


def index_twin(x: Any, key: Any) -> Any:
    """展平后按序号取。"""
    return x.reshape(-1)[torch.from_numpy(_places(tuple(x.shape), key))]


def scatter_index(draw: Draw, small: bool) -> Arguments:
    """取下标的反向。"""
    shape = _shape(draw, small, min_dims=1)
    where = key(draw, shape)
    return [array(draw, _places(shape, where).shape)], {"shape": shape, "key": where}


def scatter_index_twin(g_in: Any, shape: tuple[int, ...], key: Any) -> Any:
    """零向量上按序号累加。"""
    flat = torch.from_numpy(_places(shape, key).reshape(-1))
    return g_in.new_zeros(math.prod(shape)).index_add(0, flat, g_in.reshape(-1)).reshape(shape)


def write_region(draw: Draw, small: bool) -> Arguments:
    """写进一个视图：换轴、切片、再换形状，布局连续与不连续都有。"""
    shape = _shape(draw, small, min_dims=1, min_side=1)
    dims = tuple(draw(st.permutations(range(len(shape)))))
    turned = tuple(shape[d] for d in dims)
    start = draw(st.integers(0, turned[0] - 1))
    found = (turned[0] - start, *turned[1:], 1)
    path = ((sh.permute, {"dims": dims}), (sh.index, {"key": slice(start, None)}), (sh.reshape, {"shape": found}))
    return [array(draw, shape), array(draw, found)], {"path": path}


def write_region_twin(x: Any, v: Any, path: Any) -> Any:
    """同样的三步，写进 ``x`` 的拷贝。"""
    y = x.clone()
    y.permute(path[0][1]["dims"])[path[1][1]["key"]].copy_(v.squeeze(-1))
    return y


def index_put(draw: Draw, small: bool) -> Arguments:
    """写入：位置不重复，写的值可以是标量。"""
    shape = _shape(draw, small, min_dims=1, min_side=1)
    where = key(draw, shape, unique=True)
    found = _places(shape, where).shape
    return [array(draw, shape), array(draw, draw(st.sampled_from([found, ()])))], {"key": where}


def index_put_twin(x: Any, v: Any, key: Any) -> Any:
    """展平后按序号写入。"""
    places = _places(tuple(x.shape), key)
    flat = torch.from_numpy(places.reshape(-1))
    return x.reshape(-1).index_put((flat,), v.expand(places.shape).reshape(-1)).reshape(x.shape)


def gather(draw: Draw, small: bool) -> Arguments:
    """沿一根轴按下标取；下标数组在别的轴上可以短一些。"""
    shape = _shape(draw, small, min_dims=1, min_side=1)
    dim = draw(st.integers(0, len(shape) - 1))
    size = tuple(draw(st.integers(0 if not small else 1, 4 if i == dim else n)) for i, n in enumerate(shape))
    return [array(draw, shape), integers(draw, size, 0, shape[dim])], {"dim": dim}


def scatter_add(draw: Draw, small: bool) -> Arguments:
    """``gather`` 的反向。"""
    (x, where), attrs = gather(draw, small)
    return [array(draw, where.shape), where], {**attrs, "shape": x.shape}


def scatter_reduce(draw: Draw, small: bool) -> Arguments:
    """按下标求积或取最值：位置重复，取值有并列与 0（差分时避开）。"""
    (x, where), attrs = gather(draw, small)
    reduce = draw(st.sampled_from(["prod", "amax", "amin"]))
    if small or reduce == "prod":  # 同一位置有两个以上的 0 时，torch 自己没有二阶导
        domain = "smooth" if reduce != "prod" else "nonzero"
        both = array(draw, (x.size + where.size,), domain, layout=False)
        x, src = both[: x.size].reshape(x.shape), both[x.size :].reshape(where.shape)
    else:
        x, src = array(draw, x.shape, "ties"), array(draw, where.shape, "ties")
    return [x, src, where], {**attrs, "reduce": reduce}


def embedding(draw: Draw, small: bool) -> Arguments:
    """查表：宽行与窄行走不同的反向。"""
    rows, width = draw(st.integers(1, 4)), 2 if small else draw(st.sampled_from([1, 3, 64]))
    return [array(draw, (rows, width)), integers(draw, _shape(draw, small), 0, rows)], {}


def scatter_rows(draw: Draw, small: bool) -> Arguments:
    """查表的反向。"""
    (weight, where), _ = embedding(draw, small)
    return [array(draw, (*where.shape, weight.shape[1])), where], {"rows": len(weight)}


def scatter_rows_twin(g_in: Any, index: Any, rows: int) -> Any:
    """零矩阵上按行累加。"""
    width = g_in.shape[-1]
    return g_in.new_zeros(rows, width).index_add(0, index.reshape(-1), g_in.reshape(-1, width))


def cat(draw: Draw, small: bool) -> Arguments:
    """一至三个数组首尾相接，拼接轴可以长短不一。"""
    shape = _shape(draw, small, min_dims=1)
    dim = draw(st.integers(0, len(shape) - 1))
    lengths = draw(st.lists(st.integers(0, 2), min_size=1, max_size=3))
    return [array(draw, (*shape[:dim], n, *shape[dim + 1 :])) for n in lengths], {"dim": dim}


def flip(draw: Draw, small: bool) -> Arguments:
    """沿若干轴反序。"""
    shape = _shape(draw, small)
    return [array(draw, shape)], {"dim": axes(draw, len(shape))}


def triangle(draw: Draw, small: bool) -> Arguments:
    """三角。"""
    return [array(draw, _shape(draw, small, min_dims=2))], {"diagonal": draw(st.integers(-3, 3))}
