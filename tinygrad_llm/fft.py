"""快速傅里叶变换：``torch.fft`` 的名字与约定。

流入：Tensor、各轴的长度、轴与系数的放法；流出：Tensor。补零、裁剪与多维的次序在这里，变换与导数在 ``ops/fourier.py``。
整数先变成缺省浮点类型。``norm`` 是 ``"backward"``（缺省，``1/n`` 放在反变换）、``"forward"`` 或 ``"ortho"``。
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygrad_llm import dtypes
from tinygrad_llm.absent import attributes
from tinygrad_llm.creation import finish, float_type
from tinygrad_llm.layouts import strided
from tinygrad_llm.methods.arithmetic import as_float
from tinygrad_llm.methods.operands import tensors
from tinygrad_llm.methods.shaping import axis
from tinygrad_llm.ops import fourier as fo
from tinygrad_llm.ops.shape import index, scatter_index
from tinygrad_llm.tensor import Tensor

_LAST_TWO = (-2, -1)


def _checked(name: str, input: Any, norm: str | None, *, real: bool = False) -> tuple[Any, str]:
    """浮点或复数的输入，与系数的放法。

    Raises:
        RuntimeError: ``norm`` 不认识，要实数却是复数，或是 16 位浮点。
    """
    tensors(name, input)
    if norm is not None and norm not in fo.OPPOSITE:
        raise RuntimeError(f"{name}: Invalid normalization mode: {norm!r}")
    if real and input.array.dtype.kind == "c":
        raise RuntimeError(f"{name} expects a real input tensor, but got {input.dtype}")
    x = as_float(input)
    if x.dtype in (dtypes.float16, dtypes.bfloat16):
        raise RuntimeError(f"{name}: Unsupported dtype {x.dtype}")
    return x, norm or "backward"


def _complex(x: Any) -> Any:
    return x if x.array.dtype.kind == "c" else x.to(x.dtype.to_complex())


def _dims(name: str, x: Any, s: Sequence[int] | None, dim: Any) -> tuple[list[int], list[int]]:
    """要变换的轴与各轴的长度。

    Raises:
        IndexError: 轴号超出范围。
        RuntimeError: 轴有重复，个数与 ``s`` 不同，或某根轴没有长度。
    """
    ndim, shape = x.array.ndim, x.array.shape
    s, dim = ((v,) if isinstance(v, int) else v for v in (s, dim))
    given = list(range(-len(s), 0)) if dim is None and s is not None else range(ndim) if dim is None else dim
    if not ndim and len(given):
        raise IndexError(f"{name}: dimension specified as {given[0]} but tensor has no dimensions")
    found = [axis(d, ndim) for d in given]
    if s is not None and len(s) != len(found):
        raise RuntimeError(f"{name}: dim {tuple(given)} and shape {tuple(s)} must have the same length")
    if len(set(found)) < len(found):
        raise RuntimeError(f"{name}: FFT dims must be unique, got {tuple(given)}")
    sizes = [shape[d] if s is None or s[i] == -1 else s[i] for i, d in enumerate(found)]
    if min(sizes, default=1) < 1:
        raise RuntimeError(f"{name}: Invalid number of data points ({min(sizes)}) specified, input has shape {shape}")
    return found, sizes


def _resized(x: Any, dims: Sequence[int], sizes: Sequence[int]) -> Any:
    """各轴补零或裁到给定的长度。"""
    for d, n in zip(dims, sizes, strict=True):
        have = x.array.shape
        key = (*(slice(None),) * d, slice(0, min(n, have[d])))
        if n < have[d]:
            x = index(x, key=key)
        elif n > have[d]:
            x = scatter_index(x, shape=(*have[:d], n, *have[d + 1 :]), key=key)
    return x


def _c2c(name: str, input: Any, s: Any, dim: Any, norm: str | None, inverse: bool) -> Any:
    x, how = _checked(name, input, norm)
    dims, sizes = _dims(name, x, s, dim)
    x = _resized(_complex(x), dims, sizes)
    return fo.fft_c2c(x, dim=tuple(dims), inverse=inverse, norm=how) if dims else x


def _r2c(name: str, input: Any, s: Any, dim: Any, norm: str | None) -> Any:
    x, how = _checked(name, input, norm, real=True)
    dims, sizes = _dims(name, x, s, dim)
    if not dims:
        raise RuntimeError(f"{name} must transform at least one axis")
    y = fo.fft_r2c(_resized(x, dims, sizes), dim=dims[-1], norm=how)
    return fo.fft_c2c(y, dim=tuple(dims[:-1]), inverse=False, norm=how) if dims[1:] else y


def _c2r(name: str, input: Any, s: Any, dim: Any, norm: str | None) -> Any:
    x, how = _checked(name, input, norm)
    dims, sizes = _dims(name, x, s, dim)
    if not dims:
        raise RuntimeError(f"{name} must transform at least one axis")
    wanted = -1 if s is None else s if isinstance(s, int) else s[-1]
    n = 2 * (sizes[-1] - 1) if wanted == -1 else wanted
    if n < 1:
        raise RuntimeError(f"{name}: Invalid number of data points ({n}) specified, input has shape {x.array.shape}")
    x = _resized(_complex(x), dims, [*sizes[:-1], n // 2 + 1])
    if dims[1:]:
        x = fo.fft_c2c(x, dim=tuple(dims[:-1]), inverse=True, norm=how)
    return fo.fft_c2r(x, dim=dims[-1], n=n, norm=how)


def _one(n: int | None) -> tuple[int] | None:
    return None if n is None else (n,)


def _flipped(name: str, norm: str | None) -> str:
    """Hermite 变换与 ``rfft`` 方向相反，系数也放在另一头。"""
    if norm is not None and norm not in fo.OPPOSITE:
        raise RuntimeError(f"{name}: Invalid normalization mode: {norm!r}")
    return fo.OPPOSITE[norm or "backward"]


def fft(input: Any, n: int | None = None, dim: int = -1, norm: str | None = None) -> Any:
    """沿一根轴的离散傅里叶变换。"""
    return _c2c("fft", input, _one(n), (dim,), norm, False)


def ifft(input: Any, n: int | None = None, dim: int = -1, norm: str | None = None) -> Any:
    """``fft`` 的反变换。"""
    return _c2c("ifft", input, _one(n), (dim,), norm, True)


def fft2(input: Any, s: Any = None, dim: Any = _LAST_TWO, norm: str | None = None) -> Any:
    """二维离散傅里叶变换。"""
    return _c2c("fft2", input, s, dim, norm, False)


def ifft2(input: Any, s: Any = None, dim: Any = _LAST_TWO, norm: str | None = None) -> Any:
    """``fft2`` 的反变换。"""
    return _c2c("ifft2", input, s, dim, norm, True)


def fftn(input: Any, s: Any = None, dim: Any = None, norm: str | None = None) -> Any:
    """多维离散傅里叶变换；不给 ``dim`` 则是全部的轴（或最后 ``len(s)`` 根）。"""
    return _c2c("fftn", input, s, dim, norm, False)


def ifftn(input: Any, s: Any = None, dim: Any = None, norm: str | None = None) -> Any:
    """``fftn`` 的反变换。"""
    return _c2c("ifftn", input, s, dim, norm, True)


def rfft(input: Any, n: int | None = None, dim: int = -1, norm: str | None = None) -> Any:
    """实数的傅里叶变换，只给出前一半：后一半是它的共轭。"""
    return _r2c("rfft", input, _one(n), (dim,), norm)


def irfft(input: Any, n: int | None = None, dim: int = -1, norm: str | None = None) -> Any:
    """``rfft`` 的反变换，结果是实数；长度是奇数时必须写明 ``n``。"""
    return _c2r("irfft", input, _one(n), (dim,), norm)


def rfft2(input: Any, s: Any = None, dim: Any = _LAST_TWO, norm: str | None = None) -> Any:
    """实数的二维傅里叶变换，最后一根轴只给出前一半。"""
    return _r2c("rfft2", input, s, dim, norm)


def irfft2(input: Any, s: Any = None, dim: Any = _LAST_TWO, norm: str | None = None) -> Any:
    """``rfft2`` 的反变换。"""
    return _c2r("irfft2", input, s, dim, norm)


def rfftn(input: Any, s: Any = None, dim: Any = None, norm: str | None = None) -> Any:
    """实数的多维傅里叶变换，最后一根轴只给出前一半。"""
    return _r2c("rfftn", input, s, dim, norm)


def irfftn(input: Any, s: Any = None, dim: Any = None, norm: str | None = None) -> Any:
    """``rfftn`` 的反变换。"""
    return _c2r("irfftn", input, s, dim, norm)


def hfft(input: Any, n: int | None = None, dim: int = -1, norm: str | None = None) -> Any:
    """时域上共轭对称的信号的傅里叶变换，结果是实数。"""
    return _c2r("hfft", input.conj(), _one(n), (dim,), _flipped("hfft", norm))


def ihfft(input: Any, n: int | None = None, dim: int = -1, norm: str | None = None) -> Any:
    """``hfft`` 的反变换。"""
    return _r2c("ihfft", input, _one(n), (dim,), _flipped("ihfft", norm)).conj()


def hfft2(input: Any, s: Any = None, dim: Any = _LAST_TWO, norm: str | None = None) -> Any:
    """二维的 ``hfft``。"""
    return _c2r("hfft2", input.conj(), s, dim, _flipped("hfft2", norm))


def ihfft2(input: Any, s: Any = None, dim: Any = _LAST_TWO, norm: str | None = None) -> Any:
    """``hfft2`` 的反变换。"""
    return _r2c("ihfft2", input, s, dim, _flipped("ihfft2", norm)).conj()


def hfftn(input: Any, s: Any = None, dim: Any = None, norm: str | None = None) -> Any:
    """多维的 ``hfft``。"""
    return _c2r("hfftn", input.conj(), s, dim, _flipped("hfftn", norm))


def ihfftn(input: Any, s: Any = None, dim: Any = None, norm: str | None = None) -> Any:
    """``hfftn`` 的反变换。"""
    return _r2c("ihfftn", input, s, dim, _flipped("ihfftn", norm)).conj()


def fftfreq(
    n: int, d: float = 1.0, *, dtype: Any = None, layout: Any = strided, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """``fft`` 各项的频率；``d`` 是采样的间隔。"""
    found = np.concatenate([np.arange((n + 1) // 2), np.arange(-(n // 2), 0)]).astype(float_type(dtype))
    return finish(found * (1 / (n * d) if n else 0), requires_grad, device, layout)


def rfftfreq(
    n: int, d: float = 1.0, *, dtype: Any = None, layout: Any = strided, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """``rfft`` 各项的频率。"""
    found = np.arange(n // 2 + 1).astype(float_type(dtype))
    return finish(found * (1 / (n * d) if n else 0), requires_grad, device, layout)


def fftshift(input: Any, dim: Any = None) -> Any:
    """把零频率挪到正中间。"""
    return _shifted(input, dim, lambda n: n // 2)


def ifftshift(input: Any, dim: Any = None) -> Any:
    """``fftshift`` 的逆。"""
    return _shifted(input, dim, lambda n: (n + 1) // 2)


def _shifted(x: Any, dim: Any, amount: Any) -> Any:
    ndim = x.array.ndim
    given = range(ndim) if dim is None else [dim] if isinstance(dim, int) else dim
    dims = [axis(d, ndim) for d in given]
    return x.roll(tuple(amount(x.array.shape[d]) for d in dims), tuple(dims)) if dims else x


__getattr__ = attributes(__name__)
