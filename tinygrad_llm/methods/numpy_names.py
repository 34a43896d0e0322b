"""NumPy 的参数名：torch 也认 ``axis`` 与 ``keepdims``，与 ``dim``、``keepdim`` 同义。

流入：一族方法；流出：同一族方法，有 ``dim`` 的都多认这两个名字。
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

_Family = TypeVar("_Family", bound=type)


def numpy_names(family: _Family) -> _Family:
    """类装饰器：给有 ``dim`` 的公开方法加上 NumPy 的参数名。"""
    for name, method in list(vars(family).items()):
        if inspect.isfunction(method) and not name.startswith("_") and "dim" in inspect.signature(method).parameters:
            setattr(family, name, _renaming(method))
    return family


def _renaming(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def call(*args: Any, **kwargs: Any) -> Any:
        if kwargs:
            if "axis" in kwargs:
                kwargs["dim"] = kwargs.pop("axis")
            if "keepdims" in kwargs:
                kwargs["keepdim"] = kwargs.pop("keepdims")
        return method(*args, **kwargs)

    return call
