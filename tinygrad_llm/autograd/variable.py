"""``Variable``：从前 Tensor 外面的一层壳，如今就是 Tensor；旧代码还在用这个名字。"""

from __future__ import annotations

from typing import Any

from tinygrad_llm.autograd import graph


class _Tensors(type):
    """每个 Tensor 都算它的实例。"""

    def __instancecheck__(cls, value: object) -> bool:
        return isinstance(value, graph.tensor_type)


class Variable(metaclass=_Tensors):
    """``Variable(data, requires_grad)`` 返回与 ``data`` 共享内存的叶子。

    Args:
        data: Tensor。
        requires_grad: 是否需要梯度。
    """

    def __new__(cls, data: Any, requires_grad: bool = False) -> Any:
        """得到的是 Tensor。

        Raises:
            TypeError: ``data`` 不是 Tensor。
        """
        if not isinstance(data, graph.tensor_type):
            raise TypeError(f"Variable data has to be a tensor, but got {type(data).__name__}")
        return data.detach().requires_grad_(requires_grad)
