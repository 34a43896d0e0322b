"""形状算子：只搬运、不计算。它们的反向也只是把梯度搬回去。

``scatter_*`` 是取下标的反向：把梯度**加**回原位，同一位置被取了几次就累加几次。
下一站：``linear.py``。
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygrad_llm.ops.op import Array, Op, op
from tinygrad_llm.ops.ordering import copy_with_strides, in_order, order_among

Shape = tuple[int, ...]


def storage_of(x: Array) -> Array:
    """``x`` 所在的那一整块内存。"""
    while isinstance(x.base, np.ndarray):
        x = x.base
    return x


def address(x: Array) -> int:
    """第一个元素的地址。"""
    return int(x.__array_interface__["data"][0])


def copy_of(x: Array) -> Array:
    """一份拷贝，保持各轴在内存里的次序；广播来的数组按行连续。"""
    return np.array(x, order="C" if 0 in x.strides else "K")


def strided_view(x: Array, shape: Shape, strides: Any, start: int | None = None) -> Array:
    """``x`` 按给定的形状与步长（字节）看；给了 ``start``（相对第一个元素，字节）则可以看到它所在的整块内存。

    沿 ``base`` 总能找到这块内存的主人，就地写入才记得到它头上；NumPy 的 ``as_strided`` 做不到。

    Raises:
        ValueError: 超出内存。
    """
    memory, begin = x, 0
    if start is not None or not x.flags.c_contiguous:
        memory = storage_of(x)
        begin = (start or 0) + address(x) - address(memory)
        if not memory.flags.c_contiguous:
            memory = memory.transpose(np.argsort([-step for step in memory.strides], kind="stable"))
    y: Array = np.ndarray(shape, x.dtype, memory, begin if 0 not in shape else 0, strides)
    if not x.flags.writeable or (0 in strides and any(n > 1 and not s for n, s in zip(shape, strides, strict=True))):
        # 步长为 0：一次写会改许多元素。不写 y.flags.writeable：那样每次新造一个方法名，解释器的方法缓存逐渐被它们占满。
        y.setflags(write=False)
    return y


@op("y = x（换形状）", is_view=True, x=lambda g, shapes: reshape(g, shape=shapes[0]))
def reshape(x: Array, *, shape: Shape) -> Any:
    """换形状，元素次序不变。"""
    return x.reshape(shape)


def inverse(dims: Shape) -> Shape:
    """逆排列。"""
    back = [0] * len(dims)
    for new, old in enumerate(dims):
        back[old] = new
    return tuple(back)


@op("y = xᵀ（按 dims 换轴）", is_view=True, x=lambda g, dims: permute(g, dims=inverse(dims)))
def permute(x: Array, *, dims: Shape) -> Any:
    """按 ``dims`` 重排各轴；反向用逆排列。"""
    return x.transpose(dims)


@op("y = x（按 order 由外到内排布的拷贝）", x=lambda g: g)
def copied(x: Array, *, order: Shape) -> Any:
    """``x`` 的一份拷贝：值与形状不变，内存里各轴由外到内依次是 ``order``。"""
    return np.array(x.transpose(order), order="C").transpose(inverse(order))


@op("y = x（广播）", is_view=True, x=lambda g: g)
def expand(x: Array, *, shape: Shape) -> Any:
    """广播成 ``shape``；反向对被广播的轴求和，由引擎完成。

    Raises:
        ValueError: 轴数变少，或长度不是 1 的轴要变长。
    """
    if type(x) is np.ndarray and x.ndim == 0 and shape:  # 求和的反向最常走这里
        y: Array = np.ndarray(shape, x.dtype, x, 0, (0,) * len(shape))
        y.setflags(write=False)
        return y
    x = np.asarray(x)
    return strided_view(x, shape, _expanded_strides(x.shape, x.strides, shape, x.itemsize))


def _expanded_strides(have: Shape, steps: Shape, wanted: Shape, step: int) -> list[int]:
    """广播之后的步长：变长的轴为 0，前面新添的长度为 1 的轴照连续排布算。"""
    pad = len(wanted) - len(have)
    if pad < 0:
        raise ValueError(f"cannot be expanded to fewer dimensions {wanted}")
    strides = [0] * len(wanted)
    for i in range(len(wanted) - 1, -1, -1):
        n = have[i - pad] if i >= pad else 1
        if n == wanted[i]:
            step = steps[i - pad] if i >= pad else step
        elif n == 1:
            step = 0
        else:
            raise ValueError(f"size {n} of dimension {i - pad} cannot be expanded to {wanted[i]}")
        strides[i] = step
        step *= wanted[i]
    return strides


@op("y = x[key]", is_region=True, x=lambda g, shapes, key: scatter_index(g, shape=shapes[0], key=key))
def index(x: Array, *, key: Any) -> Any:
    """``y = x[key]``；``key`` 是 NumPy 下标（整数、切片、``None``、``...``、整数或布尔数组）。"""
    y = x[key]
    if isinstance(y, np.ndarray):
        shared = y.base is not None and (y.base is x or y.base is x.base)
        if shared:
            return with_new_axes(y, x, key)
        if y.ndim < 2 or _in_row_order(x) or not _is_plain(key):
            return np.ascontiguousarray(y)
        return in_order(y, _picked_order(x, y, key))
    return x[(*key, ...) if isinstance(key, tuple) else (key, ...)]  # 标量不是视图；多写一个 ... 就得到零维的视图


def with_new_axes(y: Array, x: Array, key: Any) -> Array:
    """``y = x[key]`` 里由 ``None`` 添的轴，步长改成 torch 的：它右边那根（还没有切过的）轴的长度乘步长；NumPy 给 0。"""
    parts = key if isinstance(key, tuple) else (key,)
    if not any(part is None for part in parts):
        return y
    strides, axis = list(y.strides), 0
    rest = x.ndim - sum(part is not None and part is not Ellipsis for part in parts)  # ``...`` 代表几根轴
    place = 0
    for part in parts:
        if part is None:
            strides[place] = x.shape[axis] * x.strides[axis] if axis < x.ndim else x.itemsize
        else:
            axis += rest if part is Ellipsis else 1
        place += rest if part is Ellipsis else part is None or isinstance(part, slice)
    return strided_view(y, y.shape, strides)


def _in_row_order(x: Array) -> bool:
    """按行连续，长度为 1 的轴的步长也是；NumPy 不看后者，torch 却照它们定结果的次序。"""
    return x.flags.c_contiguous and (1 not in x.shape or np.ndarray(x.shape, x.dtype, x).strides == x.strides)


def _is_plain(key: Any) -> bool:
    """下标里只有数组与切片：``methods/subscripts.py`` 整理出来的都是。"""
    return all(isinstance(part, (slice, np.ndarray)) for part in (key if isinstance(key, tuple) else (key,)))


def _picked_order(x: Array, y: Array, key: Any) -> Shape:
    """``y = x[key]`` 各轴的次序：没有被下标的轴照 ``x``，下标带来的轴留在原处，与 torch 相同。"""
    kept: list[int] = []
    places: list[int] = []
    axis = 0
    for part in key if isinstance(key, tuple) else (key,):
        if isinstance(part, slice):
            kept.append(axis)
            axis += 1
        else:
            places.append(axis)
            axis += part.ndim if part.dtype.kind == "b" else 1
    kept += range(axis, x.ndim)
    beside = all(first not in kept for first in range(places[0], places[-1]))
    start = sum(axis < places[0] for axis in kept) if beside else 0
    strides = [x.strides[axis] for axis in kept]
    ndim = y.ndim - len(kept)
    picked = [n if start <= i < start + ndim else 1 for i, n in enumerate(y.shape)]  # 下标自己，别的轴长度为 1
    steps = [math.prod(picked[i + 1 :]) if n == m else 0 for i, (n, m) in enumerate(zip(picked, y.shape, strict=True))]
    return order_among(y.shape, ((*strides[:start], *[0] * ndim, *strides[start:]), tuple(steps)))


def is_basic(key: Any) -> bool:
    """下标里只有整数、切片、``None``、``...``：结果是视图，且没有重复的位置。"""
    parts = key if isinstance(key, tuple) else (key,)
    return all(part is None or part is Ellipsis or isinstance(part, (int, np.integer, slice)) for part in parts)


@op("y[key] += g", g_in=lambda g, key: index(g, key=key))
def scatter_index(g_in: Array, *, shape: Shape, key: Any) -> Any:
    """``index`` 的反向：零数组上 ``y[key] += g``，重复的位置累加。"""
    g_in = np.asarray(g_in)
    y = np.zeros(shape, dtype=g_in.dtype)
    if is_basic(key):
        y[key] = g_in
    else:
        np.add.at(y, key, g_in)
    return y


@op(
    "y = x，y[key] = v",
    x=lambda g, key, shapes: index_put(g, 0.0, key=key),
    v=lambda g, key: index(g, key=key),
)
def index_put(x: Array, v: Array, *, key: Any) -> Any:
    """``y`` 是 ``x`` 的拷贝，其中 ``y[key] = v``；被盖掉的位置对 ``x`` 的梯度为 0。"""
    y = copy_of(x)
    y[key] = v
    return y


def along(index_array: Array, dim: int) -> tuple[Any, ...]:
    """沿 ``dim`` 的下标补成各轴都有的下标。"""
    key: list[Any] = list(np.ogrid[tuple(slice(0, n) for n in index_array.shape)])
    key[dim] = index_array
    return tuple(key)


@op("y = x[index]（沿 dim）", x=lambda g, index, shapes, dim: scatter_add_zeros(g, index, dim=dim, shape=shapes[0]))
def gather(x: Array, index: Array, *, dim: int) -> Any:
    """沿 ``dim`` 按下标取值（``torch.gather``）。"""
    return np.ascontiguousarray(x[along(index, dim)])


@op("y[index] += g（沿 dim）", g_in=lambda g, index, dim: gather(g, index, dim=dim))
def scatter_add_zeros(g_in: Array, index: Array, *, dim: int, shape: Shape) -> Any:
    """``gather`` 的反向：零数组上沿 ``dim`` 按下标累加。"""
    y = np.zeros(shape, dtype=np.asarray(g_in).dtype)
    np.add.at(y, along(index, dim), g_in)
    return y


def _embedding_vjp(g: Any, index: Any, shapes: Any, into: Any) -> Any:
    buffer = into(0) if type(g) is np.ndarray else None
    if buffer is None:
        return scatter_rows(g, index, rows=shapes[0][0])
    ids, grads = index.reshape(-1), g.reshape(-1, g.shape[-1])

    def produce(rows: slice, out: Array, adds: bool) -> None:
        if not adds:
            out.fill(0)
        here = np.flatnonzero((ids >= rows.start) & (ids < rows.stop))
        _add_rows(out, grads[here], ids[here] - rows.start)

    return buffer.take(produce)


@op("y = weight[index]", weight=_embedding_vjp)
def embedding(weight: Array, index: Array) -> Any:
    """查表：``y[...] = weight[index[...]]``，形状 ``index.shape + (D,)``。"""
    return weight[index]


@op("y[index] += g（按行）", g_in=lambda g, index: embedding(g, index))
def scatter_rows(g_in: Array, index: Array, *, rows: int) -> Any:
    """查表的反向：把每个位置的梯度加到它取过的那一行。"""
    return _add_rows(np.zeros((rows, g_in.shape[-1]), dtype=g_in.dtype), g_in, index)


def _add_rows(y: Array, g_in: Array, index: Array) -> Array:
    """``y[index] += g``，就地。

    窄行（D < 64）摊平成一维再 ``add.at``；宽行逐行相加——每行一次向量加法，比 ``np.add.at`` 快几倍。
    """
    width = y.shape[-1]
    flat, grads = index.reshape(-1), g_in.reshape(-1, width)
    if width < 64:
        np.add.at(y.reshape(-1), (flat[:, None] * width + np.arange(width)).reshape(-1), grads.reshape(-1))
        return y
    for row, grad in zip(flat.tolist(), grads, strict=True):
        target = y[row]
        np.add(target, grad, out=target)
    return y


def _cat_vjp(g: Any, shapes: tuple[Shape, ...], dim: int, needs: tuple[bool, ...]) -> tuple[Any, ...]:
    grads, start = [], 0
    for shape, need in zip(shapes, needs, strict=True):
        stop = start + shape[dim]
        grads.append(index(g, key=(slice(None),) * dim + (slice(start, stop),)) if need else None)
        start = stop
    return tuple(grads)


@op("y = [x₁; x₂; …]", joint=_cat_vjp, wrt="tensors")
def cat(*tensors: Array, dim: int) -> Any:
    """沿 ``dim`` 首尾相接；梯度按原来的长度切回去。"""
    return np.ascontiguousarray(np.concatenate(tensors, axis=dim))


@op("y = x（反序）", x=lambda g, dim: flip(g, dim=dim))
def flip(x: Array, *, dim: Shape) -> Any:
    """沿 ``dim`` 反序。"""
    return np.array(np.flip(x, axis=dim), order="C" if 0 in x.strides else "K")


@op("y = x（循环移位）", x=lambda g, shifts, dim: roll(g, shifts=tuple(-n for n in shifts), dim=dim))
def roll(x: Array, *, shifts: Shape, dim: Shape) -> Any:
    """沿 ``dim`` 各轴循环移位 ``shifts``。"""
    return np.ascontiguousarray(np.roll(x, shifts, dim))


@op("y = 下三角(x)", x=lambda g, diagonal: tril(g, diagonal=diagonal))
def tril(x: Array, *, diagonal: int = 0) -> Any:
    """留下三角（最后两轴），其余置 0。"""
    return np.ascontiguousarray(np.tril(x, diagonal))


@op("y = 上三角(x)", x=lambda g, diagonal: triu(g, diagonal=diagonal))
def triu(x: Array, *, diagonal: int = 0) -> Any:
    """留上三角（最后两轴），其余置 0。"""
    return np.ascontiguousarray(np.triu(x, diagonal))


Path = tuple[tuple[Op, dict[str, Any]], ...]
"""从底下的张量到一个视图，依次经过的视图算子与属性。"""


def replay(x: Any, path: Path) -> Any:
    """沿着 ``path`` 再走一遍。"""
    for step, attrs in path:
        x = step(x, **attrs)
    return x


def is_shared(x: Array) -> bool:
    """是不是扩张出来的：几个元素同住一处。"""
    return x.size > 0 and any(size > 1 and not step for size, step in zip(x.shape, x.strides, strict=True))


def same_place(x: Array, y: Array) -> bool:
    """两个数组是不是同一块内存的同一种读法：这样的赋值什么也不必做。"""
    return x.shape == y.shape and x.strides == y.strides and x.dtype == y.dtype and address(x) == address(y)


INTERLEAVED = (
    "unsupported operation: some elements of the input tensor and the written-to tensor refer to a single memory "
    "location. Please clone() the tensor before performing the operation."
)


def _is_dense(x: Array) -> bool:
    """元素不重叠，中间也没有空隙。"""
    span = x.itemsize
    for step, n in sorted((step, n) for step, n in zip(x.strides, x.shape, strict=True) if n > 1):
        if step != span:
            return False
        span *= n
    return True


def overlaps_partly(x: Array, y: Array) -> bool:
    """两个数组的内存交错，又不是同一种读法；有空隙的不查，与 torch 相同。"""
    if storage_of(x) is not storage_of(y) or not (x.size and y.size and _is_dense(x) and _is_dense(y)):
        return False
    first, second = address(x), address(y)
    if first == second and x.nbytes == y.nbytes:
        return x.strides != y.strides  # 长度为 1 的轴也算
    return first < second + y.nbytes and second < first + x.nbytes


def writeable(x: Array, allows_shared: bool = False) -> Array:
    """可以写的 ``x``：扩张出来的数组整个写不得，从中取出的一个元素却写得。

    Args:
        x: 数组。
        allows_shared: 几个元素同住一处也行：全写同一个数，或先后写、后写的算数。

    Raises:
        RuntimeError: 几个元素同住一处，或底下的内存只读。
    """
    if x.flags.writeable:
        return x
    refused = not allows_shared and is_shared(x)
    view = x[...]
    try:
        view.setflags(write=not refused)
    except ValueError:
        refused = True
    if refused:
        raise RuntimeError("in-place write to a tensor whose elements share memory (expanded or read-only)")
    return view


@op("y = x，y[视图] = v", x=lambda g, path: write_region(g, 0.0, path=path), v=lambda g, path: replay(g, path))
def write_region(x: Array, v: Array, *, path: Path) -> Any:
    """``x`` 的拷贝，其中一个视图写成 ``v``；写过的区域对 ``x`` 的梯度为 0，对 ``v`` 的梯度就是那一块。"""
    y = copy_with_strides(x)
    region = replay(y, path)
    if np.may_share_memory(region, y):
        writeable(region)[...] = v
    else:  # 布局不同，换形状时复制了：改用下标
        places = replay(np.arange(1, y.size + 1).reshape(y.shape), path)
        known = places > 0  # 就地换过布局的张量，旧视图可能看着它如今没有的位置
        y.flat[places[known] - 1] = np.broadcast_to(v, places.shape)[known]
    return y
