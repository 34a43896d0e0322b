"""取下标与写入：整数、切片、``None``、``...``、整数与布尔张量的任意混用，都与 torch 相同；视图共享内存。"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_llm as tg
from parity_tests.engine.twins import same, same_gradient, table, values
from parity_tests.strategies import Draw, booleans, integers
from parity_tests.tolerances import assert_close

SHAPE = (3, 4, 2, 5)


def _part(draw: Draw, n: int, length: int) -> Any:
    kind = draw(st.sampled_from(["slice", "slice", "int", "array", "list", "zero-dimensional"]))
    if kind == "slice":
        step = draw(st.sampled_from([None, 1, 2]))
        start, stop = (draw(st.one_of(st.none(), st.integers(-n - 1, n + 1))) for _ in range(2))
        return slice(start, stop, step)
    if kind == "int":
        return draw(st.integers(-n, n - 1))
    if kind == "zero-dimensional":
        return integers(draw, (), 0, n)
    found = integers(draw, (length,), -n, n)
    return found if kind == "array" else found.tolist()


@st.composite
def keys(draw: Draw) -> Any:
    """torch 与我们都接受的一个下标；数组以 NumPy 表示，两边各自换成张量。"""
    if draw(st.integers(0, 5)) == 0:
        return booleans(draw, SHAPE[: draw(st.integers(1, 4))])
    count, length = draw(st.integers(0, 4)), draw(st.integers(1, 3))
    parts = [_part(draw, n, length) for n in SHAPE[:count]]
    if draw(st.booleans()):
        parts.insert(draw(st.integers(0, len(parts))), None)
    if draw(st.booleans()):
        parts = [*parts[: (cut := draw(st.integers(0, len(parts))))], Ellipsis, *_shifted(parts[cut:], cut)]
    return tuple(parts)


def _shifted(parts: list[Any], cut: int) -> list[Any]:
    """``...`` 之后的部分对着末尾的轴：只留下对任何轴都合法的那些。"""
    return [p if p is None or isinstance(p, slice) else 0 if isinstance(p, int) else -1 for p in parts]


def _for(m: Any, key: Any) -> Any:
    if isinstance(key, tuple):
        return tuple(_for(m, part) for part in key)
    return m.tensor(key) if isinstance(key, np.ndarray) else key


@given(key=keys())
def test_getitem_and_its_gradient_equal_torch(key: Any) -> None:
    """某种下标取到的元素、轴的次序或梯度与 torch 不同。"""
    same_gradient(lambda m, x: x[_for(m, key)], values(0, *SHAPE), what=repr(key))


@given(key=keys())
def test_setitem_and_its_gradient_equal_torch(key: Any) -> None:
    """写入标量或张量之后，值或两边的梯度与 torch 不同。"""
    size = torch.zeros(SHAPE)[_for(torch, key)].shape

    def run(m: Any) -> Any:
        x, v = (m.tensor(values(i, *s), requires_grad=True) for i, s in enumerate([SHAPE, tuple(size)]))
        plain, y, z = m.tensor(values(2, *SHAPE)), x * 1, x * 1
        where = _for(m, key)
        plain[where] = 2.5
        y[where] = 2.5
        z[where] = v
        (y.exp() + z.sin()).sum().backward()
        return plain, y, x.grad, *(() if _repeats(key) else (z, v.grad))

    if _repeats(key):  # 同一位置写两次时，哪一次算数没有约定
        same(lambda m: run(m)[:2], what=repr(key))
    else:
        same(run, what=repr(key))


def _repeats(key: Any) -> bool:
    places = np.arange(int(np.prod(SHAPE))).reshape(SHAPE)
    flat = torch.from_numpy(places)[_for(torch, key)].reshape(-1).tolist()
    return len(set(flat)) < len(flat)


VIEWS: dict[str, Callable[[Any], Any]] = {
    "getitem slice": lambda x: x[1:, ::2],
    "getitem int": lambda x: x[1],
    "one element": lambda x: x[1, 2],
    "one element with ellipsis": lambda x: x[1, 2, ...],
    "None": lambda x: x[:, None],
    "reshape": lambda x: x.reshape(4, 3),
    "view": lambda x: x.view(-1),
    "flatten": lambda x: x.flatten(),
    "squeeze": lambda x: x[:1].squeeze(0),
    "unsqueeze": lambda x: x.unsqueeze(-1),
    "transpose": lambda x: x.t(),
    "permute": lambda x: x.permute(1, 0),
    "narrow": lambda x: x.narrow(1, 1, 2),
    "split": lambda x: x.split(2, 1)[1],
    "chunk": lambda x: x.chunk(2, 0)[1],
    "unbind": lambda x: x.unbind(1)[2],
    "iteration": lambda x: list(x)[2],
    "detach": lambda x: x.detach(),
    "data": lambda x: x.data,
    "same dtype": lambda x: x.to(x.dtype),
    "contiguous": lambda x: x.contiguous(),
    "view of a view": lambda x: x[1:][0].view(2, 2)[1],
}

COPIES: dict[str, Callable[[Any], Any]] = {
    "clone": lambda x: x.clone(),
    "array index": lambda x: x[[0, 1]],
    "mask": lambda x: x[x > -100],
    "reshape of a transpose": lambda x: x.t().reshape(-1),
    "contiguous of a transpose": lambda x: x.t().contiguous(),
    "flip": lambda x: x.flip(0),
    "repeat": lambda x: x.repeat(1, 1),
    "masked_fill": lambda x: x.masked_fill(x > 100, 0.0),
    "to with copy": lambda x: x.to(x.dtype, copy=True),
}


def _write(m: Any, make: Callable[[Any], Any]) -> Any:
    x = m.tensor(values(0, 3, 4))
    taken = make(x)
    taken.add_(10.0)
    taken.fill_(7.0) if taken.dim() == 0 else taken.mul_(2.0)
    return x, taken


@pytest.mark.parametrize("make", [*table(VIEWS), *table(COPIES)])
def test_writing_through_a_view_equals_torch(make: Callable[[Any], Any]) -> None:
    """该共享内存的没共享（写丢了），或不该共享的共享了。"""
    same(lambda m: _write(m, make))


@pytest.mark.parametrize("name", sorted(VIEWS))
def test_views_share_memory(name: str) -> None:
    """视图其实是拷贝：又慢又占内存。"""
    x = tg.ones(3, 4)
    assert np.shares_memory(VIEWS[name](x).array, x.array)


def test_from_numpy_shares_and_tensor_copies() -> None:
    """``from_numpy`` 复制了，或 ``tensor`` 没有复制。"""
    source = np.zeros(3)
    shared, copied, third = tg.from_numpy(source), tg.tensor(source), tg.as_tensor(source)
    source[0] = 5
    assert (shared.tolist()[0], copied.tolist()[0], third.tolist()[0]) == (5.0, 0.0, 5.0)
    assert shared.dtype is tg.float64
    assert np.shares_memory(tg.ones(3).numpy(), tg.ones(3).array) is False


def test_expanded_memory_is_not_written() -> None:
    """写进被广播的内存：一次写改了许多元素。"""
    for m in (tg, torch):
        with pytest.raises(RuntimeError):
            m.zeros(1, 3).expand(2, 3).add_(1)


def test_kv_cache_writes_are_seen_by_later_reads() -> None:
    """按段写入缓存、再读前缀：这是生成时的用法。"""

    def run(m: Any) -> Any:
        cache = m.zeros(2, 6, 3, dtype=m.float64)
        found = []
        with m.no_grad():
            for start, stop in [(0, 2), (2, 3), (3, 6)]:
                cache[:, start:stop] = m.tensor(values(start, 2, stop - start, 3))
                found.append(cache[:, :stop].clone())
        return found

    same(run)


def test_writing_a_gradient_carrying_block_into_a_constant() -> None:
    """没有梯度的缓存写进有梯度的块之后，梯度没有流回来。"""
    found = []
    for m in (tg, torch):
        block = m.tensor(values(0, 2, 2), requires_grad=True)
        cache = m.zeros(2, 4, dtype=m.float64)
        cache[:, 1:3] = block
        (cache**2).sum().backward()
        found.append(block.grad)
    assert_close(found[0], found[1], "float64")
