"""把录制里的数组收进一个池子：相同的只存一份，大的存成二进制，仍装不下的换成摘要。

流入：``Trace.to_dict()`` 的文档；流出：同样的文档，每个数组换成 ``{"$": 池中的序号}``，另有 ``"arrays"`` 一项装着池子。
一条边的 raw、contribution、after 常常逐位相同，去重之后只剩真正新算出来的数。池中的一项是下面三种之一：

- ``{"shape", "flat"}``：小数组，照原样；
- ``{"shape", "base64", "type"}``：大数组，``type`` 是 ``"<f4"``（原来的数都是某个 float32 的最短写法）或 ``"<f8"``；
- ``{"shape", "summary"}``：录制时已是摘要，或页面装不下而换成的摘要。
"""

from __future__ import annotations

import base64
import json
import math
from typing import Any

import numpy as np

from tinygrad_llm.ops.op import Array

Json = dict[str, Any]

_TEXT_SIZE = 48  # 至多这么多个元素的数组写成文字：查看网页源代码的人读得懂
_SMALLEST = 64  # 装不下时也不动这么小的数组
_CELLS = 16  # 换成的摘要至多 16 × 16 格：只用来画热图


def packed(document: Json, budget: int) -> Json:
    """收好数组的文档。

    Args:
        document: ``Trace.to_dict()`` 的结果，可以另有 ``faults`` 与 ``panels``。
        budget: 池子里的数组一共至多几个字符；超出的从最大的数组起换成摘要。

    Returns:
        新文档；原文档不动。
    """
    pool = _Pool()
    body: Json = {key: pool.walk(value) for key, value in document.items()}
    body["arrays"] = _within(budget, pool.arrays)
    return body


class _Pool:
    """数组的池子。

    Attributes:
        arrays: 互不相同的数组，按第一次出现的次序。
    """

    def __init__(self) -> None:
        self.arrays: list[Json] = []
        self._places: dict[Any, int] = {}
        self._known: dict[int, int] = {}

    def walk(self, part: Any) -> Any:
        """文档的一部分；里面的数组换成序号。"""
        if isinstance(part, list):
            return [self.walk(one) for one in part]
        if not isinstance(part, dict):
            return part
        if "shape" in part and "flat" in part:
            return {"$": self._place(part)}
        return {key: self.walk(value) for key, value in part.items()}

    def _place(self, array: Json) -> int:
        if id(array) not in self._known:  # 录制里的同一个数组常常就是同一个对象
            place = self._places.setdefault(_content(array), len(self.arrays))
            if place == len(self.arrays):
                self.arrays.append(array)
            self._known[id(array)] = place
        return self._known[id(array)]


def _content(array: Json) -> Any:
    """两个数组相同，当且仅当这个相同；−0 与 0 不同。"""
    flat = array["flat"]
    numbers = np.array(flat) if flat else None
    if numbers is None or numbers.ndim > 1 or numbers.dtype.kind not in "biuf":
        return json.dumps([array["shape"], flat, array.get("summary")])
    return tuple(array["shape"]), numbers.dtype.str, numbers.tobytes()


def _encoded(array: Json) -> Json:
    """池中的一项，不损失任何一位。"""
    flat = array["flat"]
    if flat is None:
        return {"shape": array["shape"], "summary": _rounded(array["summary"])}
    numbers = _reals(flat) if len(flat) > _TEXT_SIZE else None
    if numbers is None:
        return {"shape": array["shape"], "flat": flat}
    kept = numbers.astype("<f4") if _are_single(numbers) else numbers
    text = base64.b64encode(kept.tobytes()).decode("ascii")
    return {"shape": array["shape"], "type": kept.dtype.str, "base64": text}


def _are_single(numbers: Array) -> bool:
    """这些数是不是都写得进 float32 再照最短的写法读回来，一位不差。"""
    with np.errstate(over="ignore"):
        single = numbers.astype("<f4")
    # 先看头几个：float64 的数组一眼就认得出，不必逐个写成文字
    heads = (slice(8), slice(None))
    return all(np.array_equal(single[one].astype(str).astype("<f8"), numbers[one], equal_nan=True) for one in heads)


def _reals(flat: list[Any]) -> Array | None:
    """一列数，NaN 与无穷写作字符串；有复数（``[实部, 虚部]``）时为 ``None``。"""
    return None if isinstance(flat[0], list) else np.array([float(number) for number in flat], dtype="<f8")


def _within(budget: int, arrays: list[Json]) -> list[Json]:
    """各数组的一项，合起来不超过 ``budget``：从最大的起换成摘要，直到装得下或没有可换的。"""
    entries = [_encoded(array) for array in arrays]
    sizes = [_size(entry) for entry in entries]
    total = sum(sizes)
    for i in sorted(range(len(arrays)), key=lambda i: -sizes[i]):
        if total <= budget:
            break
        if not _can_shrink(arrays[i]):
            continue
        short = _summarised(arrays[i])
        saved = sizes[i] - _size(short)
        if saved > 0:
            entries[i], total = short, total - saved
    return entries


def _size(entry: Json) -> int:
    """写成 JSON 有几个字符。"""
    text = entry.get("base64", "")
    return len(text) + len(json.dumps({**entry, "base64": ""} if text else entry))


def _can_shrink(array: Json) -> bool:
    """不太小的实数数组，以及格子太细的摘要。"""
    flat = array["flat"]
    return math.prod(array["shape"]) > _SMALLEST and not (flat and isinstance(flat[0], list))


def _summarised(array: Json) -> Json:
    """只留统计量与一张粗格子的热图。"""
    flat, shape = array["flat"], array["shape"]
    if flat is None:
        summary = dict(array["summary"])
        summary["grid"] = _blocks(np.array([[float(cell) for cell in row] for row in summary["grid"]]))
        return {"shape": shape, "summary": _rounded(summary)}
    numbers = np.array([float(number) for number in flat])
    with np.errstate(all="ignore"):
        summary = {
            "min": numbers.min(),
            "max": numbers.max(),
            "mean": numbers.mean(),
            "norm": np.sqrt((numbers * numbers).sum()),
            "grid": _blocks(numbers.reshape(-1, shape[-1])),
        }
    return {"shape": shape, "summary": _rounded(summary)}


def _blocks(grid: Array) -> list[list[float]]:
    """至多 ``_CELLS`` × ``_CELLS`` 块，每块取平均。"""
    rows = np.array_split(np.arange(grid.shape[0]), min(_CELLS, grid.shape[0]))
    columns = np.array_split(np.arange(grid.shape[1]), min(_CELLS, grid.shape[1]))
    return [[float(grid[np.ix_(row, column)].mean()) for column in columns] for row in rows]


def _rounded(summary: Json) -> Json:
    """热图的格子留三位有效数字就够了；统计量不动。NaN 与无穷写作字符串，严格的 JSON 里没有它们。"""
    numbers = {key: _strict(value) for key, value in summary.items() if key != "grid"}
    grid = [[_strict(float(f"{float(cell):.3g}")) for cell in row] for row in summary["grid"]]
    return {**numbers, "grid": grid}


def _strict(value: Any) -> Any:
    number = float(value)
    if math.isfinite(number):
        return number
    return "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"
