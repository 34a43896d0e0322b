"""浏览器里的测试所用的 Chromium：系统里装的那一个，不联网。

找不到浏览器时，这些测试不运行，并说清没有运行；环境变量 ``BROWSER_LANE=required`` 时改为失败
（``make test`` 装好了浏览器就这样设）。几个目录的测试共用它，所以由最外层的 ``conftest.py`` 载入：一个进程只能开一个。
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from parity_tests.pictures import FLAGS, chromium

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

_HOW = "install one (Debian: apt-get install chromium) and run again"


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """一个 Chromium，整个测试进程共用。"""
    path = chromium()
    if path is None:
        message = f"browser lane NOT RUN: no Chromium on this machine; {_HOW}"
        if os.environ.get("BROWSER_LANE") == "required":
            pytest.fail(message)
        pytest.skip(message)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        yield launched
        launched.close()


class Pages:
    """打开的网页与它们的毛病：脚本报的错，控制台的警告，发往页面之外的请求。

    Args:
        browser: 浏览器。
        folder: 网页存在哪里。
    """

    def __init__(self, browser: Browser, folder: Path) -> None:
        self.browser, self.folder = browser, folder
        self.contexts: list[Any] = []
        self.troubles: list[str] = []

    def __call__(self, html: str, *, width: int = 1280, height: int = 720, at: str = "", **options: Any) -> Page:
        """像读者双击文件那样打开：``file://``，断网。"""
        file = self.folder / f"page{len(self.contexts)}.html"
        file.write_text(html, encoding="utf-8")
        context = self.browser.new_context(viewport={"width": width, "height": height}, offline=True, **options)
        self.contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on("pageerror", lambda error: self.troubles.append(f"error: {error}"))
        page.on("console", lambda line: self.troubles.append(line.text) if line.type in ("error", "warning") else None)
        page.on("request", lambda request: self.check(request.url))
        page.goto(f"{file.as_uri()}#{at or 'lang=en&theme=light'}")
        page.wait_for_selector("body[data-ready=true]")
        return page

    def check(self, url: str) -> None:
        """记下发往页面之外的请求。"""
        if not url.startswith(("data:", "blob:", self.folder.as_uri())):
            self.troubles.append(url)

    def close(self) -> None:
        """关上；有过毛病就失败。"""
        for context in self.contexts:
            context.close()
        assert not self.troubles, self.troubles


@pytest.fixture
def open_page(browser: Browser, tmp_path: Path) -> Iterator[Pages]:
    """打开一张网页；页面出了错、发了请求，测试都失败。"""
    pages = Pages(browser, tmp_path)
    yield pages
    pages.close()
