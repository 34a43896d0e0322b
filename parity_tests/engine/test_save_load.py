"""``save`` 与 ``load``：存什么读回什么，坏文件只有一种下场，从不执行文件里的东西。"""

from __future__ import annotations

import contextlib
import io
import json
import os
import pickle
import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
import safetensors.numpy
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import tinygrad_llm as tg
from tinygrad_llm import serialization
from tinygrad_llm.common.safetensors import encode_safetensors

KINDS = ("float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "bool")


def _bytes(obj: Any) -> bytes:
    file = io.BytesIO()
    tg.save(obj, file)
    return file.getvalue()


def _again(obj: Any) -> Any:
    return tg.load(io.BytesIO(_bytes(obj)))


def _same(a: Any, b: Any) -> None:
    """类型、结构与每一个比特都相同；0 的正负也算。"""
    assert type(a) is type(b), f"{a!r} {b!r}"
    if isinstance(a, tg.Tensor):
        assert a.requires_grad == b.requires_grad
        a, b = a.detach().numpy(), b.detach().numpy()
    if isinstance(a, (np.ndarray, np.generic)):
        assert (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())
    elif isinstance(a, dict):
        assert len(a) == len(b)
        for (key, value), (other_key, other) in zip(a.items(), b.items(), strict=True):
            _same(key, other_key)
            _same(value, other)
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b)
        for value, other in zip(a, b, strict=True):
            _same(value, other)
    elif isinstance(a, float):
        assert repr(a) == repr(b)  # Python 的 NaN 不分正负与尾数
    else:
        assert a == b


# ---- 任意结构


@st.composite
def _tensors(draw: Any) -> Any:
    kind = draw(st.sampled_from(KINDS))
    array = draw(hnp.arrays(kind, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3)))
    tensor = tg.from_numpy(array)
    if kind.startswith("float") and draw(st.booleans()):
        return tg.nn.Parameter(tensor) if draw(st.booleans()) else tensor.requires_grad_()
    return tensor.transpose(0, -1) if array.ndim > 1 else tensor


SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.integers(2**62, 2**300), st.floats(), st.text(max_size=4),
    st.text("\ud800$\\\"", max_size=3),
)  # fmt: skip
LEAVES = st.one_of(
    SCALARS, _tensors(), st.sampled_from([tg.float16, tg.int64, tg.device("cpu"), tg.device("cpu:1"), tg.Size([2, 0])]),
    st.sampled_from([np.float32(0.1), np.arange(3, dtype=np.uint32), np.array([[True]])]),
)  # fmt: skip
STRUCTURES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(st.text(max_size=4), inner, max_size=3),
        st.dictionaries(st.one_of(SCALARS, st.tuples(SCALARS)), inner, max_size=3),
        st.dictionaries(st.text(max_size=2), inner, max_size=2).map(OrderedDict),
    ),
    max_leaves=12,
)


@given(STRUCTURES)
def test_a_structure_comes_back_different(obj: Any) -> None:
    """存下再读回，结构、类型、次序或某一个比特变了。"""
    _same(_again(obj), obj)


@given(STRUCTURES, st.data())
def test_a_damaged_file_is_read_as_something_else(obj: Any, data: Any) -> None:
    """改动或截断之后，读出了别的东西，或抛出了 ``RuntimeError`` 以外的错误。"""
    content = bytearray(_bytes(obj))
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content))) :]
    with contextlib.suppress(RuntimeError):
        _same(tg.load(io.BytesIO(bytes(content))), obj)


def test_a_changed_byte_goes_unnoticed(tmp_path: Path) -> None:
    """一个个字节挨着改：有一处改了之后读出了别的东西。"""
    obj = {"weight": tg.ones(2, 3), "step": 7, "pair": (tg.arange(2), 0.5)}
    content, path = bytearray(_bytes(obj)), tmp_path / "model.pt"
    refused = 0
    for at in range(len(content)):
        content[at] ^= 1
        path.write_bytes(content)
        try:
            _same(tg.load(path), obj)
        except RuntimeError:
            refused += 1
        content[at] ^= 1
    assert refused > 0.98 * len(content)


@pytest.mark.parametrize("kind", KINDS)
def test_a_bit_of_some_dtype_is_lost(kind: str) -> None:
    """某种 dtype 的某个比特模式（NaN 的尾数、负零、次正规数）没有原样回来。"""
    bits = np.arange(2**16, dtype=np.uint16) if np.dtype(kind).itemsize > 1 else np.arange(256, dtype=np.uint8)
    array = np.arange(2) > 0 if kind == "bool" else bits.view(kind)
    _same(_again(tg.from_numpy(array)), tg.from_numpy(array))


# ---- 训练脚本的写法


