"""二阶导与自定义算子：Hessian 乘向量、穿过 ``autograd.Function`` 的 ``create_graph``，都与 torch 相同。"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import tinygrad_llm as tg
from parity_tests.tolerances import assert_close

each_engine = pytest.mark.parametrize("m", [tg, torch], ids=["tinygrad_llm", "torch"])


def _mlp(m: Any) -> tuple[Any, list[Any]]:
    rng = np.random.default_rng(0)
    x = m.tensor(rng.standard_normal((5, 4)))
    shapes = [(6, 4), (6,), (6,), (6,), (3, 6)]
    params = [m.tensor(rng.standard_normal(s) * 0.5, requires_grad=True) for s in shapes]
    labels = m.tensor([0, 2, 1, -100, 2])
    F = m.nn.functional
    h = F.layer_norm(F.gelu(F.linear(x, params[0], params[1]), approximate="tanh"), (6,), params[2], params[3])
    q = h.view(1, 1, 5, 6)
    if m is tg:
        h = h + F.scaled_dot_product_attention(q, q, q, is_causal=True).view(5, 6)
    else:  # torch 的融合注意力没有二阶导
        future = m.ones(5, 5, dtype=m.bool).triu(1)
        h = h + (((q @ q.mT) / 6**0.5).masked_fill(future, float("-inf")).softmax(-1) @ q).view(5, 6)
    return F.cross_entropy(F.rms_norm(h, (6,), eps=1e-5) @ params[4].T, labels), params


def _hessian_vector(m: Any) -> list[Any]:
    loss, params = _mlp(m)
    rng = np.random.default_rng(1)
    first = m.autograd.grad(loss, params, create_graph=True)
    vectors = [m.tensor(rng.standard_normal(tuple(p.shape))) for p in params]
    inner = sum((g * v).sum() for g, v in zip(first, vectors, strict=True))
    return [loss, *first, *m.autograd.grad(inner, params)]


def test_hessian_vector_product_of_a_transformer_block_equals_torch() -> None:
    """穿过全部融合算子的 Hessian 乘向量与 torch 不同。"""
    for ours, theirs in zip(_hessian_vector(tg), _hessian_vector(torch), strict=True):
        assert_close(ours, theirs, "float64 second order")


@each_engine
def test_third_order(m: Any) -> None:
    """梯度的梯度的梯度断了：``x⁵`` 的三阶导是 ``60x²``。"""
    x = m.tensor(2.0, dtype=m.float64, requires_grad=True)
    y = x**5
    for _ in range(3):
        (y,) = m.autograd.grad(y, x, create_graph=True)
    assert y.item() == 240.0


def test_backward_with_create_graph_leaves_a_grad_that_has_a_graph() -> None:
    """``backward(create_graph=True)`` 得到的 ``.grad`` 不能再求导。"""
    x = tg.tensor([2.0, 3.0], dtype=tg.float64, requires_grad=True)
    (x**3).sum().backward(create_graph=True)
    assert x.grad is not None
    assert x.grad.requires_grad
    (second,) = tg.autograd.grad((x.grad**2).sum(), x)
    assert second.tolist() == [2 * 12 * 12, 2 * 27 * 18]


def _functions(m: Any) -> Any:
    class Cube(m.autograd.Function):  # type: ignore[misc]
        """留输入。"""

        @staticmethod
        def forward(ctx: Any, x: Any, scale: float) -> Any:
            ctx.save_for_backward(x)
            ctx.scale = scale
            return x * x * x * scale

        @staticmethod
        def backward(ctx: Any, *g: Any) -> Any:
            (x,) = ctx.saved_tensors
            assert ctx.needs_input_grad == (True, False)
            return g[0] * 3 * ctx.scale * x * x, None

    class Exp(m.autograd.Function):  # type: ignore[misc]
        """留输出：二阶导要经过它自己。"""

        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            y = x.exp()
            ctx.save_for_backward(y)
            return y

        @staticmethod
        def backward(ctx: Any, *g: Any) -> Any:
            return g[0] * ctx.saved_tensors[0]

    class Same(m.autograd.Function):  # type: ignore[misc]
        """把同一个梯度还给两个输入。"""

        @staticmethod
        def forward(ctx: Any, a: Any, b: Any) -> Any:
            return a + b

        @staticmethod
        def backward(ctx: Any, *g: Any) -> Any:
            shared = g[0] * 1
            return shared, shared

    class Wrong(m.autograd.Function):  # type: ignore[misc]
        """梯度个数由 ``count`` 决定，形状是 ``(7,)``。"""

        @staticmethod
        def forward(ctx: Any, x: Any, count: int) -> Any:
            ctx.count = count
            return x * 1

        @staticmethod
        def backward(ctx: Any, *g: Any) -> Any:
            return (m.ones(7, dtype=m.float64), None, None, None)[: ctx.count]

    return Cube, Exp, Same, Wrong


@each_engine
def test_custom_function_first_and_second_order(m: Any) -> None:
    """自定义算子的一阶或二阶导错了；留输出的算子在二阶时把输出当成了常数。"""
    cube, exp, _, _ = _functions(m)
    x = m.tensor([1.0, 2.0], dtype=m.float64, requires_grad=True)
    y = exp.apply(cube.apply(x, 0.5))
    (first,) = m.autograd.grad(y.sum(), x, create_graph=True)
    (second,) = m.autograd.grad(first.sum(), x)
    value = np.exp(0.5 * np.array([1.0, 8.0]))
    slope = 1.5 * np.array([1.0, 4.0])
    np.testing.assert_allclose(first.detach().numpy(), value * slope, rtol=1e-12)
    np.testing.assert_allclose(second.detach().numpy(), value * (slope**2 + 3 * np.array([1.0, 2.0])), rtol=1e-12)


def test_custom_function_passes_gradcheck() -> None:
    """``gradcheck`` 认不出自定义算子，或认可了写错的导数。"""
    cube, exp, _, wrong = _functions(tg)
    x = tg.tensor([0.5, 1.5], dtype=tg.float64, requires_grad=True)
    assert tg.gradcheck(lambda t: exp.apply(cube.apply(t, 0.5)), x)
    assert tg.gradgradcheck(lambda t: exp.apply(cube.apply(t, 0.5)), x)
    seven = tg.tensor(np.linspace(0.5, 2, 7), requires_grad=True)
    with pytest.raises(RuntimeError, match=r"output 0 \(WrongBackward\).*input 0: 42 of 49.*numerical 0, analytical 1"):
        tg.gradcheck(lambda t: wrong.apply(t, 2), seven)
    assert not tg.gradcheck(lambda t: wrong.apply(t, 2), seven, raise_exception=False)


@each_engine
def test_custom_function_may_return_one_gradient_twice(m: Any) -> None:
    """两个输入的 ``.grad`` 成了同一块内存：裁剪一次缩两次。"""
    same = _functions(m)[2]
    a, b = (m.tensor([1.0], dtype=m.float64, requires_grad=True) for _ in range(2))
    same.apply(a, b).sum().backward()
    a.grad.mul_(5)
    assert (a.grad.tolist(), b.grad.tolist()) == ([5.0], [1.0])


@each_engine
@pytest.mark.parametrize("count", [1, 2])
def test_custom_function_with_wrong_gradients_raises(m: Any, count: int) -> None:
    """梯度个数或形状不对，却照常累加。"""
    wrong = _functions(m)[3]
    x = m.ones(2, dtype=m.float64, requires_grad=True)
    with pytest.raises(RuntimeError, match="gradient"):
        wrong.apply(x, count).sum().backward()
    assert x.grad is None


@each_engine
def test_custom_function_without_grad_records_nothing(m: Any) -> None:
    """输入都不需要梯度时，自定义算子的输出却需要。"""
    exp = _functions(m)[1]
    assert not exp.apply(m.ones(2)).requires_grad
    with m.no_grad():
        assert not exp.apply(m.ones(2, requires_grad=True)).requires_grad


@each_engine
def test_custom_function_checks_its_saved_tensors(m: Any) -> None:
    """自定义算子留下的 Tensor 被就地改写，没有被发现。"""
    cube = _functions(m)[0]
    x = m.ones(2, dtype=m.float64, requires_grad=True) * 2
    y = cube.apply(x, 1.0)
    x.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()
