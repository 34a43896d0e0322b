"""累加的错：几条路径传来的梯度没有都加上。

流入：求和的格的处境（各份贡献）；流出：犯错的人会写下的数。下一站：``anywhere.py``。
"""

from __future__ import annotations

from collections.abc import Iterator

from tinygrad_llm.tracing.worksheet.catalogue import Array, Case, mistake


@mistake("overwrote-gradient", on="SG")
def overwrote_gradient(case: Case) -> Iterator[Array]:
    """只留下最后一份。"""
    if len(case.contributions) > 1:
        yield case.contributions[-1]


@mistake("kept-first-only", on="SG")
def kept_first_only(case: Case) -> Iterator[Array]:
    """只留下第一份。"""
    if len(case.contributions) > 1:
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
    """和又除以了份数。"""
    if len(case.contributions) > 1:
        yield case.correct / len(case.contributions)
