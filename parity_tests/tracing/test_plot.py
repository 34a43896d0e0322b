"""``t.plot()``：方框里写着值与梯度，箭头连着该连的，在笔记本里就是一张普通的 matplotlib 图。

流入：几个玩具的记录；流出：图上的字与记录不符、方框重叠、画不进给定的坐标系。
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import matplotlib as mpl
import pytest

import tinygrad_llm as tg
from tinygrad_llm.tracing.picture import picture
from tinygrad_llm.tracing.programs import run_program
from tinygrad_llm.tracing.real.plot import plot


@pytest.fixture(autouse=True)
def _no_window() -> Iterator[None]:
    """不开窗口；画完关掉。"""
    mpl.use("Agg")
    yield
    from matplotlib import pyplot

    pyplot.close("all")


def _words(ax: Any) -> list[str]:
    return [one.get_text() for one in ax.texts if one.get_text()]


def _patches(ax: Any) -> list[Any]:
    from matplotlib.patches import FancyBboxPatch

    return [one for one in ax.patches if isinstance(one, FancyBboxPatch)]


def test_neuron_shows_the_values_and_gradients_of_the_text() -> None:
    """神经元的图上没有正文里的损失与梯度，或没有沿着边写出流回的梯度。"""
    said = _words(plot(run_program("neuron")))
    assert {"w", "x", "b", "2.2", "1.1", "0.08519", "∂ -0.08983", "∂ -0.08166"} <= set(said)
    assert said.count("-0.08166") == 3  # 沿着边流回的：z → mul、z → b、a → z


def test_values_used_twice_show_both_contributions() -> None:
    """一个值用了两次，边上没有写出两份贡献。"""
    said = _words(plot(run_program("diamond")))
    assert "8.25 + 8.25" in said
    assert "∂ 16.5" in said


@pytest.mark.parametrize("name", ["neuron", "mlp", "attention", "gpt"])
@pytest.mark.parametrize("across", [True, False])
def test_boxes_do_not_overlap_and_stay_inside(name: str, across: bool) -> None:
    """方框叠在一起，或画到了图的外面。"""
    t = run_program(name)
    ax = plot(t, across=across)
    boxes = [patch.get_bbox() for patch in _patches(ax)]
    assert len(boxes) == len(picture(t).boxes)
    for i, one in enumerate(boxes):
        for other in boxes[i + 1 :]:
            apart = one.x1 <= other.x0 or other.x1 <= one.x0 or one.y1 <= other.y0 or other.y1 <= one.y0
            assert apart
    (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    assert all(left <= b.x0 and b.x1 <= right and bottom <= b.y0 and b.y1 <= top for b in boxes)


def test_text_fits_into_its_box() -> None:
    """字比方框宽：在图上会盖住别的。"""
    ax = plot(run_program("gpt"))
    canvas: Any = ax.figure.canvas
    canvas.draw()
    renderer = canvas.get_renderer()
    frames = [patch.get_window_extent(renderer) for patch in _patches(ax)]
    for text in ax.texts:
        if text.get_zorder() == 4:  # 方框里的字
            words = text.get_window_extent(renderer)
            middle = (words.x0 + words.x1) / 2, (words.y0 + words.y1) / 2
            (home,) = [one for one in frames if one.contains(*middle)]
            assert words.width <= home.width + 1


def test_it_draws_into_given_axes() -> None:
    """给了坐标系，却另开了一张图。"""
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2)
    assert plot(run_program("neuron"), ax=left) is left
    assert pyplot.get_fignums() == [figure.number]
    assert not right.texts
    assert left.get_title() == run_program("neuron").title


def test_modules_fold_and_dollars_are_not_mathematics() -> None:
    """模块没有折起来；标题里的 $ 被当成公式，画图时出错。"""
    block = tg.nn.Sequential(tg.nn.Linear(3, 3), tg.nn.Tanh(), tg.nn.Sequential(tg.nn.Linear(3, 1), tg.nn.Tanh()))
    with tg.trace(title="cost in $ and $^_{") as t:
        block(tg.ones(2, 3)).sum().backward()
    ax = plot(t, fold=0)
    assert len(_patches(ax)) < len(_patches(plot(t, fold=9)))
    figure: Any = ax.figure
    figure.savefig(io.BytesIO(), format="png")


def test_a_recording_of_nothing_can_be_drawn() -> None:
    """什么也没有记下时画图出错。"""
    with tg.trace() as t:
        pass
    assert not _patches(plot(t))
