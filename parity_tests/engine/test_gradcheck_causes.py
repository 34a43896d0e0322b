"""写错的导数，说得出像哪一种错：每一种错都真的写进一个 ``backward``，两个引擎上都认得出。

流入：``forward`` 与写错的 ``backward``；流出：报告里的原因。认原因的是 ``tinygrad_llm/testing/causes.py``。
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

import tinygrad_llm as tg
from parity_tests.engine.function_cases import new_function
from parity_tests.engine.twins import ENGINES
from tinygrad_llm.gradchecker.report import Verdict, check_derivatives
from tinygrad_llm.gradchecker.subject import Target, subject

Forward = Callable[..., Any]


class Mistake(NamedTuple):
    """一处错误。

    Attributes:
        shapes: 各输入的形状。
        forward: 前向，只用张量的运算；输入都存下，供 ``backward`` 用。
        wrong: 写错的反传 ``(g, y, *输入) → 各输入的梯度``。
        right: 写对的反传，同样的参数：它必须通过。
        cause: 报告里应有的话。
    """

    shapes: str
    forward: Forward
    wrong: Forward
    right: Forward
    cause: str


def _square(x: Any) -> Any:
    return x * x


def _matmul(a: Any, b: Any) -> Any:
    return a @ b


def _softmax(x: Any) -> Any:
    e = x.exp()
    return e / e.sum(-1, keepdim=True)


def _softmax_right(g: Any, y: Any, x: Any) -> Any:
    return y * (g - (g * y).sum(-1, keepdim=True))


def _matmul_right(g: Any, y: Any, a: Any, b: Any) -> Any:
    return g @ b.T, a.T @ g


def _square_right(g: Any, y: Any, x: Any) -> Any:
    return g * 2 * x


def _mean_right(g: Any, y: Any, x: Any) -> Any:
    return (g / 5).reshape(-1, 1).expand(3, 5)


def _bias_right(g: Any, y: Any, x: Any, b: Any) -> Any:
    return g, g.sum(0)


def _abs_right(g: Any, y: Any, x: Any) -> Any:
    return g * x.sign()


MISTAKES: dict[str, Mistake] = {
    "sign": Mistake("3,4", _square, lambda g, y, x: -2 * x * g, _square_right, "sign: every entry"),
    "half": Mistake("3,4", _square, lambda g, y, x: x * g, _square_right, "a factor 2 is missing"),
    "twice": Mistake("3,4", _square, lambda g, y, x: 4 * x * g, _square_right, "factor: twice too large"),
    "minus half": Mistake("4", _square, lambda g, y, x: -x * g, _square_right, "the sign is wrong too"),
    "odd factor": Mistake("3,4", _square, lambda g, y, x: 2.2 * x * g, _square_right, "1.1 times what"),
    "mean without 1/n": Mistake(
        "3,5", lambda x: x.mean(1), lambda g, y, x: g.reshape(-1, 1).expand(3, 5), _mean_right, "n = 5 = size of axis 1"
    ),
    "sum as a mean": Mistake(
        "3,5",
        lambda x: x.sum(1),
        lambda g, y, x: (g / 5).reshape(-1, 1).expand(3, 5),
        lambda g, y, x: g.reshape(-1, 1).expand(3, 5),
        "1/n of what it should be, n = 5",
    ),
    "operand not transposed": Mistake(
        "3,3 3,3", _matmul, lambda g, y, a, b: (g @ b, a.T @ g), _matmul_right, "transpose: an operand"
    ),
    "first operand not transposed": Mistake(
        "3,3 3,3", _matmul, lambda g, y, a, b: (g @ b.T, a @ g), _matmul_right, "transpose: an operand"
    ),
    "result not transposed": Mistake(
        "3,3 3,3", _matmul, lambda g, y, a, b: (g @ b.T, (a.T @ g).T), _matmul_right, "axes 0 and 1 of the gradient"
    ),
    "upstream transposed": Mistake("3,3", _square, lambda g, y, x: g.T * 2 * x, _square_right, "transpose"),
    "reshape for transpose": Mistake(
        "2,5", lambda x: x.T * 3, lambda g, y, x: 3 * g.reshape(2, 5), lambda g, y, x: 3 * g.T, "reshaped"
    ),
    "transposed shape": Mistake(
        "2,5", lambda x: x.T * 3, lambda g, y, x: 3 * g, lambda g, y, x: 3 * g.T, "transpose: the gradient has the axes"
    ),
    "sum over the wrong axis": Mistake(
        "4,4 4", lambda x, b: x + b, lambda g, y, x, b: (g, g.sum(1)), _bias_right, "wrong axis"
    ),
    "one row for the sum": Mistake(
        "3,4 4", lambda x, b: x + b, lambda g, y, x, b: (g, g[0]), _bias_right, "missing reduce over axis 0"
    ),
    "no sum in softmax": Mistake(
        "2,4", _softmax, lambda g, y, x: y * (g - g * y), _softmax_right, "a sum over axis 1 was forgotten"
    ),
    "no reduce at all": Mistake(
        "3,4 3", lambda x, b: x * b.reshape(3, 1), lambda g, y, x, b: (g * b.reshape(3, 1), g * x),
        lambda g, y, x, b: (g * b.reshape(3, 1), (g * x).sum(1)), "missing reduce: the gradient is larger",
    ),
    "one's own operand": Mistake(
        "3,4 3,4", lambda a, b: a * b, lambda g, y, a, b: (g * a, g * a), lambda g, y, a, b: (g * b, g * a),
        "gradient of b",
    ),
    "gradients swapped": Mistake(
        "3,4 3,4", lambda a, b: a * b.exp(), lambda g, y, a, b: (g * a * b.exp(), g * b.exp()),
        lambda g, y, a, b: (g * b.exp(), g * a * b.exp()), "are two results of backward swapped?",
    ),
    "input for output": Mistake(
        "3,4", lambda x: x.exp(), lambda g, y, x: g * x, lambda g, y, x: g * y,
        "multiplies by x where the output belongs",
    ),
    "chain rule": Mistake(
        "3,4", lambda x: x * x * x, lambda g, y, x: 3 * x * g, lambda g, y, x: 3 * x * x * g, "chain rule"
    ),
    "chain rule twice": Mistake(
        "3,4", lambda x: x.exp(), lambda g, y, x: g * y * y, lambda g, y, x: g * y, "one factor the output too many"
    ),
    "constant added": Mistake(
        "3,4", lambda x: x.sin(), lambda g, y, x: g * (x.cos() + 0.5), lambda g, y, x: g * x.cos(), "+0.5 off"
    ),
    "zero": Mistake("3,4", _square, lambda g, y, x: 0 * g, _square_right, "zero gradient: the input is not"),
    "none": Mistake("3,4", _square, lambda g, y, x: None, _square_right, "zero gradient: the input is not"),
    "upstream unused": Mistake("4", _square, lambda g, y, x: 2 * x, _square_right, "upstream gradient unused"),
    "one place off": Mistake(
        "5", _square, lambda g, y, x: (2 * g * x).roll(1), _square_right, "one place off along axis 0"
    ),
    "wrong where negative": Mistake(
        "3,4", lambda x: x.abs(), lambda g, y, x: g * (x == x), _abs_right, "sign where x < 0"
    ),
    "zero where positive": Mistake(
        "3,4", lambda x: x.abs(), lambda g, y, x: -g * (x < 0), _abs_right, "zero gradient where x > 0"
    ),
    "a dropped term": Mistake(
        "3,4", lambda x: x * x + x.sin(), lambda g, y, x: 2 * x * g, lambda g, y, x: (2 * x + x.cos()) * g,
        "no simple pattern (a term missing?)",
    ),
    "nan": Mistake("3,4", _square, lambda g, y, x: g * (x * 0).log() * 0, _square_right, "gives inf or nan"),
}  # fmt: skip


def _verdict(m: Any, mistake: Mistake, backward: Forward) -> Verdict:
    """一个 ``Function``，它的反传是 ``backward``。"""

    def forward(ctx: Any, *inputs: Any) -> Any:
        ctx.save_for_backward(*inputs)
        ctx.y = mistake.forward(*inputs)
        return ctx.y.clone()

    names = ("x",) if mistake.shapes.count(" ") == 0 else ("a", "b")
    function = new_function(m, forward, lambda ctx, g: backward(g, ctx.y, *ctx.saved_tensors))
    calls: dict[tuple[str, ...], Any] = {
        ("x",): lambda x: function.apply(x),
        ("a", "b"): lambda a, b: function.apply(a, b),
    }
    return check_derivatives(subject(Target(calls[names], "case", {}), shapes=mistake.shapes))


CASES = [pytest.param(m, one, id=f"{m.__name__}-{name}") for m in ENGINES for name, one in MISTAKES.items()]


@pytest.mark.parametrize(("m", "mistake"), CASES)
def test_a_mistake_is_not_named(m: Any, mistake: Mistake) -> None:
    """写错的放行了，或原因说错；写对的却报错。"""
    assert str(_verdict(m, mistake, mistake.right)).startswith("PASS")
    found = _verdict(m, mistake, mistake.wrong)
    assert not found.is_right
    assert mistake.cause in found.cause, str(found)
    assert len(found.lines) <= 12
    assert all(len(line) <= 160 for line in found.lines), str(found)


def test_gradcheck_itself_names_no_cause() -> None:
    """``tinygrad_llm.gradcheck`` 的消息里没有原因。"""
    x = tg.tensor(np.linspace(0.5, 2.0, 6).reshape(2, 3), requires_grad=True)
    with pytest.raises(RuntimeError, match=r"likely cause: factor: half"):
        tg.gradcheck(lambda t: t * t.detach(), x)


def test_a_kink_is_called_a_mistake() -> None:
    """折点处没有导数，却怪到反传头上。"""
    target = Target(lambda x: x.relu(), "case", {})
    found = check_derivatives(subject(target, values=[np.array([1.0, 0.0])]))
    assert "a kink" in found.cause
