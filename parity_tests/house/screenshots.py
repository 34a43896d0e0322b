"""README 里聊天网页的截图：由真正的服务器、真正的模型写出的回答。

流入：一个会对话的运行，如 ``convert smollm2`` 得到的；流出：``tinygrad_llm/common/serving/pictures/`` 下的三张图。
用法：``python -m parity_tests.house.screenshots runs/smollm2``。要有 Chromium；只连自己在本机起的服务器。
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from parity_tests.house.repo import ROOT
from parity_tests.pictures import FLAGS, MAX_BYTES, chromium, compressed

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

FOLDER = ROOT / "tinygrad_llm" / "common" / "serving" / "pictures"
_ANSWER_MS = 300_000
# 温度 0：同一个模型每次写出同样的回答
_PREFERENCES = {"temperature": 0, "max_tokens": 100}


def _rest_on_a_word(page: Page) -> None:
    """把指针停在回答的第一段里，等卡片出来。"""
    box = page.locator(".message.assistant p").first.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 330, box["y"] + 13)
    page.wait_for_selector("#card:not([hidden])")


def _by_token(page: Page) -> None:
    """逐个 token 看，焦点停在一个不太有把握的上。"""
    page.keyboard.press("Alt+t")
    page.keyboard.press("Alt+s")
    page.locator(".token.p1[role=option], .token.p2[role=option]").nth(2).focus()


def _as_it_is(page: Page) -> None:
    """不做什么。"""


@dataclass(frozen=True)
class Shot:
    """一张截图。

    Attributes:
        name: 文件名。
        questions: 依次问的话。
        then: 答完之后做什么。
        size: 屏幕的宽与高，像素。
        context: 浏览器的其他设置：语言、明暗。
    """

    name: str
    questions: tuple[str, ...]
    then: Callable[[Page], None] = _as_it_is
    size: tuple[int, int] = (1280, 720)
    context: dict[str, Any] = field(default_factory=dict)


SHOTS = (
    Shot("chat.png", ("Why is the sky blue?",), _rest_on_a_word),
    Shot("chat_zh.png", ("Why is the sky blue?",), _by_token, context={"locale": "zh-CN", "color_scheme": "dark"}),
    Shot("chat_phone.png", ("Name three things to take on a hike.",), size=(390, 780)),
)


@contextlib.contextmanager
def _serving(model: str) -> Iterator[str]:
    """起一台服务器；给出网址，离开时停下。"""
    command = [sys.executable, "-m", "torch_llm", "serve", "--model", model, "--port", "0", "--log", "none"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            line = process.stderr.readline()
            if "http://" not in line:
                raise SystemExit(f"the server did not start: {line}")
            yield line.split()[-1]
        finally:
            process.terminate()


def _take(browser: Browser, shot: Shot, url: str) -> bytes:
    width, height = shot.size
    context = browser.new_context(
        viewport={"width": width, "height": height}, device_scale_factor=1.5, reduced_motion="reduce", **shot.context
    )
    context.add_init_script(f"localStorage.setItem('zero-one-llm.preferences', {json.dumps(json.dumps(_PREFERENCES))})")
    page = context.new_page()
    page.set_default_timeout(_ANSWER_MS)
    page.goto(url)
    page.wait_for_selector("#status[data-state=ready]")
    for question in shot.questions:
        page.locator("#message").fill(question)
        page.locator("#message").press("Enter")
        page.wait_for_selector("body[data-busy=false]")
        page.wait_for_selector(".message:last-child .figures")
    page.wait_for_selector("#counter:not([hidden])")
    shot.then(page)
    page.wait_for_timeout(300)
    png = page.screenshot()
    context.close()
    return compressed(png)


def main() -> int:
    """拍全部；有一张太大就不写，退出码为 1。"""
    parser = argparse.ArgumentParser(prog="python -m parity_tests.house.screenshots")
    parser.add_argument("run", type=Path, help="a run that chats, e.g. runs/smollm2")
    parser.add_argument("--name", default="SmolLM2-135M-Instruct", help="what the page calls it")
    arguments = parser.parse_args()
    path = chromium()
    if path is None:
        print("no Chromium on this machine: install one (Debian: apt-get install chromium)", file=sys.stderr)
        return 2
    from playwright.sync_api import sync_playwright

    FOLDER.mkdir(exist_ok=True)
    too_big = 0
    with _serving(f"{arguments.name}={arguments.run}") as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        for shot in SHOTS:
            png = _take(browser, shot, url)
            print(f"{shot.name}: {len(png) / 1024:.0f} KB", flush=True)
            if len(png) > MAX_BYTES:
                too_big = 1
            else:
                (FOLDER / shot.name).write_bytes(png)
        browser.close()
    return too_big


if __name__ == "__main__":
    sys.exit(main())
