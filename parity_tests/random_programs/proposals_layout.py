"""改变布局的提议：视图、拼接、下标，以及就地写入（也写进视图里）。

流入：``Builder``；流出：它多出来的几步。
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from parity_tests.random_programs.building import Builder, Family, Proposal, RejectedError, like, places
from parity_tests.random_programs.program import Dtype, Ref

# ---- 视图 ----


def reshaped(b: Builder) -> None:
    """换形状：有时留一维让它自己算；``view`` 遇到不连续的会被拒绝。"""
    x = b.pick_dims(0)
    size = int(b.value(x).numel())
    shape: list[int] = []
    while size > 1 and len(shape) < 3 and b.chance(0.7):
        factor = b.rng.choice([n for n in range(1, size + 1) if size % n == 0])
        shape.append(factor)
        size //= factor
    shape.append(size)
    if b.chance(0.3):
        shape[b.rng.randrange(len(shape))] = -1
    b.step(b.rng.choice((".reshape", ".view", ".reshape")), x, tuple(shape))


def rearranged(b: Builder) -> None:
    """换维的次序，加一维，减一维。"""
    x = b.pick_dims(1)
    ndim = b.value(x).ndim
    kind = b.rng.choice(
        (".transpose", ".permute", ".unsqueeze", ".squeeze", ".movedim", ".flatten", ".swapaxes", ".mT")
    )
    if kind == ".permute":
        b.step(kind, x, tuple(b.rng.sample(range(ndim), ndim)))
    elif kind == ".unsqueeze":
        b.step(kind, x, b.rng.randrange(-ndim - 1, ndim + 1))
    elif kind == ".squeeze":
        b.step(kind, x, *([b.dim(x)] if b.chance(0.5) else []))
    elif kind == ".mT":
        b.step(".adjoint", b.pick_dims(2))
    elif kind == ".flatten":
        start = b.rng.randrange(ndim)
        b.step(kind, x, start, b.rng.randrange(start, ndim))
    else:
        b.step(kind, x, b.dim(x), b.dim(x))


def _slice(b: Builder, size: int) -> slice:
    start, stop = sorted((b.rng.randint(0, size), b.rng.randint(0, size)))
    if start == stop and size and b.chance(0.9):
        start, stop = (start - 1, stop) if start else (0, 1)
    first = b.rng.choice((start, start - size, None) if start else (0, None))
    return slice(
        first if first != 0 or start == 0 else start, stop if b.chance(0.7) else None, b.rng.choice((None, None, 1, 2))
    )


def key(b: Builder, shape: tuple[int, ...]) -> Any:
    """一个只含整数、切片、``...`` 与 ``None`` 的下标：取出的是视图。"""
    parts: list[Any] = []
    for size in shape[: b.rng.randint(1, max(1, len(shape)))]:
        if size and b.chance(0.35):
            parts.append(b.rng.randrange(-size, size))
        else:
            parts.append(_slice(b, size))
    if b.chance(0.15):
        parts.insert(0, None)
    if b.chance(0.15) and len(parts) < len(shape):
        parts.append(...)
    return tuple(parts) if len(parts) != 1 or b.chance(0.5) else parts[0]


def view_of(b: Builder, x: Ref) -> Ref:
    """它的一个视图。"""
    shape = tuple(b.value(x).shape)
    kind = b.rng.choice(
        ("key", "key", "select", "narrow", "transpose", "diagonal", "unfold", "view", "expand", "detach")
    )
    if not shape or kind == "view":
        return b.step(".view", x, b.rng.choice((-1, b.value(x).shape.numel())))
    dim = b.dim(x)
    size = shape[dim]
    if kind == "select" and size:
        return b.step(".select", x, dim, b.rng.randrange(-size, size))
    if kind == "narrow" and size:
        start = b.rng.randrange(size)
        return b.step(".narrow", x, dim, start, b.rng.randint(1, size - start))
    if kind == "transpose":
        return b.step(".transpose", x, dim, b.dim(x))
    if kind == "diagonal" and len(shape) > 1:
        return b.step(".diagonal", x, b.rng.choice((0, 0, 1, -1)), 0, -1)
    if kind == "unfold" and size > 1:
        return b.step(".unfold", x, dim, b.rng.randint(1, size), b.rng.randint(1, 2))
    if kind == "expand":
        return b.step(".expand", x, (b.rng.randint(1, 2), *shape))
    if kind == "detach" and b.chance(0.2):
        return b.step(".detach", x)
    return b.step("[]", x, key(b, shape))


def viewed(b: Builder) -> None:
    """切片、选取、窄段、对角线、滑动窗口、扩张。"""
    view_of(b, b.pick_dims(0))


def copied(b: Builder) -> None:
    """搬运：翻转、滚动、三角、重复、连续的副本。"""
    x = b.pick_dims(1)
    kind = b.rng.choice(
        (".flip", ".roll", ".tril", ".triu", ".repeat", ".repeat_interleave", ".contiguous", ".clone", "pad")
    )
    if kind == ".flip":
        b.step(kind, x, (b.dim(x),))
    elif kind == ".roll":
        b.step(kind, x, b.rng.choice((1, -2)), b.dim(x))
    elif kind in (".tril", ".triu"):
        b.step(kind, b.pick_dims(2), b.rng.choice((0, 1, -1)))
    elif kind == ".repeat":
        b.step(kind, x, tuple(b.rng.randint(1, 2) for _ in range(b.value(x).ndim)))
    elif kind == ".repeat_interleave":
        b.step(kind, x, 2, dim=b.dim(x))
    elif kind == "pad":
        b.step("nn.functional.pad", x, (b.rng.randint(-1, 1), b.rng.randint(0, 2)), value=0.5)
    else:
        b.step(kind, x)


# ---- 拼接与拆开 ----


def joined(b: Builder) -> None:
    """拼接与堆叠；同一个张量可以出现两次。"""
    x = b.pick_dims(1)
    shape = tuple(b.value(x).shape)
    others = [x]
    for _ in range(b.rng.randint(1, 2)):
        others += [b.pick(lambda value: tuple(value.shape) == shape) if b.chance(0.5) else b.leaf(shape)]
    b.rng.shuffle(others)
    b.step(b.rng.choice(("cat", "stack", "cat")), others, dim=b.dim(x))


def split(b: Builder) -> None:
    """拆成几块，取其中一块或几块。"""
    x = b.pick_dims(1)
    dim = b.dim(x)
    kind = b.rng.choice((".split", ".chunk", ".unbind", ".tensor_split"))
    extra = () if kind == ".unbind" else (b.rng.randint(1, 3),)
    parts = b.step(kind, x, *extra, dim=dim, pooled=False)
    count = len(b.value(parts))
    for place in b.rng.sample(range(count), b.rng.randint(1, min(count, 3))):
        b.step("[]", parts, place)


# ---- 下标 ----


def indexed(b: Builder) -> None:
    """用下标张量或掩码取元素。"""
    x = b.pick_dims(1)
    shape = tuple(b.value(x).shape)
    dim = b.dim(x)
    kind = b.rng.choice(("index_select", "gather", "list", "mask", "two", "take", "embedding", "take_along_dim"))
    if kind == "index_select":
        b.step(".index_select", x, dim, b.integers([b.rng.randint(1, 4)], shape[dim]))
    elif kind in ("gather", "take_along_dim"):
        wanted = list(shape)
        wanted[dim] = b.rng.randint(1, 4)
        b.step(
            f".{kind}",
            x,
            *((dim, b.integers(wanted, shape[dim])) if kind == "gather" else (b.integers(wanted, shape[dim]), dim)),
        )
    elif kind == "list":
        b.step(
            "[]", x, (slice(None),) * (dim % len(shape)) + (b.integers([b.rng.randint(1, 3)], shape[dim], -shape[dim]),)
        )
    elif kind == "mask":
        b.step("[]", x, b.booleans(shape[: b.rng.randint(1, len(shape))]))
    elif kind == "two" and len(shape) > 1:
        count = b.rng.randint(1, 3)
        b.step("[]", x, (b.integers([count], shape[0]), b.integers([b.rng.choice((1, count))], shape[1])))
    elif kind == "embedding" and len(shape) == 2:
        b.step("nn.functional.embedding", b.integers([2, b.rng.randint(1, 3)], shape[0]), x)
    else:
        b.step("take", x, b.integers([b.rng.randint(1, 4)], math.prod(shape)))


def scattered(b: Builder) -> None:
    """不就地的散播与填充。"""
    x = b.pick_dims(1)
    if _overlaps(b.value(x)):
        raise RejectedError  # torch 的 select_scatter 写进了重叠的副本
    shape = tuple(b.value(x).shape)
    dim = b.dim(x)
    kind = b.rng.choice(
        ("scatter_add", "index_add", "masked_fill", "scatter", "index_fill", "select_scatter", "index_put")
    )
    if kind == "masked_fill":
        b.step(".masked_fill", x, b.booleans(shape), b.rng.choice((0.5, 0)))
    elif kind == "index_add":
        rows = [2 if place == dim % len(shape) else size for place, size in enumerate(shape)]
        b.step(".index_add", x, dim, b.integers([2], shape[dim]), like(b, x, rows))
    elif kind == "index_fill":
        b.step(".index_fill", x, dim, b.integers([2], shape[dim]), 0.25)
    elif kind == "select_scatter":
        rows = [size for place, size in enumerate(shape) if place != dim % len(shape)]
        b.step(".select_scatter", x, like(b, x, rows), dim, b.rng.randrange(shape[dim]))
    elif kind == "index_put":
        b.step(".index_put", x, (b.integers([2], shape[0]),), like(b, x, [2, *shape[1:]]), accumulate=True)
    else:
        index = b.integers(shape, shape[dim])
        if kind == "scatter":  # 重复的下标谁写在后面没有约定，所以用排列
            index = b.constant(b.data.permuted(b.value(index).numpy() * 0 + _counting(shape, dim), axis=dim), "int64")
        b.step(f".{kind}", x, dim, index, like(b, x, shape))


def _counting(shape: tuple[int, ...], dim: int) -> Any:
    wanted = [1] * len(shape)
    wanted[dim] = shape[dim]
    return np.broadcast_to(np.arange(shape[dim]).reshape(wanted), shape)


# ---- 就地写入 ----

OVERWRITES = [
    ".relu_", ".tanh_", ".sigmoid_", ".exp_", ".neg_", ".zero_", ".fill_", ".clamp_", ".square_", ".sin_",
    ".abs_", ".mul_", "nn.functional.leaky_relu_", ".masked_fill_", ".sqrt_", ".tril_",
    ".cumsum_",
]  # fmt: skip


def _target(b: Builder) -> Ref:
    """可以写的变量：多半不是求导的叶子；一半的时候写进它的视图里。"""
    x = b.pick(lambda value: not (value.is_leaf and value.requires_grad) or b.chance(0.03))
    if b.chance(0.3):
        x = b.step(".clone", x)
    x = view_of(b, x) if b.chance(0.5) else x
    if _overlaps(b.value(x)) or not b.value(x).numel():
        raise RejectedError
    return x


def _overlaps(value: Any) -> bool:
    """滑动窗口彼此重叠：写进去的结果，torch 说没有约定；扩张出来的不算，那是要报错的。"""
    strides = [stride for stride, size in zip(value.stride(), value.shape, strict=True) if size > 1]
    if 0 in strides or not value.numel():
        return False
    touched = 1 + sum(stride * (size - 1) for stride, size in zip(value.stride(), value.shape, strict=True))
    return bool(touched < value.numel() or len(set(places(value).ravel().tolist())) < value.numel())


def _expanded(value: Any) -> bool:
    """扩张出来的：按下标写它，torch 放行而警告说将来要报错，这里现在就报错。"""
    return any(size > 1 and not stride for size, stride in zip(value.shape, value.stride(), strict=True))


def written_over(b: Builder) -> None:
    """就地的算术：右边可以广播、可以是它自己、可以是数。"""
    x = _target(b)
    name = b.rng.choice([".add_", ".sub_", ".mul_", "+=", "-=", "*=", ".copy_", ".addcmul_", ".div_", ".lerp_"])
    if name == ".addcmul_":
        b.step(name, x, b.partner(x), b.partner(x), value=0.5)
    elif name == ".lerp_":
        b.step(name, x, b.partner(x), 0.3)
    elif name == ".div_":
        b.step(name, x, b.step("+", b.step(".abs", b.partner(x)), 0.5))
    else:
        b.step(name, x, b.rng.choice((0.5, 2)) if b.chance(0.3) and name != ".copy_" else b.partner(x))


def applied_over(b: Builder) -> None:
    """就地的一元函数与填充。"""
    x = _target(b)
    name = b.rng.choice(OVERWRITES)
    if name == ".fill_":
        b.step(name, x, 0.5 if b.chance(0.5) else b.leaf(()))
    elif name == ".clamp_":
        b.step(name, x, -0.5, 0.8)
    elif name == ".mul_":
        b.step(name, x, x)
    elif name == ".masked_fill_":
        mask = b.booleans(b.value(x).shape) if b.chance(0.6) else b.step(">", x, 0.3, pooled=False)
        b.step(name, x, mask, b.rng.choice((0.5, -1)))
    elif name == ".sqrt_":
        b.step(name, b.step(".add_", b.step(".abs_", x), 0.5))
    elif name == ".cumsum_":
        b.step(name, x, b.dim(x))
    elif name == ".tril_" and _expanded(b.value(x)):
        raise RejectedError  # torch 放行而警告说将来要报错，见 ``API.md`` 第 2 节
    else:
        b.step(name, x)


def assigned(b: Builder) -> None:
    """``x[key] = value``：值可以广播，可以是数，也可以是 ``x`` 的另一块。"""
    x = _target(b)
    shape = tuple(b.value(x).shape)
    if not shape or not b.value(x).numel():
        raise RejectedError
    where: Any = key(b, shape)
    if b.chance(0.15) and not _expanded(b.value(x)):
        where = b.booleans(shape)
    elif b.chance(0.15) and not _expanded(b.value(x)):
        where = b.constant(b.data.permutation(shape[0])[: b.rng.randint(1, shape[0])], "int64")
    if b.chance(0.25):
        b.step("[]=", x, where, b.rng.choice((0.5, 2)))
        return
    piece = b.step("[]", x, where, pooled=False)
    other = b.partner(piece) if not isinstance(where, Ref) else like(b, x, tuple(b.value(piece).shape))
    if other == x and _expanded(b.value(x)):
        raise RejectedError  # 写给自己的 torch 不动手，也就不报错
    b.step("[]=", x, where, other)


def put(b: Builder) -> None:
    """就地的散播：``index_put_``、``scatter_``、``index_add_``、``index_copy_``、``masked_scatter_``。"""
    x = _target(b)
    shape = tuple(b.value(x).shape)
    if not shape or not b.value(x).numel() or _expanded(b.value(x)):
        raise RejectedError
    dim = b.dim(x)
    rows = [2 if place == dim % len(shape) else size for place, size in enumerate(shape)]
    kind = b.rng.choice(
        (".index_put_", ".scatter_add_", ".index_add_", ".index_copy_", ".masked_scatter_", ".index_fill_")
    )
    if kind == ".index_put_":
        b.step(kind, x, (b.integers([2], shape[0]),), like(b, x, [2, *shape[1:]]), accumulate=True)
    elif kind == ".scatter_add_":
        b.step(kind, x, dim, b.integers(shape, shape[dim]), like(b, x, shape))
    elif kind == ".index_add_":
        b.step(kind, x, dim, b.integers([2], shape[dim]), like(b, x, rows), alpha=b.rng.choice((1, 0.5)))
    elif kind == ".index_copy_":
        rows[dim] = 1
        b.step(kind, x, dim, b.integers([1], shape[dim]), like(b, x, rows))
    elif kind == ".masked_scatter_":
        b.step(kind, x, b.booleans(shape), like(b, x, shape))
    else:
        b.step(kind, x, dim, b.integers([1], shape[dim]), b.rng.choice((0.5, 0)))


def renewed(b: Builder) -> None:
    """就地换布局：``transpose_``、``unsqueeze_``、``squeeze_``。"""
    # 留着梯度的不换：torch 的 .grad 还是旧的形状，与张量自己的对不上
    x = b.pick(lambda value: not (value.is_leaf and value.requires_grad) and not value.retains_grad)
    x = b.step(".clone", x) if b.chance(0.4) else x
    if b.value(x).ndim and b.chance(0.5):
        view_of(b, x)  # 从前的视图此后仍作数
    ndim = b.value(x).ndim
    kind = b.rng.choice((".transpose_", ".unsqueeze_", ".squeeze_"))
    if kind == ".transpose_":
        b.step(kind, x, b.dim(x), b.dim(x))
    elif kind == ".unsqueeze_":
        b.step(kind, x, b.rng.randrange(-ndim - 1, ndim + 1))
    else:
        b.step(kind, x)


def kept(b: Builder) -> None:
    """留下中间结果的梯度。"""
    x = b.step("*", b.pick(lambda value: value.requires_grad), 1.5)  # 新算出来的：哪些结果算视图，两个引擎不全相同
    b.step(".retain_grad", x, pooled=False)


def detached(b: Builder) -> None:
    """断开：``detach``，或 ``detach_``；后者不许用在视图上，从前的视图仍在图上。"""
    if b.chance(0.7):
        b.step(".detach", b.pick())
        return
    x = b.step("*", b.pick(lambda value: value.requires_grad), 0.5)
    if b.chance(0.5):
        view_of(b, x)
    b.step(".detach_", x)


def typed(b: Builder) -> None:
    """造一个同形的常数。"""
    x = b.pick()
    name = b.rng.choice(("zeros_like", "ones_like", "full_like"))
    b.step(name, x, *([0.5] if name == "full_like" else []), dtype=Dtype("float64"))


VIEWS: tuple[Proposal, ...] = (reshaped, rearranged, viewed, viewed, copied)
INPLACE: tuple[Proposal, ...] = (written_over, written_over, applied_over, assigned, put, put, renewed)
FAMILIES = (
    Family(3.2, VIEWS),
    Family(1, (joined, split)),
    Family(1.4, (indexed, scattered)),
    Family(0.5, (kept, kept, detached, typed)),
)
WRITES = Family(1, INPLACE)
