"""Tensor 的打印：版式与 torch 相同，书上印的输出因此可以逐字对照。

流入：Tensor；流出：``repr`` 的文字。小数位数、省略的规模、行宽由 ``set_printoptions`` 调整。
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tinygrad_llm import dtypes
from tinygrad_llm.ops.op import Array


@dataclass(frozen=True)
class PrintOptions:
    """打印的设置。

    Attributes:
        precision: 小数位数。
        threshold: 元素多于这个数就省略中间。
        edgeitems: 省略时每边留几个。
        linewidth: 行宽。
        sci_mode: 是否用科学记数法；``None`` 表示按数值的范围决定。
    """

    precision: int = 4
    threshold: float = 1000
    edgeitems: int = 3
    linewidth: int = 80
    sci_mode: bool | None = None


_PROFILES = {
    "default": PrintOptions(),
    "short": PrintOptions(precision=2, edgeitems=2),
    "full": PrintOptions(threshold=math.inf),
}
_options = [PrintOptions()]


def set_printoptions(
    precision: int | None = None,
    threshold: float | None = None,
    edgeitems: int | None = None,
    linewidth: int | None = None,
    profile: str | None = None,
    sci_mode: bool | None = None,
) -> None:
    """调整打印；没给的保持不变，``sci_mode`` 除外：不给就回到「按数值决定」。

    Args:
        precision: 小数位数。
        threshold: 元素多于这个数就省略中间。
        edgeitems: 省略时每边留几个。
        linewidth: 行宽。
        profile: ``"default"``、``"short"`` 或 ``"full"``，先套用它再看其余参数。
        sci_mode: 是否用科学记数法。
    """
    base = _options[0] if profile is None else _PROFILES[profile]
    given = {"precision": precision, "threshold": threshold, "edgeitems": edgeitems, "linewidth": linewidth}
    _options[0] = replace(base, **{k: v for k, v in given.items() if v is not None}, sci_mode=sci_mode)  # type: ignore[arg-type]


def tensor_text(tensor: Any, prefix: str = "tensor(") -> str:
    """一个 Tensor 的 ``repr``。

    Args:
        tensor: Tensor。
        prefix: 开头。

    Returns:
        与 torch 同样版式的文字。
    """
    array, indent, options = tensor.array, len(prefix), _options[0]
    notes = []
    if tensor.is_meta:
        body, notes = "...", ["device='meta'", f"size={tuple(array.shape)}"]
        if tensor.dtype is not dtypes.get_default_dtype():
            notes.append(f"dtype={tensor.dtype!r}")
    elif array.size == 0:
        body = "[]"
        if array.ndim != 1:
            notes.append(f"size={tuple(array.shape)}")
        if tensor.dtype is not dtypes.get_default_dtype():
            notes.append(f"dtype={tensor.dtype!r}")
    else:
        body = _body(array, indent, options)
        if tensor.dtype not in (dtypes.get_default_dtype(), dtypes.default_complex(), dtypes.int64, dtypes.bool):
            notes.append(f"dtype={tensor.dtype!r}")
    if tensor.node is not None:
        notes.append(f"grad_fn={tensor.node!r}")
    elif tensor.needs_grad:
        notes.append("requires_grad=True")
    return _with_notes(prefix + body, notes, indent, options) + ")"


def _with_notes(text: str, notes: list[str], indent: int, options: PrintOptions) -> str:
    """附注放得下就接在末行，放不下另起一行。"""
    used = len(text) - text.rfind("\n") + 1
    for note in notes:
        if used + len(note) + 2 > options.linewidth:
            text += ",\n" + " " * indent + note
            used = indent + len(note)
        else:
            text += ", " + note
            used += len(note) + 2
    return text


def _body(array: Array, indent: int, options: PrintOptions) -> str:
    summarize = array.size > options.threshold
    shown = _edges(array, options.edgeitems) if summarize else array
    one, width = _formatter(shown, options)
    return _nested(array, indent, summarize, one, width, options)


def _edges(array: Array, edge: int) -> Array:
    """省略之后真正会印出来的元素，用来定宽度。"""
    for axis, length in enumerate(array.shape):
        if length > 2 * edge:
            array = np.take(array, [*range(edge), *range(length - edge, length)], axis=axis)
    return array


def _nested(
    array: Array, indent: int, summarize: bool, one: Callable[[Any], str], width: int, options: PrintOptions
) -> str:
    if array.ndim == 0:
        return one(array.item())
    edge = options.edgeitems
    cut = summarize and len(array) > 2 * edge
    if array.ndim == 1:
        per_line = max(1, (options.linewidth - indent) // (width + 2))
        values = array.tolist()
        cells = [one(v) for v in (values[:edge] + values[-edge:] if cut else values)]
        if cut:
            cells.insert(edge, " ...")
        lines = [", ".join(cells[i : i + per_line]) for i in range(0, len(cells), per_line)]
        return "[" + (",\n" + " " * (indent + 1)).join(lines) + "]"
    rows = [array[i] for i in (*range(edge), *range(len(array) - edge, len(array)))] if cut else list(array)
    parts = [_nested(row, indent + 1, summarize, one, width, options) for row in rows]
    if cut:
        parts.insert(edge, "...")
    return "[" + ("," + "\n" * (array.ndim - 1) + " " * (indent + 1)).join(parts) + "]"


def _formatter(shown: Array, options: PrintOptions) -> tuple[Callable[[Any], str], int]:
    """定出统一的写法与宽度；复数的实部与虚部各有各的。"""
    if shown.dtype.kind == "c":
        (real, width), (imag, imag_width) = (_formatter(part, options) for part in (shown.real, shown.imag))
        return (lambda v: real(v.real) + _signed(imag(v.imag).lstrip() + "j")), width + imag_width + 1
    if shown.dtype.kind != "f":
        width = max(len(str(v)) for v in shown.reshape(-1).tolist())
        return (lambda v: str(v).rjust(width)), width
    values = shown[np.isfinite(shown) & (shown != 0)]  # 0 与非有限的数不参与定宽度
    write = _float_writer(np.abs(values).astype(np.float64), options)
    width = max((len(write(v)) for v in values.tolist()), default=1)
    return (lambda v: write(v).rjust(width)), width


def _signed(text: str) -> str:
    return text if text[0] in "+-" else f"+{text}"


def _float_writer(values: Array, options: PrintOptions) -> Callable[[float], str]:
    """全是整数就不写小数；相差千倍以上，或有特别大、特别小的，就用科学记数法。"""
    whole = bool((values == np.ceil(values)).all())
    low, high = (values.min(), values.max()) if values.size else (1.0, 1.0)
    wide = high > 1e8 or low < 1e-4 or high > 1000 * low  # 先看上界：乘以千不会溢出
    scientific = wide if options.sci_mode is None else options.sci_mode
    digits = options.precision

    def write(v: float) -> str:
        if not math.isfinite(v):
            return str(v)
        if scientific:
            return f"{v:.{digits}e}"
        return f"{v:.0f}." if whole else f"{v:.{digits}f}"

    return write
