"""真的浏览器里，播放器的用法：按键、按钮、标签、收放、语言、明暗、导出、笔记本、大小屏幕。"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect

from parity_tests.browser import Pages
from parity_tests.tracing.player_pages import big_page, recording_in, toy_document, toy_page, toy_trace
from tinygrad_llm.tracing.player import page as player_page
from tinygrad_llm.tracing.toys import TOYS

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

_GRAPH_BOX = "document.getElementById('graph').getBoundingClientRect().toJSON()"
_SVG = "{http://www.w3.org/2000/svg}"


def _frame(page: Page) -> int:
    return int(page.locator("body").get_attribute("data-frame") or -1)


def _last(page: Page) -> int:
    return int(page.evaluate("player.frames")) - 1


def test_a_key_does_not_do_what_the_help_says(open_page: Pages) -> None:
    """有一个按键不管用：进退、首尾、换阶段、播放、快慢。"""
    page = open_page(toy_page("mlp"))
    last, press = _last(page), page.keyboard.press
    for key, frame in [("ArrowRight", 1), ("ArrowRight", 2), ("ArrowLeft", 1), ("Home", 0), ("ArrowLeft", 0)]:
        press(key)
        assert _frame(page) == frame, key
    press("End")
    assert _frame(page) == last
    press("ArrowRight")
    assert _frame(page) == last
    press("PageUp")
    assert page.locator("body").get_attribute("data-phase") == "seed"
    press("PageUp")
    assert _frame(page) == 1
    press("PageDown")
    assert page.locator("body").get_attribute("data-phase") == "seed"
    assert page.evaluate("player.speed") == 1
    press("ArrowUp")
    assert page.evaluate("player.speed") == 2
    press("ArrowDown")
    press("ArrowDown")
    assert page.evaluate("player.speed") == 0.5
    press("Home")
    page.evaluate("player.setSpeed(60)")
    press("Space")
    expect(page.locator("body")).to_have_attribute("data-frame", str(last))
    assert page.locator("body").get_attribute("data-playing") == "false"
    page.evaluate("player.setSpeed(1)")
    press("Space")  # 到了末尾再按，从头播放；再按一次暂停
    assert page.locator("body").get_attribute("data-playing") == "true"
    press("Space")
    assert page.locator("body").get_attribute("data-playing") == "false"
    assert _frame(page) < last


def test_choosing_nodes_and_modules_needs_a_mouse(open_page: Pages) -> None:
    """不用鼠标就选不了节点、收放不了模块、放不开选中的东西。"""
    page = open_page(toy_page("gpt"))
    press = page.keyboard.press
    scene = page.evaluate("player.scene")
    assert scene["folded"] > 0
    for _ in range(scene["cards"] + scene["folded"]):
        press("]")
        if page.locator(".card.module.chosen").count():
            break
    assert page.locator(".card.module.chosen").count() == 1
    assert "Press Enter" in page.locator("#side-step").inner_text()
    press("Enter")
    assert page.evaluate("player.scene")["folded"] == scene["folded"] - 1
    press("[")
    assert page.locator(".card.chosen").count() == 1
    press("Escape")
    assert page.locator(".card.chosen").count() == 0
    press("m")
    assert page.evaluate("player.scene")["folded"] == 0
    assert page.locator(".card[data-value]").count() == len(page.evaluate("[...document.querySelectorAll('.card')]"))
    press("m")
    assert page.evaluate("player.scene")["cards"] < scene["cards"]


def test_views_and_looks_need_a_mouse(open_page: Pages) -> None:
    """不用鼠标就换不了标签、方向、语言、明暗，缩放不了，看不到帮助。"""
    page = open_page(toy_page("attention"))
    press, root = page.keyboard.press, page.locator("html")
    for key, pane in [("2", "table"), ("3", "faults"), ("1", "step")]:
        press(key)
        assert page.locator(f"#side-{pane}").is_visible()
        assert page.locator(f"#side-tab-{pane}").get_attribute("aria-selected") == "true"
    for fault in [fault["name"] for fault in toy_document("attention")["faults"]] + [""]:
        press("b")
        assert page.locator("body").get_attribute("data-fault") == fault
        checked = page.locator("[role=radio][aria-checked=true]")
        assert checked.get_attribute("data-fault") == fault
    direction = page.evaluate("player.scene.direction")
    press("t")
    assert page.evaluate("player.scene.direction") != direction
    press("l")
    assert root.get_attribute("lang") == "zh-CN"
    assert page.locator("#side-tab-table").inner_text() == "梯度表"
    assert page.locator("#play").get_attribute("aria-label") == "播放 (空格)"
    press("l")
    assert page.locator("#side-tab-table").inner_text() == "Gradients"
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    press("d")
    assert root.get_attribute("data-theme") == "dark"
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != ground
    before = page.evaluate(_GRAPH_BOX)
    press("+")
    after = page.evaluate(_GRAPH_BOX)
    assert after["width"] > before["width"]
    press("Shift+ArrowRight")
    assert page.evaluate(_GRAPH_BOX)["x"] == pytest.approx(after["x"] - 80, abs=1)
    press("f")
    assert page.locator("#follow").get_attribute("aria-pressed") == "false"
    press("?")
    assert page.locator("#help").is_visible()
    press("Escape")
    assert not page.locator("#help").is_visible()


def test_a_control_cannot_be_reached_with_tab(open_page: Pages) -> None:
    """按 Tab 走一圈，有按钮、标签、滑块或选单没有走到；或者走到时没有焦点框、没有名字。"""
    page = open_page(toy_page("neuron"))
    wanted = set(
        page.evaluate(
            "[...document.querySelectorAll('header button, .zoom button, .deck button, #scrub, #speed')]"
            ".filter(e => !e.hidden && !e.disabled).map(e => e.id)"
        )
    )
    reached: dict[str, dict[str, Any]] = {}
    for _ in range(60):
        page.keyboard.press("Tab")
        found = page.evaluate(
            "(() => { const e = document.activeElement, s = getComputedStyle(e);"
            " return { id: e.id, tab: e.dataset.tab ?? '', outline: s.outlineStyle,"
            " name: e.getAttribute('aria-label') || e.textContent || e.labels?.[0]?.textContent }; })()"
        )
        if found["id"]:
            reached[found["id"]] = found
    assert wanted <= set(reached)
    assert "side-tab-step" in reached
    for id_, found in reached.items():
        assert found["outline"] != "none", id_
        assert found["name"], id_
    page.locator("#side-tab-step").focus()
    page.keyboard.press("ArrowRight")
    assert page.locator("#side-table").is_visible()
    assert _frame(page) == 0  # 标签条里的左右键不走步


def test_a_button_does_less_than_its_key(open_page: Pages) -> None:
    """点按钮没有反应，或拖进度条走不到那一帧。"""
    page = open_page(toy_page("mlp"))
    page.locator("#step").click()
    page.locator("#step").click()
    page.locator("#back").click()
    assert _frame(page) == 1
    page.locator("#last").click()
    assert _frame(page) == _last(page)
    assert page.locator("#step").is_disabled()
    page.locator("#first").click()
    assert _frame(page) == 0
    page.locator("#scrub").fill("5")
    assert _frame(page) == 5
    assert page.locator("#where").inner_text() == f"5 / {_last(page)}"
    page.locator("#speed").select_option("4")
    assert page.evaluate("player.speed") == 4
    page.locator("#zoom-fit").click()
    page.locator(".card[data-value='1']").click()
    assert page.locator(".card.chosen").get_attribute("data-value") == "1"
    assert "leaf" in page.locator("#side-step").inner_text()


_SIZES = {"desktop": (1280, 720), "phone": (390, 844)}

# 出了屏幕或小得点不准的按钮，小得看不清的字，互相重叠的卡片，写出卡片的名字与数
_UNREADABLE = """() => {
  const bad = [];
  const root = document.documentElement;
  if (root.scrollWidth > innerWidth || root.scrollHeight > innerHeight) bad.push("the page scrolls");
  for (const button of document.querySelectorAll("button")) {
    if (!button.checkVisibility()) continue;
    const box = button.getBoundingClientRect();
    if (box.left < 0 || box.right > innerWidth) bad.push(["off the screen", button.textContent]);
    const inText = button.closest(".side .pane");
    if (!inText && Math.min(box.width, box.height) < 28) bad.push(["too small", button.id]);
  }
  for (const element of document.querySelectorAll("body *")) {
    const hasText = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!hasText || !element.checkVisibility() || element.closest("svg, script, style, .unseen")) continue;
    if (parseFloat(getComputedStyle(element).fontSize) < 10.5) bad.push(["small print", element.textContent]);
  }
  player.fit();
  const bodyOf = (g) => g.querySelector(".body").getBoundingClientRect();
  const cards = [...document.querySelectorAll(".card")].map((g) => ({ g, at: bodyOf(g) }));
  const meet = (a, b, x, y) =>
    a.right > b.left + x && b.right > a.left + x && a.bottom > b.top + y && b.bottom > a.top + y;
  cards.forEach(({ g, at }, i) => {
    for (const other of cards.slice(i + 1)) if (meet(at, other.at, 1, 1)) bad.push(["overlap", g.textContent]);
    const texts = [...g.querySelectorAll("text:not(.verdict)")].filter((t) => t.textContent && t.checkVisibility());
    const boxes = texts.map((t) => t.getBoundingClientRect());
    boxes.forEach((box, k) => {
      if (box.left < at.left - 1 || box.right > at.right + 1) bad.push(["out of its card", texts[k].textContent]);
      for (const next of boxes.slice(k + 1)) if (meet(box, next, 2, 3)) bad.push(["texts meet", texts[k].textContent]);
    });
  });
  return bad;
}"""


@pytest.mark.parametrize("toy", TOYS)
def test_something_is_cut_off_or_too_small(toy: str, open_page: Pages) -> None:
    """电脑与手机的屏幕上，页面要滚动，按钮出了屏幕或小得点不准，字太小，卡片重叠，名字写出了卡片。"""
    page = open_page(toy_page(toy))
    page.evaluate("player.go(Math.round(player.frames * 0.7))")
    for name, (width, height) in _SIZES.items():
        page.set_viewport_size({"width": width, "height": height})
        for lang in ("zh", "en"):
            page.evaluate(f"player.setLanguage('{lang}')")
            assert page.evaluate(_UNREADABLE) == [], (name, lang)


def test_the_frame_is_saved_as_a_broken_picture(open_page: Pages, tmp_path: Path) -> None:
    """存下的 SVG 不是独立的图（颜色没有写成实数、缺了说明），或 PNG 打不开。"""
    page = open_page(toy_page("diamond"))
    page.evaluate("player.go(6)")
    with page.expect_download() as download:
        page.keyboard.press("s")
    assert download.value.suggested_filename == "diamond-006.svg"
    download.value.save_as(tmp_path / "frame.svg")
    text = (tmp_path / "frame.svg").read_text(encoding="utf-8")
    root = ET.fromstring(text)  # noqa: S314  自己刚写的文件
    assert "var(--" not in text
    words = "".join(root.itertext())
    assert "u = s + 1.0" in words
    assert "3.25 + 2.25 = 5.5" in words
    assert len(root.findall(f".//{_SVG}g[@data-value]")) == 5
    with page.expect_download() as download:
        page.locator("#save-png").click()
    assert download.value.suggested_filename == "diamond-006.png"
    download.value.save_as(tmp_path / "frame.png")
    data = (tmp_path / "frame.png").read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    box = [float(x) for x in root.attrib["viewBox"].split()]
    assert (width, height) == pytest.approx((2 * box[2], 2 * box[3]), abs=1)


def test_a_panel_is_missing_or_runs_a_script(open_page: Pages) -> None:
    """附加的图没有成为标签页，或者图里的脚本与外部地址没有去掉。"""
    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 10 10" onload="document.title=1">'
        '<script>alert(1)</script><image href="https://example.org/x.png"/>'
        '<a href="javascript:alert(1)"><rect width="5" height="5"/></a></svg>'
    )
    panels = [
        {"id": "one", "title_en": "One", "title_zh": "一", "svg": svg},
        {"id": "two", "title_en": "Two", "title_zh": "二", "svg": svg},
    ]
    page = open_page(player_page({**toy_document("neuron"), "panels": panels}))
    assert page.locator("#stage-tabs [role=tab]").all_inner_texts() == ["Graph", "One", "Two"]
    page.keyboard.press("5")
    assert page.locator("#stage-panel rect").count() == 1
    assert page.locator("#stage-panel h2").inner_text() == "One"
    for gone in ("script", "[onload]", "[href]"):
        assert page.locator(f"#stage-panel {gone}").count() == 0
    assert not page.locator("#side-step").is_visible()
    page.keyboard.press("4")
    assert page.locator("#graph").is_visible()
    page.keyboard.press("6")
    page.keyboard.press("ArrowRight")
    assert page.locator("#graph").is_visible()
    assert page.locator("#side-step").is_visible()


def test_motion_goes_on_although_the_reader_asked_for_none(open_page: Pages) -> None:
    """系统要求减少动画，播放器却照演；或者不演动画就没有显示贡献。"""
    page = open_page(toy_page("diamond"), reduced_motion="reduce")
    page.evaluate("player.setSpeed(0.5); player.go(5)")
    page.keyboard.press("ArrowRight")
    assert page.locator(".card[data-value='1'] text.grad").text_content() == "5.5"
    assert page.locator(".packet text").text_content() == "2.25"


# VS Code 给笔记本输出的网页定的规矩：脚本与样式可以行内，图可以是 data:，别的都不行。
_VS_CODE = (
    "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; "
    "img-src https: data:; child-src https: data:"
)


@pytest.mark.parametrize(
    "policy", ["", f'<meta http-equiv="Content-Security-Policy" content="{_VS_CODE}">'], ids=["jupyter", "vscode"]
)
def test_the_player_does_not_work_inside_a_notebook(policy: str, browser: Browser, tmp_path: Path) -> None:
    """放进笔记本的 iframe 里，播放器打不开，或者不能走步、看不清。"""
    file = tmp_path / "notebook.html"
    file.write_text(
        f"<!DOCTYPE html>{policy}<body style='width:900px'>{toy_trace('diamond')._repr_html_()}", encoding="utf-8"
    )
    context = browser.new_context(offline=True)
    page = context.new_page()
    page.goto(file.as_uri())
    inside = page.frame_locator("iframe")
    expect(inside.locator("body[data-ready=true]")).to_be_visible()
    inside.locator("#step").click()
    expect(inside.locator("body")).to_have_attribute("data-frame", "1")
    assert inside.locator("#graph").evaluate("e => e.getBoundingClientRect().width") > 200
    context.close()


def test_the_link_opens_another_frame(open_page: Pages) -> None:
    """地址里写着的帧、语言、明暗、弄坏的办法没有照办。"""
    page = open_page(toy_page("diamond"), at="frame=end&lang=zh&theme=dark&fault=naive_recursion&tab=faults")
    assert _frame(page) == _last(page)
    assert page.locator("html").get_attribute("data-theme") == "dark"
    assert page.locator("body").get_attribute("data-fault") == "naive_recursion"
    assert page.locator("#comparison").is_visible()
    assert page.locator("#side-tab-faults").inner_text() == "弄坏它"


# 打开网页时解了几个数组的码
_COUNT_DECODED = """
  globalThis.decoded = 0;
  const original = atob;
  globalThis.atob = (text) => { globalThis.decoded += 1; return original(text); };
