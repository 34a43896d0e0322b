"""按批、按组、按样本的标准化：输出、两阶导数、滑动统计量与报错都与 torch 相同。"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from parity_tests.engine.twins import ENGINES, same, same_error, table, values

Shape = tuple[int, ...]
FUNCTIONS: dict[str, tuple[Shape, Callable[[Any, Any, Any, Any], Any]]] = {
    "batch": ((3, 4, 5), lambda F, x, w, b: F.batch_norm(x, None, None, w, b, True, eps=1e-3)),
    "batch of rows": ((6, 4), lambda F, x, w, b: F.batch_norm(x, None, None, w, None, True)),
    "batch of images": ((2, 4, 3, 2), lambda F, x, w, b: F.batch_norm(x, None, None, w, b, True, eps=0.1)),
    "batch without affine": ((2, 4, 3), lambda F, x, w, b: F.batch_norm(x, None, None, training=True) + w[0] + b[0]),
    "group": ((2, 4, 5), lambda F, x, w, b: F.group_norm(x, 2, w, b, 1e-2)),
    "group of one channel": ((2, 4, 3, 2), lambda F, x, w, b: F.group_norm(x, 4, w)),
    "all channels": ((3, 4), lambda F, x, w, b: F.group_norm(x, 1, w, b, 0.1)),
    "instance": ((2, 4, 5), lambda F, x, w, b: F.instance_norm(x, None, None, w, b, eps=1e-2)),
    "instance without affine": ((2, 4, 3, 2), lambda F, x, w, b: F.instance_norm(x) * w[0] + b[0]),
    "local response": ((2, 4, 5), lambda F, x, w, b: F.local_response_norm(x, 3, 0.1) * w[0] + b[0]),
    "local response of images": ((2, 4, 3, 2), lambda F, x, w, b: F.local_response_norm(x, 2, 0.5, 1.5, 2.0) * w[0]),
}


@pytest.mark.parametrize("case", table(FUNCTIONS))
def test_norms_equal_torch_to_second_order(case: Any) -> None:
    """标准化的输出、梯度或二阶导与 torch 不同。"""
    shape, function = case

    def run(m: Any) -> Any:
        inputs = [m.tensor(values(i, *s), requires_grad=True) for i, s in enumerate((shape, (4,), (4,)))]
        y = function(m.nn.functional, *inputs)
        first = m.autograd.grad((y * y.sin()).sum(), inputs, create_graph=True, allow_unused=True)
        used = [i for i, g in enumerate(first) if g is not None]
        second = m.autograd.grad(sum((first[i] * first[i]).sum() for i in used), inputs, allow_unused=True)
        return y, used, [first[i] for i in used], [second[i] for i in used if second[i] is not None]

    same(run, "float64 second order")


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", ["batch_norm", "instance_norm"])
def test_running_statistics_equal_torch(name: str, training: bool) -> None:
    """滑动平均的更新、或评估时用它算出的输出与梯度，与 torch 不同。"""

    def run(m: Any) -> Any:
        x = m.tensor(values(0, 3, 4, 5), requires_grad=True)
        mean, var = m.tensor(values(1, 4)), m.tensor(np.exp(values(2, 4)))
        w, b = (m.tensor(values(i, 4), requires_grad=True) for i in (3, 4))
        y = getattr(m.nn.functional, name)(x, mean, var, w, b, training, 0.3, 1e-3)
        (y * y.cos()).sum().backward()
        return y, mean, var, x.grad, w.grad, b.grad

    same(run)


LAYERS: dict[str, tuple[Callable[[Any], Any], Shape]] = {
    "BatchNorm1d": (lambda nn: nn.BatchNorm1d(4), (5, 4)),
    "BatchNorm1d of sequences": (lambda nn: nn.BatchNorm1d(4, 1e-3, 0.5), (2, 4, 3)),
    "BatchNorm2d": (lambda nn: nn.BatchNorm2d(4, momentum=None), (2, 4, 3, 2)),
    "BatchNorm2d without statistics": (lambda nn: nn.BatchNorm2d(4, track_running_stats=False), (2, 4, 3, 2)),
    "BatchNorm2d without affine": (lambda nn: nn.BatchNorm2d(4, affine=False), (2, 4, 3, 2)),
    "BatchNorm3d": (lambda nn: nn.BatchNorm3d(2, bias=False), (2, 2, 3, 2, 2)),
    "InstanceNorm1d": (lambda nn: nn.InstanceNorm1d(4), (2, 4, 3)),
    "InstanceNorm2d": (lambda nn: nn.InstanceNorm2d(4, affine=True, track_running_stats=True), (2, 4, 3, 2)),
    "InstanceNorm2d unbatched": (lambda nn: nn.InstanceNorm2d(4, 0.1, affine=True), (4, 3, 2)),
    "InstanceNorm3d": (lambda nn: nn.InstanceNorm3d(2, track_running_stats=True), (2, 2, 2, 2, 3)),
    "GroupNorm": (lambda nn: nn.GroupNorm(2, 4), (2, 4, 3)),
    "GroupNorm without affine": (lambda nn: nn.GroupNorm(4, 4, 0.1, False), (2, 4, 3)),
    "GroupNorm without bias": (lambda nn: nn.GroupNorm(1, 4, bias=False), (2, 4)),
    "LocalResponseNorm": (lambda nn: nn.LocalResponseNorm(3, 0.1, 0.5, 2.0), (2, 4, 3)),
}


@pytest.mark.parametrize("case", table(LAYERS))
def test_norm_layers_train_and_evaluate_as_in_torch(case: Any) -> None:
    """层的打印、参数名、几步训练之后的统计量，或评估时的输出与 torch 不同。"""
    build, shape = case

    def run(m: Any) -> Any:
        layer, outputs = build(m.nn).to(m.float64), []
        for step in range(3):
            x = m.tensor(values(step, *shape), requires_grad=True)
            y = layer(x)
            (y * y.cos()).sum().backward()
            outputs += [y, x.grad]
        state = layer.state_dict()
        last = layer.eval()(m.tensor(values(9, *shape)))
        grads = [p.grad for p in layer.parameters()]
        return outputs, last, grads, list(state), list(state.values()), repr(layer)

    same(run)


def test_statistics_are_reset_saved_and_copied() -> None:
    """统计量没有随 ``reset_running_stats``、``load_state_dict`` 或深拷贝走。"""

    def run(m: Any) -> Any:
        layer, other = m.nn.BatchNorm1d(3), m.nn.BatchNorm1d(3)
        layer(m.tensor(values(0, 4, 3), dtype=m.float32))
        other.load_state_dict(layer.state_dict())
        twin = copy.deepcopy(layer)
        layer.reset_running_stats()
        return [list(one.state_dict().values()) for one in (layer, other, twin)]

    same(run, "float32")


def test_empty_batches_pass_through() -> None:
    """没有样本的一批报错，或改写了统计量。"""

    def run(m: Any) -> Any:
        layer, F = m.nn.BatchNorm2d(3), m.nn.functional
        y = layer(m.ones(0, 3, 2, 2))
        flat = (
            F.group_norm(m.ones(0, 4, 2), 2),
            F.instance_norm(m.ones(0, 3, 4)),
            F.local_response_norm(m.ones(0, 3, 2), 2),
        )
        return (
            tuple(y.shape),
            [tuple(t.shape) for t in flat],
            tuple(F.batch_norm(m.ones(0), None, None, training=True).shape),
        )

    same(run)


WRONG: dict[str, Callable[[Any], Any]] = {
    "one value per channel": lambda m: m.nn.BatchNorm1d(3)(m.ones(1, 3)),
    "rank": lambda m: m.nn.BatchNorm2d(3)(m.ones(2, 3)),
    "channels": lambda m: m.nn.BatchNorm1d(3)(m.ones(2, 4)),
    "eps": lambda m: m.nn.functional.batch_norm(m.ones(2, 3), None, None, training=True, eps=0.0),
    "no statistics": lambda m: m.nn.functional.batch_norm(m.ones(2, 3), None, None),
    "dtype": lambda m: m.nn.BatchNorm1d(3)(m.ones(2, 3).double()),
    "groups": lambda m: m.nn.functional.group_norm(m.ones(2, 3), 2),
    "group layer": lambda m: m.nn.GroupNorm(2, 3),
    "group weight": lambda m: m.nn.functional.group_norm(m.ones(2, 4), 2, m.ones(2)),
    "group of one": lambda m: m.nn.functional.group_norm(m.ones(1, 2), 2),
    "group rank": lambda m: m.nn.functional.group_norm(m.ones(2), 1),
    "instance of one": lambda m: m.nn.functional.instance_norm(m.ones(2, 3)),
    "instance channels": lambda m: m.nn.InstanceNorm1d(3, affine=True)(m.ones(2, 4, 5)),
    "instance statistics": lambda m: m.nn.functional.instance_norm(m.ones(2, 3, 4), use_input_stats=False),
    "local rank": lambda m: m.nn.functional.local_response_norm(m.ones(2, 3), 2),
}


@pytest.mark.parametrize("mistake", table(WRONG))
def test_wrong_norms_raise_as_in_torch(mistake: Callable[[Any], Any]) -> None:
    """写错的标准化没有报错，或报错的类型与 torch 不同。"""
    same_error(mistake)


def test_unused_channel_count_only_warns() -> None:
    """没有缩放平移时，通道数不符应当只是警告。"""
    for m in ENGINES:
        with pytest.warns(UserWarning, match="num_features"):
            m.nn.InstanceNorm1d(3)(m.ones(2, 4, 5))
