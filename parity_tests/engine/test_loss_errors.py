"""损失用错时报的错与 torch 同类；损失的层打印、登记、传参与 torch 相同。"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from parity_tests.engine.twins import ENGINES, both, same_error, same_gradient, table, values

UNKNOWN = (
    "mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "binary_cross_entropy", "soft_margin_loss", "kl_div",
    "binary_cross_entropy_with_logits", "poisson_nll_loss", "hinge_embedding_loss", "multilabel_soft_margin_loss",
)  # fmt: skip


def _ids(m: Any, *ids: int) -> Any:
    return m.tensor(list(ids))


MISTAKES: dict[str, Callable[[Any], Any]] = {
    **{f"unknown reduction of {name}": lambda m, name=name: getattr(m.nn.functional, name)(  # type: ignore[misc]
        m.ones(2, 2), m.ones(2, 2), reduction="average") for name in UNKNOWN},
    "unknown reduction of nll": lambda m: m.nn.functional.nll_loss(m.ones(2, 3), _ids(m, 0, 1), reduction="average"),
    "unknown reduction of gaussian": lambda m: m.nn.functional.gaussian_nll_loss(
        m.ones(2), m.ones(2), m.ones(2), reduction="average"),
    "integers in mse": lambda m: m.nn.functional.mse_loss(_ids(m, 1, 2), _ids(m, 3, 4)),
    "weight of another size": lambda m: m.nn.functional.mse_loss(m.ones(2), m.ones(2), weight=m.ones(1)),
    "huber weight of another size": lambda m: m.nn.functional.huber_loss(m.ones(2), m.ones(2), weight=m.ones(1)),
    "negative beta": lambda m: m.nn.functional.smooth_l1_loss(m.ones(2), m.ones(2), beta=-1.0),
    "delta of zero": lambda m: m.nn.functional.huber_loss(m.ones(2), m.ones(2), delta=0.0),
    "delta of text": lambda m: m.nn.HuberLoss(delta="1"),
    "probability above one": lambda m: m.nn.functional.binary_cross_entropy(m.full((2,), 1.5), m.ones(2)),
    "target above one": lambda m: m.nn.functional.binary_cross_entropy(m.full((2,), 0.5), m.full((2,), 2.0)),
    "bce of another size": lambda m: m.nn.functional.binary_cross_entropy(m.ones(2), m.ones(2, 1)),
    "bce of another dtype": lambda m: m.nn.functional.binary_cross_entropy(m.ones(2), m.ones(2, dtype=m.float64)),
    "logits of another size": lambda m: m.nn.functional.binary_cross_entropy_with_logits(m.ones(2), m.ones(2, 1)),
    "negative variance": lambda m: m.nn.functional.gaussian_nll_loss(m.ones(2), m.ones(2), -m.ones(2)),
    "negative number as variance": lambda m: m.nn.functional.gaussian_nll_loss(m.ones(2), m.ones(2), -1.0),
    "variance of another size": lambda m: m.nn.functional.gaussian_nll_loss(m.ones(2, 3), m.ones(2, 3), m.ones(3, 2)),
    "ranking of other dimensions": lambda m: m.nn.functional.margin_ranking_loss(m.ones(2), m.ones(2), m.ones(2, 1)),
    "cosine of a matrix target": lambda m: m.nn.functional.cosine_embedding_loss(
        m.ones(2, 3), m.ones(2, 3), m.ones(2, 3)),
    "cosine of other dimensions": lambda m: m.nn.functional.cosine_embedding_loss(m.ones(3), m.ones(3), m.ones(2)),
    "triplet margin of zero": lambda m: m.nn.functional.triplet_margin_loss(m.ones(2), m.ones(2), m.ones(2), margin=0),
    "triplet layer": lambda m: m.nn.TripletMarginLoss(margin=-1.0),
    "triplet of other dimensions": lambda m: m.nn.functional.triplet_margin_loss(m.ones(2), m.ones(1, 2), m.ones(2)),
    "margin power": lambda m: m.nn.functional.multi_margin_loss(m.ones(2, 3), _ids(m, 0, 1), p=3),
    "margin power of the layer": lambda m: m.nn.MultiMarginLoss(p=0),
    "margin weight matrix": lambda m: m.nn.functional.multi_margin_loss(
        m.ones(2, 3), _ids(m, 0, 1), weight=m.ones(1, 3)),
    "margin weight length": lambda m: m.nn.functional.multi_margin_loss(m.ones(2, 3), _ids(m, 0, 1), weight=m.ones(2)),
    "margin class beyond": lambda m: m.nn.functional.multi_margin_loss(m.ones(2, 3), _ids(m, 0, 3)),
    "margin other batch": lambda m: m.nn.functional.multi_margin_loss(m.ones(2, 3), _ids(m, 0)),
    "labels beyond": lambda m: m.nn.functional.multilabel_margin_loss(m.ones(1, 2), m.tensor([[0, 2]])),
    "labels of another size": lambda m: m.nn.functional.multilabel_margin_loss(m.ones(1, 2), _ids(m, 0, 1)),
    "integers in bce with logits": lambda m: m.nn.functional.binary_cross_entropy_with_logits(m.ones(2), _ids(m, 0, 1)),
    "integers in kl": lambda m: m.nn.functional.kl_div(m.ones(2), _ids(m, 0, 1), reduction="sum"),
    "integers in l1": lambda m: m.nn.functional.l1_loss(_ids(m, 0, 1), _ids(m, 1, 1)),
    "integers in nll": lambda m: m.nn.functional.nll_loss(m.ones(2, 3, dtype=m.int64), _ids(m, 0, 1)),
    "integers in cross entropy": lambda m: m.nn.functional.cross_entropy(m.ones(2, 3, dtype=m.int64), _ids(m, 0, 1)),
    "cross entropy of a scalar": lambda m: m.nn.functional.cross_entropy(m.tensor(1.0), m.tensor(0)),
    "short class ids": lambda m: m.nn.functional.cross_entropy(m.ones(2, 3), _ids(m, 0, 1).to(m.int32)),
    "margin of short ids": lambda m: m.nn.functional.multi_margin_loss(m.ones(2, 3), _ids(m, 0, 1).to(m.int32)),
    "wider class weight": lambda m: m.nn.functional.cross_entropy(
        m.ones(2, 3), _ids(m, 0, 1), m.ones(3, dtype=m.float64)),
    "wider margin weight": lambda m: m.nn.functional.multi_margin_loss(
        m.ones(2, 3), _ids(m, 0, 1), weight=m.ones(3, dtype=m.float64)),
    "ctc lengths of floats": lambda m: m.nn.functional.ctc_loss(
        m.zeros(3, 1, 4), m.tensor([[1]]), m.tensor([3.0]), _ids(m, 1)),
    "nll of a scalar": lambda m: m.nn.functional.nll_loss(m.tensor(1.0), m.tensor(0)),
    "nll of another batch": lambda m: m.nn.functional.nll_loss(m.ones(2, 3), _ids(m, 0)),
    "nll class beyond": lambda m: m.nn.functional.nll_loss(m.ones(2, 3), _ids(m, 0, 3)),
    "nll of float targets": lambda m: m.nn.functional.nll_loss(m.ones(2, 3), m.ones(2)),
    "nll weight length": lambda m: m.nn.functional.nll_loss(m.ones(2, 3), _ids(m, 0, 1), m.ones(2)),
    "cross entropy of integer probabilities": lambda m: m.nn.functional.cross_entropy(
        m.ones(2, 3), m.ones(2, 3, dtype=m.int64)),
    "probabilities and ignore_index": lambda m: m.nn.functional.cross_entropy(
        m.ones(2, 3), m.ones(2, 3), ignore_index=0),
    "smoothing above one": lambda m: m.nn.functional.cross_entropy(m.ones(2, 3), _ids(m, 0, 1), label_smoothing=1.5),
    "linear of another width": lambda m: m.nn.functional.linear_cross_entropy(
        m.ones(2, 3), m.ones(4, 2), _ids(m, 0, 1)),
    "linear bias length": lambda m: m.nn.functional.linear_cross_entropy(
        m.ones(2, 3), m.ones(4, 3), _ids(m, 0, 1), linear_bias=m.ones(3)),
    "linear probabilities and ignore_index": lambda m: m.nn.functional.linear_cross_entropy(
        m.ones(2, 3), m.ones(4, 3), m.ones(2, 4), ignore_index=0),
    "chunk of zero rows": lambda m: m.nn.LinearCrossEntropyOptions(batch_chunk_size=0),
    "unknown way to chunk": lambda m: m.nn.LinearCrossEntropyOptions(chunking_method="aspect_ratio:0"),
    "two sizes of chunks": lambda m: m.nn.functional.linear_cross_entropy(
        m.ones(8, 2), m.ones(2, 2), m.zeros(8, dtype=m.int64),
        options=m.nn.LinearCrossEntropyOptions(batch_chunk_size=3, chunking_method="aspect_ratio")),
    "linear layer smoothing": lambda m: m.nn.LinearCrossEntropyLoss(3, 4, label_smoothing=2.0),
    "linear layer weight": lambda m: m.nn.LinearCrossEntropyLoss(3, 4, weight=m.ones(3)),
    "adaptive without cutoffs": lambda m: m.nn.AdaptiveLogSoftmaxWithLoss(4, 5, []),
    "adaptive cutoffs beyond": lambda m: m.nn.AdaptiveLogSoftmaxWithLoss(4, 5, [2, 5]),
    "adaptive cutoffs in the wrong order": lambda m: m.nn.AdaptiveLogSoftmaxWithLoss(4, 5, [3, 2]),
    "adaptive class beyond": lambda m: m.nn.AdaptiveLogSoftmaxWithLoss(4, 5, [2])(m.ones(1, 4), _ids(m, 5)),
    "adaptive other batch": lambda m: m.nn.AdaptiveLogSoftmaxWithLoss(4, 5, [2])(m.ones(2, 4), _ids(m, 1)),
    "ctc length beyond": lambda m: m.nn.functional.ctc_loss(m.zeros(3, 1, 4), m.tensor([[1]]), _ids(m, 4), _ids(m, 1)),
    "ctc blank beyond": lambda m: m.nn.functional.ctc_loss(
        m.zeros(3, 1, 4), m.tensor([[1]]), _ids(m, 3), _ids(m, 1), 4),
    "ctc other batch": lambda m: m.nn.functional.ctc_loss(m.zeros(3, 2, 4), m.tensor([[1]]), _ids(m, 3), _ids(m, 1)),
}  # fmt: skip


@pytest.mark.parametrize("mistake", table(MISTAKES))
def test_the_same_mistake_raises_the_same_kind_of_error(mistake: Callable[[Any], Any]) -> None:
    """用错的损失不报错，或报了 torch 不会报的那一类。"""
    same_error(mistake)


def _classes(m: Any) -> Any:
    return m.tensor([0, 2, 1, 0])


def _weight(m: Any) -> Any:
    return m.tensor([1.0, 2.0, 0.5], dtype=m.float64)


LAYERS: dict[str, Callable[[Any, Any, Any], Any]] = {
    "MSELoss": lambda m, x, t: m.nn.MSELoss(reduction="sum")(x, t),
    "L1Loss": lambda m, x, t: m.nn.L1Loss(reduction="none")(x, t),
    "SmoothL1Loss": lambda m, x, t: m.nn.SmoothL1Loss(beta=0.3)(x, t),
    "HuberLoss": lambda m, x, t: m.nn.HuberLoss("sum", 0.3)(x, t),
    "BCELoss": lambda m, x, t: m.nn.BCELoss(_weight(m))(x.sigmoid(), t.sigmoid()),
    "BCEWithLogitsLoss": lambda m, x, t: m.nn.BCEWithLogitsLoss(pos_weight=_weight(m), reduction="sum")(x, t.sigmoid()),
    "SoftMarginLoss": lambda m, x, t: m.nn.SoftMarginLoss()(x, t.sign()),
    "KLDivLoss": lambda m, x, t: m.nn.KLDivLoss(reduction="batchmean", log_target=True)(x, t),
    "PoissonNLLLoss": lambda m, x, t: m.nn.PoissonNLLLoss(False, True, eps=0.1)(x.exp(), 3 * t.exp()),
    "GaussianNLLLoss": lambda m, x, t: m.nn.GaussianNLLLoss(full=True, eps=0.1, reduction="none")(x, t, t.relu()),
    "CrossEntropyLoss": lambda m, x, t: m.nn.CrossEntropyLoss(
        _weight(m), ignore_index=1, reduction="sum", label_smoothing=0.2)(x, _classes(m)),
    "NLLLoss": lambda m, x, t: m.nn.NLLLoss(_weight(m), ignore_index=2, reduction="sum")(x, _classes(m)),
    "LinearCrossEntropyLoss": lambda m, x, t: (
        m.manual_seed(1),
        m.nn.LinearCrossEntropyLoss(3, 2, out_features=(2,), bias=True, dtype=m.float64, label_smoothing=0.1)(
            x, m.tensor([[0, 1], [1, 1], [0, 0], [1, 0]])),
    )[1],
    "CTCLoss": lambda m, x, t: m.nn.CTCLoss(2, "sum", True)(
        x.log_softmax(1), m.tensor([1, 0]), m.tensor(4), m.tensor(2)),
    "MarginRankingLoss": lambda m, x, t: m.nn.MarginRankingLoss(0.3, reduction="sum")(x, t, t.sign()),
    "HingeEmbeddingLoss": lambda m, x, t: m.nn.HingeEmbeddingLoss(0.3)(x, t.sign()),
    "CosineEmbeddingLoss": lambda m, x, t: m.nn.CosineEmbeddingLoss(0.1)(x, t, t[:, 0].sign()),
    "MultiMarginLoss": lambda m, x, t: m.nn.MultiMarginLoss(2, 0.5, _weight(m))(x, _classes(m)),
    "MultiLabelMarginLoss": lambda m, x, t: m.nn.MultiLabelMarginLoss()(x[:1], m.tensor([[2, 0, -1]])),
    "MultiLabelSoftMarginLoss": lambda m, x, t: m.nn.MultiLabelSoftMarginLoss(_weight(m))(x, t.sigmoid()),
    "TripletMarginLoss": lambda m, x, t: m.nn.TripletMarginLoss(2.0, 1, 0.1, True, reduction="sum")(x, t, x * t),
    "TripletMarginWithDistanceLoss": lambda m, x, t: m.nn.TripletMarginWithDistanceLoss(
        distance_function=m.nn.CosineSimilarity(), margin=0.3, swap=True)(x, t, x * t),
    "PairwiseDistance": lambda m, x, t: m.nn.PairwiseDistance(1, 0.1, True)(x, t),
    "CosineSimilarity": lambda m, x, t: m.nn.CosineSimilarity(0, 0.1)(x, t),
}  # fmt: skip


@pytest.mark.parametrize("case", table(LAYERS))
def test_layers_pass_their_parameters_on(case: Callable[[Any, Any, Any], Any]) -> None:
    """损失的层漏传或传错了参数。"""
    same_gradient(lambda m, x: case(m, x, m.tensor(values(1, 4, 3))), values(0, 4, 3))


def test_options_that_cannot_be_used_warn() -> None:
    """分块不适用时没有像 torch 那样警告。"""
    for m in ENGINES:
        options = m.nn.LinearCrossEntropyOptions(batch_chunk_size=1)
        with pytest.warns(UserWarning, match="options"):
            m.nn.functional.linear_cross_entropy(
                m.ones(2, 3), m.ones(4, 3), _ids(m, 0, 1), label_smoothing=0.1, options=options
            )


def test_layers_print_and_register_as_in_torch() -> None:
    """损失的层打印的样子，或登记的权重与 torch 不同。"""

    def run(m: Any) -> Any:
        nn, w = m.nn, m.ones(3)
        plain = [getattr(nn, name)() for name in sorted(LAYERS) if name != "LinearCrossEntropyLoss"] + [
            nn.LinearCrossEntropyLoss(3, 2)
        ]
        weighted = [nn.CrossEntropyLoss(w), nn.BCEWithLogitsLoss(w, pos_weight=w), nn.MultiMarginLoss(weight=w)]
        return [repr(layer) for layer in plain], [list(layer.state_dict()) for layer in weighted]

    ours, theirs = both(run)
    assert ours == theirs
