"""搜：每个算子抽几百个例子，按 dtype、形状的种类与比较的种类记下最坏的一个，再把它缩小。

流入：算子名、种子与例子数；流出：``Cell`` 的列表。同一个种子给出同一份总账。下一站：``report.py``。
"""

from __future__ import annotations

import multiprocessing
import tempfile
import warnings
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.configuration import set_hypothesis_home_dir

from parity_tests.engine.op_table import TABLE
from parity_tests.ledger.measure import DIFFERENCE, FORWARD, Case, Error, broken, is_float, measure, tolerance
from parity_tests.ledger.shrink import captured, literal, script, shrunk

DTYPES = ("float64", "float32")
"""复数算子在同一格里：complex128 算 float64，complex64 算 float32。"""

SHAPES = ("0-d", "1-d", "2-d", "3-d, 4-d", "mixed", "empty")
"""形状的种类；``mixed`` 是几个输入形状不同（广播，或本来就不同），``empty`` 是有输入不含元素。"""


@dataclass(frozen=True)
class Cell:
    """总账的一格：一个算子、一种 dtype、一类形状、一种比较。

    Attributes:
        op: 算子名。
        dtype: ``DTYPES`` 之一。
        shape: ``SHAPES`` 之一。
        check: ``measure.CHECKS`` 之一。
        examples: 量过的例子数。
        worst: 最大的误差。
        inputs: 最坏的输入，写成 Python 的字面量。
        replayed: 缩小之后的误差：脚本打印的就是它。
        script: 缩小之后的五行脚本；误差为 0 时是空的。
    """

    op: str
    dtype: str
    shape: str
    check: str
    examples: int
    worst: Error
    inputs: str
    replayed: Error
    script: str


@dataclass
class _Search:
    examples: int
    error: Error
    case: Case


_Found = dict[tuple[str, str, str], _Search]


def shape_class(args: list[Any]) -> str:
    """一个例子属于哪一类形状；下标与掩码也算输入。"""
    shapes = [a.shape for a in args if isinstance(a, np.ndarray)]
    if any(0 in shape for shape in shapes):
        return "empty"
    if len(set(shapes)) > 1:
        return "mixed"
    return SHAPES[min(len(shapes[0]), 3)] if shapes else "0-d"


def survey(op: str, examples: int, seed: int) -> list[Cell]:
    """一个算子的全部格子。

    Args:
        op: 算子名。
        examples: 两种取样（取值随意的，与为差分准备的）各抽几个例子；后一种只量 float64。
        seed: 种子；各算子由它派生自己的种子，所以只跑几个算子时结果不变。

    Returns:
        抽到过的每一格。
    """
    torch.set_num_threads(1)  # 数组都很小，分给几个核只会更慢
    set_hypothesis_home_dir(Path(tempfile.gettempdir()) / "zero-one-llm-hypothesis")
    found: _Found = {}
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        for small in (False, True):
            _examples(op, small, examples, seed, found)
        return [_cell(op, key, search) for key, search in found.items()]


def _examples(op: str, small: bool, examples: int, seed: int, found: _Found) -> None:
    """抽 ``examples`` 个例子。为差分准备的取值平缓，float32 的差分没有意义，只量 float64；别的每个量两种 dtype。"""
    dtypes = ("float64",) if small else DTYPES

    @hypothesis.seed(zlib.crc32(f"{op} {small} {seed}".encode()))
    @settings(
        max_examples=examples,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.data())
    def look(data: st.DataObject) -> None:
        args, attrs = TABLE[op].draw(data.draw, small)
        for dtype in dtypes:
            case = captured(op, *in_dtype(args, attrs, dtype))
            shape = shape_class(args)
            for check, error in _measured(case, dtype, small).items():
                _record(found, (dtype, shape, check), error, case)

    look()


def in_dtype(args: list[Any], attrs: dict[str, Any], dtype: str) -> tuple[list[Any], dict[str, Any]]:
    """输入与属性换成要测的 dtype。"""
    if dtype == "float64":
        return args, attrs
    single = [a.astype(np.complex64 if a.dtype.kind == "c" else np.float32) if is_float(a) else a for a in args]
    return single, {**attrs, "dtype": np.float32} if "dtype" in attrs else attrs


def _measured(case: Case, dtype: str, differences: bool) -> dict[str, Error]:
    """量一个例子；哪一边抛了异常，就是一处不合格。"""
    try:
        return measure(case, dtype, differences)
    except Exception as error:
        limit = tolerance(FORWARD, dtype)
        return {FORWARD: broken(f"raised {type(error).__name__}", limit.rtol, str(error).splitlines()[0][:120])}


def _record(found: _Found, key: tuple[str, str, str], error: Error, case: Case) -> None:
    search = found.get(key)
    if search is None:
        found[key] = _Search(1, error, case)
        return
    search.examples += 1
    if (error.relative, error.ulps) > (search.error.relative, search.error.ulps):
        search.error, search.case = error, case


def _cell(op: str, key: tuple[str, str, str], search: _Search) -> Cell:
    dtype, shape, check = key
    case, error = shrunk(search.case, search.error, check, dtype)
    text = script(case, check) if error.relative else ""
    if error.relative > search.error.relative:  # 缩小时碰上了更坏的：最大误差以它为准
        search.case, search.error = case, error
    return Cell(op, dtype, shape, check, search.examples, search.error, _written(search.case), error, text)


def _written(case: Case) -> str:
    """一个例子写成一行。"""
    inputs = ", ".join(literal(a) for a in case.args)
    layouts = "" if set(case.layouts) <= {"contiguous"} else f"  # layouts: {', '.join(case.layouts)}"
    return f"[{inputs}], {literal(case.attrs)}{layouts}"


def survey_all(ops: list[str], examples: int, seed: int, jobs: int, report: Callable[[str], None]) -> list[Cell]:
    """许多算子，分给几个进程；次序与进程数无关。"""
    if jobs == 1 or len(ops) == 1:
        lists = {op: survey(op, examples, seed) for op in _telling(ops, report)}
    else:
        lists = {}
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(jobs, mp_context=context) as pool:
            waiting = {pool.submit(survey, op, examples, seed): op for op in ops}
            for done in as_completed(waiting):
                lists[waiting[done]] = done.result()
                report(f"{len(lists)}/{len(ops)} {waiting[done]}")
    order = {check: i for i, check in enumerate((FORWARD, "gradient", DIFFERENCE))}
    cells = [cell for op in ops for cell in lists[op]]
    return sorted(cells, key=lambda c: (ops.index(c.op), DTYPES.index(c.dtype), SHAPES.index(c.shape), order[c.check]))


def _telling(ops: list[str], report: Callable[[str], None]) -> Iterator[str]:
    for i, op in enumerate(ops, 1):
        report(f"{i}/{len(ops)} {op}")
        yield op
