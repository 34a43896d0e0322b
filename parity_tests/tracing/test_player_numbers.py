"""真的浏览器里，播放器上的数：最终的梯度、每一帧的和、每种弄坏的结果。

神谕是引擎的录制、torch 与例子文档里写着的数；读的是页面上的文字，网络断开。
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
from playwright.sync_api import expect

from parity_tests.browser import Pages
from parity_tests.tracing.documented import documented, rounded
from parity_tests.tracing.player_pages import toy_document, toy_page, toy_trace
from tinygrad_llm.ops.op import Array

if TYPE_CHECKING:
    from playwright.sync_api import Page

Player = tuple[str, "Page"]

_DIGITS = 6
_LISTED = 16

_EVERY_FRAME = """() => Array.from({ length: player.frames }, (_, i) => {
  player.go(i);
  const shown = {};
  for (const card of document.querySelectorAll(".card[data-value]")) {
    shown[card.dataset.value] = card.querySelector("text.grad")?.textContent ?? null;
  }
  return { ...player.state(), shown };
})"""


def _number(text: str) -> float:
    return float(text.replace("−", "-").replace("∞", "inf"))


def _printed(x: float, digits: int = _DIGITS) -> float:
    return float(f"{x:.{digits}g}")


def _column(page: Page, table: str, value: int, kind: str) -> list[float]:
    cells = page.locator(f"#{table} tr[data-value='{value}'] td[data-kind='{kind}']")
    return [_number(text) for text in cells.all_inner_texts()]


def _array(plain: Any) -> Array:
    return np.array(plain["flat"], dtype=float).reshape(plain["shape"])


def test_a_final_gradient_on_the_page_is_not_the_engines_or_not_torchs(toy_player: Player) -> None:
    """走到末尾，页面上某个叶子的梯度与引擎的、torch 的在印出的位数上不同。"""
    toy, page = toy_player
    page.keyboard.press("End")
    page.keyboard.press("2")
    state = page.evaluate("player.state()")
    leaves = [value for value in toy_trace(toy).values if value.kind == "leaf" and value.grad is not None]
    assert leaves
    for value in leaves:
        ours, torchs = np.asarray(value.grad), np.asarray(value.torch_grad)
        np.testing.assert_array_equal(_array(state["values"][str(value.id)]["gradient"]), ours)
        if ours.size > _LISTED:
            assert page.locator(f"#gradients tr[data-value='{value.id}'] td[data-kind='torch'] img").count() == 1
            assert _column(page, "gradients", value.id, "difference")[0] < 1e-12
            continue
        assert _column(page, "gradients", value.id, "so-far") == [_printed(x) for x in ours.flat]
        assert _column(page, "gradients", value.id, "torch") == [_printed(x) for x in torchs.flat]
        assert max(_column(page, "gradients", value.id, "difference")) < 1e-12


def test_a_gradient_so_far_is_not_the_sum_of_what_was_fired(toy_player: Player) -> None:
    """在某一帧，某个值「至今的梯度」不等于已经送到的各份之和，或者卡片上写的不是它。"""
    toy, page = toy_player
    frames = page.evaluate(_EVERY_FRAME)
    fired = 0
    for frame in frames:
        for value, found in frame["values"].items():
            parts = [_array(one) for one in found["contributions"]]
            if not parts:
                assert found["gradient"] is None
                assert not frame["shown"].get(value)
                continue
            gradient = _array(found["gradient"])
            fired = max(fired, len(parts))
            np.testing.assert_allclose(gradient, np.sum(parts, axis=0), rtol=1e-14, atol=1e-15)
            np.testing.assert_array_equal(_array(found["sum"]), gradient)
            if frame["shown"].get(value):
                assert _number(frame["shown"][value]) == _printed(gradient.item(), 4)
    assert [frame["phase"] for frame in frames].count("backward") == len(toy_document(toy)["backwards"][0]["steps"])
    assert fired >= (2 if toy in ("diamond", "softmax", "layernorm", "attention", "gpt") else 1)


def test_a_broken_variant_shows_another_number_than_documented(toy_player: Player) -> None:
    """按下一个「弄坏它」的开关，页面上错的或对的数与例子文档里写着的不同。"""
    toy, page = toy_player
    page.keyboard.press("End")
    page.keyboard.press("3")
    stated = documented(toy)
    labels = {value.label: value.id for value in toy_trace(toy).values}
    for fault in toy_document(toy)["faults"]:
        page.locator(f"[role=radio][data-fault='{fault['name']}']").click()
        assert page.locator("body").get_attribute("data-fault") == fault["name"]
        assert page.locator("body").get_attribute("data-phase") == "end"
        assert bool(fault["differs"]) == (fault["name"] in stated)
        for label, number in stated.get(fault["name"], {}).items():
            wrong = page.evaluate(f"player.state().values[{labels[label]}].final")
            np.testing.assert_array_equal(rounded(_array(wrong)), number)
            if number.size <= _LISTED and number.shape == stated["right"][label].shape:
                shown = np.array(_column(page, "comparison", labels[label], "wrong"))
                right = np.array(_column(page, "comparison", labels[label], "right"))
                np.testing.assert_array_equal(rounded(shown), number.ravel())
                np.testing.assert_array_equal(rounded(right), stated["right"][label].ravel())
                rows = page.locator(f"#comparison tr[data-value='{labels[label]}']").all()
                marked = ["bad" in (row.get_attribute("class") or "") for row in rows]
                assert marked == (number != stated["right"][label]).ravel().tolist()
    page.locator("[role=radio][data-fault='']").click()
    assert page.locator("#comparison").count() == 0


def test_a_step_does_not_explain_itself(open_page: Pages) -> None:
    """讲解栏缺了公式、代入的数、求导表的源码、用户的代码行，或缺了「之前 + 这一份 = 之后」。"""
    page = open_page(toy_page("diamond"))
    pane = page.locator("#side-step")
    page.keyboard.press("ArrowRight")
    assert "2.25 = 1.5 × 1.5" in pane.inner_text()
    assert "s = x * x" in pane.inner_text()
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    assert page.locator("body").get_attribute("data-phase") == "backward"
    text = pane.inner_text()
    assert "Backward 2 of 3" in text
    assert "y = a + b" in text
    assert "u = s + 1.0" in text
    addition = re.sub(r"\s+", " ", page.locator(".addition").inner_text())
    assert addition == "So far 3.25 + 2.25 = 5.5"
    page.keyboard.press("ArrowRight")
    rules = [code.inner_text() for code in pane.locator(".rule .formula").all()]
    assert rules == ["g * b", "g * a"]
    assert re.sub(r"\s+", " ", page.locator(".addition").nth(1).inner_text()) == "So far 8.25 + 8.25 = 16.5"


def test_broadcasting_is_undone_out_of_sight(open_page: Pages) -> None:
    """对广播轴求和的一步没有说出是哪根轴，也没有摆出求和前后的两个数组。"""
    document = toy_document("broadcast")
    page = open_page(toy_page("broadcast"))
    shown = 0
    for step in document["backwards"][0]["steps"]:
        page.evaluate(f"player.go(player.frames - {1 + len(document['backwards'][0]['steps']) - step['index']})")
        for edge in step["edges"]:
            part = page.locator(f".edge-part[data-edge='{edge['input']}']")
            assert part.locator(".summed").count() == bool(edge["summed_axes"])
            if edge["summed_axes"]:
                shown += 1
                assert f"axis {', '.join(map(str, edge['summed_axes']))}:" in part.inner_text()
    assert shown == 3


def test_contributions_are_added_before_they_arrive(open_page: Pages) -> None:
    """演动画时，还在路上的一份已经加进了卡片上的数；或者到了还没有加。"""
    page = open_page(toy_page("diamond"))
    page.evaluate("player.setSpeed(0.5); player.go(5)")
    card = page.locator(".card[data-value='1']")
    assert card.locator("text.grad").text_content() == "3.25"
    page.keyboard.press("ArrowRight")
    assert page.locator(".packet").count() == 1
    assert card.locator("text.grad").text_content() == "3.25"
    assert page.evaluate("player.state().values[1].gradient.flat[0]") == 5.5
    expect(card.locator("text.grad")).to_have_text("5.5")
    assert card.locator(".term").all_text_contents() == ["3.25", "2.25"]
    assert page.locator(".packet text").text_content() == "2.25"
