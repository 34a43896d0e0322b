"""对照两份 Jacobian，写成几行字：对，或者哪个元素、期望多少、得到多少、像哪一种错。

流入：``Subject``；流出：``Verdict``。孪生函数的对照也在这里。上一站：``jacobians.py``。
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinygrad_llm.common.errors import UserError
from tinygrad_llm.gradchecker.inputs import as_array
from tinygrad_llm.gradchecker.jacobians import BackwardError, Jacobians, first_gradient, first_line, jacobians
from tinygrad_llm.gradchecker.subject import Subject
from tinygrad_llm.ops.op import Array
from tinygrad_llm.testing.causes import Evidence, likely_cause

RTOL, ATOL = 1e-5, 1e-6
"""中心差分自己的误差约 1e-9；写错的导数通常差在第一位。"""
SECOND_RTOL, SECOND_ATOL = 1e-4, 1e-5
TWIN_RTOL, TWIN_ATOL = 1e-9, 1e-11
"""两个引擎都用 float64，只差求和的次序。"""


@dataclass(frozen=True)
class Verdict:
    """检查的结果。

    Attributes:
        is_right: 全部相符。
        lines: 给人看的几行。
        error: 解析的与数值的之间，最大的 ``|差| / max(1, |期望|)``。
        cause: 不符时最像的原因；相符则为空。
    """

    is_right: bool
    lines: tuple[str, ...]
    error: float
    cause: str = ""

    def __str__(self) -> str:
        return "\n".join(self.lines)


def check_derivatives(subject: Subject, *, twice: bool = False) -> Verdict:
    """对照一阶导；``twice`` 则对照二阶导。

    Raises:
        UserError: 函数在这些输入上检查不了。
    """
    try:
        checked = first_gradient(subject) if twice else subject
        found = jacobians(checked)
    except BackwardError as error:
        return _raised(subject, str(error))
    rtol, atol = (SECOND_RTOL, SECOND_ATOL) if twice else (RTOL, ATOL)
    worst: tuple[float, int, str] | None = None
    largest, count, at = 0.0, 0, (0, "")
    for o, output in enumerate(found.outputs):
        scale = atol * max(1.0, float(np.abs(output).max(initial=0.0)))
        for name, numeric in found.numeric[o].items():
            apart = np.abs(found.analytic[o][name] - numeric)
            excess = apart - (scale + rtol * np.abs(numeric))
            count += numeric.size
            relative = float((apart / np.maximum(1.0, np.abs(numeric))).max(initial=0.0))
            if not relative <= largest:
                largest, at = relative, (o, name)
            if numeric.size and not excess.max() <= 0 and (worst is None or not relative <= worst[0]):
                worst = (relative, o, name)
    if worst is None:
        shapes = ", ".join(f"{name} {values.shape}" for name, values in found.values.items())
        place = f" (output {at[0]} by {at[1]})" if at[1] else ""
        head = f"PASS {checked.name}: {count} derivatives, largest error {largest:.2g}{place}"
        lines = (head, f"  inputs    {shapes}: {subject.chosen.origin}", *_idle(found))
        return Verdict(True, lines, largest)
    return _failed(checked, found, worst[1], worst[2], rtol, atol)


def _idle(found: Jacobians) -> list[str]:
    """哪些变量对输出没有影响：对的，但多半不是用户要检查的。"""
    idle = [name for name, x in found.values.items() if x.size and not any(j[name].any() for j in found.numeric)]
    return [f"  note      no output depends on {', '.join(idle)} here"] if idle else []


def _failed(subject: Subject, found: Jacobians, o: int, name: str, rtol: float, atol: float) -> Verdict:
    """写出错得最厉害的一个元素。"""
    output, x = found.outputs[o], found.values[name]
    analytic, numeric = found.analytic[o][name], found.numeric[o][name]
    scale = atol * max(1.0, float(np.abs(output).max(initial=0.0)))
    apart = np.abs(analytic - numeric)
    wrong = ~(apart <= scale + rtol * np.abs(numeric))
    row, column = np.unravel_index(int(np.argmax(np.where(np.isnan(apart), np.inf, apart))), apart.shape)
    expected, got = float(numeric[row, column]), float(analytic[row, column])
    others = {n: j for n, j in found.numeric[o].items() if n != name and j.shape == numeric.shape}
    values = {**found.values, **({"the output": output} if len(found.outputs) == 1 else {f"output {o}": output})}
    evidence = Evidence(
        analytic, numeric, output.shape, x.shape, wrong, values=values, others=others, own=name
    )  # fmt: skip
    bend = float(found.one_sided[o][name][row, column])
    if abs(bend) > 1e-2 * max(1.0, abs(expected)) and abs(got - expected) <= abs(bend) * 0.5 * (1 + 1e-3):
        cause = "a kink: the slopes on its two sides differ; the function has no derivative here, try another --seed"
    else:
        cause = likely_cause(evidence)
    lines = (
        f"FAIL {subject.name}: {int(wrong.sum())} of {wrong.size} derivatives of output {o} by {name} are wrong",
        f"  element   output {o}{_at(int(row), output.shape)} by {name}{_at(int(column), x.shape)}, where {name} is "
        f"{x.reshape(-1)[column]:.6g}",
        f"  expected  {expected: .10g}   (central difference)",
        f"  got       {got: .10g}   (backward)",
        f"  ratio     {_ratio(got, expected)}",
        f"  likely    {cause}",
        *_also(found, o, name, rtol, atol),
        f"  inputs    {subject.chosen.origin}",
    )
    relative = float((apart / np.maximum(1.0, np.abs(numeric))).max())
    return Verdict(False, lines, relative, cause)


def _ratio(got: float, expected: float) -> str:
    return f"{got / expected: .6g}   (got / expected)" if abs(expected) > ATOL else " -   (expected is zero)"


def _at(index: int, shape: tuple[int, ...]) -> str:
    return str([int(n) for n in np.unravel_index(index, shape)]) if shape else ""


def _also(found: Jacobians, at: int, name: str, rtol: float, atol: float) -> list[str]:
    """别的哪些（输出，变量）也错了，一行。"""
    more = []
    for o, output in enumerate(found.outputs):
        scale = atol * max(1.0, float(np.abs(output).max(initial=0.0)))
        for other, numeric in found.numeric[o].items():
            wrong = ~(np.abs(found.analytic[o][other] - numeric) <= scale + rtol * np.abs(numeric))
            if wrong.any() and (o, other) != (at, name):
                more.append(f"output {o} by {other} ({int(wrong.sum())} of {wrong.size})")
    shown = ", ".join(more[:4]) + (f" and {len(more) - 4} more" if len(more) > 4 else "")
    return [f"  also      {shown}"] if more else []


def _raised(subject: Subject, message: str) -> Verdict:
    """反传自己报错；梯度形状不对时，从两个形状看出是少了转置还是少了求和。"""
    shapes = [
        tuple(int(n) for n in text.split(",") if n.strip()) for text in re.findall(r"[\[(]([\d, ]*)[\])]", message)
    ]
    cause = "the backward does not run on these inputs"
    if len(shapes) >= 2:
        got, wanted = shapes[-2:]
        if got != wanted and got == wanted[::-1]:
            cause = "transpose: the gradient has the axes of the input the other way round"
        elif len(got) > len(wanted) or (
            len(got) == len(wanted) and any(a > b for a, b in zip(got, wanted, strict=True))
        ):
            cause = "missing reduce: the gradient is larger than the input; sum it over the axes that were broadcast"
        elif got != wanted:
            cause = "the gradient has another shape than the input"
    lines = (
        f"FAIL {subject.name}: the backward raised an error",
        f"  got       {message}",
        f"  likely    {cause}",
        f"  inputs    {subject.chosen.origin}",
    )
    return Verdict(False, lines, float("inf"), cause)


def compare_twins(ours: Subject, theirs: Subject) -> Verdict:
    """两个引擎写的同一个函数：值相同，随机的上游梯度传回来的梯度也相同。

    Raises:
        UserError: 孪生函数报错，或输出的个数不同。
    """
    try:
        here, there = _both(ours), _both(theirs)
    except BackwardError as error:
        return _raised(ours, str(error))
    if len(here[0]) != len(there[0]):
        raise UserError(f"{ours.name} gives {len(here[0])} outputs, its twin {theirs.name} {len(there[0])}")
    pairs: list[tuple[str, Array, Array]] = [
        (f"output {o}", a, b) for o, (a, b) in enumerate(zip(here[0], there[0], strict=True))
    ]
    pairs += [(f"the gradient of {name}", a, there[1][name]) for name, a in here[1].items()]
    largest = 0.0
    for what, a, b in pairs:
        if a.shape != b.shape:
            lines = (f"FAIL {ours.name}: {what} has shape {a.shape}, in {theirs.m.__name__} {b.shape}",)
            return Verdict(False, lines, float("inf"), "another shape")
        apart = np.abs(a - b)
        if not (apart <= TWIN_ATOL + TWIN_RTOL * np.abs(b)).all():
            return _twin_failed(ours, theirs, what, a, b)
        largest = max(largest, float((apart / np.maximum(1.0, np.abs(b))).max(initial=0.0)))
    return Verdict(
        True, (f"  twin      {theirs.name} in {theirs.m.__name__}: values and gradients within {largest:.2g}",), largest
    )


def _twin_failed(ours: Subject, theirs: Subject, what: str, a: Array, b: Array) -> Verdict:
    apart = np.where(np.isnan(a - b), np.inf, np.abs(a - b))
    index = int(np.argmax(apart))
    expected, got = float(b.reshape(-1)[index]), float(a.reshape(-1)[index])
    wrong = int((apart > TWIN_ATOL + TWIN_RTOL * np.abs(b)).sum())
    lines = (
        f"FAIL {ours.name}: {wrong} of {a.size} numbers of {what} are not those of {theirs.name}",
        f"  element   {what}{_at(index, a.shape)}",
        f"  expected  {expected: .10g}   ({theirs.m.__name__})",
        f"  got       {got: .10g}   ({ours.m.__name__})",
        f"  ratio     {_ratio(got, expected)}",
        f"  inputs    {ours.chosen.origin}",
    )
    return Verdict(False, lines, float(apart.max()), "another function than its twin")


def _both(subject: Subject) -> tuple[list[Array], dict[str, Array]]:
    """输出的值，与固定的随机上游梯度传回来的梯度。"""
    m, rng = subject.m, np.random.default_rng(1)
    try:
        outputs = subject.run()
    except Exception as error:  # 用户的函数可以抛出任何异常
        raise UserError(
            f"{subject.name} in {m.__name__} raised {type(error).__name__}: {first_line(error)}",
            fix="the twin takes the same inputs in the same order",
        ) from None
    seeds = [m.tensor(rng.standard_normal(tuple(y.shape))).to(y.dtype) for y in outputs]
    pairs: list[tuple[Any, Any]] = [(y, v) for y, v in zip(outputs, seeds, strict=True) if y.requires_grad]
    gradients: tuple[Any, ...] = (None,) * len(subject.variables)
    if pairs:
        ys, vs = zip(*pairs, strict=True)
        try:
            gradients = m.autograd.grad(ys, list(subject.variables.values()), vs, allow_unused=True)
        except Exception as error:  # 用户写的 backward 可以抛出任何异常
            raise BackwardError(f"{type(error).__name__}: {first_line(error)}") from error
    leaves = zip(subject.variables.items(), gradients, strict=True)
    named = {name: np.zeros(tuple(leaf.shape)) if g is None else as_array(g) for (name, leaf), g in leaves}
    return [as_array(y) for y in outputs], named