def _trained(steps: int, start: Any = None) -> tuple[Any, Any, list[float]]:
    tg.manual_seed(0)
    model = tg.nn.Sequential(tg.nn.Linear(3, 4), tg.nn.Tanh(), tg.nn.Linear(4, 1))
    optimizer = tg.optim.AdamW(model.parameters(), lr=0.1)
    if start is not None:
        model.load_state_dict(start["model"])
        optimizer.load_state_dict(start["optimizer"])
    losses = []
    for _ in range(steps):
        loss = (model(tg.ones(2, 3)) - 3).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return model, optimizer, losses


def test_training_does_not_continue_exactly(tmp_path: Path) -> None:
    """从文件接着训练，损失与一口气训练的不同。"""
    model, optimizer, first = _trained(3)
    path = tmp_path / "checkpoint.pt"
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": 3, "config": {"lr": 0.1}}
    tg.save(state, path)
    loaded = tg.load(str(path), map_location=tg.device("cpu"), weights_only=True)
    assert (loaded["step"], loaded["config"]) == (3, {"lr": 0.1})
    assert loaded["model"]._metadata == state["model"]._metadata
    assert first + _trained(2, loaded)[2] == _trained(5)[2]


def test_tied_tensors_are_stored_twice_or_come_apart() -> None:
    """共用的权重存了两份，或读回来不再共用；从同一块内存取的不同视图则各存各的。"""
    weight = tg.ones(100, 100)
    single, double = len(_bytes({"a": weight})), len(_bytes({"a": weight, "b": weight.detach(), "c": [weight]}))
    assert double < single + 500
    loaded = _again({"a": weight, "b": tg.nn.Parameter(weight), "row": weight[3], "t": weight.t()})
    with tg.no_grad():
        loaded["a"].zero_()
    assert loaded["b"].sum().item() == 0
    assert loaded["row"].sum().item() == 100
    assert loaded["t"].is_contiguous()
    assert loaded["t"].sum().item() == 10000


def test_other_tools_cannot_read_a_state_dict(tmp_path: Path) -> None:
    """官方的 safetensors 读不出我们存的 ``state_dict``，或我们读不出它写的文件。"""
    state = tg.nn.Linear(2, 3).state_dict()
    tg.save(state, tmp_path / "ours.safetensors")
    theirs = safetensors.numpy.load_file(tmp_path / "ours.safetensors")
    assert theirs.keys() == state.keys()
    assert all(np.array_equal(theirs[name], state[name].numpy()) for name in state)
    safetensors.numpy.save_file(theirs, tmp_path / "theirs.safetensors", metadata={"format": "pt"})
    loaded = tg.load(tmp_path / "theirs.safetensors")
    for name in state:
        _same(loaded[name], state[name])


