"""等高线：网格上的数 → 「不高于某一层」的区域的边界，各条首尾相接。

流入：网格；流出：闭合的折线。做法是 marching squares：逐格看四角哪些在水下，边界从哪条边穿出、又从哪条边穿入。
"""

from __future__ import annotations

from collections.abc import Iterator

from tinygrad_llm.ops.op import Array

Corner = tuple[int, int]
Side = tuple[Corner, Corner]
Point = tuple[float, float]


def shores(grid: Array, level: float) -> list[list[Point]]:
    """``grid ≤ level`` 的区域的全部边界。

    Args:
        grid: ``(列, 行)`` 的数；最外一圈须高于 ``level``，边界才闭合。
        level: 高度。

    Returns:
        各条闭合的边界，坐标以格为单位，相邻两点之间是直线。
    """
    after: dict[Side, Side] = {}
    for i in range(grid.shape[0] - 1):
        for j in range(grid.shape[1] - 1):
            after |= dict(_crossings(grid, level, i, j))
    found = []
    while after:
        first = here = next(iter(after))
        loop = []
        while here in after:
            loop.append(_between(grid, level, here))
            here = after.pop(here)
        assert here == first, "the outermost cells must lie above the level"
        found.append(loop)
    return found


def _crossings(grid: Array, level: float, i: int, j: int) -> Iterator[tuple[Side, Side]]:
    """一格里的一两段边界：（穿出的边，穿入的边）。"""
    corners: list[Corner] = [(i, j), (i + 1, j), (i + 1, j + 1), (i, j + 1)]
    wet = [bool(grid[corner] <= level) for corner in corners]
    sides = [(k, (k + 1) % 4) for k in range(4)]
    exits = [k for k, (a, b) in enumerate(sides) if wet[a] and not wet[b]]
    enters = [k for k, (a, b) in enumerate(sides) if wet[b] and not wet[a]]
    if len(exits) == 2:  # 对角的两角在水下：看中间，是连着还是分开
        joined = sum(grid[corner] for corner in corners) / 4 <= level
        pairs = [(k, (k + 1) % 4 if joined else (k - 1) % 4) for k in exits]
    else:
        pairs = list(zip(exits, enters, strict=True))
    for leaving, entering in pairs:
        yield _side(corners, leaving), _side(corners, entering)


def _side(corners: list[Corner], k: int) -> Side:
    """两格公用的一条边，从哪一格看都是同一个名字。"""
    a, b = corners[k], corners[(k + 1) % 4]
    return (a, b) if a <= b else (b, a)


def _between(grid: Array, level: float, side: Side) -> Point:
    """边上高度恰为 ``level`` 的一点。"""
    (i0, j0), (i1, j1) = side
    share = float((level - grid[i0, j0]) / (grid[i1, j1] - grid[i0, j0]))
    return i0 + (i1 - i0) * share, j0 + (j1 - j0) * share
