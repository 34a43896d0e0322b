"""Module 的钩子：叫到的次序、看到的东西、能替换什么，都与 torch 相同。"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.modules.module

import tinygrad_llm as tg
import tinygrad_llm.nn.modules.module
from parity_tests.engine.test_module_api import _net, _raised
from parity_tests.engine.twins import same, same_error, table

GLOBAL_HOOKS = {tg: tinygrad_llm.nn.modules.module, torch: torch.nn.modules.module}

PROGRAMS: dict[str, Callable[[Any], Any]] = {
    "state hooks": lambda m: _state_hooks(m),
    "forward hooks": lambda m: _forward_hooks(m),
    "always called": lambda m: _always_called(m),
    "global hooks": lambda m: _global_hooks(m),
    "registration hooks": lambda m: _registration_hooks(m),
    "backward hooks": lambda m: _backward_hooks(m),
    "backward hooks of a module with several inputs": lambda m: _several_inputs(m),
    "backward hooks beside integers": lambda m: _integers(m),
    "backward hooks of the old kind": lambda m: _old_hooks(m),
    "backward hooks without inputs": lambda m: _no_inputs(m),
}


@pytest.mark.parametrize("program", table(PROGRAMS))
def test_hooks_run_as_in_torch(program: Callable[[Any], Any]) -> None:
    """钩子的次序、参数、替换的结果或梯度与 torch 不同。"""
    same(program, "float32")


def _state_hooks(m: Any) -> Any:
    seen: list[Any] = []
    net = m.nn.Sequential(m.nn.Linear(1, 1))
    net[0].register_state_dict_pre_hook(lambda mod, prefix, keep: seen.append(("pre", prefix, keep)))

    def after(mod: Any, state: Any, prefix: str, metadata: Any) -> None:
        seen.append(("post", sorted(state), prefix, metadata["version"]))
        state[prefix + "added"] = state[prefix + "bias"]

    handle = net[0].register_state_dict_post_hook(after)
    keys = list(net.state_dict())
    handle.remove()

    def rename(mod: Any, state: Any, prefix: str, *rest: Any) -> None:
        seen.append(("load", prefix, rest[1]))
        state[prefix + "weight"] = state.pop(prefix + "w")

    net[0].register_load_state_dict_pre_hook(rename)
    net[0]._register_load_state_dict_pre_hook(lambda state, prefix, *rest: seen.append(("private", prefix)))

    def forgive(mod: Any, incompatible: Any) -> None:
        seen.append((list(incompatible.missing_keys), list(incompatible.unexpected_keys)))
        incompatible.missing_keys.clear()

    net.register_load_state_dict_post_hook(forgive)
    found = net.load_state_dict({"0.w": m.full((1, 1), 5.0)})
    return seen, keys, list(net.state_dict()), net[0].weight.detach(), repr(found)


def _forward_hooks(m: Any) -> Any:
    net, seen = _net(m).inner, []

    def note(name: str, change: Any = None) -> Any:
        def hook(mod: Any, *rest: Any) -> Any:
            seen.append((name, len(rest), [sorted(r) for r in rest if isinstance(r, dict)]))
            return change(*rest) if change else None

        return hook

    net.register_forward_pre_hook(note("pre"))
    net.register_forward_pre_hook(note("pre with kwargs", lambda a, k: (a, {"shift": 2.0})), with_kwargs=True)
    first = net.register_forward_pre_hook(note("pre first", lambda a: a[0] * 2), prepend=True)
    net.register_forward_hook(note("after"))
    net.register_forward_hook(note("after with kwargs", lambda a, k, out: out + k["shift"]), with_kwargs=True)
    with net.register_forward_hook(note("after first"), prepend=True):
        y = net(m.ones(2), shift=1.0)
    first.remove()
    first.remove()
    return seen, y, net(m.ones(2), shift=1.0), seen


def _always_called(m: Any) -> Any:
    class Broken(m.nn.Module):  # type: ignore[misc]
        def forward(self, x: Any) -> Any:
            raise ValueError("broken")

    seen: list[Any] = []
    net = Broken()
    net.register_forward_hook(lambda mod, args, out: seen.append("never"))
    net.register_forward_hook(lambda mod, args, out: seen.append(("always", out)), always_call=True)
    net.register_forward_hook(lambda mod, a, k, out: seen.append(("k", k)), always_call=True, with_kwargs=True)
    return _raised(lambda: net(m.ones(1))), seen


def _old_hooks(m: Any) -> Any:
    """旧式的钩子：挂在最后一个算子上；看不全的时候警告。"""
    seen: list[Any] = []
    x = m.arange(3.0).requires_grad_()
    for layer in (m.nn.ReLU(), m.nn.Sequential(m.nn.Tanh(), m.nn.ReLU()), _Pair(m)):
        handle = layer.register_backward_hook(lambda mod, i, o: seen.append((type(mod).__name__, i, o)))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            out = layer(x * 2)
            (out if isinstance(out, m.Tensor) else out[0]).sum().backward()
        seen.append([w.category.__name__ for w in caught])
        handle.remove()
        layer(x)
    doubled = m.nn.ReLU()
    doubled.register_backward_hook(lambda mod, i, o: (i[0] * 2,))
    doubled(x * 1).sum().backward()
    return seen, x.grad


def _Pair(m: Any) -> Any:
    class Pair(m.nn.Module):  # type: ignore[misc]
        def forward(self, x: Any) -> Any:
            return x.exp(), x.sin()

    return Pair()


def _both_kinds(m: Any) -> Any:
    layer = m.nn.ReLU()
    layer.register_backward_hook(print)
    return layer.register_full_backward_hook(print)


def _global_hooks(m: Any) -> Any:
    where, seen = GLOBAL_HOOKS[m], []
    net = m.nn.Sequential(m.nn.Linear(1, 1, bias=False), m.nn.Identity())
    net[0].register_forward_hook(lambda *_: seen.append("own"))
    handles = [
        where.register_module_forward_pre_hook(lambda mod, a: seen.append("pre " + type(mod).__name__)),
        where.register_module_forward_hook(lambda mod, a, out: seen.append("after " + type(mod).__name__)),
        where.register_module_forward_hook(lambda mod, a, k, out: out * 2, with_kwargs=True),
        where.register_module_full_backward_pre_hook(lambda mod, g: seen.append("b " + type(mod).__name__)),
        where.register_module_full_backward_hook(lambda mod, i, o: seen.append("back " + type(mod).__name__)),
    ]
    x = m.ones(1, requires_grad=True)
    net(x).sum().backward()
    for handle in handles:
        handle.remove()
    before = len(seen)
    net(x)
    return seen, len(seen) - before, bool(x.grad == net[0].weight[0] * 8)


def _registration_hooks(m: Any) -> Any:
    where, seen = GLOBAL_HOOKS[m], []
    handles = [
        where.register_module_parameter_registration_hook(lambda mod, name, p: seen.append(("p", name))),
        where.register_module_buffer_registration_hook(lambda mod, name, b: m.ones(3)),
        where.register_module_module_registration_hook(lambda mod, name, s: seen.append(("m", name))),
    ]
    net = m.nn.Module()
    net.w, net.sub = m.nn.Parameter(m.ones(1)), m.nn.Identity()
    net.register_buffer("b", m.zeros(1))
    for handle in handles:
        handle.remove()
    net.v = m.nn.Parameter(m.ones(1))
    return seen, net.b


def _backward_hooks(m: Any) -> Any:
    seen: list[Any] = []

    def note(name: str, factor: float = 0.0) -> Any:
        def hook(mod: Any, *grads: Any) -> Any:
            seen.append((name, [[None if g is None else g.tolist() for g in part] for part in grads]))
            return tuple(None if g is None else g * factor for g in grads[0]) if factor else None

        return hook

    net = m.nn.Sequential(m.nn.Identity(), m.nn.Identity())
    net.register_full_backward_hook(note("whole"))
    net[0].register_full_backward_hook(note("second"))
    net[0].register_full_backward_hook(note("first", 3.0), prepend=True)
    net[1].register_full_backward_pre_hook(note("pre", 5.0))
    removed = net[1].register_full_backward_hook(note("removed"))
    removed.remove()
    x = m.ones(2, requires_grad=True)
    (net(x) * m.tensor([1.0, 2.0])).sum().backward()
    twice = m.autograd.grad(m.autograd.grad((net(x) ** 3).sum(), x, create_graph=True)[0].sum(), x)[0]
    return seen[:4], x.grad, twice, x.grad


def _several_inputs(m: Any) -> Any:
    class Mixed(m.nn.Module):  # type: ignore[misc]
        def forward(self, a: Any, b: Any, n: Any, c: Any, *, d: Any) -> Any:
            return a * 2 + b, a * 3 + d, n

    seen: list[Any] = []
    net = Mixed()
    net.register_full_backward_hook(
        lambda mod, i, o: seen.append([[None if g is None else g.tolist() for g in part] for part in (i, o)])
    )
    a, b, c, d = (m.full((2,), float(k), requires_grad=k != 2) for k in range(1, 5))
    first, _, third = net(a, b, 7, c, d=d)
    first.sum().backward()
    y, z, _ = net(a, b, 7, c, d=d)
    (y.sum() + (z * z).sum()).backward()
    only = m.autograd.grad(net(a, b, 7, c, d=d)[1].sum(), d, retain_graph=True)[0]
    with m.no_grad():
        net(a, b, 7, c, d=d)
    return seen, third, a.grad, c.grad, d.grad, only


def _integers(m: Any) -> Any:
    class Picked(m.nn.Module):  # type: ignore[misc]
        def forward(self, x: Any, index: Any) -> Any:
            return x[index], index

    seen: list[Any] = []
    net, x = Picked(), m.ones(3, requires_grad=True)
    net.register_full_backward_hook(lambda mod, i, o: seen.append([len(i), len(o), i[0].tolist(), o[1] is None]))
    y, index = net(x, m.tensor([0, 0, 2]))
    y.sum().backward()
    with pytest.raises(RuntimeError, match="view"):
        net(x, index)[0].mul_(2)
    return seen, x.grad, index, index.requires_grad


def _no_inputs(m: Any) -> Any:
    seen: list[Any] = []
    net = m.nn.Linear(2, 1, bias=False)
    net.register_full_backward_hook(lambda mod, i, o: seen.append((i, o[0].tolist())))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        net(m.ones(1, 2)).sum().backward()
    told = [w.category for w in caught if "no inputs" in str(w.message)]
    return seen, net.weight.grad, told


MISTAKES: dict[str, Callable[[Any], Any]] = {
    "both kinds of backward hooks": lambda m: _both_kinds(m),
    "pre-hook returns half": lambda m: _bad_pre_hook(m),
    "backward hook returns too many": lambda m: _bad_backward_hook(m),
    "load hook returns": lambda m: _bad_load_hook(m),
    "state hook returns": lambda m: _bad_state_hook(m),
}


def _bad_pre_hook(m: Any) -> None:
    net = m.nn.ReLU()
    net.register_forward_pre_hook(lambda mod, a, k: a, with_kwargs=True)
    net(m.ones(1))


def _bad_backward_hook(m: Any) -> None:
    net = m.nn.ReLU()
    net.register_full_backward_hook(lambda mod, i, o: (*i, None))
    net(m.ones(1, requires_grad=True)).backward()


def _bad_load_hook(m: Any) -> None:
    net = m.nn.ReLU()
    net.register_load_state_dict_post_hook(lambda mod, keys: 3)
    net.load_state_dict({})


def _bad_state_hook(m: Any) -> None:
    net = m.nn.ReLU()
    net.register_state_dict_post_hook(lambda *_: {})
    net.state_dict()


@pytest.mark.parametrize("mistake", table(MISTAKES))
def test_the_same_mistake_raises_the_same_kind_of_error(mistake: Callable[[Any], Any]) -> None:
    """钩子给回的东西不对，却被悄悄收下。"""
    same_error(mistake)
