"""两份 Jacobian：反传的与中心差分的，对任何一个引擎都一样算。

流入：``Subject``；流出：每个输出对每个变量的 ``(输出元素数, 变量元素数)`` 数组。下一站：``report.py``。
差分只用前向的数，在 NumPy 里做：引擎的求导出了什么错，都不会连累它。
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tinygrad_llm.common.errors import UserError
from tinygrad_llm.gradchecker.inputs import as_array
from tinygrad_llm.gradchecker.subject import Subject
from tinygrad_llm.ops.op import Array

STEP = 1e-6
"""差分的步长，相对于 ``max(1, |x|)``：截断误差 ``h²`` 与舍入误差 ``ε/h`` 都在 1e-9 以下。"""
LIMIT = 20_000
"""输出与变量的元素总数的上限：每个元素要反传一次或前向两次。"""


@dataclass(frozen=True, eq=False)
class Jacobians:
    """一个函数在一处的导数。

    Attributes:
        values: 变量的名字到值。
        outputs: 各输出的值。
        analytic: ``[输出][变量名]``，反传的。
        numeric: ``[输出][变量名]``，中心差分的。
        one_sided: ``[输出][变量名]``，右边的斜率减左边的；光滑处约为 0，折点处就是斜率的跳跃。
    """

    values: dict[str, Array]
    outputs: list[Array]
    analytic: list[dict[str, Array]]
    numeric: list[dict[str, Array]]
    one_sided: list[dict[str, Array]]


class BackwardError(Exception):
    """反传自己报了错。"""


def jacobians(subject: Subject) -> Jacobians:
    """两份都算。

    Raises:
        UserError: 函数报错，输出里有 inf 或 nan，两次算出的不同，或者太大。
        BackwardError: 反传报错。
    """
    outputs = _checked(subject)
    sizes = {name: int(np.prod(leaf.shape)) for name, leaf in subject.variables.items()}
    total = sum(sizes.values()) + sum(y.size for y in outputs)
    if total > LIMIT:
        raise UserError(f"{subject.name} has {total} numbers in and out, at most {LIMIT}", fix="give smaller --shapes")
    numeric: list[dict[str, Array]] = [{} for _ in outputs]
    bends: list[dict[str, Array]] = [{} for _ in outputs]
    for name, leaf in subject.variables.items():
        for o, (slope, bend) in enumerate(_central(subject, leaf, outputs)):
            numeric[o][name], bends[o][name] = slope, bend
    values = {name: as_array(leaf) for name, leaf in subject.variables.items()}
    return Jacobians(values, outputs, _analytic(subject), numeric, bends)


def _checked(subject: Subject) -> list[Array]:
    """输出的值；先查函数算得成、算得稳。"""
    try:
        results = subject.run()
        first, again = [as_array(y) for y in results], _values(subject)
    except UserError:
        raise
    except Exception as error:  # 用户的函数可以抛出任何异常
        shapes = ", ".join(f"{name} {tuple(leaf.shape)}" for name, leaf in subject.variables.items())
        raise UserError(
            f"{subject.name} raised {type(error).__name__}: {first_line(error)}",
            where=f"inputs {shapes}",
            fix='give inputs that fit: --shapes "3,4 4,5", or define inputs() beside it',
        ) from None
    if not first:
        raise UserError(f"{subject.name} returns no floating tensor", fix="return what is to be differentiated")
    for o, y in enumerate(results):
        if str(y.dtype).rpartition(".")[2] != "float64":
            raise UserError(
                f"output {o} of {subject.name} is {y.dtype}; central differences need float64",
                fix="keep the dtype of the inputs, they are float64",
            )
    if any(not np.isfinite(y).all() for y in first):
        raise UserError(
            f"{subject.name} gives inf or nan on {subject.chosen.origin}", fix="choose another --range 0.5,2"
        )
    if any(a.shape != b.shape or (a != b).any() for a, b in zip(first, again, strict=True)):
        raise UserError(
            f"{subject.name} gives different outputs for the same inputs",
            fix="seed or turn off its randomness (dropout?)",
        )
    return first


def _values(subject: Subject) -> list[Array]:
    return [as_array(y) for y in subject.run()]


def _central(subject: Subject, leaf: Any, outputs: list[Array]) -> list[tuple[Array, Array]]:
    """对一个变量的各个元素前后各挪一小步：中心差分，与左右斜率之差。"""
    base = as_array(leaf).astype(np.float64)
    found = [(np.zeros((y.size, base.size)), np.zeros((y.size, base.size))) for y in outputs]
    for column in range(base.size):
        ends, places = [], []
        for side in (1.0, -1.0):
            moved = base.copy()
            moved.reshape(-1)[column] += side * STEP * max(1.0, abs(base.reshape(-1)[column]))
            places.append(moved.reshape(-1)[column])
            _put(subject, leaf, moved)
            ends.append(_values(subject))
        _put(subject, leaf, base)
        here = base.reshape(-1)[column]
        for (slope, bend), high, low, middle in zip(found, *ends, outputs, strict=True):
            h, l, c = high.reshape(-1), low.reshape(-1), middle.reshape(-1)
            slope[:, column] = (h - l) / (places[0] - places[1])
            bend[:, column] = (h - c) / (places[0] - here) - (c - l) / (here - places[1])
    return found


def _put(subject: Subject, leaf: Any, array: Array) -> None:
    with subject.m.no_grad():
        leaf.copy_(subject.m.tensor(array))


def _analytic(subject: Subject) -> list[dict[str, Array]]:
    """逐个输出元素反传。"""
    m, leaves = subject.m, list(subject.variables.values())
    found = []
    for y in subject.run():
        size = int(np.prod(tuple(y.shape)))
        rows = {name: np.zeros((size, int(np.prod(tuple(leaf.shape))))) for name, leaf in subject.variables.items()}
        for row in range(size if y.requires_grad else 0):
            seed = np.zeros(tuple(y.shape))
            seed.reshape(-1)[row] = 1
            try:
                gradients = m.autograd.grad(y, leaves, m.tensor(seed).to(y.dtype), retain_graph=True, allow_unused=True)
            except Exception as error:  # 用户写的 backward 可以抛出任何异常
                raise BackwardError(f"{type(error).__name__}: {first_line(error)}") from error
            for name, gradient in zip(rows, gradients, strict=True):
                if gradient is not None:
                    rows[name][row] = as_array(gradient).reshape(-1)
        found.append(rows)
    return found


def first_gradient(subject: Subject) -> Subject:
    """把「``subject`` 的梯度」当作函数：变量里添上各输出的梯度，供检查二阶导。"""
    m = subject.m
    rng = np.random.default_rng(0)
    seeds = {
        f"grad of output {o}": m.tensor(rng.standard_normal(y.shape), requires_grad=True)
        for o, y in enumerate(_checked(subject))
    }
    leaves = list(subject.variables.values())

    def run() -> list[Any]:
        pairs = [(y, v) for y, v in zip(subject.run(), seeds.values(), strict=True) if y.requires_grad]
        if not pairs:
            return []
        ys, vs = zip(*pairs, strict=True)
        gradients = m.autograd.grad(ys, leaves, vs, create_graph=True, allow_unused=True)
        return [g for g in gradients if g is not None]

    return replace(subject, name=f"the gradient of {subject.name}", variables={**subject.variables, **seeds}, run=run)


def first_line(error: BaseException) -> str:
    """异常的第一行。"""
    return str(error).strip().partition("\n")[0]
