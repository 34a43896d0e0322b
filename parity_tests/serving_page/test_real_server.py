"""网页与真正的服务器：模型换成会学舌的，其余都是真的。"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from parity_tests.serving.echo import Opener
from parity_tests.serving.running import Running, running
from parity_tests.serving_page.chat import Tabs
from parity_tests.serving_page.folder import PAGE, POLICY
from parity_tests.serving_page.payloads import PAYLOADS

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    """说得不快的学舌。"""
    with running(Opener(delay_s=0.002), slots=2, max_tokens=400) as found:
        yield found


@pytest.fixture
def tabs(browser: Browser, server: Running) -> Iterator[Tabs]:
    """连着它的网页。"""
    found = Tabs(browser, f"{server.url}/")
    yield found
    found.close()


def test_the_server_serves_another_page(server: Running) -> None:
    """供出的文件少了、变了，或 CSP 与测试里的不同。"""
    for name, data in PAGE.items():
        status, raw, headers = server.request("GET", "/" if name == "index.html" else f"/page/{name}")
        assert status == 200, name
        assert raw == data, name
        assert headers["content-security-policy"] == POLICY


def test_page_and_server_do_not_understand_each_other(tabs: Tabs, server: Running) -> None:
    """问答、每个旋钮、概率、计数、停下，有一样真正的服务器不认。"""
    chat = tabs()
    page = chat.page
    chat.ask("灯塔 & **light**")
    assert chat.said() == ["灯塔 & **light**", "灯塔 & light"]
    expect(page.locator("#counter-text")).to_contain_text("of 512 tokens")
    chat.button("Tokens").click()
    assert "".join(page.locator(".token[role=option]").all_inner_texts()).replace("·", "") == "灯塔 & **light**"
    page.get_by_role("button", name="Settings").click()
    page.get_by_label("System prompt").fill("Echo.")
    page.get_by_text("More controls").click()
    for label, value in {"Temperature": "0.1", "Longest answer (tokens)": "300", "Top-p": "0.99", "Top-k": "40",
                         "Min-p": "0.01", "Presence penalty": "0.1", "Frequency penalty": "0.1",
                         "Repetition penalty": "1.01", "Seed": "7", "Stop strings": "END"}.items():  # fmt: skip
        page.get_by_label(label, exact=True).fill(value)
    chat.ask("one END two")
    assert chat.said()[-1] == "one"
    chat.type("long " * 60)
    expect(page.locator(".message.assistant .body").last).to_contain_text("long")
    page.keyboard.press("Escape")
    chat.settled()
    expect(page.locator(".note")).to_have_text("Stopped")
    assert len(chat.said()[-1]) < 300
    for _ in range(200):
        if not server.api.active:
            break
        page.wait_for_timeout(10)
    assert server.api.active == 0


@pytest.mark.full
def test_eighty_texts_through_the_real_server(tabs: Tabs) -> None:
    """八十段恶意的文字由真正的服务器说回来：与发去的不同，或出了毛病。"""
    chat = tabs()
    chat.page.add_init_script("window.pwned = () => console.error('pwned');")
    chat.opened()
    for payload in PAYLOADS:
        text = payload.replace("\u0000", "")
        chat.page.get_by_role("button", name="New chat").first.click()
        chat.ask(text)
        assert chat.page.locator(".message.user .body").text_content() == text
        chat.button("Tokens").dispatch_event("click")
        shown = "".join(chat.page.locator(".token[role=option]").all_text_contents())
        assert shown.replace("⏎\n", "\n").replace("·", "") == text.strip()
