"""损失：每个参数之下的值、两个输入的梯度、警告与报错都与 torch 相同；层把参数原样传给函数。"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_llm as tg
from parity_tests.engine.twins import ENGINES, both, same, same_gradient, table, values
from parity_tests.strategies import array, booleans, integers

REDUCTIONS = ("mean", "sum", "none")

PAIRS: dict[str, Callable[[Any, Any, Any, str], Any]] = {
    "mse": lambda F, x, t, r: (F.mse_loss(x, t, reduction=r), F.mse_loss(x, t, reduction=r, weight=t.exp())),
    "l1": lambda F, x, t, r: (F.l1_loss(x, t, reduction=r), F.l1_loss(x, t, reduction=r, weight=t.exp())),
    "smooth_l1": lambda F, x, t, r: [F.smooth_l1_loss(x, t, reduction=r, beta=b) for b in (1.0, 0.3, 0.0, 5)],
    "huber": lambda F, x, t, r: (F.huber_loss(x, t, r), F.huber_loss(x, t, reduction=r, delta=0.3, weight=t.exp())),
    "bce": lambda F, x, t, r: (
        F.binary_cross_entropy(x.sigmoid(), t.sigmoid(), reduction=r),
        F.binary_cross_entropy(x.sigmoid(), t.sigmoid(), t[0].exp().detach(), reduction=r),
    ),
    "bce with logits": lambda F, x, t, r: (
        F.binary_cross_entropy_with_logits(x * 30, t.sigmoid(), reduction=r),
        F.binary_cross_entropy_with_logits(
            x, t.sigmoid(), t[0].detach(), reduction=r, pos_weight=t[:, :1].exp().detach()
        ),
    ),
    "soft margin": lambda F, x, t, r: F.soft_margin_loss(x, t.sign().detach(), reduction=r),
    "kl": lambda F, x, t, r: (
        F.kl_div(x, t.softmax(-1), reduction=r), F.kl_div(x, t, reduction=r, log_target=True),
        F.kl_div(x, t, reduction="batchmean", log_target=True),
        F.kl_div(x[0, 0, 0], t[0, 0, 0].exp(), reduction="batchmean"),
    ),
    "poisson": lambda F, x, t, r: (
        F.poisson_nll_loss(x, t.exp(), reduction=r), F.poisson_nll_loss(x, 4 * t.exp(), True, True, reduction=r),
        F.poisson_nll_loss(x.exp(), t.exp(), log_input=False, eps=1e-3, reduction=r),
    ),
    "gaussian": lambda F, x, t, r: (
        F.gaussian_nll_loss(x, t, (x - t) ** 2, reduction=r), F.gaussian_nll_loss(x, t, 2.0, True, reduction=r),
        F.gaussian_nll_loss(x, t, t.relu(), eps=0.1, reduction=r),
        F.gaussian_nll_loss(x, t, t[..., 0].exp(), reduction=r), F.gaussian_nll_loss(x, t, t[:, :1].exp(), reduction=r),
    ),
    "hinge": lambda F, x, t, r: (
        F.hinge_embedding_loss(x, t.sign(), reduction=r), F.hinge_embedding_loss(x, t.sign(), 0.3, reduction=r),
    ),
    "ranking": lambda F, x, t, r: (
        F.margin_ranking_loss(x, t, t.sign(), reduction=r), F.margin_ranking_loss(x, x * t, t.sign(), 0.4, reduction=r),
    ),
    "cosine": lambda F, x, t, r: (
        F.cosine_embedding_loss(x[0], t[0], t[0, :, 0].sign(), reduction=r),
        F.cosine_embedding_loss(x[1], t[1], t[0, :, 0].sign(), 0.2, reduction=r),
        F.cosine_embedding_loss(x[0, 0], t[0, 0], t[0, 0, 0].sign(), reduction=r),
    ),
    "triplet": lambda F, x, t, r: [
        F.triplet_margin_loss(x[0], t[0], t[1], reduction=r),
        F.triplet_margin_loss(x, t, x * t, 2.0, 1, 0.1, reduction=r),
        F.triplet_margin_loss(x[0], t[0], t[1], swap=True, reduction=r),
        F.triplet_margin_with_distance_loss(x, t, x * t, reduction=r),
        F.triplet_margin_with_distance_loss(
            x, t, x * t, distance_function=lambda a, b: (a - b).abs().sum(-1), margin=3.0, swap=True, reduction=r
        ),
    ],
    "multilabel soft": lambda F, x, t, r: (
        F.multilabel_soft_margin_loss(x, t.sigmoid(), reduction=r),
        F.multilabel_soft_margin_loss(x, t.sigmoid(), t[0, 0].exp(), reduction=r),
    ),
}  # fmt: skip


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("case", table(PAIRS))
def test_losses_equal_torch(case: Callable[[Any, Any, Any, str], Any], reduction: str) -> None:
    """某个损失的值，或它对预测、对目标的梯度与 torch 不同。"""
    x, t = values(0, 2, 3, 4), values(1, 2, 3, 4)
    same_gradient(lambda m, leaf: case(m.nn.functional, leaf, m.tensor(t), reduction), x)
    same_gradient(lambda m, leaf: case(m.nn.functional, m.tensor(x) + leaf * 0.1, leaf, reduction), t)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("shape", [(), (0,), (0, 3)], ids=repr)
def test_losses_of_scalars_and_of_nothing_equal_torch(shape: tuple[int, ...], reduction: str) -> None:
    """零维或空的输入与 torch 不同。"""

    def run(m: Any, x: Any) -> Any:
        F, t = m.nn.functional, m.zeros(shape, dtype=m.float64)
        named = (F.mse_loss, F.l1_loss, F.smooth_l1_loss, F.huber_loss, F.soft_margin_loss, F.kl_div)
        more = (F.binary_cross_entropy_with_logits, F.poisson_nll_loss, F.hinge_embedding_loss)
        return [f(x, t, reduction=reduction) for f in named + more]

    same_gradient(run, values(0, *shape))


def test_kinks_follow_torchs_convention() -> None:
    """两段恰好相接处、间隔恰好用完处的梯度与 torch 不同。"""

    def run(m: Any, x: Any) -> Any:
        F, zero = m.nn.functional, m.zeros(5, dtype=m.float64)
        labels, first = m.tensor([1, 0, 2, -1, -1]), m.tensor(2)
        return [
            F.smooth_l1_loss(x, zero), F.huber_loss(x, zero, delta=2.0), F.l1_loss(x, zero),
            F.margin_ranking_loss(x, zero, zero + 1, margin=1.0), F.hinge_embedding_loss(x, zero - 1, margin=1.0),
            F.multi_margin_loss(x, first), F.multi_margin_loss(x, first, p=2), F.multilabel_margin_loss(x, labels),
        ]  # fmt: skip

    same_gradient(run, np.array([-2.0, -1.0, 0.0, 1.0, 2.0]))


@given(data=st.data())
def test_nll_loss_equals_torch(data: st.DataObject) -> None:
    """负对数似然的任一组参数（权重、忽略、归约、任意维数）与 torch 不同。"""
    draw = data.draw
    classes, rest = draw(st.integers(1, 4)), tuple(draw(st.lists(st.integers(1, 3), max_size=3)))
    single = not rest and draw(st.booleans())
    batch = draw(st.integers(0 if not rest else 1, 4))
    ignore = draw(st.sampled_from([-100, 0, -1]))
    target = integers(draw, () if single else (batch, *rest), 0, classes)
    target = np.where(booleans(draw, target.shape), target, ignore)
    weight = array(draw, (classes,), "positive", layout=False) if draw(st.booleans()) else None
    reduction = draw(st.sampled_from(REDUCTIONS))

    def run(m: Any, x: Any) -> Any:
        w = None if weight is None else m.tensor(weight)
        return m.nn.functional.nll_loss(x, m.tensor(target), w, ignore_index=ignore, reduction=reduction)

    shape = (classes,) if single else (batch, classes, *rest)
    with np.errstate(all="ignore"):
        same_gradient(run, array(draw, shape, layout=False), what=repr((shape, ignore, reduction, weight is not None)))


@given(data=st.data())
def test_cross_entropy_with_probabilities_equals_torch(data: st.DataObject) -> None:
    """目标是概率时的交叉熵（权重、平滑、归约、任意维数），值或对任一输入的梯度与 torch 不同。"""
    draw = data.draw
    shape = draw(st.sampled_from([(3,), (2, 3), (2, 3, 2), (1, 3, 2, 2), (0, 3)]))
    logits, target = (array(draw, shape, layout=False) for _ in range(2))
    weight = array(draw, (3,), "positive", layout=False) if draw(st.booleans()) else None
    options = {"reduction": draw(st.sampled_from(REDUCTIONS)), "label_smoothing": draw(st.sampled_from([0.0, 0.3]))}

    def run(m: Any, x: Any, t: Any) -> Any:
        w = None if weight is None else m.tensor(weight)
        return m.nn.functional.cross_entropy(x, t, w, **options)

    with np.errstate(all="ignore"):
        same_gradient(lambda m, x: run(m, x, m.tensor(target)), logits, what=repr((shape, options)))
        same_gradient(lambda m, t: run(m, m.tensor(logits), t), target, what=repr((shape, options)))


MIXED: dict[str, Callable[[Any, Any, Any], Any]] = {
    "pairs": lambda F, f, d: [g(f, d) for g in (F.mse_loss, F.l1_loss, F.smooth_l1_loss, F.huber_loss, F.kl_div)],
    "likelihoods": lambda F, f, d: [
        g(f, d) for g in (F.binary_cross_entropy_with_logits, F.soft_margin_loss, F.poisson_nll_loss)
    ],
    "weights": lambda F, f, d: (F.binary_cross_entropy(f, f, d), F.gaussian_nll_loss(f, d, f)),
    "margins": lambda F, f, d: (
        F.hinge_embedding_loss(f, d), F.margin_ranking_loss(f, d, f), F.triplet_margin_loss(f, d, f),
    ),
    "integers": lambda F, f, d: [
        g(f, d.long()) for g in (F.mse_loss, F.smooth_l1_loss, F.soft_margin_loss, F.hinge_embedding_loss)
    ],
    "whole numbers": lambda F, f, d: F.l1_loss(f.long(), d.long(), reduction="none"),
    "cosine": lambda F, f, d: (F.cosine_similarity(f, d, 0), F.cosine_similarity(f, d.long(), 0)),
}  # fmt: skip


@pytest.mark.parametrize("case", table(MIXED))
def test_mixed_dtypes_give_torchs_dtype(case: Callable[[Any, Any, Any], Any]) -> None:
    """预测与目标的类型不同时，结果的类型或值与 torch 不同。"""
    given = [0.5, 0.25, 0.75]
    same(lambda m: case(m.nn.functional, m.tensor(given), m.tensor(given, dtype=m.float64)), "float32")


def test_classes_may_be_bytes() -> None:
    """uint8 的类别号不被接受。"""

    def run(m: Any) -> Any:
        x, ids = m.tensor(values(0, 2, 3)), m.tensor([2, 0], dtype=m.uint8)
        return m.nn.functional.cross_entropy(x, ids), m.nn.functional.nll_loss(x, ids, reduction="none")

    same(run)


LINEAR: dict[str, Callable[[Any, Any, Any], Any]] = {
    "plain": lambda m, x, w: m.nn.functional.linear_cross_entropy(x, w, m.tensor([0, 2, 1])),
    "bias": lambda m, x, w: m.nn.functional.linear_cross_entropy(x, w, m.tensor([0, 2, 1]), linear_bias=w[:, 0]),
    "options": lambda m, x, w: m.nn.functional.linear_cross_entropy(
        x, w, m.tensor([0, 2, 1]), weight=w[:, 0].exp().detach(), ignore_index=1, reduction="sum", label_smoothing=0.1
    ),
    "one sample": lambda m, x, w: m.nn.functional.linear_cross_entropy(x[0], w, m.tensor(1), reduction="none"),
    "probabilities": lambda m, x, w: m.nn.functional.linear_cross_entropy(x, w, (x[:, :3] ** 2).detach()),
    "several places": lambda m, x, w: m.nn.functional.linear_cross_entropy(
        x, w.reshape(3, 1, 5).expand(3, 2, 5), m.tensor([[0, 1], [2, 2], [1, 0]]), reduction="none"
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", table(LINEAR))
def test_linear_cross_entropy_equals_torch(case: Callable[[Any, Any, Any], Any]) -> None:
    """全连接接交叉熵的值，或它对输入、对权重的梯度与 torch 不同。"""
    x, w = values(0, 3, 5), values(1, 3, 5)
    same_gradient(lambda m, leaf: case(m, leaf, m.tensor(w)), x)
    same_gradient(lambda m, leaf: case(m, m.tensor(x), leaf), w)


@given(data=st.data())
def test_chunks_change_nothing(data: st.DataObject) -> None:
    """分块的全连接交叉熵与 torch（也与不分块时）不同。"""
    draw = data.draw
    rows, classes, width = (draw(st.integers(1, 6)) for _ in range(3))
    target = np.where(booleans(draw, (rows,)), integers(draw, (rows,), 0, classes), -100)
    x, w, b = (array(draw, shape, layout=False) for shape in ((rows, width), (classes, width), (classes,)))
    method = draw(st.sampled_from([None, "auto", "aspect_ratio", "aspect_ratio:3"]))
    size = draw(st.integers(1, 8)) if method is None else None
    class_weight = abs(array(draw, (classes,), layout=False)) if draw(st.booleans()) else None
    reduction = draw(st.sampled_from(REDUCTIONS))

    def run(m: Any, leaf: Any) -> Any:
        given = None if class_weight is None else m.tensor(class_weight)
        options = m.nn.LinearCrossEntropyOptions(batch_chunk_size=size, chunking_method=method)
        loss = m.nn.functional.linear_cross_entropy
        arguments = {"linear_bias": m.tensor(b) * leaf[0, 0], "weight": given, "reduction": reduction}
        split = loss(leaf, m.tensor(w) * leaf.sum(), m.tensor(target), **arguments, options=options)
        return split, loss(leaf, m.tensor(w) * leaf.sum(), m.tensor(target), **arguments)

    with np.errstate(all="ignore"):
        same_gradient(run, x, what=repr((size, method, reduction, class_weight is None, target)))


def test_token_loss_overwrites_what_is_still_needed() -> None:
    """图留着时再反传一次，梯度不是原来的两倍：第一次把 logits 改写了。"""
    x, w = (tg.tensor(values(i, 3, 5), requires_grad=True) for i in (0, 1))
    loss = tg.nn.functional.token_loss(x, w, tg.tensor([0, -100, 2]))
    loss.backward(retain_graph=True)
    first = [p.grad.numpy().copy() for p in (x, w)]
    loss.backward()
    for p, g in zip((x, w), first, strict=True):
        np.testing.assert_allclose(p.grad.numpy(), 2 * g, rtol=1e-6)
    with pytest.raises(IndexError, match="out of bounds"):
        tg.nn.functional.token_loss(x, w, tg.tensor([0, 1, 3]))


@given(data=st.data())
def test_margins_between_classes_equal_torch(data: st.DataObject) -> None:
    """多分类、多标签的间隔损失与 torch 不同。"""
    draw = data.draw
    classes, batch = draw(st.integers(1, 4)), draw(st.sampled_from([None, 1, 3]))
    lead = () if batch is None else (batch,)
    weight = array(draw, (classes,), "positive", layout=False) if draw(st.booleans()) else None
    options = {"p": draw(st.sampled_from([1, 2])), "margin": draw(st.sampled_from([1.0, 0.3]))}
    reduction = draw(st.sampled_from(REDUCTIONS))
    target, labels = integers(draw, lead, 0, classes), integers(draw, (*lead, classes), -1, classes)

    def run(m: Any, x: Any) -> Any:
        w = None if weight is None else m.tensor(weight)
        return (
            m.nn.functional.multi_margin_loss(x, m.tensor(target), weight=w, reduction=reduction, **options),
            m.nn.functional.multilabel_margin_loss(x, m.tensor(labels), reduction=reduction),
        )

    with np.errstate(all="ignore"):
        same_gradient(run, array(draw, (*lead, classes), layout=False), what=repr((lead, classes, options, reduction)))


@given(data=st.data())
def test_ctc_loss_equals_torch(data: st.DataObject) -> None:
    """CTC 损失的值，或对 logits、对对数概率的梯度与 torch 不同：重复的标签、长短不一、对不齐的序列都算。"""
    draw = data.draw
    steps, batch, classes, width = (draw(st.integers(1, n)) for n in (6, 3, 4, 3))
    blank = draw(st.integers(0, classes - 1))
    others = [c for c in range(classes) if c != blank] or [blank]
    targets = np.array(others)[integers(draw, (batch, width), 0, len(others))]
    input_lengths, target_lengths = integers(draw, (batch,), 1, steps + 1), integers(draw, (batch,), 0, width + 1)
    if len(others) == 1 and others[0] == blank:
        target_lengths[:] = 0
    options = {"blank": blank, "reduction": draw(st.sampled_from(REDUCTIONS)), "zero_infinity": True}
    flat = np.concatenate([row[:n] for row, n in zip(targets, target_lengths, strict=True)])

    def run(m: Any, x: Any) -> Any:
        lengths = (m.tensor(input_lengths), m.tensor(target_lengths))
        ctc = m.nn.functional.ctc_loss
        both_ways = [ctc(x.log_softmax(2), m.tensor(t), *lengths, **options) for t in (targets, flat)]
        return [*both_ways, ctc(x, m.tensor(targets), *(n.tolist() for n in lengths), **options)]

    what = repr((options, input_lengths, target_lengths, targets))
    same_gradient(run, array(draw, (steps, batch, classes), layout=False), what=what)


def test_ctc_of_one_sequence_and_of_no_alignment() -> None:
    """没有批轴的写法不行，或对不齐的序列不是 inf。"""

    def run(m: Any) -> Any:
        ctc, x = m.nn.functional.ctc_loss, m.tensor(values(0, 4, 3)).log_softmax(1)
        one = [ctc(x, m.tensor([1, 2]), m.tensor(4), m.tensor(2), reduction=r) for r in REDUCTIONS]
        return [*one, ctc(x[:2], m.tensor([1, 1]), m.tensor(2), m.tensor(2))]

    same(run)


BROADCAST = ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss")


@pytest.mark.parametrize("name", BROADCAST)
def test_other_sizes_broadcast_with_a_warning(name: str) -> None:
    """形状不同的目标没有警告，或广播的结果、梯度与 torch 不同。"""
    for m in ENGINES:
        with pytest.warns(UserWarning, match="target size"):
            getattr(m.nn.functional, name)(m.ones(3, 1), m.zeros(3))
    same_gradient(lambda m, x: getattr(m.nn.functional, name)(x, m.tensor(values(1, 3))), values(0, 3, 1))


def test_the_mean_of_kl_warns() -> None:
    """``kl_div`` 的 ``"mean"`` 不是数学上的 KL 散度，却没有警告。"""
    for m in ENGINES:
        with pytest.warns(UserWarning, match="batchmean"):
            m.nn.functional.kl_div(m.zeros(2, 2), m.ones(2, 2))


@pytest.mark.parametrize("cutoffs", [[3], [2, 5], [1, 2, 9]], ids=repr)
@pytest.mark.parametrize("bias", [False, True])
def test_adaptive_softmax_equals_torch(cutoffs: list[int], bias: bool) -> None:
    """自适应 softmax 的初值、打印、对数概率、损失、梯度或预测与 torch 不同。"""

    def run(m: Any, x: Any) -> Any:
        m.manual_seed(9)
        layer = m.nn.AdaptiveLogSoftmaxWithLoss(8, 10, cutoffs, div_value=2.0, head_bias=bias, dtype=m.float64)
        output, loss = layer(x, m.tensor([0, 9, 4, 2, 1, 9]))
        few = layer(x[:2], m.tensor([0, 0])), layer(x[0], m.tensor(9))
        (loss * 2).backward(retain_graph=True)
        grads = [p.grad.clone() for p in layer.parameters()]
        return [output, loss, *few[0], *few[1], layer.log_prob(x), layer.predict(x), layer.predict(x[:1]), *grads]

    same_gradient(run, values(0, 6, 8))
    ours, theirs = both(lambda m: repr(m.nn.AdaptiveLogSoftmaxWithLoss(8, 10, cutoffs)))
    assert ours == theirs
