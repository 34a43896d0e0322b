"""总账自己要可信：错的导数瞒不过它，报出的数能由脚本重放，每种输出都写得对。"""

from __future__ import annotations

import dataclasses
import json
import math
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import torch

from parity_tests.ledger import page, report, shrink, survey
from parity_tests.ledger.command import Config, main
from parity_tests.ledger.measure import DIFFERENCE, FORWARD, GRADIENT, Case, compare, measure
from parity_tests.tolerances import TABLE as TOLERANCES
from tinygrad_llm.common.errors import UserError
from tinygrad_llm.ops import REGISTRY

OPS = ["attention", "fft_c2r", "index", "softmax"]


@pytest.fixture(scope="module")
def ledger() -> report.Ledger:
    """四个算子的小总账：融合的、复数的、带下标的、普通的。"""
    cells = survey.survey_all(OPS, 6, 3, 1, lambda text: None)
    return report.Ledger(cells, 3, 6, 1.0)


def _plan_of(monkeypatch: pytest.MonkeyPatch, op: str, vjp: Callable[..., Any]) -> None:
    """换掉一个算子对第一个输入的导数。"""
    monkeypatch.setattr(REGISTRY[op], "vjps", {REGISTRY[op].inputs[0]: vjp})
    monkeypatch.setattr(REGISTRY[op], "plans", {})


@pytest.mark.parametrize("scale", [-1.0, 2.0, 1 + 1e-5])
def test_a_wrong_derivative_passes(scale: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """导数反号、差两倍，甚至只差十万分之一，总账仍说没有错，或脚本重放不出来。"""
    _plan_of(monkeypatch, "exp", lambda g, y: g * y * scale)
    cells = survey.survey("exp", 5, 0)
    failed = {(c.dtype, c.check) for c in cells if not c.worst.passed}
    assert {("float64", GRADIENT), ("float64", DIFFERENCE)} <= failed
    assert all(c.worst.passed for c in cells if c.check == FORWARD)
    for c in cells:
        assert c.replayed.passed == c.worst.passed
        if not c.worst.passed:
            assert c.script.count("\n") == 4


def test_a_wrong_derivative_keeps_its_size_when_shrunk(monkeypatch: pytest.MonkeyPatch) -> None:
    """缩小不合格的例子时缩成了合格的，或根本没有缩小。"""
    _plan_of(monkeypatch, "tanh", lambda g, y: g * (1 - y))
    case = Case("tanh", (np.random.default_rng(0).standard_normal((3, 3, 2)),), ("transposed",), {})
    error = measure(case, "float64", False)[GRADIENT]
    small, again = shrink.shrunk(case, error, GRADIENT, "float64")
    assert not again.passed
    assert again.relative >= error.relative / 2
    assert small.args[0].size < case.args[0].size
    assert small.layouts == ("contiguous",)


def test_an_op_that_raises_or_writes_to_its_input_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """算子抛异常或改写输入，总账却没有一格不合格。"""

    def raises(x: Any) -> Any:
        raise ValueError("on purpose")

    monkeypatch.setattr(REGISTRY["cosh"], "forward", raises)
    cells = survey.survey("cosh", 2, 0)
    assert all(c.worst.where.startswith("raised") and "on purpose" in c.worst.ours for c in cells)
    assert not any(c.worst.passed for c in cells)
    monkeypatch.undo()  # sinh 的导数要用 cosh

    def writes(x: Any) -> Any:
        y = np.sinh(x)
        x[...] = 0
        return y

    monkeypatch.setattr(REGISTRY["sinh"], "forward", writes)
    assert any("wrote to its input 0" in c.worst.where for c in survey.survey("sinh", 8, 0))


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ([1.0, 2.0], [[1.0, 2.0]]),
        (np.array([1.0], np.float32), [1.0]),
        ([np.nan], [1.0]),
        ([1.0], [np.nan]),
        ([np.inf], [-np.inf]),
        ([np.inf], [1.0]),
        ([1.0], [np.inf]),
        ([1.0 + 2e-10], [1.0]),
        ([0.0], [2e-12]),
        ([1.0, 1.0 + 1e-6, 1.0], [1.0, 1.0, np.inf]),
    ],
)
def test_a_difference_is_not_seen(ours: Any, theirs: Any) -> None:
    """形状、dtype、NaN、无穷或略超容差的差别没有被判为不合格。"""
    a, b = (x if isinstance(x, np.ndarray) else np.array(x) for x in (ours, theirs))
    assert not compare(a, b, TOLERANCES["float64"], "output").passed


