"""Tensor 的短时傅里叶变换与它的反变换。

流入：``(L,)`` 或 ``(B, L)`` 的信号；流出：``(B, 频率, 时间)`` 的复数，或者反过来。一段一段地加窗、变换；
反变换把各段加回原处，再除以窗的平方之和。
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from tinygrad_llm import dtypes
from tinygrad_llm.autograd import graph
from tinygrad_llm.ops import complex as cx
from tinygrad_llm.ops import views


class Spectrograms:
    """短时傅里叶变换的方法。"""

    array: Any

    def stft(
        self,
        n_fft: int,
        hop_length: int | None = None,
        win_length: int | None = None,
        window: Any = None,
        center: bool = True,
        pad_mode: str = "reflect",
        normalized: bool = False,
        onesided: bool | None = None,
        return_complex: bool | None = None,
    ) -> Any:
        """短时傅里叶变换。

        Args:
            n_fft: 每一段的长度。
            hop_length: 相邻两段起点的距离，缺省 ``n_fft // 4``。
            win_length: 窗长，缺省 ``n_fft``；短于它的窗两边补零。
            window: 窗，缺省全 1。
            center: 是否先在两端补上半段，使第 t 段以 ``t · hop_length`` 为中心。
            pad_mode: 怎样补，见 ``nn.functional.pad``。
            normalized: 是否除以 ``√n_fft``。
            onesided: 是否只留前一半频率；实数缺省只留一半。
            return_complex: 实数的信号必须写明；为假时最后多一根轴，分开实部与虚部。

        Returns:
            ``(B, 频率, 段数)``；信号是一维时没有 ``B``。

        Raises:
            RuntimeError: 形状、dtype 或长度不合，或没有写明 ``return_complex``。
        """
        from tinygrad_llm import fft
        from tinygrad_llm.nn import padding

        x: Any = self
        w, hop = _window("stft", n_fft, hop_length, win_length, window, x)
        is_complex = x.is_complex() or w.is_complex()
        if return_complex is None and not is_complex:
            raise RuntimeError("stft requires the return_complex parameter be given for real inputs")
        if onesided and is_complex:
            raise RuntimeError("stft: Cannot have onesided output if window or input is complex")
        if x.array.ndim not in (1, 2) or x.array.dtype.kind not in "fc":
            raise RuntimeError(f"stft: expected a 1D or 2D floating point signal, got {x.dtype} {x.array.shape}")
        if center:
            batch = x.reshape((1,) * (3 - x.array.ndim) + x.array.shape)
            x = padding.pad(batch, (n_fft // 2, n_fft // 2), pad_mode).reshape(*x.array.shape[:-1], -1)
        if not 0 < n_fft <= x.array.shape[-1]:
            raise RuntimeError(f"stft: expected 0 < n_fft <= {x.array.shape[-1]}, but got n_fft={n_fft}")
        frames = x.unfold(-1, n_fft, hop) * w
        half = not is_complex if onesided is None else onesided
        y = (fft.rfft if half else fft.fft)(frames, norm="ortho" if normalized else None).transpose(-2, -1)
        if return_complex is False:
            warnings.warn("stft with return_complex=False is deprecated; use view_as_real", UserWarning, stacklevel=2)
            return cx.view_as_real(y)
        return y

    def istft(
        self,
        n_fft: int,
        hop_length: int | None = None,
        win_length: int | None = None,
        window: Any = None,
        center: bool = True,
        normalized: bool = False,
        onesided: bool | None = None,
        length: int | None = None,
        return_complex: bool = False,
    ) -> Any:
        """``stft`` 的反变换；参数须与正变换相同。

        Args:
            n_fft: 每一段的长度。
            hop_length: 相邻两段起点的距离。
            win_length: 窗长。
            window: 窗。
            center: 正变换时是否在两端补过半段。
            normalized: 正变换时是否除以 ``√n_fft``。
            onesided: 是否只有前一半频率；缺省由频率的个数看出。
            length: 信号的长度；缺省为各段盖得住的长度。
            return_complex: 信号是否复数。

        Returns:
            ``(B, 长度)``；输入是二维时没有 ``B``。

        Raises:
            RuntimeError: 不是复数，形状不合，或窗的平方之和有 0，无从还原。
        """
        from tinygrad_llm import fft

        z: Any = self
        if not z.is_complex() or z.array.ndim not in (2, 3) or not z.array.size:
            raise RuntimeError(f"istft requires a complex 2D or 3D input from stft, got {z.dtype} {z.array.shape}")
        w, hop = _window("istft", n_fft, hop_length, win_length, window, z.real)
        half = z.array.shape[-2] != n_fft if onesided is None else onesided
        if z.array.shape[-2] != (n_fft // 2 + 1 if half else n_fft) or (half and return_complex):
            raise RuntimeError(
                f"istft: {z.array.shape[-2]} frequencies do not fit n_fft={n_fft}, onesided={half} and "
                f"return_complex={return_complex}"
            )
        norm, batch = "ortho" if normalized else None, z if z.array.ndim == 3 else z.unsqueeze(0)
        spectra = batch.transpose(1, 2)
        frames = fft.irfft(spectra, n=n_fft, norm=norm) if half else fft.ifft(spectra, norm=norm)
        frames = frames if return_complex or half else frames.real
        start = n_fft // 2 if center else 0
        end = -start or None if length is None else start + length
        y = _overlapped(frames * w, hop)[:, start:end]
        weight = _overlapped((w * w).expand(1, frames.array.shape[1], n_fft), hop)[:, start:end]
        if not weight.array.size or np.abs(weight.array).min() < 1e-11:
            raise RuntimeError(f"istft: the squares of the window (length {n_fft}, hop {hop}) add up to 0 somewhere")
        y = _lengthened(y / weight, length)
        return y if z.array.ndim == 3 else y.squeeze(0)


def _window(name: str, n_fft: int, hop: int | None, length: int | None, window: Any, like: Any) -> tuple[Any, int]:
    """补到 ``n_fft`` 长的窗，与两段之间的距离。"""
    from tinygrad_llm.nn import padding

    step, size = n_fft // 4 if hop is None else hop, n_fft if length is None else length
    if step <= 0 or not 0 < size <= n_fft:
        raise RuntimeError(f"{name}: expected hop_length > 0 and 0 < win_length <= n_fft, got {step}, {size}, {n_fft}")
    if window is None:
        warnings.warn(f"{name}: a window was not provided, a rectangular one is applied", UserWarning, stacklevel=3)
        kind = like.array.real.dtype if like.array.dtype.kind in "fc" else dtypes.get_default_dtype().numpy
        window = graph.tensor_type.wrap(np.ones(size, kind))
    if window.array.shape != (size,):
        raise RuntimeError(f"{name}: expected a 1D window of size {size}, but got window with size {window.shape}")
    left = (n_fft - size) // 2
    return padding.pad(window, (left, n_fft - size - left)), step


def _overlapped(frames: Any, hop: int) -> Any:
    """各段加回原处：``(B, 段数, 段长)`` → ``(B, 长度)``，是取段的反向。"""
    batch, count, n_fft = frames.array.shape
    path = ((views.unfold, {"dim": 1, "size": n_fft, "step": hop}),)
    return views.scatter_view(frames, shape=(batch, n_fft + hop * (count - 1)), path=path)


def _lengthened(y: Any, length: int | None) -> Any:
    """末尾补零到 ``length``。"""
    from tinygrad_llm.nn import padding

    missing = 0 if length is None else length - y.array.shape[1]
    if missing <= 0:
        return y
    warnings.warn("istft: the signal is shorter than length; it is padded with zeros", UserWarning, stacklevel=4)
    return padding.pad(y, (0, missing))
