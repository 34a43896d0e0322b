"""``torch`` 顶层的全局开关：矩阵乘法的精度、确定性算法、线程数，以及编译时用了哪些库。

流入：训练脚本开头的几句设置；流出：真的生效的（线程数），或本来就成立的（完整精度、确定性）。
"""

from __future__ import annotations

import warnings
from typing import Any

from tinygrad_llm.ops.cores import limit_threads, usable_cores

_PRECISIONS = ("highest", "high", "medium")
_chosen = {"precision": "highest"}
_deterministic = {"enabled": False, "warn_only": False}
_threads: dict[str, int] = {}
_DEBUG_MODES = ("default", "warn", "error")
_warns_always = [False]

has_mkl = has_openmp = has_spectral = False
has_lapack = True
"""NumPy 自己带着 LAPACK；别的库没有直接用到。"""


def set_float32_matmul_precision(precision: str) -> None:
    """记下 float32 矩阵乘法的精度；NumPy 总按完整的 float32 计算，不低于任何一档的要求。"""
    if precision not in _PRECISIONS:  # torch 也只警告
        warnings.warn(f"{precision} is not one of {_PRECISIONS}; the call has no effect", UserWarning, stacklevel=2)
        return
    _chosen["precision"] = precision


def get_float32_matmul_precision() -> str:
    """记下的精度。"""
    return _chosen["precision"]


def use_deterministic_algorithms(mode: bool, *, warn_only: bool = False) -> None:
    """要求确定的算法；这里的算子本来就都是确定的，只是记下这个要求。"""
    _deterministic.update(enabled=bool(mode), warn_only=bool(warn_only))


def are_deterministic_algorithms_enabled() -> bool:
    """是否要求了确定的算法。"""
    return _deterministic["enabled"]


def is_deterministic_algorithms_warn_only_enabled() -> bool:
    """要求了确定的算法，且只警告。"""
    return _deterministic["warn_only"]


def set_num_threads(num: int) -> None:
    """设定用几个线程，NumPy 的 BLAS 也在内；BLAS 不听这个设定时给出警告，什么也不变。

    Raises:
        RuntimeError: 不是正整数。
    """
    if not isinstance(num, int):
        raise RuntimeError(f"set_num_threads expects an int, but got {type(num).__name__}")
    if num < 1:
        raise RuntimeError("set_num_threads expects a positive integer")
    if limit_threads(num):
        _threads["count"] = num
    else:
        advice = "set OMP_NUM_THREADS or VECLIB_MAXIMUM_THREADS before starting Python"
        warnings.warn(f"NumPy's BLAS does not let set_num_threads change it; {advice}", UserWarning, stacklevel=2)


def get_num_threads() -> int:
    """BLAS 用几个线程：设定过的，或可用的核数。"""
    return _threads.get("count", usable_cores())


def set_num_interop_threads(num: int) -> None:
    """记下算子之间用几个线程；这里的算子总是一个接一个。

    Raises:
        RuntimeError: 不是正整数。
    """
    if not isinstance(num, int):
        raise RuntimeError(f"set_num_interop_threads expects an int, but got {type(num).__name__}")
    if num < 1:
        raise RuntimeError("set_num_interop_threads expects a positive integer")
    _threads["interop"] = num


def get_num_interop_threads() -> int:
    """记下的线程数；没有设定过就是可用的核数。"""
    return _threads.get("interop", usable_cores())


def set_deterministic_debug_mode(debug_mode: int | str) -> None:
    """``use_deterministic_algorithms`` 的另一种写法：0 不要求，1 只警告，2 要求。

    Raises:
        RuntimeError: 不认得的取值。
        TypeError: 不是整数或字符串。
    """
    mode: Any = debug_mode
    if not isinstance(mode, (str, int)):
        raise TypeError(f"debug_mode must be str or int, but got {type(mode)}")
    number = _DEBUG_MODES.index(mode) if mode in _DEBUG_MODES else mode
    if number not in (0, 1, 2):
        raise RuntimeError(f"invalid value of debug_mode, expected 0, 1, 2 or one of {_DEBUG_MODES}, but got {mode}")
    use_deterministic_algorithms(number > 0, warn_only=number == 1)


def get_deterministic_debug_mode() -> int:
    """0、1 或 2，见 ``set_deterministic_debug_mode``。"""
    return (1 if _deterministic["warn_only"] else 2) if _deterministic["enabled"] else 0


def set_flush_denormal(mode: bool) -> bool:
    """把次正规数当作 0；NumPy 做不到，所以返回假。"""
    return False


def set_warn_always(b: bool) -> None:
    """记下「同一条警告要不要每次都给」；这里的警告都交给 Python 的 ``warnings``，由它过滤。

    Raises:
        RuntimeError: 不是布尔。
    """
    if not isinstance(b, bool):
        raise RuntimeError(f"set_warn_always expects a bool, but got {type(b).__name__}")
    _warns_always[0] = b


def is_warn_always_enabled() -> bool:
    """``set_warn_always`` 记下的值。"""
    return _warns_always[0]
