"""视图函数的拷贝写法：``permute_copy(x, dims)`` 就是 ``x.permute(dims)`` 的一份拷贝。

流入：Tensor；流出：新的 Tensor，或一串新的 Tensor。
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tinygrad_llm.layouts import contiguous_format
from tinygrad_llm.tensor import Tensor

_VIEWS = (
    "as_strided", "detach", "diagonal", "expand", "permute", "select", "split", "split_with_sizes", "squeeze",
    "t", "transpose", "unbind", "unfold", "unsqueeze", "view",
)  # fmt: skip


def _copied(found: Any) -> Any:
    if isinstance(found, tuple):
        return tuple([_copied(part) for part in found])
    return found.clone(memory_format=contiguous_format)


def _as_copy(name: str) -> Callable[..., Any]:
    method = getattr(Tensor, name)

    def function(input: Tensor, *args: Any, **kwargs: Any) -> Any:
        return _copied(method(input, *args, **kwargs))

    function.__name__ = function.__qualname__ = f"{name}_copy"
    function.__doc__ = f"{method.__doc__.splitlines()[0]}得到的是拷贝。"
    return function


def alias_copy(input: Tensor) -> Tensor:
    """一份拷贝。"""
    return _copied(input)  # type: ignore[no-any-return]


def slice_copy(input: Tensor, dim: int = 0, start: Any = None, end: Any = None, step: int = 1) -> Tensor:
    """沿一根轴的一段，得到的是拷贝。"""
    ahead = dim % max(input.array.ndim, 1)
    return _copied(input[(slice(None),) * ahead + (slice(start, end, step),)])  # type: ignore[no-any-return]


COPIES: dict[str, Callable[..., Any]] = {f"{name}_copy": _as_copy(name) for name in _VIEWS} | {
    "alias_copy": alias_copy,
    "slice_copy": slice_copy,
}
