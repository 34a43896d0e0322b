"""总是返回（值，下标）的最大池化：``max_pool2d_with_indices`` 等，就是加上 ``return_indices=True``。"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tinygrad_llm.nn import adaptive, pooling


def _with_indices(function: Callable[..., Any]) -> Callable[..., Any]:
    def pooled(*args: Any, return_indices: bool = True, **kwargs: Any) -> Any:
        return function(*args, **kwargs, return_indices=True)

    pooled.__name__ = pooled.__qualname__ = f"{function.__name__}_with_indices"
    pooled.__doc__ = f"同 ``{function.__name__}``，总是返回（值，下标）。"
    return pooled


max_pool1d_with_indices, max_pool2d_with_indices, max_pool3d_with_indices = (
    _with_indices(f) for f in (pooling.max_pool1d, pooling.max_pool2d, pooling.max_pool3d)
)
adaptive_max_pool1d_with_indices, adaptive_max_pool2d_with_indices, adaptive_max_pool3d_with_indices = (
    _with_indices(f) for f in (adaptive.adaptive_max_pool1d, adaptive.adaptive_max_pool2d, adaptive.adaptive_max_pool3d)
)
fractional_max_pool2d_with_indices, fractional_max_pool3d_with_indices = (
    _with_indices(f) for f in (adaptive.fractional_max_pool2d, adaptive.fractional_max_pool3d)
)
