"""规整与 HTML：幂等，不伤代码、引号、数学与换行。"""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_llm.common.cleaning.config import NormaliseConfig
from tinygrad_llm.common.cleaning.html_text import html_to_text, looks_like_html
from tinygrad_llm.common.cleaning.normalise import normalise

CONFIG = NormaliseConfig()
PIECES = "<html>|<p>|</p>|<pre>|</pre>|<li>|<td>|<br>|&lt;|&amp;|&nbsp;|<math>|<sup>|<!--|-->|<script>|</script>|x < y"
MARKUP = st.sampled_from([*PIECES.split("|"), "2", "\n", "  ", "\t", "\u200b", "e\u0301", "\r\n", "中"])


def cleaned(text: str) -> str:
    """规整后的文字。"""
    return normalise(text, CONFIG)[0]


@given(st.text(st.characters(), max_size=200))
def test_normalising_twice_changes_the_text(text: str) -> None:
    """任何文字（含孤立的代理项）规整一遍之后，再来一遍不变。"""
    once = cleaned(text)
    assert normalise(once, CONFIG) == (once, ())
    assert unicodedata.is_normalized("NFC", once)


@given(st.lists(MARKUP, max_size=40).map("".join))
def test_normalising_html_twice_changes_the_text(html: str) -> None:
    """残缺的、转义过几次的 HTML 也一样。"""
    for text in (html, f"<html>{html}"):
        once = cleaned(text)
        assert normalise(once, CONFIG) == (once, ())


@pytest.mark.parametrize(
    "text",
    [
        "def f(x):\n    if x < 3 and x > 1:\n\treturn 'a  b'\n\n\nclass A(Generic[T]):\n    pass\n",
        "“引号” ‘单’ « guillemets » — dash … x² ½ ∑ ≤ \U0001d431 \ufb01 \uff21\uff22，：！\n　　段首缩进\n",
        "$\\int_0^1 x\\,dx$ and \\begin{matrix} 1 & 2 \\\\ 3 & 4 \\end{matrix}\n",
        "vector<int> v; a<b>c; List<String> x = <T>y; if (p < q) { r(); }\n",
        "# Markdown\n\n> quote\n\n- item\n    - nested\n\n| a  |  b |\n|----|----|\n",
        "html = '<html><body>hi</body></html>'\nprint('<p>x</p>')\n",
        "می‌شود 👩‍👩‍👧 नमस्ते\n",
    ],
)
def test_code_quotes_math_or_newlines_are_damaged(text: str) -> None:
    """已经规整的代码、排版、数学与 Markdown 原样留下。"""
    assert normalise(text, CONFIG) == (text, ())


def test_unseen_characters_stay() -> None:
    """BOM、零宽空格、软连字符、改变显示次序的控制符与控制字符去掉；行尾与换行统一；空格统一。"""
    text, done = normalise("\ufeffa\u200bb\u00adc\u202e\x00\x07 \u00a0d \t\r\ne\u2028f\r\n\r\n\r\n\r\n\r\ng", CONFIG)
    assert text == "abc  d\ne\nf\n\n\ng"
    assert done == ("unicode", "whitespace")
    assert cleaned("e\u0301") == "é"
    assert cleaned("a\ud800b") == "a\ufffdb"


def test_html_loses_its_code_its_lists_or_its_math() -> None:
    """手写的一页：标题、段落、实体、行内标签、代码、列表、表格、数学；脚本、样式与导航去掉。"""
    html = """<!DOCTYPE html><html><head><title>T</title><style>p{}</style></head><body><nav>menu</nav>
    <h1>Head &amp; shoulders</h1><p>One <b>bold</b>
    line.<br>Next&nbsp;line</p><pre>
def f():
    return "&lt;p&gt;"   # two  spaces
</pre><ul><li>a</li><li>b <i>c</i></li></ul><table><tr><th>x</th><th>y</th></tr><tr><td>1</td><td>2</td></tr></table>
    <p>E = mc<sup>2</sup>, x<sub>10</sub>, the 1<sup>st</sup>,
    <math><mi>x</mi><annotation encoding="application/x-tex">\\frac{a}{b}</annotation></math> and
    <script type="math/tex">a^2</script></p><script>alert(1)</script></body></html>"""
    assert cleaned(html) == (
        "T\n\nHead & shoulders\n\nOne bold line.\nNext line\n\ndef f():\n"
        '    return "<p>"   # two  spaces\n\n- a\n- b c\n\nx\ty\n1\t2\n\n'
        "E = mc^2, x_10, the 1st, $\\frac{a}{b}$ and $a^2$"
    )


@pytest.mark.parametrize("html", ["<html><p>x", "<div", "<p>a</div></p>", "<![CDATA[", "<!-- open", "</", "<pre>"])
def test_broken_html_raises(html: str) -> None:
    """不合规范的 HTML 也读得下去。"""
    assert isinstance(html_to_text(html), str)
    assert isinstance(cleaned(html), str)


def test_plain_text_is_taken_for_html() -> None:
    """以标签开头又有收尾的才算 HTML。"""
    assert looks_like_html("<div class='a'>x</div>")
    assert looks_like_html(" <!-- c --><!DOCTYPE html>")
    assert not looks_like_html("<p is a variable> and so on")
    assert not looks_like_html("text <p>x</p>")
    assert normalise("<p>x</p>", NormaliseConfig(html=False))[0] == "<p>x</p>"
