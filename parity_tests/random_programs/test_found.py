"""随机程序撞见过的不同，改到最小：每条在两个引擎上各跑一遍，结果、梯度与报错都相同。"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

import tinygrad_llm
from parity_tests.tolerances import assert_close


def _leaf(m: Any, *values: float) -> Any:
    return m.tensor(values, dtype=m.float64, requires_grad=True)


def _angle_of_the_origin(m: Any) -> Any:
    """幅角在原点没有导数：torch 给 0，曾给 NaN。"""
    a, b = _leaf(m, 0.0, 0.0, 1.0), _leaf(m, 0.0, 1e-200, -2.0)
    m.atan2(a, b).sum().backward()
    return a.grad, b.grad


def _angle_twice(m: Any) -> Any:
    """幅角的二阶导，原点之外。"""
    a, b = _leaf(m, 1.0, 0.5), _leaf(m, 2.0, -1.0)
    first = m.autograd.grad(m.atan2(a, b).sum(), (a, b), create_graph=True)
    sum(g.square().sum() for g in first).backward()
    return a.grad, b.grad


def _one_element_of_an_expanded_view(m: Any) -> Any:
    """扩张出来的视图写不得，从中取出的一个元素写得。"""
    x, y = _leaf(m, 1.0, 2.0), _leaf(m, 5.0)
    grown = (x * 2)[:, None].expand(2, 3)
    grown[1, 0] = y[0]
    grown[:, 2].mul_(3)
    grown.sum().backward()
    plain = m.ones(2, 1, dtype=m.float64).expand(2, 3)
    plain[0, 1] = 5
    plain[:, 2:] += 1
    return grown, x.grad, y.grad, plain


def _all_of_an_expanded_view(m: Any) -> Any:
    """两个元素同住一处：两个引擎都拒绝。"""
    with pytest.raises(RuntimeError):
        _leaf(m, 1.0).detach().expand(3)[1:].add_(1)
    with pytest.raises(RuntimeError):
        m.ones(2, 1).expand(2, 3)[0] = 1
    return (m.zeros(0, 1, dtype=m.float64).expand(1, 0, 2).zero_(),)


def _pieces_of_tensor_split(m: Any) -> Any:
    """``tensor_split`` 的各份可以就地改写，``split`` 的不行。"""
    x = _leaf(m, 1.0, 2.0, 3.0)
    y = x * 2
    y.tensor_split(2)[1].mul_(3)
    y.hsplit(3)[0].neg_()
    y.tensor_split([1, 2])[2].add_(x[0])
    with pytest.raises(RuntimeError):
        y.split(2)[0].mul_(2)
    y.sum().backward()
    return y, x.grad


def _kept_gradient_after_a_write_into_a_view(m: Any) -> Any:
    """留着梯度的张量，后来经它的视图被改写：留的是改写之后的梯度，曾经什么也没留下。"""
    x = _leaf(m, 1.0, -2.0)
    y = x * 3
    y.retain_grad()
    z = y.view(-1)
    z.relu_()
    (z * 2).sum().backward()
    return y.grad, x.grad


def _copied_over(m: Any) -> Any:
    """整个被 ``copy_`` 盖掉的中间结果：原来的输入得到零梯度，曾经得到 None。"""
    x, y = _leaf(m, 1.0, 2.0), _leaf(m, 3.0)
    (x * 2).copy_(y).sum().backward()
    return x.grad, y.grad


def _written_after_erfinv(m: Any) -> Any:
    """``erfinv`` 的输出可以就地改写：反传用的是输入。"""
    x = _leaf(m, 0.3, -0.5)
    x.erfinv().mul_(2).sum().backward()
    return (x.grad,)


CASES: tuple[Callable[[Any], Any], ...] = (
    _angle_of_the_origin,
    _angle_twice,
    _one_element_of_an_expanded_view,
    _all_of_an_expanded_view,
    _pieces_of_tensor_split,
    _kept_gradient_after_a_write_into_a_view,
    _copied_over,
    _written_after_erfinv,
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__.strip("_"))
def test_a_minimal_program_gives_the_same_on_both_engines(case: Callable[[Any], Any]) -> None:
    """修好的不同又出现了。"""
    for ours, theirs in zip(case(tinygrad_llm), case(torch), strict=True):
        assert_close(ours, theirs, "float64", case.__doc__ or "")
