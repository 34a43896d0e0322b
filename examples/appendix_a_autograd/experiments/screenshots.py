"""播放器的截图：README 与正文里的四张。

流入：自带的例子 ``diamond``、``attention`` 与 ``gpt``；流出：``figures/`` 下的 ``player*.png``。
运行：``python examples/appendix_a_autograd/experiments/screenshots.py``。要有 ``playwright``（``make setup`` 会装）与
Chromium（Debian：``apt-get install chromium``）；截图时不联网。
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from drawing import figure_folder

from parity_tests.pictures import FLAGS, MAX_BYTES, chromium, compressed
from tinygrad_llm.tracing.programs import run_program


@dataclass(frozen=True)
class Shot:
    """一张截图。

    Attributes:
        name: 文件名。
        toy: 哪个例子。
        at: 打开哪一帧，什么样子；写法见播放器的 ``app.js``。
        size: 屏幕的宽与高，像素。
        scale: 每个像素拍成几个点。
    """

    name: str
    toy: str
    at: str
    size: tuple[int, int] = (1280, 720)
    scale: float = 1.5


SHOTS = (
    Shot("player.png", "diamond", "frame=6&theme=light&lang=en"),
    Shot("player_zh.png", "diamond", "frame=6&theme=light&lang=zh"),
    Shot("player_broken.png", "diamond", "frame=end&theme=light&lang=en&fault=naive_recursion&tab=faults"),
    Shot("player_attention.png", "attention", "frame=20&theme=dark&lang=en"),
    Shot("player_phone.png", "softmax", "frame=11&theme=light&lang=en", (390, 844), 2),
)


def take(browser: Any, shot: Shot, pages: Path) -> bytes:
    """拍一张。"""
    file = pages / f"{shot.toy}.html"
    if not file.exists():
        run_program(shot.toy).to_html(file)
    width, height = shot.size
    context = browser.new_context(
        viewport={"width": width, "height": height},
        device_scale_factor=shot.scale,
        offline=True,
        reduced_motion="reduce",
    )
    page = context.new_page()
    page.goto(f"{file.as_uri()}#{shot.at}")
    page.wait_for_selector("body[data-ready=true]")
    png: bytes = page.screenshot()
    context.close()
    return compressed(png)


def main() -> int:
    """拍全部；有一张太大就不写，退出码为 1。"""
    folder = figure_folder()
    path = chromium()
    if path is None:
        print("no Chromium on this machine: install one (Debian: apt-get install chromium)", file=sys.stderr)
        return 2
    from playwright.sync_api import sync_playwright

    too_big = 0
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as pages:
        browser = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        for shot in SHOTS:
            png = take(browser, shot, Path(pages))
            print(f"{shot.name}: {len(png) / 1024:.0f} KB")
            if len(png) > MAX_BYTES:
                too_big = 1
            else:
                (folder / shot.name).write_bytes(png)
        browser.close()
    return too_big


if __name__ == "__main__":
    sys.exit(main())
