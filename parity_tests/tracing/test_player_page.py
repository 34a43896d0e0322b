"""播放器的网页，不用浏览器就能查的：自足、装得下、不丢数、两种语言齐全、颜色分得清。"""

from __future__ import annotations

import json
import re
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_llm as tg
from parity_tests.tracing.player_pages import (
    big_page,
    big_trace,
    recording_in,
    toy_document,
    toy_page,
    toy_trace,
    unpacked,
)
from tinygrad_llm.tracing.player import frame, page
from tinygrad_llm.tracing.player.page import PARTS, SCRIPTS
from tinygrad_llm.tracing.toys import TOYS

_SOURCES = {name: (PARTS / name).read_text(encoding="utf-8") for name in SCRIPTS}
_ALL = "\n".join(_SOURCES.values())
_WORD = re.compile(r"^    (\w+):", re.MULTILINE)


class _Skeleton(HTMLParser):
    """网页里的元素：标签与属性。"""

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))


def _elements(html: str) -> list[tuple[str, dict[str, str]]]:
    parser = _Skeleton()
    parser.feed(html)
    return parser.elements


@pytest.mark.parametrize("toy", TOYS)
def test_the_page_loses_a_number_of_the_recording(toy: str) -> None:
    """网页里的录制还原之后，与 ``to_dict()`` 有一个数不同。"""
    document = toy_document(toy)
    assert unpacked(recording_in(toy_page(toy))) == json.loads(json.dumps(document))


def test_the_page_reaches_outside_itself() -> None:
    """网页引用了外部的东西，或者它的规矩允许引用。"""
    html = toy_page("mlp")
    for tag, attributes in _elements(html):
        for name in ("src", "href", "action", "data", "poster"):
            assert name not in attributes, (tag, attributes)
        assert not any(name.startswith("on") for name in attributes), (tag, attributes)
    policies = [a["content"] for tag, a in _elements(html) if a.get("http-equiv") == "Content-Security-Policy"]
    assert len(policies) == 1
    assert policies[0].startswith("default-src 'none'")
    assert "http" not in policies[0]
    assert "*" not in policies[0]
    addresses = set(re.findall(r"https?://[^\s\"'`]+", html))
    assert addresses == {"http://www.w3.org/2000/svg"}  # 命名空间，不是要去取的地址


def test_text_of_the_program_breaks_out_of_the_page() -> None:
    """标题、变量名或代码里的标签被当成了网页的一部分。"""
    evil = '</script><script>alert("x")</script><!--'
    with tg.trace(title=evil) as t:
        x = tg.tensor(2.0, requires_grad=True)
        (x * x).backward()
    document = t.to_dict()
    document["values"][0]["name"] = evil
    html = page(document)
    assert evil not in html
    assert len([1 for tag, _ in _elements(html) if tag == "script"]) == 2
    assert recording_in(html)["values"][0]["name"] == evil


@pytest.mark.parametrize("dtype", [tg.float32, tg.float64])
def test_packing_changes_a_number(dtype: Any) -> None:
    """压缩之后的大数组与原来的不同：float32、float64、NaN、无穷与 −0。"""
    values = np.random.default_rng(0).standard_normal(200)
    values[:4] = (np.nan, np.inf, -np.inf, -0.0)
    with tg.trace() as t:
        x = tg.tensor(values, dtype=dtype, requires_grad=True)
        (x * 2).sum().backward()
    packed = recording_in(t.to_html())
    entry = packed["arrays"][packed["values"][0]["data"]["$"]]
    assert entry["type"] == ("<f4" if dtype is tg.float32 else "<f8")
    assert unpacked(packed)["values"] == json.loads(t.to_json())["values"]


def test_packing_takes_tidy_doubles_for_singles_and_loses_them() -> None:
    """float64 的数组碰巧都是短小数，压成 float32 之后读回来不再是原来的数。"""
    with tg.trace() as t:
        x = tg.tensor([0.1 * i for i in range(60)], dtype=tg.float64, requires_grad=True)
        y = tg.tensor([1.1, 2.3] * 30, dtype=tg.float64, requires_grad=True)
        (x * y).sum().backward()
    assert unpacked(recording_in(t.to_html()))["values"] == json.loads(t.to_json())["values"]


