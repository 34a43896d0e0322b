"""快速傅里叶变换：值、dtype、梯度与报错都与 torch 相同，变换与反变换互逆。"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_llm as tg
from parity_tests.engine.twins import same, same_error, table, values

NORMS = [None, "backward", "forward", "ortho"]
ONE = ["fft", "ifft", "rfft", "irfft", "hfft", "ihfft"]
MANY = ["fft2", "ifft2", "fftn", "ifftn", "rfft2", "irfft2", "rfftn", "irfftn", "hfft2", "ihfft2", "hfftn", "ihfftn"]
REAL_ONLY = {"rfft", "rfft2", "rfftn", "ihfft", "ihfft2", "ihfftn"}


def _signals(name: str) -> list[Any]:
    """实数的信号；收复数的变换再加一个复数的。"""
    x = values(0, 2, 3, 4)
    return [x] if name in REAL_ONLY else [x, x + 1j * values(1, 2, 3, 4)]


def _same(name: str, x: Any, *args: Any, **options: Any) -> None:
    """变换的值与对信号的梯度。"""

    def run(m: Any) -> Any:
        signal = m.tensor(x, requires_grad=True)
        y = getattr(m.fft, name)(signal, *args, **options)
        total = m.view_as_real(y.resolve_conj()) if y.is_complex() else y
        (total * m.tensor(np.cos(np.arange(total.numel())).reshape(tuple(total.shape)))).sum().backward()
        return y, signal.grad

    same(run, what=f"{name}{args}{options}")


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", ONE)
def test_a_transform_along_one_dim_differs(name: str, norm: str | None) -> None:
    """一维变换在某种长度、轴与系数之下的值或梯度与 torch 不同。"""
    for x in _signals(name):
        for n, dim in [(None, -1), (3, -1), (7, 1), (1, 0), (2, -2)]:
            _same(name, x, n, dim, norm)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", MANY)
def test_a_transform_along_several_dims_differs(name: str, norm: str | None) -> None:
    """多维变换在某种长度、轴与系数之下的值或梯度与 torch 不同。"""
    for x in _signals(name):
        for s, dim in [(None, (-2, -1)), ((5, 2), (0, 1)), ((3, -1), (2, 0)), (None, (1,)), ((2, 3), (-1, -2))]:
            _same(name, x, s, dim, norm)
        if name[-1] == "n":
            _same(name, x, norm=norm)
            _same(name, x, s=(2, 5), norm=norm)
            _same(name, x, 3, 1, norm)


@pytest.mark.parametrize("dtype", ["float32", "int64", "bool", "complex64"])
@pytest.mark.parametrize("name", ["fft", "rfft", "irfft", "fftn", "ihfft"])
def test_the_dtype_of_a_transform_differs(name: str, dtype: str) -> None:
    """某种 dtype 的变换结果类型或值与 torch 不同。"""
    if dtype != "complex64" or name not in REAL_ONLY:
        same(lambda m: getattr(m.fft, name)(m.arange(6).view(2, 3).to(getattr(m, dtype))), "float32")


HELPERS: dict[str, Callable[[Any], Any]] = {
    "fftfreq": lambda m: (m.fft.fftfreq(5), m.fft.fftfreq(4, d=0.5), m.fft.fftfreq(3, dtype=m.float64)),
    "rfftfreq": lambda m: (m.fft.rfftfreq(5), m.fft.rfftfreq(4, 0.5), m.fft.rfftfreq(1, requires_grad=True)),
    "fftshift": lambda m: (m.fft.fftshift(m.arange(6).view(2, 3)), m.fft.fftshift(m.arange(5), dim=0)),
    "ifftshift": lambda m: (m.fft.ifftshift(m.arange(6).view(2, 3), dim=(1,)), m.fft.ifftshift(m.tensor([1j, 2, 3]))),
}


@pytest.mark.parametrize("case", table(HELPERS))
def test_frequencies_and_shifts_differ(case: Callable[[Any], Any]) -> None:
    """频率表或移位与 torch 不同。"""
    same(case)


MISTAKES: dict[str, Callable[[Any], Any]] = {
    "complex signal of a real transform": lambda m: m.fft.rfft(m.ones(3, dtype=m.complex64)),
    "complex signal of ihfft": lambda m: m.fft.ihfft(m.ones(3, dtype=m.complex64)),
    "no points": lambda m: m.fft.fft(m.ones(3), n=0),
    "an empty dim": lambda m: m.fft.fft(m.ones(3, 0)),
    "one frequency of a real signal": lambda m: m.fft.irfft(m.ones(1)),
    "a dim that is not there": lambda m: m.fft.fft(m.ones(3), dim=1),
    "a scalar": lambda m: m.fft.fft(m.tensor(1.0)),
    "one dim twice": lambda m: m.fft.fftn(m.ones(2, 2), dim=(0, -2)),
    "sizes and dims": lambda m: m.fft.fftn(m.ones(2, 2), s=(2, 2), dim=(0,)),
    "two dims of a vector": lambda m: m.fft.fft2(m.ones(2)),
    "no dims": lambda m: m.fft.rfftn(m.ones(2), dim=()),
    "an unknown norm": lambda m: m.fft.fft(m.ones(2), norm="half"),
    "half precision": lambda m: m.fft.fft(m.ones(2).half()),
    "not a tensor": lambda m: m.fft.fft([1.0, 2.0]),
}


@pytest.mark.parametrize("case", table(MISTAKES))
def test_a_mistaken_transform_goes_through(case: Callable[[Any], Any]) -> None:
    """torch 拒绝的写法没有报错，或报另一类错。"""
    same_error(case)


@pytest.mark.parametrize("norm", NORMS)
def test_the_inverse_does_not_undo_the_transform(norm: str | None) -> None:
    """变换之后反变换，回不到原来的信号。"""
    z, x = tg.tensor(values(0, 3, 5) + 1j * values(1, 3, 5)), tg.tensor(values(2, 3, 5))
    assert tg.allclose(tg.fft.ifft2(tg.fft.fft2(z, norm=norm), norm=norm), z)
    assert tg.allclose(tg.fft.irfftn(tg.fft.rfftn(x, norm=norm), s=(3, 5), norm=norm), x)
    assert tg.allclose(tg.fft.hfft(tg.fft.ihfft(x, norm=norm), n=5, norm=norm), x)
    assert tg.equal(tg.fft.ifftshift(tg.fft.fftshift(x)), x)


def test_the_derivative_of_a_filter_is_not_the_central_difference() -> None:
    """在频率上滤波（变换、逐元素乘、反变换）的导数或二阶导与中心差分不同。"""
    x, w = (tg.tensor(values(i, 2, n), requires_grad=True) for i, n in enumerate((6, 4)))
    assert tg.gradcheck(lambda x, w: tg.fft.irfft(tg.fft.rfft(x) * tg.complex(w, w * w), n=5), [x, w])
    assert tg.gradgradcheck(lambda x: tg.fft.fft2(x).abs(), [x], fast_mode=True)
