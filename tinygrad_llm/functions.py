"""与方法同名的函数：``exp(x)`` 就是 ``x.exp()``，由方法自动生成。

流入：``methods/`` 里的方法；流出：函数。作用于一串 Tensor 的（拼接等）与工厂另有文件。
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_llm.methods.arithmetic import Arithmetic
from tinygrad_llm.methods.comparing import Comparing
from tinygrad_llm.methods.complexes import Complexes
from tinygrad_llm.methods.elementwise import Elementwise
from tinygrad_llm.methods.indexing import Indexing
from tinygrad_llm.methods.linear_algebra import LinearAlgebra
from tinygrad_llm.methods.operands import constant
from tinygrad_llm.methods.pairwise import Pairwise
from tinygrad_llm.methods.rearranging import Rearranging
from tinygrad_llm.methods.reducing import Reducing
from tinygrad_llm.methods.scattering import Scattering
from tinygrad_llm.methods.shaping import Shaping
from tinygrad_llm.methods.sorting import Sorting
from tinygrad_llm.methods.spectrograms import Spectrograms
from tinygrad_llm.methods.splitting import Splitting
from tinygrad_llm.methods.statistics import Statistics
from tinygrad_llm.out import write_out
from tinygrad_llm.promotion import result_type
from tinygrad_llm.tensor import Tensor

FAMILIES = (
    Arithmetic, Elementwise, Complexes, Pairwise, Comparing, Shaping, Splitting, Rearranging, Indexing, Scattering,
    Reducing, Statistics, Spectrograms, Sorting, LinearAlgebra,
)  # fmt: skip
METHOD_ONLY = frozenset([
    "cdouble", "cfloat", "contiguous", "expand", "expand_as", "repeat", "reshape_as", "split", "sum_to_size", "unfold",
    "view", "view_as", "where",
])  # fmt: skip
"""torch 里只作方法、没有同名函数的名字。"""


_NUMPY_NAMES = {"axis": "dim", "keepdims": "keepdim"}
"""NumPy 的参数名，torch 也认。"""
_NUMBER_FIRST = frozenset({
    "bitwise_and", "bitwise_left_shift", "bitwise_or", "bitwise_right_shift", "bitwise_xor", "float_power", "pow",
    "remainder", "xlogy",
})  # fmt: skip
"""torch 里第一个操作数也可以是数的函数。"""
_NUMBERS = frozenset({
    "add", "div", "divide", "floor_divide", "mul", "multiply", "sub", "subtract", "true_divide",
})  # fmt: skip
"""哪个操作数都可以是数的函数，两个都是也行。"""
_NUMBERS_FIRST = frozenset({"addbmm", "addmm", "addmv", "addr", "baddbmm"})
"""旧写法里 β 排在第一个张量之前的函数。"""


def _first_operand(name: str, input: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """第一个操作数不是 Tensor：少数函数可以是数，其余报错。"""
    if name == "polygamma":  # 阶数在前，方法自己会认
        return input
    is_number = isinstance(input, (bool, int, float, complex))
    if name in _NUMBERS and is_number and (args or "other" in kwargs):
        return constant(input, result_type(input, args[0] if args else kwargs["other"]).numpy)
    if name in _NUMBER_FIRST and is_number and args and isinstance(args[0], Tensor):
        return constant(input, np.result_type(input, args[0].array.dtype))
    raise TypeError(f"{name}(): argument 'input' (position 1) must be Tensor, not {type(input).__name__}")


def _as_function(name: str) -> Callable[..., Any]:
    method = getattr(Tensor, name)

    def function(input: Any, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(input, Tensor):
            if name in _NUMBERS_FIRST and args:  # β 排在前面：放回方法的旧写法里的位置
                input, args = args[0], (input, *args[1:])
            else:
                input = _first_operand(name, input, args, kwargs)
        if kwargs:
            kwargs = {_NUMPY_NAMES.get(key, key): value for key, value in kwargs.items()}
            if "out" in kwargs:
                out = kwargs.pop("out")
                return write_out(name, out, method(input, *args, **kwargs))
        return method(input, *args, **kwargs)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = method.__doc__
    return function


OWN = ("detach", "is_floating_point", "is_inference", "numel")
"""写在 ``Tensor`` 自己身上、torch 里也是函数的名字。"""

FUNCTIONS: dict[str, Callable[..., Any]] = {name: _as_function(name) for name in OWN} | {
    name: _as_function(name)
    for family in FAMILIES
    for name, method in vars(family).items()
    if inspect.isfunction(method) and not name.startswith("_") and name not in METHOD_ONLY
}
