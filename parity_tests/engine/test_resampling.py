"""补边、插值与按坐标采样：值、梯度与报错都与 torch 相同。"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_llm as tg
from parity_tests.engine.twins import ENGINES, same, same_error, same_gradient, table, values
from parity_tests.tolerances import assert_close

Shape = tuple[int, ...]

PADS: dict[str, tuple[Shape, list[int], str]] = {
    "constant": ((2, 3), [1, 2, 0, 1], "constant"),
    "constant crops": ((3, 4), [-1, 2, 1, -2], "constant"),
    "constant crops everything": ((3, 4), [-2, -2], "constant"),
    "constant of four axes": ((2, 1, 3, 2), [1, 1, 0, 1, 2, 0, 0, 1], "constant"),
    "reflect 1d": ((2, 4), [3, 1], "reflect"),
    "reflect 2d": ((2, 3, 4), [1, 3, 2, 0], "reflect"),
    "reflect 3d": ((1, 2, 3, 2, 4), [1, 1, 1, 0, 2, 2], "reflect"),
    "reflect crops": ((2, 3, 5), [-2, 3], "reflect"),
    "replicate 2d": ((1, 2, 3, 4), [5, 1, 0, 2], "replicate"),
    "replicate crops": ((2, 3, 4), [-2, 3, 1, -1], "replicate"),
    "circular 1d": ((2, 3, 4), [4, 2], "circular"),
    "circular 3d": ((1, 2, 3, 2, 4), [1, 1, 1, 2, 3, 0], "circular"),
    "circular of zero batch": ((0, 3, 4), [1, 1], "circular"),
}


@pytest.mark.parametrize("case", table(PADS))
def test_padding_equals_torch(case: tuple[Shape, list[int], str]) -> None:
    """补边或裁边的结果、梯度与 torch 不同。"""
    shape, pads, mode = case
    same_gradient(lambda m, x: m.nn.functional.pad(x, pads, mode), values(0, *shape))


def test_constants_and_integers_are_padded_too() -> None:
    """补的常数、整数与布尔的补边与 torch 不同。"""
    pad = [1, 0, 0, 2]
    same(lambda m: m.nn.functional.pad(m.arange(6).reshape(2, 3), pad, value=7), "exact")
    same(lambda m: m.nn.functional.pad(m.ones(2, 3) > 0, pad), "exact")
    same(lambda m: m.nn.functional.pad(m.arange(6).reshape(1, 2, 3), pad[:2], "reflect"), "exact")
    same(lambda m: m.constant_pad_nd(m.tensor(values(0, 2, 3)), [1, -1], 0.5))
    same(lambda m: m.nn.functional.pad(m.tensor([[np.inf, np.nan, 1.0]]), [2, 2], "reflect"))


WRONG_PADS: dict[str, Callable[[Any], Any]] = {
    "odd": lambda m: m.nn.functional.pad(m.ones(2, 3), [1]),
    "too many": lambda m: m.nn.functional.pad(m.ones(3), [1, 1, 1, 1]),
    "fraction": lambda m: m.nn.functional.pad(m.ones(3), [1.0, 1.0]),
    "crops too much": lambda m: m.nn.functional.pad(m.ones(3), [-4, 2]),
    "reflects too far": lambda m: m.nn.functional.pad(m.ones(2, 3), [3, 0], "reflect"),
    "wraps twice": lambda m: m.nn.functional.pad(m.ones(1, 2, 3), [4, 0], "circular"),
    "reflects to nothing": lambda m: m.nn.functional.pad(m.ones(2, 3), [-2, -1], "reflect"),
    "value with reflect": lambda m: m.nn.functional.pad(m.ones(2, 3), [1, 0], "reflect", 2.0),
    "rank": lambda m: m.nn.functional.pad(m.ones(3), [1, 0], "reflect"),
    "mode": lambda m: m.nn.functional.pad(m.ones(3), [1, 0], "mirror"),
    "circular layer": lambda m: m.nn.CircularPad2d(1)(m.ones(2, 2)),
}


@pytest.mark.parametrize("mistake", table(WRONG_PADS))
def test_wrong_padding_raises_as_in_torch(mistake: Callable[[Any], Any]) -> None:
    """写错的补边没有报错，或报错的类型与 torch 不同。"""
    same_error(mistake)


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("kind", ["Reflection", "Replication", "Circular", "Zero", "Constant"])
def test_padding_layers_equal_torch(kind: str, axes: int) -> None:
    """补边层的打印或结果与 torch 不同；一个数表示每边同样多。"""
    rest = (0.5,) if kind == "Constant" else ()
    for padding in (1, (1, 2) * axes, [2, 0] * axes):

        def run(m: Any, padding: Any = padding) -> Any:
            layer = getattr(m.nn, f"{kind}Pad{axes}d")(padding, *rest)
            return layer(m.tensor(values(axes, *(1, 2, 3, 4, 3)[: axes + 2]))), repr(layer)

        same(run, what=str(padding))


MODES = {"nearest": 0, "nearest-exact": 0, "area": 0, "linear": 1, "bilinear": 2, "bicubic": 2, "trilinear": 3}


@given(data=st.data())
def test_interpolation_equals_torch(data: st.DataObject) -> None:
    """随机的大小、倍数与方式之下，插值的值或梯度与 torch 不同。"""
    mode = data.draw(st.sampled_from(sorted(MODES)))
    axes = MODES[mode] or data.draw(st.integers(1, 3))
    lengths = data.draw(st.lists(st.integers(1, 7), min_size=axes, max_size=axes))
    settings: dict[str, Any] = {"mode": mode}
    if data.draw(st.booleans()):
        settings["size"] = data.draw(st.lists(st.integers(1, 9), min_size=axes, max_size=axes))
    else:  # 1/n 的倍数可以整除，torch 的前向与反向取的下标也就一致
        settings["scale_factor"] = data.draw(st.sampled_from([1, 2, 3, 1.5, 2.5]))
        settings["recompute_scale_factor"] = data.draw(st.sampled_from([None, True, False]))
    if MODES[mode]:
        settings["align_corners"] = data.draw(st.sampled_from([None, True, False]))
    x = values(data.draw(st.integers(0, 99)), 2, 1, *lengths)
    same_gradient(lambda m, t: m.nn.functional.interpolate(t, **settings), x, what=str((lengths, settings)))


SMOOTH = [*itertools.product(["bilinear", "bicubic"], [False, True]), ("lanczos", False)]


@pytest.mark.parametrize("size", [(4, 5), (3, 12), (9, 7), (13, 2)])  # 宽为 1 时 torch 自己不沿高度插值
@pytest.mark.parametrize(("mode", "corners"), SMOOTH)
def test_antialiased_interpolation_equals_torch(mode: str, corners: bool, size: tuple[int, int]) -> None:
    """抗锯齿的插值与 torch 不同。"""
    same_gradient(
        lambda m, x: m.nn.functional.interpolate(x, size, None, mode, corners, antialias=True), values(0, 1, 2, 9, 7)
    )


@pytest.mark.parametrize("mode", ["nearest", "bilinear", "bicubic", "area"])
def test_interpolation_carries_nan_only_where_it_is_used(mode: str) -> None:
    """一个 NaN 或 inf 染到了不相干的位置，或没有传下去。"""
    x = values(0, 1, 1, 5, 6)
    x[0, 0, 1, 2], x[0, 0, 4, 5] = np.nan, np.inf
    with np.errstate(invalid="ignore"):
        same(lambda m: m.nn.functional.interpolate(m.tensor(x), (7, 8), mode=mode))


WRONG_SIZES: dict[str, Callable[[Any], Any]] = {
    "both": lambda m: m.nn.functional.interpolate(m.ones(1, 1, 2), 2, 2.0),
    "neither": lambda m: m.nn.functional.interpolate(m.ones(1, 1, 2)),
    "entries": lambda m: m.nn.functional.interpolate(m.ones(1, 1, 2), (2, 2)),
    "fraction": lambda m: m.nn.functional.interpolate(m.ones(1, 1, 2, 2), (2.5, 2.5)),
    "corners of nearest": lambda m: m.nn.functional.interpolate(m.ones(1, 1, 2), 3, align_corners=True),
    "rank": lambda m: m.nn.functional.interpolate(m.ones(1, 1, 2), 3, mode="bilinear"),
    "mode": lambda m: m.nn.functional.interpolate(m.ones(1, 1, 2), 3, mode="magic"),
    "no spatial axis": lambda m: m.nn.functional.interpolate(m.ones(1, 1), 3),
    "antialiased nearest": lambda m: m.nn.functional.interpolate(m.ones(1, 1, 2, 2), 3, antialias=True),
    "lanczos": lambda m: m.nn.functional.interpolate(m.ones(1, 1, 2, 2), 3, mode="lanczos"),
    "recompute": lambda m: m.nn.functional.interpolate(m.ones(1, 1, 2), 3, recompute_scale_factor=True),
    "zero": lambda m: m.nn.functional.interpolate(m.ones(1, 1, 2), 0),
    "integers": lambda m: m.nn.functional.interpolate(m.ones(1, 1, 2).long(), 3, mode="linear"),
    "grid rank": lambda m: m.nn.functional.grid_sample(m.ones(1, 1, 2, 2), m.ones(1, 2, 2), align_corners=False),
    "grid mode": lambda m: m.nn.functional.grid_sample(m.ones(1, 1, 2, 2), m.ones(1, 1, 1, 2), "magic"),
    "grid padding": lambda m: m.nn.functional.grid_sample(m.ones(1, 1, 2, 2), m.ones(1, 1, 1, 2), padding_mode="wrap"),
    "affine shape": lambda m: m.nn.functional.affine_grid(m.ones(1, 2, 2), (1, 1, 2, 2), False),
    "affine type": lambda m: m.nn.functional.affine_grid(m.ones(1, 2, 3).long(), (1, 1, 2, 2), False),
    "affine rank": lambda m: m.nn.functional.affine_grid(m.ones(1, 2, 3), (1, 2, 2), False),
}


@pytest.mark.parametrize("mistake", table(WRONG_SIZES))
def test_wrong_interpolation_raises_as_in_torch(mistake: Callable[[Any], Any]) -> None:
    """写错的插值或采样没有报错，或报错的类型与 torch 不同。"""
    same_error(mistake)


def test_upsampling_layers_and_old_names_equal_torch() -> None:
    """插值层的打印或结果、已弃用的旧名与 torch 不同。"""

    def run(m: Any) -> Any:
        x, nn, F = m.tensor(values(0, 1, 2, 3, 4)), m.nn, m.nn.functional
        layers = [
            nn.Upsample(size=(5, 6), mode="bicubic"),
            nn.Upsample(scale_factor=(2, 1.5), mode="bilinear", align_corners=True),
            nn.Upsample(scale_factor=2),
            nn.UpsamplingNearest2d(scale_factor=2),
            nn.UpsamplingBilinear2d((4, 7)),
        ]
        old = F.upsample(x, scale_factor=2), F.upsample_nearest(x, (4, 4)), F.upsample_bilinear(x, scale_factor=3)
        return [layer(x) for layer in layers], [repr(layer) for layer in layers], old

    same(run)
    for m in ENGINES:
        with pytest.warns(UserWarning, match="deprecated"):
            m.nn.functional.upsample(m.ones(1, 1, 2), 3)


SAMPLERS = list(itertools.product(["bilinear", "nearest", "bicubic"], ["zeros", "border", "reflection"], [False, True]))


@pytest.mark.parametrize(("mode", "padding", "corners"), SAMPLERS)
def test_sampling_at_positions_equals_torch(mode: str, padding: str, corners: bool) -> None:
    """按坐标采样的值、对图像与对仿射矩阵的梯度与 torch 不同。"""
    for axes in (2, 3) if mode != "bicubic" else (2,):

        def run(m: Any, axes: int = axes) -> Any:
            x = m.tensor(values(0, 2, 2, *(3, 4, 2)[:axes]), requires_grad=True)
            theta = m.tensor(values(1, 2, axes, axes + 1) / 2, requires_grad=True)
            grid = m.nn.functional.affine_grid(theta, (2, 2, *(4, 3, 2)[:axes]), align_corners=corners)
            y = m.nn.functional.grid_sample(x, grid, mode, padding, corners)
            (y * y.cos()).sum().backward()
            return grid, y, x.grad, m.zeros_like(theta) if mode == "nearest" else theta.grad

        same(run, what=f"{axes}d")


@pytest.mark.parametrize(("mode", "padding", "corners"), SAMPLERS)
def test_sampling_far_outside_is_safe(mode: str, padding: str, corners: bool) -> None:
    """坐标是无穷或 NaN 时崩溃、给出警告，或结果与 torch 不同。"""
    places = [[[[np.inf, 0.0], [-np.inf, 0.3], [np.nan, 0.2], [3.0, -5.0]]]]
    x = values(0, 1, 1, 3, 4)
    ours, theirs = (
        m.nn.functional.grid_sample(m.tensor(x), m.tensor(places, dtype=m.float64), mode, padding, corners)
        for m in ENGINES
    )
    assert_close(ours, theirs, "float64")


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
def test_sampling_has_second_derivatives(mode: str) -> None:
    """采样对图像与坐标的二阶导与中心差分不同。"""
    inputs = [tg.tensor(x, requires_grad=True) for x in (values(0, 1, 1, 3, 3), values(1, 1, 1, 2, 2) / 3)]
    assert tg.gradgradcheck(lambda x, grid: tg.nn.functional.grid_sample(x, grid, mode, "zeros", False), inputs)


def test_float32_interpolation_stays_float32() -> None:
    """float32 的插值变了 dtype 或精度不够。"""
    x = values(0, 1, 2, 5, 6).astype(np.float32)
    for mode in ("nearest", "bilinear", "bicubic", "area"):
        ours, theirs = (m.nn.functional.interpolate(m.tensor(x), (7, 11), mode=mode) for m in ENGINES)
        assert_close(ours, theirs, "float32", mode)
