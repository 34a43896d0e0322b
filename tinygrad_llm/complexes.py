"""复数的函数：由实数合成复数，把同一块内存看作实数或复数。

流入：Tensor；流出：Tensor。共轭、实部、幅角等既是方法也是函数，见 ``methods/complexes.py``；傅里叶变换在 ``fft.py``。
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tinygrad_llm import dtypes
from tinygrad_llm.autograd import graph
from tinygrad_llm.autograd.graph import apply
from tinygrad_llm.layouts import contiguous_format
from tinygrad_llm.methods.operands import tensors
from tinygrad_llm.ops import complex as cx

_NO_ATTRS: dict[str, Any] = {}


def view_as_real(input: Any) -> Any:
    """复数看作实数，共享内存：最后添一根长度为 2 的轴，``[..., 0]`` 是实部，``[..., 1]`` 是虚部。

    Raises:
        RuntimeError: 不是复数。
    """
    tensors("view_as_real", input)
    if input.array.dtype.kind != "c":
        raise RuntimeError(f"view_as_real is only supported for complex tensors, got {input.dtype}")
    return apply(cx.view_as_real, (input,), _NO_ATTRS)


def view_as_complex(input: Any) -> Any:
    """最后一根长度为 2 的轴看作实部与虚部，共享内存。

    Raises:
        RuntimeError: 不是 float32 或 float64，最后一轴的长度不是 2，或内存的排布不合。
    """
    tensors("view_as_complex", input)
    array = input.array
    if input.dtype not in (dtypes.float32, dtypes.float64):
        raise RuntimeError(f"view_as_complex is only supported for float and double tensors, but got {input.dtype}")
    if not array.ndim or array.shape[-1] != 2:
        raise RuntimeError(f"view_as_complex: Tensor must have a last dimension of size 2, got shape {array.shape}")
    *others, last = input.stride()
    if last != 1 or any(step % 2 for step in others) or input.storage_offset() % 2:
        raise RuntimeError(
            "view_as_complex: Tensor must have a last dimension with stride 1, and a storage_offset and other strides "
            f"divisible by 2, got strides {(*others, last)} and storage_offset {input.storage_offset()}"
        )
    return apply(cx.view_as_complex, (input,), _NO_ATTRS)


def complex(real: Any, imag: Any) -> Any:
    """由实部与虚部合成复数。

    Raises:
        RuntimeError: 不是 float32 或 float64，或两边类型不同。
    """
    return apply(cx.complex, _parts("complex", real, imag), _NO_ATTRS)


def polar(abs: Any, angle: Any) -> Any:
    """由模与幅角合成复数：``abs · (cos angle + i sin angle)``。

    Raises:
        RuntimeError: 不是 float32 或 float64，或两边类型不同。
    """
    return apply(cx.polar, _parts("polar", abs, angle), _NO_ATTRS)


def _parts(name: str, a: Any, b: Any) -> tuple[Any, Any]:
    tensors(name, a, b)
    if a.dtype is not b.dtype or a.dtype not in (dtypes.float32, dtypes.float64):
        raise RuntimeError(f"{name}(): expected two float or two double tensors, got {a.dtype} and {b.dtype}")
    return a, b


def imag(input: Any) -> Any:
    """虚部，共享内存。"""
    tensors("imag", input)
    return input.imag


def view_as_real_copy(input: Any) -> Any:
    """同 ``view_as_real``，得到的是拷贝。"""
    return view_as_real(input).clone(memory_format=contiguous_format)


def view_as_complex_copy(input: Any) -> Any:
    """同 ``view_as_complex``，得到的是拷贝。"""
    return view_as_complex(input).clone(memory_format=contiguous_format)


def as_real(x: Any) -> Any:
    """复数 Tensor 看作实数；需要梯度的叶子，换来的也是叶子。别的值原样返回。"""
    if not (isinstance(x, graph.tensor_type) and x.array.dtype.kind == "c"):
        return x
    return view_as_real(x) if x.node is not None else view_as_real(x.detach()).detach().requires_grad_(x.requires_grad)


def realified(func: Callable[..., Any], args: Sequence[Any]) -> tuple[Callable[..., Any], list[Any]]:
    """同一个函数，输入与输出里的复数都换成一对实数；梯度的约定恰好使两者的梯度相同。

    Returns:
        新的函数，与它的输入。
    """
    places = [isinstance(a, graph.tensor_type) and a.array.dtype.kind == "c" for a in args]

    def on_reals(*inputs: Any) -> Any:
        found = func(*[view_as_complex(x) if place else x for x, place in zip(inputs, places, strict=True)])
        return type(found)(as_real(y) for y in found) if type(found) in (tuple, list) else as_real(found)

    return on_reals, [as_real(a) for a in args]
