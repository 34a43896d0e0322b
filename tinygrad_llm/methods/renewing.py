"""照着一个 Tensor 的 dtype 造新的 Tensor：``new_zeros`` 等。

流入：形状或数据；流出：新的叶子。没写 ``dtype`` 就取自己的。
"""

from __future__ import annotations

from typing import Any


class Renewing:
    """造同类型新 Tensor 的方法；其余参数同 ``tinygrad_llm.empty`` 等。"""

    device: Any
    dtype: Any

    def new(self, *args: Any) -> Any:
        """早年的写法：参数是整数时未初始化，否则从数据造。"""
        from tinygrad_llm.legacy import LEGACY_TYPES

        return next(kind for kind in LEGACY_TYPES.values() if kind.dtype is self.dtype)(*args)

    def new_tensor(self, data: Any, *, dtype: Any = None, **options: Any) -> Any:
        """从数据造（总是复制）。"""
        from tinygrad_llm.creation import tensor

        return tensor(data, dtype=dtype or self.dtype, **{"device": self.device, **options})

    def new_empty(self, *args: Any, size: Any = None, dtype: Any = None, **options: Any) -> Any:
        """未初始化。"""
        from tinygrad_llm.creation import empty

        return empty(*args, size=size, dtype=dtype or self.dtype, **{"device": self.device, **options})

    def new_zeros(self, *args: Any, size: Any = None, dtype: Any = None, **options: Any) -> Any:
        """全 0。"""
        from tinygrad_llm.creation import zeros

        return zeros(*args, size=size, dtype=dtype or self.dtype, **{"device": self.device, **options})

    def new_ones(self, *args: Any, size: Any = None, dtype: Any = None, **options: Any) -> Any:
        """全 1。"""
        from tinygrad_llm.creation import ones

        return ones(*args, size=size, dtype=dtype or self.dtype, **{"device": self.device, **options})

    def new_full(self, size: Any, fill_value: Any, *, dtype: Any = None, **options: Any) -> Any:
        """全部是同一个数。"""
        from tinygrad_llm.creation import full

        return full(size, fill_value, dtype=dtype or self.dtype, **{"device": self.device, **options})

    def new_empty_strided(self, size: Any, stride: Any, *, dtype: Any = None, **options: Any) -> Any:
        """未初始化，步长由调用者给定。"""
        from tinygrad_llm.creation import empty_strided

        return empty_strided(size, stride, dtype=dtype or self.dtype, **{"device": self.device, **options})
