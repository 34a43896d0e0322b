"""与别的库共用内存（DLPack）：``from_dlpack`` 与 ``to_dlpack``。

流入：NumPy、PyTorch 等的数组，或一个胶囊；流出：共享内存的 Tensor，或胶囊。
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_llm.absent import attributes
from tinygrad_llm.cpu import require_cpu
from tinygrad_llm.literals import supported
from tinygrad_llm.tensor import Tensor


class _Capsule:
    """胶囊本身没有方法，套上 NumPy 认得的样子。"""

    def __init__(self, capsule: Any) -> None:
        self.capsule = capsule

    def __dlpack__(self, **options: Any) -> Any:
        return self.capsule

    def __dlpack_device__(self) -> tuple[int, int]:
        return 1, 0


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
    found = Tensor.wrap(supported(np.from_dlpack(_Capsule(ext_tensor) if is_capsule else ext_tensor)))
    return found.clone() if copy else found


def to_dlpack(tensor: Tensor) -> Any:
    """交给别的库的胶囊，只能用一次。"""
    return tensor.__dlpack__()


__getattr__ = attributes(__name__)