"""

# 走 steps 步，每一步动了页面上几处
_TOUCHED = """async (steps) => {
  const touched = [];
  let places = 0;
  const count = (change) => Math.max(1, change.addedNodes.length + change.removedNodes.length);
  const observer = new MutationObserver((changes) => changes.forEach((one) => (places += count(one))));
  observer.observe(document.body, { subtree: true, childList: true, attributes: true, characterData: true });
  for (let i = 1; i <= steps; i++) {
    places = 0;
    player.go(i, true);
    await new Promise((done) => requestAnimationFrame(done));
    touched.push(places);
  }
  return touched;
}"""


def test_opening_a_large_recording_decodes_what_is_not_drawn(open_page: Pages) -> None:
    """打开三百多次运算的 GPT，连没有画出来的数组也解了码：打开的时间随录制的大小长。"""
    html = big_page()
    page = open_page(html)
    page.add_init_script(_COUNT_DECODED)
    page.reload()
    page.wait_for_selector("body[data-ready=true]")
    packed = sum("base64" in entry for entry in recording_in(html)["arrays"])
    assert 0 < page.evaluate("decoded") < packed / 10


def test_a_step_of_a_large_recording_redraws_the_graph(open_page: Pages) -> None:
    """四百多张卡片全部展开，走一步却不只动这一步的几处：走步随图的大小变慢。"""
    page = open_page(big_page())
    page.evaluate("player.foldAll()")
    assert page.evaluate("player.scene")["cards"] > 300
    touched = page.evaluate(_TOUCHED, 120)
    assert min(touched) > 0
    assert max(touched) < page.evaluate("document.querySelectorAll('*').length") / 20
