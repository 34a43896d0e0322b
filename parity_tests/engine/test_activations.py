"""激活函数：值、梯度、拐点、就地写入、dtype 与报错都与 torch 相同；层的名字、参数与打印也相同。"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_llm as tg
from parity_tests.engine.twins import ENGINES, both, same, same_error, same_gradient, table, values

KINKS = np.array([-800.0, -20.0, -6.0, -3.0, -2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0, 3.0, 6.0, 20.0, 21.0, 800.0])

CURVES: dict[str, Callable[[Any, Any], Any]] = {
    "relu": lambda F, x: (F.relu(x), F.relu6(x), F.hardtanh(x), F.hardtanh(x, -0.5, 2.0)),
    "leaky": lambda F, x: (F.leaky_relu(x), F.leaky_relu(x, -0.5), F.rrelu(x), F.rrelu(x, 0.2, 0.6)),
    "elu": lambda F, x: (F.elu(x), F.elu(x, 2.0), F.elu(x, -1.0), F.selu(x)),
    "celu": lambda F, x: (F.celu(x), F.celu(x, 0.5), F.celu(x, -2.0)),
    "gelu": lambda F, x: (F.gelu(x), F.gelu(x, approximate="tanh"), F.gelu(x, approximate="none")),
    "swish": lambda F, x: (F.silu(x), F.mish(x), F.hardswish(x), F.hardsigmoid(x)),
    "softplus": lambda F, x: (F.softplus(x), F.softplus(x, 0.5, 3.0), F.softplus(x, beta=3), F.logsigmoid(x)),
    "soft": lambda F, x: (F.softsign(x), F.tanhshrink(x), F.tanh(x), F.sigmoid(x)),
    "shrink": lambda F, x: (F.softshrink(x), F.softshrink(x, 1.0), F.hardshrink(x), F.hardshrink(x, 2.0)),
    "threshold": lambda F, x: (F.threshold(x, 0.5, -7.0), F.threshold(x, -1, 3)),
}  # fmt: skip


@pytest.mark.parametrize("curve", table(CURVES))
@pytest.mark.parametrize(
    "points", [KINKS, values(0, 3, 4), np.array(0.3), np.zeros((2, 0))], ids=["kinks", "any", "0d", "empty"]
)
def test_curves_equal_torch(curve: Callable[[Any, Any], Any], points: Any) -> None:
    """某个激活函数的值或梯度与 torch 不同，拐点处取错了一边，或零维、空张量不行。"""
    same_gradient(lambda m, x: curve(m.nn.functional, x), points)


@pytest.mark.parametrize("curve", table(CURVES))
def test_non_finite_inputs_follow_torch(curve: Callable[[Any, Any], Any]) -> None:
    """inf 或 NaN 的去处与 torch 不同，或漏出 NumPy 的警告。"""
    with np.errstate(all="raise", under="ignore"):
        curve(tg.nn.functional, tg.tensor([float("inf"), float("nan"), 1e4, -1e4]))
    points = np.array([float("inf"), float("-inf"), float("nan"), 1.0])
    same_gradient(lambda m, x: curve(m.nn.functional, x), points)


@pytest.mark.parametrize("curve", table(CURVES))
def test_float32_stays_float32(curve: Callable[[Any, Any], Any]) -> None:
    """float32 的输入得出了别的类型。"""
    same(lambda m: curve(m.nn.functional, m.tensor([-1.5, 0.25, 3.5])), "float32")


ALONG: dict[str, Callable[[Any, Any], Any]] = {
    "softmax": lambda F, x: (F.softmax(x, 1), F.softmax(x, dim=-1), F.softmin(x, 0), F.log_softmax(x, dim=0)),
    "dtype": lambda F, x: (F.softmin(x, 1, dtype=x.dtype), F.softmax(x, -1, dtype=x.dtype)),
    "implicit dim": lambda F, x: (F.softmax(x), F.softmin(x[0]), F.log_softmax(x[0, 0])),
    "glu": lambda F, x: (F.glu(x), F.glu(x, 1), F.glu(x[:, 0], dim=-1)),
    "prelu": lambda F, x: (F.prelu(x, x[0, 0, :1]), F.prelu(x, x[0, :, 0]), F.prelu(x[0, 0], x[0, 0, :1])),
    "prelu of scalars": lambda F, x: (F.prelu(x[0, 0, 0], x[0, 0, 1]), F.prelu(x, x[0, 0, 0])),
}  # fmt: skip


@pytest.mark.parametrize("case", table(ALONG))
def test_functions_along_an_axis_equal_torch(case: Callable[[Any, Any], Any]) -> None:
    """沿一根轴的激活与 torch 不同。"""
    same_gradient(lambda m, x: case(m.nn.functional, x), values(1, 2, 4, 6))


def test_an_implicit_axis_warns() -> None:
    """不写 ``dim`` 时没有像 torch 那样警告。"""
    for m in ENGINES:
        for name in ("softmax", "softmin", "log_softmax"):
            with pytest.warns(UserWarning, match="Implicit dimension choice"):
                getattr(m.nn.functional, name)(m.ones(2, 2))


INPLACE: dict[str, tuple[Any, ...]] = {
    "relu": (), "relu6": (), "hardtanh": (-0.5, 0.5), "leaky_relu": (0.3,), "rrelu": (0.1, 0.3, False), "elu": (2.0,),
    "selu": (), "celu": (0.5,), "silu": (), "mish": (), "hardsigmoid": (), "hardswish": (), "threshold": (0.1, 5.0),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(INPLACE))
def test_writing_in_place_equals_torch(name: str) -> None:
    """就地的写法没有写进原来的内存，梯度用了写入之后的值，或改写了要求梯度的叶子。"""

    def run(m: Any, x: Any) -> Any:
        y = x * 1.5
        z = getattr(m.nn.functional, name)(y, *INPLACE[name], inplace=True)
        assert z is y
        twin = getattr(m.nn.functional, f"{name}_", None)
        again = x * 1.5
        return y if twin is None else (y, twin(again, *INPLACE[name]), again)

    same_gradient(run, values(2, 3, 4))
    same_error(lambda m: getattr(m.nn.functional, name)(m.ones(2, requires_grad=True), *INPLACE[name], inplace=True))


def test_random_slopes_are_torchs() -> None:
    """同一种子之下，训练时 rrelu 抽到的斜率与 torch 不同，或抽数的个数不同。"""

    def run(m: Any, x: Any) -> Any:
        m.manual_seed(5)
        return m.nn.functional.rrelu(x, 0.1, 0.9, training=True), m.rand(2), m.nn.RReLU()(x.t())

    same_gradient(run, values(3, 4, 5))


@pytest.mark.parametrize("options", [{}, {"tau": 0.3}, {"hard": True}, {"dim": 0}, {"hard": True, "dim": 1}], ids=repr)
def test_gumbel_softmax_draws_torchs_samples(options: dict[str, Any]) -> None:
    """同一种子之下的 Gumbel 样本，或它的（直通）梯度与 torch 不同。"""

    def run(m: Any, x: Any) -> Any:
        m.manual_seed(6)
        return m.nn.functional.gumbel_softmax(x, **options)

    same_gradient(run, values(4, 3, 5))


def test_integers_follow_torch() -> None:
    """整数输入：该保持整数的变了类型。"""
    same(
        lambda m: [
            f(m.tensor([-2, 0, 3, 8]))
            for f in (
                m.nn.functional.relu6, m.nn.functional.hardtanh, lambda x: m.nn.functional.threshold(x, 0.5, 2.5),
                m.nn.functional.softsign, m.nn.functional.tanhshrink,
            )
        ],
        "float32",
    )  # fmt: skip


FLOAT_ONLY = (
    "leaky_relu", "rrelu", "elu", "selu", "celu", "gelu", "silu", "mish", "softplus", "softshrink", "hardshrink",
    "hardsigmoid", "hardswish", "glu", "logsigmoid", "normalize",
)  # fmt: skip
MISTAKES: dict[str, Callable[[Any], Any]] = {
    **{f"integers in {name}": lambda m, name=name: getattr(m.nn.functional, name)(m.ones(2, 2, dtype=m.int64))  # type: ignore[misc]
       for name in FLOAT_ONLY},
    "unknown gelu": lambda m: m.nn.functional.gelu(m.ones(1), approximate="erf"),
    "bool hardtanh": lambda m: m.nn.functional.hardtanh(m.ones(1, dtype=m.bool)),
    "bounds in the wrong order": lambda m: m.nn.functional.hardtanh(m.ones(1), 1.0, -1.0),
    "bounds of a layer": lambda m: m.nn.Hardtanh(1.0, 1.0),
    "negative lambda": lambda m: m.nn.functional.softshrink(m.ones(1), -0.1),
    "celu of zero": lambda m: m.nn.functional.celu(m.ones(1), 0.0),
    "slopes in the wrong order": lambda m: m.nn.functional.rrelu(m.ones(1), 0.5, 0.1),
    "endless slope": lambda m: m.nn.functional.rrelu(m.ones(1), 0.5, float("inf"), True),
    "gumbel of integers": lambda m: m.nn.functional.gumbel_softmax(m.ones(1, 2, dtype=m.int64)),
    "odd glu": lambda m: m.nn.functional.glu(m.ones(3)),
    "0d glu": lambda m: m.nn.functional.glu(m.ones(())),
    "prelu of other channels": lambda m: m.nn.functional.prelu(m.ones(2, 3), m.ones(2)),
    "prelu of a matrix": lambda m: m.nn.functional.prelu(m.ones(2, 3), m.ones(1, 3)),
    "prelu of another dtype": lambda m: m.nn.functional.prelu(m.ones(2, 3), m.ones(1, dtype=m.float64)),
    "softmax2d of a matrix": lambda m: m.nn.Softmax2d()(m.ones(2, 3)),
}  # fmt: skip


@pytest.mark.parametrize("mistake", table(MISTAKES))
def test_the_same_mistake_raises_the_same_kind_of_error(mistake: Callable[[Any], Any]) -> None:
    """用错的函数不报错，或报了 torch 不会报的那一类。"""
    same_error(mistake)


LAYERS: dict[str, Callable[[Any], Any]] = {
    "in place": lambda nn: [getattr(nn, name)(True) for name in ("ReLU", "ReLU6", "SiLU", "Mish", "SELU")],
    "hard": lambda nn: [nn.Hardswish(), nn.Hardsigmoid(True), nn.Hardtanh(-2, 2, True), nn.Hardtanh()],
    "plain": lambda nn: [nn.PReLU(), nn.Sigmoid(), nn.Tanh(), nn.LogSigmoid(), nn.Softsign(), nn.Tanhshrink()],
    "alpha": lambda nn: [nn.ELU(0.5), nn.ELU(inplace=True), nn.CELU(0.5), nn.CELU(2.0, True)],
    "slope": lambda nn: [nn.LeakyReLU(), nn.LeakyReLU(0.2, True), nn.RReLU(0.1, 0.2), nn.PReLU(2, 0.1)],
    "shrink": lambda nn: [nn.Softshrink(), nn.Hardshrink(1.0), nn.Threshold(0.1, 2.0), nn.Threshold(0.1, 2, True)],
    "smooth": lambda nn: [nn.GELU(), nn.GELU("tanh"), nn.Softplus(), nn.Softplus(2.0, 3.0), nn.GLU(), nn.GLU(1)],
    "softmax": lambda nn: [nn.Softmax(1), nn.Softmin(dim=0), nn.LogSoftmax(-1), nn.Softmax2d(), nn.Softmax()],
}  # fmt: skip


@pytest.mark.parametrize("build", table(LAYERS))
def test_layers_print_and_compute_as_in_torch(build: Callable[[Any], Any]) -> None:
    """层的打印、参数的名字与初值、输出或梯度与 torch 不同。"""
    ours, theirs = both(lambda m: [repr(layer) for layer in build(m.nn)])
    assert ours == theirs

    def run(m: Any, x: Any) -> Any:
        layers = [layer.to(m.float64).eval() for layer in build(m.nn)]
        return [layer(x.clone()) for layer in layers] + [p for layer in layers for p in layer.parameters()]

    same_gradient(run, values(5, 2, 2, 4, 4))
