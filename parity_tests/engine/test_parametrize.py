"""参数化：取值、求导、存取、赋值与去掉之后，都与 torch 相同。"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch.nn.utils.parametrizations

import tinygrad_llm as tg
from parity_tests.engine.twins import ENGINES, same, same_error, table, values


def _linear(m: Any, rows: int = 3, columns: int = 2) -> Any:
    layer = m.nn.Linear(columns, rows).double()
    with m.no_grad():
        layer.weight.copy_(m.tensor(values(1, rows, columns)))
        layer.bias.copy_(m.tensor(values(2, rows)))
    return layer


def _steps(m: Any) -> Any:
    class Symmetric(m.nn.Module):  # type: ignore[misc]
        def forward(self, x: Any) -> Any:
            return x.triu() + x.triu(1).transpose(-1, -2)

        def right_inverse(self, y: Any) -> Any:
            return y.triu()

    class Scaled(m.nn.Module):  # type: ignore[misc]
        def forward(self, x: Any) -> Any:
            return x * 2

        def right_inverse(self, y: Any) -> Any:
            return y / 2

    class Split(m.nn.Module):  # type: ignore[misc]
        def forward(self, a: Any, b: Any) -> Any:
            return a + b

        def right_inverse(self, y: Any) -> Any:
            return y / 4, y * 0.75

    class Square(m.nn.Module):  # type: ignore[misc]
        def forward(self, x: Any) -> Any:
            return x * x

    return Symmetric(), Scaled(), Split(), Square()


def _seen(m: Any, layer: Any) -> Any:
    """值、梯度、名字、类与打印。"""
    layer.zero_grad()
    (layer(m.ones(1, layer.in_features, dtype=m.float64)) ** 2).sum().backward()
    names = [name for name, _ in layer.named_parameters()]
    return [
        layer.weight, [p.grad for p in layer.parameters()], names, list(layer.state_dict()), type(layer).__name__,
        m.nn.utils.parametrize.is_parametrized(layer), m.nn.utils.parametrize.is_parametrized(layer, "bias"),
        m.nn.utils.parametrize.type_before_parametrizations(layer).__name__,
    ]  # fmt: skip


PROGRAMS: dict[str, Callable[[Any, Any], Any]] = {
    "one": lambda m, p: _seen(m, p.register_parametrization(_linear(m, 2, 2), "weight", _steps(m)[0])),
    "two": lambda m, p: _two(m, p),
    "several originals": lambda m, p: _seen(m, p.register_parametrization(_linear(m), "weight", _steps(m)[2])),
    "without inverse": lambda m, p: _seen(m, p.register_parametrization(_linear(m), "weight", _steps(m)[3])),
    "of a buffer": lambda m, p: _buffer(m, p),
    "assigning": lambda m, p: _assigned(m, p),
    "removing": lambda m, p: _removed(m, p),
    "caching": lambda m, p: _cached(m, p),
    "copying and loading": lambda m, p: _copied(m, p),
    "weight norm": lambda m, p: _seen(m, m.nn.utils.parametrizations.weight_norm(_linear(m))),
    "weight norm of the other axis": lambda m, p: _seen(m, m.nn.utils.parametrizations.weight_norm(_linear(m), dim=1)),
    "weight norm of one length": lambda m, p: _seen(m, m.nn.utils.parametrizations.weight_norm(_linear(m), dim=None)),
    "weight norm of kernels": lambda m, p: _kernels(m, m.nn.utils.parametrizations.weight_norm),
    "weight norm from old files": lambda m, p: _old_files(m),
    "weight norm in the old way": lambda m, p: _old_way(m),
}  # fmt: skip


@pytest.mark.parametrize("program", table(PROGRAMS))
def test_a_parametrized_module_behaves_as_in_torch(program: Callable[[Any, Any], Any]) -> None:
    """值、梯度、名字、类或去掉之后的样子与 torch 不同。"""
    same(lambda m: program(m, m.nn.utils.parametrize))


def _two(m: Any, p: Any) -> Any:
    symmetric, scaled, _, _ = _steps(m)
    layer = p.register_parametrization(_linear(m, 2, 2), "weight", symmetric)
    p.register_parametrization(layer, "weight", scaled)
    p.register_parametrization(layer, "bias", scaled)
    return _seen(m, layer), repr(layer)


def _buffer(m: Any, p: Any) -> Any:
    module = m.nn.Module()
    module.register_buffer("b", m.tensor(values(0, 2, 2)))
    p.register_parametrization(module, "b", _steps(m)[1])
    return module.b, list(module.state_dict()), [n for n, _ in module.named_buffers()]


def _assigned(m: Any, p: Any) -> Any:
    layer = p.register_parametrization(_linear(m, 2, 2), "weight", _steps(m)[1])
    layer.weight = m.tensor(values(5, 2, 2))
    split = p.register_parametrization(_linear(m, 2, 2), "weight", _steps(m)[2])
    split.weight = m.tensor(values(6, 2, 2))
    return layer.weight, layer.parametrizations.weight.original, split.weight, split.parametrizations.weight.original0


def _removed(m: Any, p: Any) -> Any:
    found = []
    for leave in (True, False):
        layer = p.register_parametrization(_linear(m, 2, 2), "weight", _steps(m)[1])
        p.register_parametrization(layer, "bias", _steps(m)[1])
        p.remove_parametrizations(layer, "weight", leave_parametrized=leave)
        half = type(layer).__name__
        p.remove_parametrizations(layer, "bias")
        found += [half, *_seen(m, layer), isinstance(layer.weight, m.nn.Parameter)]
    split = p.register_parametrization(_linear(m, 2, 2), "weight", _steps(m)[2])
    return [*found, *_seen(m, p.remove_parametrizations(split, "weight"))]


def _cached(m: Any, p: Any) -> Any:
    layer = p.register_parametrization(_linear(m, 2, 2), "weight", _steps(m)[1])
    with p.cached():
        first = layer.weight
        inside = layer.weight is first
    return inside, layer.weight is first


def _copied(m: Any, p: Any) -> Any:
    layer = p.register_parametrization(_linear(m), "weight", _steps(m)[1])
    twin = copy.deepcopy(layer)
    with m.no_grad():
        layer.parametrizations.weight.original.zero_()
    before = twin.weight
    twin.load_state_dict(layer.state_dict())
    return before, twin.weight, type(twin).__name__, twin.double().weight.dtype


def _kernels(m: Any, function: Any) -> Any:
    layer = m.nn.Conv1d(2, 3, 2).double()
    with m.no_grad():
        layer.weight.copy_(m.tensor(values(3, 3, 2, 2)))
        layer.bias.zero_()
    y = function(layer)(m.tensor(values(4, 1, 2, 5)))
    y.sum().backward()
    return y, [q.grad for q in layer.parameters()], [tuple(q.shape) for q in layer.parameters()]


def _old_files(m: Any) -> Any:
    layer = m.nn.utils.parametrizations.weight_norm(_linear(m))
    old = {"weight_g": m.ones(3, 1, dtype=m.float64), "weight_v": m.ones(3, 2, dtype=m.float64), "bias": layer.bias}
    return repr(layer.load_state_dict(old)), layer.weight


def _old_way(m: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        layer = m.nn.utils.weight_norm(_linear(m), dim=1)
    (layer(m.ones(1, 2, dtype=m.float64)) ** 2).sum().backward()
    grads = [p.grad for p in layer.parameters()]
    m.optim.SGD(layer.parameters(), lr=0.1).step()
    after = layer(m.ones(1, 2, dtype=m.float64))
    names = list(layer.state_dict())
    m.nn.utils.remove_weight_norm(layer)
    return grads, after, names, list(layer.state_dict()), layer(m.ones(1, 2, dtype=m.float64)), layer.weight


@pytest.mark.parametrize("kind", ["Linear", "Conv2d", "ConvTranspose1d"])
def test_spectral_norms_equal_torchs_under_one_seed(kind: str) -> None:
    """谱归一化的权重、幂迭代的向量、训练与评估时的行为与 torch 不同。"""

    def run(m: Any) -> Any:
        m.manual_seed(4)
        layer = {
            "Linear": lambda: m.nn.Linear(4, 3), "Conv2d": lambda: m.nn.Conv2d(2, 3, 2),
            "ConvTranspose1d": lambda: m.nn.ConvTranspose1d(2, 3, 2),
        }[kind]().double()  # fmt: skip
        with m.no_grad():
            layer.weight.copy_(m.tensor(values(1, *layer.weight.shape)))
        m.nn.utils.parametrizations.spectral_norm(layer, n_power_iterations=2)
        first, second = layer.weight, layer.weight
        layer.eval()
        second.sum().backward()
        return first, second, layer.weight, list(layer.state_dict()), layer.parametrizations.weight.original.grad

    same(run, "random normal")


@pytest.mark.parametrize("trivial", [True, False])
@pytest.mark.parametrize("kind", ["matrix_exp", "cayley", "householder", None])
@pytest.mark.parametrize("shape", [(4, 4), (5, 3), (3, 5)])
def test_orthogonal_weights_equal_torchs(shape: tuple[int, int], kind: str | None, trivial: bool) -> None:
    """正交的权重、它的梯度或赋值之后的值与 torch 不同。"""

    def run(m: Any) -> Any:
        m.manual_seed(2)
        layer, p = _linear(m, *shape), m.nn.utils.parametrizations
        if not trivial:
            start = m.tensor(values(7, *shape)) / 4 if kind != "householder" else m.nn.init.orthogonal_(layer.weight)
            with m.no_grad():
                layer.weight.copy_(start)
        if not trivial and kind in ("matrix_exp", "cayley"):
            p.orthogonal(layer, orthogonal_map=kind, use_trivialization=False)
        else:
            p.orthogonal(layer, orthogonal_map=kind, use_trivialization=trivial)
        weight = layer.weight
        (weight * m.tensor(values(8, *shape))).sum().backward()
        grads = [q.grad for q in layer.parameters() if q.grad is not None]
        m.optim.SGD(layer.parameters(), lr=0.01).step()
        gram = layer.weight.mT @ layer.weight if shape[0] >= shape[1] else layer.weight @ layer.weight.mT
        return weight, grads, layer.weight, gram, list(layer.state_dict())

    same(run, "random normal")


def test_the_old_spectral_norm_equals_torchs() -> None:
    """旧写法的谱归一化：权重、向量、名字或去掉之后的样子与 torch 不同。"""

    def run(m: Any) -> Any:
        m.manual_seed(4)
        layer = m.nn.utils.spectral_norm(m.nn.Conv1d(2, 3, 2).double(), n_power_iterations=2)
        with m.no_grad():
            layer.weight_orig.copy_(m.tensor(values(1, 3, 2, 2)))
            layer.bias.zero_()
        x, names = m.tensor(values(4, 1, 2, 5)), list(layer.state_dict())
        y = layer(x)
        y.sum().backward()
        grad, fixed = layer.weight_orig.grad, layer.eval()(x)
        m.nn.utils.remove_spectral_norm(layer)
        return y, grad, fixed, names, list(layer.state_dict()), layer.weight, layer(x)

    same(run, "random normal")
    same_error(lambda m: m.nn.utils.spectral_norm(m.nn.utils.spectral_norm(m.nn.Linear(2, 2))))
    same_error(lambda m: m.nn.utils.remove_spectral_norm(m.nn.Linear(2, 2)))
    same_error(lambda m: m.nn.utils.spectral_norm(m.nn.Linear(2, 2), n_power_iterations=0))


MISTAKES: dict[str, Callable[[Any, Any], Any]] = {
    "unknown name": lambda m, p: p.register_parametrization(_linear(m), "nonsense", _steps(m)[1]),
    "another shape": lambda m, p: p.register_parametrization(_linear(m), "weight", m.nn.Flatten(0)),
    "another shape on top": lambda m, p: p.register_parametrization(
        p.register_parametrization(_linear(m), "weight", _steps(m)[1]), "weight", m.nn.Flatten(0)),
    "assigning without inverse": lambda m, p: setattr(
        p.register_parametrization(_linear(m), "weight", _steps(m)[3]), "weight", m.ones(3, 2, dtype=m.float64)),
    "assigning another dtype": lambda m, p: setattr(
        p.register_parametrization(_linear(m), "weight", _steps(m)[1]), "weight", m.ones(3, 2)),
    "removing nothing": lambda m, p: p.remove_parametrizations(_linear(m), "weight"),
    "leaving several originals": lambda m, p: p.remove_parametrizations(
        p.register_parametrization(_linear(m), "weight", _steps(m)[2]), "weight", leave_parametrized=False),
    "spectral norm of nothing": lambda m, p: m.nn.utils.parametrizations.spectral_norm(m.nn.ReLU()),
    "spectral norm of no steps": lambda m, p: m.nn.utils.parametrizations.spectral_norm(_linear(m), "weight", 0),
    "spectral norm of axis 5": lambda m, p: m.nn.utils.parametrizations.spectral_norm(_linear(m), dim=5),
    "orthogonal nothing": lambda m, p: m.nn.utils.parametrizations.orthogonal(m.nn.ReLU()),
    "orthogonal vector": lambda m, p: m.nn.utils.parametrizations.orthogonal(_linear(m), "bias"),
    "orthogonal by magic": lambda m, p: m.nn.utils.parametrizations.orthogonal(_linear(m), orthogonal_map="magic"),
    "orthogonal of another shape": lambda m, p: setattr(
        m.nn.utils.parametrizations.orthogonal(_linear(m)), "weight", m.ones(2, 3, dtype=m.float64)),
    "assigning to an exponential": lambda m, p: setattr(m.nn.utils.parametrizations.orthogonal(
        _linear(m), orthogonal_map="cayley", use_trivialization=False), "weight", m.ones(3, 2, dtype=m.float64)),
    "removing no weight norm": lambda m, p: m.nn.utils.remove_weight_norm(_linear(m)),
}  # fmt: skip


@pytest.mark.parametrize("mistake", table(MISTAKES))
def test_the_same_mistake_raises_the_same_kind_of_error(mistake: Callable[[Any, Any], Any]) -> None:
    """写错了却被悄悄收下。"""
    same_error(lambda m: mistake(m, m.nn.utils.parametrize))


def test_the_old_way_says_so() -> None:
    """旧写法不提醒，或同一个权重归一化了两次。"""
    for m in ENGINES:
        with pytest.warns(FutureWarning, match="parametrizations"):
            layer = m.nn.utils.weight_norm(m.nn.Linear(1, 1))
        with pytest.warns(FutureWarning), pytest.raises(RuntimeError, match="two weight_norm hooks"):
            m.nn.utils.weight_norm(layer)
    assert (tg, torch) == ENGINES
