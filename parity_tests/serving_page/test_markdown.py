"""网页里的 markdown：画得对不对，一段段地画与一次画完是不是一样，会不会被古怪的文字拖慢。"""

from __future__ import annotations

import random
import time

import pytest

from parity_tests.serving_page.chat import Chats

# 标签与文字的骨架，写成一行：p[strong[text]]；代码块只看语言与代码
_DRAW = """async (sources) => {
  const { StreamView } = await import("/page/streamview.js");
  const shape = (node) => {
    if (node.nodeType === 3) return JSON.stringify(node.data);
    const inside = (selector) => node.querySelector(selector).textContent;
    if (node.tagName === "FIGURE") return `code(${inside(".language")})${JSON.stringify(inside("code"))}`;
    const name = node.tagName.toLowerCase();
    const fact = name === "a" ? node.href : name === "ol" && node.start !== 1 ? node.start : "";
    const extra = fact ? `(${fact})` : "";
    return `${name}${extra}[${[...node.childNodes].map(shape).join("")}]`;
  };
  return sources.map((source) => {
    const root = document.createElement("div");
    new StreamView(root).update(source, true);
    root.normalize();
    return [...root.children].map(shape).join("");
  });
}"""

_CASES = {
    "# Title": 'h3["Title"]',
    "a\nb": 'p["a\\nb"]',
    "a\n\nb": 'p["a"]p["b"]',
    "**b** *i* `c`": 'p[strong["b"]" "em["i"]" "code["c"]]',
    "snake_case_name and 2 * 3 * 4": 'p["snake_case_name and 2 * 3 * 4"]',
    "**未完": 'p["**未完"]',
    "这是**重点**。": 'p["这是"strong["重点"]"。"]',
    "***both***": 'p[strong[em["both"]]]',
    r"\*not\* \`code\`": 'p["*not* `code`"]',
    "- a\n- b\n  - c": 'ul[li["a"]li["b"ul[li["c"]]]]',
    "3. x\n4. y": 'ol(3)[li["x"]li["y"]]',
    "- a\n\n- b\n\nend": 'ul[li["a"]li["b"]]p["end"]',
    "> q\n> r": 'blockquote[p["q\\nr"]]',
    "```py\nx = 1\n\n# y\n```\nz": 'code(py)"x = 1\\n\\n# y"p["z"]',
    "```\nopen": 'code(Code)"open"',
    "---": "hr[]",
    "| a | b |\n|---|--:|\n| 1 | **2** |": ('div[table[thead[tr[th["a"]th["b"]]]tbody[tr[td["1"]td[strong["2"]]]]]]'),
    "[x](https://e.org/)": 'p[a(https://e.org/)["x"]]',
    "see https://e.org/a_b.": 'p["see "a(https://e.org/a_b)["https://e.org/a_b"]"."]',
    "[x](javascript:alert(1))": 'p["[x](javascript:alert(1))"]',
    "![pic](https://e.org/p.png)": 'p[em["pic"]]',
    "<b>no</b>": 'p["<b>no</b>"]',
    "[https://a.org](https://b.org/)": 'p[a(https://b.org/)["https://a.org"]]',
}


def test_markdown_is_drawn_wrong(chats: Chats) -> None:
    """有一种写法画得不对。"""
    found = chats().page.evaluate(_DRAW, list(_CASES))
    wrong = {source: drawn for source, drawn in zip(_CASES, found, strict=True) if drawn != _CASES[source]}
    assert not wrong


_SPLIT = """async (cases) => {
  const { StreamView } = await import("/page/streamview.js");
  const { originOf } = await import("/page/inline.js");
  const wrong = [];
  for (const [source, cuts] of cases) {
    const whole = document.createElement("div"), pieces = document.createElement("div");
    new StreamView(whole).update(source, true);
    const view = new StreamView(pieces);
    for (const cut of cuts) view.update(source.slice(0, cut));
    view.update(source, true);
    const walk = document.createTreeWalker(pieces, NodeFilter.SHOW_TEXT);
    let isMapped = true;
    while (walk.nextNode()) {
      const at = originOf(walk.currentNode);
      const { data } = walk.currentNode;
      if (at !== undefined && source.slice(at, at + data.length) !== data) isMapped = false;
    }
    pieces.normalize();
    whole.normalize();
    if (!isMapped || !pieces.isEqualNode(whole)) wrong.push([source, cuts, isMapped]);
  }
  return wrong.slice(0, 3);
}"""
_BITS = (
    "word", " ", "\n", "\n\n", "# ", "- ", "1. ", "> ", "```", "```\n", "|", "|-|-|\n", "| a | b |\n", "**", "*", "_",
    "`", "\\", "[x](http://e.org)", "![", "](", "  ", "    ", "中文，", "---", "http://e.org/", "2) ", "\t", "~~~",
    "é😀",
)  # fmt: skip


def _random_cases(seed: int, count: int) -> list[tuple[str, list[int]]]:
    """随机的文字与切口；三成是长的列表与表格，它们长大时走的是另一条路。"""
    rng = random.Random(seed)
    cases = []
    for _ in range(count):
        bits = list(_BITS)
        head = rng.choice(["", "", "", "", "", "", "| a | b |\n|---|---|\n", "- a\n", "1. a\n"])
        if head:
            bits += [head.split("\n")[0][:2], "\n", "\n- ", "\n| x | y |", "\n2. ", "word"] * 8
        source = head + "".join(rng.choices(bits, k=rng.randint(3, 40)))
        cuts = sorted(rng.randint(0, len(source)) for _ in range(rng.randint(1, 20)))
        cases.append((source, cuts))
    return cases


def test_streaming_draws_something_else(chats: Chats) -> None:
    """一段段地画，与一次画完的不同；或一个字记错了自己在原文的哪里。"""
    assert chats().page.evaluate(_SPLIT, _random_cases(0, 500)) == []


@pytest.mark.full
def test_streaming_draws_something_else_in_many_texts(chats: Chats) -> None:
    """同上，三万段随机的文字。"""
    page = chats().page
    for seed in range(1, 21):
        assert page.evaluate(_SPLIT, _random_cases(seed, 1500)) == [], seed


@pytest.mark.full
def test_strange_text_freezes_the_page(chats: Chats) -> None:
    """几十万个没有配对的记号画上几分钟：时间随长度的平方长。"""
    page = chats().page
    size = 200_000
    texts = ["*a " * size, "[" * size, "`" * size, "_a" * size, "> " * size, "- " * size, "|" * size, "![](" * size,
             "**a*" * size, "\\" * size, "http://" * size, "a\n" * size, "`a``b" * size]  # fmt: skip
    for text in texts:
        started = time.monotonic()
        page.evaluate(_DRAW, [text])
        elapsed = time.monotonic() - started
        print(f"{text[:8]!r}: {elapsed:.2f} s")
        assert elapsed < 30, text[:20]
