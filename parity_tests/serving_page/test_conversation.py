"""一问一答：流式、停下、重新生成、改写、版本、采样的设置、概率、计数、存下来的对话。"""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from parity_tests.serving_page.chat import Chats
from parity_tests.serving_page.fake import Answer


def test_a_conversation_does_not_go_from_end_to_end(chats: Chats) -> None:
    """两轮问答：第二问没有带上第一轮的话，或画出来的不是收到的。"""
    chat = chats()
    chats.server.answers = [Answer(["Ships ", "**see** ", "the lamp."]), Answer(["At dusk."])]
    chat.ask("What is a lighthouse for?")
    chat.ask("When is it lit?")
    assert chat.said() == ["What is a lighthouse for?", "Ships see the lamp.", "When is it lit?", "At dusk."]
    expect(chat.page.locator(".message.assistant strong")).to_have_text("see")
    first, second = chats.server.asked()
    assert first["model"] == "fox-1m"
    assert first["stream"] is True
    assert [one["role"] for one in second["messages"]] == ["user", "assistant", "user"]
    assert second["messages"][1]["content"] == "Ships **see** the lamp."


def test_an_answer_appears_only_when_it_is_complete(chats: Chats) -> None:
    """回答没有边写边显示。"""
    chat = chats()
    answer = Answer(["Once ", "upon ", "a time."], holds_after=2)
    chats.server.answers = [answer]
    chat.type("A story")
    expect(chat.page.locator(".message.assistant .body")).to_have_text("Once upon")
    expect(chat.page.get_by_role("button", name="Send")).to_be_hidden()
    answer.release.set()
    chat.settled()
    assert chat.said()[1] == "Once upon a time."


def test_stop_does_not_stop_the_server(chats: Chats) -> None:
    """按了停止：已写的没有留下，服务器还在写，或接下来不能再问。"""
    chat = chats()
    answer = Answer(["one ", "two ", *["more "] * 2000], holds_after=2)
    chats.server.answers = [answer, Answer(["fine"])]
    chat.type("Count")
    expect(chat.page.locator(".message.assistant .body")).to_have_text("one two")
    chat.page.get_by_role("button", name="Stop").click()
    chat.settled()
    expect(chat.page.locator(".note")).to_have_text("Stopped")
    answer.release.set()
    for _ in range(200):  # 服务器要再写几个字才发现对方走了
        if not chats.server.gone:
            chat.page.wait_for_timeout(50)
    assert chats.server.gone == 1
    assert chat.said() == ["Count", "one two"]
    chat.ask("Again")
    assert [one["content"] for one in chats.server.asked()[1]["messages"]] == ["Count", "one two ", "Again"]


def test_versions_of_an_answer_get_lost(chats: Chats) -> None:
    """重新生成之后回不到原来的回答，或原来回答之后的话不见了。"""
    chat = chats()
    chats.server.answers = [Answer(["first"]), Answer(["after first"]), Answer(["second"])]
    chat.ask("Q1")
    chat.ask("Q2")
    chat.button("Regenerate", 1).click()
    chat.settled()
    assert chat.said() == ["Q1", "second"]
    assert chats.server.asked()[2]["messages"] == [{"role": "user", "content": "Q1"}]
    expect(chat.page.locator(".where")).to_have_text("2/2")
    chat.button("Previous version", 1).click()
    assert chat.said() == ["Q1", "first", "Q2", "after first"]
    expect(chat.page.locator(".where")).to_have_text("1/2")
    chat.opened()
    assert chat.said() == ["Q1", "first", "Q2", "after first"]
    chat.button("Next version", 1).click()
    assert chat.said() == ["Q1", "second"]


def test_editing_a_question_destroys_what_followed(chats: Chats) -> None:
    """改写一问：没有问新的，或原来的一问一答回不去。"""
    chat = chats()
    chats.server.answers = [Answer(["about cats"]), Answer(["about dogs"])]
    chat.ask("Cats?")
    chat.page.locator(".message.user").hover()
    chat.button("Edit", 0).click()
    chat.page.get_by_label("Edit the message").fill("Dogs?")
    chat.page.locator("form.edit").get_by_role("button", name="Send").click()
    chat.settled()
    assert chat.said() == ["Dogs?", "about dogs"]
    chat.button("Previous version", 0).click()
    assert chat.said() == ["Cats?", "about cats"]


