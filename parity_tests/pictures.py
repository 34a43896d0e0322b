"""截图用的浏览器与写得紧凑的 PNG：两处截图的脚本共用。

流入：系统里的 Chromium，与它拍下的图；流出：不太大的图。
"""

from __future__ import annotations

import io
import shutil

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking")
MAX_BYTES = 150_000
_COLOURS = 256


def chromium() -> str | None:
    """浏览器在哪里；没有则为 ``None``。"""
    return next((found for found in map(shutil.which, BROWSERS) if found), None)


def compressed(png: bytes) -> bytes:
    """同一张图，写得紧些；仍超过 ``MAX_BYTES`` 就减少颜色。"""
    from PIL import Image

    picture = Image.open(io.BytesIO(png)).convert("RGB")
    few = picture.quantize(_COLOURS, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    for one in (picture, few):
        written = io.BytesIO()
        one.save(written, "PNG", optimize=True)
        if written.tell() <= MAX_BYTES:
            break
    return written.getvalue()
