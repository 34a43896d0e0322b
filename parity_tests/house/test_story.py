"""README 里的样本与数字、分类那一页的数字，正是保存着的那几次运行的。"""

from __future__ import annotations

import pytest

from parity_tests.house import classification
from parity_tests.house.repo import READMES, ROOT, read_block
from parity_tests.house.story import expected


@pytest.mark.parametrize("readme", READMES)
def test_samples_in_the_readme_are_not_the_recipes(readme: str) -> None:
    """README 里的样本、用时或 bits per byte 与保存的结果不符。"""
    text = (ROOT / readme).read_text(encoding="utf-8")
    assert read_block(text, "story") == expected(readme), "run python -m parity_tests.house.story"


def test_numbers_of_the_classification_page_are_not_the_runs() -> None:
    """分类那一页的数字与保存的结果不符。"""
    text = classification.PAGE.read_text(encoding="utf-8")
    assert read_block(text, "classification") == classification.expected(), (
        "run python -m parity_tests.house.classification"
    )
