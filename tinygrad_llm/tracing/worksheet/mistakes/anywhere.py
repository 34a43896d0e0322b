"""哪一步都可能犯的错：符号、小数点，以及抄写与舍入。

流入：任何一格的处境；流出：犯错的人会写下的数。这是目录的最后一族；判分见 ``grading.py``。
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tinygrad_llm.tracing.worksheet.catalogue import Array, Case, mistake

COARSE = 0.02
"""相差这么多（相对）以内，当作舍入得太早。"""


@mistake("sign-error", on="FDCSG")
def sign_error(case: Case) -> Iterator[Array]:
    """整个反号。"""
    yield -case.correct


@mistake("decimal-slip", on="FDCSG")
def decimal_slip(case: Case) -> Iterator[Array]:
    """差 10、100 或 1000 倍。"""
    for power in (1, 2, 3):
        yield case.correct * 10.0**power
        yield case.correct / 10.0**power


@mistake("rounded-too-early", on="FDCSG")
def rounded_too_early(case: Case) -> Iterator[Array]:
    """与正确的数相差不到百分之二，却超出了所写位数应有的误差。"""
    if case.written is not None:
        size = np.where(np.isfinite(case.correct), np.abs(case.correct), 0.0)
        scale = np.maximum(size, 0.05 * np.max(size, initial=0.0))
        near = np.abs(case.written - case.correct) <= COARSE * scale
        if np.all(near | (case.written == case.correct)):
            yield case.written


@mistake("digits-swapped", on="FDCSG")
def digits_swapped(case: Case) -> Iterator[Array]:
    """相邻的两位互换；只看单个的数。"""
    if case.written is None or case.written.size != 1 or case.unit is None or case.unit.item() <= 0:
        return
    unit = case.unit.item()
    number = case.correct.item()
    if not np.isfinite(number) or abs(number / unit) > 1e15:
        return
    digits = str(round(abs(number) / unit))
    for place in range(len(digits) - 1):
        swapped = digits[:place] + digits[place + 1] + digits[place] + digits[place + 2 :]
        if swapped != digits:
            yield np.full(case.correct.shape, np.copysign(int(swapped) * unit, number))


@mistake("swapped-cells", on="FDCSG")
def swapped_cells(case: Case) -> Iterator[Array]:
    """这一格写的是那一格的数，那一格写的是这一格的。"""
    yield from case.swapped


@mistake("reordered", on="FDCSG")
def reordered(case: Case) -> Iterator[Array]:
    """几个数一个不差，次序不同。"""
    if case.written is None or case.unit is None or case.written.size < 2:
        return
    order = np.argsort(case.written, axis=None)
    found = np.empty(case.written.size)
    found[order] = np.sort(case.correct, axis=None)
    yield found.reshape(case.correct.shape)


@mistake("copied-other-cell", on="FDCSG")
def copied_other_cell(case: Case) -> Iterator[Array]:
    """写的是别的某一格的数。"""
    yield from case.elsewhere
