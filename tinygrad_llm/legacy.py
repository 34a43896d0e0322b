"""torch 早年的类型名：``FloatTensor(2, 3)``、``LongTensor([1, 2])``、``isinstance(x, FloatTensor)``。

流入：形状或数据；流出：Tensor。新的代码请用 ``tensor`` 与 ``empty``。
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_llm import dtypes
from tinygrad_llm.creation import empty, tensor
from tinygrad_llm.methods.converting import LEGACY_NAMES
from tinygrad_llm.methods.shaping import Size
from tinygrad_llm.tensor import Tensor


class LegacyType(type):
    """一个早年的类型名：可以调用，可以用在 ``isinstance`` 里。"""

    dtype: dtypes.dtype

    def __call__(cls, *args: Any) -> Tensor:
        """没有参数或参数是整数时未初始化；否则从数据造。

        Raises:
            TypeError: Tensor 的类型不同，或不是一串数。
        """
        if not args or isinstance(args[0], (int, Size)):
            return empty(*(args or (0,)), dtype=cls.dtype)
        data = args[0]
        if isinstance(data, Tensor):
            if data.dtype is not cls.dtype:
                raise TypeError(f"expected a Tensor of {cls.dtype}, got {data.dtype}")
            return data.detach()  # type: ignore[no-any-return]
        if not isinstance(data, (list, tuple, range, np.ndarray)):
            raise TypeError(f"new(): data must be a sequence (got {type(data).__name__})")
        return tensor(data, dtype=cls.dtype)

    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, Tensor) and instance.dtype is cls.dtype

    def __repr__(cls) -> str:
        return f"<class 'torch.{cls.__name__}'>"


LEGACY_TYPES: dict[str, LegacyType] = {
    name: LegacyType(name, (), {"dtype": found, "__doc__": f"{found!r} 的早年写法。"})
    for name, found in LEGACY_NAMES.items()
}


def set_default_tensor_type(t: Any) -> None:
    """早年设定缺省浮点类型的写法：``set_default_tensor_type("torch.DoubleTensor")``。

    Args:
        t: 类型名，或 ``DoubleTensor`` 这样的类型。

    Raises:
        TypeError: 不认得，不是浮点类型，或在 GPU 上。
    """
    kind = LEGACY_TYPES.get(t.removeprefix("torch.")) if isinstance(t, str) else t
    if not isinstance(kind, LegacyType):
        raise TypeError(f"set_default_tensor_type: {t!r} is not a floating-point tensor type of the CPU")
    dtypes.set_default_dtype(kind.dtype)


def typename(obj: Any) -> str:
    """Tensor 的早年类型名；别的对象是带模块的类名。"""
    if isinstance(obj, Tensor):
        return str(obj.type())
    kind = obj if isinstance(obj, type) else type(obj)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
