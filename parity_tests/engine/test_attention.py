"""注意力与旋转编码：每一种用法的值与梯度都与 torch 相同。dropout 在 ``test_dropout.py``。"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_llm as tg
from parity_tests.engine.twins import same, same_error, same_gradient, table, values
from parity_tests.strategies import Draw, array, booleans
from torch_llm.functional import rotary as torch_rotary


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
    y = run(tg, tg.tensor(x.copy())).array
    np.testing.assert_allclose((y * y).sum(-1), (x * x).sum(-1), rtol=1e-12)


def test_rotary_refuses_a_learnable_angle() -> None:
    """角度表需要梯度时静默丢掉它的梯度。"""
    table_ = tg.ones(2, 2, requires_grad=True)
    with pytest.raises(RuntimeError, match="detach"):
        tg.nn.functional.rotary(tg.ones(2, 4), table_, table_)


CORNERS: dict[str, Callable[[Any, Any], Any]] = {
    "no queries": lambda attend, x: attend(x[:, :, :0], x, x),
    "no keys": lambda attend, x: attend(x, x[:, :, :0], x[:, :, :0]),
    "no keys, causal": lambda attend, x: attend(x, x[:, :, :0], x[:, :, :0], is_causal=True),
    "no batch": lambda attend, x: attend(x[:0], x[:0], x[:0]),
    "no width": lambda attend, x: attend(x[..., :0], x[..., :0], x),
    "no values": lambda attend, x: attend(x, x, x[..., :0]),
    "one head for all": lambda attend, x: attend(x, x[:, :1], x[:, :1]),
    "one head of values": lambda attend, x: attend(x, x, x[:, :1]),
    "shared keys": lambda attend, x: attend(x, x[0], x[0], is_causal=True),
    "groups of other sizes": lambda attend, x: attend(x, x[:, :2], x[:, :1], enable_gqa=True),
    "groups without a batch": lambda attend, x: attend(x[0], x[0, :2], x[0, :2], enable_gqa=True, is_causal=True),
    "scale of zero": lambda attend, x: attend(x, x, x, scale=0.0),
    "negative scale": lambda attend, x: attend(x, x, x, scale=-2.0),
    "float mask of one row": lambda attend, x: attend(x, x, x, x[0, 0, :1, :3].detach()),
    "nothing visible": lambda attend, x: attend(x, x, x, attn_mask=x[0, 0, :, :3].detach() > 99),
}  # fmt: skip


@pytest.mark.parametrize("case", table(CORNERS))
def test_attention_of_unusual_shapes_equals_torch(case: Callable[[Any, Any], Any]) -> None:
    """空的轴、广播的头与批、不成组的头，或少见的缩放与掩码，结果或梯度与 torch 不同。"""
    same_gradient(lambda m, x: case(m.nn.functional.scaled_dot_product_attention, x), values(0, 2, 4, 3, 5))


def test_a_float32_mask_does_not_widen_the_result() -> None:
    """掩码的类型改变了结果的类型。"""

    def run(m: Any) -> Any:
        x, mask = m.tensor(values(0, 2, 3, 4)), m.tensor([[0.0, -1.0, 2.0]], dtype=m.float32)
        return m.nn.functional.scaled_dot_product_attention(x, x, x, mask)

    same(run)


def _attention(m: Any, heads: int = 1, kv: int = 1, **options: Any) -> Any:
    q, k = m.ones(1, heads, 2, 2), m.ones(1, kv, 2, 2)
    return m.nn.functional.scaled_dot_product_attention(q, k, k, **options)


def _attend(m: Any, *shapes: tuple[int, ...], **options: Any) -> Any:
    return m.nn.functional.scaled_dot_product_attention(*[m.ones(shape) for shape in shapes], **options)


MISTAKES: dict[str, Callable[[Any], Any]] = {
    "heads that do not divide": lambda m: _attention(m, heads=3, kv=2, enable_gqa=True),
    "other heads without gqa": lambda m: _attention(m, heads=4, kv=2),
    "vectors": lambda m: _attend(m, (2,), (2,), (2,)),
    "other widths": lambda m: _attend(m, (3, 2), (3, 4), (3, 4)),
    "other lengths": lambda m: _attend(m, (3, 2), (3, 2), (4, 2)),
    "two dtypes": lambda m: m.nn.functional.scaled_dot_product_attention(
        m.ones(2, 2), m.ones(2, 2, dtype=m.float64), m.ones(2, 2)),
    "integers": lambda m: m.nn.functional.scaled_dot_product_attention(*[m.ones(2, 2, dtype=m.int64)] * 3),
    "integer mask": lambda m: _attention(m, attn_mask=m.ones(2, 2, dtype=m.int64)),
    "wider mask": lambda m: _attention(m, attn_mask=m.ones(2, 2, dtype=m.float64)),
    "mask of another size": lambda m: _attention(m, attn_mask=m.ones(2, 3)),
    "mask with a batch of its own": lambda m: _attend(
        m, (3, 2), (3, 2), (3, 2), attn_mask=m.ones(1, 3, 3, dtype=m.bool)),
    "dropout above one": lambda m: _attention(m, dropout_p=1.5),
    "scale by position": lambda m: m.nn.functional.scaled_dot_product_attention(
        *[m.ones(2, 2)] * 3, None, 0.0, False, 0.5),
}  # fmt: skip


@pytest.mark.parametrize("mistake", table(MISTAKES))
def test_the_same_mistake_raises_the_same_kind_of_error(mistake: Callable[[Any], Any]) -> None:
    """用错的注意力不报错，或报了 torch 不会报的那一类。"""
    same_error(mistake)


def test_a_mask_beside_is_causal_is_refused() -> None:
    """``attn_mask`` 与 ``is_causal`` 同用：torch 的各种后端做法不一，我们一律报错。"""
    with pytest.raises(RuntimeError, match="attn_mask"):
        _attention(tg, attn_mask=tg.ones(2, 2, dtype=tg.bool), is_causal=True)