def test_complex_numbers_get_lost() -> None:
    """复数的数组没有照原样装进网页。"""
    with tg.trace() as t:
        z = tg.tensor([1 + 2j] * 60, requires_grad=True)
        (z * z.conj()).real.sum().backward()
    assert unpacked(recording_in(t.to_html()))["values"] == json.loads(t.to_json())["values"]


def test_a_recording_with_three_hundred_operations_outgrows_five_megabytes() -> None:
    """宽 64 的 GPT，三百多次运算：网页超过 5 MB。"""
    assert len(big_trace().nodes) > 300
    assert len(big_page().encode()) < 5_000_000


def test_a_page_over_budget_is_not_cut_down() -> None:
    """预算紧时，最大的数组没有换成摘要，或者小数组也被换掉、统计量不对。"""
    rng = np.random.default_rng(0)
    with tg.trace() as t:
        x, w = (tg.tensor(rng.standard_normal(shape), requires_grad=True) for shape in ((40, 50), (50, 4)))
        (x @ w).tanh().sum().backward()
    document = t.to_dict()
    whole, small = page(document), page(document, budget=20_000)
    assert sum(len(json.dumps(entry)) for entry in recording_in(small)["arrays"]) <= 20_000
    assert len(small) < len(whole)
    pairs = list(zip(recording_in(small)["arrays"], recording_in(whole)["arrays"], strict=True))
    assert any(entry == original for entry, original in pairs)
    for entry, original in pairs:
        if entry == original:
            continue
        assert np.prod(original["shape"]) > 64
        numbers = np.array(unpacked({"arrays": [original], "x": {"$": 0}})["x"]["flat"])
        summary, grid = entry["summary"], np.array(entry["summary"]["grid"])
        facts = (numbers.mean(), numbers.min(), numbers.max(), np.linalg.norm(numbers))
        assert [summary[name] for name in ("mean", "min", "max", "norm")] == pytest.approx(facts, rel=1e-12)
        assert grid.size <= 256
        assert summary["min"] <= grid.min() <= grid.max() <= summary["max"]


def test_the_notebook_frame_holds_another_page() -> None:
    """``_repr_html_`` 的 iframe 里装的不是那张网页，或者没有说明自己是什么。"""
    trace = toy_trace("neuron")
    ((tag, attributes),) = _elements(trace._repr_html_())
    assert tag == "iframe"
    assert attributes["srcdoc"] == trace.to_html()
    assert "neuron" in attributes["title"]
    assert "height:300px" in frame(toy_document("neuron"), height=300)


def test_to_html_writes_another_page_than_it_returns(tmp_path: Path) -> None:
    """``to_html(path)`` 写下的与返回的不同。"""
    trace = toy_trace("diamond")
    html = trace.to_html(tmp_path / "diamond.html")
    assert (tmp_path / "diamond.html").read_text(encoding="utf-8") == html


def test_a_language_lacks_a_word_or_a_word_is_never_said() -> None:
    """中英两套词条不一样多；用到的词条没有写，写了的没有用到。"""
    english, chinese = _SOURCES["words.js"].split("\n  zh: {")
    words = [_WORD.findall(part) for part in (english, chinese.partition("\n};")[0])]
    assert words[0] == words[1]
    html = (PARTS / "player.html").read_text(encoding="utf-8")
    said = set(re.findall(r'data-say(?:-label|-title)?="(\w+)"', html))
    quoted = set(re.findall(r'"(\w+)"', _ALL.replace(_SOURCES["words.js"], "")))
    literal = set(re.findall(r'say(?:Around)?\("(\w+)"', _ALL))
    assert literal | said <= set(words[0])
    computed = {"leaf", "constant", "result", "languageShort"}  # 由值的种类得出；写在 words.js 里
    assert not set(words[0]) - said - quoted - computed


def test_the_scripts_look_for_an_element_that_is_not_there() -> None:
    """脚本里用到的 id，骨架与脚本都没有造出来。"""
    html = (PARTS / "player.html").read_text(encoding="utf-8")
    made = set(re.findall(r'\bid="([\w-]+)"', html)) | set(re.findall(r'\bid: "([\w-]+)"', _ALL))
    assert set(re.findall(r'byId\("([\w-]+)"\)', _ALL)) <= made


