"""总账的网页，在真的浏览器里：排序、筛选、点开一格；不联网，不报错，手机上不横着滚。"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from parity_tests.ledger import page, report, survey

if TYPE_CHECKING:
    from playwright.sync_api import Browser


pytestmark = pytest.mark.full


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_the_page_does_not_work(browser: Browser, tmp_path: Path, width: int, scheme: str) -> None:
    """不能排序、筛选或点开，不合格的格子没有标出来，脚本报错，或者去了网上。"""
    cells = survey.survey_all(["exp", "index", "softmax", "tanh"], 5, 0, 1, lambda text: None)
    failing = next(c for c in cells if (c.op, c.dtype, c.check) == ("tanh", "float64", "gradient") and c.script)
    failed = dataclasses.replace(failing, worst=failing.worst._replace(relative=1e-3))
    cells = [failed if c is failing else c for c in cells]
    file = tmp_path / "ledger.html"
    file.write_text(page.html(report.Ledger(cells, 0, 5, 1.0)), encoding="utf-8")
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme, offline=True)  # type: ignore[arg-type]
    tab = context.new_page()
    troubles: list[str] = []
    tab.on("pageerror", lambda error: troubles.append(str(error)))
    tab.on("console", lambda line: troubles.append(line.text))
    tab.on("request", lambda r: None if r.url.startswith(("data:", file.as_uri())) else troubles.append(r.url))
    tab.goto(file.as_uri())
    names = tab.locator("tbody code")
    assert tab.locator("h1").text_content() == "4 operators. 1 failure."
    assert names.first.text_content() == "tanh"  # 最坏的在前
    assert tab.locator(".cell.failed").count() == 2  # 那一格，与行末的「最坏」
    tab.get_by_role("button", name="Operator").click()
    assert names.all_text_contents() == ["exp", "index", "softmax", "tanh"]
    tab.get_by_role("button", name="Operator").click()
    assert names.all_text_contents() == ["tanh", "softmax", "index", "exp"]
    tab.get_by_label("Filter operators").fill("soft")
    assert names.all_text_contents() == ["softmax"]
    tab.get_by_label("Filter operators").fill("")
    tab.get_by_role("button", name="Failures only").click()
    assert names.all_text_contents() == ["tanh"]
    tab.locator(".cell.failed").first.click()
    assert tab.locator("dialog pre").first.text_content() == failed.script
    assert "OUTSIDE" in (tab.locator("dialog").text_content() or "")
    tab.keyboard.press("Escape")
    assert not tab.locator("dialog").is_visible()
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    context.close()
    assert troubles == []
