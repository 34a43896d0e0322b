"""三列对照表：手算、tinygrad_llm、torch，以及三者之间的最大差。

流入：三组「名字 → 数」；流出：打印好的表，与「是否相符」。本目录的三个程序都用它收尾。
torch 是可选的：没有安装时该列写 ``missing``，其余两列照样核对。
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np

import tinygrad_llm

TOLERANCE = 1e-12  # 三列都是 float64，量级在 1 上下；四则运算的舍入误差约 1e-16，写错的公式差得远不止这些

Numbers = dict[str, float]


def load_torch() -> Any:
    """装了 torch 就返回它，否则返回 None。"""
    try:
        return importlib.import_module("torch")
    except ImportError:
        return None


def print_comparison(hand: Numbers, by_library: Callable[[Any], Numbers]) -> int:
    """在两个库上各算一遍，与手算逐行对照。

    Args:
        hand: 手算的结果。
        by_library: 收到一个库（tinygrad_llm 或 torch），用它算出同名的数；两个库的写法相同，所以只需要一个函数。

    Returns:
        进程的退出码：全部相符为 0，否则为 1。
    """
    torch = load_torch()
    columns = [hand, by_library(tinygrad_llm), by_library(torch) if torch is not None else None]
    print(f"{'':14} {'by hand':>14} {'tinygrad_llm':>14} {'torch':>14}   difference")
    agree = True
    for name in hand:
        values = [column[name] for column in columns if column is not None]
        difference = float(np.ptp(values))  # 有一列是 NaN，差也是 NaN，不会蒙混过去
        agree = agree and difference <= TOLERANCE
        cells = [f"{value:14.8f}" for value in values] + ["       missing"] * (3 - len(values))
        print(f"{name:14} {' '.join(cells)}   {_show(difference)}")
    print("all columns agree" if agree else "THE COLUMNS DIFFER")
    return 0 if agree else 1


def _show(difference: float) -> str:
    return f"< {TOLERANCE:.0e}" if difference <= TOLERANCE else f"{difference:.3e}  <-- wrong"
