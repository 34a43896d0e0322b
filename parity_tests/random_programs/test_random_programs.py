"""随机程序的快速一档，以及对照本身会不会失灵：故意弄坏引擎，它必须发现，并改到最小。"""

from __future__ import annotations

import ast
import contextlib
import io
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import tinygrad_llm
from parity_tests.random_programs.command import Config, main, minimal, report
from parity_tests.random_programs.generating import LONGEST, generate
from parity_tests.random_programs.judging import EXPLAINED, compare
from parity_tests.random_programs.program import Leaf, Program, Ref, Step
from parity_tests.random_programs.running import run
from parity_tests.random_programs.writing import script
from tinygrad_llm.autograd import composed_ops
from tinygrad_llm.common.errors import UserError

SEED, QUICK, FULL = 20, 100, 3000


def _unexplained(start: int, stop: int) -> Iterator[str]:
    for index in range(start, stop):
        program = generate(SEED, index)
        found = compare(tinygrad_llm, program)
        if found is not None and found.kind not in EXPLAINED:
            yield report(SEED, index, program, found)


@pytest.mark.parametrize("start", range(0, QUICK, 25))
def test_a_random_program_differs_between_the_engines(start: int) -> None:
    """一个随机程序在两个引擎上的值、梯度或报错不同；失败时印出最小的程序。"""
    assert next(_unexplained(start, start + 25), "") == ""


@pytest.mark.parametrize("start", range(0, QUICK, 25))
def test_a_random_program_differs_without_the_fused_ops(start: int) -> None:
    """融合算子拆成普通算子之后，值、梯度或报错与 torch 不同。"""
    with composed_ops():
        assert next(_unexplained(start, start + 25), "") == ""


@pytest.mark.full
@pytest.mark.parametrize("start", range(QUICK, FULL, 100))
def test_a_random_program_of_the_long_lane_differs(start: int) -> None:
    """同上，更多的程序。"""
    assert next(_unexplained(start, start + 100), "") == ""


def test_the_same_seed_writes_another_program() -> None:
    """同一个种子与序号得到的程序不同：失败就不能重放。"""
    assert script(generate(SEED, 7)) == script(generate(SEED, 7)) != script(generate(SEED, 8))


def test_a_step_is_missing_from_the_printed_code() -> None:
    """印出的脚本与执行的程序不是同一个：语法不对，步数不同，或算出的梯度不同。"""
    for index in range(6):
        program = generate(SEED, index)
        tree = ast.parse(script(program))
        assert all(f"v{node.id}" in ast.unparse(tree) for node in program.nodes)
    small = _chain()
    text = script(small)
    assert "v1 = v0.exp()" in text
    assert "v2 = v1 * v0" in text
    assert "loss.backward()" in text


def _chain() -> Program:
    steps = (Step(1, ".exp", (Ref(0),)), Step(2, "*", (Ref(1), Ref(0))), Step(3, ".sum", (Ref(2), 0)))
    leaf, weight = Leaf(0, np.array([0.3, -1.2]), "float64", True), Leaf(4, np.array(2.0), "float64", False)
    return Program((leaf, *steps, weight), ((3, 4),))


@contextlib.contextmanager
def _broken(name: str, factor: float) -> Iterator[None]:
    """让引擎的一个方法带上错的导数：值不变，梯度乘上 ``factor``。"""
    right = getattr(tinygrad_llm.Tensor, name)

    def wrong(self: Any, *args: Any, **kwargs: Any) -> Any:
        y = right(self, *args, **kwargs)
        return y * factor + y.detach() * (1 - factor)

    setattr(tinygrad_llm.Tensor, name, wrong)
    try:
        yield
    finally:
        setattr(tinygrad_llm.Tensor, name, right)


@pytest.mark.parametrize(("name", "factor"), [("exp", -1.0), ("tanh", 1 + 1e-9), ("sigmoid", 0.0)])
def test_a_wrong_derivative_goes_unnoticed(name: str, factor: float) -> None:
    """导数差一个符号、差十亿分之一、少了一条路，对照都没有发现，或没能改到几步之内。"""
    with _broken(name, factor):
        for index in range(400):
            program = generate(SEED, index)
            if f".{name}" not in {step.target for step in program.steps}:
                continue
            found = compare(tinygrad_llm, program)
            if found is not None and found.kind == "values":
                smallest = minimal(program, found)
                assert len(smallest.steps) <= 4
                assert f".{name}(" in report(SEED, index, smallest, found, is_shrunk=False)
                return
    pytest.fail(f"400 programs did not notice the wrong derivative of {name}")


def test_an_error_of_one_engine_goes_unnoticed() -> None:
    """一边报错、另一边不报，对照没有发现。"""
    refused = Program((Leaf(0, np.ones(2), "float64", True), Step(1, ".add_", (Ref(0), 1))), ())
    assert run(torch, refused).failed_at == run(tinygrad_llm, refused).failed_at == "v1"
    assert compare(tinygrad_llm, refused) is None
    lax = SimpleNamespace(**{**vars(tinygrad_llm), "tensor": lambda values: _Lax()})
    found = compare(lax, refused)
    assert found is not None
    assert found.kind == "error"


class _Lax:
    """什么都放行的张量。"""

    def requires_grad_(self, needs: bool) -> _Lax:
        return self

    def add_(self, other: Any) -> _Lax:
        return self


def test_programs_are_shorter_or_longer_than_promised() -> None:
    """程序的长短越出约定，或四种反传没有都出现。"""
    programs = [generate(SEED, index) for index in range(60)]
    whole = [program for program in programs if program.outputs]
    assert all(10 <= len(program.steps) <= LONGEST + 8 for program in whole)
    assert {program.backward for program in whole} == {"loss", "outputs", "twice", "second"}


def test_a_difference_is_forgiven_as_rounding() -> None:
    """条件很好的程序，容差却宽到放过相对 1e-12 的差。"""
    program = _chain()
    with _broken("exp", 1 + 1e-12):
        found = compare(tinygrad_llm, program)
    assert found is not None
    assert found.kind == "values"


def test_the_command_hides_its_seed_or_its_figures() -> None:
    """命令没有打印种子与数字，或接受了不合理的参数。"""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        main(Config(count=3, seed=SEED))
    assert f"seed {SEED}" in out.getvalue()
    assert "3 programs" in out.getvalue()
    assert "0 unexplained" in out.getvalue()
    with pytest.raises(UserError):
        Config(count=0)
