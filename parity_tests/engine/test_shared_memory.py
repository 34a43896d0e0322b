"""底下的内存：``storage``、``frombuffer``、DLPack、无符号整数与逐元素的 Python 函数，与 torch 相同。"""

from __future__ import annotations

import mmap
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import tinygrad_llm as tg
from parity_tests.engine.twins import ENGINES, same, same_error, table

Case = Callable[[Any], Any]


def _grid(m: Any) -> Any:
    return m.arange(6.0).reshape(2, 3)


def _written(m: Any) -> Any:
    """写进内存，别的视图看得见。"""
    x = _grid(m)
    turned = x.t()[1:]
    x.storage()[1], x.storage()[-1] = 7.0, 8.0
    x.untyped_storage().fill_(0) if turned[0, 0] != 7 else None
    return x, turned, turned.storage_offset(), turned.storage().tolist()


STORAGES: dict[str, Case] = {
    "numbers": lambda m: [_grid(m).storage().tolist(), list(_grid(m)[1:].storage()), _grid(m).t().storage()[4]],
    "sizes": lambda m: [(s.size(), len(s), s.nbytes(), s.element_size()) for s in (_grid(m).storage(),
        _grid(m)[:1].untyped_storage(), m.ones(3, dtype=m.bfloat16).storage(), m.zeros(0).storage())],
    "bytes": lambda m: [m.tensor([1, 258], dtype=m.int16).untyped_storage().tolist(),
        m.ones(1).untyped_storage()[2:].tolist(), m.ones(1).untyped_storage()[3]],
    "printed": lambda m: [repr(_grid(m)[:1].storage()), repr(m.ones(1, dtype=m.int16).untyped_storage())],
    "written": _written,
    "filled": lambda m: [
        _grid(m).storage().fill_(2.0).tolist(), _grid(m).storage().copy_(m.ones(6).storage()).tolist()],
    "cloned": lambda m: [x.storage().clone().fill_(5).tolist() + x.tolist() for x in (m.ones(2),)],
    "about": lambda m: [_grid(m).storage().dtype, str(_grid(m).storage().device), _grid(m).storage().is_cuda,
        _grid(m).storage().is_shared(), _grid(m).is_shared()],
    "the same memory": lambda m: [
        x.untyped_storage().data_ptr() == x.t()[1:].untyped_storage().data_ptr() == x.data_ptr() for x in (_grid(m),)
    ] + [x.untyped_storage() == x[1].untyped_storage() for x in (_grid(m),)],
    "types": lambda m: [isinstance(_grid(m).storage(), m.TypedStorage),
        isinstance(_grid(m).untyped_storage(), m.storage.UntypedStorage), type(_grid(m).storage().untyped()).__name__],
    "never elsewhere": lambda m: [getattr(m.ones(1), f"is_{name}") for name in (
        "ipu", "maia", "mkldnn", "mps", "mtia", "nested", "sparse_csr", "vulkan", "xla", "xpu")],
}  # fmt: skip


@pytest.mark.parametrize("case", table(STORAGES))
def test_a_storage_is_not_torchs(case: Case) -> None:
    """整块内存的元素、字节、大小或打印的样子与 torch 不同，或写进去别的视图看不见。"""
    same(case, "exact")


def test_tied_weights_do_not_share_a_storage() -> None:
    """共享的权重，内存的地址不同；或内存没有了还连着别处。"""
    for m in ENGINES:
        embedding, head = m.nn.Embedding(4, 3), m.nn.Linear(3, 4, bias=False)
        assert head.weight.untyped_storage().data_ptr() != embedding.weight.untyped_storage().data_ptr()
        head.weight = embedding.weight
        assert head.weight.untyped_storage()._cdata == embedding.weight.untyped_storage()._cdata
    with pytest.raises(RuntimeError, match="bfloat16"):
        tg.ones(2, dtype=tg.bfloat16).untyped_storage()


# ---- 外来的内存

