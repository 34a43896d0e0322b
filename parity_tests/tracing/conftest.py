"""播放页的测试共用的：自带例子打开的网页。浏览器见 ``parity_tests/browser.py``。"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from parity_tests.browser import Pages
from parity_tests.tracing.player_pages import toy_page
from tinygrad_llm.tracing.toys import TOYS

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


@pytest.fixture(scope="module", params=TOYS)
def toy_player(request: pytest.FixtureRequest, browser: Browser, tmp_path_factory: Any) -> Iterator[tuple[str, Page]]:
    """一个自带例子的名字与打开的网页；同一个文件里的测试轮流用它，先自己走到要看的地方。"""
    pages = Pages(browser, tmp_path_factory.mktemp("player"))
    yield request.param, pages(toy_page(request.param))
    pages.close()
