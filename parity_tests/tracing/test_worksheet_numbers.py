"""读数：小数、分数与算式照写的位数读，别的一概读不懂，绝不当作代码执行。"""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_llm.tracing.worksheet.expression import UnreadableError, read_answer


@pytest.mark.parametrize(
    ("text", "value", "unit"),
    [
        ("0.0852", 0.0852, 1e-4),
        ("-.5", -0.5, 0.1),
        ("3", 3.0, 1.0),
        ("1.20e-3", 1.2e-3, 1e-5),
        ("-1/6", -1 / 6, 0.0),
        ("2*3", 6.0, 0.0),
        ("exp(-1)", math.exp(-1), 0.0),
        ("2^3 - sqrt(4)", 6.0, 0.0),
        ("ln(2)/2", math.log(2) / 2, 0.0),
        ("σ(0)", 0.5, 0.0),
        ("max(1, -2)", 1.0, 0.0),
        ("-inf", -math.inf, 0.0),
        ("−∞", -math.inf, 0.0),
        ("（1\uff0b\uff12）×0.5", 1.5, 0.3),
        ("`0.25`", 0.25, 0.01),
        ("**0.25**", 0.25, 0.01),
        ("$= 0.25$", 0.25, 0.01),
        ("3²", 9.0, 0.0),
    ],
)
def test_a_number_is_read_with_the_digits_it_was_written_with(text: str, value: float, unit: float) -> None:
    """值与写到的那一位；整数写成的算式没有舍入。"""
    answer = read_answer(text)
    assert answer.values.shape == ()
    assert answer.values.item() == pytest.approx(value, rel=1e-12)
    assert answer.unit.item() == pytest.approx(unit, rel=1e-6)
    assert not answer.is_blank


def test_an_expression_is_as_exact_as_the_numbers_in_it() -> None:
    """算式里的小数各差半个末位，结果差多少，就是它的位数。"""
    assert read_answer("0.416*(1-0.416)").unit.item() == pytest.approx(0.001 * (0.416 + 0.584), rel=0.01)


def test_a_list_keeps_its_shape_and_its_blanks() -> None:
    """矩阵写成列表；还没填的位置各自空着。"""
    answer = read_answer("[[1, _], [0.25, max(1/3, 0)]]")
    assert answer.values.shape == (2, 2)
    np.testing.assert_array_equal(answer.blank, [[False, True], [False, False]])
    assert answer.values[1, 1] == pytest.approx(1 / 3)
    for text in ("", "____", "`[_, _]`", "?", "\\_\\_"):
        assert read_answer(text).is_blank


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')",
        "(1).__class__",
        "x",
        "1 if 1 else 2",
        "[1, [2]]",
        "[1, 2",
        "1]",
        "1/0",
        "9**9**9**9",
        "sqrt(-1)",
        "(-1)**0.5",
        "exp(1000)",
        "exp(x=1)",
        "'a'*3",
        "1j",
        "lambda: 1",
        "[" * 30 + "]" * 30,
        "(" * 5000 + "1" + ")" * 5000,
        "1+" * 150 + "1",
        "7" * 30_000,
    ],
)
def test_anything_else_is_refused_in_one_line(text: str) -> None:
    """不是数的，一句话说读不懂；多深多长都不会卡住或崩溃。"""
    with pytest.raises(UnreadableError) as caught:
        read_answer(text)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 260


@given(st.text(max_size=60))
def test_no_text_breaks_the_reader(text: str) -> None:
    """任意的文字：要么读成数，要么说读不懂。"""
    try:
        answer = read_answer(text)
    except UnreadableError:
        return
    assert answer.values.shape == answer.unit.shape == answer.blank.shape


@given(st.text(alphabet="0123456789.+-*/^()[], _explogsqrt", max_size=40))
def test_no_arithmetic_breaks_the_reader(text: str) -> None:
    """像算式的文字也一样。"""
    test_no_text_breaks_the_reader.hypothesis.inner_test(text)  # type: ignore[attr-defined]


@given(st.floats(allow_nan=False, allow_infinity=False, width=32), st.integers(3, 9))
def test_a_printed_number_reads_back_within_its_last_digit(value: float, digits: int) -> None:
    """写出几位，读回来就差在那一位之内。"""
    text = f"{value:.{digits}g}"
    answer = read_answer(text)
    assert abs(answer.values.item() - value) <= 0.5000001 * answer.unit.item()
