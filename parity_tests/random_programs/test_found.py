"""随机程序撞见过的不同，改到最小：每条在两个引擎上各跑一遍，结果、梯度与报错都相同。"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch

from parity_tests.engine.twins import both
from parity_tests.tolerances import assert_close
from tinygrad_llm.autograd import composed_ops


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


def _signed_zero(m: Any) -> Any:
    """``-0`` 的累加是 ``+0``，过 ``elu``、``maximum`` 仍是 ``-0``，概率恰为 1 的交叉熵是 ``-0``：幅角看得出来。"""
    x = m.tensor([-0.0], dtype=m.float64)
    one = m.nn.functional.cross_entropy(m.ones(1, 1, dtype=m.float64), m.tensor([0]), reduction="none")
    found: tuple[Any, ...] = (x.clone().cumsum_(0), x.logcumsumexp(0), m.nn.functional.elu(x), m.maximum(x, x + 0), one)
    found += (m.minimum(x, x + 0), m.nn.functional.softshrink(x))
    return [m.atan2(y, m.tensor([-1.0], dtype=m.float64)) for y in found]


def _written_to_itself(m: Any) -> Any:
    """扩张出来的张量写成它自己：什么也不必做，曾经拒绝。"""
    x = m.ones(1, dtype=m.float64).expand(2, 2)
    x[:, :] = x
    x.copy_(x)
    return (x,)


def _filled_while_expanded(m: Any) -> Any:
    """扩张出来的张量可以全部填成一个数，也可以按下标或掩码写，后写的算数。"""
    x = m.ones(2, 1, dtype=m.float64).expand(2, 3)
    x.fill_(2)
    x.masked_fill_(m.tensor([True, False, False]), 5.0)
    x.index_put_((m.tensor([0]),), m.tensor([[1.0, 2, 3]], dtype=m.float64))
    y = x.clone()
    x[m.tensor([1])] = 7.0
    x.index_fill_(1, m.tensor([2]), 4.0)
    return y, x


def _filled_on_the_graph(m: Any) -> Any:
    """在图上填扩张出来的张量：写得，反传时才拒绝。"""
    y = (_leaf(m, 1.0, 2.0) * 2)[:, None].expand(2, 3)
    y.fill_(3)
    with pytest.raises(RuntimeError, match="single memory location"):
        y.sum().backward()
    return (y,)


def _viewed_after_a_scan(m: Any) -> Any:
    """累积、按下标取的结果，内存次序与 torch 相同：``view`` 行得通，``reshape`` 是视图还是拷贝也相同。"""
    x = _leaf(m, *map(float, range(24))).reshape(2, 3, 4).transpose(1, 2)
    grown = x.logcumsumexp(0).view(-1), x.cummax(1)[0].view(-1), x.cumsum(0).view(-1)
    rows = x[m.tensor([1, 0])]
    rows.reshape(24).add_(1)
    return *grown, rows


def _kinks_twice(m: Any) -> Any:
    """分段的损失与激活，在分界处的二阶导。"""
    found = []
    for f in ("huber_loss", "smooth_l1_loss", "elu", "celu"):
        x = _leaf(m, -1.0, 0.0, 1.0, 0.5)
        function = getattr(m.nn.functional, f)
        y = function(x, m.zeros(4, dtype=m.float64), reduction="sum") if f.endswith("loss") else function(x).sum()
        (first,) = m.autograd.grad(y, x, create_graph=True)
        found += m.autograd.grad(first.sum(), x)
    return found


def _sinc_twice(m: Any) -> Any:
    """``sinc`` 在 0 处的二阶导是 ``-π²/3``；torch 给 NaN，所以与闭式解比。"""
    x = m.zeros(1, dtype=m.float64, requires_grad=True)
    (first,) = m.autograd.grad(x.sinc().sum(), x, create_graph=True)
    (second,) = m.autograd.grad(first.sum(), x)
    return (m.tensor([-(math.pi**2) / 3], dtype=m.float64) if m is torch else second,)


def _scalars_of_two_types(m: Any) -> Any:
    """三个都是 0 维时，``lerp`` 照常提升 dtype。"""
    one = m.ones((), dtype=m.float32)
    return (m.lerp(one, one, m.tensor(0.5, dtype=m.float64)),)


def _interleaved(m: Any) -> Any:
    """读与写的内存只有一部分相同：拒绝。"""
    y = m.arange(9, dtype=m.float64).reshape(3, 3).clone()
    writes: tuple[Callable[[], Any], ...] = (
        lambda: y[1:].add_(y[:-1]), lambda: y.copy_(y.t()), lambda: y.__iadd__(y[0]),
        lambda: y.__setitem__(slice(1, 3), y[:2]),
    )  # fmt: skip
    for write in writes:
        with pytest.raises(RuntimeError, match="some elements of the input"):
            write()
    y.add_(y)
    y[0].add_(y[1])
    return (y,)


def _computed_results_are_no_views(m: Any) -> Any:
    """算出来的结果不是视图，``detach_`` 得了。"""
    x, F = _leaf(m, *map(float, range(12))).reshape(2, 3, 2), m.nn.functional
    found = (
        x @ m.ones(2, 2, dtype=m.float64), F.layer_norm(x, (3, 2)), F.rms_norm(x, (3, 2)), F.group_norm(x, 1),
        x.scatter_add(0, (x * 0).long(), x), x.index_add(0, m.tensor([0]), x[:1]), x.max(1)[0], x.median(2)[0],
        F.cross_entropy(x[0], (x[0, :, 0] * 0).long(), reduction="none"), x.index_fill(0, m.tensor([0]), 2.0),
    )  # fmt: skip
    return [y.detach_() for y in found]


def _pieces_of_pieces(m: Any) -> Any:
    """``split`` 的一份的视图，也不许在图上就地改写，就地换布局也不行。"""
    y = _leaf(m, 1.0, 2.0, 3.0, 4.0) * 2
    writes: tuple[Callable[[], Any], ...] = (
        lambda: y.split(2)[0].reshape(2, 1).exp_(), lambda: y.split(2)[0].__setitem__(slice(0, 1), 2.0),
        lambda: y.chunk(2)[1].unsqueeze_(0),
    )  # fmt: skip
    for write in writes:
        with pytest.raises(RuntimeError, match="multiple views"):
            write()
    return (y,)


def _kept_after_a_change_of_layout(m: Any) -> Any:
    """留着梯度的张量就地换了布局：曾经什么也没留下。（torch 留的是旧的形状，这里与张量自己的形状相同。）"""
    x = _leaf(m, 1.0, 2.0)
    y = x * 1.5
    y.retain_grad()
    y.swapaxes_(0, 0)
    (y * y).sum().backward()
    return y.grad, x.grad


def _nothing_written(m: Any) -> Any:
    """零维张量的视图，写一块空的：什么也没变，曾经报错。"""
    x, y = m.tensor(1.0, dtype=m.float64), _leaf(m, 3.0)
    z = (y[0] * 1).clone()
    x.view(1)[0:0] = y[0]
    z.view(1)[:0] = 2
    return x, z, *m.autograd.grad(z, y)


def _empty_before_a_change_of_layout(m: Any) -> Any:
    """空的张量就地换布局，从前的视图照样能反传。"""
    x = m.zeros(0, dtype=m.float64, requires_grad=True)
    y = x * 2
    old = y[::2]
    y.unsqueeze_(1)
    old.sum().backward()
    return (x.grad,)


def _view_of_a_leaf_changes_layout(m: Any) -> Any:
    """叶子的视图就地换布局：拒绝。"""
    x = _leaf(m, 1.0, 2.0)
    with pytest.raises(RuntimeError, match="leaf"):
        x[:1].unsqueeze_(0)
    return (x,)


def _bias_of_another_type(m: Any) -> Any:
    """偏置的 dtype 与输入不同：拒绝。"""
    x, bias = m.ones(2, 3, dtype=m.float64), m.ones(4, dtype=m.float32)
    with pytest.raises(RuntimeError, match="same dtype"):
        m.nn.functional.linear(x, m.ones(4, 3, dtype=m.float64), bias)
    return (x,)


def _product_of_one_twice(m: Any) -> Any:
    """只有一个数的积：二阶导恰为 0，曾经剩下舍入误差。"""
    x = m.tensor(0.014, dtype=m.float64, requires_grad=True)
    loss = x.prod() * -0.183
    (first,) = m.autograd.grad(loss, x, create_graph=True)
    (loss + first * first).backward()
    return [x.grad - first.detach()]  # 余下的就是二阶导那一份


def _written_to_its_only_element(m: Any) -> Any:
    """只有一个元素，读法（长度为 1 的轴的步长）却不同：写给自己，torch 有时拒绝，有时照办。"""
    refused: list[Any] = []
    results: list[Any] = []
    for shape, key in (
        ((1, 1, 1), (0, slice(None, 1, 2))), ((1, 2), (None, slice(0, None, 1))), ((1,), (None, slice(0, 1))),
        ((1, 1, 1), 0), ((2, 1), (slice(0, 1), None)),
    ):  # fmt: skip
        x = m.ones(*shape, dtype=m.float64)
        try:
            x[key] = x if shape != (2, 1) else x[:1]
        except RuntimeError:
            refused.append(x.sum() * 0 + len(refused))
        else:
            results.append(x)
    y = m.tensor([[1.0]], dtype=m.float64, requires_grad=True).clone()
    line = y.expand(2, 1, 1).view(2)
    line[:1] = y
    z = (m.tensor([[1.0, 2.0]], dtype=m.float64, requires_grad=True) * 3)[-1, 1]
    z.view(1)[None, 0:1] = z
    return [*refused, *results, line, z]


def _tensor_filled_into_an_expanded_one(m: Any) -> Any:
    """扩张出来的张量填得进一个数，填不进 0 维的 Tensor。"""
    x = m.ones(1, 1, dtype=m.float64)
    with pytest.raises(RuntimeError, match="memory"):
        x.expand(2, 3).fill_(m.tensor(2.0, dtype=m.float64))
    return (x, x.expand(2, 3).fill_(2.0))


def _new_axes_by_none(m: Any) -> Any:
    """``None`` 添的轴，步长与 torch 不同。"""
    x = m.arange(6.0).reshape(2, 3)
    views = [
        x[None], x[:, None], x[None, 0:1], x[0, 0][None], x[..., None], x[None, None, 0, None, 1:, None],
        x.T[:, None, ..., None], x[None, ..., None, 0], m.zeros(3, 0)[None],
    ]  # fmt: skip
    views[1] += 1
    return [m.tensor(view.stride()) for view in views] + views


CASES: tuple[Callable[[Any], Any], ...] = (
    _angle_of_the_origin,
    _angle_twice,
    _one_element_of_an_expanded_view,
    _all_of_an_expanded_view,
    _pieces_of_tensor_split,
    _kept_gradient_after_a_write_into_a_view,
    _copied_over,
    _written_after_erfinv,
    _signed_zero,
    _written_to_itself,
    _filled_while_expanded,
    _filled_on_the_graph,
    _viewed_after_a_scan,
    _kinks_twice,
    _sinc_twice,
    _scalars_of_two_types,
    _interleaved,
    _computed_results_are_no_views,
    _pieces_of_pieces,
    _kept_after_a_change_of_layout,
    _nothing_written,
    _empty_before_a_change_of_layout,
    _view_of_a_leaf_changes_layout,
    _bias_of_another_type,
    _product_of_one_twice,
    _written_to_its_only_element,
    _tensor_filled_into_an_expanded_one,
    _new_axes_by_none,
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__.strip("_"))
def test_a_minimal_program_gives_the_same_on_both_engines(case: Callable[[Any], Any]) -> None:
    """修好的不同又出现了；融合算子拆开之后也不许有。"""
    for context in (nullcontext(), composed_ops()):
        with context:
            for ours, theirs in zip(*both(case), strict=True):
                assert_close(ours, theirs, "float64", case.__doc__ or "")