BUFFERS: dict[str, Case] = {
    "bytes": lambda m: m.frombuffer(b"abcdefgh", dtype=m.uint8, count=3, offset=2),
    "integers": lambda m: m.frombuffer(bytearray(b"abcdefgh"), dtype=m.int32),
    "tokens": lambda m: m.frombuffer(np.arange(5, dtype=np.uint16).tobytes(), dtype=m.uint16).long(),
    "floats": lambda m: m.frombuffer(np.arange(3.0).tobytes(), dtype=m.float64, requires_grad=True),
    "bfloat16": lambda m: (x := m.frombuffer(bytes([128, 63, 0, 64]), dtype=m.bfloat16), str(x.dtype), x.float())[1:],
    "some of them": lambda m: m.frombuffer(bytearray(9), dtype=m.int16, count=4, offset=1),
    "an array": lambda m: m.frombuffer(np.arange(4, dtype=np.int32), dtype=m.int32),
    "from NumPy": lambda m: m.from_dlpack(np.arange(3.0)),
    "there and back": lambda m: m.utils.dlpack.from_dlpack(m.utils.dlpack.to_dlpack(_grid(m).t())),
    "to NumPy": lambda m: m.from_numpy(np.from_dlpack(_grid(m)[:, 1:]).copy()),
    "a copy": lambda m: m.from_dlpack(_grid(m), copy=True),
    "the device": lambda m: [int(part) for part in m.ones(1).__dlpack_device__()],
}


@pytest.mark.parametrize("case", table(BUFFERS))
def test_memory_from_elsewhere_is_read_differently(case: Case) -> None:
    """由字节、NumPy 或 DLPack 得来的 Tensor，值或 dtype 与 torch 不同。"""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        same(case, "exact")


def test_memory_from_elsewhere_is_copied(tmp_path: Path) -> None:
    """说好共享的内存，改了一边另一边没有变；只读的没有警告。"""
    buffer = bytearray(8)
    x = tg.frombuffer(buffer, dtype=tg.int32)
    x[1] = 5
    assert buffer[4] == 5
    array = np.zeros(3)
    tg.from_dlpack(array)[0] = 4
    assert array[0] == 4
    theirs = torch.zeros(2)
    tg.from_dlpack(theirs)[1] = 3
    assert theirs[1].item() == 3
    with pytest.warns(UserWarning, match="not writable"):
        tg.frombuffer(b"abcd", dtype=tg.uint8)
    path = tmp_path / "tokens.bin"
    path.write_bytes(np.arange(6, dtype=np.uint16).tobytes())
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as memory:
        tokens = tg.frombuffer(memory, dtype=tg.uint16)
        assert tokens[2:].long().tolist() == [2, 3, 4, 5]
        del tokens


# ---- 无符号整数

UNSIGNED: dict[str, Case] = {
    "made": lambda m: [
        m.zeros(2, dtype=m.uint16), m.tensor([1, 2**32 - 1], dtype=m.uint32), m.full((1,), 7, dtype=m.uint64)],
    "from NumPy": lambda m: [m.from_numpy(np.array([1, 65535], np.uint16)), m.tensor(np.uint32(3))],
    "converted": lambda m: [m.from_numpy(np.array([1, 65535], np.uint16)).to(d) for d in (m.int64, m.float32, m.int16)],
    "indexed": lambda m: [m.tensor([5, 6, 7], dtype=m.uint16)[1:], m.tensor([5, 6], dtype=m.uint32)[0].item()],
    "compared": lambda m: [m.tensor([5, 6], dtype=m.uint16) == 5, m.tensor([5, 6], dtype=m.uint16).equal(m.ones(2))],
    "times a float": lambda m: m.tensor([1, 3], dtype=m.uint16) * 2.5,
    "joined": lambda m: m.cat([m.tensor([1], dtype=m.uint16), m.tensor([2], dtype=m.uint16)]),
    "sorted": lambda m: [m.tensor([3, 1], dtype=m.uint16).sort().values, m.tensor([3, 1, 3], dtype=m.uint16).unique()],
    "limits": lambda m: [(m.iinfo(d).min, m.iinfo(d).max, m.iinfo(d).bits) for d in (m.uint16, m.uint32, m.uint64)],
    "about": lambda m: [(str(d), d.itemsize, d.is_signed) for d in (m.uint16, m.uint32, m.uint64)],
    "their names": lambda m: [m.zeros(1, dtype=d).type() for d in (m.uint16, m.uint32, m.uint64)],
    "promoted to floats": lambda m: m.promote_types(m.uint16, m.float32),
    "read into": lambda m: [(x.numpy().fill(3), x)[1] for x in (m.empty(2, dtype=m.uint16),)],
}  # fmt: skip


