"""会动的 SVG：一个文件，不用脚本，浏览器与 GitHub 上都能放。

流入：静止的图与「第几步在哪里」；流出：带 CSS 动画的 SVG，同样的输入得到同样的字节。

不放动画的地方（打印、不认 CSS 动画的看图程序、关了系统动态效果的读者）看到的是最后一帧：每个元素自己的位置就是终点。
颜色随系统的明暗，底是自己画的。
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path

from tinygrad_llm.tracing.real.svg import COLOURS, FONT, number, tag

FIGURES = Path(__file__).resolve().parent.parent / "figures"
PLAYING = 0.86
"""一轮里动的部分；其余的时间停在最后一帧。"""
_DARK = ("#56b4e9", "#f58b4c", "#2ec79c", "#e3a1c7", "#f0bd45", "#9fd6f5")

Point = tuple[float, float]


def arguments(description: str) -> argparse.ArgumentParser:
    """各程序共有的 flag。"""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--figures", type=Path, default=FIGURES, help="folder that receives the SVG files")
    return parser


class Film:
    """一段循环播放的动画。

    Args:
        width: 宽，像素。
        height: 高，像素。
        seconds: 一轮几秒。
        title: 图的说明，读给看不见图的人听。
    """

    def __init__(self, width: float, height: float, seconds: float, title: str) -> None:
        self.width, self.height, self.seconds, self.title = width, height, seconds, title
        self.parts: list[str] = []
        self._rules: dict[str, str] = {}

    def add(self, *parts: str) -> None:
        """添上画好的元素，后添的在上面。"""
        self.parts += parts

    def moved(self, points: Sequence[Point], times: Sequence[float] | None = None) -> str:
        """依次走过这些点的 ``style``；元素自己画在最后一点上。

        Args:
            points: 各步的位置。
            times: 各步在一轮里的时刻，0 到 1；缺省为匀速走完。
        """
        last_x, last_y = points[-1]
        return self._animated(
            [f"transform:translate({number(x - last_x)}px,{number(y - last_y)}px)" for x, y in points], times
        )

    def drawn(self, points: Sequence[Point], times: Sequence[float] | None = None) -> str:
        """一条折线跟着时间画出来的 ``style``；元素须写上 ``pathLength="1"``。"""
        lengths = [0.0]
        for (x0, y0), (x1, y1) in pairwise(points):
            lengths.append(lengths[-1] + ((x1 - x0) ** 2 + (y1 - y0) ** 2) ** 0.5)
        whole = lengths[-1] or 1.0
        frames = [f"stroke-dashoffset:{1 - length / whole:.4f}" for length in lengths]
        return "stroke-dasharray:1;" + self._animated(frames, times)

    def shown(self, start: float, stop: float | None = None, fade: float = 0.0) -> str:
        """从一个时刻出现的 ``style``，时刻以动的部分计，0 到 1。

        Args:
            start: 何时出现。
            stop: 何时消失；``None`` 则留到最后。会消失的元素要自己写上 ``opacity="0"``：最后一帧没有它。
            fade: 渐渐出现用多久。
        """
        first = start * PLAYING
        frames, times = ["opacity:0", "opacity:0", "opacity:1"], [0.0, max(first - 1e-4, 0.0), first + fade]
        if stop is not None:
            frames += ["opacity:1", "opacity:0"]
            times += [stop * PLAYING, stop * PLAYING + 1e-4]
        return self._animated(frames, times)

    def _animated(self, frames: Sequence[str], times: Sequence[float] | None) -> str:
        """关键帧；同样的一串只写一次。"""
        if times is None:
            times = [PLAYING * i / max(len(frames) - 1, 1) for i in range(len(frames))]
        steps = [f"{max(time, 0) * 100:.2f}%{{{frame}}}" for time, frame in zip(times, frames, strict=True)]
        if times[-1] < 1:
            steps.append(f"100%{{{frames[-1]}}}")
        body = "".join(steps)
        name = self._rules.setdefault(body, f"k{len(self._rules)}")
        return f"animation:{name} {self.seconds:g}s linear infinite"

    def svg(self) -> str:
        """整个文件。"""
        dark = ";".join(f"--series-{i}:{colour}" for i, colour in enumerate(_DARK, 1))
        style = [
            "svg{color:#1b2430;--paper:#fff}",
            f"@media (prefers-color-scheme:dark){{svg{{color:#e4e9ef;--paper:#161b22;{dark}}}}}",
            "@media (prefers-reduced-motion:reduce){*{animation:none!important}}",
            *(f"@keyframes {name}{{{body}}}" for body, name in self._rules.items()),
        ]
        size = f"0 0 {number(self.width)} {number(self.height)}"
        attrs = {"xmlns": "http://www.w3.org/2000/svg", "viewBox": size, "role": "img", "font_family": FONT}
        sheet = "<style>\n" + "\n".join(style) + "\n</style>"
        paper = tag("rect", width=self.width + 0.0, height=self.height + 0.0, rx="8", fill="var(--paper)")
        attrs |= {"width": number(self.width), "height": number(self.height), "aria_label": self.title}
        return tag("svg", "\n", sheet, "\n", paper, "\n", "\n".join(self.parts), "\n", **attrs) + "\n"

    def save(self, path: Path) -> None:
        """写出文件。"""
        path.write_text(self.svg(), encoding="utf-8")
        print(f"wrote {path.parent.name}/{path.name}")


def polyline(points: Iterable[Point], colour: str, **attrs: object) -> str:
    """一条折线，可以跟着时间画出来。"""
    at = " ".join(f"{number(x)},{number(y)}" for x, y in points)
    shared = {"points": at, "fill": "none", "stroke": colour, "stroke_width": "2", "stroke_linejoin": "round"}
    return tag("polyline", **{**shared, "pathLength": "1", **attrs})


def disc(at: Point, colour: str, radius: float = 5, **attrs: object) -> str:
    """一个圆点，外面一圈底色。"""
    place = {"cx": float(at[0]), "cy": float(at[1]), "r": float(radius)}
    return tag("circle", **{**place, "fill": colour, "stroke": "var(--paper)", "stroke_width": "1.5", **attrs})


__all__ = ["COLOURS", "FIGURES", "PLAYING", "Film", "Point", "arguments", "disc", "polyline"]
