"""把方框排成层：数据从第一层流向最后一层，同一层里少交叉、尽量与邻居对齐。

流入：``Picture``；流出：每个方框的中心与每个箭头经过的点。下一站：``exports.py``。

三步（Sugiyama 等，1981）：定层，跨层的箭头每层补一个看不见的点；反复按邻居的平均位置排序；每层再求一次保序的最小二乘，
让方框离邻居的平均位置最近而互不重叠。
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tinygrad_llm.tracing.picture import Arrow, Picture

_SWEEPS = 8


@dataclass
class Layout:
    """排好的图；沿层的方向是「深」，层内是「横」。

    Attributes:
        layers: 各方框在第几层。
        across: 各方框的中心在横向的位置，从 0 起。
        bends: 各箭头途中经过的（层，横向位置），不含两端。
        depth: 一共几层。
        width: 横向一共多宽。
    """

    layers: list[int]
    across: list[float]
    bends: list[list[tuple[int, float]]]
    depth: int
    width: float


def arrange(picture: Picture, breadths: Sequence[float], gap: float) -> Layout:
    """给每个方框定位置。

    Args:
        picture: 方框与箭头。
        breadths: 各方框在横向占多宽。
        gap: 同一层的两个方框之间至少隔多远。
    """
    count = len(picture.boxes)
    layers = _layers(count, picture.arrows)
    depth = max(layers, default=-1) + 1
    rows: list[list[int]] = [[] for _ in range(depth)]
    for i, layer in enumerate(layers):
        rows[layer].append(i)
    widths, chains = list(breadths), []
    above: dict[int, list[int]] = {i: [] for i in range(count)}
    below: dict[int, list[int]] = {i: [] for i in range(count)}
    for arrow in picture.arrows:
        chain, last = [], arrow.source
        for layer in range(layers[arrow.source] + 1, layers[arrow.target]):
            chain.append(len(widths))
            rows[layer].append(len(widths))
            above[len(widths)], below[len(widths)] = [], []
            widths.append(gap / 2)
        for following in (*chain, arrow.target):
            below[last].append(following)
            above[following].append(last)
            last = following
        chains.append(chain)
    _order(rows, above, below)
    is_light = [box.kind in ("leaf", "constant") for box in picture.boxes]
    places = _across(rows, above, below, widths, gap, is_light)
    bends = []
    for arrow, chain in zip(picture.arrows, chains, strict=True):
        bends.append([(layers[arrow.source] + 1 + n, places[i]) for n, i in enumerate(chain)])
    right = max((places[i] + widths[i] / 2 for i in range(count)), default=0.0)
    return Layout(layers, places[:count], bends, depth, right)


def _layers(count: int, arrows: Sequence[Arrow]) -> list[int]:
    """每个方框排在全部来处之后；没有来处的（参数、常数）排到去处的前一层，箭头不必跨过整张图。"""
    sources: list[list[int]] = [[] for _ in range(count)]
    targets: list[list[int]] = [[] for _ in range(count)]
    for arrow in arrows:
        sources[arrow.target].append(arrow.source)
        targets[arrow.source].append(arrow.target)
    layers, waiting = [0] * count, [len(one) for one in sources]
    ready = [i for i in range(count) if not waiting[i]]
    while ready:
        i = ready.pop()
        for target in targets[i]:
            layers[target] = max(layers[target], layers[i] + 1)
            waiting[target] -= 1
            if not waiting[target]:
                ready.append(target)
    for i in range(count):
        if not sources[i] and targets[i]:
            layers[i] = min(layers[target] for target in targets[i]) - 1
    return layers


def _order(rows: list[list[int]], above: dict[int, list[int]], below: dict[int, list[int]]) -> None:
    """每层按邻居的平均名次排序，上下来回几遍；留下交叉最少的一次。"""
    best, fewest = [list(row) for row in rows], _crossings(rows, below)
    for sweep in range(_SWEEPS):
        if not fewest:
            break
        down = sweep % 2 == 0
        for n in range(1, len(rows)) if down else range(len(rows) - 2, -1, -1):
            rank = {i: place for place, i in enumerate(rows[n - 1 if down else n + 1])}
            rows[n].sort(key=_mean_rank(above if down else below, rank, {i: p for p, i in enumerate(rows[n])}))
        crossings = _crossings(rows, below)
        if crossings < fewest:
            best, fewest = [list(row) for row in rows], crossings
    rows[:] = best


def _mean_rank(near: dict[int, list[int]], rank: dict[int, int], own: dict[int, int]) -> Callable[[int], float]:
    """排序的依据：邻居的平均名次；没有邻居的留在原处。"""

    def key(i: int) -> float:
        return sum(rank[j] for j in near[i]) / len(near[i]) if near[i] else float(own[i])

    return key


def _crossings(rows: list[list[int]], below: dict[int, list[int]]) -> int:
    """相邻两层之间的箭头交叉几次：按上端排好，数下端的逆序对。"""
    total = 0
    for upper, lower in itertools.pairwise(rows):
        rank = {i: place for place, i in enumerate(lower)}
        seen: list[int] = []
        for i in upper:
            ends = sorted(rank[j] for j in below[i])
            total += sum(sum(1 for one in seen if one > end) for end in ends)
            seen += ends
    return total


def _across(
    rows: list[list[int]],
    above: dict[int, list[int]],
    below: dict[int, list[int]],
    widths: list[float],
    gap: float,
    is_light: Sequence[bool],
) -> list[float]:
    """横向的位置：先紧挨着排，再上下来回几遍向邻居的平均位置靠拢；长箭头最该拉直，参数与常数最该让路。"""
    places = [0.0] * len(widths)

    def pull(i: int, j: int) -> float:
        bends = (i >= len(is_light)) + (j >= len(is_light))
        if bends:
            return (1.0, 3.0, 9.0)[bends]
        return 0.05 if is_light[i] or is_light[j] else 1.0

    for row in rows:
        _settle(row, [(0.0, 1.0)] * len(row), places, widths, gap)
    for sweep in range(3 * _SWEEPS):
        for row in rows if sweep % 2 == 0 else reversed(rows):
            wanted = []
            for i in row:
                near = [(j, pull(i, j)) for j in (*above[i], *below[i])]
                weight = sum(one for _, one in near)
                wanted.append((sum(places[j] * one for j, one in near) / weight, weight) if near else (places[i], 0.01))
            _settle(row, wanted, places, widths, gap)
    left = min((places[i] - widths[i] / 2 for row in rows for i in row), default=0.0)
    return [place - left for place in places]


def _settle(
    row: list[int], wanted: list[tuple[float, float]], places: list[float], widths: list[float], gap: float
) -> None:
    """离各自想去的位置最近、次序不变、互不重叠：减去前面占掉的宽度之后，就是保序回归。

    Args:
        row: 一层，从左到右。
        wanted: 各自（想去的位置，有多想）。
        places: 写到哪里。
        widths: 各自多宽。
        gap: 至少隔多远。
    """
    offsets, used = [], 0.0
    for n, i in enumerate(row):
        if n:
            used += (widths[row[n - 1]] + widths[i]) / 2 + gap
        offsets.append(used)
    blocks: list[tuple[float, float, int]] = []  # （平均，权重，几个）；前一块比后一块靠右就合并
    for (want, strength), offset in zip(wanted, offsets, strict=True):
        mean, weight, size = want - offset, strength, 1
        while blocks and blocks[-1][0] > mean:
            before, heavy, members = blocks.pop()
            mean = (before * heavy + mean * weight) / (heavy + weight)
            weight, size = heavy + weight, members + size
        blocks.append((mean, weight, size))
    settled = [mean for mean, _, size in blocks for _ in range(size)]
    for i, base, offset in zip(row, settled, offsets, strict=True):
        places[i] = base + offset
