"""API 页与代码一致：生成的几块没有过时，两边都有的名字空间都提到了，链接指向存在的文件。

流入：``tinygrad_llm/API.md`` 与两边的公开名字；流出：过时的块。页面由 ``api.py`` 维护。
"""

from __future__ import annotations

import re

import pytest

from parity_tests.house import api, api_absent
from parity_tests.house.repo import READMES, ROOT, read_block

_PAGE = api.PAGE.read_text(encoding="utf-8")
_COMMAND = "run python -m parity_tests.house.api --write"


@pytest.mark.parametrize("name", api.BLOCKS)
def test_page_is_what_the_code_says(name: str) -> None:
    """页面里生成的一块已经过时。"""
    if read_block(_PAGE, "torch") != api.torch_block():
        pytest.skip("the page was written beside another release of torch")
    assert read_block(_PAGE, name) == api.BLOCKS[name](), _COMMAND


def test_page_mentions_every_namespace() -> None:
    """有一个两边都有的名字空间，页面没有提到它：加进 ``api.py`` 开头的三张单子之一。"""
    assert api.uncovered() == []


def test_links_of_the_page_lead_to_files() -> None:
    """页面里的相对链接指向不存在的文件。"""
    links = set(re.findall(r"\]\(([^)#:]+)\)", _PAGE))
    assert len(links) > 30
    assert [link for link in links if not (api.PAGE.parent / link).exists()] == []


def test_a_name_is_either_offered_or_absent() -> None:
    """归类的脚本自身：同一个名字既在提供之列，又在没有之列；或有的、没有的分错了。"""
    for namespace in ("", "nn", "nn.functional", "linalg", "optim"):
        assert not set(api.shared(namespace)) & set(api_absent.missing(namespace))
    assert {"exp", "cat"} <= set(api.shared(""))
    assert {"chalf", "complex32"} <= set(api_absent.missing(""))
    assert "SparseAdam" in api_absent.missing("optim")


@pytest.mark.parametrize("readme", READMES)
def test_readme_quotes_the_ledger(readme: str) -> None:
    """README 里 OpInfo 的成绩与账本不符。"""
    told = re.search(r"\*\*([\d,]+) / ([\d,]+) ", api.LEDGER.read_text(encoding="utf-8"))
    assert told is not None
    text = (ROOT / readme).read_text(encoding="utf-8")
    missing = [number for number in told.groups() if number not in text]
    assert not missing, f"{readme} should say that {told[1]} of {told[2]} samples pass"
