"""卷积、窗口、补边与重采样的对照，格式同 ``op_table.py``。"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from hypothesis import strategies as st

from parity_tests.engine.op_cases import Case, Row, size
from parity_tests.strategies import Draw, array, integers
from tinygrad_llm.ops.convolution import Window
from tinygrad_llm.ops.resampling import Sparse

CONV: list[Any] = [F.conv1d, F.conv2d, F.conv3d]
TRANSPOSE: list[Any] = [F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d]


def _slide(draw: Draw, small: bool) -> tuple[Window, tuple[int, ...], tuple[int, ...]]:
    """一个窗口、输入与输出的空间形状；输出可以用不完输入，也可以伸到右侧的补零里。"""
    axes = draw(st.integers(1, 1 if small else 3))
    most = 3 if axes < 3 else 2
    kernel, stride, dilation = (tuple(draw(st.integers(1, most)) for _ in range(axes)) for _ in range(3))
    padding = tuple(draw(st.integers(0, 2)) for _ in range(axes))
    out = tuple(draw(st.integers(1, 2 if small else most)) for _ in range(axes))
    extent = tuple(draw(st.integers(1, 3 if small else 5)) for _ in range(axes))
    return Window(kernel, stride, padding, dilation), extent, out


def _channels(draw: Draw, small: bool) -> tuple[int, int, int, int]:
    """批大小、输入与输出的通道数、组数。"""
    groups = draw(st.integers(1, 2))
    most = 1 if small else 2
    return draw(st.integers(1, 2)), groups * draw(st.integers(1, most)), groups * draw(st.integers(1, most)), groups


def _convolution(draw: Draw, small: bool) -> Case:
    window, extent, out = _slide(draw, small)
    n, c, o, groups = _channels(draw, small)
    x, weight = array(draw, (n, c, *extent)), array(draw, (o, c // groups, *window.kernel))
    return [x, weight], {"window": window, "groups": groups, "out": out}


def _conv_transpose(draw: Draw, small: bool) -> Case:
    window, extent, out = _slide(draw, small)
    n, c, o, groups = _channels(draw, small)
    x, weight = array(draw, (n, o, *out)), array(draw, (o, c // groups, *window.kernel))
    return [x, weight], {"window": window, "groups": groups, "size": extent}


def _conv_weight(draw: Draw, small: bool) -> Case:
    window, extent, out = _slide(draw, small)
    n, c, o, groups = _channels(draw, small)
    return [array(draw, (n, c, *extent)), array(draw, (n, o, *out))], {"window": window, "groups": groups}


def _im2col(draw: Draw, small: bool) -> Case:
    window, extent, out = _slide(draw, small)
    return [array(draw, (2, 1, *extent))], {"window": window, "out": out}


def _col2im(draw: Draw, small: bool) -> Case:
    window, extent, out = _slide(draw, small)
    return [array(draw, (1, 2, *window.kernel, *out))], {"window": window, "size": extent}


def _fitted(x: Any, window: Window, out: tuple[int, ...]) -> Any:
    """补零或裁到恰好放下 ``out`` 个窗口。"""
    reach = window.reach(out)
    x = F.pad(x, [side for r, p in zip(reach[::-1], window.padding[::-1], strict=True) for side in (p, r)])
    for i, length in enumerate(reach):
        x = x.narrow(2 + i, 0, length)
    return x


def _convolution_twin(x: Any, weight: Any, window: Window, groups: int, out: tuple[int, ...]) -> Any:
    return CONV[len(out) - 1](_fitted(x, window, out), weight, None, window.stride, 0, window.dilation, groups)


def _conv_transpose_twin(x: Any, weight: Any, window: Window, groups: int, size: tuple[int, ...]) -> Any:
    y = TRANSPOSE[len(size) - 1](x, weight, None, window.stride, 0, 0, groups, window.dilation)
    y = F.pad(y, [side for n, p in zip(size[::-1], window.padding[::-1], strict=True) for side in (0, n + p)])
    for i, length in enumerate(size):
        y = y.narrow(2 + i, window.padding[i], length)
    return y


def _conv_weight_twin(x: Any, g_in: Any, window: Window, groups: int) -> Any:
    shape = (g_in.shape[1], x.shape[1] // groups, *window.kernel)
    weight = torch.zeros(shape, dtype=x.dtype, requires_grad=True)
    y = _convolution_twin(x, weight, window, groups, tuple(g_in.shape[2:]))
    return torch.autograd.grad(y, weight, g_in, create_graph=True)[0]


def _im2col_twin(x: Any, window: Window, out: tuple[int, ...]) -> Any:
    x, axes = _fitted(x, window, out), len(out)
    for i in range(axes):
        reach = window.dilation[i] * (window.kernel[i] - 1) + 1
        x = x.unfold(2 + i, reach, window.stride[i])[..., :: window.dilation[i]]
    return x.permute(0, 1, *range(2 + axes, 2 + 2 * axes), *range(2, 2 + axes))


def _col2im_twin(x: Any, window: Window, size: tuple[int, ...]) -> Any:
    source = torch.zeros((*x.shape[:2], *size), dtype=x.dtype, requires_grad=True)
    columns = _im2col_twin(source, window, tuple(x.shape[2 + len(size) :]))
    return torch.autograd.grad(columns, source, x, create_graph=True)[0]


def _resample(draw: Draw, small: bool) -> Case:
    shape = size(draw, small, 1, 1)
    dim, length, count = draw(st.integers(0, len(shape) - 1)), draw(st.integers(1, 3)), draw(st.integers(0, 6))
    rows, columns = integers(draw, (count,), 0, length), integers(draw, (count,), 0, shape[dim])
    weights = np.ones(count) if draw(st.booleans()) else array(draw, (count,), layout=False)
    return [array(draw, shape)], {"matrix": Sparse(rows, columns, weights, (length, shape[dim])), "dim": dim}


def _resample_twin(x: Any, matrix: Sparse, dim: int) -> Any:
    places = torch.from_numpy(matrix.rows), torch.from_numpy(matrix.columns)
    dense = torch.zeros(matrix.shape, dtype=x.dtype)
    dense.index_put_(places, torch.from_numpy(matrix.weights).to(x.dtype), accumulate=True)
    return (x.movedim(dim, -1) @ dense.T).movedim(-1, dim)


def _pad_constant(draw: Draw, small: bool) -> Case:
    shape = size(draw, small, 0, 1)
    sides = st.sampled_from([(0, 0), (1, 0), (0, 2), (2, 1), (-1, 1), (1, -1), (-1, 0)])
    pads = tuple(draw(sides) for _ in shape)
    return [array(draw, shape)], {"pads": pads, "value": draw(st.sampled_from([0.0, 1.5]))}


def _pad_constant_twin(x: Any, pads: tuple[tuple[int, int], ...], value: float) -> Any:
    return F.pad(x, [side for pair in reversed(pads) for side in pair], value=value)


ROWS: dict[str, Row] = {
    "convolution": Row(_convolution, _convolution_twin),
    "conv_transpose": Row(_conv_transpose, _conv_transpose_twin),
    "conv_weight": Row(_conv_weight, _conv_weight_twin),
    "im2col": Row(_im2col, _im2col_twin),
    "col2im": Row(_col2im, _col2im_twin),
    "resample": Row(_resample, _resample_twin),
    "pad_constant": Row(_pad_constant, _pad_constant_twin),
}
