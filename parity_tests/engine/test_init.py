"""初始化：同一种子之下给出与 torch 相同的数，不记图；写错时报同样的错。"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import tinygrad_llm as tg
from parity_tests.engine.twins import ENGINES, same, same_error, table

INITIALISERS: dict[str, tuple[Callable[[Any, Any], Any], tuple[int, ...]]] = {
    "uniform_": (lambda init, t: init.uniform_(t), (4, 5)),
    "uniform_ of bounds": (lambda init, t: init.uniform_(t, -0.3, 0.7), (3,)),
    "normal_": (lambda init, t: init.normal_(t, 1.0, 0.02), (6, 5)),
    "normal_ of few": (lambda init, t: init.normal_(t), (3,)),
    "trunc_normal_": (lambda init, t: init.trunc_normal_(t), (40, 5)),
    "trunc_normal_ by redrawing": (lambda init, t: init.trunc_normal_(t, 0.5, 2.0, -1.0, 1.0), (40, 5)),
    "trunc_normal_ by thinning": (lambda init, t: init.trunc_normal_(t, 0.0, 1.0, 1.0, 2.0), (40, 5)),
    "trunc_normal_ in the middle": (lambda init, t: init.trunc_normal_(t, 0.0, 10.0, -1.0, 2.0), (40, 5)),
    "constant_": (lambda init, t: init.constant_(t, 0.3), (2, 3)),
    "ones_": (lambda init, t: init.ones_(t), (2, 3)),
    "zeros_": (lambda init, t: init.zeros_(t), (2, 3)),
    "eye_": (lambda init, t: init.eye_(t), (3, 5)),
    "dirac_ 3": (lambda init, t: init.dirac_(t), (3, 4, 5)),
    "dirac_ 4 in groups": (lambda init, t: init.dirac_(t, 2), (4, 3, 3, 2)),
    "dirac_ 5": (lambda init, t: init.dirac_(t), (3, 2, 3, 3, 1)),
    "xavier_uniform_": (lambda init, t: init.xavier_uniform_(t, gain=1.5), (4, 6)),
    "xavier_uniform_ of kernels": (lambda init, t: init.xavier_uniform_(t), (4, 6, 3, 3)),
    "xavier_normal_": (lambda init, t: init.xavier_normal_(t), (4, 6)),
    "kaiming_uniform_": (lambda init, t: init.kaiming_uniform_(t, a=0.3), (4, 6)),
    "kaiming_uniform_ of relu": (lambda init, t: init.kaiming_uniform_(t, 0, "fan_out", "relu"), (4, 6, 3)),
    "kaiming_normal_": (lambda init, t: init.kaiming_normal_(t, nonlinearity="tanh"), (4, 6)),
    "kaiming_normal_ of selu": (lambda init, t: init.kaiming_normal_(t, mode="FAN_OUT", nonlinearity="selu"), (4, 6)),
    "orthogonal_": (lambda init, t: init.orthogonal_(t, 1.5), (5, 5)),
    "orthogonal_ wide": (lambda init, t: init.orthogonal_(t), (3, 2, 4)),
    "orthogonal_ tall": (lambda init, t: init.orthogonal_(t), (8, 3)),
    "orthogonal_ of nothing": (lambda init, t: init.orthogonal_(t), (0, 3)),
    "a fan by hand": (lambda init, t: init.uniform_(t, 0.0, init._calculate_correct_fan(t, "fan_out")), (4, 6, 3)),
    "sparse_": (lambda init, t: init.sparse_(t, 0.3, 0.1), (7, 5)),
}  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", sorted(INITIALISERS))
def test_values_equal_torchs_under_one_seed(name: str, dtype: str) -> None:
    """某个初始化给出的数、此后的随机数流与 torch 不同，或在图上留下了痕迹。"""
    case, shape = INITIALISERS[name]

    def run(m: Any) -> Any:
        m.manual_seed(2)
        t = m.zeros(*shape, dtype=getattr(m, dtype), requires_grad=True)
        found = case(m.nn.init, t)
        assert found is t
        assert t.is_leaf
        return t, m.rand(2)

    same(run, "random normal", name)


@pytest.mark.parametrize(
    "name", ["uniform_", "normal_", "trunc_normal_", "xavier_normal_", "kaiming_uniform_", "orthogonal_"]
)
def test_a_generator_of_its_own_leaves_the_global_one_alone(name: str) -> None:
    """给了生成器却仍用全局的，或次序与 torch 不同。"""

    def run(m: Any) -> Any:
        m.manual_seed(2)
        t = getattr(m.nn.init, name)(m.zeros(5, 4), generator=m.Generator().manual_seed(9))
        return t, m.rand(2)

    same(run, "random normal")


def test_truncated_normals_stay_inside() -> None:
    """截断正态有数落在区间之外，或散布的宽窄不对。"""
    tg.manual_seed(0)
    for mean, std, a, b in ((0.0, 1.0, -2.0, 2.0), (0.0, 1.0, 1.5, 3.0), (0.0, 0.02, -0.04, 0.04)):
        t = tg.nn.init.trunc_normal_(tg.empty(200, 50), mean, std, a, b).numpy()
        assert t.min() >= np.float32(a)
        assert t.max() <= np.float32(b)
        assert np.unique(t).size > 9000


def test_orthogonal_matrices_are_orthogonal() -> None:
    """列（或行）不是两两正交的单位向量。"""
    for shape in ((6, 4), (4, 6)):
        q = tg.nn.init.orthogonal_(tg.empty(*shape, dtype=tg.float64)).numpy()
        gram = q.T @ q if shape[0] > shape[1] else q @ q.T
        np.testing.assert_allclose(gram, np.eye(4), atol=1e-12)


def test_gains_equal_torch() -> None:
    """某个激活函数的增益与 torch 不同。"""
    names = ["linear", "conv2d", "conv_transpose3d", "sigmoid", "tanh", "relu", "selu", "leaky_relu"]
    same(lambda m: [m.nn.init.calculate_gain(name) for name in names])
    same(lambda m: [m.nn.init.calculate_gain("leaky_relu", slope) for slope in (0, 0.3, 2)])


def test_old_names_still_work_and_say_so() -> None:
    """不带下划线的旧名不见了，或不提醒。"""
    names = (
        "uniform",
        "normal",
        "eye",
        "xavier_uniform",
        "xavier_normal",
        "kaiming_uniform",
        "kaiming_normal",
        "orthogonal",
    )
    for name in names:
        for m in ENGINES:
            with pytest.warns(FutureWarning, match=f"nn.init.{name}_"):
                getattr(m.nn.init, name)(m.ones(2, 2))
    for m in ENGINES:
        with pytest.warns(FutureWarning, match="constant_"):
            assert m.nn.init.constant(m.zeros(2), 3.0).tolist() == [3.0, 3.0]
        with pytest.warns(FutureWarning, match="dirac_"):
            m.nn.init.dirac(m.zeros(1, 1, 1))
        with pytest.warns(FutureWarning, match="sparse_"):
            m.nn.init.sparse(m.zeros(1, 1), 0.5)


def test_the_same_oddities_are_warned_about() -> None:
    """没有元素、均值远在区间之外时，没有提醒。"""

    def run(m: Any) -> Any:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            m.nn.init.kaiming_uniform_(m.ones(0, 2))
            m.nn.init.kaiming_normal_(m.ones(2, 0))
            m.nn.init.trunc_normal_(m.ones(2), 5.0, 1.0, -2.0, 2.0)
        return [(w.category, str(w.message)[:30]) for w in caught]

    ours, theirs = run(tg), run(torch)
    assert ours == theirs


MISTAKES: dict[str, Callable[[Any, Any], Any]] = {
    "unknown activation": lambda m, init: init.calculate_gain("swish"),
    "slope that is no number": lambda m, init: init.calculate_gain("leaky_relu", "x"),
    "slope that is True": lambda m, init: init.calculate_gain("leaky_relu", True),
    "fans of a vector": lambda m, init: init.xavier_normal_(m.zeros(3)),
    "kaiming of a vector": lambda m, init: init.kaiming_uniform_(m.zeros(3)),
    "unknown mode": lambda m, init: init.kaiming_normal_(m.zeros(3, 3), mode="fan"),
    "identity of three axes": lambda m, init: init.eye_(m.zeros(2, 2, 2)),
    "kernel of two axes": lambda m, init: init.dirac_(m.zeros(2, 2)),
    "kernel in three groups": lambda m, init: init.dirac_(m.zeros(4, 2, 1), 3),
    "orthogonal vector": lambda m, init: init.orthogonal_(m.zeros(3)),
    "sparse vector": lambda m, init: init.sparse_(m.zeros(3), 0.5),
}  # fmt: skip


@pytest.mark.parametrize("mistake", table(MISTAKES))
def test_the_same_mistake_raises_the_same_kind_of_error(mistake: Callable[[Any, Any], Any]) -> None:
    """不合法的形状或参数被悄悄收下。"""
    same_error(lambda m: mistake(m, m.nn.init))
