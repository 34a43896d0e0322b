"""前向的角落：大到要分给几个核的、会溢出的、内存次序特别的输入；值、0 的符号与步长都与 torch 相同。

流入：算子的名字；流出：``checks.py`` 把它们并入各算子的快测。
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
import torch

import tinygrad_llm as tg
from parity_tests.engine.twins import ENGINES, both, on_threads, same, values
from parity_tests.tolerances import assert_close
from tinygrad_llm.autograd import composed_ops
from tinygrad_llm.autograd.graph import apply
from tinygrad_llm.ops import REGISTRY, attention, linear, linear_loss
from tinygrad_llm.ops.loss import cross_entropy
from tinygrad_llm.ops.resampling import Sparse
from tinygrad_llm.ops.shape import permute

INF, NAN = float("inf"), float("nan")
LERPS = [
    (1e16, 1.0, 1.0), (1.0, 1e16, 0.0), (0.41, 1.04, 0.5), (-1.07, 0.87, -0.75), (-1.49, 0.3, 0.6),
]  # fmt: skip
"""（起点，终点，权重）：从哪一端算起，末位就不同。"""
BASES, EXPONENTS = zip(*itertools.product(range(-3, 4), range(-3, 5)), strict=True)


def _mixed(m: Any) -> Any:
    """三根轴的内存次序与形状不同。"""
    return m.tensor(values(0, 2, 3, 4)).permute(2, 0, 1)


def _without_a_graph(m: Any) -> Any:
    """不记图、分数大到会上溢，两个查询头共用一个 K/V 头；查询少的与多的走两条路。"""
    found = []
    for length in (3, 12):
        q, k, v = (m.tensor(values(i, 1, heads, length, 4)) for i, heads in enumerate((2, 1, 1)))
        with m.no_grad():
            y = m.nn.functional.scaled_dot_product_attention(q * 3000, k, v, is_causal=True, enable_gqa=True)
        found.append(y)
    return found


FORWARDS: dict[str, Callable[[Any], Any]] = {
    "cast": lambda m: [(y.float(), y > 0) for y in [m.tensor(values(0, 3, 4)).to(m.bfloat16)]],
    "attention": _without_a_graph,
    "elu": lambda m: m.nn.functional.elu(m.tensor([-0.0, 0.0, -1.0, 1.0]), alpha=-1.7),
    "sign": lambda m: m.sign(m.tensor([True, False])),
    "pow": lambda m: m.tensor(BASES) ** m.tensor(EXPONENTS),
    "pow_scalar": lambda m: [m.tensor([-1.5, 2.0]) ** n for n in (2, 3, 4)],
    "vector_norm": lambda m: m.linalg.vector_norm(m.tensor([[1.0, 0.0, 2.0], [0.0, 0.0, 0.0]]), 0, dim=-1),
    "softmax": lambda m: m.softmax(m.tensor([1000.0, 1001.0, -1000.0]).double(), 0),
    "log_softmax": lambda m: m.log_softmax(m.tensor([1000.0, 1001.0, -1000.0]).double(), 0),
    "logsumexp": lambda m: m.logsumexp(
        m.tensor([[1000.0, 1001.0], [INF, 1.0], [-INF, -INF], [-INF, 2.0], [-1000.0, -999.0]]), -1
    ),
    "cumsum": lambda m: m.cumsum(m.tensor([-0.0, -0.0]), 0),
    "logcumsumexp": lambda m: m.logcumsumexp(m.tensor([-0.0, -INF]), 0),
    "prelu": lambda m: m.nn.functional.prelu(m.tensor([0.0, -0.0, 1.0]), m.tensor([-2.0])),
    "diagonal": lambda m: (lambda x: (x.diagonal().add_(1), x))(m.tensor(values(0, 3, 4))),
    "expand": lambda m: [
        m.tensor(values(0, *have)).permute(tuple(range(len(have))[::-1])).expand(*wanted)
        for have, wanted in (
            ((), (3,)), ((3,), (1, 3)), ((3,), (2, 1, 3)), ((1, 3), (2, 1, 3, 4)), ((2, 3), (1, 1, 3, 2)),
            ((1,), (1, 1)), ((4, 1, 3), (5, 3, 2, 4)),
        )
    ],
    "index": lambda m: [
        _mixed(m)[:, m.tensor([[True, False, True], [False, True, True]])],
        _mixed(m)[m.tensor([True, False, True, True])],
    ],
    "unfold": lambda m: [m.tensor(values(0, 7, 5)).unfold(*how) for how in ((0, 3, 2), (1, 2, 3), (0, 2, 1))],
    "matmul": lambda m: [
        m.tensor(values(0, 2, 3, 4, 5)).transpose(0, 1) @ m.tensor(values(1, 5, 6)),
        m.tensor(values(0, 4, 1, 2, 3)) @ m.tensor(values(1, 2, 3, 3)),
        m.tensor(values(0, 3, 2, 4, 5)).permute(1, 0, 2, 3) @ m.tensor(values(1, 3, 2, 5, 4)).permute(1, 0, 2, 3),
    ],
    "gelu": lambda m: m.nn.functional.gelu(_mixed(m)),
    "gelu_tanh": lambda m: m.nn.functional.gelu(_mixed(m), approximate="tanh"),
    "silu": lambda m: m.nn.functional.silu(_mixed(m)),
    "pinv": lambda m: [
        m.linalg.pinv(m.tensor(np.diag([4.0, 2.0, 1.0])), atol=atol, rtol=rtol)
        for atol, rtol in ((0.0, 0.5), (2.0, 0.1), (0.1, 0.3), (0.0, 0.2))
    ],
    "lerp": lambda m: m.lerp(*(m.tensor(row, dtype=m.float64) for row in zip(*LERPS, strict=True))),
    "matrix_exp": lambda m: [
        m.linalg.matrix_exp(x)
        for x in (
            m.tensor(values(0, 6, 4, 4)) * m.tensor([0.01, 0.3, 1.0, 1.2, 3.0, 9.0]).double().reshape(-1, 1, 1),
            m.tensor([[[5.0, 5.0], [0.0, 0.1]], [[0.0, 1.0], [INF, 0.0]], [[0.0, 0.0], [0.0, 0.0]]]).double(),
            m.zeros(0, 3, 3),
        )
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(FORWARDS))
def test_forwards_equal_torch(name: str) -> None:
    """会溢出、有 -0、内存次序特别的输入：值、0 的符号或各轴的步长与 torch 不同。"""
    same(FORWARDS[name], "exact" if name == "lerp" else "float64", name)
    for ours, theirs in zip(*(list(_tensors(found)) for found in both(FORWARDS[name])), strict=True):
        zeros = ours.array == 0
        np.testing.assert_array_equal(np.signbit(ours.array)[zeros], np.signbit(theirs.numpy())[zeros], name)
        if theirs.numel():
            assert ours.stride() == theirs.stride(), name


def _tensors(found: Any) -> Iterator[Any]:
    if isinstance(found, (tuple, list)):
        for one in found:
            yield from _tensors(one)
    else:
        yield found


def _random_indexing(rng: np.random.Generator) -> tuple[tuple[int, ...], list[int], list[Any]]:
    """形状、换轴的次序，与一个有切片、有下标数组的键。"""
    ndim = int(rng.integers(2, 5))
    shape, order = tuple(rng.integers(1, 4, ndim).tolist()), rng.permutation(ndim).tolist()
    lengths, picked = [shape[i] for i in order], rng.integers(1, 4, rng.integers(1, 3)).tolist()
    key: list[Any] = []
    for length in lengths[: int(rng.integers(1, ndim + 1))]:
        if rng.random() < 0.5:
            key.append(slice(None) if rng.random() < 0.6 else slice(0, max(1, length - 1)))
        else:
            key.append(rng.integers(0, length, [n if rng.random() < 0.8 else 1 for n in picked]))
    return shape, order, key


def test_index_lays_its_result_out_as_torch_does() -> None:
    """下标数组取出来的各轴，在内存里的次序与 torch 不同；长度为 1 的轴排在哪里都一样，不比。"""
    rng = np.random.default_rng(0)
    ones: list[Any] = [
        ((3, 1, 1, 1), [1, 3, 2, 0], [slice(None), np.array([0, 0])]),
        ((1, 1, 3), [2, 1, 0], [slice(None), np.array([0, 0])]),
        ((3, 1, 1), [1, 2, 0], [slice(None), slice(None), np.array([2, 0])]),
        ((3, 1), [1, 0], [np.array([0, 0, 0])]),
    ]  # 长度为 1 的轴的步长也算数
    for shape, order, key in (*ones, *(_random_indexing(rng) for _ in range(600))):
        found = []
        for m in ENGINES:
            x = m.tensor(np.arange(math.prod(shape))).reshape(shape).permute(order)
            y = x[tuple(k if isinstance(k, slice) else m.tensor(k) for k in key)]
            found.append((y.tolist(), [step for step, n in zip(y.stride(), y.shape, strict=True) if n > 1]))
        assert found[0] == found[1], f"{shape} permuted by {order}, {key}"


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("rows", [1, 8, 9, 1500])
@pytest.mark.parametrize("columns", [48, 300, 1200])
def test_linear_multiplies_large_matrices(rows: int, columns: int, threads: int) -> None:
    """大到要分给几个核的乘法漏了一段、写错了地方，或没有写进给定的数组。"""
    a, b = values(0, rows, 256).astype(np.float32), values(1, 256, columns).astype(np.float32)
    expected, out = (a.astype(np.float64) @ b).astype(np.float32), np.full((rows, columns), NAN, np.float32)
    with on_threads(threads):
        found = [linear._product(a, b), linear._product(a, b.astype(np.float64))]
        assert linear._product(a, b, out) is out
    for y in (*found, out):
        np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("size", [8, 127, 128, 129, 400])
def test_mm_multiplies_small_and_large_matrices(size: int) -> None:
    """小到不必切与大到要切的两条路，有一条算错了。"""
    a, b = values(0, size, size), values(1, size, size + 1)
    np.testing.assert_allclose(REGISTRY["mm"].forward(a, b), np.matmul(a, b), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("is_causal", "window"), [(False, None), (True, None), (True, 3), (True, 70)])
@pytest.mark.parametrize("length", [150, 600])
def test_attention_in_blocks_equals_its_composed_twin(is_causal: bool, window: int | None, length: int) -> None:
    """查询多到要分块时，块的界线上看见了不该看的，或漏看了；留下的指数多一块少一块。"""
    q = values(0, 1, 2, length, 4)
    k, v = (values(i, 1, 1, length, 4) for i in (1, 2))
    how: dict[str, Any] = {"is_causal": is_causal, "scale": 0.5, "window": window}
    y, kept, *_ = attention._attend(q, k, v, keep=True, **how)
    expected = attention._attention_composed(*(tg.tensor(x) for x in (q, k, v)), recompute=False, **how)
    assert_close(y, expected, "float64")
    again, nothing, *_ = attention._attend(q, k, v, keep=False, **how)
    np.testing.assert_array_equal(again, y)
    assert nothing == []
    assert sum(len(e) for e in kept) > 0


def test_gelu_is_accurate_to_the_last_digits_of_float32() -> None:
    """float32 的近似多项式少了一项：只有尾部看得出来。"""
    x = np.linspace(-6, 6, 4001).astype(np.float32)
    exact = torch.nn.functional.gelu(torch.tensor(x, dtype=torch.float64)).numpy()
    np.testing.assert_allclose(tg.nn.functional.gelu(tg.tensor(x)).array, exact, rtol=2e-7, atol=2e-7)


def _minors(x: Any) -> Any:
    """逐个划去一行一列再求行列式。"""
    n = len(x)
    return np.array([
        [(-1) ** (i + j) * np.linalg.det(np.delete(np.delete(x, i, 0), j, 1)) for j in range(n)] for i in range(n)
    ])  # fmt: skip


@pytest.mark.parametrize("dtype", ["float64", "complex128"])
def test_cofactor_of_singular_matrices_is_made_of_minors(dtype: str) -> None:
    """一批里夹着奇异的矩阵，代数余子式与逐个划去一行一列求得的不同。"""
    x = values(0, 5, 3, 3).astype(dtype)
    if dtype == "complex128":
        x = x + 1j * values(1, 5, 3, 3)
    x[1, 2], x[2, :, 1], x[3, 1:], x[4, 0] = 0, 0, 0, 0  # 行列式恰为 0
    assert (np.linalg.det(x) == 0).tolist() == [False, True, True, True, True]
    for batch in (x, x[:1], x[1:]):
        found = REGISTRY["cofactor"].forward(batch)
        np.testing.assert_allclose(found, [_minors(one) for one in batch], rtol=1e-10, atol=1e-12)


def test_inv_of_singular_matrices_is_infinite_or_refused() -> None:
    """不查错时，奇异的矩阵没有得到无穷，或同一批里别的矩阵被它带坏；查错时没有报错。"""
    x = values(0, 3, 2, 2)
    x[1] = [[1.0, 2.0], [-3.0, -6.0]]
    found = REGISTRY["inv"].forward(x, check=False)
    np.testing.assert_allclose(found[[0, 2]], np.linalg.inv(x[[0, 2]]), rtol=1e-12)
    np.testing.assert_array_equal(found[1], np.copysign(INF, np.linalg.det(x[1])) * np.array([[-1, -1], [1, 1]]))
    for m in ENGINES:
        with pytest.raises(m.linalg.LinAlgError):
            m.linalg.inv(m.tensor(x))


def test_matrix_exp_shrinks_the_matrix_far_enough() -> None:
    """范数大的没有先缩到 Padé 近似准的地方，丢掉三位有效数字。"""
    found = REGISTRY["matrix_exp"].forward(np.array([[[-8.0]], [[0.1]]]))
    np.testing.assert_allclose(found[:, 0, 0], np.exp([-8.0, 0.1]), rtol=1e-13)
    columns = REGISTRY["matrix_exp"].forward(np.diag([-8.0, 0.1]))  # 范数是最大的一列之和，不是最小的
    np.testing.assert_allclose(np.diag(columns), np.exp([-8.0, 0.1]), rtol=1e-13)


def test_expand_is_not_writeable() -> None:
    """扩张出来的几个元素同住一处，却写得。"""
    for m in ENGINES:
        with pytest.raises(RuntimeError, match="memory"):
            m.tensor(2.0).expand(3).add_(1)


def test_diagonal_is_writeable() -> None:
    """对角线是视图，从 NumPy 一侧却写不得。"""
    for m in ENGINES:
        x = m.tensor(values(0, 3, 3))
        x.diagonal().numpy()[:] = 7
        assert x[0, 0].item() == 7


def test_eigh_of_nan_is_nan() -> None:
    """含 NaN 的矩阵：特征值与特征向量的个数不对，或不全是 NaN。"""
    for shape in ((2, 4, 3, 3), (2, 3, 3)):
        x = values(0, *shape)
        finite = REGISTRY["eigh"].forward(x)
        x[..., 1, 1] = NAN
        found = REGISTRY["eigh"].forward(x)
        assert found.shape == finite.shape
        assert np.isnan(found).all()


def test_lu_does_not_exchange_rows() -> None:
    """不换行的 LU 换了行。"""
    x = np.array([[0.1, 2.0], [3.0, 4.0]])
    y = REGISTRY["lu"].forward(x)
    np.testing.assert_allclose((np.tril(y, -1) + np.eye(2)) @ np.triu(y), x, rtol=1e-12)


def test_as_strided_is_a_view_only_where_the_layout_fits() -> None:
    """排布相同却复制了一份，写不到原处；排布不同却照新的内存去读。"""
    x, source, target = values(0, 3, 4), ((3, 4), (4, 1), 0), ((2, 3), (1, 4), 1)
    forward, expected = REGISTRY["as_strided"].forward, x.reshape(-1)[[[1, 5, 9], [2, 6, 10]]]
    assert np.shares_memory(forward(x, target=target, source=source), x)
    for laid in (x, np.asfortranarray(x)):
        np.testing.assert_array_equal(forward(laid, target=target, source=source), expected)
    empty = forward(np.zeros((0, 2)), target=((0,), (1,), 0), source=((0, 2), (7, 7), 0))
    assert empty.shape == (0,)


def test_through_memory_averages_only_what_overlaps() -> None:
    """一处住着几个元素时没有取平均，或把不重叠的也除了。"""
    forward = REGISTRY["through_memory"].forward
    window = ((2, 2), (1, 1), 0)  # 位置 0 1 / 1 2
    x = np.array([[1.0, 2.0], [4.0, 8.0]])
    line = ((3,), (1,), 0)
    np.testing.assert_array_equal(forward(x, source=window, target=line, shared=line), [1.0, 6.0, 8.0])
    np.testing.assert_array_equal(forward(x, source=window, target=line, shared=window), [1.0, 3.0, 8.0])
    beyond = ((4,), (2,), 0)
    np.testing.assert_array_equal(forward(x, source=window, target=beyond, shared=line), [1.0, 8.0, 0.0, 0.0])
    nothing = ((0,), (1,), 0)
    assert forward(np.zeros(0), source=nothing, target=nothing, shared=nothing).shape == (0,)


def test_view_as_complex_copies_only_what_is_not_adjacent() -> None:
    """内存挨着却复制了，写不到原处；不挨着却硬读。"""
    x, forward = values(0, 6, 2)[::2], REGISTRY["view_as_complex"].forward
    assert np.shares_memory(forward(x), x)
    np.testing.assert_array_equal(forward(np.asfortranarray(x)), x[:, 0] + 1j * x[:, 1])


def test_write_region_where_the_layout_has_changed() -> None:
    """视图换了形状就得复制的那些排布：写错了位置，或动了不该动的。"""
    reshape, forward = REGISTRY["reshape"], REGISTRY["write_region"].forward
    x, v = values(0, 3, 4), values(1, 12)
    region = (reshape, {"shape": (12,)})
    for laid in (x, np.asfortranarray(x)):
        np.testing.assert_array_equal(forward(laid, v, path=(region,)), v.reshape(3, 4))
    first = (REGISTRY["index"], {"key": (slice(0, 1),)})
    for laid in (x, np.asfortranarray(x)):
        found = forward(laid, np.array([7.0]), path=(region, first))
        np.testing.assert_array_equal(found, np.where(np.arange(12).reshape(3, 4) == 0, 7.0, x))
    turned = forward(np.asfortranarray(x), v.reshape(4, 3), path=((permute, {"dims": (1, 0)}),))
    np.testing.assert_array_equal(turned, v.reshape(4, 3).T)
    longer = (REGISTRY["as_strided"], {"target": ((14,), (1,), 0), "source": ((3, 4), (1, 3), 0)})  # 后两个已不在其中
    found = forward(x, np.arange(14.0), path=(longer,))
    np.testing.assert_array_equal(found, np.arange(12.0).reshape(4, 3).T)


def test_resample_weighs_every_layer() -> None:
    """权重恰好都相同时没有乘上去。"""
    matrix = Sparse(np.array([0, 1, 1]), np.array([0, 1, 2]), np.array([2.0, 2.0, 2.0]), (2, 3))
    found = REGISTRY["resample"].forward(np.array([1.0, 10.0, 100.0]), matrix=matrix, dim=0)
    np.testing.assert_array_equal(found, [2.0, 220.0])


@pytest.mark.parametrize("name", ["cross_entropy", "linear_cross_entropy", "token_loss"])
@pytest.mark.parametrize("composed", [False, True])
def test_losses_of_large_logits_keep_the_digits_of_float32(name: str, composed: bool) -> None:
    """logits 都在 1000 上下时，损失与梯度丢掉了有效数字：相差的只是一个常数，本不该有影响。"""
    z = (values(0, 5, 7) * 3 + 1000).astype(np.float32)
    target = z.argmax(1)
    leaf, exact = tg.tensor(z, requires_grad=True), torch.tensor(z, dtype=torch.float64, requires_grad=True)
    expected = torch.nn.functional.cross_entropy(exact, torch.tensor(target), reduction="sum")
    expected.backward()
    eye, ones = np.eye(7, dtype=np.float32), np.ones(5, np.float32)
    cases: dict[str, tuple[Any, tuple[Any, ...], dict[str, Any]]] = {
        "cross_entropy": (cross_entropy, (leaf, target), {"ignore_index": -100, "reduction": "sum"}),
        "linear_cross_entropy": (linear_loss.linear_cross_entropy, (leaf, eye, None, target, ones), {"chunk": 2}),
        "token_loss": (linear_loss.token_loss, (leaf, eye, target), {"ignore_index": -100}),
    }
    with composed_ops() if composed else nullcontext():
        loss = apply(*cases[name]).sum()
    loss.backward()
    assert leaf.grad is not None
    assert exact.grad is not None
    np.testing.assert_allclose(loss.item(), expected.item(), rtol=1e-6)
    np.testing.assert_allclose(leaf.grad.numpy(), exact.grad, rtol=2e-6, atol=1e-7)
