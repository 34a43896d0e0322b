"""复数算子的对照，格式同 ``op_table.py``。"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st

from parity_tests.engine.op_cases import Case, Row, size
from parity_tests.strategies import Draw, array, broadcastable

NORMS = ["backward", "forward", "ortho"]


def complex_array(draw: Draw, shape: tuple[int, ...], domain: str = "any") -> Any:
    """实部与虚部各抽各的。"""
    return np.asarray(array(draw, shape, domain) + 1j * array(draw, shape, domain))


def _unary(domain: str, *edges: str) -> Callable[[Draw, bool], Case]:
    """一个复数的函数；差分时离 0 远一些，与 torch 对照时还取 ``edges``。"""

    def draw(draw: Draw, small: bool) -> Case:
        return [
            complex_array(draw, size(draw, small), domain if small else draw(st.sampled_from([domain, *edges])))
        ], {}

    return draw


def _parts(first: str) -> Callable[[Draw, bool], Case]:
    """两个互相可广播的实数。"""

    def draw(draw: Draw, small: bool) -> Case:
        a, b = draw(broadcastable(2, 2 if small else 4, 1 if small else 0))
        return [array(draw, a, first), array(draw, b)], {}

    return draw


def _pairs(draw: Draw, small: bool) -> Case:
    """最后一轴是实部与虚部；torch 的两种看法都不认空数组的步长。"""
    return [array(draw, (*size(draw, small, min_side=1), 2), layout=False)], {}


def _numbers(draw: Draw, small: bool) -> Case:
    return [complex_array(draw, size(draw, small, min_side=1))], {}


def _signal(draw: Draw, small: bool, is_complex: bool) -> tuple[Any, int]:
    """一段信号与要变换的轴。"""
    shape = size(draw, small, min_dims=1, min_side=1)
    return (complex_array if is_complex else array)(draw, shape), draw(st.integers(0, len(shape) - 1))


def _c2c(draw: Draw, small: bool) -> Case:
    x, first = _signal(draw, small, True)
    dim = tuple(sorted({first, draw(st.integers(0, x.ndim - 1))}))
    return [x], {"dim": dim, "inverse": draw(st.booleans()), "norm": draw(st.sampled_from(NORMS))}


def _r2c(draw: Draw, small: bool) -> Case:
    x, dim = _signal(draw, small, False)
    return [x], {"dim": dim, "norm": draw(st.sampled_from(NORMS))}


def _c2r(draw: Draw, small: bool) -> Case:
    x, dim = _signal(draw, small, True)
    n = max(1, 2 * (x.shape[dim] - 1) + draw(st.integers(0, 1)))
    return [x], {"dim": dim, "n": n, "norm": draw(st.sampled_from(NORMS))}


def _c2c_twin(x: Any, dim: tuple[int, ...], inverse: bool, norm: str) -> Any:
    return (torch.fft.ifftn if inverse else torch.fft.fftn)(x, dim=dim, norm=norm)


ROWS: dict[str, Row] = {
    "conj": Row(_unary("any"), torch.conj_physical),
    "real": Row(_unary("any"), torch.real),
    "imag": Row(_unary("any"), torch.imag),
    "complex": Row(_parts("any"), torch.complex),
    "polar": Row(_parts("positive"), torch.polar),
    "view_as_real": Row(_numbers, torch.view_as_real),
    "view_as_complex": Row(_pairs, torch.view_as_complex),
    "complex_abs": Row(_unary("nonzero", "ties"), torch.abs),
    "complex_angle": Row(_unary("nonzero", "ties"), torch.angle),
    "sgn": Row(_unary("nonzero", "ties"), torch.sgn),
    "fft_c2c": Row(_c2c, _c2c_twin),
    "fft_r2c": Row(_r2c, lambda x, dim, norm: torch.fft.rfft(x, dim=dim, norm=norm)),
    "fft_c2r": Row(_c2r, lambda x, dim, n, norm: torch.fft.irfft(x, n, dim=dim, norm=norm)),
}
"""算子名 → 对照。"""
