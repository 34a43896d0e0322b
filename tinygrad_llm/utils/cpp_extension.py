"""``torch.utils.cpp_extension`` 在没有编译器的机器上的样子：导入无妨，真要编译就报错。

有 CUDA 核的模型（如 RWKV）在文件开头导入 ``load``，到了 GPU 上才用它；在 CPU 上走纯 PyTorch 的那条路。
"""

from __future__ import annotations

from typing import Any, NoReturn

from tinygrad_llm.absent import attributes

CUDA_HOME: str | None = None
ROCM_HOME: str | None = None


def load(name: str, sources: Any, *args: Any, **kwargs: Any) -> NoReturn:
    """编译并装入 C++ 扩展。

    Raises:
        RuntimeError: 总是；自己的算子请写成 ``autograd.Function``。
    """
    raise RuntimeError(f"cpp_extension.load({name!r}): there is no compiler here; write an autograd.Function")


load_inline = load

__all__ = ["CUDA_HOME", "ROCM_HOME", "load", "load_inline"]
__getattr__ = attributes(__name__)
