"""工厂函数：从数、列表或数组造出 Tensor，或造出同一个数填满的 Tensor。

流入：形状、数值；流出：Tensor（都是叶子）。名字、参数与缺省值同 torch。等差数列在 ``ranges.py``，随机数在
``sampling.py``。
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from tinygrad_llm import dtypes
from tinygrad_llm.cpu import is_on_meta
from tinygrad_llm.layouts import copy_order, require_strided, strided
from tinygrad_llm.literals import supported, to_array
from tinygrad_llm.methods.scalars import NUMBERS, as_element
from tinygrad_llm.methods.shaping import axes, sizes
from tinygrad_llm.ops.bfloat16 import extras, is_bfloat16, rounded
from tinygrad_llm.ops.meta import is_meta, unmarked, without_data
from tinygrad_llm.ops.op import Array
from tinygrad_llm.ops.ordering import empty_in_order
from tinygrad_llm.out import made_into
from tinygrad_llm.tensor import Tensor


def finish(array: Any, requires_grad: bool, device: Any, layout_: Any = strided, pin_memory: bool = False) -> Tensor:
    """数组变成叶子，并核对各工厂函数共有的参数。

    Raises:
        RuntimeError: 不是 CPU、要锁页内存，或整数却要梯度。
        TypeError: ``layout`` 不是 ``strided``。
    """
    on_meta = is_on_meta(device)
    require_strided(layout_)
    if pin_memory:
        raise RuntimeError("pin_memory=True requires an accelerator; there is none")
    array = np.asarray(array)
    if on_meta or (extras.meta and is_meta(array)):
        array = without_data(array) if on_meta or device is None else array.view(unmarked(array.dtype))
    result = Tensor.wrap(rounded(array) if is_bfloat16(array.dtype) else array)
    return result.requires_grad_() if requires_grad else result


def float_type(dtype: Any) -> Any:
    """NumPy dtype；没写就是缺省浮点类型。"""
    return dtypes.get_default_dtype().numpy if dtype is None else dtypes.as_numpy(dtype)


def shape_of(name: str, args: tuple[Any, ...], size: Any) -> tuple[int, ...]:
    """工厂函数的形状：``f(2, 3)``、``f((2, 3))`` 与 ``f(size=(2, 3))``。

    Raises:
        RuntimeError: 有负数。
        TypeError: 没有给，或不是整数。
    """
    if not args and size is None:
        raise TypeError(f"{name}() missing 1 required positional arguments: size")
    found = sizes(args if size is None else (size,))
    if min(found, default=0) < 0:
        raise RuntimeError(f"{name}: Dimension size must be non-negative, got {list(found)}")
    return found


def tensor(
    data: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False, pin_memory: bool = False
) -> Tensor:
    """从数、嵌套列表或数组造一个新 Tensor（总是复制）。

    Args:
        data: 数、嵌套列表、数组或 Tensor。
        dtype: 元素类型；缺省时 Python 浮点取缺省浮点类型，数组保留自己的类型。
        device: 只能是 CPU。
        requires_grad: 是否需要梯度。
        pin_memory: 只能为假。

    Returns:
        新的叶子。
    """
    return finish(to_array(data, dtypes.as_numpy(dtype)), requires_grad, device, pin_memory=pin_memory)


def as_tensor(data: Any, dtype: Any = None, device: Any = None) -> Tensor:
    """能不复制就不复制的 ``tensor``。"""
    if isinstance(data, Tensor):
        return data.to(dtype=dtype, device=device)  # type: ignore[no-any-return]
    if isinstance(data, np.ndarray):
        return from_numpy(data).to(dtype=dtype, device=device)  # type: ignore[no-any-return]
    return tensor(data, dtype=dtype, device=device)


def asarray(
    obj: Any, *, dtype: Any = None, device: Any = None, copy: bool | None = None, requires_grad: bool = False
) -> Tensor:
    """数、序列、数组或 Tensor 变成 Tensor；``copy=False`` 要求共享内存。

    Raises:
        ValueError: ``copy=False`` 而做不到。
    """
    if not isinstance(obj, (Tensor, np.ndarray)):
        if copy is False:
            raise ValueError("asarray(): can't alias an arbitrary sequence into a tensor")
        return tensor(obj, dtype=dtype, device=device, requires_grad=requires_grad)
    source = obj if isinstance(obj, Tensor) else from_numpy(obj)
    found = as_tensor(source, dtype, device)
    if copy is False and found.array is not source.array:
        raise ValueError(f"asarray(): can't alias tensor with dtype {source.dtype} into dtype {found.dtype}")
    if copy and found.array is source.array:
        found = found.clone()
    if requires_grad and not found.requires_grad:
        return found.detach().requires_grad_()  # type: ignore[no-any-return]
    return found


def from_numpy(ndarray: Any) -> Tensor:
    """与数组共享内存的 Tensor。

    Raises:
        TypeError: 不是数组，或 dtype 不支持。
        ValueError: 步长为负，或字节序不同。
    """
    if not isinstance(ndarray, np.ndarray):
        raise TypeError(f"expected np.ndarray (got {type(ndarray).__name__})")
    if not ndarray.flags.writeable:
        warnings.warn("from_numpy: the given NumPy array is not writable", UserWarning, stacklevel=2)
    return Tensor.wrap(supported(ndarray))


def frombuffer(buffer: Any, *, dtype: Any, count: int = -1, offset: int = 0, requires_grad: bool = False) -> Tensor:
    """把一段内存（``bytes``、``bytearray``、``mmap`` 等）当作一维 Tensor，共享内存；bfloat16 则拷贝。

    Args:
        buffer: 有缓冲区协议的对象。
        dtype: 元素类型。
        count: 元素个数；-1 表示直到末尾。
        offset: 跳过开头的几个字节。
        requires_grad: 是否需要梯度。

    Raises:
        ValueError: 没有缓冲区，是空的，或长度与 dtype 对不上。
    """
    try:
        memory = np.frombuffer(buffer, np.uint8)
    except (TypeError, ValueError, BufferError) as error:
        raise ValueError(f"frombuffer: object does not implement the buffer protocol, or is empty: {error}") from None
    wanted = dtypes.as_numpy(dtype)
    stored = np.dtype(np.uint16) if is_bfloat16(wanted) else wanted
    if not 0 <= offset < len(memory) or count == 0:
        raise ValueError(f"frombuffer: offset={offset}, count={count} do not fit in {len(memory)} bytes")
    room, left = divmod(len(memory) - offset, stored.itemsize)
    if (count < 0 and left) or count > room:
        raise ValueError(f"frombuffer: {len(memory) - offset} bytes do not hold {count} elements of {dtype!r}")
    if not memory.flags.writeable:
        warnings.warn("frombuffer: the given buffer is not writable, and neither is the tensor", stacklevel=2)
    found = memory[offset : offset + (room if count < 0 else count) * stored.itemsize].view(stored)
    if stored is not wanted:  # bfloat16 是 float32 的高 16 位
        found = (found.astype(np.uint32) << np.uint32(16)).view(np.float32).view(wanted)
    return finish(found, requires_grad, None)


def scalar_tensor(
    s: Any, *, dtype: Any = None, device: Any = None, layout: Any = strided, requires_grad: bool = False
) -> Tensor:
    """0 维 Tensor；没写 ``dtype`` 就是缺省浮点类型。

    Raises:
        TypeError: 不是数。
    """
    if not isinstance(s, NUMBERS):
        raise TypeError(f"scalar_tensor(): argument 's' must be Number, not {type(s).__name__}")
    return finish(as_element(s, float_type(dtype)), requires_grad, device, layout)


@made_into
def zeros(
    *args: Any,
    size: Any = None,
    dtype: Any = None,
    layout: Any = strided,
    device: Any = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
) -> Tensor:
    """全 0。"""
    return finish(np.zeros(shape_of("zeros", args, size), float_type(dtype)), requires_grad, device, layout, pin_memory)


@made_into
def ones(
    *args: Any,
    size: Any = None,
    dtype: Any = None,
    layout: Any = strided,
    device: Any = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
) -> Tensor:
    """全 1。"""
    return finish(np.ones(shape_of("ones", args, size), float_type(dtype)), requires_grad, device, layout, pin_memory)


@made_into
def empty(
    *args: Any,
    size: Any = None,
    dtype: Any = None,
    layout: Any = strided,
    device: Any = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
    memory_format: Any = None,
) -> Tensor:
    """未初始化。"""
    shape = shape_of("empty", args, size)
    array = _laid_out(np.empty(shape, float_type(dtype)), None, memory_format)
    return finish(array, requires_grad, device, layout, pin_memory)


@made_into
def full(
    size: Any,
    fill_value: Any,
    *,
    dtype: Any = None,
    layout: Any = strided,
    device: Any = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
) -> Tensor:
    """全部是同一个数；没写 ``dtype`` 就取这个数的类型。

    Raises:
        TypeError: ``size`` 不是一串整数，或 ``fill_value`` 不是数。
    """
    if not isinstance(size, (tuple, list)):
        raise TypeError(f"full(): argument 'size' must be tuple of ints, not {type(size).__name__}")
    value = _number(fill_value, "full")
    wanted = to_array(value).dtype if dtype is None else dtypes.as_numpy(dtype)
    array = np.full(shape_of("full", (), size), as_element(value, wanted))
    return finish(array, requires_grad, device, layout, pin_memory)


def _number(value: Any, name: str) -> Any:
    if isinstance(value, Tensor) and not value.array.ndim and not value.requires_grad:
        value = value.item()
    if not isinstance(value, NUMBERS):
        raise TypeError(f"{name}(): argument 'fill_value' must be Number, not {type(value).__name__}")
    return value


def _laid_out(array: Array, dtype: Any, memory_format: Any) -> Array:
    """形状同 ``array`` 的未初始化数组，内存次序按 ``memory_format``（缺省照 ``array`` 的样子）。"""
    order = copy_order(array, memory_format)
    return empty_in_order(array.shape, array.dtype if dtype is None else dtypes.as_numpy(dtype), order)


def empty_like(
    input: Tensor,
    *,
    dtype: Any = None,
    layout: Any = strided,
    device: Any = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
    memory_format: Any = None,
) -> Tensor:
    """同形状的未初始化 Tensor。"""
    return finish(_laid_out(input.array, dtype, memory_format), requires_grad, device, layout, pin_memory)


def full_like(
    input: Tensor,
    fill_value: Any,
    *,
    dtype: Any = None,
    layout: Any = strided,
    device: Any = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
    memory_format: Any = None,
) -> Tensor:
    """同形状、全部是同一个数。"""
    array = _laid_out(input.array, dtype, memory_format)
    array[...] = as_element(_number(fill_value, "full_like"), array.dtype)
    return finish(array, requires_grad, device, layout, pin_memory)


def zeros_like(input: Tensor, **options: Any) -> Tensor:
    """同形状的全 0；其余参数同 ``empty_like``。"""
    return full_like(input, 0, **options)


def ones_like(input: Tensor, **options: Any) -> Tensor:
    """同形状的全 1；其余参数同 ``empty_like``。"""
    return full_like(input, 1, **options)


def empty_strided(
    size: Any,
    stride: Any,
    *,
    dtype: Any = None,
    layout: Any = strided,
    device: Any = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
) -> Tensor:
    """未初始化，步长由调用者给定。

    Raises:
        RuntimeError: 形状与步长的个数不同，或有负数。
    """
    shape, steps = sizes((size,)), sizes((stride,))
    if len(shape) != len(steps) or min((*shape, *steps), default=0) < 0:
        raise RuntimeError(f"empty_strided: sizes {shape} need as many non-negative strides, got {steps}")
    count = 1 + sum((n - 1) * step for n, step in zip(shape, steps, strict=True)) if 0 not in shape else 0
    memory = np.empty(count, float_type(dtype))
    array: Array = np.ndarray(shape, memory.dtype, memory, 0, [step * memory.itemsize for step in steps])
    return finish(array, requires_grad, device, layout, pin_memory)


def empty_permuted(
    size: Any,
    physical_layout: Any,
    *,
    dtype: Any = None,
    layout: Any = strided,
    device: Any = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
) -> Tensor:
    """未初始化，内存里各轴由外到内依次是 ``physical_layout``。

    Raises:
        RuntimeError: ``physical_layout`` 不是各轴的一个排列。
    """
    shape, order = sizes((size,)), tuple(physical_layout)
    if len(order) != len(shape):
        raise RuntimeError(f"empty_permuted: physical_layout {order} must name each dimension of {shape} once")
    array = empty_in_order(shape, float_type(dtype), axes(order, len(shape), "empty_permuted"))
    return finish(array, requires_grad, device, layout, pin_memory)
