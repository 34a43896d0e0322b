"""与别的库共用内存（DLPack）：``from_dlpack`` 与 ``to_dlpack``。

流入：NumPy、PyTorch 等的数组，或一个胶囊；流出：共享内存的 Tensor，或胶囊。
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_llm.absent import attributes
from tinygrad_llm.cpu import require_cpu
from tinygrad_llm.literals import supported
from tinygrad_llm.ops.op import Array
from tinygrad_llm.tensor import Tensor


class _Capsule:
    """胶囊本身没有方法，套上 NumPy 认得的样子。"""

    def __init__(self, capsule: Any) -> None:
        self.capsule = capsule

    def __dlpack__(self, **options: Any) -> Any:
        return self.capsule

    def __dlpack_device__(self) -> tuple[int, int]:
        return 1, 0


class _Writeable:
    """同一块内存，去掉只读的标记；内存由 ``array`` 留着。"""

    def __init__(self, array: Array) -> None:
        self.array = array
        self.__array_interface__ = {**array.__array_interface__, "data": (array.ctypes.data, False)}


def _received(source: Any) -> Array:
    """``np.from_dlpack``；NumPy 2.0 把得来的内存一律标成只读，而真正只读的数组根本不给胶囊。"""
    found = np.from_dlpack(source)
    return np.asarray(_Writeable(found)) if np.lib.NumpyVersion(np.__version__) < "2.1.0" else found


def from_dlpack(ext_tensor: Any, *, device: Any = None, copy: bool | None = None) -> Tensor:
    """与 ``ext_tensor`` 共享内存的 Tensor。

    Args:
        ext_tensor: 有 ``__dlpack__`` 的数组，或 ``to_dlpack`` 的胶囊。
        device: 只能是 CPU。
        copy: 真则拷贝一份。

    Raises:
        RuntimeError: 不是数组也不是胶囊。
    """
    require_cpu(device)
    is_capsule = type(ext_tensor).__name__ == "PyCapsule"
    if not (is_capsule or hasattr(ext_tensor, "__dlpack__")):
        raise RuntimeError(
            f"from_dlpack expects an array with __dlpack__ or a capsule, got {type(ext_tensor).__name__}"
        )
    found = Tensor.wrap(supported(_received(_Capsule(ext_tensor) if is_capsule else ext_tensor)))
    return found.clone() if copy else found


def to_dlpack(tensor: Tensor) -> Any:
    """交给别的库的胶囊，只能用一次。"""
    return tensor.__dlpack__()


__getattr__ = attributes(__name__)
