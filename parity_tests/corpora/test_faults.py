"""坏输入：停下时说清在哪、怎么办，略过时一个不少地记下。"""

from __future__ import annotations

import copy

import pytest

from tinygrad_llm.common.corpora.faults import Faults
from tinygrad_llm.common.errors import DataError, UserError


def test_stop_raises_at_the_first_problem_with_place_and_way_out() -> None:
    """默认停下：退出码 4，指名位置，并告诉用户可以略过。"""
    faults = Faults()
    with pytest.raises(DataError, match="not valid UTF-8") as caught:
        faults.report("not valid UTF-8", "a.txt:3", "convert the file to UTF-8")
    assert (caught.value.exit_code, caught.value.where) == (4, "a.txt:3")
    assert caught.value.fix == "convert the file to UTF-8, or skip such input with --on-error skip"
    with pytest.raises(DataError) as bare:
        faults.report("empty")
    assert bare.value.fix == "skip such input with --on-error skip"
    assert not faults.counts
    with pytest.raises(DataError) as plain:
        Faults(offers_skip=False).report("empty", fix="use another file")
    assert plain.value.fix == "use another file"


def test_skip_counts_each_reason_and_remembers_the_first_place() -> None:
    """略过时按原因计数；数字不同的同类问题算作一个原因。"""
    faults = Faults("skip")
    for line in (3, 5):
        faults.report(f"line has {line} bytes", f"a.jsonl:{line}", reason="line too long")
    faults.report("empty file", "b.txt")
    assert faults.counts == {"line too long": 2, "empty file": 1}
    assert faults.summary() == "skipped 2: line too long (first: a.jsonl:3)\nskipped 1: empty file (first: b.txt)"
    assert Faults("skip").summary() == ""


def test_counts_of_two_processes_add_up() -> None:
    """工作进程送回的计数合到一处，位置以先来的为准。"""
    one, other = Faults("skip"), Faults("skip")
    one.report("bad", "a:1")
    other.report("bad", "b:2")
    other.report("worse", "b:3")
    one.merge(copy.deepcopy(other))  # 与 pickle 走同一协议
    assert one.counts == {"bad": 2, "worse": 1}
    assert one.first == {"bad": "a:1", "worse": "b:3"}


def test_an_unknown_policy_is_a_usage_error() -> None:
    """拼错的取值当场被拒绝，而不是悄悄当作停下或略过。"""
    with pytest.raises(UserError, match="'ignore'"):
        Faults("ignore")
