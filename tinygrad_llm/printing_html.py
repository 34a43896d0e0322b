"""Tensor 在笔记本里的样子：一张小卡片，写着形状、类型、统计量、直方图与数值。

流入：Tensor；流出：一段自足的 HTML（内嵌 SVG，不取任何外部资源）。颜色取自所在页面，深色与浅色的主题下都看得清。
"""

from __future__ import annotations

import math
from html import escape
from typing import Any

import numpy as np

from tinygrad_llm.ops.op import Array
from tinygrad_llm.printing import tensor_text

_BARS = 40  # 至多
_WIDTH, _HEIGHT = 360, 64
_SAMPLE = 1_000_000  # 再多的元素，直方图只隔着取这么多个
_SHORT_TEXT = 12  # 数值不超过这么多行就直接展开
_ACCENT, _ALARM = "#4c8dda", "#e0574c"  # 在黑白两种底色上对比度都够
_CARD = (
    "display:inline-block;box-sizing:border-box;max-width:100%;padding:10px 14px;border:1px solid rgba(128,128,128,.4);"
    "border-radius:8px;font:13px/1.5 system-ui,sans-serif;color:inherit"
)
_CHIP = "display:inline-block;margin-left:2px;padding:0 8px;border-radius:9px;background:rgba(128,128,128,.18)"
_LABEL = "opacity:.65"
_PRE = "margin:6px 0 0;overflow:auto;font:12px/1.4 ui-monospace,monospace;color:inherit;background:none"


def tensor_html(tensor: Any) -> str:
    """一个 Tensor 的 HTML；复数统计的是模。

    Args:
        tensor: Tensor。

    Returns:
        一个 ``<div>``。
    """
    tensor = tensor.refreshed()
    reals = np.abs(tensor.array) if tensor.is_complex() else tensor.array
    parts = [_header(tensor), _statistics(reals), _histogram(reals), _values(tensor)]
    return f'<div style="{_CARD}">{"".join(parts)}</div>'


def _header(tensor: Any) -> str:
    chips = [
        f"shape {list(tensor.array.shape)}",
        str(tensor.dtype).removeprefix("torch."),
        _counted(tensor.array.size),
    ]
    if tensor.node is not None:
        chips.append(f"grad_fn {tensor.node!r}")
    elif tensor.needs_grad:
        chips.append("requires_grad")
    shown = " ".join(f'<span style="{_CHIP}">{escape(chip)}</span>' for chip in chips)
    return f"<div><b>{escape(type(tensor).__name__)}</b> {shown}</div>"


def _counted(size: int) -> str:
    return "1 value" if size == 1 else f"{size:,} values"


def _statistics(array: Array) -> str:
    """最小、平均、最大，以及 NaN 与无穷各有几个；只有一个值时不必统计。"""
    if array.size < 2:
        return ""
    if array.dtype.kind == "b":
        ones = int(np.count_nonzero(array))
        return _row({"False": f"{array.size - ones:,}", "True": f"{ones:,}"})
    finite = _finite(array)
    numbers = {"min": finite.min(), "mean": _mean(finite), "max": finite.max()} if finite.size else {}
    cells = {name: _number(value) for name, value in numbers.items()}
    if array.dtype.kind == "f":
        cells["NaN"] = f"{int(np.isnan(array).sum()):,}"
        cells["inf"] = f"{int(np.isinf(array).sum()):,}"
    return _row(cells)


def _finite(array: Array) -> Array:
    flat = array.reshape(-1)
    return flat[np.isfinite(flat)] if array.dtype.kind == "f" else flat


def _mean(values: Array) -> float:
    """按 float64 求平均；先除以最大的绝对值，再大的数也不溢出。"""
    wide = values.astype(np.float64)
    scale = float(np.abs(wide).max()) or 1.0
    return float((wide / scale).mean()) * scale


def _number(value: Any) -> str:
    return f"{int(value):,}" if isinstance(value, np.integer) else f"{float(value):.5g}"


def _row(cells: dict[str, str]) -> str:
    """一行「名字 值」；有 NaN 或无穷就醒目地标出来。"""
    shown = []
    for name, text in cells.items():
        is_alarm = name in ("NaN", "inf") and text != "0"
        style, label = (f";color:{_ALARM};font-weight:bold", "") if is_alarm else ("", _LABEL)
        shown.append(f'<span style="margin-right:10px{style}"><span style="{label}">{name}</span> {text}</span>')
    return f'<div style="margin-top:4px">{" ".join(shown)}</div>'


def _histogram(array: Array) -> str:
    """有限值的直方图；不到两个值就不画。"""
    values = _finite(array)[:: max(1, array.size // _SAMPLE)]
    if values.size < 2:
        return ""
    counts = np.bincount(values, minlength=2) if array.dtype.kind == "b" else _counts(values.astype(np.float64))
    width = _WIDTH / len(counts)
    drawn = "".join(
        f'<rect x="{i * width:.1f}" y="{_HEIGHT - height:.1f}" width="{width - 1:.1f}" height="{height:.1f}"/>'
        for i, height in enumerate(counts / counts.max() * _HEIGHT)
        if height > 0
    )
    line = f'<path d="M0 {_HEIGHT}.5H{_WIDTH}" stroke="currentColor" stroke-opacity=".4"/>'
    size = f'viewBox="0 0 {_WIDTH} {_HEIGHT + 1}" width="{_WIDTH}" height="{_HEIGHT + 1}"'
    style = "display:block;max-width:100%;margin-top:8px"
    return f'<svg {size} role="img" aria-label="histogram" style="{style}"><g fill="{_ACCENT}">{drawn}</g>{line}</svg>'


def _counts(values: Array) -> Array:
    """等宽的格子里各有几个，值少就分得粗些；先缩到 1 以内，跨度再大也不溢出，全都相等时落在正中一格。"""
    bars = min(_BARS, int(2 * math.sqrt(values.size)))
    scaled = values / (float(np.abs(values).max()) or 1.0)
    low, span = scaled.min(), float(np.ptp(scaled))
    places = np.full(len(scaled), bars // 2) if span == 0 else ((scaled - low) / span * bars).astype(np.int64)
    return np.bincount(np.minimum(places, bars - 1), minlength=bars)


def _values(tensor: Any) -> str:
    text = tensor_text(tensor)
    lines = text.count("\n") + 1
    state = ' open=""' if lines <= _SHORT_TEXT else ""
    return (
        f'<details{state} style="margin-top:8px"><summary style="cursor:pointer;{_LABEL}">values</summary>'
        f'<pre style="{_PRE}">{escape(text)}</pre></details>'
    )
