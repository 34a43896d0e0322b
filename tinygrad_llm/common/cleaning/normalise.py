r"""规整：Unicode、HTML 与空白；代码的缩进、引号、数学符号与换行都不动。

流入：一份文字；流出：规整过的文字与做过哪几种改动。再规整一遍不会有任何变化。
下一个文件：``filters.py``。

Unicode 用 NFC 而不是 NFKC：NFKC 会把 ``x²`` 改成 ``x2``、``½`` 拆成三个字符、全角标点改成半角，丢掉数学与排版。
"""

from __future__ import annotations

import re
import unicodedata

from tinygrad_llm.common.cleaning.config import NormaliseConfig
from tinygrad_llm.common.cleaning.html_text import html_to_text, looks_like_html

__all__ = ["normalise"]

_UNSEEN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f"  # 控制字符；制表符与换行除外
    "\u00ad\u200b\u200e\u200f\u2060-\u2064\ufeff"  # 软连字符、零宽空格、方向标记、BOM；ZWJ 与 ZWNJ 有意义，留下
    "\u202a-\u202e\u2066-\u2069\ufff9-\ufffb\ufffe\uffff]+"  # 改变显示次序的控制符：看到的与读到的不一样
)
_ASCII_UNSEEN = bytes(code for code in range(128) if _UNSEEN.match(chr(code)))
_SURROGATE = re.compile("[\ud800-\udfff]")
_NEWLINE = re.compile("\r\n?|\u2028|\u2029|\x85")
_ODD_SPACE = re.compile("[\u00a0\u2000-\u200a\u202f\u205f]")  # U+3000 是中文段首的缩进，留下
_ODD_CLASSES = [one.pattern.strip("[]+") for one in (_SURROGATE, _ODD_SPACE, _UNSEEN)]
_ODD = re.compile(f"[\r\u2028\u2029\x85{''.join(_ODD_CLASSES)}]")
"""以上四种里的任何一个字符。"""
_BLANK = " \t\u3000"


def normalise(text: str, config: NormaliseConfig) -> tuple[str, tuple[str, ...]]:
    """规整一份文字。

    Args:
        text: 任意文字，可以是 HTML，可以含孤立的代理项。
        config: 设置。

    Returns:
        规整后的文字，与做过的改动：``unicode``、``whitespace``、``html``，按此次序。
    """
    done: set[str] = set()
    text = _tidy(text, config, done)
    # 页面的内容若又是一个页面（转义过两次的网页），继续拆：于是结果一定不像 HTML，再来一遍也不变
    while config.html and looks_like_html(text):
        done.add("html")
        text = _tidy(html_to_text(text), config, set())
    return text, tuple(name for name in ("unicode", "whitespace", "html") if name in done)


def _tidy(text: str, config: NormaliseConfig, done: set[str]) -> str:
    before = text
    if text.isascii():  # 源代码多半走这里：按字节删，比正则快十倍
        text = _NEWLINE.sub("\n", text) if "\r" in text else text
        text = text.encode().translate(None, _ASCII_UNSEEN).decode()
    else:
        if _ODD.search(text):  # 多半一个也没有：找一遍比换四遍快
            text = _NEWLINE.sub("\n", _SURROGATE.sub("\ufffd", text))
            text = _ODD_SPACE.sub(" ", _UNSEEN.sub("", text))
        text = unicodedata.normalize("NFC", text)
    if text != before:
        done.add("unicode")
        before = text
    if text[-1:] in _BLANK or any(f"{blank}\n" in text for blank in _BLANK):
        text = "\n".join([line.rstrip(_BLANK) for line in text.split("\n")])
    allowed = config.max_blank_lines + 1
    if "\n" * (allowed + 1) in text:
        text = re.sub(rf"\n{{{allowed + 1},}}", "\n" * allowed, text)
    text = text.strip("\n") + ("\n" if text.endswith("\n") and text.strip("\n") else "")  # 文件末尾的一个换行不算多余
    if text != before:
        done.add("whitespace")
    return text
