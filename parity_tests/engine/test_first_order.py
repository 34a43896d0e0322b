"""``first_order`` 之内建的图：一阶导照旧，少留一份输入，二阶导明说没有；不记图的前向只算 ``y``。"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_llm as tg
from tinygrad_llm.autograd import first_order

F = tg.nn.functional
FUSED: dict[str, Callable[[Any], Any]] = {
    "gelu": lambda x: F.gelu(x),
    "gelu tanh": lambda x: F.gelu(x, approximate="tanh"),
    "silu": lambda x: F.silu(x),
    "layer norm": lambda x: F.layer_norm(x, (8,)),
    "rms norm": lambda x: F.rms_norm(x, (8,)),
    "attention": lambda x: F.scaled_dot_product_attention(x, x, x, is_causal=True),
}


def _leaf() -> Any:
    return tg.tensor(np.random.default_rng(0).standard_normal((2, 12, 8)), requires_grad=True)


@pytest.mark.parametrize("name", FUSED)
def test_the_first_derivative_changes(name: str) -> None:
    """只求一阶导时，值或梯度与平时不逐位相同。"""
    plain, lean = _leaf(), _leaf()
    y = FUSED[name](plain * 1)
    (y * y).sum().backward()
    with first_order():
        z = FUSED[name](lean * 1)
    (z * z).sum().backward()
    np.testing.assert_array_equal(z.detach().numpy(), y.detach().numpy())
    np.testing.assert_array_equal(lean.grad.numpy(), plain.grad.numpy())


@pytest.mark.parametrize("name", ["gelu", "gelu tanh", "silu", "layer norm", "rms norm"])
@pytest.mark.fused  # 普通算子照常留着输入
@pytest.mark.usefixtures("young_heap")
def test_the_input_is_kept(name: str) -> None:
    """只求一阶导时，反向用不着的输入还占着内存；平时却又没有留着，二阶导无从算起。"""
    for context, is_kept in ((first_order, False), (tg.enable_grad, True)):
        with context():
            h = _leaf() * 1
            y = FUSED[name](h)
            held = weakref.ref(h.array)
            del h
            gc.collect()
            assert (held() is not None) == is_kept
        assert y.requires_grad


NORMS: dict[str, tg.nn.Module] = {
    "layer norm": tg.nn.LayerNorm(8, dtype=tg.float64),
    "layer norm without a bias": tg.nn.LayerNorm(8, bias=False, dtype=tg.float64),
    "rms norm": tg.nn.RMSNorm(8, dtype=tg.float64),
    "rms norm without a weight": tg.nn.RMSNorm(8, elementwise_affine=False),
}


def _ones(**options: Any) -> Any:
    return tg.ones(3, 8, dtype=tg.float64, **options)


AFTER: dict[str, Callable[[Any], Any]] = {
    "linear": tg.nn.Linear(8, 3, dtype=tg.float64),
    "attention": lambda h: F.scaled_dot_product_attention(h, h, h, is_causal=True),
    "two at once": lambda h: F.linear(h, _ones(requires_grad=True)) * F.linear(h, _ones()),
}


@pytest.mark.parametrize("after", AFTER)
@pytest.mark.parametrize("norm", NORMS)
def test_rebuilding_the_output_of_a_norm_changes_the_gradients(norm: str, after: str) -> None:
    """归一化的输出在反传时重算，梯度却与留着它时不逐位相同；反传两次也一样。"""
    modules = [m for m in (NORMS[norm], AFTER[after]) if isinstance(m, tg.nn.Module)]
    found = []
    for context in (tg.enable_grad, first_order):
        x = _leaf()
        for module in modules:
            module.zero_grad()
        with context():
            y = AFTER[after](NORMS[norm](x))
        (y * y).sum().backward(retain_graph=True)
        (y * y).sum().backward()
        found.append([x.grad.numpy(), *(p.grad.numpy() for m in modules for p in m.parameters())])
    for kept, rebuilt in zip(*found, strict=True):
        np.testing.assert_array_equal(rebuilt, kept)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.fused  # 普通算子照常留着输入
@pytest.mark.usefixtures("young_heap")
def test_the_output_of_a_norm_is_kept(norm: str) -> None:
    """只求一阶导时，归一化的输出还留在全连接的节点里；平时却又没有留着。"""
    weight = _ones(requires_grad=True)
    for context, is_kept in ((first_order, False), (tg.enable_grad, True)):
        with context():
            h = NORMS[norm](_leaf())
            held = weakref.ref(h.array)
            y = F.linear(h, weight)
            del h
            gc.collect()
            assert (held() is not None) == is_kept
            assert y.requires_grad


def test_an_output_written_to_is_rebuilt_as_it_was_before() -> None:
    """归一化的输出被就地改写之后才交给全连接，权重的梯度却按改写之前的算。"""
    found = []
    for context in (tg.enable_grad, first_order):
        weight = _ones(requires_grad=True)
        with context():
            h = F.layer_norm(_leaf(), (8,))
            with tg.no_grad():
                h.mul_(2)
            F.linear(h, weight).sum().backward()
        found.append(weight.grad.numpy())
    np.testing.assert_array_equal(found[1], found[0])


@pytest.mark.fused  # 普通算子的反向用不着偏置
def test_a_weight_written_to_before_the_backward_is_not_noticed() -> None:
    """归一化的权重在反传之前被改写，重算出的输出已经不对，却没有报错。"""
    norm = tg.nn.LayerNorm(8, dtype=tg.float64)
    weight = _ones(requires_grad=True)
    with first_order():
        y = F.linear(norm(_leaf()), weight).sum()
    with tg.no_grad():
        norm.bias.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.backward()


@pytest.mark.parametrize("name", ["gelu", "silu", "layer norm"])
@pytest.mark.fused  # 普通算子照常留着输入
def test_the_second_derivative_is_wrong_instead_of_refused(name: str) -> None:
    """没有留下输入，却给出了二阶导。"""
    x = _leaf()
    with first_order():
        y = FUSED[name](x * 1).sum()
    with pytest.raises(RuntimeError, match=r"autograd.first_order\(\)"):
        tg.autograd.grad(y, x, create_graph=True)


@pytest.mark.parametrize("name", FUSED)
def test_the_forward_without_a_graph_differs(name: str) -> None:
    """不记图时走的是另一个前向（``plain``），值却变了。"""
    x = _leaf()
    y = FUSED[name](x)
    with tg.no_grad():
        np.testing.assert_allclose(FUSED[name](x).numpy(), y.detach().numpy(), rtol=1e-13, atol=1e-13)
