"""图的测试：同样的输入同样的字节，文字仍是文字，能安全地放进网页。"""

from __future__ import annotations

import math
import re
from xml.etree import ElementTree

import numpy as np
import pytest

from tinygrad_llm.common.charts import COLOURS, INK, Series, _smoothed, _thinned, bar_chart, grid_chart, line_chart

HOSTILE = """<script>alert("x")</script>&'--><b>$a_{$"""


def example(count: int = 200) -> list[Series]:
    """两条曲线，含非有限与非正的点。"""
    x = list(range(count))
    y = [3.0 + math.sin(step / 9) for step in x]
    y[3], y[5], y[7] = math.nan, math.inf, -1.0
    return [Series("训练", x, y, smooth=True), Series("验证", x[::50], y[::50])]


def parsed(html: str) -> ElementTree.Element:
    """片段是合法的 XML。"""
    return ElementTree.fromstring(html)  # noqa: S314  自己刚写出来的


def chart(title: str = "损失", log_y: bool = False) -> str:
    """一张典型的折线图。"""
    return line_chart(example(), title=title, x_label="步", y_label="loss", log_y=log_y)


@pytest.mark.parametrize("log_y", [False, True])
def test_same_input_gives_other_bytes(log_y: bool) -> None:
    """画两次，逐字节相同。"""
    assert chart(log_y=log_y) == chart(log_y=log_y)


def test_settings_of_the_user_change_the_chart_or_are_changed() -> None:
    """用户自己的 matplotlib 设置不影响图，也不被图影响。"""
    import matplotlib

    expected = chart()
    with matplotlib.rc_context({"font.size": 30.0, "axes.grid": True, "lines.linewidth": 9.0}):
        before = dict(matplotlib.rcParams)
        assert chart() == expected
        assert dict(matplotlib.rcParams) == before


def test_text_becomes_outlines_or_loses_the_colour_of_the_page() -> None:
    """轴名、图例、图题都是文字；没有写死的墨色。"""
    html = chart()
    root = parsed(html)
    texts = {element.text for element in root.iter("text")}
    assert {"步", "loss", "训练", "验证"} <= texts
    assert "<figcaption>损失</figcaption>" in html
    assert 'role="img" aria-label="损失"' in html
    assert INK not in html
    assert "currentColor" in html
    for index in (1, 2):
        assert f"var(--series-{index}, {COLOURS[index - 1]})" in html


def test_chart_refers_to_anything_outside() -> None:
    """没有外部地址、元数据、样式表与脚本。"""
    html = chart() + bar_chart(["a"], [1.0], title="b")
    for forbidden in ("http", "<metadata", "<style", "<script", "xmlns", "xlink", "<!--"):
        assert forbidden not in html


def test_ids_clash_between_two_charts() -> None:
    """两张图放在一页里，id 不重名，引用都有着落。"""
    html = chart("甲") + chart("乙") + bar_chart(["a"], [1.0], title="丙")
    ids = re.findall(r'\bid="([^"]*)"', html)
    assert len(ids) == len(set(ids))
    references = set(re.findall(r'href="#([^"]*)"', html)) | set(re.findall(r"url\(#([^)]*)\)", html))
    assert references
    assert references <= set(ids)


def test_label_is_read_as_markup() -> None:
    """任何文字都只是文字：标签、引号、注释、公式记号。"""
    series = [Series(HOSTILE, [0, 1], [0, 1]), Series("b", [0, 1], [1, 0])]
    for html in (
        line_chart(series, title=HOSTILE, x_label=HOSTILE, y_label=HOSTILE),
        bar_chart([HOSTILE], [1.0], title=HOSTILE, x_label=HOSTILE),
    ):
        root = parsed(html)
        assert not list(root.iter("script"))
        assert not list(root.iter("b"))
        assert HOSTILE in {element.text for element in root.iter("text")}
        assert root.findtext("figcaption") == HOSTILE


@pytest.mark.parametrize(
    ("x", "y"), [([], []), ([1], [2.0]), ([0, 1], [math.nan, math.inf]), ([0, 1], [-1.0, 0.0]), ([0, 1], [5.0, 5.0])]
)
@pytest.mark.parametrize("log_y", [False, True])
def test_degenerate_series_crashes(x: list[float], y: list[float], log_y: bool) -> None:
    """没有点、只有一点、全是非有限、全是非正、全相等，都画得出。"""
    assert "<svg" in line_chart([Series("a", x, y, smooth=True)], title="t", x_label="x", y_label="y", log_y=log_y)


def test_bars_lack_their_values() -> None:
    """每条的末端写着数值，非有限的也写出来。"""
    root = parsed(bar_chart(["甲", "乙", "丙"], [1.5, -2.0, math.nan], title="t", x_label="s"))
    assert {"甲", "乙", "丙", "1.5", "-2", "nan", "s"} <= {element.text for element in root.iter("text")}


def test_grid_lacks_its_counts() -> None:
    """方阵的格子里没有个数，颜色不是占这一行的几成，或名字被当作标记。"""
    html = grid_chart(np.array([[3, 1], [0, 0]]), ["a", HOSTILE], title="t", x_label="猜的", y_label="真的")
    root = parsed(html)
    texts = [element.text for element in root.iter("text")]
    assert {"3", "1", "a", HOSTILE, "猜的", "真的"} <= set(texts)
    assert "0" not in texts
    assert [float(share) / 0.75 for share in re.findall(r"opacity: ([\d.]+)", html)][:2] == [0.75, 0.25]


def test_thinning_loses_a_spike() -> None:
    """一百万个点里的一个尖峰，抽稀之后仍在；点数有上限，横坐标仍递增。"""
    x, y = np.arange(1e6), np.zeros(1_000_000)
    y[654_321], y[123_456] = 9.0, -9.0
    thin_x, thin_y = _thinned(x, y)
    assert thin_y.max() == 9.0
    assert thin_y.min() == -9.0
    assert thin_x.size <= 1002
    assert (np.diff(thin_x) > 0).all()
    assert (thin_x[0], thin_x[-1]) == (x[0], x[-1])


def test_smoothing_lags_or_is_biased() -> None:
    """常数不变；直线的中段不滞后；末点的噪声不会把曲线拽走。"""
    assert _smoothed(np.full(50, 3.0)) == pytest.approx(np.full(50, 3.0))
    line = np.arange(1000.0)
    assert _smoothed(line)[400:600] == pytest.approx(line[400:600], abs=1e-3)
    noisy = np.zeros(500)
    noisy[-1] = 1.0
    assert _smoothed(noisy)[-1] < 0.06