def test_the_verdict_differs_from_assert_close() -> None:
    """总账的判法与 ``assert_allclose`` 不同：恰在容差内外的数判得不一样。"""
    rng = np.random.default_rng(0)
    limit = TOLERANCES["float64"]
    for _ in range(300):
        b = rng.standard_normal(3) * 10.0 ** rng.integers(-6, 6)
        a = b + rng.uniform(0.5, 1.5) * (limit.atol + limit.rtol * np.abs(b)) * rng.choice([-1, 1], 3)
        assert compare(a, b, limit, "").passed == np.allclose(a, b, rtol=limit.rtol, atol=limit.atol)


def test_ulps_are_counted_wrongly() -> None:
    """差三个末位，数出来的不是三。"""
    for dtype in (np.float32, np.float64):
        b = np.array([1.5, 0.25], dtype)
        a = b.copy()
        a[0] += 3 * np.spacing(b[0])
        error = compare(a, b, TOLERANCES["float64"], "output")
        assert error.ulps == 3
        assert error.where == "output at (0,)"


def test_every_script_prints_the_figure_of_its_cell(ledger: report.Ledger, tmp_path: Path) -> None:
    """某一格附的五行脚本跑不起来，或打印的误差与总账里的不是同一个数。"""
    scripts = [c for c in ledger.cells if c.script]
    assert len(scripts) > 20
    whole = tmp_path / "all.py"
    whole.write_text("\n".join(c.script for c in scripts), encoding="utf-8")
    done = subprocess.run([sys.executable, str(whole)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    printed = re.findall(r"relative (\S+),", done.stdout)
    assert printed == [f"{c.replayed.relative:.3e}" for c in scripts]
    assert all(c.script.count("\n") == 4 for c in scripts)
    assert all(c.replayed.relative >= c.worst.relative / 2 for c in scripts)


def test_the_same_seed_gives_another_ledger(ledger: report.Ledger) -> None:
    """同一个种子两次的总账不同，只跑一个算子时它的数变了，或换个种子毫无变化。"""
    again = survey.survey("softmax", 6, 3)
    mine = [c for c in ledger.cells if c.op == "softmax"]
    assert sorted(again, key=str) == sorted(mine, key=str)
    assert sorted(survey.survey("softmax", 6, 4), key=str) != sorted(mine, key=str)


def test_a_class_of_shapes_is_misnamed() -> None:
    """形状归错了类。"""
    z = np.zeros
    named: dict[str, list[Any]] = {
        "0-d": [z(())],
        "1-d": [z(2)],
        "2-d": [z((2, 2)), None],
        "3-d, 4-d": [z((1, 1, 1, 1))],
    }
    named |= {"mixed": [z(2), z((2, 2))], "empty": [z((2, 0)), z(2)]}
    assert {name: survey.shape_class(args) for name, args in named.items()} == {name: name for name in named}


def test_a_literal_is_another_value() -> None:
    """脚本里写的值读回来不是原来的值。"""
    for value in (
        np.array([0.1, -0.0, np.inf], np.float32),
        np.array([1e-300, np.nan]),
        np.array([-0.0 + 1j]),
        np.zeros((0, 3)),
    ):
        text = shrink.literal(value)
        names = {name: getattr(np, name) for name in ("array", "empty", "float32", "float64", "inf", "nan")}
        again = eval(text, names)  # noqa: S307  文本是上一行自己写的
        np.testing.assert_array_equal(again, value)
        assert again.dtype == value.dtype
        assert (np.signbit(again.real) == np.signbit(value.real)).all()
    assert shrink.literal({"key": (slice(None, 2, None), ..., None), "dtype": np.float32}) == (
        "{'key': (slice(None, 2, None), ..., None), 'dtype': float32}"
    )


def test_float32_of_torch_is_taken_for_the_truth() -> None:
    """torch 的 float32 偏了，账却记在我们头上。"""
    case = Case("log_ndtr", (np.array([-33.5, -47.25], np.float32),), ("contiguous",), {})
    leaf = torch.tensor(case.args[0], requires_grad=True)
    torch.special.log_ndtr(leaf).sum().backward()
    exact = torch.tensor(case.args[0], dtype=torch.float64, requires_grad=True)
    torch.special.log_ndtr(exact).sum().backward()
    assert not torch.allclose(leaf.grad.double(), exact.grad, rtol=1e-5)  # type: ignore[union-attr,arg-type]
    error = measure(case, "float32", False)[GRADIENT]
    assert error.passed
    assert "torch float32 itself is off" in error.where


def test_reports_disagree_with_the_cells(ledger: report.Ledger) -> None:
    """终端的表、JSON、Markdown、网页或徽章漏了算子，或写错了不合格的格数。"""
    bad = dataclasses.replace(ledger.cells[0], worst=ledger.cells[0].worst._replace(relative=math.inf, ulps=math.inf))
    broken = dataclasses.replace(ledger, cells=[bad, *ledger.cells[1:]])
    for one, failed in ((ledger, 0), (broken, 1)):
        data = json.loads(json.dumps(report.as_json(one), allow_nan=False))
        assert data["failures"] == failed == sum(not c["passed"] for c in data["cells"])
        assert f"{failed} failures" in report.summary(one)[0]
        assert f"{failed} 格超出容差" in report.markdown(one)
        assert "```python" not in report.markdown(one), "the formatter would rewrite the scripts"
        text = ElementTree.fromstring(report.badge(one)).findtext("{*}title")  # noqa: S314  自己刚写的
        assert text == ("parity: 1 failing" if failed else "parity: 4 ops, 0 failures")
        assert all(re.search(rf"^{op} ", report.table(one), re.MULTILINE) for op in OPS)
        assert all(f"| `{op}` |" in report.markdown(one) for op in OPS)
    assert f"FAILED {bad.op} {bad.dtype}" in report.failures_text(broken)


def test_the_page_is_not_one_file_or_lost_a_cell(ledger: report.Ledger) -> None:
    """网页要联网，或里面的数据少了一格；数据里的尖括号会把页面截断。"""
    text = page.html(ledger)
    assert not re.search(r"(?:src|href)=[\"'](?!data:)", text)
    assert "default-src 'none'" in text
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert found is not None
    assert "<" not in found[1]
    assert len(json.loads(found[1])["cells"]) == len(ledger.cells)


def test_a_failure_exits_with_zero(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """有一格不合格，进程却以 0 退出；都合格时却不是。"""
    main(Config(ops=("neg",), jobs=1))
    assert "0 failures" in capsys.readouterr().out
    _plan_of(monkeypatch, "neg", lambda g: g)
    with pytest.raises(SystemExit) as exit_request:
        main(Config(ops=("neg",), jobs=1))
    assert exit_request.value.code == 1
    assert "FAILED neg float64" in capsys.readouterr().out


@pytest.mark.parametrize(
    "build",
    [
        lambda: Config(seed=-1),
        lambda: Config(jobs=-1),
        lambda: Config(write=True, ops=("add",)),
        lambda: Config(html=Path("no-such-folder/page.html")),
        lambda: main(Config(ops=("sofmax",))),
        lambda: main(Config(device="tpu")),
    ],
)
def test_misuse_is_not_explained(build: Callable[[], Any]) -> None:
    """用错了命令，却没有一句怎么办。"""
    with pytest.raises(UserError) as problem:
        build()
    assert problem.value.fix


def test_ledger_lists_every_op() -> None:
    """提交在这里的 ``ledger.md`` 少了算子、多了算子，或里面有不合格的格子。"""
    text = report.PATH.read_text(encoding="utf-8")
    listed = set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE))
    assert listed == set(REGISTRY), "run: python -m parity_tests ledger --write"
    assert "，0 格超出容差" in text