def test_a_control_of_the_settings_is_not_sent(chats: Chats) -> None:
    """系统提示、模型或一个采样的旋钮没有随请求发出去；或没有动过的旋钮也发了。"""
    chat = chats()
    chat.ask("Hi")
    plain = chats.server.asked()[0]
    assert set(plain) == {
        "model", "messages", "stream", "stream_options", "temperature", "seed", "logprobs", "top_logprobs",
    }  # fmt: skip
    page = chat.page
    page.get_by_role("button", name="Settings").click()
    page.get_by_label("System prompt").fill("Speak like a sailor.")
    page.get_by_text("More controls").click()
    values = {
        "Temperature": "0.2", "Longest answer (tokens)": "64", "Top-p": "0.9", "Top-k": "40", "Min-p": "0.05",
        "Repetition penalty": "1.1", "Presence penalty": "0.5", "Frequency penalty": "-0.5", "Seed": "7",
        "Stop strings": "END\nFIN",
    }  # fmt: skip
    for label, value in values.items():
        page.get_by_label(label, exact=True).fill(value)
    page.get_by_label("Form of the answer").select_option("json_object")
    page.get_by_label("Probability of every token").uncheck()
    page.locator("#model").select_option("owl-2m")
    chat.ask("Ahoy")
    sent = chats.server.asked()[1]
    assert sent["messages"][0] == {"role": "system", "content": "Speak like a sailor."}
    expected = {
        "model": "owl-2m", "temperature": 0.2, "max_tokens": 64, "top_p": 0.9, "top_k": 40, "min_p": 0.05,
        "repetition_penalty": 1.1, "presence_penalty": 0.5, "frequency_penalty": -0.5, "seed": 7,
        "stop": ["END", "FIN"], "response_format": {"type": "json_object"},
    }  # fmt: skip
    assert {name: sent[name] for name in expected} == expected
    assert "logprobs" not in sent
    chat.button("Regenerate").click()
    chat.settled()
    assert chats.server.asked()[2]["seed"] == 8  # 固定的种子，每重来一次加一


@pytest.mark.full
def test_a_wrong_number_is_sent_all_the_same(chats: Chats) -> None:
    """超出范围的数没有标出来，或照样发了出去。"""
    chat = chats()
    page = chat.page
    page.get_by_role("button", name="Settings").click()
    box = page.get_by_label("Temperature")
    for wrong in ("9", "-1", ""):
        box.fill(wrong)
        expect(box).to_have_attribute("aria-invalid", "true")
    box.blur()
    expect(box).to_have_value("0.7")
    chat.ask("Hi")
    assert chats.server.asked()[0]["temperature"] == 0.7


def test_the_other_tokens_stay_hidden(chats: Chats) -> None:
    """指着回答里的一个字，或走到一个 token，没有列出它原本还可能是什么。"""
    chat = chats()
    others = [(" lamp", -0.5), (" light", -1.5), (" fire", -3.0)]
    chats.server.answers = [Answer(["The", " lamp", " is **lit", "** now."], others=others)]
    chat.ask("What?")
    page, card = chat.page, chat.page.locator("#card")
    box = page.locator(".message.assistant strong").bounding_box()
    assert box
    page.mouse.move(box["x"] + 6, box["y"] + box["height"] / 2)
    expect(card).to_be_visible()
    assert card.locator("tr.chosen th").inner_text() == "␣is␣**lit"
    assert card.locator("th").all_inner_texts()[:2] == ["␣lamp", "␣is␣**lit"]
    assert "60.7%" in card.inner_text()
    page.mouse.move(5, 5)
    expect(card).to_be_hidden()
    chat.button("Tokens").click()
    tokens = page.locator(".token[role=option]")
    assert "".join(tokens.all_inner_texts()) == "The lamp is **lit** now."
    tokens.first.focus()
    expect(card).to_be_visible()
    page.keyboard.press("ArrowRight")
    expect(tokens.nth(1)).to_be_focused()
    assert tokens.nth(1).get_attribute("aria-label") == "␣lamp, 60.7%"
    assert card.locator("tr.chosen th").inner_text() == "␣lamp"


def test_the_counter_counts_something_else(chats: Chats) -> None:
    """计数不含正在写的一句，或上下文快满时没有变样。"""
    chat = chats()
    chat.page.locator("#message").fill("one two three")
    expect(chat.page.locator("#counter-text")).to_have_text("3 of 2,048 tokens")
    chat.page.locator("#message").fill("word " * 2000)
    expect(chat.page.locator("#counter-text")).to_have_text("2,000 of 2,048 tokens")
    assert chat.page.locator("#counter-bar").get_attribute("data-level") == "high"


def test_conversations_do_not_outlive_the_tab(chats: Chats) -> None:
    """重新打开之后对话不见了；或改名、删除、撤销不管用。"""
    chat = chats()
    page = chat.page
    chats.server.answers = [Answer(["A"]), Answer(["B"])]
    chat.ask("First talk")
    page.get_by_role("button", name="New chat").first.click()
    expect(page.get_by_role("heading", name="What shall we talk about?")).to_be_visible()
    chat.ask("Second talk")
    chat.opened()
    assert chat.said() == ["Second talk", "B"]
    talks = page.locator("#talks .talk")
    assert talks.all_inner_texts() == ["Second talk", "First talk"]
    talks.nth(1).click()
    assert chat.said() == ["First talk", "A"]
    page.locator("#talks li").nth(1).hover()
    page.locator("#talks li").nth(1).get_by_role("button", name="Rename").click()
    page.keyboard.type("Harbour")
    page.keyboard.press("Enter")
    expect(talks.nth(1)).to_have_text("Harbour")
    page.locator("#talks li").nth(1).hover()
    page.locator("#talks li").nth(1).get_by_role("button", name="Delete").click()
    expect(talks).to_have_count(1)
    # 撤销的下一刻就重新打开：存到一半也要存完
    with page.expect_navigation():
        page.get_by_role("button", name="Undo").evaluate("button => { button.click(); location.reload(); }")
    expect(talks).to_have_text(["Second talk", "Harbour"])
