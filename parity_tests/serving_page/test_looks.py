"""网页的样子与用法：两种语言、明暗、手机的宽度、只用键盘、读屏软件听到的、两千个 token 不卡。"""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import expect

from parity_tests.serving_page.chat import Chats
from parity_tests.serving_page.fake import Answer

_LATIN = re.compile(r"\b(?!English\b|Enter\b|Shift\b|Esc\b|Alt\b|API\b|Top-[pk]\b|Min-p\b|token\b|JSON\b)[A-Za-z]{4,}")


def test_a_language_is_not_spoken(chats: Chats) -> None:
    """中文的浏览器里不是中文，换了语言没有全换，或重新打开之后忘了。"""
    chat = chats(locale="zh-CN")
    page = chat.page
    assert page.locator("html").get_attribute("lang") == "zh-CN"
    chats.server.answers = [Answer(["好"]), Answer(["行"])]
    chat.ask("你好")
    page.get_by_role("button", name="重新生成").click()
    chat.settled()
    page.get_by_role("button", name="设置").click()
    page.get_by_text("更多", exact=True).click()
    texts = page.locator("body").inner_text().replace("fox-1m", "").replace("owl-2m", "")
    assert not _LATIN.findall(texts)
    labels = page.evaluate(
        "[...document.querySelectorAll('[aria-label]:not(#language)')].map((e) => e.ariaLabel).join('\\n')"
    )
    assert not _LATIN.findall(labels)
    page.locator("#language").click()
    page.evaluate("document.getElementById('announcer').replaceChildren()")  # 念过的话不改口
    assert page.locator("html").get_attribute("lang") == "en"
    english = page.evaluate(
        "document.body.innerText + [...document.querySelectorAll('[aria-label]:not(#language)')].map(e => e.ariaLabel)"
    )
    assert re.findall(r"[\u4e00-\u9fff]+", english.replace("你好", "").replace("行", "").replace("好", "")) == ["中文"]
    chat.opened()
    expect(page.get_by_role("button", name="New chat").first).to_be_visible()


def test_dark_mode_does_not_follow(chats: Chats) -> None:
    """系统是深色时页面不深，或开关不管用、重新打开之后忘了。"""
    chat = chats(color_scheme="dark")
    ground = "getComputedStyle(document.body).backgroundColor"
    dark = chat.page.evaluate(ground)
    assert dark == "rgb(22, 22, 20)"
    chat.page.locator("#theme").click()
    light = chat.page.evaluate(ground)
    assert light == "rgb(250, 249, 246)"
    chat.opened()
    assert chat.page.evaluate(ground) == light
    chat.page.locator("#theme").click()
    assert chat.page.evaluate(ground) == dark


_LONG = [
    "# A_very_long_heading_without_any_space_at_all_that_goes_on\n\n", "x" * 300, "\n\n```\n", "y" * 300, "\n```\n\n",
    "| a | b | c | d |\n|---|---|---|---|\n| " + " | ".join(["z" * 18] * 4) + " |\n\n", "`" + "w" * 200 + "`",
]  # fmt: skip
_OUTSIDE = """() => {
  const bad = [];
  if (document.documentElement.scrollWidth > innerWidth) bad.push("the page scrolls sideways");
  const scroller = document.getElementById("scroller");
  if (scroller.scrollWidth > scroller.clientWidth) bad.push("the conversation scrolls sideways");
  for (const node of document.querySelectorAll("button, input, select, textarea")) {
    if (!node.checkVisibility() || node.closest(".code, .table")) continue;
    const box = node.getBoundingClientRect();
    if (box.left < 0 || box.right > innerWidth) bad.push(["outside", node.outerHTML.slice(0, 120)]);
    const isSmall = node.tagName === "BUTTON" && Math.min(box.width, box.height) < 24;
    if (isSmall) bad.push(["too small to touch", node.outerHTML.slice(0, 120)]);
  }
  return bad;
}"""


def test_a_phone_scrolls_sideways(chats: Chats) -> None:
    """360 像素宽的屏幕上，有东西出了屏幕，或按钮小得点不准。"""
    chat = chats(width=360, height=640, locale="zh-CN", has_touch=True, is_mobile=True)
    page = chat.page
    assert page.evaluate(_OUTSIDE) == []
    chats.server.answers = [Answer(_LONG)]
    chat.ask("长" * 200 + "u" * 200)
    assert page.evaluate(_OUTSIDE) == []
    chat.button("编辑", 0).click()
    assert page.evaluate(_OUTSIDE) == []
    page.keyboard.press("Escape")
    chat.button("逐个 token").click()
    assert page.evaluate(_OUTSIDE) == []
    for panel, close in (("list", "close-list"), ("settings", "close-settings")):
        page.locator(f"#open-{panel}").click()
        assert page.evaluate(_OUTSIDE) == [], panel
        page.locator(f"#{close}").click()
    expect(page.locator("#main")).not_to_have_attribute("inert", "")


