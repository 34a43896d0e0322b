"""``torch.optim.optimizer`` 里自己写的优化器常导入的小函数与类型名。

流入：优化器的方法、数或张量；流出：同样的东西，换成它们要的样子。
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

from tinygrad_llm import dtypes
from tinygrad_llm.autograd import set_grad_enabled
from tinygrad_llm.complexes import view_as_real
from tinygrad_llm.tensor import Tensor

ParamsT: TypeAlias = Iterable[Tensor] | Iterable[dict[str, Any]] | Iterable[tuple[str, Tensor]]
"""优化器的第一个参数可以是什么。"""
StateDict: TypeAlias = dict[str, Any]


def _use_grad_for_differentiable(func: Callable[..., Any]) -> Callable[..., Any]:
    """``step`` 的装饰器：更新时不记图，除非优化器说自己可导。"""

    @functools.wraps(func)
    def run(self: Any, *args: Any, **kwargs: Any) -> Any:
        with set_grad_enabled(self.defaults["differentiable"]):
            return func(self, *args, **kwargs)

    return run


def _get_value(x: Any) -> Any:
    """张量变成 Python 数。"""
    return x.item() if isinstance(x, Tensor) else x


def _to_scalar(x: Any) -> Any:
    """只有一个元素的张量变成 0 维；数原样返回。"""
    return x.squeeze() if isinstance(x, Tensor) else x


def _stack_if_compiling(x: Any) -> Any:
    """从不编译，原样返回。"""
    return x


def _view_as_real(params: list[Tensor], *state_and_grads: list[Tensor]) -> None:
    """复数的参数与它的状态就地换成实数的样子。"""
    for i, p in enumerate(params):
        if p.is_complex():
            for values in (params, *state_and_grads):
                values[i] = view_as_real(values[i])


def _get_scalar_dtype(is_fused: bool | None = None) -> dtypes.dtype:
    """步数用什么类型记。"""
    return dtypes.float64 if dtypes.get_default_dtype() is dtypes.float64 and not is_fused else dtypes.float32


def _default_to_fused_or_foreach(
    params: list[Tensor], differentiable: bool, use_fused: bool = False
) -> tuple[bool, bool]:
    """没有写明时走哪条路：（融合，多张量）。CPU 上与 torch 一样，都不走。"""
    return False, False