@pytest.mark.parametrize("case", table(UNSIGNED))
def test_unsigned_integers_are_not_torchs(case: Case) -> None:
    """16、32、64 位无符号整数的值、dtype、极限或名字与 torch 不同。"""
    same(case, "exact")


# ---- 逐元素的 Python 函数

APPLIED: dict[str, Case] = {
    "apply_": lambda m: (_grid(m).apply_(lambda v: v * 2 + 1), m.arange(3).apply_(lambda v: v - 1)),
    "apply_ to a view": lambda m: (lambda x: (x.t()[1:].apply_(lambda v: -v), x)[1])(_grid(m)),
    "map_": lambda m: (m.ones(3).map_(m.arange(3.0), lambda a, b: a * 10 + b), m.ones(2, 2).map_(
        m.arange(2.0), lambda a, b: a * 10 + b)),
    "map2_": lambda m: m.ones(3).map2_(m.arange(3.0), m.arange(3.0), lambda a, b, c: a + b * c),
    "hardshrink": lambda m: (m.ones(2).hardshrink(), m.ones(2).hardshrink(2.0), m.hardshrink(m.ones(2), lambd=0.1)),
    "prelu": lambda m: ((-m.ones(2)).prelu(m.tensor(0.1)), m.prelu(-m.ones(1, 2), m.tensor([0.1, 0.2]))),
}  # fmt: skip


@pytest.mark.parametrize("case", table(APPLIED))
def test_an_elementwise_method_is_not_torchs(case: Case) -> None:
    """逐元素调用 Python 函数的方法，结果与 torch 不同。"""
    same(case, "float32")


MISTAKES: dict[str, Case] = {
    "an element beyond the storage": lambda m: m.ones(2).storage()[2],
    "an object without memory": lambda m: m.frombuffer([1], dtype=m.uint8),
    "no bytes": lambda m: m.frombuffer(b"", dtype=m.uint8),
    "half an element": lambda m: m.frombuffer(bytearray(3), dtype=m.int32),
    "too many elements": lambda m: m.frombuffer(bytearray(8), dtype=m.int32, count=3),
    "none of the elements": lambda m: m.frombuffer(bytearray(8), dtype=m.int32, count=0),
    "an offset beyond the end": lambda m: m.frombuffer(bytearray(8), dtype=m.int32, offset=9),
    "no dtype": lambda m: m.frombuffer(bytearray(8)),
    "a number from elsewhere": lambda m: m.from_dlpack(3),
    "a gradient to elsewhere": lambda m: m.ones(2, requires_grad=True).__dlpack__(),
    "unsigned integers of two widths": lambda m: m.ones(1, dtype=m.uint16) + m.ones(1, dtype=m.uint32),
    "unsigned and signed integers": lambda m: m.promote_types(m.uint16, m.int32),
    "apply_ with gradients": lambda m: m.ones(2, requires_grad=True).apply_(abs),
    "apply_ of a number": lambda m: m.ones(2).apply_(3),
    "map_ of two dtypes": lambda m: m.ones(2).map_(m.arange(2), lambda a, b: a),
}


@pytest.mark.parametrize("mistake", table(MISTAKES))
def test_a_wrong_use_of_memory_is_accepted(mistake: Case) -> None:
    """torch 拒绝的用法这里放过了，或报的是另一类错。"""
    same_error(mistake)
