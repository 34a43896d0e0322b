"""``conftest.py`` 自己：打乱的次序可以重放，一条不少；quick 档的例子不随导入过谁而变。"""

from __future__ import annotations

import importlib.util
import itertools
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parity_tests.conftest import PROFILE, pytest_collection_finish, pytest_collection_modifyitems, pytest_configure


def shuffled(seed: str | None) -> list[tuple[str, int]]:
    """六个文件、每个五条测试，打乱之后的次序。"""
    items: Any = [SimpleNamespace(path=f"test_{file}.py", number=i) for file in "abcdef" for i in range(5)]
    config: Any = SimpleNamespace(option=SimpleNamespace(shuffle=seed))
    pytest_collection_modifyitems(config, items)
    return [(item.path, item.number) for item in items]


def test_shuffle_loses_a_test_or_cannot_be_repeated() -> None:
    """少了一条、多了一条、拆散了一个文件，或同一颗种子给出不同的次序。"""
    plain = shuffled(None)
    assert plain == sorted(plain)
    orders = {seed: shuffled(seed) for seed in ("1", "2", "3")}
    for seed, order in orders.items():
        assert sorted(order) == plain != order
        assert order == shuffled(seed)
        files = [path for path, _ in order]
        assert sum(a != b for a, b in itertools.pairwise(files)) == 5
        assert any(order[i : i + 5] != sorted(order[i : i + 5]) for i in range(0, 30, 5))
    assert len({tuple(order) for order in orders.values()}) == 3


def test_a_drawn_seed_is_not_shown() -> None:
    """``--shuffle`` 不带种子时没有抽出一个可以打印的数。"""
    config: Any = SimpleNamespace(option=SimpleNamespace(shuffle="random"))
    pytest_configure(config)
    assert config.option.shuffle.isdigit()


def test_an_imported_library_decides_the_number_of_examples() -> None:
    """收集时导入的库换掉了 hypothesis 的 profile，测试照样开始。"""
    pytest_collection_finish()
    settings.register_profile("foreign", max_examples=10)
    settings.load_profile("foreign")
    try:
        with pytest.raises(pytest.UsageError, match=r"replaced the hypothesis profile: .*max_examples=10"):
            pytest_collection_finish()
    finally:
        settings.load_profile(PROFILE)


@pytest.mark.skipif(not settings().derandomize, reason="the full lane explores at random")
def test_examples_depend_on_what_was_imported(tmp_path: Path) -> None:
    """导入一个满是古怪常数的模块之后，同一条性质的例子变了：单独跑与一起跑不是同一组。"""

    def drawn() -> list[int]:
        seen: list[int] = []

        @settings(max_examples=200, derandomize=True, database=None)
        @given(st.integers())
        def collect(value: int) -> None:
            seen.append(value)

        collect()
        return seen

    before = drawn()
    odd = tmp_path / "odd_constants.py"
    odd.write_text(f"ODD = {[10**9 + 7 * i for i in range(500)]}\n", encoding="utf-8")
    spec = importlib.util.spec_from_file_location("odd_constants", odd)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(sys.modules, "odd_constants", module)
        spec.loader.exec_module(module)
        assert drawn() == before
