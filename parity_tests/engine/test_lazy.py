"""输入宽度待定的层：第一次前向时定下来，初值、梯度、存取都与 torch 相同。"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from parity_tests.engine.twins import ENGINES, same, same_error, table

LAYERS: dict[str, tuple[Callable[[Any], Any], tuple[int, ...]]] = {
    "LazyLinear": (lambda nn: nn.LazyLinear(3), (2, 4)),
    "LazyLinear without bias": (lambda nn: nn.LazyLinear(3, bias=False), (2, 5, 4)),
    "LazyConv1d": (lambda nn: nn.LazyConv1d(6, 3, padding=1, groups=2), (2, 4, 5)),
    "LazyConv2d": (lambda nn: nn.LazyConv2d(3, (2, 3), bias=False), (2, 2, 5, 5)),
    "LazyConv2d of one image": (lambda nn: nn.LazyConv2d(3, 2), (2, 5, 5)),
    "LazyConv3d": (lambda nn: nn.LazyConv3d(2, 2), (1, 2, 3, 3, 3)),
    "LazyConvTranspose1d": (lambda nn: nn.LazyConvTranspose1d(3, 2, stride=2), (2, 2, 4)),
    "LazyConvTranspose2d": (lambda nn: nn.LazyConvTranspose2d(4, 2, groups=2), (2, 2, 3, 3)),
    "LazyConvTranspose3d": (lambda nn: nn.LazyConvTranspose3d(2, 2), (1, 2, 2, 2, 2)),
    "LazyBatchNorm1d": (lambda nn: nn.LazyBatchNorm1d(), (5, 3)),
    "LazyBatchNorm2d": (lambda nn: nn.LazyBatchNorm2d(affine=False), (2, 3, 4, 4)),
    "LazyBatchNorm3d": (lambda nn: nn.LazyBatchNorm3d(track_running_stats=False), (2, 3, 2, 2, 2)),
    "LazyInstanceNorm1d": (lambda nn: nn.LazyInstanceNorm1d(), (2, 3, 4)),
    "LazyInstanceNorm2d": (lambda nn: nn.LazyInstanceNorm2d(momentum=0.3), (2, 3, 4, 4)),
    "LazyInstanceNorm3d": (lambda nn: nn.LazyInstanceNorm3d(), (2, 3, 2, 2, 2)),
}


@pytest.mark.parametrize("case", table(LAYERS))
def test_first_forward_settles_the_layer(case: tuple[Callable[[Any], Any], tuple[int, ...]]) -> None:
    """定下来之后的类、初值、输出、梯度或状态与 torch 不同；优化器手里的参数不再是那一个。"""
    build, shape = case

    def run(m: Any) -> Any:
        m.manual_seed(0)
        layer = build(m.nn).double()
        before = [repr(layer), list(layer.state_dict()), layer.has_uninitialized_params(), len(list(layer.buffers()))]
        given = list(layer.parameters())
        x = m.arange(m.tensor(shape).prod().item(), dtype=m.float64).reshape(shape).sin().requires_grad_()
        y = layer(x)
        (y * x.detach().sum() + y.exp()).sum().backward()
        assert all(a is b for a, b in zip(given, layer.parameters(), strict=True))
        kept = [type(layer).__name__, repr(layer), [v for _, v in sorted(layer.state_dict().items())]]
        return before, kept, y, [p.grad for p in (x, *layer.parameters())], [type(p).__name__ for p in given]

    same(run)


def _net(m: Any) -> Any:
    return m.nn.Sequential(m.nn.LazyLinear(4), m.nn.ReLU(), m.nn.LazyLinear(2))


def test_states_are_loaded_before_the_first_forward() -> None:
    """还没定下来的层装不进已有大小的参数，或者装完之后又被初值盖掉。"""

    def run(m: Any) -> Any:
        m.manual_seed(1)
        full, empty = _net(m), _net(m)
        full(m.ones(1, 3))
        state = empty.state_dict()
        names = [type(v).__name__ for v in state.values()]
        other = copy.deepcopy(empty)
        other.load_state_dict(state)  # 都还没有大小
        empty.load_state_dict(full.state_dict())
        return names, [type(p).__name__ for p in other.parameters()], empty(m.ones(2, 3)), repr(empty)

    same(run, "float32")


def test_dtype_is_kept_and_the_optimizer_sees_the_weights() -> None:
    """先换 dtype、先造优化器，再前向：类型不对，或者没有更新到。"""

    def run(m: Any) -> Any:
        m.manual_seed(2)
        net = _net(m).double()
        optimizer = m.optim.SGD(net.parameters(), lr=0.1)
        net(m.ones(2, 3, dtype=m.float64)).square().sum().backward()
        optimizer.step()
        return list(net.parameters())

    same(run)


@pytest.mark.parametrize("m", ENGINES, ids=["ours", "torch"])
def test_is_lazy(m: Any) -> None:
    """问不出大小定了没有。"""
    layer = m.nn.LazyLinear(2)
    assert m.nn.parameter.is_lazy(layer.weight)
    assert repr(layer.weight) == "<UninitializedParameter>"
    layer(m.ones(1, 2))
    assert not m.nn.parameter.is_lazy(layer.weight)


MISTAKES: dict[str, Callable[[Any], Any]] = {
    "numel": lambda m: m.nn.LazyLinear(2).weight.numel(),
    "shape": lambda m: m.nn.LazyLinear(2).weight.shape,
    "initialised too early": lambda m: m.nn.init.zeros_(m.nn.LazyLinear(2).weight),
    "loading no size into a size": lambda m: m.nn.Linear(2, 2).load_state_dict(m.nn.LazyLinear(2).state_dict()),
    "rank": lambda m: m.nn.LazyConv2d(2, 1)(m.ones(2, 2)),
    "groups": lambda m: m.nn.LazyConv1d(2, 1, groups=2)(m.ones(1, 3, 2)),
    "not implemented": lambda m: type("L", (m.nn.modules.lazy.LazyModuleMixin, m.nn.Module), {})()(m.ones(1)),
}


@pytest.mark.parametrize("mistake", table(MISTAKES))
def test_mistakes_are_torchs(mistake: Callable[[Any], Any]) -> None:
    """大小还没定就用它，没有报错，或报错的类型不同。"""
    same_error(mistake)
