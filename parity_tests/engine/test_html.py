"""Tensor 在笔记本里的卡片：标签配对、没有外部资源，写的数与 NumPy 算的一致。"""

from __future__ import annotations

import html
import math
import re
import xml.etree.ElementTree as ET
from typing import Any

import numpy as np
import pytest

import tinygrad_llm as tg
from tinygrad_llm.printing_html import tensor_html

RNG = np.random.default_rng(0)
CASES: dict[str, Any] = {
    "normal": RNG.standard_normal((64, 128)),
    "0-d": np.array(2.5),
    "one value": np.array([[2.5]]),
    "empty": np.zeros((0, 3)),
    "empty integers": np.zeros(0, np.int64),
    "bool": RNG.standard_normal(30) > 0,
    "all false": np.zeros(4, bool),
    "int": RNG.integers(-5, 5, (4, 4)),
    "extreme int": np.array([-(2**63), 2**63 - 1]),
    "uint8": np.arange(256, dtype=np.uint8),
    "nan only": np.full(3, np.nan),
    "inf only": np.array([np.inf, -np.inf]),
    "some nan": np.array([1.0, np.nan, 3.0, np.inf]),
    "constant": np.ones(50),
    "zeros": np.zeros(5),
    "huge": np.array([1e308, -1e308, 1e308]),
    "tiny": np.array([5e-324, 0.0]),
    "neighbours": np.array([1.0, 1.0 + 2e-16]),
    "float16": RNG.standard_normal(100).astype(np.float16) * np.float16(1e4),
    "many axes": RNG.standard_normal((2, 1, 3, 1, 2)),
    "many values": np.arange(2_000_003.0),
}


def _card(array: Any) -> tuple[ET.Element, str]:
    """解析后的卡片，与其中的文字；标签没有配对就解析不了。"""
    card = ET.fromstring(tensor_html(tg.from_numpy(array)))  # noqa: S314  自己产生的文字
    return card, " ".join("".join(card.itertext()).split())


@pytest.mark.parametrize("name", sorted(CASES))
def test_a_card_is_broken(name: str) -> None:
    """某种 Tensor 的卡片标签没有配对、引用了外部资源，或缺了形状、类型与数值。"""
    array = CASES[name]
    card, text = _card(array)
    source = ET.tostring(card, encoding="unicode")
    assert not re.search(r"https?:|src=|url\(|<script|<style", source)
    assert f"shape {list(array.shape)}" in text
    assert array.dtype.name in text
    assert " ".join(repr(tg.from_numpy(array)).split()) in text


@pytest.mark.parametrize("name", ["normal", "int", "some nan", "huge", "float16", "uint8"])
def test_a_statistic_is_wrong(name: str) -> None:
    """最小、平均、最大，或 NaN 与无穷的个数不对。"""
    array = CASES[name]
    finite = array[np.isfinite(array)].astype(np.longdouble)
    found = dict(re.findall(r"(min|mean|max|NaN|inf) (-?[\d.,e+-]+)", _card(array)[1]))
    for key, value in (("min", finite.min()), ("mean", finite.mean()), ("max", finite.max())):
        assert float(found[key].replace(",", "")) == pytest.approx(float(value), rel=1e-4)
    if array.dtype.kind == "f":
        assert (found["NaN"], found["inf"]) == (str(np.isnan(array).sum()), str(np.isinf(array).sum()))


@pytest.mark.parametrize("name", sorted(CASES))
def test_a_histogram_is_wrong(name: str) -> None:
    """直方图的高度不成比例、画出了格子之外，或不该有而有。"""
    array = CASES[name]
    finite = np.unique(array[np.isfinite(array)]) if array.size > 1 else np.zeros(0)
    bars = [
        {key: float(bar.get(key, "nan")) for key in ("x", "y", "width", "height")}
        for bar in _card(array)[0].iter("rect")
    ]
    if array.size < 2 or not len(finite):
        assert not bars
        return
    assert max(bar["height"] for bar in bars) == 64
    assert all(bar["x"] >= 0 and bar["x"] + bar["width"] <= 360 and bar["y"] + bar["height"] == 64 for bar in bars)
    assert len(bars) == 1 if len(finite) == 1 else len(bars) >= 2


def test_booleans_stand_on_the_wrong_side() -> None:
    """布尔的两根柱子：左边是 False，右边是 True。"""
    assert [float(bar.get("x", "nan")) for bar in _card(np.zeros(4, bool))[0].iter("rect")] == [0]
    assert [float(bar.get("x", "nan")) for bar in _card(np.ones(4, bool))[0].iter("rect")] == [180]
    assert "False 3 True 1" in _card(np.array([True, False, False, False]))[1]


def test_the_origin_of_a_tensor_is_missing_or_not_escaped() -> None:
    """``grad_fn`` 没有转义，会被浏览器当成标签；叶子与 Parameter 没有写明。"""
    leaf = tg.tensor([1.0, math.nan], requires_grad=True)
    shown = tensor_html(leaf * 2)
    assert "grad_fn &lt;MulBackward0&gt;" in shown
    assert "<MulBackward0>" not in shown
    assert "grad_fn=<MulBackward0>" in html.unescape(shown)
    assert "requires_grad" in tensor_html(leaf)
    assert "<b>Parameter</b>" in tensor_html(tg.nn.Parameter(tg.ones(2)))


def test_nan_does_not_stand_out() -> None:
    """有 NaN 或无穷却没有标红，或没有而标红。"""
    assert "color:#e0574c" in tensor_html(tg.tensor([math.nan, 1.0]))
    assert "color:#e0574c" in tensor_html(tg.tensor([math.inf, 1.0]))
    assert "color:#e0574c" not in tensor_html(tg.ones(3))


def test_a_card_of_complex_numbers_does_not_count_their_sizes() -> None:
    """复数的卡片统计的不是模，或画不出来。"""
    z = np.array([3 + 4j, 1j, complex("nan")])
    _, text = _card(z)
    assert re.search(r"min 1\b.*max 5\b.*NaN 1", text)
    assert "complex128" in text
