"""网页的测试共用的：假服务器与打开的网页。一个进程里只有一个浏览器、一个假服务器。"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from parity_tests.serving_page.chat import Chats
from parity_tests.serving_page.fake import FakeServer

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture(scope="session")
def fake_server() -> Iterator[FakeServer]:
    """整个测试进程共用的假服务器。"""
    server = FakeServer()
    yield server
    server.stop()


@pytest.fixture
def chats(browser: Browser, fake_server: FakeServer) -> Iterator[Chats]:
    """打开网页的办法；页面出了错、发了外部的请求，测试都失败。"""
    fake_server.answers, fake_server.requests, fake_server.key, fake_server.gone = [], [], "", 0
    found = Chats(browser, fake_server)
    yield found
    found.close()