def test_every_button_of_the_skeleton_has_a_name() -> None:
    """有按钮、滑块或图没有给读屏软件的名字。"""
    named = {"data-say-title", "data-say-label", "aria-label", "aria-labelledby", "aria-hidden"}
    for tag, attributes in _elements((PARTS / "player.html").read_text(encoding="utf-8")):
        if tag in ("button", "input", "svg", "dialog"):
            assert named & set(attributes), (tag, attributes)


def _colours(theme: str) -> dict[str, tuple[float, ...]]:
    text = (PARTS / "base.css").read_text(encoding="utf-8")
    block = text.split(':root[data-theme="dark"] {')[1] if theme == "dark" else text.split(":root {")[1]
    found = re.findall(r"--([\w-]+): #([0-9a-f]{6});", block.partition("}")[0])
    return {name: tuple(int(code[i : i + 2], 16) / 255 for i in (0, 2, 4)) for name, code in found}


def _luminance(colour: tuple[float, ...]) -> float:
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_text_is_too_faint_to_read(theme: str) -> None:
    """字与底的对比度不到 4.5 : 1（WCAG AA）。"""
    colours = _colours(theme)
    pairs = [(ink, ground) for ink in ("ink", "soft", "value", "grad") for ground in ("page", "surface", "sunk")]
    pairs += [
        ("wrong", "page"),
        ("wrong", "surface"),
        ("good", "surface"),
        ("value", "value-wash"),
        ("grad", "grad-wash"),
    ]
    pairs += [
        ("wrong", "wrong-wash"),
        ("surface", "value"),
        ("surface", "grad"),
        ("soft", "grad-wash"),
        ("ink", "wrong-wash"),
    ]
    for ink, ground in pairs:
        low, high = sorted((_luminance(colours[ink]), _luminance(colours[ground])))
        assert (high + 0.05) / (low + 0.05) >= 4.5, (ink, ground)


# 红、绿色觉缺失的人看到的颜色（线性 RGB；Viénot、Brettel、Mollon，1999）
_DEFICIENCIES = {
    "protan": np.array([[0.11238, 0.88762, 0.0], [0.11238, 0.88762, 0.0], [0.00401, -0.00401, 1.0]]),
    "deutan": np.array([[0.29275, 0.70725, 0.0], [0.29275, 0.70725, 0.0], [-0.02234, 0.02234, 1.0]]),
}


def _ramps(theme: str) -> dict[str, list[tuple[float, ...]]]:
    block = _SOURCES["heat.js"].split(f"  {theme}: {{")[1].partition("\n  },")[0]
    found = {}
    for name in ("negative", "positive"):
        rows = block.split(f"{name}: [")[1].partition("\n    ],")[0]
        stops = re.findall(r"\[(\d+), (\d+), (\d+)\]", rows)
        found[name] = [tuple(int(c) / 255 for c in stop) for stop in stops]
        assert len(found[name]) == 4
    return found


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("deficiency", _DEFICIENCIES)
def test_negative_and_positive_look_alike_to_the_colour_blind(theme: str, deficiency: str) -> None:
    """热图里同样大小的负与正，在红绿色觉缺失的人眼里分不开。"""
    ramps = _ramps(theme)
    for negative, positive in zip(ramps["negative"][1:], ramps["positive"][1:], strict=True):
        seen = [_lab(_DEFICIENCIES[deficiency] @ _linear(colour)) for colour in (negative, positive)]
        assert np.linalg.norm(seen[0] - seen[1]) > 15


def _linear(colour: tuple[float, ...]) -> Any:
    c = np.array(colour)
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def _lab(linear: Any) -> Any:
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    x, y, z = np.cbrt(np.clip(to_xyz @ linear, 0, None) / np.array([0.9505, 1.0, 1.089]))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def test_the_frame_escapes_quotes_once() -> None:
    """iframe 的 srcdoc 转义得不对：解开一次之后不是原来的网页。"""
    document = toy_document("diamond")
    text = frame(document)
    inside = text.partition('srcdoc="')[2].removesuffix('"></iframe>')
    assert '"' not in inside
    assert unescape(inside) == page(document)


def test_a_part_of_the_player_holds_two_ideas() -> None:
    """播放器有一个文件长过 450 行。"""
    for path in PARTS.iterdir():
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 450, path.name
