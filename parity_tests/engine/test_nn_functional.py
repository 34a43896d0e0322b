"""``nn.functional``：每个函数的每个关键字参数，值与梯度都与 torch 相同。"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_llm as tg
from parity_tests.engine.twins import same, same_error, same_gradient, table, values
from parity_tests.strategies import Draw, array, booleans, integers
from torch_llm.functional import rotary as torch_rotary

ACTIVATIONS: dict[str, Callable[[Any, Any], Any]] = {
    "gelu": lambda F, x: (F.gelu(x), F.gelu(x, approximate="tanh"), F.gelu(x, approximate="none")),
    "silu": lambda F, x: F.silu(x),
    "relu": lambda F, x: F.relu(x),
    "tanh sigmoid": lambda F, x: (F.tanh(x), F.sigmoid(x)),
    "softmax": lambda F, x: (F.softmax(x, 1), F.softmax(x, dim=-1), F.log_softmax(x, dim=0)),
    "linear": lambda F, x: (F.linear(x, x[0]), F.linear(x, x[0], x[0, :, 0]), F.linear(x[0, 0], x[0]), x @ x[0].T),
    "layer_norm over one": lambda F, x: F.layer_norm(x, (5,), x[0, 0], x[0, 1], eps=1e-3),
    "layer_norm over two": lambda F, x: F.layer_norm(x, (4, 5), x[0], x[1]),
    "layer_norm over all": lambda F, x: F.layer_norm(x, x.shape),
    "layer_norm without bias": lambda F, x: (F.layer_norm(x, [5], x[0, 0]), F.layer_norm(x, [5], None, x[0, 0])),
    "rms_norm": lambda F, x: (F.rms_norm(x, (5,)), F.rms_norm(x, (4, 5), x[0], eps=1e-2), F.rms_norm(x, (5,), x[0, 0])),
    "mse": lambda F, x: [F.mse_loss(x, x.detach() * 2, reduction=r) for r in ("mean", "sum", "none")],
    "l1": lambda F, x: [F.l1_loss(x, x.detach() * 2, reduction=r) for r in ("mean", "sum", "none")],
}  # fmt: skip


@pytest.mark.parametrize("case", table(ACTIVATIONS))
def test_functions_equal_torch(case: Callable[[Any, Any], Any]) -> None:
    """某个函数的值或梯度与 torch 不同。"""
    same_gradient(lambda m, x: case(m.nn.functional, x), values(0, 3, 4, 5))


@given(data=st.data())
def test_cross_entropy_equals_torch(data: st.DataObject) -> None:
    """交叉熵的任一组参数（忽略、权重、平滑、归约、多维输入）与 torch 不同。"""
    draw = data.draw
    classes, rest = draw(st.integers(1, 5)), draw(st.lists(st.integers(1, 3), max_size=2))
    batch = draw(st.one_of(st.none(), st.integers(0 if not rest else 1, 4)))
    shape = (classes,) if batch is None else (batch, classes, *rest)
    target = integers(draw, shape[:0] if batch is None else (batch, *rest), 0, classes)
    ignore = draw(st.sampled_from([-100, 0, -1]))
    target = np.where(booleans(draw, target.shape), target, ignore) if draw(st.booleans()) else target
    weight = array(draw, (classes,), "positive", layout=False) if draw(st.booleans()) else None
    options = {
        "ignore_index": ignore,
        "reduction": draw(st.sampled_from(["mean", "sum", "none"])),
        "label_smoothing": draw(st.sampled_from([0.0, 0.1, 1.0])),
    }

    def run(m: Any, x: Any) -> Any:
        return m.nn.functional.cross_entropy(
            x, m.tensor(target), None if weight is None else m.tensor(weight), **options
        )

    with np.errstate(all="ignore"):
        same_gradient(run, array(draw, shape, layout=False), what=repr((shape, options, weight is not None)))


@given(data=st.data())
def test_nll_loss_equals_torch(data: st.DataObject) -> None:
    """负对数似然与 torch 不同。"""
    draw = data.draw
    n, classes = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    target = np.where(booleans(draw, (n,)), integers(draw, (n,), 0, classes), -100)
    target[0] = 0
    reduction = draw(st.sampled_from(["mean", "sum", "none"]))
    same_gradient(
        lambda m, x: m.nn.functional.nll_loss(x, m.tensor(target), reduction=reduction), array(draw, (n, classes))
    )


def _attention_shapes(draw: Draw) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], bool]:
    kv, group = draw(st.integers(1, 2)), draw(st.integers(1, 3))
    t, s, d, width = (draw(st.integers(1, 5)) for _ in range(4))
    lead = tuple(draw(st.lists(st.integers(1, 2), max_size=2)))
    if not lead and draw(st.booleans()):
        return (t, d), (s, d), (s, width), False
    return (*lead, kv * group, t, d), (*lead, kv, s, d), (*lead, kv, s, width), group > 1


@given(data=st.data())
def test_attention_equals_torch(data: st.DataObject) -> None:
    """注意力的任一种用法（因果、布尔或浮点掩码、整行遮住、GQA、缩放、二维输入）与 torch 不同。"""
    draw = data.draw
    q, k, v, gqa = _attention_shapes(draw)
    arrays = [array(draw, shape, layout=False) for shape in (q, k, v)]
    kind = draw(st.sampled_from(["none", "causal", "bool", "float"]))
    full = (*q[:-1], k[-2])
    mask_shape = full[-draw(st.integers(2, len(full))) :]
    mask = booleans(draw, mask_shape) if kind == "bool" else array(draw, mask_shape, layout=False)
    scale = draw(st.sampled_from([None, 0.3]))

    def run(m: Any) -> Any:
        leaves = [m.tensor(a, requires_grad=True) for a in arrays]
        y = m.nn.functional.scaled_dot_product_attention(
            *leaves,
            attn_mask=m.tensor(mask) if kind in ("bool", "float") else None,
            is_causal=kind == "causal",
            scale=scale,
            enable_gqa=gqa,
        )
        (y * y).sum().backward()
        return y, *(leaf.grad for leaf in leaves)

    same(run, what=repr((q, k, v, kind, mask_shape, scale)))


def test_attention_broadcasts_batches_as_torch_does() -> None:
    """K、V 的批轴长度为 1 时（共享的前缀），不同批的查询被混在一起。"""

    def run(m: Any) -> Any:
        q, k = m.tensor(values(0, 3, 2, 4, 5), requires_grad=True), m.tensor(values(1, 1, 2, 4, 5), requires_grad=True)
        y = m.nn.functional.scaled_dot_product_attention(q, k, k, is_causal=True)
        y.sin().sum().backward()
        return y, q.grad, k.grad

    same(run)


def test_a_float_mask_receives_its_gradient() -> None:
    """加在分数上的掩码是可学习的偏置：它的梯度断了。"""

    def run(m: Any, bias: Any) -> Any:
        q = m.tensor(values(0, 2, 2, 3, 4))
        return m.nn.functional.scaled_dot_product_attention(q, q, q, attn_mask=bias)

    same_gradient(run, values(1, 2, 3, 3))


def test_attention_dropout_is_unbiased() -> None:
    """注意力权重的 dropout 没有放大，或根本没有发生。"""
    tg.manual_seed(0)
    q, v = tg.zeros(1, 1, 400, 2), tg.ones(1, 1, 400, 1)
    y = tg.nn.functional.scaled_dot_product_attention(q, q, v, dropout_p=0.5)
    assert y.std().item() > 0.01
    assert abs(y.mean().item() - 1) < 0.01
    p1 = tg.nn.functional.scaled_dot_product_attention(q, q, v, dropout_p=0.5, is_causal=True)
    assert set(p1[0, 0, 0].tolist()) <= {0.0, 2.0}


@given(data=st.data())
def test_embedding_equals_torch(data: st.DataObject) -> None:
    """查表的值或梯度（重复的下标、padding_idx）与 torch 不同。"""
    draw = data.draw
    rows, width = draw(st.integers(1, 4)), draw(st.sampled_from([1, 3, 64]))
    ids = integers(draw, tuple(draw(st.lists(st.integers(0, 3), max_size=3))), 0, rows)
    padding = draw(st.one_of(st.none(), st.integers(-rows, rows - 1)))
    same_gradient(
        lambda m, w: m.nn.functional.embedding(m.tensor(ids), w, padding_idx=padding), array(draw, (rows, width))
    )


def test_one_hot_equals_torch() -> None:
    """独热的形状、类型或类别数与 torch 不同。"""
    same(lambda m: (m.nn.functional.one_hot(m.tensor([[0, 2], [1, 1]])), m.nn.functional.one_hot(m.tensor([1]), 4)))


@given(data=st.data())
def test_rotary_equals_torch_and_keeps_length(data: st.DataObject) -> None:
    """旋转编码的值或梯度不对，或改变了向量的长度。"""
    draw = data.draw
    lead = tuple(draw(st.lists(st.integers(1, 3), max_size=2)))
    t, half = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    x, angle = array(draw, (*lead, t, 2 * half)), array(draw, (t, half))

    def run(m: Any, leaf: Any) -> Any:
        function: Any = tg.nn.functional.rotary if m is tg else torch_rotary
        return function(leaf, m.tensor(np.cos(angle)), m.tensor(np.sin(angle)))

    same_gradient(run, x)
    y = run(tg, tg.tensor(x)).array
    np.testing.assert_allclose((y * y).sum(-1), (x * x).sum(-1), rtol=1e-12)


def test_rotary_refuses_a_learnable_angle() -> None:
    """角度表需要梯度时静默丢掉它的梯度。"""
    table_ = tg.ones(2, 2, requires_grad=True)
    with pytest.raises(RuntimeError, match="detach"):
        tg.nn.functional.rotary(tg.ones(2, 4), table_, table_)


MISTAKES: dict[str, Callable[[Any], Any]] = {
    "linear of another width": lambda m: m.nn.functional.linear(m.ones(2, 3), m.ones(4, 2)),
    "linear of two dtypes": lambda m: m.nn.functional.linear(m.ones(2, 2), m.ones(2, 2, dtype=m.float64)),
    "layer_norm of another shape": lambda m: m.nn.functional.layer_norm(m.ones(2, 3), (2,)),
    "rms_norm of another shape": lambda m: m.nn.functional.rms_norm(m.ones(2, 3), (2,)),
    "id beyond the table": lambda m: m.nn.functional.embedding(m.tensor([3]), m.ones(3, 2)),
    "negative id": lambda m: m.nn.functional.embedding(m.tensor([-1]), m.ones(3, 2)),
    "float ids": lambda m: m.nn.functional.embedding(m.ones(1), m.ones(3, 2)),
    "class beyond the logits": lambda m: m.nn.functional.cross_entropy(m.ones(2, 3), m.tensor([0, 3])),
    "negative class": lambda m: m.nn.functional.cross_entropy(m.ones(2, 3), m.tensor([0, -1])),
    "target of another length": lambda m: m.nn.functional.cross_entropy(m.ones(2, 3), m.tensor([0])),
    "target of another shape": lambda m: m.nn.functional.cross_entropy(m.ones(2, 3, 4), m.zeros(2, 3, dtype=m.int64)),
    "unknown reduction": lambda m: m.nn.functional.cross_entropy(m.ones(2, 3), m.tensor([0, 1]), reduction="average"),
    "unknown reduction of mse": lambda m: m.nn.functional.mse_loss(m.ones(1), m.ones(1), reduction="average"),
    "unknown gelu": lambda m: m.nn.functional.gelu(m.ones(1), approximate="erf"),
    "dropout above one": lambda m: m.nn.functional.dropout(m.ones(1), 1.5),
    "dropout below zero": lambda m: m.nn.functional.dropout(m.ones(1), -0.1),
    "heads that do not divide": lambda m: _attention(m, heads=3, kv=2, enable_gqa=True),
    "other heads without gqa": lambda m: _attention(m, heads=4, kv=2),
    "one_hot beyond": lambda m: m.nn.functional.one_hot(m.tensor([3]), 3),
    "one_hot negative": lambda m: m.nn.functional.one_hot(m.tensor([-1]), 3),
}  # fmt: skip


def _attention(m: Any, heads: int = 1, kv: int = 1, **options: Any) -> Any:
    q, k = m.ones(1, heads, 2, 2), m.ones(1, kv, 2, 2)
    return m.nn.functional.scaled_dot_product_attention(q, k, k, **options)


@pytest.mark.parametrize("mistake", table(MISTAKES))
def test_the_same_mistake_raises_the_same_kind_of_error(mistake: Callable[[Any], Any]) -> None:
    """用错的函数不报错，或报了 torch 不会报的那一类。"""
    same_error(mistake)


def test_a_mask_beside_is_causal_is_refused() -> None:
    """``attn_mask`` 与 ``is_causal`` 同用：torch 的各种后端做法不一，我们一律报错。"""
    with pytest.raises(RuntimeError, match="attn_mask"):
        _attention(tg, attn_mask=tg.ones(2, 2, dtype=tg.bool), is_causal=True)


def test_extreme_logits_stay_finite() -> None:
    """很大的 logits 使 softmax 或交叉熵上溢成 NaN。"""

    def run(m: Any, x: Any) -> Any:
        F = m.nn.functional
        return F.cross_entropy(x, m.tensor([0, 1])), F.softmax(x, -1), F.log_softmax(x, -1), x.logsumexp(-1)

    same_gradient(run, np.array([[1e4, -1e4, 0.0], [-1e300, 1e300, 5.0]]))
