"""拼页面：骨架、样式、脚本与录制装进同一个 HTML 文件。

流入：``Trace.to_dict()`` 给出的文档；流出：自足的网页，或装着它的 ``<iframe>``。
脚本分成几个小文件，按 ``SCRIPTS`` 的次序接在一起，共用一个函数作用域；没有打包工具，改了就生效。
"""

from __future__ import annotations

import json
from functools import cache
from html import escape
from pathlib import Path
from typing import Any

from tinygrad_llm.tracing.player.packing import packed

PARTS = Path(__file__).with_name("parts")
SCRIPTS = (
    "dom.js",
    "words.js",
    "numbers.js",
    "heat.js",
    "model.js",
    "groups.js",
    "layered.js",
    "scene.js",
    "graph.js",
    "camera.js",
    "motion.js",
    "step.js",
    "table.js",
    "faults.js",
    "panels.js",
    "export.js",
    "controls.js",
    "app.js",
)
BUDGET = 4_000_000
"""数组一共至多几个字符；页面的其余部分（脚本、公式、代码行）另有几百 KB。"""

# 只许行内的样式与脚本、data: 的图：页面里混进任何外部地址，浏览器也不会去取
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"


def page(document: dict[str, Any], *, budget: int = BUDGET) -> str:
    """一份自足的网页：双击即可打开，不发任何请求。

    Args:
        document: ``Trace.to_dict()`` 的结果；可以另有 ``faults``（弄坏它的开关）与 ``panels``（附加的图）。
        budget: 数组一共至多几个字符；超出时最大的数组换成摘要，页面会说明。

    Returns:
        完整的 HTML 文档。
    """
    recording = json.dumps(packed(document, budget), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    holes = {
        "{{title}}": escape(str(document.get("title") or "trace")),
        "{{policy}}": escape(_POLICY),
        "{{base}}": _joined(("base.css",)),
        "{{graph}}": _joined(("graph.css",)),
        "{{panel}}": _joined(("panel.css",)),
        "{{script}}": _joined(SCRIPTS),
        # 数据里的 "</script>" 会提前结束标签；JSON 里的 < 都可以写成转义
        "{{recording}}": recording.replace("<", "\\u003c"),
    }
    return "".join(holes.get(piece, piece) for piece in _skeleton())


def frame(document: dict[str, Any], *, height: int = 640) -> str:
    """笔记本里的播放器：页面整个放进 ``srcdoc``，与笔记本的样式互不干扰。

    Args:
        document: 同 ``page``。
        height: 高，像素。

    Returns:
        一个 ``<iframe>``；在 Jupyter 与 VS Code 里都能用。
    """
    style = f"width:100%;height:{height}px;border:1px solid rgba(128,128,128,.35);border-radius:10px"
    title = escape(f"backprop player: {document.get('title') or 'trace'}")
    return f'<iframe title="{title}" style="{style}" allow="fullscreen" srcdoc="{escape(page(document))}"></iframe>'


@cache
def _joined(names: tuple[str, ...]) -> str:
    return "\n".join((PARTS / name).read_text(encoding="utf-8") for name in names)


@cache
def _skeleton() -> list[str]:
    """骨架按空位切开：``{{名字}}`` 自成一段。"""
    text = (PARTS / "player.html").read_text(encoding="utf-8")
    pieces: list[str] = []
    while "{{" in text:
        before, _, rest = text.partition("{{")
        name, _, text = rest.partition("}}")
        pieces += [before, "{{" + name + "}}"]
    return [*pieces, text]
