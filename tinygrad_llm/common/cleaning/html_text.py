"""HTML 变成纯文字：标签去掉，段落、列表、表格与代码的形状留下。

流入：一个 HTML 页面或片段；流出：文字。只用标准库的 ``html.parser``；页面不合规范也照读，不报错。
下一个文件：``normalise.py`` 决定一份文档是不是 HTML。

- ``<pre>`` 里的内容逐字保留，缩进与换行都不动；别处的空白照浏览器的规矩并成一个空格。
- 块级元素自成一段，列表项以 ``- `` 开头，表格的单元格以制表符隔开。
- 数学不丢：``<script type="math/tex">`` 与 MathML 里附带的 TeX 写成 ``$…$``，``<sup>``、``<sub>`` 写成 ``^``、``_``。
- ``script``、``style``、``nav`` 等不是正文的整块略去；``title`` 留作第一段。
"""

from __future__ import annotations

import re
from html.parser import HTMLParser

__all__ = ["html_to_text", "looks_like_html"]

_DROPPED = frozenset(["script", "style", "noscript", "template", "svg", "iframe", "nav", "object", "canvas", "select"])
_PARAGRAPHS = frozenset(
    [
        "address",
        "article",
        "aside",
        "blockquote",
        "body",
        "center",
        "details",
        "dialog",
        "div",
        "dl",
        "fieldset",
        "figure",
        "footer",
        "form",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "head",
        "header",
        "hr",
        "html",
        "main",
        "ol",
        "p",
        "pre",
        "section",
        "summary",
        "table",
        "title",
        "ul",
    ]
)
_LINES = frozenset(["br", "li", "tr", "dt", "dd", "option", "caption", "figcaption", "thead", "tbody", "tfoot"])
_MATH_SCRIPT = re.compile(r"math/tex", re.IGNORECASE)
_ORDINAL = re.compile(r"(?:st|nd|rd|th|er|e|o|a)\b", re.IGNORECASE)
# 整页，或以块级标签开头、后面确有收尾标签的片段；代码里偶然出现的 <T> 与字符串里的标签不算
_PAGE = re.compile(r"\s*(?:<\?xml[^>]*>\s*|<!--.*?-->\s*)*<(?:!doctype\s+html|html|head|body)\b", re.I | re.S)
_FRAGMENT = re.compile(r"\s*<(p|div|h[1-6]|ul|ol|dl|table|article|section|main|header|blockquote)\b[^<>]*>", re.I)


def looks_like_html(text: str) -> bool:
    """一份文档是不是 HTML：以整页的标签开头，或以块级标签开头且它有收尾。

    Args:
        text: 全文。

    Returns:
        是否当作 HTML。普通文字、Markdown 与源代码里夹着的标签不算。
    """
    if "<" not in text[:4096]:
        return False
    if _PAGE.match(text):
        return True
    opening = _FRAGMENT.match(text)
    return opening is not None and f"</{opening[1].lower()}" in text.lower()


def html_to_text(html: str) -> str:
    """把 HTML 变成文字。

    Args:
        html: 页面或片段；标签可以不配对。

    Returns:
        文字；段落之间空一行。
    """
    parser = _Extractor()
    parser.feed(html)
    parser.close()
    return parser.text()


class _Extractor(HTMLParser):
    """边读边写：``pieces`` 是已写出的文字，``gap`` 是下一段文字之前欠着的分隔。"""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.pieces: list[str] = []
        self.gap = ""
        self.pre_depth = 0
        self.dropped: list[str] = []
        self.math: list[str] | None = None
        self.is_in_annotation = False
        self.script_mark = ""

    def text(self) -> str:
        return "".join(self.pieces)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        kind = dict(attrs).get("type") or dict(attrs).get("encoding") or ""
        if tag == "math":
            self.math = []
        elif tag == "annotation" and self.math is not None:
            self.is_in_annotation = "tex" in kind.lower()
        elif tag == "script" and _MATH_SCRIPT.search(kind):
            self.math, self.is_in_annotation = [], True
        elif tag in _DROPPED:
            self.dropped.append(tag)
        elif tag in ("sup", "sub"):
            self.script_mark = "^" if tag == "sup" else "_"
        elif tag in ("td", "th"):
            self._owe("\t" if self.gap != "\n" and self.pieces else "")
        else:
            self._break(tag)
            if tag == "li":
                self._owe("\n")
                self.gap += "- "
        self.pre_depth += tag == "pre"

    def handle_endtag(self, tag: str) -> None:
        if tag in ("math", "script") and self.math is not None:
            self._close_math()
        elif tag == "annotation":
            self.is_in_annotation = False
        elif tag in self.dropped:
            del self.dropped[self.dropped.index(tag) :]  # 里层没有收尾的一并了结
        else:
            self._break(tag)
        if tag == "pre":
            self.pre_depth = max(self.pre_depth - 1, 0)
        self.script_mark = ""

    def handle_data(self, data: str) -> None:
        if self.math is not None:
            if self.is_in_annotation:
                self.math.append(data)
        elif not self.dropped:
            self._write(data)

    def _close_math(self) -> None:
        tex = " ".join("".join(self.math or ()).split())
        self.math, self.is_in_annotation = None, False
        if tex:
            self._write(f"${tex}$")

    def _break(self, tag: str) -> None:
        if tag in _PARAGRAPHS:
            self._owe("\n\n")
        elif tag in _LINES:
            self._owe("\n")

    def _owe(self, gap: str) -> None:
        if len(gap) >= len(self.gap):
            self.gap = gap

    def _write(self, data: str) -> None:
        if not self.pre_depth:
            leading = " " if data[:1].isspace() else ""
            trailing = " " if data[-1:].isspace() else ""
            data = " ".join(data.split())
            if not data:
                self._owe(" " if leading else "")
                return
            self._owe(leading)
            if self.script_mark and not _ORDINAL.fullmatch(data):
                data = self.script_mark + (data if len(data) == 1 or data.isdigit() else f"({data})")
        elif self.gap:
            data = data.removeprefix("\n")  # <pre> 之后的第一个换行不算内容
            trailing = ""
        else:
            trailing = ""
        if not data:
            return
        if self.pieces and self.pieces[-1].endswith("\n"):
            self.gap = self.gap.removeprefix("\n")  # <pre> 的末尾已经换过行
        gap = self.gap if self.pieces else self.gap.lstrip()  # 全文开头的列表项只留「- 」
        if gap:
            self.pieces.append(gap)
        self.pieces.append(data)
        self.gap = trailing
