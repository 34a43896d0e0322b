"""服务器的麻烦：忙、出错、断线、重启、要密钥；浏览器里存坏了的东西。"""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from parity_tests.serving_page.chat import Chat, Chats
from parity_tests.serving_page.fake import Answer


def test_the_page_does_not_survive_a_restart_of_the_server(chats: Chats) -> None:
    """说到一半服务器没了：已写的丢了，状态没有变，或回来之后不能接着谈。"""
    chat = chats()
    page = chat.page
    answer = Answer(["half ", "an ", "answer"], holds_after=1)
    chats.server.answers = [answer]
    chat.type("Speak")
    expect(page.locator(".message.assistant .body")).to_have_text("half")
    chats.server.stop()
    answer.release.set()
    chat.settled()
    expect(page.locator("#status")).to_have_attribute("data-state", "lost")
    expect(page.locator("#banner")).to_contain_text("cannot be reached")
    expect(page.locator(".note.wrong")).to_contain_text("broke")
    assert chat.said() == ["Speak", "half"]
    chats.server.answers = [Answer(["whole"])]
    chats.server.start()
    page.wait_for_selector("#status[data-state=ready]")
    expect(page.locator("#banner")).to_be_hidden()
    page.get_by_role("button", name="Try again").click()
    chat.settled()
    assert chat.said() == ["Speak", "whole"]
    expect(page.locator(".where")).to_have_text("2/2")


def test_half_an_answer_passes_for_a_whole_one(chats: Chats) -> None:
    """写到一半时重新打开网页：那一问丢了，或看不出没有写完。"""
    chat = chats()
    answer = Answer(["half ", "an ", "answer"], holds_after=1)
    chats.server.answers = [answer]
    chat.type("Speak")
    expect(chat.page.locator(".message.assistant .body")).to_have_text("half")
    chat.page.wait_for_timeout(50)
    chat.opened()
    answer.release.set()
    assert chat.said()[0] == "Speak"
    expect(chat.page.locator(".note.wrong")).to_contain_text("broke")
    chat.page.get_by_role("button", name="Try again").click()
    chat.settled()
    assert chat.said() == ["Speak", "ok"]


def test_a_page_opened_before_the_server_never_finds_it(chats: Chats) -> None:
    """服务器不在时发的话丢了，或它来了之后没有自动连上。"""
    chat = chats()
    chats.server.stop()
    chat.type("Hello?")
    expect(chat.page.locator(".note.wrong")).to_contain_text("cannot be reached")
    chats.server.start()
    chat.page.get_by_role("button", name="Try now").click()
    chat.page.wait_for_selector("#status[data-state=ready]")
    chat.ask("Are you back?")
    assert chat.said()[-1] == "ok"
    assert chats.server.asked()[-1]["messages"] == [{"role": "user", "content": "Are you back?"}]


@pytest.mark.full
def test_a_busy_server_is_not_asked_again(chats: Chats) -> None:
    """服务器说过会儿再来（429），页面没有等一等再问。"""
    chat = chats()
    chats.server.answers = [Answer([], status=429, message="the queue is full"), Answer(["now"])]
    chat.type("Hurry")
    expect(chat.page.locator(".note")).to_contain_text("busy")
    chat.settled()
    assert chat.said() == ["Hurry", "now"]


def test_an_error_of_the_server_is_swallowed(chats: Chats) -> None:
    """服务器拒绝的缘故没有写出来，或写成了别的。"""
    chat = chats()
    chats.server.answers = [Answer([], status=400, message="too long: 3000 > 2048 <b>tokens</b>")]
    chat.ask("Long")
    expect(chat.page.locator(".note.wrong")).to_contain_text("too long: 3000 > 2048 <b>tokens</b>")
    assert chat.page.locator("#banner").is_hidden()


def test_a_key_is_not_asked_for(chats: Chats) -> None:
    """服务器要密钥：页面没有说，或填了之后没有用上。"""
    chats.server.key = "open-sesame"
    page = chats.page(chats.context())
    chat = Chat(chats, page)
    page.goto(chats.server.url)
    page.wait_for_selector("#status[data-state=key]")
    page.get_by_role("button", name="Enter the key").click()
    expect(page.get_by_label("API key")).to_be_focused()
    page.keyboard.type("open-sesame")
    page.keyboard.press("Enter")
    page.wait_for_selector("#status[data-state=ready]")
    page.get_by_role("button", name="Close", exact=True).last.click()
    chat.ask("Hi")
    assert chat.said() == ["Hi", "ok"]
    kept = page.evaluate("JSON.stringify({...localStorage})")
    assert "sesame" not in kept


_SPOILT = """async () => {
  localStorage.setItem("zero-one-llm.preferences", '{"temperature": "hot", "theme": 7, "language": ["zh"], "open": ');
  const open = indexedDB.open("zero-one-llm", 1);
  const db = await new Promise((resolve) => { open.onsuccess = () => resolve(open.result); });
  const shelf = db.transaction("conversations", "readwrite").objectStore("conversations");
  const orphan = { kind: "zero-one-llm.conversation", nodes: [{ id: "x", parent: "y" }] };
  for (const [key, value] of [["a", 7], ["b", orphan], ["c", null]]) shelf.put(value, key);
  await new Promise((resolve) => { shelf.transaction.oncomplete = resolve; });
  db.close();
}"""


def test_spoilt_storage_keeps_the_page_from_starting(chats: Chats) -> None:
    """浏览器里存的东西坏了，页面就起不来，或连好的对话也丢了。"""
    chat = chats()
    chat.ask("Keep me")
    chat.page.evaluate(_SPOILT)
    chat.opened()
    expect(chat.page.locator("#toast")).to_contain_text("cannot be read: 3")
    assert chat.page.locator("#talks .talk").all_inner_texts() == ["Keep me"]
    chat.ask("Still here?")
    assert chat.said()[-1] == "ok"


@pytest.mark.full
def test_without_storage_the_page_does_not_start(chats: Chats) -> None:
    """浏览器不许存任何东西时，页面起不来，或没有说。"""
    context = chats.context()
    context.add_init_script(
        "for (const name of ['localStorage', 'sessionStorage', 'indexedDB'])"
        " Object.defineProperty(window, name, { get() { throw new DOMException('no', 'SecurityError'); } });"
    )
    chat = Chat(chats, chats.page(context)).opened()
    expect(chat.page.locator("#toast")).to_contain_text("does not let the page store")
    chat.ask("Hi")
    assert chat.said() == ["Hi", "ok"]
