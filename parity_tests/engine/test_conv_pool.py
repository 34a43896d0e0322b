"""卷积、池化与它们的层：输出、两阶导数、初值、打印与报错都与 torch 相同。"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from parity_tests.engine.twins import both, same, same_error, same_gradient, table, values
from parity_tests.tolerances import assert_close

Shape = tuple[int, ...]

CONVOLUTIONS: dict[str, tuple[str, Shape, Shape, dict[str, Any]]] = {
    "conv1d": ("conv1d", (2, 4, 7), (6, 4, 3), {}),
    "conv1d unbatched": ("conv1d", (4, 7), (6, 4, 3), {"stride": 2}),
    "conv1d same, even kernel": ("conv1d", (2, 2, 6), (3, 2, 4), {"padding": "same"}),
    "conv1d of zero batch": ("conv1d", (0, 2, 6), (3, 2, 2), {}),
    "conv2d": ("conv2d", (2, 3, 6, 5), (4, 3, 3, 2), {"stride": (2, 1), "padding": (1, 2)}),
    "conv2d groups": ("conv2d", (1, 4, 6, 5), (6, 2, 3, 3), {"groups": 2, "dilation": (1, 2), "padding": 1}),
    "conv2d depthwise": ("conv2d", (2, 3, 5, 5), (3, 1, 3, 3), {"groups": 3, "padding": "same", "dilation": 2}),
    "conv2d pointwise": ("conv2d", (2, 3, 4, 4), (5, 3, 1, 1), {}),
    "conv2d valid": ("conv2d", (3, 4, 4), (5, 3, 2, 2), {"padding": "valid", "stride": [2]}),
    "conv2d leaves a rest": ("conv2d", (1, 1, 8, 7), (2, 1, 3, 3), {"stride": 3}),
    "conv3d": ("conv3d", (1, 2, 4, 5, 4), (2, 2, 2, 3, 2), {"stride": (1, 2, 1), "padding": 1}),
    "transpose 1d": ("conv_transpose1d", (2, 3, 4), (3, 2, 3), {"stride": 3, "output_padding": 2, "padding": 1}),
    "transpose 1d unbatched": ("conv_transpose1d", (3, 4), (3, 2, 2), {"dilation": 3}),
    "transpose 2d": ("conv_transpose2d", (1, 4, 3, 4), (4, 3, 3, 2), {"stride": (2, 1), "groups": 2, "padding": 1}),
    "transpose 3d": ("conv_transpose3d", (1, 2, 2, 3, 2), (2, 2, 2, 2, 2), {"stride": 2, "output_padding": (1, 0, 1)}),
}  # fmt: skip


def _outputs(name: str, weight: Shape, settings: dict[str, Any]) -> int:
    return weight[1] * int(settings.get("groups", 1)) if "transpose" in name else weight[0]


@pytest.mark.parametrize("case", table(CONVOLUTIONS))
def test_convolutions_equal_torch_to_second_order(case: Any) -> None:
    """卷积的输出、对三个输入的梯度或二阶导与 torch 不同。"""
    name, shape, weight, settings = case
    shapes = (shape, weight, (_outputs(name, weight, settings),))

    def run(m: Any) -> Any:
        x, w, b = (m.tensor(values(i, *s), requires_grad=True) for i, s in enumerate(shapes))
        y = getattr(m.nn.functional, name)(x, w, b, **settings)
        first = m.autograd.grad((y * y.sin()).sum(), [x, w, b], create_graph=True)
        second = m.autograd.grad(sum((g * g).sum() for g in first), [x, w, b])
        return y, *first, *second

    same(run)


def test_convolutions_keep_float32() -> None:
    """float32 的卷积变了 dtype，或误差超出 float32 的舍入。"""

    def run(m: Any) -> Any:
        x = m.tensor(values(0, 4, 8, 12, 12).astype(np.float32), requires_grad=True)
        w = m.tensor(values(1, 16, 8, 3, 3).astype(np.float32) / 10, requires_grad=True)
        y = m.nn.functional.conv2d(x, w, None, 1, 1)
        y.mean().backward()
        return y, x.grad, w.grad

    same(run, "float32")


WRONG_CONVOLUTIONS: dict[str, Callable[[Any], Any]] = {
    "channels": lambda m: m.conv2d(m.ones(1, 3, 4, 4), m.ones(2, 2, 2, 2)),
    "rank": lambda m: m.conv2d(m.ones(3, 4), m.ones(2, 3, 2, 2)),
    "kernel too large": lambda m: m.conv1d(m.ones(1, 1, 2), m.ones(1, 1, 3)),
    "stride": lambda m: m.conv1d(m.ones(1, 1, 4), m.ones(1, 1, 3), stride=0),
    "dilation": lambda m: m.conv1d(m.ones(1, 1, 4), m.ones(1, 1, 3), dilation=0),
    "padding": lambda m: m.conv1d(m.ones(1, 1, 4), m.ones(1, 1, 3), padding=-1),
    "padding word": lambda m: m.conv1d(m.ones(1, 1, 4), m.ones(1, 1, 3), padding="half"),
    "same with stride": lambda m: m.conv1d(m.ones(1, 1, 4), m.ones(1, 1, 3), padding="same", stride=2),
    "groups": lambda m: m.conv1d(m.ones(1, 4, 4), m.ones(3, 2, 3), groups=2),
    "bias": lambda m: m.conv1d(m.ones(1, 1, 4), m.ones(2, 1, 3), m.ones(3)),
    "dtype": lambda m: m.conv1d(m.ones(1, 1, 4), m.ones(2, 1, 3).double()),
    "entries": lambda m: m.conv2d(m.ones(1, 1, 4, 4), m.ones(2, 1, 3, 3), stride=(1, 1, 1)),
    "fraction": lambda m: m.conv2d(m.ones(1, 1, 4, 4), m.ones(2, 1, 3, 3), stride=1.5),
    "output padding": lambda m: m.conv_transpose1d(m.ones(1, 1, 4), m.ones(1, 1, 3), output_padding=1),
    "transposed size": lambda m: m.conv_transpose1d(m.ones(1, 1, 1), m.ones(1, 1, 1), padding=1),
    "fold blocks": lambda m: m.nn.functional.fold(m.ones(1, 4, 3), (2, 2), 2),
    "unfold kernel": lambda m: m.nn.functional.unfold(m.ones(1, 1, 2, 2), 3),
    "unfold rank": lambda m: m.nn.functional.unfold(m.ones(1, 1, 1, 2, 2), 1),
    "layer groups": lambda m: m.nn.Conv1d(3, 4, 1, groups=2),
    "layer padding mode": lambda m: m.nn.Conv1d(3, 4, 1, padding_mode="mirror"),
    "layer same with stride": lambda m: m.nn.Conv1d(3, 4, 1, padding="same", stride=2),
    "transposed padding mode": lambda m: m.nn.ConvTranspose1d(3, 4, 1, padding_mode="reflect"),
    "output size": lambda m: m.nn.ConvTranspose1d(1, 1, 3, stride=2)(m.ones(1, 1, 3), output_size=[20]),
}


@pytest.mark.parametrize("mistake", table(WRONG_CONVOLUTIONS))
def test_wrong_convolutions_raise_as_in_torch(mistake: Callable[[Any], Any]) -> None:
    """写错的卷积没有报错，或报错的类型与 torch 不同。"""
    same_error(mistake)


POOLS: dict[str, tuple[Shape, Callable[[Any, Any], Any]]] = {
    "avg 1d": ((2, 3, 7), lambda F, x: F.avg_pool1d(x, 3, 2, 1)),
    "avg 1d ceil": ((3, 8), lambda F, x: F.avg_pool1d(x, 3, 2, 1, True, False)),
    "avg 2d": ((2, 3, 6, 7), lambda F, x: F.avg_pool2d(x, (2, 3))),
    "avg 2d without padding": ((2, 6, 7), lambda F, x: F.avg_pool2d(x, 3, 2, 1, True, False)),
    "avg 2d counting padding": ((2, 6, 7), lambda F, x: F.avg_pool2d(x, 3, 2, 1, True)),
    "avg 2d divisor": ((1, 2, 5, 5), lambda F, x: F.avg_pool2d(x, 2, divisor_override=3)),
    "avg 3d": ((1, 2, 4, 5, 4), lambda F, x: F.avg_pool3d(x, 2, 2, 1, ceil_mode=True)),
    "lp 1d": ((1, 2, 6), lambda F, x: F.lp_pool1d(x.abs() + 1, 3, 2)),
    "lp 2d": ((1, 2, 6, 5), lambda F, x: F.lp_pool2d(x.abs() + 1, 2.0, 2, 1, True)),
    "lp 3d": ((1, 1, 3, 4, 3), lambda F, x: F.lp_pool3d(x.abs() + 1, 2, 2)),
    "max 1d": ((2, 3, 9), lambda F, x: F.max_pool1d(x, 3, 2, 1, 2, True, True)),
    "max 2d": ((2, 3, 7, 6), lambda F, x: F.max_pool2d(x, (3, 2), (2, 1), 1, return_indices=True)),
    "max 2d ceil": ((3, 7, 6), lambda F, x: F.max_pool2d(x, 3, 2, ceil_mode=True)),
    "max 2d overlapping": ((1, 1, 5, 5), lambda F, x: F.max_pool2d(x, 3, 1)),
    "max 3d": ((1, 2, 4, 5, 4), lambda F, x: F.max_pool3d(x, 2, 2, 1, return_indices=True)),
    "adaptive avg 1d": ((2, 3, 7), lambda F, x: F.adaptive_avg_pool1d(x, 3)),
    "adaptive avg 2d": ((2, 3, 7, 5), lambda F, x: F.adaptive_avg_pool2d(x, (None, 2))),
    "adaptive avg 2d larger": ((1, 2, 3, 2), lambda F, x: F.adaptive_avg_pool2d(x, 4)),
    "adaptive avg 3d": ((2, 4, 5, 3), lambda F, x: F.adaptive_avg_pool3d(x, (2, 1, 3))),
    "adaptive max 1d": ((2, 3, 7), lambda F, x: F.adaptive_max_pool1d(x, 3, return_indices=True)),
    "adaptive max 2d": ((2, 3, 7, 5), lambda F, x: F.adaptive_max_pool2d(x, (3, None), True)),
    "adaptive max 3d": ((2, 4, 5, 3), lambda F, x: F.adaptive_max_pool3d(x, 2, True)),
    "unpool 1d": ((2, 3, 8), lambda F, x: F.max_unpool1d(*F.max_pool1d(x, 2, return_indices=True), 2)),
    "unpool 2d": (
        (2, 3, 7, 6),
        lambda F, x: F.max_unpool2d(*F.max_pool2d(x, 3, 2, 1, return_indices=True), 3, 2, 1, (2, 3, 8, 6)),
    ),
    "unpool 3d": ((2, 4, 4, 4), lambda F, x: F.max_unpool3d(*F.max_pool3d(x, 2, return_indices=True), 2)),
    "unfold": ((2, 3, 5, 6), lambda F, x: F.unfold(x, (2, 3), 2, (1, 2), (2, 1))),
    "fold": ((2, 12, 6), lambda F, x: F.fold(x, (4, 5), 2, padding=(0, 1), stride=(2, 2), dilation=1)[..., 1:]),
    "fold unbatched": ((8, 9), lambda F, x: F.fold(x, 4, 2)),
}


@pytest.mark.parametrize("name", sorted(POOLS))
@pytest.mark.parametrize("domain", ["normal", "ties"])
def test_pools_and_their_gradients_equal_torch(name: str, domain: str) -> None:
    """池化的值、下标或梯度与 torch 不同；并列的最大值也须选同一个。"""
    shape, function = POOLS[name]
    same_gradient(lambda m, x: function(m.nn.functional, x), values(3, *shape, domain=domain), what=name)


@pytest.mark.parametrize("name", ["max_pool2d", "adaptive_max_pool2d"])
def test_max_pools_carry_nan_and_infinity(name: str) -> None:
    """最大池化丢了 NaN，或全是 -inf 的窗口给错了下标。"""
    x = values(0, 1, 2, 6, 6)
    x[0, 0, 1, 1], x[0, 1] = np.nan, -np.inf
    same(lambda m: getattr(m.nn.functional, name)(m.tensor(x), 2, return_indices=True))
    same(lambda m: m.nn.functional.max_pool2d(m.tensor(x), 3, 1, 1))
    same(lambda m: m.nn.functional.avg_pool2d(m.tensor(x), 2, 1))


def test_fractional_pools_draw_torchs_windows() -> None:
    """同一种子之下，分数池化选了别的窗口。"""

    def run(m: Any) -> Any:
        m.manual_seed(5)
        F, flat, deep = m.nn.functional, m.tensor(values(0, 2, 3, 9, 8)), m.tensor(values(1, 2, 7, 6, 8))
        return (
            *F.fractional_max_pool2d(flat, 2, (4, 5), return_indices=True),
            F.fractional_max_pool2d(flat, (2, 3), output_ratio=(0.5, 0.4)),
            *F.fractional_max_pool3d(deep, 2, (3, 2, 4), return_indices=True),
            m.nn.FractionalMaxPool3d(2, output_ratio=0.5)(deep),
        )

    same(run)


WRONG_POOLS: dict[str, Callable[[Any], Any]] = {
    "padding": lambda m: m.nn.functional.max_pool2d(m.ones(1, 1, 4, 4), 2, padding=2),
    "negative padding": lambda m: m.nn.functional.avg_pool2d(m.ones(1, 1, 4, 4), 2, padding=-1),
    "stride": lambda m: m.nn.functional.avg_pool2d(m.ones(1, 1, 4, 4), 2, 0),
    "kernel": lambda m: m.nn.functional.max_pool2d(m.ones(1, 1, 4, 4), 5),
    "entries": lambda m: m.nn.functional.avg_pool2d(m.ones(1, 1, 4, 4), (2, 2, 2)),
    "fraction": lambda m: m.nn.functional.avg_pool2d(m.ones(1, 1, 4, 4), 2.0),
    "divisor": lambda m: m.nn.functional.avg_pool2d(m.ones(1, 1, 4, 4), 2, divisor_override=0),
    "rank": lambda m: m.nn.functional.max_pool1d(m.ones(4), 2),
    "unpool index": lambda m: m.nn.functional.max_unpool1d(m.ones(1, 1, 2), m.tensor([[[9, 0]]]), 2),
    "unpool shape": lambda m: m.nn.functional.max_unpool1d(m.ones(1, 1, 2), m.tensor([[[0]]]), 2),
    "unpool size": lambda m: m.nn.MaxUnpool1d(2)(m.ones(1, 1, 2), m.tensor([[[0, 1]]]), [9]),
    "unpool entries": lambda m: m.nn.MaxUnpool1d(2)(m.ones(1, 1, 2), m.tensor([[[0, 1]]]), [1, 4]),
    "adaptive entries": lambda m: m.nn.functional.adaptive_avg_pool2d(m.ones(1, 1, 4, 4), (1, 1, 1)),
    "fractional size": lambda m: m.nn.functional.fractional_max_pool2d(m.ones(1, 1, 4, 4), 2),
    "fractional room": lambda m: m.nn.functional.fractional_max_pool2d(m.ones(1, 1, 4, 4), 2, 4),
    "fractional ratio": lambda m: m.nn.FractionalMaxPool2d(2, output_ratio=1.5),
    "fractional both": lambda m: m.nn.FractionalMaxPool2d(2, 2, 0.5),
}  # fmt: skip


@pytest.mark.parametrize("mistake", table(WRONG_POOLS))
def test_wrong_pools_raise_as_in_torch(mistake: Callable[[Any], Any]) -> None:
    """写错的池化没有报错，或报错的类型与 torch 不同。"""
    same_error(mistake)


LAYERS: dict[str, tuple[Callable[[Any], Any], Shape]] = {
    "Conv1d": (lambda nn: nn.Conv1d(4, 6, 3, padding=1, groups=2), (2, 4, 6)),
    "Conv2d": (lambda nn: nn.Conv2d(3, 4, (3, 2), (2, 1), "valid", bias=False), (2, 3, 6, 5)),
    "Conv2d same": (lambda nn: nn.Conv2d(3, 4, (4, 3), padding="same", padding_mode="circular"), (2, 3, 6, 5)),
    "Conv2d reflect": (lambda nn: nn.Conv2d(3, 4, 3, padding=(1, 2), padding_mode="reflect", dilation=1), (3, 6, 5)),
    "Conv3d": (lambda nn: nn.Conv3d(2, 3, 2, padding=1, padding_mode="replicate"), (1, 2, 3, 4, 3)),
    "ConvTranspose1d": (lambda nn: nn.ConvTranspose1d(4, 6, 3, 2, 1, 1, 2), (2, 4, 5)),
    "ConvTranspose2d": (lambda nn: nn.ConvTranspose2d(3, 2, 3, stride=2, dilation=2, bias=False), (1, 3, 4, 3)),
    "ConvTranspose3d": (lambda nn: nn.ConvTranspose3d(2, 2, 2), (1, 2, 2, 3, 2)),
    "Unfold": (lambda nn: nn.Unfold(2, padding=1), (1, 2, 3, 4)),
    "Fold": (lambda nn: nn.Fold((4, 3), 2), (1, 8, 6)),
    "pools": (lambda nn: nn.Sequential(nn.MaxPool2d(2, 1), nn.AvgPool2d(3, 2, 1), nn.AdaptiveMaxPool2d(2)), (2, 7, 8)),
    "pools 1d": (lambda nn: nn.Sequential(nn.MaxPool1d(3, 1, 1), nn.AvgPool1d(2), nn.AdaptiveAvgPool1d(2)), (1, 2, 9)),
    "pools 3d": (lambda nn: nn.Sequential(nn.MaxPool3d(2, 1), nn.AvgPool3d(2), nn.AdaptiveAvgPool3d(1)), (1, 4, 4, 4)),
    "LPPool2d": (lambda nn: nn.Sequential(nn.Softplus(), nn.LPPool2d(2, 3, stride=2)), (1, 2, 7, 6)),
    "adaptive": (lambda nn: nn.Sequential(nn.AdaptiveMaxPool3d((None, 2, 1)), nn.AdaptiveMaxPool2d(1)), (2, 3, 4, 2)),
    "CNN": (
        lambda nn: nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 6, 3), nn.ReLU(),
            nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(24, 3),
        ),
        (3, 1, 10, 10),
    ),
}  # fmt: skip


def _filled(m: Any, build: Callable[[Any], Any]) -> Any:
    """造一层，参数换成固定的 float64 数。"""
    layer = build(m.nn).to(m.float64)
    with m.no_grad():
        for i, p in enumerate(layer.parameters()):
            p.copy_(m.tensor(values(i + 1, *p.shape) / 3))
    return layer


@pytest.mark.parametrize("name", sorted(LAYERS))
def test_layers_start_print_and_compute_as_in_torch(name: str) -> None:
    """同一种子之下，层的初值、参数名、打印、输出或梯度与 torch 不同。"""
    build, shape = LAYERS[name]

    def start(m: Any) -> Any:
        m.manual_seed(4)
        layer = build(m.nn)
        return repr(layer), list(layer.state_dict()), list(layer.state_dict().values())

    def run(m: Any) -> Any:
        layer, x = _filled(m, build), m.tensor(values(0, *shape), requires_grad=True)
        y = layer(x)
        (y * y.cos()).sum().backward()
        return y, x.grad, *(p.grad for p in layer.parameters())

    same(start, "random normal", name)
    same(run, what=name)


def test_transposed_layer_reaches_the_size_asked_for() -> None:
    """``output_size`` 没有决定转置卷积的长度，或池化的逆没有用上它。"""

    def run(m: Any) -> Any:
        layer = m.nn.ConvTranspose2d(2, 3, 3, stride=2, padding=1)
        sizes = [tuple(layer(m.ones(1, 2, 4, 5), output_size=size).shape) for size in ([8, 10], [1, 3, 7, 9])]
        values, indices = m.nn.MaxPool2d(2, return_indices=True)(m.ones(1, 1, 5, 5))
        return *sizes, tuple(m.nn.MaxUnpool2d(2)(values, indices, output_size=(1, 1, 5, 5)).shape)

    same(run)


def test_small_network_learns_as_in_torch() -> None:
    """一个小卷积网络训练几步之后，损失或参数与 torch 不同。"""

    def run(m: Any) -> Any:
        net = _filled(m, LAYERS["CNN"][0])
        x, target = m.tensor(values(1, 8, 1, 10, 10)), m.tensor([0, 1, 2, 0, 1, 2, 0, 1])
        optimiser, losses = m.optim.SGD(net.parameters(), lr=0.1), []
        for _ in range(5):
            optimiser.zero_grad()
            loss = m.nn.functional.cross_entropy(net(x), target)
            loss.backward()
            optimiser.step()
            losses.append(loss.detach())
        return losses, [p.detach() for p in net.state_dict().values()]

    ours, theirs = both(run)
    assert ours[0][-1] < ours[0][0]
    for mine, expected in zip([*ours[0], *ours[1]], [*theirs[0], *theirs[1]], strict=True):
        assert_close(mine, expected, "gpt training float64")
