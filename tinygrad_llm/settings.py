"""``torch`` 顶层的全局开关：矩阵乘法的精度、确定性算法、线程数。

流入：训练脚本开头的几句设置；流出：真的生效的（线程数），或本来就成立的（完整精度、确定性）。
"""

from __future__ import annotations

import warnings

from tinygrad_llm.cores import limit_blas_threads, usable_cores

_PRECISIONS = ("highest", "high", "medium")
_chosen = {"precision": "highest"}
_deterministic = {"enabled": False, "warn_only": False}
_threads: dict[str, int] = {}


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
    """设定 NumPy 的 BLAS 用几个线程；BLAS 不听这个设定时给出警告，什么也不变。

    Raises:
        RuntimeError: 不是正整数。
    """
    if not isinstance(num, int):
        raise RuntimeError(f"set_num_threads expects an int, but got {type(num).__name__}")
    if num < 1:
        raise RuntimeError("set_num_threads expects a positive integer")
    if limit_blas_threads(num):
        _threads["count"] = num
    else:
        advice = "set OMP_NUM_THREADS or VECLIB_MAXIMUM_THREADS before starting Python"
        warnings.warn(f"NumPy's BLAS does not let set_num_threads change it; {advice}", UserWarning, stacklevel=2)


def get_num_threads() -> int:
    """BLAS 用几个线程：设定过的，或可用的核数。"""
    return _threads.get("count", usable_cores())
