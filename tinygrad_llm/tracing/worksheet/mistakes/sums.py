"""累加的错：几条路径传来的梯度没有都加上。

流入：求和的格的处境（各份贡献）；流出：犯错的人会写下的数。下一站：``anywhere.py``。
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tinygrad_llm.tracing.worksheet.catalogue import Array, Case, mistake


@mistake("forgot-accumulate", on="SG")
def forgot_accumulate(case: Case) -> Iterator[Array]:
    """后来的盖掉了先来的；或者有了就不再加。"""
    if len(case.contributions) > 1:
        yield case.contributions[-1]
        yield case.contributions[0]


@mistake("missed-path", on="SG")
def missed_path(case: Case) -> Iterator[Array]:
    """少加了一份；只有两份时，漏哪一份各有自己的名字。"""
    if len(case.contributions) > 2:
        for one in case.contributions:
            yield case.correct - one


@mistake("counted-twice", on="SG")
def counted_twice(case: Case) -> Iterator[Array]:
    """多加了一份。"""
    for one in case.contributions:
        yield case.correct + one


@mistake("sign-in-sum", on="SG")
def sign_in_sum(case: Case) -> Iterator[Array]:
    """其中一份减了进去。"""
    if len(case.contributions) > 1:
        for one in case.contributions:
            yield case.correct - 2 * one


@mistake("averaged-paths", on="SG")
def averaged_paths(case: Case) -> Iterator[Array]:
    """和又除以了份数；各份都相等时，平均就是只留了一份，归 ``forgot-accumulate``。"""
    given = case.contributions
    if len(given) > 1 and not all(np.array_equal(one, given[0]) for one in given):
        yield case.correct / len(case.contributions)
