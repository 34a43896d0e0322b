"""PyTorch 自己的样例在本引擎上也通过；快速通道每个算子抽几个，长通道跑完全部并核对账本。"""

from __future__ import annotations

import functools
from typing import Any

import pytest

from parity_tests.opinfo import ledger
from parity_tests.opinfo.harness import database, run, twin

QUICK = 3
"""快速通道里每个算子的样例数。"""


@functools.cache
def _database() -> dict[str, Any]:
    return database()


def _passed_in_full() -> list[str]:
    return sorted(name for name, (passed, total) in ledger.read().items() if passed == total)


@pytest.mark.parametrize("name", _passed_in_full())
def test_a_sample_fails(name: str) -> None:
    """账本上全部通过的算子，现在有样例不过。"""
    tally = run(name, _database()[name], QUICK)
    assert tally.passed == tally.total, tally.failures


@pytest.mark.full
@pytest.mark.parametrize("name", sorted(ledger.read()))
def test_the_ledger_is_true(name: str) -> None:
    """账本上的成绩与实际不符。"""
    tally = run(name, _database()[name])
    assert (tally.passed, tally.total) == ledger.read()[name], tally.failures


def test_the_ledger_names_every_offered_op() -> None:
    """提供的算子没有上账，或账上有已经没有的算子。"""
    offered = {name for name, info in _database().items() if twin(info) is not None}
    assert offered == set(ledger.read())


def test_nearly_every_sample_passes() -> None:
    """通过的比例低于 99 %，或有算子没过而没写原因。"""
    scores = ledger.read()
    passed, total = (sum(score[i] for score in scores.values()) for i in (0, 1))
    assert passed / total >= 0.99
    assert {name for name, (p, t) in scores.items() if p < t} <= set(ledger.WHY)
