"""Module 的接口：同一段程序在两个引擎上看到同样的名字、次序、打印、报错与钩子。

流入：``f(m)``；流出：两边的结果。每行都是一小段使用者会写的程序。
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import tinygrad_llm as tg
from parity_tests.engine.twins import ENGINES, same, same_error, table


def _net(m: Any) -> Any:
    """一棵小树：共用的层、共用的参数、不持久的缓冲区、空的名字。"""

    class Inner(m.nn.Module):  # type: ignore[misc]
        def __init__(self, shared: Any) -> None:
            super().__init__()
            self.first, self.second = shared, shared
            self.scale = m.nn.Parameter(m.full((2,), 3.0))
            self.counts = m.nn.Buffer(m.arange(2))
            self.cache = m.nn.Buffer(m.zeros(2), persistent=False)
            self.empty = None
            self.register_module("nothing", None)

        def forward(self, x: Any, shift: Any = 0.0) -> Any:
            return self.second(self.first(x)) * self.scale + shift

    class Net(m.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.inner = Inner(m.nn.Linear(2, 2))
            self.again = self.inner
            self.tied = self.inner.scale
            self.register_buffer("ours", self.inner.counts)

        def forward(self, x: Any) -> Any:
            return self.inner(x) + self.tied

        def extra_repr(self) -> str:
            return "a\nb"

    m.manual_seed(3)
    return Net()


def _names(pairs: Any) -> list[str]:
    return [name for name, _ in pairs]


def _raised(f: Callable[[], Any]) -> str:
    with pytest.raises(Exception) as caught:  # noqa: PT011  要比较的正是类型与消息
        f()
    return f"{type(caught.value).__name__}: {caught.value}"


PROGRAMS: dict[str, Callable[[Any], Any]] = {
    "names, duplicates kept": lambda m: [
        _names(_net(m).named_parameters(remove_duplicate=False)), _names(_net(m).named_modules(remove_duplicate=False)),
        _names(_net(m).named_buffers(remove_duplicate=False)), _names(_net(m).named_buffers()),
        _names(_net(m).named_parameters("net", recurse=False)), _names(_net(m).named_buffers("net", False)),
        _names(_net(m).named_children()), _names(_net(m).named_modules(prefix="root")),
        len(list(_net(m).modules(remove_duplicate=False))), _names(_net(m).inner.named_children()),
    ],
    "state dict": lambda m: [
        list(_net(m).state_dict()), list(_net(m).state_dict(prefix="x.")), isinstance(_net(m).state_dict(), dict),
        {k: dict(v) for k, v in _net(m).state_dict()._metadata.items()}, _into(m),
        _net(m).state_dict(keep_vars=True)["tied"].requires_grad, _net(m).state_dict()["tied"].requires_grad,
    ],
    "by path": lambda m: [
        type(_net(m).get_submodule("inner.first")).__name__, _net(m).get_submodule("").training,
        _net(m).get_parameter("inner.first.weight"), _net(m).get_buffer("inner.counts").tolist(),
    ],
    "replace by path": lambda m: _replaced(m),
    "repr": lambda m: [
        repr(_net(m)), repr(m.nn.Module()), repr(m.nn.Linear(2, 3)), repr(m.nn.Parameter(m.ones(2))),
        repr(m.nn.Parameter()), repr(m.nn.Buffer(m.ones(2))),
        repr(m.nn.Sequential(m.nn.Sequential(m.nn.ReLU()), m.nn.Linear(1, 1))),
    ],
    "dir": lambda m: [n in dir(_net(m)) for n in ("inner", "tied", "ours", "forward", "training", "0")]
        + ["0" in dir(m.nn.Sequential(m.nn.ReLU()))],
    "loading reports": lambda m: [
        repr(_net(m).load_state_dict(_net(m).state_dict())), repr(_net(m).load_state_dict({}, strict=False)),
        str(_net(m).load_state_dict({"z": m.ones(1), "tied": m.ones(2)}, strict=False)),
    ],
    "zero gradients": lambda m: _zeroed(m),
    "dtypes": lambda m: [_dtypes(_net(m).double()), _dtypes(_net(m).half()),
        _dtypes(_net(m).bfloat16()), _dtypes(_net(m).to(m.float64).float()),
        _dtypes(_net(m).type(m.float64)), _dtypes(_net(m).to("cpu", m.float64)), _dtypes(_net(m).to(m.device("cpu"))),
        _dtypes(_net(m).to(m.ones(1, dtype=m.float16))), _dtypes(_net(m).to(dtype=m.float64, non_blocking=True)),
        _dtypes(_net(m).to(m.float64, True)), _dtypes(_net(m).cpu()), _dtypes(_net(m).to())],
    "assignment": lambda m: _assigned(m),
    "deep copies": lambda m: _copied(m),
    "extra state": lambda m: _extra_state(m),
    "old checkpoints of scalars": lambda m: _scalars(m),
    "cooperative constructors": lambda m: _cooperative(m),
}  # fmt: skip


@pytest.mark.parametrize("program", table(PROGRAMS))
def test_a_program_sees_the_same_module(program: Callable[[Any], Any]) -> None:
    """名字、次序、打印、钩子的次序或梯度与 torch 不同。"""
    same(program, "float32")


def _into(m: Any) -> Any:
    target: dict[str, Any] = {"first": 1}
    found = _net(m).inner.state_dict(destination=target, prefix="q.")
    with pytest.warns(FutureWarning, match="Positional args"):
        positional = m.nn.Linear(1, 1).state_dict({}, "z.")
    return found is target, list(found), list(positional)


def _replaced(m: Any) -> Any:
    net = _net(m)
    net.set_submodule("inner.first", m.nn.ReLU())
    net.set_submodule("inner.third", m.nn.ReLU())
    net.set_submodule("inner.first", m.nn.Tanh(), strict=True)
    return _names(net.named_modules()), list(net.state_dict())


def _zeroed(m: Any) -> Any:
    net = _net(m)
    net(m.ones(1, 2)).sum().backward()
    net.zero_grad(set_to_none=False)
    zeros = [p.grad.tolist() for p in net.parameters()]
    net.zero_grad()
    return zeros, [p.grad is None for p in net.parameters()]


def _dtypes(net: Any) -> Any:
    return [(name, value.dtype) for name, value in net.state_dict().items()] + [net.inner.cache.dtype]


def _assigned(m: Any) -> Any:
    module, seen = m.nn.Module(), []
    module.a = 1
    module.a = m.nn.Parameter(m.ones(1))
    module.b = m.nn.Linear(1, 1)
    module.c = m.nn.Buffer(m.ones(1), persistent=False)
    module.d = m.ones(1)
    module.c = m.zeros(1)
    seen.append(list(module.state_dict()))
    module.b = m.nn.Parameter(m.ones(1))
    del module.a
    module.a = m.nn.ReLU()
    module.c = m.nn.Buffer(m.ones(1))
    seen.append([*module.state_dict(), *_names(module.named_modules())])
    module.b = None
    module.a = None
    del module.c
    module.register_buffer("e", None)
    module.e = m.ones(1)
    seen.append([*module.state_dict(), *_names(module.named_modules()), hasattr(module, "c"), module.a is None])
    return seen


def _copied(m: Any) -> Any:
    net = _net(m)
    calls: list[str] = []
    net.inner.register_forward_hook(lambda mod, args, out: calls.append("called"))
    net(m.ones(1, 2)).sum().backward()
    twin = copy.deepcopy(net)
    with m.no_grad():
        net.tied.zero_()
    twin(m.ones(1, 2))
    kinds = [type(b).__name__ for b in twin.buffers()] if m is tg else []
    return (
        twin.tied is twin.inner.scale, twin.again is twin.inner, twin.tied.grad is None, twin.tied, calls,
        list(twin.state_dict()), twin.inner.counts is twin.ours, set(kinds) <= {"Buffer"},
    )  # fmt: skip


def _extra_state(m: Any) -> Any:
    class Extra(m.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.w, self.note = m.nn.Parameter(m.zeros(1)), 7

        def get_extra_state(self) -> Any:
            return self.note

        def set_extra_state(self, state: Any) -> None:
            self.note = state

    first, second = Extra(), Extra()
    first.note = 9
    second.load_state_dict(first.state_dict())
    wrapped = m.nn.Sequential(Extra())
    return (
        list(first.state_dict()), second.note, list(wrapped.state_dict()),
        _raised(lambda: second.load_state_dict({"w": m.zeros(1)})),
        _raised(lambda: m.nn.Linear(1, 1).load_state_dict({**m.nn.Linear(1, 1).state_dict(), "_extra_state": 1})),
    )  # fmt: skip


def _scalars(m: Any) -> Any:
    module = m.nn.Module()
    module.s = m.nn.Parameter(m.tensor(1.0))
    module.load_state_dict({"s": m.tensor([4.0])})
    return module.s


def _cooperative(m: Any) -> Any:
    class Other:
        def __init__(self, note: str) -> None:
            self.note = note

    class Both(m.nn.Module, Other):  # type: ignore[misc]
        call_super_init = True

    return Both("x").note, Both(note="y").training


MISTAKES: dict[str, Callable[[Any], Any]] = {
    "argument to Module": lambda m: m.nn.Module(3),
    "keyword to Module": lambda m: m.nn.Module(a=3),
    "no forward": lambda m: m.nn.Module()(1),
    "parameter from a list": lambda m: m.nn.Parameter([1.0]),
    "integer parameter": lambda m: m.nn.Parameter(m.arange(3)),
    "buffer with a dot": lambda m: m.nn.Module().register_buffer("a.b", m.ones(1)),
    "buffer without a name": lambda m: m.nn.Module().register_buffer("", m.ones(1)),
    "buffer over a method": lambda m: m.nn.Module().register_buffer("forward", m.ones(1)),
    "buffer of a list": lambda m: m.nn.Module().register_buffer("a", [1.0]),
    "buffer named 3": lambda m: m.nn.Module().register_buffer(3, m.ones(1)),
    "parameter that is a tensor": lambda m: m.nn.Module().register_parameter("a", m.ones(1)),
    "parameter with a dot": lambda m: m.nn.Module().register_parameter("a.b", None),
    "parameter over an attribute": lambda m: m.nn.Module().register_parameter("training", None),
    "module that is a number": lambda m: m.nn.Module().add_module("a", 3),
    "module with a dot": lambda m: m.nn.Module().add_module("a.b", m.nn.ReLU()),
    "module over a method": lambda m: m.nn.Module().register_module("train", m.nn.ReLU()),
    "number over a module": lambda m: setattr(m.nn.Sequential(m.nn.ReLU()), "0", 3),
    "tensor over a module": lambda m: setattr(m.nn.Sequential(m.nn.ReLU()), "0", m.ones(1)),
    "module over a parameter": lambda m: setattr(m.nn.Linear(1, 1), "weight", m.nn.ReLU()),
    "tensor over a parameter": lambda m: setattr(m.nn.Linear(1, 1), "weight", m.ones(1, 1)),
    "number over a buffer": lambda m: setattr(_net(m), "ours", 3),
    "attribute missing": lambda m: m.nn.ReLU().nonsense,
    "deleting what is missing": lambda m: delattr(m.nn.ReLU(), "nonsense"),
    "path to a parameter": lambda m: _net(m).get_submodule("tied"),
    "path to nothing": lambda m: _net(m).get_submodule("inner.nope.x"),
    "parameter path to a module": lambda m: _net(m).get_parameter("inner"),
    "parameter path to nothing": lambda m: _net(m).get_parameter("inner.x"),
    "buffer path to a parameter": lambda m: _net(m).get_buffer("tied"),
    "set without a name": lambda m: _net(m).set_submodule("", m.nn.ReLU()),
    "set a number": lambda m: _net(m).set_submodule("inner", 3),
    "set over a parameter": lambda m: _net(m).set_submodule("tied", m.nn.ReLU()),
    "set strictly what is missing": lambda m: _net(m).set_submodule("inner.x", m.nn.ReLU(), strict=True),
    "train with a number": lambda m: m.nn.ReLU().train(1),
    "integer dtype": lambda m: m.nn.Linear(1, 1).to(m.int64),
    "unknown device": lambda m: m.nn.Linear(1, 1).to("nowhere"),
    "state that is a list": lambda m: m.nn.Linear(1, 1).load_state_dict([1]),
    "state of numbers": lambda m: m.nn.Linear(1, 1).load_state_dict({"weight": 1, "bias": 2}),
    "extra state by default": lambda m: m.nn.ReLU().get_extra_state(),
}  # fmt: skip


@pytest.mark.parametrize("mistake", table(MISTAKES))
def test_the_same_mistake_raises_the_same_kind_of_error(mistake: Callable[[Any], Any]) -> None:
    """写错了却被悄悄收下，或报错的类型与 torch 不同。"""
    same_error(mistake)


def test_loading_errors_read_like_torchs() -> None:
    """装载失败的消息与 torch 不同：别人按消息里的话去找答案会找不到。"""

    def run(m: Any) -> Any:
        net = m.nn.Sequential(m.nn.Linear(2, 2), m.nn.Linear(2, 1))
        state = {"0.weight": m.ones(3), "x": m.ones(1), "1.y": m.ones(1), "0.bias": m.ones(2)}
        return _raised(lambda: net.load_state_dict(state)), net[0].bias

    same(run)


def test_changing_dtype_keeps_the_optimisers_references() -> None:
    """``double()`` 换掉了参数对象：已经建好的优化器更新的是旧参数。"""

    def run(m: Any) -> Any:
        net = m.nn.Linear(2, 1)
        optimizer = m.optim.SGD(net.parameters(), lr=0.5)
        weight, net.weight.grad = net.weight, m.ones(1, 2)
        net.double()
        kept = net.weight is weight, net.weight.grad.dtype
        net.weight.grad = m.ones(1, 2, dtype=m.float64)
        with m.no_grad():
            net.weight.zero_()
        optimizer.step()
        return kept, net.weight

    same(run)


def test_empty_memory_keeps_objects_and_compiling_changes_nothing() -> None:
    """``to_empty`` 换掉了参数对象，或 ``compile`` 改了结果。"""
    net = tg.nn.Linear(2, 3)
    before, weight = net(tg.ones(2)).tolist(), net.weight
    net.compile(mode="default")
    assert net(tg.ones(2)).tolist() == before
    assert net.to_empty(device="cpu").weight is weight
    assert weight.shape == (3, 2)
    with pytest.raises(RuntimeError, match="mode"):
        net.compile(mode="fastest")


def test_cuda_says_where_to_go() -> None:
    """要 GPU 时的报错没有指向 ``torch_llm``。"""
    with pytest.raises(RuntimeError, match="torch_llm"):
        tg.nn.Linear(1, 1).cuda()
    with pytest.raises(RuntimeError, match="torch_llm"):
        tg.nn.Linear(1, 1).to("cuda:0")


def test_state_moves_between_the_engines() -> None:
    """一边的 ``state_dict`` 换成另一边的 Tensor 后装不进去，或数值变了。"""
    ours, theirs = _net(tg), _net(torch)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    state: Any = {k: torch.from_numpy(np.array(v.numpy())) for k, v in ours.state_dict().items()}
    assert repr(theirs.load_state_dict(state)) == "<All keys matched successfully>"
    state = {k: tg.from_numpy(v.numpy() + 1) for k, v in theirs.state_dict().items()}
    ours.load_state_dict(state)
    for name, value in theirs.state_dict().items():
        np.testing.assert_array_equal(ours.state_dict()[name].numpy(), value.numpy() + 1)


def test_parameters_share_memory_with_their_data() -> None:
    """Parameter 与 Buffer 复制了数据，或深拷贝带上了梯度。"""
    for m in ENGINES:
        data = m.ones(2)
        p, b = m.nn.Parameter(data), m.nn.Buffer(data)
        data.fill_(5.0)
        p.grad = m.ones(2)
        assert p.tolist() == b.tolist() == [5.0, 5.0]
        assert copy.deepcopy(p).grad is None
        assert isinstance(m.nn.Parameter(p), m.nn.Parameter)
        assert not m.nn.Parameter(data, requires_grad=False).requires_grad
        assert not copy.deepcopy(m.nn.Buffer(data, persistent=False)).requires_grad
