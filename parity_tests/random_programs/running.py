"""执行一个程序：给一个引擎，得到它的全部变量、梯度，或报错的地方。

流入：``Program`` 与引擎（``torch`` 或 ``tinygrad_llm``）；流出：``Outcome``。下一站：``judging.py``。
"""

from __future__ import annotations

import contextlib
import dataclasses
import operator
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from parity_tests.random_programs.program import Dtype, Leaf, Node, Program, Ref, Step, mapped
from parity_tests.strategies import Array
from parity_tests.tolerances import as_array

OPERATORS: dict[str, Callable[..., Any]] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv, "**": operator.pow,
    "@": operator.matmul, ">": operator.gt, "<": operator.lt, ">=": operator.ge, "==": operator.eq,
    "+=": operator.iadd, "-=": operator.isub, "*=": operator.imul, "/=": operator.itruediv, "[]": operator.getitem,
}  # fmt: skip


class Seen(NamedTuple):
    """一个张量看得见的一切。

    Attributes:
        values: 数值。
        dtype: dtype 的名字。
        facts: 是否求导、是否叶子。
    """

    values: Array
    dtype: str
    facts: tuple[Any, ...]


@dataclasses.dataclass
class Outcome:
    """跑完一遍的结果。

    Attributes:
        seen: 前向结束时的各个变量（``v3``）与反传之后的各个梯度（``v3.grad``）。
        failed_at: 报错的地方：步骤的编号写作 ``v7``，反传写作 ``backward``；没有报错时为空。
        error: 报出的异常。
    """

    seen: dict[str, Seen] = dataclasses.field(default_factory=dict)
    failed_at: str = ""
    error: Exception | None = None


def run(
    m: Any,
    program: Program,
    dtypes: dict[str, str] | None = None,
    jitter: np.random.Generator | None = None,
    unit: float = 0.0,
) -> Outcome:
    """在一个引擎上跑一遍。

    Args:
        m: ``torch`` 或 ``tinygrad_llm``。
        program: 程序。
        dtypes: 把哪些 dtype 换成哪些：同一个程序在另一种精度下再跑一遍。
        jitter: 给出时，每个不是整数的浮点叶子都乘上 ``1 ± 一个 ulp``。
        unit: 这个 ulp 至少多大。

    Returns:
        变量、梯度与报错。
    """

    def made(node: Node, values: dict[int, Any]) -> Any:
        if isinstance(node, Leaf):
            return leaf_tensor(m, node, dtypes or {}, jitter, unit)
        return perform(m, node, values, dtypes or {})

    return observed(m, program, made)


def observed(m: Any, program: Program, made: Callable[[Node, dict[int, Any]], Any]) -> Outcome:
    """逐个造出变量，反传，记下看得见的一切。

    Args:
        m: ``torch`` 或 ``tinygrad_llm``。
        program: 程序。
        made: ``(叶子或步骤, 已有的变量)`` → 变量。

    Returns:
        变量、梯度与报错。
    """
    outcome, values = Outcome(), dict[int, Any]()
    where = ""
    try:
        with quiet():
            for node in program.nodes:
                where = f"v{node.id}"
                values[node.id] = made(node, values)
            _observe(values, outcome)
            where = "backward"
            backward(m, program, values)
            _observe_gradients(values, outcome, inner=program.backward != "second")
    except Exception as error:  # 两个引擎报的错也要比较
        outcome.failed_at, outcome.error = where, error
    return outcome


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """不要警告，也不要 NumPy 的浮点警告：无穷与 NaN 由比较来管。"""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        yield


def leaf_tensor(
    m: Any, leaf: Leaf, dtypes: dict[str, str], jitter: np.random.Generator | None = None, unit: float = 0.0
) -> Any:
    """造一个叶子。"""
    name = dtypes.get(leaf.dtype, leaf.dtype)
    values = np.array(leaf.values, name)
    if jitter is not None and values.dtype.kind == "f":
        ulps = jitter.integers(-1, 2, values.shape) * max(unit, float(np.finfo(values.dtype).eps))
        values = np.where((values == np.round(values)), values, values * (1 + ulps)).astype(name)
    return m.tensor(values).requires_grad_(leaf.requires_grad)


def perform(m: Any, step: Step, values: dict[int, Any], dtypes: dict[str, str] | None = None) -> Any:
    """执行一步，返回它的结果。"""

    def resolve(one: Any) -> Any:
        if isinstance(one, Ref):
            return values[one.id]
        assert isinstance(one, Dtype)
        return getattr(m, (dtypes or {}).get(one.name, one.name))

    args = mapped(step.args, resolve)
    kwargs = {name: mapped(value, resolve) for name, value in step.kwargs}
    with m.no_grad() if step.no_grad else contextlib.nullcontext():
        if step.target in OPERATORS:
            return OPERATORS[step.target](*args)
        if step.target == "[]=":
            args[0][args[1]] = args[2]
            return args[0]
        if step.target.startswith("."):
            return getattr(args[0], step.target[1:])(*args[1:], **kwargs)
        return operator.attrgetter(step.target)(m)(*args, **kwargs)


def backward(m: Any, program: Program, values: dict[int, Any]) -> None:
    """反传；torch 拒绝了某一步的程序没有输出，也就不反传。"""
    if not program.outputs:
        return
    pairs = [(values[out], values[weight]) for out, weight in program.outputs]
    if program.backward == "outputs":
        m.autograd.backward([out for out, _ in pairs], [weight for _, weight in pairs])
        return
    loss = sum((out * weight).sum() for out, weight in pairs)
    if program.backward == "second":
        leaves = [values[leaf.id] for leaf in program.leaves if leaf.requires_grad]
        first = m.autograd.grad(loss, leaves, create_graph=True, allow_unused=True)
        loss = loss + sum((grad * grad).sum() for grad in first if grad is not None)
    if program.backward == "twice":
        loss.backward(retain_graph=True)
    loss.backward()


def _observe(values: dict[int, Any], outcome: Outcome) -> None:
    for id, value in values.items():
        if hasattr(value, "requires_grad"):
            facts = (value.requires_grad, value.is_leaf)
            outcome.seen[f"v{id}"] = Seen(np.array(as_array(value)), str(value.dtype).split(".")[-1], facts)


def _observe_gradients(values: dict[int, Any], outcome: Outcome, inner: bool) -> None:
    """叶子的梯度；``inner`` 时也看留下了梯度的中间结果（求二阶导时，它落在哪个节点上，两个引擎不全相同）。"""
    for id, value in values.items():
        if hasattr(value, "requires_grad") and (value.is_leaf or (inner and getattr(value, "retains_grad", False))):
            grad = value.grad
            if grad is None:
                outcome.seen[f"v{id}.grad"] = Seen(np.empty(0), "None", ())
            else:
                name = str(grad.dtype).split(".")[-1]
                outcome.seen[f"v{id}.grad"] = Seen(np.array(as_array(grad)), name, (bool(grad.requires_grad),))
