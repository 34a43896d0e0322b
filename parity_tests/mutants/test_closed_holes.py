"""变异测试查出来的空白：哪个错误曾经没有测试认得出来，这里就补上一条。

每条都由 ``checks.py`` 并入相应算子（或优化器）的快测。
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch

import tinygrad_llm as tg
from parity_tests.engine.twins import on_threads, same, same_gradient, values
from parity_tests.tolerances import assert_close
from tinygrad_llm.autograd import composed_ops
from tinygrad_llm.autograd.graph import apply
from tinygrad_llm.autograd.traversal import unbroadcast
from tinygrad_llm.ops import REGISTRY, linear
from tinygrad_llm.parallel.ring import Ring, SharedGradient

BUFFERED: dict[str, Callable[[Any, Any], Any]] = {
    "linear": lambda m, w: m.nn.functional.linear(m.tensor(values(1, 5, 4)), w)[:, :3] @ w,
    "embedding": lambda m, w: m.nn.functional.embedding(m.tensor([[0, 2, 2], [1, 0, 2]]), w).exp(),
    "tied": lambda m, w: m.nn.functional.linear(m.nn.functional.embedding(m.tensor([0, 2, 2, 1]), w).sin(), w),
    "traversal": lambda m, w: (w * w + w.sum(0)).exp(),
}


@pytest.mark.parametrize("added", [linear._ADDED, 8, 1])
def test_linear_adds_its_gradient_piece_by_piece(added: int) -> None:
    """加到别的梯度上时一次只算几行：漏了一段、重了一段，或一段不止说好的那么多行。"""
    w, twin = tg.tensor(values(0, 3, 4), requires_grad=True), torch.tensor(values(0, 3, 4), requires_grad=True)
    w.grad_buffer, rows = SharedGradient(np.zeros((3, 4)), Ring()), []
    product = linear._product

    def counted(a: Any, b: Any, *out: Any) -> Any:
        rows.append(len(a))
        return product(a, b, *out)

    with mock.patch.object(linear, "_ADDED", added), mock.patch.object(linear, "_product", counted):
        for step in (1, 2):
            for m, x in ((tg, w), (torch, twin)):
                (m.nn.functional.linear(m.tensor(values(1, 5, 4)), x) * step).sum().backward()
    assert_close(w.grad, twin.grad, "float64")
    assert max(rows[-2:]) <= max(added // 4, 1)


@pytest.mark.parametrize("name", sorted(BUFFERED))
def test_traversal_puts_gradients_into_shared_memory(name: str) -> None:
    """梯度直接放进几个进程共有的内存时，放错了地方、盖掉了前一份，或没有放。"""
    w, twin = tg.tensor(values(0, 3, 4), requires_grad=True), torch.tensor(values(0, 3, 4), requires_grad=True)
    memory = np.full((3, 4), 7.0)
    w.grad_buffer = SharedGradient(memory, Ring())
    for m, x in ((tg, w), (torch, twin)):
        for step in range(2):
            (BUFFERED[name](m, x) * (step + 1)).sum().backward()
    assert_close(memory, twin.grad, "float64", name)
    assert w.grad is not None
    assert w.grad.array is memory


def test_traversal_starts_the_shared_memory_over() -> None:
    """``.grad`` 已清空，备好的内存里还是上一步的：下一份梯度加到了它上面。"""
    w = tg.tensor(values(0, 3, 4), requires_grad=True)
    w.grad_buffer = SharedGradient(np.zeros((3, 4)), Ring())
    for step in (1, 2):
        w.grad = None
        (w.sin() * step).sum().backward()
        assert_close(w.grad, np.cos(w.array) * step, "float64")


def test_traversal_adds_to_a_gradient_that_others_still_use() -> None:
    """叶子手里另有一份梯度，放不进备好的内存；它的第二份加到了别的节点还要用的数组上。"""
    found = []
    for m in (tg, torch):
        w, a = (m.tensor(values(i, 3, 4), requires_grad=True) for i in (0, 1))
        w.grad = m.tensor(values(2, 3, 4))
        if m is tg:
            w.grad_buffer = SharedGradient(np.full((3, 4), 7.0), Ring())
        double, wave = a * 2, w.sin()
        (wave + (w + double) * m.tensor(values(3, 3, 4))).sum().backward()  # 先到的那一份，w 与 double 是同一个数组
        found.append((w.grad, a.grad))
    for ours, theirs in zip(*found, strict=True):
        assert_close(ours, theirs, "float64")


def test_linear_puts_each_gradient_into_its_own_memory() -> None:
    """权重的梯度放进了给偏置备的地方。"""
    w, b = (tg.tensor(values(i, 4, *([3] * (1 - i))), requires_grad=True) for i in range(2))
    memories = [np.full(x.shape, 7.0) for x in (w, b)]
    for x, memory in zip((w, b), memories, strict=True):
        x.grad_buffer = SharedGradient(memory, Ring())
    tg.nn.functional.linear(tg.tensor(values(2, 5, 3)), w, b).sum().backward()
    assert_close(memories[0], np.tile(values(2, 5, 3).sum(0), (4, 1)), "float64")
    assert_close(memories[1], np.full(4, 5.0), "float64")


REGIONS: dict[str, Callable[[Any], Any]] = {
    "leaf": lambda x: x[0].sin(),
    "leaf, twice": lambda x: x[0] * x[1:],
    "node": lambda x: (x * 2)[1:, ::2].exp(),
    "node, fancy": lambda x: (x * 2)[[0, 0, 2]].exp(),
    "node, twice": lambda x: (lambda h: h[0] * h[1:])(x.exp()),
    "node, then whole": lambda x: (lambda h: h[:2].sin().sum() + h * h)(x.exp()),
    "node, whole first": lambda x: (lambda h: h * h + h[:1].sin())(x.exp()),
}


@pytest.mark.parametrize("name", sorted(REGIONS))
def test_traversal_puts_a_region_elsewhere(name: str) -> None:
    """取一块的梯度丢了、放错了地方，或盖掉了别处来的一份；叶子与重复的下标不走这条路。"""
    same_gradient(lambda m, x: REGIONS[name](x), values(0, 3, 4), what=name)


UNBROADCAST: list[tuple[tuple[int, ...], tuple[int, ...]]] = [
    ((2, 3), (2, 3)), ((4, 2, 3), (2, 3)), ((5, 4, 2, 3), (2, 3)), ((1, 2, 3), (2, 3)), ((4, 2, 3), (1, 3)),
    ((2, 3), (2, 1)), ((4, 2, 3), (2, 1)), ((4, 2), ()),
]  # fmt: skip


@pytest.mark.parametrize(("have", "wanted"), UNBROADCAST, ids=repr)
def test_traversal_sums_over_what_was_broadcast(have: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    """还原形状时没有求和、求错了轴：``⟨g, 广播 x⟩ = ⟨还原 g, x⟩`` 对一切 ``x`` 成立。"""
    g, x = values(0, *have), values(1, *wanted)
    found = unbroadcast(g, wanted)
    assert found.shape == wanted
    np.testing.assert_allclose((found * x).sum(), (g * np.broadcast_to(x, have)).sum(), rtol=1e-12)


def test_traversal_keeps_a_negative_zero() -> None:
    """只有一份也去求和，-0 就成了 0：引擎的近路与一般路线不再逐位相同。"""
    assert np.signbit(unbroadcast(np.full((1, 2), -0.0), (2,))).all()


@pytest.mark.parametrize(("have", "wanted"), [((), (2, 3)), ((1, 3), (2, 3)), ((3,), (2, 3)), ((1,), (0,))], ids=repr)
def test_traversal_repeats_a_gradient_that_is_too_small(have: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    """VJP 给得比输入小：没有广播回来，或广播成了别的数。"""
    g = values(0, *have)
    np.testing.assert_array_equal(unbroadcast(g, wanted), np.broadcast_to(g, wanted))


@pytest.mark.parametrize(("have", "wanted"), [((3,), (2,)), ((2,), (0,)), ((0,), (2,)), ((2, 3), (3, 2))], ids=repr)
def test_traversal_refuses_a_gradient_of_another_shape(have: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    """自定义算子给错了形状：没有报错，或报的不是两个形状。"""
    with pytest.raises(RuntimeError, match=re.escape(f"got shape {have}, the input has {wanted}")):
        unbroadcast(values(0, *have), wanted)


@pytest.mark.parametrize("window", [1, 2, 5])
@pytest.mark.parametrize("keys", [5, 7])
@pytest.mark.parametrize("composed", [False, True])
def test_attention_has_a_window(window: int, keys: int, composed: bool) -> None:
    """滑动窗口宽了、窄了一格，或 q 与 k 的长度弄反了：与写明的掩码不同；融合与普通写法都要对。"""
    q, k, v = (values(i, 2, 5 if i == 0 else keys, 4) for i in range(3))
    late, early = np.arange(5)[:, None], np.arange(keys)
    seen = (late >= early) & (late - early < window)
    ours, theirs = ([m.tensor(x, requires_grad=True) for x in (q, k, v)] for m in (tg, torch))
    options: dict[str, Any] = {"is_causal": True, "scale": 0.5, "window": window, "recompute": False}
    with composed_ops() if composed else nullcontext():
        y = apply(REGISTRY["attention"], ours, options)
        (y * tg.tensor(values(3, 2, 5, 4))).sum().backward()
    expected = torch.nn.functional.scaled_dot_product_attention(
        theirs[0], theirs[1], theirs[2], attn_mask=torch.tensor(seen), scale=0.5
    )
    (expected * torch.tensor(values(3, 2, 5, 4))).sum().backward()
    assert_close(y, expected, "float64")
    for a, b in zip(ours, theirs, strict=True):
        assert_close(a.grad, b.grad, "float64")


@pytest.mark.parametrize("threads", [1, 2])
def test_attention_has_every_block_of_a_long_sequence(threads: int) -> None:
    """序列长过一块时，漏了一块、重了一块，几个头用错了那一组的 k、v，或两个线程拿错了各自的块。"""
    shapes = [(12, 4, 200, 5), (12, 2, 200, 5), (12, 2, 200, 5)]

    def run(m: Any) -> Any:
        q, k, v = (m.tensor(values(i, *shape), requires_grad=True) for i, shape in enumerate(shapes))
        y = m.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        (y * m.tensor(values(3, 12, 4, 200, 5))).sum().backward()
        return y, q.grad, k.grad, v.grad

    with on_threads(threads):
        same(run, "float64")


@pytest.mark.parametrize("composed", [False, True])
def test_rms_norm_has_the_dtype_of_its_input(composed: bool) -> None:
    """权重比输入宽：算的时候用宽的，结果的 dtype 随输入；融合与普通写法都要对。"""
    x, w = values(0, 2, 5).astype(np.float32), values(1, 5)
    leaf = tg.tensor(x, requires_grad=True)
    with composed_ops() if composed else nullcontext():
        y = tg.nn.functional.rms_norm(leaf, (5,), tg.tensor(w), eps=1e-5)
        (y * tg.tensor(values(2, 2, 5).astype(np.float32))).sum().backward()
    twin = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    expected = torch.nn.functional.rms_norm(twin, (5,), torch.tensor(w), eps=1e-5)
    (expected * torch.tensor(values(2, 2, 5))).sum().backward()
    assert y.dtype is tg.float32
    assert leaf.grad is not None
    assert twin.grad is not None
    np.testing.assert_allclose(y.detach().numpy(), expected.detach().numpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(leaf.grad.numpy(), twin.grad, rtol=1e-5, atol=1e-6)


def test_cross_entropy_has_a_mean_over_the_valid_rows() -> None:
    """均值没有除以有效的行数；融合与普通写法都要对。"""
    logits, target = values(0, 5, 4), np.array([1, -100, 3, 0, -100])
    expected = torch.nn.functional.cross_entropy(torch.tensor(logits), torch.tensor(target))
    for composed in (False, True):
        with composed_ops() if composed else nullcontext():
            assert_close(tg.nn.functional.cross_entropy(tg.tensor(logits), tg.tensor(target)), expected, "float64")


@pytest.mark.parametrize("width", [63, 64, 70])
def test_embedding_adds_the_gradients_of_repeated_rows(width: int) -> None:
    """宽的行另有一种加法：同一行取过几次，几份梯度没有都加上，或加到了别的行。"""

    def run(m: Any) -> Any:
        weight = m.tensor(values(0, 4, width), requires_grad=True)
        y = m.nn.functional.embedding(m.tensor([[0, 2, 2], [1, 0, 2]]), weight)
        (y * m.tensor(values(1, 2, 3, width))).sum().backward()
        return weight.grad

    same(run, "float64")


def _same_at_zero(f: Callable[[Any, Any], Any]) -> None:
    def run(m: Any) -> Any:
        z = m.tensor(np.array([0j, 1 + 2j, -3 + 0.5j]), requires_grad=True)
        y = f(m, z)
        (y * m.tensor(values(0, *y.shape))).sum().backward()
        return z.grad

    same(run, "float64")


def test_complex_angle_is_flat_at_zero() -> None:
    """复数 0 的幅角的梯度不是 0。"""
    _same_at_zero(lambda m, z: z.angle())


def test_sgn_is_flat_at_zero() -> None:
    """复数 0 的方向的梯度不是 0。"""
    _same_at_zero(lambda m, z: m.view_as_real(z.sgn()))


class _Halves:
    """两个进程各管一半的行：这一份梯度分两块算，先后放进同一块内存。"""

    def __init__(self, array: Any) -> None:
        self.array = array

    def take(self, produce: Callable[[slice, Any, bool], None]) -> Any:
        """后一半先算，与环上的次序相同。"""
        middle = len(self.array) // 2
        for rows in (slice(middle, len(self.array)), slice(0, middle)):
            produce(rows, self.array[rows], False)
        return self.array


def test_embedding_puts_only_the_rows_of_its_block() -> None:
    """分块放梯度时，把别的块的行也放了进来。"""
    ids, g, buffer = np.array([[0, 3, 3], [1, 0, 2]]), values(0, 2, 3, 5), _Halves(np.full((4, 5), 7.0))
    vjp = REGISTRY["embedding"].vjps["weight"]
    found = vjp(g, ids, shapes=[(4, 5)], into=[buffer].__getitem__)
    expected = np.zeros((4, 5))
    np.add.at(expected, ids, g)
    assert_close(found, expected, "float64")


def test_cofactor_has_the_sign_of_the_determinant() -> None:
    """行列式为负时，``det`` 的二阶导差一个符号：随机的输入对角占优，行列式总是正的。"""

    def run(m: Any) -> Any:
        x = m.tensor(np.array([[1.0, 4.0], [3.0, 2.0]]), requires_grad=True)
        (first,) = m.autograd.grad(m.linalg.det(x), [x], create_graph=True)
        (second,) = m.autograd.grad((first * m.tensor(values(0, 2, 2))).sum(), [x])
        return first, second

    same(run, "float64")


def test_cofactor_has_complex_second_derivatives() -> None:
    """一批复矩阵的行列式，二阶导少了转置，或一批里的各个矩阵混在了一起。"""

    def run(m: Any) -> Any:
        x = m.tensor(values(0, 2, 3, 3) + 1j * values(1, 2, 3, 3), requires_grad=True)
        (first,) = m.autograd.grad(m.linalg.det(x).abs().sum(), [x], create_graph=True)
        (second,) = m.autograd.grad((first * m.tensor(values(2, 2, 3, 3))).abs().sum(), [x])
        return first, second

    same(run, "float64")


def test_traversal_fills_one_array_from_several_regions() -> None:
    """几块区域的梯度没有合到同一个中间结果上，或那个中间结果没有再往前传。"""

    def run(m: Any) -> Any:
        x = m.tensor(values(0, 4, 3), requires_grad=True)
        y = x * 2
        (y[1:3].sum() * 3 + (y[2:] ** 2).sum() + y[0].sin().sum()).backward()
        z = m.tensor(values(1, 5), requires_grad=True)
        (z.exp()[1:4] ** 2).sum().backward()
        return x.grad, z.grad

    same(run, "float64")


def test_traversal_expands_a_gradient_that_is_too_small() -> None:
    """VJP 给出的形状比输入小（例如标量）时，没有广播回输入的形状。"""

    def run(m: Any) -> Any:
        x = m.tensor(values(0, 2, 3), dtype=m.float64, requires_grad=True)
        y = (x + m.tensor(values(1, 4, 1, 3))).mean() + (x * m.tensor(values(2, 2, 1))).sum(0).sum()
        (first,) = m.autograd.grad(y, [x], create_graph=True)
        ((first**2).sum() + y).backward()
        return first, x.grad

    same(run, "float64")
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_traversal_adds_low_precision_gradients(dtype: str) -> None:
    """16 位的叶子或中间结果用了几次，几份梯度没有都加上。"""

    def run(m: Any) -> Any:
        x = m.tensor([0.5, -1.5, 3.0], dtype=getattr(m, dtype), requires_grad=True)
        seen: list[Any] = []
        x.register_hook(lambda g: seen.append(g.float()))
        y = x * 2
        (y.sum() + (y * 4).sum() + (x * 8).sum() + (x * 16).sum()).backward()
        (found,) = m.autograd.grad(((x * 2).sum() + (x * 4).sum() + (x * 8).sum()), [x])
        return x.grad.float(), found.float(), seen

    same(run, "exact")
