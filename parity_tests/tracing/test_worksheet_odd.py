"""各种各样的程序与乱填的练习：写得出来，答案填满得 100 分，乱填也判得完；命令行的退出码说明全对与否。"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_llm as tg
from tinygrad_llm import nn
from tinygrad_llm.__main__ import VERBS
from tinygrad_llm.common.cli import main
from tinygrad_llm.nn import functional as F
from tinygrad_llm.tracing.trace import Trace
from tinygrad_llm.tracing.worksheet.cells import Sheet
from tinygrad_llm.tracing.worksheet.grading import Grader
from tinygrad_llm.tracing.worksheet.sheet import numbers, render


class Square(tg.autograd.Function):
    """自定义算子：判分时不能换数重算。"""

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        """``y = x²``。"""
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        """``2 g x``。"""
        return 2 * g * ctx.saved_tensors[0]


def _leaf(*shape: int, dtype: Any = None) -> Any:
    tg.manual_seed(1)
    return tg.randn(*shape, dtype=dtype, requires_grad=True)


def _second_order() -> None:
    x = _leaf(3)
    (slope,) = tg.autograd.grad((x**3).sum(), x, create_graph=True)
    (slope * slope).sum().backward()


def _hooked() -> None:
    y = _leaf(3) * 2
    y.register_hook(lambda g: g * 3)
    (y * y).sum().backward()


def _in_place() -> None:
    y = _leaf(3) * 2
    y.add_(1)
    y[0] = 5
    (y * y).sum().backward()


def _complex() -> None:
    x = _leaf(3, dtype=tg.complex64)
    (x * x.conj()).real.sum().backward()


def _twice() -> None:
    y = _leaf(4) ** 2
    y.backward(tg.ones(4), retain_graph=True)
    y.backward(tg.ones(4))


def _without_gradients() -> None:
    with tg.no_grad():
        _leaf(3) * 2 + 1


def _network() -> None:
    tg.manual_seed(0)
    m = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.GELU(), nn.Dropout(0.5), nn.Linear(4, 2))
    m(tg.randn(5, 3)).pow(2).mean().backward()


def _attended(x: Any) -> Any:
    return F.scaled_dot_product_attention(x, x, x, is_causal=True)


def _optimised() -> None:
    tg.manual_seed(0)
    model = nn.Linear(2, 1)
    optimizer = tg.optim.Adam(model.parameters(), lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        F.mse_loss(model(tg.ones(3, 2)), tg.zeros(3, 1)).backward()
        optimizer.step()


PROGRAMS: dict[str, Callable[[], Any]] = {
    "custom": lambda: Square.apply(_leaf(3)).sum().backward(),
    "second order": _second_order,
    "hooked": _hooked,
    "in place": _in_place,
    "complex": _complex,
    "twice": _twice,
    "without gradients": _without_gradients,
    "network": _network,
    "optimised": _optimised,
    "large": lambda: (_leaf(100, 100) @ _leaf(100, 100)).softmax(-1).log().mean().backward(),
    "bfloat16": lambda: (_leaf(4, dtype=tg.bfloat16) ** 2).sum().backward(),
    "empty": lambda: tg.zeros(0, 3, requires_grad=True).sum().backward(),
    "convolution": lambda: F.conv2d(_leaf(1, 1, 4, 4), _leaf(2, 1, 3, 3)).relu().mean().backward(),
    "embedding": lambda: F.embedding(tg.tensor([0, 1, 1]), _leaf(4, 2), padding_idx=0).sum().backward(),
    "attention": lambda: _attended(_leaf(1, 2, 3, 4)).sum().backward(),
}


@pytest.mark.parametrize("composed", [False, True])
@pytest.mark.parametrize("name", PROGRAMS)
def test_any_program_makes_a_worksheet_that_its_answers_fill(name: str, composed: bool) -> None:
    """答案填满得 100 分；乱填也判得完，报告印得出来，没有一格凭空消失。"""
    trace: Trace
    with tg.trace(title=name, composed=composed) as trace:
        PROGRAMS[name]()
    sheet = Sheet(trace)
    assert all(f"| {one} |" in render(sheet, {}, "") for one in sheet.cells)
    assert sheet.fingerprint() == Sheet(trace).fingerprint()
    right = {one.id: numbers(one.asked, one.noise) for one in sheet.cells.values()}
    assert Grader(sheet, right).report().score == 100.0
    rng = random.Random(0)
    for _ in range(3):
        wrong = ["1", "-0.5", "[1, 2]", "[[1, 2], [3, 4]]", "[]", "nan", "inf", "-1/3", "_", "why?"]
        texts = {
            one: rng.choice([*wrong, text, text.replace("-", ""), text.replace("1", "2"), f"[{text}]"])
            for one, text in right.items()
        }
        report = Grader(sheet, texts).report()
        assert [one.id for one in report.cells] == list(sheet.cells)
        assert 0 <= report.score <= 100
        assert str(report)
        assert np.isfinite(report.to_dict()["score"])


def test_the_command_writes_grades_and_exits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``trace``：出题，写答案，判分；全对退出码 0，否则 1；出题时不把答案印在终端上。"""
    sheet = tmp_path / "sheet.md"

    def run(*flags: str) -> int:
        with pytest.raises(SystemExit) as caught:
            raise SystemExit(main("python -m tinygrad_llm", "", VERBS, ["trace", *flags]))
        return int(caught.value.code or 0)

    assert run("neuron", "--worksheet", str(sheet)) == 0
    assert "-0.0898" not in capsys.readouterr().out
    assert run("--check", str(sheet)) == 1
    assert "空 16" in capsys.readouterr().out
    assert run("--answers", str(sheet)) == 0
    assert "sheet.answers.md" in capsys.readouterr().out
    assert run("--check", str(tmp_path / "sheet.answers.md")) == 0
    assert "全部正确" in capsys.readouterr().out
    assert run("--exercise", "2", "--seed", "7", "--worksheet", str(tmp_path / "new.md")) == 0
    assert run("--check", str(tmp_path / "none.md")) == 4
