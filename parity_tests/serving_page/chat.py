"""打开的网页：像用户那样发消息、点按钮，并留意它出的错与发出去的请求。"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from playwright.sync_api import expect

from parity_tests.serving_page.fake import FakeServer

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

# 机器忙时浏览器慢上几倍；这些界限只管「会不会来」，不管快慢
_PATIENCE_MS = 20_000
expect.set_options(timeout=_PATIENCE_MS)

# 服务器不在、要密钥、拒绝请求时，浏览器自己会在控制台里记一笔；那不是页面的错
_EXPECTED = "Failed to load resource"


class Tabs:
    """开网页，收集它们的毛病。

    Args:
        browser: 浏览器。
        url: 首页的网址，以 ``/`` 结尾。

    Attributes:
        url: 首页的网址。
        troubles: 脚本的错、控制台的警告、发往别处的请求。
    """

    def __init__(self, browser: Browser, url: str) -> None:
        self._browser, self.url = browser, url
        self._contexts: list[Any] = []
        self.troubles: list[str] = []

    def context(self, *, width: int = 1280, height: int = 800, locale: str = "en-US", **options: Any) -> Any:
        """一个新的浏览器身份：没有存下任何东西。"""
        context = self._browser.new_context(viewport={"width": width, "height": height}, locale=locale, **options)
        self._contexts.append(context)
        return context

    def page(self, context: Any) -> Page:
        """开一个标签页，还没有打开网址。"""
        page: Page = context.new_page()
        page.set_default_timeout(_PATIENCE_MS)
        page.on("pageerror", lambda error: self.troubles.append(f"error: {error}"))
        page.on("console", lambda line: self._heard(line.type, line.text))
        page.on("request", lambda request: self._asked(request.url))
        page.on("dialog", lambda dialog: self._dialog(dialog))
        return page

    def __call__(self, **options: Any) -> Chat:
        """打开网页，等它连上服务器。"""
        return Chat(self, self.page(self.context(**options))).opened()

    def _heard(self, kind: str, text: str) -> None:
        if kind in ("error", "warning") and _EXPECTED not in text:
            self.troubles.append(text)

    def _asked(self, url: str) -> None:
        if not url.startswith((self.url, "data:", "blob:")):
            self.troubles.append(f"request: {url}")

    def _dialog(self, dialog: Any) -> None:
        self.troubles.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def close(self) -> None:
        """关上；有过毛病就失败。"""
        for context in self._contexts:
            context.close()
        assert not self.troubles, self.troubles


class Chats(Tabs):
    """连着假服务器的网页。

    Args:
        browser: 浏览器。
        server: 假服务器。

    Attributes:
        server: 假服务器。
    """

    def __init__(self, browser: Browser, server: FakeServer) -> None:
        super().__init__(browser, server.url)
        self.server = server


class Chat:
    """一张打开的网页。

    Args:
        tabs: 它的来处。
        page: 标签页。

    Attributes:
        page: 标签页。
    """

    def __init__(self, tabs: Tabs, page: Page) -> None:
        self.page, self._url = page, tabs.url

    def opened(self) -> Chat:
        """打开（或重新打开）首页，等它连上。"""
        self.page.goto(self._url)
        self.page.wait_for_selector("body[data-ready=true]")
        self.page.wait_for_selector("#status[data-state=ready]")
        return self

    def type(self, text: str) -> None:
        """写在输入框里，按回车。"""
        self.page.locator("#message").fill(text)
        self.page.locator("#message").press("Enter")

    def ask(self, text: str) -> None:
        """问一句，等到答完。"""
        self.type(text)
        self.settled()

    def settled(self) -> None:
        """等到没有回答正在写。"""
        self.page.wait_for_selector("body[data-busy=false]")

    def said(self) -> list[str]:
        """屏幕上的各条消息。"""
        return [text.strip() for text in self.page.locator(".message .body").all_inner_texts()]

    def button(self, name: str, message: int = -1) -> Locator:
        """一条消息下面的按钮，按名字。"""
        return self.page.locator(".message").nth(message).get_by_role("button", name=name, exact=True)
