"""``torch._foreach_*``：对一列张量各做一次同样的运算；名字以 ``_`` 结尾的就地做。

流入：一列张量，与一个数、一个标量张量或另一列；流出：一列张量。自己写的优化器常用它们。
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tinygrad_llm.linalg import vector_norm
from tinygrad_llm.tensor import Tensor

_UNARY = (
    "abs", "acos", "asin", "atan", "ceil", "cos", "cosh", "erf", "erfc", "exp", "expm1", "floor", "frac", "lgamma",
    "log", "log10", "log1p", "log2", "neg", "reciprocal", "round", "rsqrt", "sigmoid", "sign", "sin", "sinh", "sqrt",
    "tan", "tanh", "trunc",
)  # fmt: skip
_BINARY = ("add", "sub", "mul", "div", "pow", "maximum", "minimum", "clamp_min", "clamp_max")
_TERNARY = ("addcmul", "addcdiv")
_WITH_NUMBERS = {"maximum": "clamp_min", "minimum": "clamp_max"}
"""与一个数比大小时，Tensor 的方法另有名字。"""


def _each(tensors: Any) -> Sequence[Tensor]:
    """一列张量；不是列表、没有元素或混进别的东西就报错。"""
    if not isinstance(tensors, (list, tuple)) or not all(isinstance(t, Tensor) for t in tensors):
        raise TypeError(f"_foreach: expected a list or tuple of Tensors, got {type(tensors).__name__}")
    if not tensors:
        raise RuntimeError("Tensor list must have at least one tensor.")
    return tensors


def _spread(value: Any, count: int) -> Sequence[Any]:
    """每个张量一个操作数：给的是一列就一一对应，否则大家共用。"""
    if isinstance(value, Tensor):
        if value.ndim:
            raise RuntimeError(f"scalar tensor expected to be 0 dim but it has {value.ndim} dimensions")
        return [value] * count
    if not isinstance(value, (list, tuple)):
        return [value] * count
    if len(value) != count:
        raise RuntimeError(
            f"Tensor list must have same number of elements as the other list, got {count} and {len(value)}"
        )
    return value


def _result(tensors: Sequence[Tensor], name: str, columns: Sequence[Sequence[Any]], options: dict[str, Any]) -> Any:
    """逐个调用方法；就地的方法没有时，算出来再搬进去。"""
    rows = zip(tensors, *columns, strict=True)
    if not name.endswith("_"):
        return tuple([getattr(t, _method(t, name, args))(*args, **options) for t, *args in rows])
    for t, *args in rows:
        if hasattr(t, name):
            getattr(t, name)(*args, **options)
        else:
            t.copy_(getattr(t, _method(t, name[:-1], args))(*args, **options))
    return list(tensors)


def _method(t: Tensor, name: str, args: Sequence[Any]) -> str:
    return name if not args or isinstance(args[0], Tensor) else _WITH_NUMBERS.get(name, name)


def _unary(name: str) -> Callable[..., Any]:
    def function(self: Any) -> Any:
        return _result(_each(self), name, [], {})

    return function


def _binary(name: str) -> Callable[..., Any]:
    def function(self: Any, other: Any, *, alpha: Any = 1) -> Any:
        if name == "pow" and isinstance(self, (int, float)):
            return tuple([self**exponent for exponent in _each(other)])
        tensors = _each(self)
        others = _spread(other, len(tensors))
        if alpha != 1 and not all(isinstance(o, Tensor) for o in others):
            raise TypeError(f"_foreach_{name}: alpha goes with tensors, not with numbers")
        return _result(tensors, name, [others], {} if alpha == 1 else {"alpha": alpha})

    return function


def _ternary(name: str) -> Callable[..., Any]:
    def function(self: Any, tensor1: Any, tensor2: Any, value: Any = 1) -> Any:
        tensors = _each(self)
        n = len(tensors)
        weights = _spread(value.tolist() if isinstance(value, Tensor) else value, n)
        parts = zip(tensors, _spread(tensor1, n), _spread(tensor2, n), weights, strict=True)
        found = [getattr(t, name)(a, b, value=w) for t, a, b, w in parts]
        return list(found) if name.endswith("_") else tuple(found)

    return function


def _lerp(name: str) -> Callable[..., Any]:
    def function(self: Any, tensors1: Any, weight: Any) -> Any:
        tensors = _each(self)
        n = len(tensors)
        return _result(tensors, name, [_spread(tensors1, n), _spread(weight, n)], {})

    return function


def _foreach_norm(self: Any, ord: float = 2, dtype: Any = None) -> Any:
    """各个张量的范数。"""
    return tuple([vector_norm(t, ord, dtype=dtype) for t in _each(self)])


def _foreach_max(self: Any) -> Any:
    """各个张量的最大元素。"""
    return tuple([t.max() for t in _each(self)])


def _foreach_clone(self: Any) -> Any:
    """各个张量的拷贝。"""
    return tuple([t.clone() for t in _each(self)])


def _foreach_mm(self: Any, mat2: Any) -> Any:
    """两列矩阵逐个相乘。"""
    tensors = _each(self)
    return _result(tensors, "mm", [_spread(mat2, len(tensors))], {})


def _foreach_copy_(self: Any, src: Any, non_blocking: bool = False) -> Any:
    """把一列张量的值搬进另一列。"""
    tensors = _each(self)
    return _result(tensors, "copy_", [_spread(src, len(tensors))], {})


def _foreach_zero_(self: Any) -> Any:
    """全部写成 0。"""
    return _result(_each(self), "zero_", [], {})


def _table() -> dict[str, Callable[..., Any]]:
    makers = [(_unary, _UNARY), (_binary, _BINARY), (_ternary, _TERNARY), (_lerp, ("lerp",))]
    made = {f"_foreach_{name}": make(name) for make, names in makers for n in names for name in (n, f"{n}_")}
    for name, function in made.items():
        function.__name__ = function.__qualname__ = name
    own = (_foreach_norm, _foreach_max, _foreach_clone, _foreach_mm, _foreach_copy_, _foreach_zero_)
    return made | {function.__name__: function for function in own}


FOREACH = _table()
"""名字到函数，放进 ``tinygrad_llm`` 的门面。"""
