"""恶意的文字在网页里只是文字：从回答、提问、标题、模型的名字、错误与导入的文件里来，都不跑脚本、不取外部的东西。"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from parity_tests.serving_page.chat import Chats
from parity_tests.serving_page.fake import Answer
from parity_tests.serving_page.payloads import PAYLOADS, QUICK

_TRAP = "window.ran = []; window.pwned = () => window.ran.push(new Error().stack);"
# 页面里不该有的元素：除了自己的两个脚本、三份样式与一个图标，什么都不从外面取
_STRANGE = """() => {
  const own = new URL("/page/", location).href, strange = [];
  const bad = "iframe, object, embed, base, meta[http-equiv], style, img, video, audio, math, template, [style*=url],"
    + "form:not(#composer, .edit)";
  for (const node of document.querySelectorAll(bad)) strange.push(node.outerHTML);
  for (const node of document.querySelectorAll("script, link")) {
    const url = node.src || node.href;
    if (!url.startsWith(own) && !url.startsWith("data:image/svg+xml,")) strange.push(node.outerHTML);
  }
  for (const node of document.querySelectorAll("*"))
    for (const { name, value } of node.attributes)
      if (name.startsWith("on") || /^\\s*(javascript|vbscript):/i.test(value)) strange.push(node.outerHTML);
  for (const node of document.querySelectorAll("a[href]:not(.skip)"))
    if (!/^https?:$/.test(node.protocol) || !node.rel.includes("noopener")) strange.push(node.outerHTML);
  return [...strange, ...window.ran];
}"""


def _talk(payloads: Sequence[str]) -> dict[str, Any]:
    """一份要导入的对话：每一处文字都是恶意的。"""
    nodes: list[dict[str, Any]] = []
    for index, text in enumerate(payloads):
        role = "assistant" if index % 2 else "user"
        tokens = [[text, -1.0, [[text, -1.0], [payloads[0], -2.0]]]]
        extra = {"model": text, "error": text, "finish": text, "tokens": tokens, "count": 1} if index % 2 else {}
        parent = f"n{index - 1}" if index else ""
        nodes.append(
            {"id": f"n{index}", "parent": parent, "role": role, "content": text, "chosen": f"n{index + 1}", **extra}
        )
    head = {"kind": "zero-one-llm.conversation", "version": 1, "title": payloads[-1], "system": payloads[0]}
    return {**head, "id": payloads[0], "created": 1, "updated": 2, "first": ["n0"], "chosen": "n0", "nodes": nodes}


def _attack(chats: Chats, payloads: Sequence[str], folder: Path) -> None:
    context = chats.context()
    context.add_init_script(_TRAP)
    page = chats.page(context)
    page.goto(chats.server.url)
    page.wait_for_selector("#status[data-state=ready]")
    for text in payloads:
        halves = [text[: len(text) // 2], text[len(text) // 2 :]]
        chats.server.answers.append(Answer([*halves, "\n\nend"], others=[(text, -0.5)]))
        page.locator("#message").fill(text)
        page.locator("#message").press("Enter")
        page.wait_for_selector("body[data-busy=false]")
    chats.server.answers.append(Answer([], status=400, message="".join(payloads[:5])))
    page.locator("#message").fill("fail")
    page.locator("#message").press("Enter")
    page.wait_for_selector(".note.wrong")
    assert page.locator(".message.assistant").count() == len(payloads) + 1
    for button in page.locator(".message.assistant [data-say-label=tokens]").all():
        button.dispatch_event("click")
    for chip in page.locator(".token[role=option]").all()[:: max(1, len(payloads) // 12)]:
        chip.focus()
    assert page.evaluate(_STRANGE) == []
    file = folder / "talk.json"
    file.write_text(json.dumps(_talk(payloads)), encoding="utf-8")
    page.locator("#file").set_input_files(file)
    expect(page.locator(".message")).to_have_count(len(payloads))  # 字符串形式的等待要 eval，页面不许
    page.locator("#talks .talk").first.focus()
    assert page.evaluate(_STRANGE) == []
    page.reload()
    page.wait_for_selector("body[data-ready=true]")
    assert page.locator(".message").count() == len(payloads)
    page.wait_for_timeout(200)  # 迟到的事件
    assert page.evaluate(_STRANGE) == []


def test_a_text_runs_a_script(chats: Chats, tmp_path: Path) -> None:
    """十二段恶意的文字里，有一段跑了脚本，或取了外部的东西。"""
    _attack(chats, QUICK, tmp_path)


@pytest.mark.full
def test_one_of_eighty_texts_runs_a_script(chats: Chats, tmp_path: Path) -> None:
    """全部八十段。"""
    assert len(set(PAYLOADS)) == 80
    _attack(chats, PAYLOADS, tmp_path)


@pytest.mark.full
def test_the_trap_is_not_set(chats: Chats) -> None:
    """上面的检查自身：真有这样的元素与调用时，认得出来。"""
    chat = chats()
    chat.page.evaluate(f"{_TRAP} null")
    chat.page.evaluate(
        "pwned(); const a = document.createElement('a'); a.href = 'javascript:1'; document.body.append(a);"
        "document.body.append(document.createElement('object'))"
    )
    assert len(chat.page.evaluate(_STRANGE)) == 4