def test_a_failed_write_ruins_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """写到一半失败，旧文件没了，或留下了临时文件。"""
    path = tmp_path / "model.pt"
    tg.save({"step": 1}, path)

    def full(*args: Any) -> NoReturn:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        tg.save({"step": 2}, path)
    assert tg.load(path) == {"step": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_locations_other_than_the_cpu_are_accepted() -> None:
    """``map_location`` 要别的设备却悄悄放在 CPU 上；搬到 CPU 的各种写法则都应当接受。"""
    content = _bytes([1])
    with pytest.raises(RuntimeError, match="torch_llm"):
        tg.load(io.BytesIO(content), map_location="cuda")
    for where in (None, "cpu", tg.device("cpu"), lambda storage, location: storage, {"cuda:0": "cpu"}):
        assert tg.load(io.BytesIO(content), map_location=where) == [1]


# ---- 存不了的


class _Model(tg.nn.Module):
    pass


def _cycle() -> list[Any]:
    loop: list[Any] = []
    loop.append({"again": loop})
    return loop


def _deep() -> Any:
    nested: Any = 0
    for _ in range(200):
        nested = [nested]
    return nested


UNSAVABLE: dict[str, tuple[Callable[[], Any], str]] = {
    "module": (lambda: {"model": _Model()}, r"obj\['model'\] is a _Model; save its state_dict\(\)"),
    "optimizer": (
        lambda: [tg.optim.SGD([tg.ones(1, requires_grad=True)])],
        r"obj\[0\] is an? SGD; save its state_dict",
    ),
    "function": (lambda: {"a": {3: len}}, r"obj\['a'\]\[3\] is a builtin_function_or_method; save the state_dict"),
    "lambda": (lambda: lambda: 0, "obj is a function"),
    "class": (lambda: [tg.Tensor], "is a type; save its name"),
    "generator": (lambda: tg.Generator(), r"save its get_state\(\)"),
    "set": (lambda: {1}, "save it as a list"),
    "path": (lambda: [Path("a")], r"save str\(\) of it"),
    "bytes": (lambda: [b"a"], "tensor of uint8"),
    "complex number": (lambda: [1j], "is a complex"),
    "complex128": (lambda: {"f": tg.ones(1, dtype=tg.complex128)}, r"obj\['f'\] is complex128.*view_as_real"),
    "object array": (lambda: [np.array([None])], "NumPy data of object"),
    "lock": (lambda: [threading.Lock()], "save numbers, strings or tensors"),
}


@pytest.mark.parametrize(("build", "message"), list(UNSAVABLE.values()), ids=list(UNSAVABLE))
def test_an_object_that_cannot_be_saved_is_not_named(build: Callable[[], Any], message: str) -> None:
    """存不了的对象没有报错，或没说出它在哪、该改存什么。"""
    with pytest.raises(TypeError, match=message):
        _bytes(build())


@pytest.mark.parametrize("build", [_cycle, _deep])
def test_a_structure_without_end_is_followed(build: Callable[[], Any]) -> None:
    """自己包含自己、或套得太深的结构没有报错，而是一路走到栈溢出。"""
    with pytest.raises(ValueError, match=r"contains itself|nested more than"):
        _bytes(build())


def test_what_cannot_be_read_again_is_saved(tmp_path: Path) -> None:
    """JSON 太大、读不回来的结构也存了；目录不存在时没有说清楚。"""
    with pytest.raises(ValueError, match="put long lists in tensors"):
        _bytes(["x" * serialization.MAX_STRUCTURE_BYTES])
    with pytest.raises(RuntimeError, match="does not exist"):
        tg.save([1], tmp_path / "missing" / "model.pt")


# ---- 读不了的


def _npz() -> bytes:
    file = io.BytesIO()
    np.savez(file, a=np.ones(2))
    return file.getvalue()


def _torch_file(**options: Any) -> bytes:
    file = io.BytesIO()
    torch.save({"a": torch.ones(2)}, file, **options)
    return file.getvalue()


def _ours(structure: Any, version: str = "1") -> bytes:
    """校验和正确、由人精心写成的文件。"""
    text = structure if isinstance(structure, str) else json.dumps(structure)
    arrays: dict[str, Any] = {"x": np.ones(2, np.int64), "u": np.ones(2, np.uint16)}
    checksum = serialization._checksum(text, arrays)
    names = ("tinygrad_llm.version", "tinygrad_llm.crc32", "tinygrad_llm.object")
    return b"".join(encode_safetensors(arrays, dict(zip(names, (version, checksum, text), strict=True))))


UNREADABLE: dict[str, tuple[bytes, str]] = {
    "zip of torch.save": (_torch_file(), "safetensors.torch.save_file"),
    "old file of torch.save": (_torch_file(_use_new_zipfile_serialization=False), "safetensors.torch.save_file"),
    "pickle": (pickle.dumps([1, 2, 3, 4]), "never opens"),
    "zip of NumPy": (_npz(), "never opens"),
    "empty file": (b"", "not a safetensors file"),
    "text": (b"hello world, this is a text", "not a safetensors file"),
    "truncated": (_bytes({"a": tg.ones(9)})[:-1], "use another copy"),
    "later version": (_ours([], version="2"), "another tinygrad_llm"),
    "not JSON": (_ours("[1"), "load: "),
    "nested without end": (_ours("[" * 100_000), "recursion"),
    "unknown kind": (_ours({"$call": "os.system"}), r"unknown kind of object '\$call'"),
    "two kinds": (_ours({"$tuple": [], "$int": "1"}), "unknown kind"),
    "missing tensor": (_ours({"$tensor": "y"}), "no tensor is named 'y'"),
    "tensor without a name": (_ours({"$tensor": ["x"]}), "load: "),
    "integers with a gradient": (_ours({"$tensor": "x", "requires_grad": True}), "cannot require gradients"),
    "damaged tensor": (_ours({"$tensor": "x", "hook": 1}), "damaged tensor entry"),
    "unknown dtype": (_ours({"$dtype": "torch.Tensor"}), "unknown dtype"),
    "unknown device": (_ours({"$device": "gpu"}), "device type"),
    "key that cannot be one": (_ours({"$dict": [[[], 1]]}), "load: "),
    "half a state_dict": (_ours({"$state_dict": [{}]}), "state_dict and its versions"),
    "pair of one": (_ours({"$ordered": [[1]]}), "pairs of key and value"),
    "tuple of nothing": (_ours({"$tuple": "abc"}), "a list was expected"),
    "number that is a list": (_ours({"$int": [1]}), "a string was expected"),
}


@pytest.mark.parametrize(("content", "message"), list(UNREADABLE.values()), ids=list(UNREADABLE))
def test_a_bad_file_is_not_refused_clearly(content: bytes, message: str, tmp_path: Path) -> None:
    """读不了的文件没有以一条说得清楚的 ``RuntimeError`` 告终。"""
    path = tmp_path / "model.pt"
    path.write_bytes(content)
    with pytest.raises(RuntimeError, match=message) as caught:
        tg.load(path)
    assert type(caught.value) is RuntimeError
    assert "model.pt" in str(caught.value)


def test_a_missing_file_is_not_missing(tmp_path: Path) -> None:
    """文件不存在时抛出的不是 ``FileNotFoundError``，与 torch 不同。"""
    for m in (tg, torch):
        with pytest.raises(FileNotFoundError):
            m.load(tmp_path / "missing.pt")
