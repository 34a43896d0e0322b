"""玩具的文档里写着的数：对的梯度，与五种走错的反传给出的梯度。

流入：``tinygrad_llm/tracing/toys`` 各文件的文档；流出：「走法 → 值的标签 → 写着的数」，供测试与真正算出来的对照。
"""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

import numpy as np

import tinygrad_llm.tracing.toys as toys
from tinygrad_llm.ops.op import Array

FOLDER = Path(toys.__file__).parent
WALKS = ("right", "naive_recursion", "no_accumulation", "no_broadcast_sum", "forgotten_zero_grad", "wrong_order")
_LINE = re.compile(rf"    ({'|'.join(WALKS)}) +(\S.*)")
_PAIR = re.compile(r"([\w.]+) = (\[.*?\](?=  |$)|\S+)")
_DIGITS = 4


def documented(toy: str) -> dict[str, dict[str, Array]]:
    """一个玩具的文档里写着的数。

    Args:
        toy: 玩具的名字。

    Returns:
        走法 → 标签 → 数。
    """
    text = ast.get_docstring(ast.parse((FOLDER / f"{toy}.py").read_text(encoding="utf-8")), clean=False) or ""
    found: dict[str, dict[str, Array]] = {}
    for walk, pairs in (match.groups() for match in map(_LINE.fullmatch, text.splitlines()) if match):
        for label, number in _PAIR.findall(pairs):
            found.setdefault(walk, {})[label] = np.array(json.loads(number), dtype=float)
    return found


def rounded(array: Any) -> Array:
    """写进文档时的样子：四位有效数字；本应为 0 的舍入误差就写 0。"""
    clean = np.round(np.asarray(array, dtype=float), 12) + 0.0
    return np.array([float(f"{x:.{_DIGITS}g}") for x in clean.flat]).reshape(clean.shape)
