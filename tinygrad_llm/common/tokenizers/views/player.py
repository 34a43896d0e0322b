"""播放合并的动画：网页里可以逐步、自动、拖动，键盘都能控制；终端里一帧一行。

流入：``animation.py`` 的各帧；流出：一个自足的网页，或终端上的文字。下一个文件：``glitches.py``。
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from tinygrad_llm.common.report import Section, page
from tinygrad_llm.common.tokenizers.views.animation import Frame
from tinygrad_llm.common.tokenizers.views.tokens import HUES, Chip, styled, terminal_text, token_style

if TYPE_CHECKING:
    from rich.text import Text

__all__ = ["player_page", "terminal_frames"]

FOLDER = Path(__file__).parent


def player_page(training: Sequence[Frame], encoding: Sequence[Frame], *, subtitle: str) -> str:
    """一个自足的网页：上面是训练，下面是编码，各有一个播放器。

    Args:
        training: ``training_frames`` 的结果；空的则没有这一节。
        encoding: ``encoding_frames`` 的结果；空的则没有这一节。
        subtitle: 标题下的一行小字。

    Returns:
        完整的 HTML 文档。
    """
    keys = "键盘：空格播放与暂停，← → 逐步，Home 与 End 到两端。"
    style = f"<style>\n{(FOLDER / 'player.css').read_text(encoding='utf-8')}</style>"
    sections = []
    if training:
        note = f"每一步数一遍相邻的对，合并最多的那一对，记作一个新的 token。{keys}"
        sections.append(Section("合并怎样学出来", _player("training", training), note))
    if encoding:
        note = f"编码时不再数数，只照学到的次序合并；用不上的合并略去。{keys}"
        sections.append(Section("一句话怎样合成 token", _player("encoding", encoding), note))
    first, *rest = sections
    opening = Section(first.title, token_style() + style + first.body, first.note)
    script = (FOLDER / "player.js").read_text(encoding="utf-8")
    return page("逐次合并", [opening, *rest], subtitle=subtitle, script=script)


def _player(name: str, frames: Sequence[Frame]) -> str:
    """一个播放器的骨架与数据；没有脚本时也看得到最后一帧。"""
    data = json.dumps([_plain(frame) for frame in frames], ensure_ascii=False, separators=(",", ":"))
    data = data.replace("<", "\\u003c")  # 数据里的 "</script>" 会提前结束标签
    last = "".join(
        f'<span class="chip chip-{number % HUES}">{escape(token)}</span>'
        for token, number in zip(frames[-1].tokens, frames[-1].numbers, strict=True)
    )
    buttons = "".join(
        f'<button type="button" data-do="{action}" aria-label="{label}">{sign}</button>'
        for action, label, sign in (
            ("first", "到开头", "«"),
            ("back", "退一步", "◀"),
            ("play", "播放或暂停", "▶"),
            ("next", "进一步", "▶❙"),
            ("last", "到末尾", "»"),
        )
    )
    return (
        f'<div class="player" tabindex="0" aria-label="{name} player">'
        f'<script type="application/json">{data}</script>'
        f'<p class="rule" aria-live="polite">第 {len(frames) - 1} 帧</p><div class="chips stage">{last}</div>'
        f'<div class="candidates"></div><div class="controls">{buttons}'
        f'<input type="range" min="0" max="{len(frames) - 1}" value="{len(frames) - 1}" aria-label="第几帧">'
        '<label>速度 <select aria-label="速度"><option value="1600">慢</option>'
        '<option value="800" selected>中</option><option value="250">快</option></select></label></div></div>'
    )


def _plain(frame: Frame) -> dict[str, object]:
    """一帧写成短键的字典，供 ``player.js`` 读。"""
    plain: dict[str, object] = {"t": frame.tokens, "n": frame.numbers, "m": frame.merge, "r": frame.rule}
    if frame.corpus_tokens:
        plain["total"] = frame.corpus_tokens
        plain["c"] = [[one.left, one.right, one.count] for one in frame.candidates]
    return plain


def terminal_frames(frames: Sequence[Frame], *, separator: str = "") -> Iterator[Text]:
    """终端里的各帧：一行说做了哪次合并，一行是此刻的 token；``separator`` 同 ``terminal_text``。"""
    for frame in frames:
        if frame.merge < 0:
            head = f"{len(frame.tokens)} bytes"
        else:
            left, right, joined = frame.rule
            head = f"merge {frame.merge}: {left} + {right} = {joined}"
            if frame.candidates:
                head += f"  ({frame.candidates[0].count:,} times; {frame.corpus_tokens:,} tokens left in the corpus)"
            head += f"  {len(frame.tokens)} tokens"
        found = [Chip(token, str(number % HUES)) for token, number in zip(frame.tokens, frame.numbers, strict=True)]
        line = terminal_text(found, separator=separator)
        yield styled([(head, "bold"), ("\n", "")]) + line