def test_something_needs_a_mouse(chats: Chats) -> None:
    """只用键盘：问、换行、停、重来、换版本、改、看 token、新对话、各个面板，有一样做不到。"""
    chat = chats()
    page, press = chat.page, chat.page.keyboard.press
    expect(page.locator("#message")).to_be_focused()
    held = Answer(["slow ", "slower ", "never"], holds_after=2)
    chats.server.answers = [Answer(["A1"]), Answer(["A2"]), held, Answer(["B"]), Answer(["C"])]
    page.keyboard.type("line one")
    press("Shift+Enter")
    page.keyboard.type("line two")
    press("Enter")
    chat.settled()
    assert chat.said() == ["line one\nline two", "A1"]
    press("Alt+r")
    chat.settled()
    press("Alt+BracketLeft")
    assert chat.said()[1] == "A1"
    press("Alt+BracketRight")
    assert chat.said()[1] == "A2"
    page.keyboard.type("go")
    press("Enter")
    expect(page.locator(".message.assistant .body").last).to_have_text("slow slower")
    press("Escape")
    chat.settled()
    assert chat.said()[3] == "slow slower"
    held.release.set()
    expect(page.locator("#message")).to_be_focused()
    press("ArrowUp")
    expect(page.get_by_label("Edit the message")).to_be_focused()
    press("Escape")
    expect(page.locator("#message")).to_be_focused()
    press("Alt+e")
    page.keyboard.type(" again")
    press("Enter")
    chat.settled()
    assert chat.said()[2:] == ["go again", "B"]
    press("Alt+t")
    expect(page.locator(".token[role=option]")).to_have_count(1)
    press("Alt+s")
    expect(page.locator("#settings")).to_be_visible()
    press("Alt+s")
    expect(page.locator("#settings")).to_be_hidden()
    press("Alt+l")
    expect(page.locator("#list")).to_be_hidden()
    press("Alt+Slash")
    expect(page.locator("#help")).to_be_visible()
    press("Escape")
    expect(page.locator("#help")).to_be_hidden()
    press("Alt+n")
    expect(page.locator("#welcome")).to_be_visible()


@pytest.mark.full
def test_a_control_cannot_be_reached_with_tab(chats: Chats) -> None:
    """按 Tab 走一圈，有控件没有走到；走到时没有焦点框、没有名字。"""
    chat = chats()
    chat.ask("Hi")
    chat.page.locator("#open-settings").click()
    wanted = set(
        chat.page.evaluate(
            "[...document.querySelectorAll('button, select, input, textarea')].filter((e) => e.checkVisibility()"
            " && !e.disabled && e.tabIndex >= 0).map((e) => e.id).filter(Boolean)"
        )
    )
    reached: dict[str, dict[str, Any]] = {}
    for _ in range(80):
        chat.page.keyboard.press("Tab")
        found = chat.page.evaluate(
            "(() => { const e = document.activeElement;"
            " const styles = [getComputedStyle(e).outlineStyle, getComputedStyle(e.closest('.box') ?? e).boxShadow];"
            " return { id: e === document.body ? 'body' : e.id || e.dataset.sayLabel || e.className,"
            " ring: styles.some((one) => one !== 'none'),"
            " name: e.getAttribute('aria-label') || e.textContent || e.labels?.[0]?.textContent }; })()"
        )
        if found["id"] != "body":
            reached[found["id"]] = found
    assert wanted <= set(reached), wanted - set(reached)
    for found in reached.values():
        assert found["ring"], found
        assert found["name"], found


def test_a_screen_reader_hears_nothing(chats: Chats) -> None:
    """写完的段落与结束没有念出来，或每个 token 都念。"""
    chat = chats()
    chats.server.answers = [Answer(["First ", "paragraph.\n\n", "Second ", "one."])]
    chat.ask("Speak")
    heard = chat.page.locator("#announcer p").all_inner_texts()
    assert heard == ["First paragraph.", "Second one.", "The answer is complete: 4 tokens"]
    assert chat.page.locator("#log").get_attribute("aria-live") == "off"


def test_the_input_method_sends_half_a_word(chats: Chats) -> None:
    """输入法选字时的回车，把半句话发了出去。"""
    chat = chats()
    chat.page.locator("#message").fill("ni hao")
    chat.page.locator("#message").dispatch_event("keydown", {"key": "Enter", "isComposing": True})
    assert chat.said() == []


_WATCH = """() => {
  window.long = [];
  const keep = (list) => window.long.push(...list.getEntries().map((e) => Math.round(e.duration)));
  new PerformanceObserver(keep).observe({ type: "longtask" });
}"""


@pytest.mark.full
def test_two_thousand_tokens_make_the_page_stutter(chats: Chats) -> None:
    """两千个 token 的回答写得最快时，页面有一次停顿超过 200 毫秒，或越写越慢。"""
    chat = chats()
    words = ["The ", "**lamp** ", "turns ", "`slowly` ", "over ", "the ", "harbour, ", "夜里", "很静。", "\n\n- item "]
    chats.server.answers = [Answer(words * 200)]
    chat.page.evaluate(_WATCH)
    chat.page.locator("#message").fill("Go on")
    chat.page.locator("#message").press("Enter")
    chat.page.wait_for_selector("body[data-busy=true]")
    chat.page.wait_for_selector("body[data-busy=false]", timeout=60_000)
    durations = chat.page.evaluate("window.long")
    print("long tasks (ms):", durations)
    assert max(durations, default=0) < 200
    assert len(chat.page.locator(".message.assistant .body").inner_text()) > 8000
