"""网页的几个文件，不开浏览器就看得出的毛病：写进 HTML 的字符串、外部的地址、缺的词条、太淡的字。"""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from parity_tests.serving_page.folder import PAGE

_TEXT = {name: data.decode() for name, data in PAGE.items()}
_SCRIPTS = {name: text for name, text in _TEXT.items() if name.endswith(".js")}
_STYLES = "".join(text for name, text in _TEXT.items() if name.endswith(".css"))
_COMMENT = re.compile(r"(?m)^\s*//.*$|(?<=[;{},]) // .*$")
_CODE = "\n".join(_COMMENT.sub("", text) for name, text in _SCRIPTS.items() if name != "words.js")


class _Skeleton(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))


def _elements() -> list[tuple[str, dict[str, str]]]:
    parser = _Skeleton()
    parser.feed(_TEXT["index.html"])
    return parser.elements


def test_a_string_becomes_html() -> None:
    """脚本里有把字符串当作 HTML 或代码的写法。"""
    forbidden = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|srcdoc|createContextualFragment"
    forbidden += r"|\beval\b|new Function|setHTML|javascript:|setTimeout\(\s*[\"'`]"
    found = re.findall(forbidden, _CODE)
    assert not found


def test_the_policy_would_block_a_part_of_the_page() -> None:
    """骨架里有内联的脚本、样式或事件，或引用了本站之外的东西。"""
    for tag, attributes in _elements():
        assert "style" not in attributes, (tag, attributes)
        assert not any(name.startswith("on") for name in attributes), (tag, attributes)
        for name in ("src", "href"):
            value = attributes.get(name, "page/")
            assert value.startswith(("page/", "#", "data:image/svg+xml,")), (tag, attributes)
        assert tag != "style"
        assert tag != "script" or "src" in attributes
    named = {attributes.get("src", attributes.get("href", "")) for _, attributes in _elements()}
    assert {name.removeprefix("page/") for name in named if name.startswith("page/")} <= set(PAGE)
    assert not re.search(r"url\(|@import|https?://", _STYLES)
    assert set(re.findall(r"https?://[\w.]+", _CODE)) == {"http://www.w3.org"}  # 命名空间，不是地址


def test_a_script_imports_a_file_that_is_not_there() -> None:
    """import 的文件不在，或有一个文件没有人用。"""
    imported = {name for text in _SCRIPTS.values() for name in re.findall(r'from "\./([\w.]+)"', text)}
    assert imported | {"app.js", "early.js"} == set(_SCRIPTS)


def test_a_file_holds_two_ideas() -> None:
    """有一个文件长过 450 行。"""
    assert {name: text.count("\n") for name, text in _TEXT.items() if text.count("\n") > 450} == {}


def test_a_language_lacks_a_word_or_a_word_is_never_said() -> None:
    """中英两套词条不一样多；用到的词条没有写，写了的没有用到。"""
    pattern = re.compile(r'^    (\w+): "', re.MULTILINE)
    english, chinese = (pattern.findall(part) for part in _SCRIPTS["words.js"].split("\n  zh: {"))
    assert english == chinese
    attributes = r'data-say(?:-label|-hint)?="(\w+)"'
    said = set(re.findall(attributes, _TEXT["index.html"]))
    said |= _words_in_code()
    assert said <= set(english)
    quoted = {word for word in english if f'"{word}"' in _CODE}
    knobs = set(re.findall(r'\{ name: "(\w+)", min', _CODE))
    computed = {"theme_auto", "theme_light", "theme_dark"} | knobs | {f"{name}Hint" for name in knobs}
    assert not set(english) - said - quoted - computed


def _words_in_code() -> set[str]:
    pairs = re.findall(r'\bsay\("(\w+)"|\b(?:say|label): "(\w+)"|iconButton\("\w+", "(\w+)"', _CODE)
    return {word for pair in pairs for word in pair if word}


def test_the_scripts_look_for_an_element_that_is_not_there() -> None:
    """脚本里用到的 id 与图标，骨架里没有。"""
    made = {attributes["id"] for _, attributes in _elements() if "id" in attributes}
    assert set(re.findall(r'byId\("([\w-]+)"\)', _CODE)) <= made
    icons = set(re.findall(r'\bicon(?:Button)?\("([\w-]+)"', _CODE)) | set(
        re.findall(r'href="#i-([\w-]+)"', _TEXT["index.html"])
    )
    assert {f"i-{name}" for name in icons} == {name for name in made if name.startswith("i-")} - {"i-left", "i-right"}


def test_a_control_has_no_name() -> None:
    """有按钮、输入框或选单没有给读屏软件的名字。"""
    labelled = {attributes["for"] for tag, attributes in _elements() if tag == "label" and "for" in attributes}
    named = {"data-say", "data-say-label", "aria-label"}
    text_inside = {"new", "export", "export-all", "import", "probabilities", "file", "banner-action"}
    for tag, attributes in _elements():
        if tag in ("button", "input", "select", "textarea"):
            name = attributes.get("id", "")
            assert named & set(attributes) or name in labelled | text_inside, (tag, attributes)


def _colours(theme: str) -> dict[str, tuple[float, ...]]:
    found = re.findall(r"--([\w-]+): light-dark\(#([0-9a-f]{6}), #([0-9a-f]{6})\)", _TEXT["base.css"])
    chosen = {name: light if theme == "light" else dark for name, light, dark in found}
    return {name: tuple(int(code[i : i + 2], 16) / 255 for i in (0, 2, 4)) for name, code in chosen.items()}


def _luminance(colour: tuple[float, ...]) -> float:
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_text_is_too_faint_to_read(theme: str) -> None:
    """字与底的对比度不到 4.5 : 1，或控件的边框不到 3 : 1（WCAG AA）。"""
    colours = _colours(theme)

    def contrast(one: str, other: str) -> float:
        low, high = sorted((_luminance(colours[one]), _luminance(colours[other])))
        return (high + 0.05) / (low + 0.05)

    texts = [(ink, ground) for ink in ("ink", "soft", "accent") for ground in ("page", "surface", "sunk")]
    texts += [("ink", "wash"), ("on-accent", "accent"), ("warn", "warn-wash"), ("wrong", "wrong-wash")]
    texts += [("wrong", "surface"), ("wrong", "page"), ("warn", "surface"), ("ink", "line"), ("soft", "line")]
    faint = {pair: round(contrast(*pair), 2) for pair in texts if contrast(*pair) < 4.5}
    faint |= {("edge", ground): 0.0 for ground in ("page", "surface") if contrast("edge", ground) < 3}
    assert not faint
