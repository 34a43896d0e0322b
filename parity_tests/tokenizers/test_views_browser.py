"""浏览器里的视图：播放器的键盘与滑块，手机宽度上不横向溢出，页面不报错、不发请求。"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from parity_tests.browser import Pages
from tinygrad_llm.common.chat import CHAT_SPECIALS, Conversation, Message, render
from tinygrad_llm.common.chat.coloured import chat_page
from tinygrad_llm.common.tokenizers import Tokenizer, train_bpe
from tinygrad_llm.common.tokenizers.views.animation import Frame, encoding_frames, training_frames
from tinygrad_llm.common.tokenizers.views.compression import compression_of, compression_page
from tinygrad_llm.common.tokenizers.views.domains import domain_text
from tinygrad_llm.common.tokenizers.views.glitches import glitch_page, inspect_tokens
from tinygrad_llm.common.tokenizers.views.player import player_page

SAMPLE = "the river & the <ferry> 灯笼"


@cache
def _frames() -> tuple[list[Frame], list[Frame], Tokenizer]:
    text = domain_text("english") + domain_text("chinese")
    tokenizer = train_bpe(text, 256 + 80 + 1)
    return training_frames(text, 20, SAMPLE), encoding_frames(tokenizer, SAMPLE), tokenizer


def _player() -> str:
    training, encoding, _ = _frames()
    return player_page(training, encoding, subtitle="x")


def test_keys_and_slider_walk_through_the_frames(open_page: Pages) -> None:
    """键盘或滑块走到的不是该到的那一帧，或两个播放器互相干扰。"""
    training, encoding, _ = _frames()
    page = open_page(_player())
    first, second = page.locator(".player").nth(0), page.locator(".player").nth(1)

    def shown(player: object) -> list[str]:
        return [text.rstrip("\n") for text in player.locator(".stage .chip").all_text_contents()]  # type: ignore[attr-defined]

    def tokens(frame: Frame) -> list[str]:
        return [text.rstrip("\n") for text in frame.tokens]

    assert shown(first) == tokens(training[0])
    for key, index in (("ArrowRight", 1), ("ArrowRight", 2), ("ArrowLeft", 1), ("End", 20), ("ArrowRight", 20)):
        first.focus()
        page.keyboard.press(key)
        assert shown(first) == tokens(training[index]), key
    assert "第 20 次合并" in first.locator(".rule").inner_text()
    counts = first.locator(".bar b").all_text_contents()
    assert counts == [f"{one.count:,}" for one in training[20].candidates]
    assert shown(second) == tokens(encoding[0])
    second.locator("input").fill("3")
    assert shown(second) == tokens(encoding[3])
    assert len(second.locator(".stage .new").all()) == encoding[3].numbers.count(256 + encoding[3].merge)
    page.keyboard.press("Home")
    assert shown(second) == tokens(encoding[0])


def test_space_plays_to_the_end_and_stops(open_page: Pages) -> None:
    """空格不播放，或播到末尾不停。"""
    _, encoding, _ = _frames()
    page = open_page(_player())
    player = page.locator(".player").nth(1)
    player.locator("select").select_option("250")
    player.locator("input").fill(str(len(encoding) - 3))
    player.focus()
    page.keyboard.press(" ")
    button = player.locator('[data-do="play"]')
    assert button.inner_text() == "❚❚"
    player.locator('[data-do="play"]', has_text="▶").wait_for()
    assert player.locator("input").input_value() == str(len(encoding) - 1)


def _pages() -> Iterator[tuple[str, str]]:
    tokenizer = _frames()[2]
    chat = Tokenizer([], CHAT_SPECIALS)
    talk = Conversation((Message("user", "a very long question " * 20), Message("assistant", "长长的回答" * 40)))
    yield "player", _player()
    yield "chat", chat_page([("talk.jsonl:1", render(talk, chat))], chat, subtitle="x")
    yield "compression", compression_page({"english": {"ours": compression_of(tokenizer, SAMPLE)}})
    yield "glitches", glitch_page(tokenizer, inspect_tokens(tokenizer, [SAMPLE]), subtitle="x")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_fit_a_phone_and_run_clean(browser: object, scheme: str, tmp_path: Path) -> None:
    """手机宽度上页面横向溢出，控制台有错，发了请求，或深色时背景仍是浅的。"""
    context = browser.new_context(viewport={"width": 360, "height": 720}, color_scheme=scheme, offline=True)  # type: ignore[attr-defined]
    for name, html in _pages():
        page = context.new_page()
        troubles: list[str] = []
        page.on("pageerror", lambda error, found=troubles: found.append(str(error)))
        page.on("console", lambda line, found=troubles: found.append(line.text))
        page.on("request", lambda request, found=troubles: found.append(request.url))
        file = tmp_path / f"{name}.html"
        file.write_text(html, encoding="utf-8")
        page.goto(file.as_uri())
        assert troubles == [file.as_uri()], name
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, name
        red = page.evaluate("parseInt(getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0])")
        assert (red < 64) == (scheme == "dark"), name
    context.close()
