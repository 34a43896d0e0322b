"""把一个普通的 PyTorch 程序装进来两次：原样一次，``torch`` 换成 ``tinygrad_llm`` 一次。

流入：本目录里的程序名；流出：它的 ``program()`` 在某个引擎、某种缺省精度下的结果与印出来的字。
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import random
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType
from typing import Any

import numpy as np
import torch

import tinygrad_llm as tg

FOLDER = Path(__file__).parent
_IMPORT = re.compile(r"^(\s*import )(.+)$", re.MULTILINE)
_FROM = re.compile(r"^(\s*from )torch\b", re.MULTILINE)


def in_our_words(source: str) -> str:
    """读者会做的替换：只改 ``import`` 的行。"""
    return _FROM.sub(r"\1tinygrad_llm", _IMPORT.sub(lambda line: line[1] + _renamed(line[2]), source))


def _renamed(names: str) -> str:
    """``math, torch, torch.nn as nn`` → ``math, tinygrad_llm as torch, tinygrad_llm.nn as nn``。"""
    parts = [re.sub(r"^torch$", "tinygrad_llm as torch", part.strip()) for part in names.split(",")]
    return ", ".join(re.sub(r"^torch\.", "tinygrad_llm.", part) for part in parts)


class _Ours(SourceFileLoader):
    """读同一个文件，换掉 ``import`` 的行；不读也不写字节码缓存。"""

    def get_code(self, fullname: str) -> CodeType:
        source = in_our_words(Path(self.path).read_text(encoding="utf-8"))
        return self.source_to_code(source.encode(), self.path)


def load(name: str, engine: Any) -> Any:
    """装入一个程序。

    Args:
        name: 程序的文件名，不含后缀。
        engine: ``tinygrad_llm`` 或 torch。
    """
    full, path = f"{name} on {engine.__name__}", str(FOLDER / f"{name}.py")
    loader = _Ours(full, path) if engine is tg else SourceFileLoader(full, path)
    spec = importlib.util.spec_from_file_location(full, path, loader=loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[full] = module  # dataclass 到这里找类所在的模块
    try:
        loader.exec_module(module)
    finally:
        del sys.modules[full]
    return module


def run(name: str, engine: Any, dtype: str) -> tuple[dict[str, Any], str]:
    """跑一遍 ``program()``。

    Args:
        name: 程序名。
        engine: ``tinygrad_llm`` 或 torch。
        dtype: 缺省浮点类型的名字。

    Returns:
        结果的字典，与印出来的字。
    """
    random.seed(0)
    np.random.seed(0)
    engine.set_default_dtype(getattr(engine, dtype))
    text = io.StringIO()
    try:
        # 别的测试用到 PyTorch 的测试工具之后，它的后端开关只许在这样的块里改
        allowed = getattr(torch.backends, "__allow_nonbracketed_mutation")()
        with allowed, warnings.catch_warnings(), contextlib.redirect_stdout(text):
            for kind in (UserWarning, DeprecationWarning, FutureWarning):  # NumPy 的 RuntimeWarning 仍算失败
                warnings.simplefilter("ignore", kind)
            results = load(name, engine).program()
    finally:
        engine.set_default_dtype(engine.float32)
    return results, text.getvalue()


def first_difference(ours: Any, theirs: Any, bound: float, what: str) -> str | None:
    """两份结果的第一处不同；全同则为 ``None``。

    浮点数的差不得超过 ``bound`` 乘以所在数组最大的元素。有些梯度在数学上恒为 0（如 K 的偏置），算出来的全是舍入误差，
    两边自然不同；因此「最大的元素」至少取整份结果最大元素的百分之一。

    Args:
        ours: 我们的结果：Tensor、数组、数、字符串，或它们的字典与列表。
        theirs: torch 的结果。
        bound: 容差。
        what: 现在比的是什么。
    """
    floor = 0.01 * max((_largest(array) for array in _arrays_in(theirs)), default=0.0)
    return _difference(ours, theirs, lambda array: bound * max(_largest(array), floor), what)


def _difference(ours: Any, theirs: Any, allowed: Callable[[Any], float], what: str) -> str | None:
    if isinstance(theirs, torch.Tensor):
        return _tensors(ours, theirs, allowed, what)
    if isinstance(theirs, (np.ndarray, float)):
        return _arrays(np.asarray(ours), np.asarray(theirs), allowed, what)
    if isinstance(theirs, dict):
        if list(ours) != list(theirs):
            return f"{what}: keys {list(ours)} != {list(theirs)}"
        pairs = [(ours[key], theirs[key], f"{what}[{key!r}]") for key in theirs]
    elif isinstance(theirs, (list, tuple)):
        if len(ours) != len(theirs):
            return f"{what}: {len(ours)} items, torch has {len(theirs)}"
        pairs = [(a, b, f"{what}[{i}]") for i, (a, b) in enumerate(zip(ours, theirs, strict=True))]
    else:
        return None if str(ours) == str(theirs) else f"{what}: {ours!r} != {theirs!r}"
    found = (_difference(a, b, allowed, name) for a, b, name in pairs)
    return next((one for one in found if one), None)


def _tensors(ours: Any, theirs: Any, allowed: Callable[[Any], float], what: str) -> str | None:
    if not isinstance(ours, tg.Tensor):
        return f"{what}: got {type(ours).__name__} instead of a Tensor"
    mine, other = (ours.requires_grad, ours.is_leaf, str(ours.dtype)), (theirs.requires_grad, theirs.is_leaf)
    if mine != (*other, str(theirs.dtype)):
        return f"{what}: (requires_grad, is_leaf, dtype) {mine} != {(*other, theirs.dtype)}"
    return _arrays(_values(ours), _values(theirs), allowed, what)


def _values(tensor: Any) -> Any:
    return np.array(tensor.detach().tolist()).reshape(tuple(tensor.shape))


def _arrays(a: Any, b: Any, allowed: Callable[[Any], float], what: str) -> str | None:
    if a.shape != b.shape:
        return f"{what}: shape {a.shape} != {b.shape}"
    if b.dtype.kind not in "fc":
        return None if np.array_equal(a, b) else f"{what}: {a} != {b}"
    finite = np.isfinite(b)
    if not np.array_equal(a[~finite], b[~finite], equal_nan=True):
        return f"{what}: non-finite values differ"
    error = np.abs(a[finite] - b[finite]).max(initial=0.0)
    return None if error <= allowed(b) else f"{what}: off by {error:.3g}, the largest is {_largest(b):.3g}"


def _largest(array: Any) -> float:
    return float(np.abs(array[np.isfinite(array)]).max(initial=0.0))


def _arrays_in(value: Any) -> Iterator[Any]:
    """结果里全部的浮点数组与浮点数。"""
    if isinstance(value, torch.Tensor):
        value = _values(value)
    if isinstance(value, (dict, list, tuple)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _arrays_in(item)
    elif isinstance(value, float) or (isinstance(value, np.ndarray) and value.dtype.kind in "fc"):
        yield np.asarray(value)
