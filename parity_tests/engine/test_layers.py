"""``nn`` 的层：同样的权重给出同样的输出与梯度；同一种子之下初值相同；打印相同。激活、损失、dropout 另有文件。"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from parity_tests.engine.twins import both, same, same_error, table, values

LAYERS: dict[str, tuple[Callable[[Any], Any], tuple[int, ...]]] = {
    "Linear": (lambda nn: nn.Linear(5, 3), (2, 4, 5)),
    "Linear without bias": (lambda nn: nn.Linear(5, 3, bias=False), (5,)),
    "LayerNorm": (lambda nn: nn.LayerNorm(5), (2, 4, 5)),
    "LayerNorm over two": (lambda nn: nn.LayerNorm((4, 5), eps=1e-3), (2, 4, 5)),
    "LayerNorm without bias": (lambda nn: nn.LayerNorm(5, bias=False), (2, 5)),
    "LayerNorm without affine": (lambda nn: nn.LayerNorm([5], elementwise_affine=False), (2, 5)),
    "RMSNorm": (lambda nn: nn.RMSNorm(5), (2, 4, 5)),
    "RMSNorm over two": (lambda nn: nn.RMSNorm((4, 5), eps=1e-3), (2, 4, 5)),
    "RMSNorm without affine": (lambda nn: nn.RMSNorm(5, elementwise_affine=False), (3, 5)),
    "activations": (
        lambda nn: nn.Sequential(nn.GELU("tanh"), nn.SiLU(), nn.Tanh(), nn.ReLU(), nn.Sigmoid(), nn.Softmax(-1)),
        (2, 5),
    ),
    "Identity": (lambda nn: nn.Identity(3, anything=4), (2, 5)),
    "Flatten": (lambda nn: nn.Sequential(nn.Flatten(), nn.Unflatten(1, (2, 10)), nn.Flatten(0, 1)), (2, 4, 5)),
    "PixelShuffle": (lambda nn: nn.Sequential(nn.PixelShuffle(2), nn.ChannelShuffle(2), nn.PixelUnshuffle(3)),
        (2, 8, 3, 6)),
    "Dropout of zero": (lambda nn: nn.Dropout(0.0), (2, 5)),
    "nested": (lambda nn: nn.Sequential(nn.Linear(5, 4), nn.Sequential(nn.GELU(), nn.LayerNorm(4)), nn.Linear(4, 2)),
        (3, 5)),
}  # fmt: skip


def _seeded(m: Any, build: Callable[[Any], Any]) -> Any:
    """造一层，参数换成固定的 float64 数。"""
    layer = build(m.nn).to(m.float64)
    with m.no_grad():
        for i, p in enumerate(layer.parameters()):
            p.copy_(m.tensor(values(i + 1, *p.shape)))
    return layer


@pytest.mark.parametrize("name", sorted(LAYERS))
def test_layers_equal_torch(name: str) -> None:
    """同样的权重，输出、输入的梯度或参数的梯度与 torch 不同。"""
    build, shape = LAYERS[name]

    def run(m: Any) -> Any:
        layer, x = _seeded(m, build), m.tensor(values(0, *shape), requires_grad=True)
        y = layer(x)
        (y * y.cos()).sum().backward()
        return y, x.grad, *(p.grad for p in layer.parameters())

    same(run)


@pytest.mark.parametrize("name", sorted(LAYERS))
def test_initial_weights_equal_torchs_under_one_seed(name: str) -> None:
    """同一种子之下，参数的名字、次序、dtype 或初值与 torch 不同。"""

    def run(m: Any) -> Any:
        m.manual_seed(11)
        layer = LAYERS[name][0](m.nn)
        return list(layer.state_dict()), list(layer.state_dict().values()), [n for n, _ in layer.named_parameters()]

    same(run, "random normal")


@pytest.mark.parametrize("name", sorted(LAYERS))
def test_layers_print_as_in_torch(name: str) -> None:
    """打印出来的层与 torch 不同。"""
    ours, theirs = both(lambda m: repr(LAYERS[name][0](m.nn)))
    assert ours == theirs


def test_bilinear_layer_equals_torch() -> None:
    """双线性层的初值、打印、输出或任一梯度与 torch 不同。"""

    def run(m: Any) -> Any:
        m.manual_seed(3)
        layer, plain = m.nn.Bilinear(3, 4, 5), m.nn.Bilinear(3, 4, 1, bias=False)
        first = [p.detach().clone() for p in [*layer.parameters(), *plain.parameters()]]
        a, b = (m.tensor(values(i, 2, 6, n), requires_grad=True) for i, n in enumerate((3, 4)))
        y, z = layer.double()(a, b), plain.double()(a[0, 0], b[0, 0])
        (y * y).sum().backward()
        assert repr(layer) == "Bilinear(in1_features=3, in2_features=4, out_features=5, bias=True)"
        return first, y, z, a.grad, b.grad, [p.grad for p in layer.parameters()]

    same(run, "random normal")
    same_error(lambda m: m.nn.Bilinear(0, 1, 1))


def test_embedding_layer_equals_torch() -> None:
    """Embedding 的初值、padding 行、输出或梯度与 torch 不同。"""

    def run(m: Any) -> Any:
        m.manual_seed(1)
        layer = m.nn.Embedding(6, 4, padding_idx=-4, max_norm=1.5, norm_type=1.0, scale_grad_by_freq=True)
        first = layer.weight.detach().clone()
        y = layer(m.tensor([[0, 2], [5, 5]]))
        y.sum().backward()
        plain = m.nn.Embedding(3, 2, dtype=m.float64)
        return first, y, layer.weight, layer.weight.grad, layer.padding_idx, plain.weight, m.rand(1)

    same(run, "random normal")
    ours, theirs = both(lambda m: [repr(m.nn.Embedding(*a)) for a in ((3, 2), (3, 2, -1), (3, 2, 0, 1.0, 1.0, True))])
    assert ours == theirs


def test_pretrained_tables_are_shared_and_frozen() -> None:
    """``from_pretrained`` 复制了表、没有冻结，或没有传下参数。"""

    def run(m: Any) -> Any:
        table_ = m.tensor(values(0, 4, 3))
        frozen = m.nn.Embedding.from_pretrained(table_, padding_idx=1)
        free = m.nn.Embedding.from_pretrained(table_, freeze=False, max_norm=0.5, scale_grad_by_freq=True)
        with m.no_grad():
            table_[0] = 7.0
        y = free(m.tensor([0, 0, 2]))
        y.sum().backward()
        return frozen.weight, frozen.padding_idx, frozen(m.tensor([0, 1])), y, free.weight.grad, table_

    same(run)


MISTAKES: dict[str, Callable[[Any], Any]] = {
    "padding beyond": lambda m: m.nn.Embedding(3, 2, padding_idx=3),
    "padding far below": lambda m: m.nn.Embedding(3, 2, padding_idx=-4),
    "weight of another size": lambda m: m.nn.Embedding(3, 2, _weight=m.ones(2, 2)),
    "a vector as table": lambda m: m.nn.Embedding.from_pretrained(m.ones(3)),
    "unflatten to text": lambda m: m.nn.Unflatten(1, "ab"),
    "unflatten to floats": lambda m: m.nn.Unflatten(1, (2.0, 3)),
    "pixel shuffle of other channels": lambda m: m.nn.PixelShuffle(2)(m.ones(1, 3, 2, 2)),
    "pixel unshuffle of other sizes": lambda m: m.nn.PixelUnshuffle(2)(m.ones(1, 3, 3, 2)),
    "pixel shuffle of a matrix": lambda m: m.nn.PixelShuffle(1)(m.ones(3, 2)),
    "pixel shuffle by zero": lambda m: m.nn.PixelShuffle(0)(m.ones(1, 3, 2, 2)),
    "channel shuffle of other groups": lambda m: m.nn.ChannelShuffle(2)(m.ones(1, 3, 2, 2)),
}  # fmt: skip


@pytest.mark.parametrize("mistake", table(MISTAKES))
def test_the_same_mistake_raises_the_same_kind_of_error(mistake: Callable[[Any], Any]) -> None:
    """用错的层不报错，或报了 torch 不会报的那一类。"""
    same_error(mistake)
