"""剪枝、融合与计时：``nn.utils.prune``、``nn.utils.fusion`` 与 torch 相同，``utils.benchmark`` 报得出数。"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch.nn.utils.prune
import torch.utils.benchmark  # noqa: F401  torch 自己不加载这两个

import tinygrad_llm as tg
from parity_tests.engine.twins import ENGINES, same, same_error, table

Prune = Callable[[Any, Any, Any], Any]
"""``(m, prune, 层)``。"""


def _layer(m: Any) -> Any:
    m.manual_seed(0)
    return m.nn.Linear(6, 4)


def _scores(m: Any) -> Any:
    return m.arange(24.0).reshape(4, 6)


PRUNED: dict[str, Prune] = {
    "nothing": lambda m, prune, layer: prune.identity(layer, "weight"),
    "at random": lambda m, prune, layer: prune.random_unstructured(layer, "weight", amount=0.3),
    "a number at random": lambda m, prune, layer: prune.random_unstructured(layer, "bias", 2),
    "the smallest": lambda m, prune, layer: prune.l1_unstructured(layer, "weight", amount=0.5),
    "none of the smallest": lambda m, prune, layer: prune.l1_unstructured(layer, "weight", amount=0),
    "the least important": lambda m, prune, layer: prune.l1_unstructured(layer, "weight", 5, _scores(m)),
    "rows at random": lambda m, prune, layer: prune.random_structured(layer, "weight", amount=2, dim=0),
    "the smallest columns": lambda m, prune, layer: prune.ln_structured(layer, "weight", amount=0.5, n=2, dim=1),
    "the smallest rows": lambda m, prune, layer: prune.ln_structured(layer, "weight", 1, float("inf"), -2),
    "by a mask": lambda m, prune, layer: prune.custom_from_mask(layer, "weight", _scores(m) % 2),
    "twice": lambda m, prune, layer: prune.l1_unstructured(
        prune.random_unstructured(layer, "weight", 0.25), "weight", 0.5),
    "rows, then elements": lambda m, prune, layer: prune.l1_unstructured(
        prune.ln_structured(layer, "weight", 1, 1, 0), "weight", 6),
    "elements, then rows, then elements": lambda m, prune, layer: prune.random_unstructured(prune.ln_structured(
        prune.l1_unstructured(layer, "weight", 6), "weight", 0.5, 2, 0), "weight", 3),
}  # fmt: skip


@pytest.mark.parametrize("cut", table(PRUNED))
def test_pruning_is_not_torchs(cut: Prune) -> None:
    """掩码、剪过的参数、前向、梯度、``state_dict`` 的键，或去掉掩码之后与 torch 不同。"""

    def run(m: Any) -> Any:
        prune, layer = m.nn.utils.prune, _layer(m)
        m.manual_seed(1)
        assert cut(m, prune, layer) is layer
        x = m.arange(12.0).reshape(2, 6) - 5
        layer(x).square().sum().backward()
        grads = [p.grad for p in layer.parameters()]
        keys, pruned = list(layer.state_dict()), prune.is_pruned(layer)
        name = "bias" if "bias_orig" in keys else "weight"
        shown = [getattr(layer, name).detach(), getattr(layer, f"{name}_mask"), layer(x).detach()]
        prune.remove(layer, name)
        return [*shown, getattr(layer, name), layer(x)], grads, (keys, list(layer.state_dict()), pruned)

    same(run, "float32")


def test_global_pruning_is_not_torchs() -> None:
    """几个层一起剪，剪去的元素与 torch 不同。"""

    def run(m: Any) -> Any:
        prune, model = m.nn.utils.prune, m.nn.Sequential(_layer(m), m.nn.ReLU(), m.nn.Linear(4, 3))
        pairs = [(model[0], "weight"), (model[2], "weight")]
        prune.global_unstructured(pairs, pruning_method=prune.L1Unstructured, amount=0.4)
        first = [model[i].weight_mask.clone() for i in (0, 2)]
        scores = {pairs[0]: _scores(m)}
        prune.global_unstructured(pairs, prune.RandomUnstructured, importance_scores=scores, amount=5)
        return first, [model[i].weight_mask for i in (0, 2)], model(m.ones(1, 6)), prune.is_pruned(model)

    same(run, "float32")


def test_a_method_of_ones_own_does_not_work() -> None:
    """自己写的剪枝办法用不了，或不能单独用在一个张量上。"""

    def run(m: Any) -> Any:
        prune = m.nn.utils.prune

        class EveryOther(prune.BasePruningMethod):  # type: ignore[misc, name-defined]
            """隔一个剪一个。"""

            PRUNING_TYPE = "unstructured"

            def compute_mask(self, t: Any, default_mask: Any) -> Any:
                """掩码。"""
                mask = default_mask.clone()
                mask.view(-1)[::2] = 0
                return mask

        layer = _layer(m)
        method = EveryOther.apply(layer, "bias")
        container = prune.PruningContainer(method)
        return (
            layer.bias,
            EveryOther().prune(m.ones(5)),
            len(container),
            container[0] is method,
            list(container) == [method],
        )

    same(run, "float32")


MISTAKES: dict[str, Prune] = {
    "more than everything": lambda m, prune, layer: prune.l1_unstructured(layer, "weight", amount=25),
    "a negative part": lambda m, prune, layer: prune.l1_unstructured(layer, "weight", amount=-0.1),
    "a part above one": lambda m, prune, layer: prune.l1_unstructured(layer, "weight", amount=1.5),
    "an amount of text": lambda m, prune, layer: prune.l1_unstructured(layer, "weight", amount="half"),
    "channels of a vector": lambda m, prune, layer: prune.ln_structured(layer, "bias", 1, 2, 0),
    "a missing axis": lambda m, prune, layer: prune.ln_structured(layer, "weight", 1, 2, 2),
    "scores of another shape": lambda m, prune, layer: prune.l1_unstructured(layer, "weight", 1, m.ones(2)),
    "a mask of another shape": lambda m, prune, layer: prune.custom_from_mask(layer, "weight", m.ones(2)),
    "a missing parameter": lambda m, prune, layer: prune.l1_unstructured(layer, "nothing", 1),
    "removing what was not pruned": lambda m, prune, layer: prune.remove(layer, "weight"),
    "channels everywhere": lambda m, prune, layer: prune.global_unstructured(
        [(layer, "weight")], prune.LnStructured, amount=1, n=2),
    "one parameter, not a list": lambda m, prune, layer: prune.global_unstructured(3, prune.L1Unstructured, amount=1),
    "a container of numbers": lambda m, prune, layer: prune.PruningContainer().add_pruning_method(3),
}  # fmt: skip


@pytest.mark.parametrize("mistake", table(MISTAKES))
def test_a_wrong_pruning_is_accepted(mistake: Prune) -> None:
    """torch 拒绝的剪法这里放过了，或报的是另一类错。"""
    same_error(lambda m: mistake(m, m.nn.utils.prune, _layer(m)))


# ---- 融合

FUSED: dict[str, Callable[[Any], tuple[Any, Any, Any]]] = {
    "Conv2d": lambda m: (m.nn.Conv2d(2, 3, 2), m.nn.BatchNorm2d(3), m.arange(18.0).reshape(1, 2, 3, 3)),
    "Conv1d without bias": lambda m: (
        m.nn.Conv1d(2, 3, 2, bias=False), m.nn.BatchNorm1d(3, affine=False), m.arange(6.0).reshape(1, 2, 3)),
    "ConvTranspose2d": lambda m: (m.nn.ConvTranspose2d(2, 3, 2), m.nn.BatchNorm2d(3), m.ones(1, 2, 3, 3)),
    "Linear": lambda m: (m.nn.Linear(4, 3), m.nn.BatchNorm1d(3), m.arange(8.0).reshape(2, 4)),
}  # fmt: skip


@pytest.mark.parametrize("case", table(FUSED))
def test_fusing_changes_the_output(case: Callable[[Any], tuple[Any, Any, Any]]) -> None:
    """并进批归一化之后，输出变了，或权重与 torch 不同。"""

    def run(m: Any) -> Any:
        m.manual_seed(0)
        layer, norm, x = case(m)
        norm(layer(x))
        layer.eval(), norm.eval()
        if isinstance(layer, m.nn.Linear):
            fused = m.nn.utils.fuse_linear_bn_eval(layer, norm)
        else:
            fused = m.nn.utils.fuse_conv_bn_eval(layer, norm, isinstance(layer, m.nn.ConvTranspose2d))
        assert (fused(x) - norm(layer(x))).abs().max().item() < 1e-4
        return fused.weight, fused.bias

    same(run, "float32")


def test_a_wrong_fusion_is_accepted() -> None:
    """还在训练的、宽度对不上的也合并了；不是 Module 的也造了。"""
    same_error(lambda m: m.nn.utils.fuse_conv_bn_eval(m.nn.Conv1d(1, 1, 1), m.nn.BatchNorm1d(1)))
    same_error(lambda m: m.nn.utils.fuse_linear_bn_eval(m.nn.Linear(1, 3).eval(), m.nn.BatchNorm1d(2).eval()))
    same_error(lambda m: m.nn.utils.skip_init(dict))
    same_error(lambda m: m.nn.utils.skip_init(m.nn.ReLU))
    for m in ENGINES:
        assert m.nn.utils.skip_init(m.nn.Linear, 2, 3).weight.shape == (3, 2)


POOLED: dict[str, Callable[[Any, Any], Any]] = {
    "max_pool1d": lambda F, x: F.max_pool1d_with_indices(x[:, :, 0], 2),
    "max_pool2d": lambda F, x: F.max_pool2d_with_indices(x, 2, stride=1, padding=1),
    "max_pool3d": lambda F, x: F.max_pool3d_with_indices(x[None], 2),
    "adaptive_max_pool1d": lambda F, x: F.adaptive_max_pool1d_with_indices(x[:, :, 0], 2),
    "adaptive_max_pool2d": lambda F, x: F.adaptive_max_pool2d_with_indices(x, (2, 3)),
    "adaptive_max_pool3d": lambda F, x: F.adaptive_max_pool3d_with_indices(x[None], 2),
    "fractional_max_pool2d": lambda F, x: F.fractional_max_pool2d_with_indices(x, 2, output_size=2),
}


@pytest.mark.parametrize("pool", table(POOLED))
def test_pooling_with_indices_is_not_torchs(pool: Callable[[Any, Any], Any]) -> None:
    """总是返回下标的最大池化，值或下标与 torch 不同。"""

    def run(m: Any) -> Any:
        m.manual_seed(2)
        return list(pool(m.nn.functional, m.rand(2, 3, 4, 4)))

    same(run, "float32")


# ---- 计时


def test_timing_tells_nothing() -> None:
    """计时的遍数、时长或打印的样子不对，计时之后线程数没有恢复。"""
    for m in ENGINES:
        timer = m.utils.benchmark.Timer("f(x)", globals={"f": m.exp, "x": m.ones(3)}, label="exp", sub_label="3")
        once, many = timer.timeit(20), timer.blocked_autorange(min_run_time=0.01)
        assert once.number_per_run == 20
        assert len(once.times) == 1
        assert 0 < once.mean == once.median < 1
        assert sum(many.raw_times) >= 0.01
        assert many.iqr >= 0
        assert re.search(r"exp: 3\n  [\d.]+ [mun]?s\n  1 measurement, 20 runs , 1 thread", repr(once))
        assert re.search(r"[\d.]+ [mun]?s\n(.*\n)?  \d+ measurements?, \d+ runs ", repr(many))
        assert timer.adaptive_autorange(min_run_time=0.001, max_run_time=0.05).median > 0
    before, calls = tg.get_num_threads(), list[tuple[int, float]]()
    threads = tg.utils.benchmark.Timer(lambda: None, num_threads=2).blocked_autorange(
        lambda number, seconds: calls.append((number, seconds)), min_run_time=0.001
    )
    assert (threads.num_threads, tg.get_num_threads(), len(calls)) == (2, before, len(threads.times))
    same_error(lambda m: m.utils.benchmark.Timer(global_setup="int x;"))
