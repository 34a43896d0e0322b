"""inf、NaN 与上溢：NumPy 会警告，torch 不会；从这里看出去也不会，不论用户怎样设置警告。"""

from __future__ import annotations

import subprocess
import sys
import warnings
from collections.abc import Callable
from typing import Any

import pytest

import tinygrad_llm as tg
from parity_tests.engine.twins import same, table

BIG, ZERO = [float("inf"), 1e38, float("nan"), -1e38], [0.0, 1.0, 2.0, 1e38]

NOISY: dict[str, Callable[[Any, Any, Any], Any]] = {
    "mul": lambda m, a, b: (a * b, a * a, a * 1e30),
    "add and sub": lambda m, a, b: (a + -a, a - a, b + b + b + b, b * 3 + b),
    "div": lambda m, a, b: (a / b, b / a, 1.0 / b),
    "pow": lambda m, a, b: (a**2, a**3, b**0.5, a**b),
    "products": lambda m, a, b: (a @ b, m.outer(a, b), a[None] @ b[:, None], m.nn.functional.linear(a[None], b[None])),
    "reduce": lambda m, a, b: (a.sum(), (b * 2).sum(), (a - a).mean(), a.prod(), a.cumsum(0)),
    "cast": lambda m, a, b: (b.half(), (b.double() * 1e300).float()),
    "softmax": lambda m, a, b: (a.softmax(0), (a - a).logsumexp(0)),
    "mask": lambda m, a, b: (1.0 - b.bool().to(a.dtype)) * m.finfo(a.dtype).min + b * -4.0,
    "loss": lambda m, a, b: m.nn.functional.binary_cross_entropy_with_logits(a, m.ones(4, dtype=a.dtype)),
}


@pytest.mark.parametrize("program", table(NOISY))
def test_overflow_is_silent(program: Callable[[Any, Any, Any], Any]) -> None:
    """警告当作错误时，一次上溢就打断了训练；或者值与 torch 不同。"""

    def run(m: Any) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return program(m, m.tensor(BIG, dtype=m.float32), m.tensor(ZERO, dtype=m.float32))

    same(run, "float32")


def test_nothing_is_printed() -> None:
    """没有改过警告设置的脚本，标准错误里多出 NumPy 的警告。"""
    code = "import tinygrad_llm as t; x = t.tensor([float('inf'), 3e38]); x * 0, x - x, x * x, x @ x, x / 0"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr == ""
    assert tg.tensor(float("inf")).isinf()
