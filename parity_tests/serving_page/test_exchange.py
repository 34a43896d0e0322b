"""导出与导入：自己的文件连版本一起回来，命令行的 chat 也读得懂；不对的文件不导入，说清缘故。"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from playwright.sync_api import expect

from parity_tests.serving_page.chat import Chat, Chats
from parity_tests.serving_page.fake import Answer
from tinygrad_llm.common.chat.loading import load_conversations


def _export(chat: Chat, button: str, folder: Path) -> Path:
    with chat.page.expect_download() as waiting:
        chat.page.get_by_role("button", name=button).click()
    path = folder / waiting.value.suggested_filename
    waiting.value.save_as(path)
    return path


def test_an_exported_conversation_comes_back_changed(chats: Chats, tmp_path: Path) -> None:
    """导出再导入，少了版本、系统提示或概率；或命令行读不了导出的文件。"""
    chat = chats(accept_downloads=True)
    page = chat.page
    page.get_by_role("button", name="Settings").click()
    page.get_by_label("System prompt").fill("Be brief.")
    chats.server.answers = [Answer(["one"]), Answer(["two"]), Answer(["three"])]
    chat.ask("灯塔 & co.")
    chat.button("Regenerate").click()
    chat.settled()
    chat.ask("Next")
    path = _export(chat, "Export this conversation", tmp_path)
    assert path.name.startswith("灯塔-co-")
    conversation = next(load_conversations(path))
    said = [(one.role, one.content) for one in conversation.messages]
    assert said == [
        ("system", "Be brief."),
        ("user", "灯塔 & co."),
        ("assistant", "two"),
        ("user", "Next"),
        ("assistant", "three"),
    ]

    other = chats()
    other.page.locator("#file").set_input_files(path)
    expect(other.page.locator("#toast")).to_have_text("Imported: 1")
    assert other.said() == ["灯塔 & co.", "two", "Next", "three"]
    other.button("Previous version", 1).click()
    assert other.said() == ["灯塔 & co.", "one"]
    expect(other.button("Tokens", 1)).to_be_attached()
    assert other.page.locator("#system").input_value() == "Be brief."


@pytest.mark.full
def test_exporting_all_leaves_one_out(chats: Chats, tmp_path: Path) -> None:
    """全部导出少了一份；或命令行存下的对话导不进来。"""
    saved = tmp_path / "talks.jsonl"
    records = [
        {"messages": [{"role": "user", "content": f"Q{i}"}, {"role": "assistant", "content": f"A{i}"}]}
        for i in range(3)
    ]
    saved.write_text("".join(json.dumps(one) + "\n" for one in records), encoding="utf-8")
    chat = chats(accept_downloads=True)
    chat.page.locator("#file").set_input_files(saved)
    expect(chat.page.locator("#talks .talk")).to_have_count(3)
    path = _export(chat, "Export all", tmp_path)
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert sorted(line["messages"][0]["content"] for line in lines) == ["Q0", "Q1", "Q2"]


_KIND = '{"kind": "zero-one-llm.conversation", '
_WRONG = {
    "not JSON": "hello",
    "nothing": "[]",
    "another kind": '{"messages": [{"role": "wizard", "content": "x"}]}',
    "no text": '{"messages": [{"role": "user", "content": 7}]}',
    "a loop": _KIND + '"nodes": [{"id": "a", "parent": "a", "role": "user", "content": "x"}]}',
    "a prototype": _KIND + '"nodes": [{"id": "__proto__", "parent": "constructor", "role": "user", "content": ""}]}',
    "null": "null",
}


def test_a_wrong_file_is_imported(chats: Chats, tmp_path: Path) -> None:
    """不是对话的文件导了进来，或没有说缘故。"""
    chat = chats()
    for name, text in _WRONG.items():
        path = tmp_path / f"{name}.json"
        path.write_text(text, encoding="utf-8")
        chat.page.locator("#file").set_input_files(path)
        expect(chat.page.locator("#toast")).to_contain_text(f"Could not import {name}.json")
        assert chat.page.locator("#talks .talk").count() == 0, name


@pytest.mark.full
def test_two_tabs_do_not_see_each_other(chats: Chats) -> None:
    """一个标签页里新的对话，另一个看不到；一边删了，另一边还在。"""
    context = chats.context()
    one, other = Chat(chats, chats.page(context)).opened(), Chat(chats, chats.page(context)).opened()
    one.ask("From the first tab")
    expect(other.page.locator("#talks .talk")).to_have_text("From the first tab")
    other.page.locator("#talks li").hover()
    other.page.get_by_role("button", name="Delete").click()
    expect(one.page.locator("#talks .talk")).to_have_count(0)
