"""字符：每个码位属于哪一类，以及一段文字的码位数组。

流入：字符串；流出：码位与类别的 NumPy 数组。过滤、查重、去污染都从这里起步，所以一遍 Python 循环也没有。
下一个文件：``words.py``（从码位到词的散列）。
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache

import numpy as np
import numpy.typing as npt

__all__ = [
    "DIGIT",
    "IDEOGRAPH",
    "LETTER",
    "SPACE",
    "SYMBOL",
    "code_points",
    "count_kinds",
    "folded",
    "folded_points",
    "kinds",
]

SYMBOL, SPACE, DIGIT, LETTER, IDEOGRAPH = range(5)
"""五类码位。``IDEOGRAPH`` 是不用空格分词的文字（汉字、假名），每个字自成一词；附加符号算作 ``LETTER``。"""

_LAST_ASSIGNED = 0x33480  # 此后只有私用区与变体选择符，都算符号
_NEIGHBOURLY = np.uint32(0xFFFFFFFF)
_IDEOGRAPHS = (
    (0x3005, 0x3008),
    (0x3041, 0x3100),
    (0x31F0, 0x3200),
    (0x3400, 0x4DC0),
    (0x4E00, 0xA000),
    (0xF900, 0xFB00),
    (0x1B000, 0x1B170),
    (0x20000, 0x33480),
)


def code_points(text: str) -> npt.NDArray[np.uint32]:
    """一段文字的码位。

    Args:
        text: 任意字符串，可含孤立的代理项。

    Returns:
        形状 (len(text),) 的数组，只读。
    """
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.dtype("<u4"))


def kinds(points: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint8]:
    """每个码位的类别。

    Args:
        points: 码位，任意形状。

    Returns:
        同形状的类别：``SYMBOL``、``SPACE``、``DIGIT``、``LETTER`` 或 ``IDEOGRAPH``。
    """
    return _table().take(points, mode="clip")  # 比下标快一倍；超出的都归到末项


def count_kinds(text: str) -> list[int]:
    """各类码位各有几个，按类别的次序。"""
    if text.isascii():
        found = np.frombuffer(text.encode().translate(_ascii_kinds()), np.uint8)
    else:
        found = kinds(code_points(text))
    return [int(np.count_nonzero(found == kind)) for kind in range(IDEOGRAPH + 1)]


@lru_cache(maxsize=1)
def _ascii_kinds() -> bytes:
    return _table()[:256].tobytes()


def folded(text: str) -> str:
    """抹平大小写与全半角：比较两段文字「是不是同一段」时用，从不写回文档。"""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())


def folded_points(points: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32] | None:
    """逐个码位地做 ``folded``，查表而已。

    Args:
        points: 码位。

    Returns:
        同形状的码位；有的字符要变成几个字符（如 ``ﬁ``），或要与邻居合成（附加符号）时做不到，返回 ``None``。
    """
    result = _folds().take(points, mode="clip")
    return None if result.size and result.max() == _NEIGHBOURLY else result


@lru_cache(maxsize=1)
def _folds() -> npt.NDArray[np.uint32]:
    table = np.arange(_LAST_ASSIGNED + 1, dtype=np.uint32)
    for point in range(_LAST_ASSIGNED):
        char = chr(point)
        other = folded(char)
        if len(other) != 1 or unicodedata.combining(char):
            table[point] = _NEIGHBOURLY
        elif other != char:
            table[point] = ord(other)
    table[0x1100:0x1200] = _NEIGHBOURLY  # 谚文的字母，会与邻居合成一个字
    return table


@lru_cache(maxsize=1)
def _table() -> npt.NDArray[np.uint8]:
    kind_of = {"L": LETTER, "M": LETTER, "N": DIGIT, "Z": SPACE}
    table = np.array(
        [kind_of.get(unicodedata.category(chr(point))[0], SYMBOL) for point in range(_LAST_ASSIGNED + 1)], np.uint8
    )
    table[[ord(char) for char in "\t\n\v\f\r"]] = SPACE
    for start, stop in _IDEOGRAPHS:
        part = table[start:stop]
        part[part == LETTER] = IDEOGRAPH
    return table
