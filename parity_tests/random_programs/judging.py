"""两个引擎的结果一样吗：容差由这个程序自己的舍入误差推出，不是猜的。

流入：``Program``；流出：``Difference``，没有不同时为 None。

容差的来历：float64 的程序用 float32 再跑，差除以 float32 的 ulp，就是「误差等于几个 ulp」：
它含着每一步的舍入，也含着程序本身的条件数；float64 的误差便是同样多个 float64 的 ulp。
混着 float32 的程序，
还用 float64 再跑，两遍之差就是误差。一个点上的误差也许碰巧很小，所以超出时再换上附近的许多点，各跑一遍，取最大的。
于是容差等于 ``SAFETY · ulp · (量级 + 误差的 ulp 数)``：两个引擎各有一份误差，求和次序与数学库各差几个 ulp。

仍超出容差的，再把叶子挪动一个 ulp，或每一步都带上一个 ulp 的噪声（见 ``noise.py``），torch 自己跑许多遍：
结果自己就散开这么多（例如 tanh 饱和，或方差恰为 0），这个不同便有了解释，记作 ``rounding``；否则就是缺陷。

另有几种有解释的，各自单独计数。``zero``：两边都把每一步的 -0 换成 +0 之后，再没有不同：有的算子不保 0 的符号。
``nan``：求二阶导时 torch 给 NaN，这里是有限的数，别处都相同，程序里又有 torch 在 0 处写不出二阶导的函数
（``UNDEFINED_TWICE``）。
``unread``：底下的张量后来才上了图，torch 的旧视图要等有人读过它的 ``grad_fn`` 才知道，此前就地写它被当作写叶子，
遭到拒绝；读过一遍就不拒绝了。``saved``：就地改写了反传要用的数，而两个引擎留下的不是同样几个张量（一边留输入，一边留输出），于是一边拒绝、另一边照算。
拒绝总是安全的：谁也不会拿改写过的数去算。记作 ``saved``，单独计数。
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch

from parity_tests.random_programs.noise import run_with_noise
from parity_tests.random_programs.program import Leaf, Node, Program, Step
from parity_tests.random_programs.running import Outcome, Seen, leaf_tensor, observed, perform, run
from parity_tests.strategies import Array

WRITTEN = "has been modified by an inplace operation"
SAFETY = 16
SINGLE, DOUBLE = float(np.finfo(np.float32).eps), float(np.finfo(np.float64).eps)
JITTERED_RUNS = 12
NEARBY_RUNS = 6
NEARBY = 2.0**-8
SPREAD = 4


UNREAD = "a leaf Variable that requires grad is being used in an in-place operation"
EXPLAINED = ("rounding", "saved", "unread", "zero", "nan")
UNDEFINED_TWICE = {".sinc", ".norm", "nn.functional.normalize"}


@dataclasses.dataclass(frozen=True)
class Difference:
    """一处不同。

    Attributes:
        kind: ``error``、``dtype``、``shape``、``facts``、``values``；有了解释的见 ``EXPLAINED``。
        where: 变量或梯度的名字，或报错的地方。
        message: 两边各是什么。
    """

    kind: str
    where: str
    message: str


def compare(m: Any, program: Program) -> Difference | None:
    """在 torch 与 ``m`` 上各跑一遍，找出第一处不同。"""
    theirs, ours = run(torch, program), run(m, program)
    if theirs.failed_at or ours.failed_at:
        return _errors(program, theirs, ours)
    return _metadata(program, theirs, ours) or _values(m, program, theirs, ours)


def _errors(program: Program, theirs: Outcome, ours: Outcome) -> Difference | None:
    same_type = theirs.error is not None and isinstance(ours.error, _builtin(theirs.error))
    if theirs.failed_at == ours.failed_at and same_type:
        return None
    where = ours.failed_at or theirs.failed_at
    refusal = ours.error or theirs.error
    if UNREAD in str(theirs.error):
        read = _once_read(program)
        if UNREAD not in str(read.error):
            found = _errors(program, read, ours) if read.error or ours.error else None
            return found or Difference("unread", where, f"torch {_told(theirs)}; ours {_told(ours)}")
    if where == "backward" and not (ours.error and theirs.error) and WRITTEN in str(refusal):
        return Difference("saved", where, f"torch {_told(theirs)}; ours {_told(ours)}")
    return Difference("error", where, f"torch {_told(theirs)}; ours {_told(ours)}")


def _once_read(program: Program) -> Outcome:
    """torch 的结果，每一步之前先读一遍各个变量的 ``grad_fn``。"""

    def made(node: Node, values: dict[int, Any]) -> Any:
        for value in values.values():
            getattr(value, "grad_fn", None)
        return leaf_tensor(torch, node, {}) if isinstance(node, Leaf) else perform(torch, node, values)

    return observed(torch, program, made)


def _builtin(error: Exception) -> type[BaseException]:
    """异常的类型里，第一个 Python 自带的：两个引擎自己的子类不必同名。"""
    return next(kind for kind in type(error).__mro__ if kind.__module__ == "builtins")


def _told(outcome: Outcome) -> str:
    if outcome.error is None:
        return "ran"
    return f"raised {type(outcome.error).__name__} at {outcome.failed_at}: {str(outcome.error).splitlines()[0][:200]}"


def _metadata(program: Program, theirs: Outcome, ours: Outcome) -> Difference | None:
    for name, one in theirs.seen.items():
        other = ours.seen.get(name)
        if other is None:
            return Difference("facts", name, "torch has it; ours does not")
        if program.backward == "second" and _both_nothing(one, other):
            continue
        pairs = (
            ("dtype", one.dtype, other.dtype), ("shape", one.values.shape, other.values.shape),
            ("facts", one.facts, other.facts),
        )  # fmt: skip
        for kind, a, b in pairs:
            if a != b:
                return Difference(kind, name, f"torch {a}; ours {b}")
    extra = ours.seen.keys() - theirs.seen.keys()
    return Difference("facts", min(extra), "ours has it; torch does not") if extra else None


def _both_nothing(one: Seen, other: Seen) -> bool:
    """恒为 0 的二阶导，torch 有的公式给一个零张量，有的什么也不给；意思一样。"""
    return "None" in (one.dtype, other.dtype) and not one.values.any() and not other.values.any()


def _values(m: Any, program: Program, theirs: Outcome, ours: Outcome) -> Difference | None:
    both = [name for name in theirs.seen if theirs.seen[name].dtype == ours.seen[name].dtype]
    apart = [name for name in both if not _identical(theirs.seen[name].values, ours.seen[name].values)]
    if not apart:
        return None
    bounds = _Bounds(program, theirs)
    for name in apart:  # 按前向的次序：先错的先报
        a, b = theirs.seen[name], ours.seen[name]
        error, bound = _distance(a.values, b.values), bounds.of(name, a)
        if error > bound and len(bounds.runs) == 1:
            bounds.widen()
            bound = bounds.of(name, a)
        if error <= bound:
            continue
        if _is_undefined_twice(program, a.values, b.values, bound):
            return Difference("nan", name, "the second derivative is NaN in torch only")
        spread = _spread(program, theirs, name, error)
        kind = "rounding" if error <= SPREAD * spread else "zero" if _only_signs_of_zero(m, program) else "values"
        message = (
            f"largest error {error:.3g}, bound {bound:.3g}, spread {spread:.3g}\ntorch {a.values}\nours  {b.values}"
        )
        return Difference(kind, name, message)
    return None


def _identical(a: Array, b: Array) -> bool:
    return np.array_equal(a, b, equal_nan=a.dtype.kind == "f")


def _distance(a: Array, b: Array) -> float:
    """最大的差；一边是 NaN 或无穷而另一边不是，算无穷远。"""
    if a.dtype.kind != "f":
        return 0.0 if np.array_equal(a, b) else np.inf
    with np.errstate(all="ignore"):
        apart = np.abs(a.astype(np.float64) - b.astype(np.float64))
    apart = np.where((a == b) | (np.isnan(a) & np.isnan(b)), 0.0, apart)
    return float(np.where(np.isnan(apart), np.inf, apart).max(initial=0.0))


class _Bounds:
    """各个变量的容差；另一种精度的那几遍只在用得着时才跑。"""

    def __init__(self, program: Program, theirs: Outcome) -> None:
        self.program = program
        self.runs = [_Precisions(program, theirs)]
        finite = [np.abs(one.values[np.isfinite(one.values)]) for one in theirs.seen.values() if one.dtype != "None"]
        self.largest = max((float(values.max(initial=0)) for values in finite), default=0.0)

    def widen(self) -> None:
        """换上附近的许多点，各种精度各跑一遍。"""
        near = (nearby(self.program, seed) for seed in range(NEARBY_RUNS))
        self.runs += [_Precisions(one, run(torch, one)) for one in near]

    def of(self, name: str, seen: Seen) -> float:
        """一个变量的容差。"""
        if seen.values.dtype.kind != "f":
            return 0.0
        scale = float(np.abs(np.where(np.isfinite(seen.values), seen.values, 0)).max(initial=0.0))
        unit = SINGLE if seen.dtype == "float32" else DOUBLE
        floor = (unit * self.largest) ** 2  # 相等的数的方差本该是 0，算出来是舍入误差的平方
        return SAFETY * (unit * scale + floor + max(one.error(name) for one in self.runs))


class _Precisions:
    """同一个程序在三种精度下：原样、全用 float64、全用 float32。"""

    def __init__(self, program: Program, plain: Outcome) -> None:
        mixed = any(seen.dtype == "float32" for seen in plain.seen.values())
        self.plain = plain
        self.high = run(torch, program, {"float32": "float64"}) if mixed else plain
        self.low = run(torch, program, {"float64": "float32"})

    def error(self, name: str) -> float:
        """一个变量的舍入误差：float32 的部分直接量，float64 的部分由 float32 折算。"""
        return self._apart(self.plain, self.high, name) + self._apart(self.high, self.low, name) / SINGLE * DOUBLE

    @staticmethod
    def _apart(one: Outcome, other: Outcome, name: str) -> float:
        a, b = one.seen.get(name), other.seen.get(name)
        if a is None or b is None or a.values.shape != b.values.shape:
            return 0.0
        apart = _distance(a.values, b.values)
        return apart if np.isfinite(apart) else 0.0


def nearby(program: Program, seed: int) -> Program:
    """叶子都挪到附近、float32 也恰好装得下的数上：比的是途中的舍入，不是输入的舍入。

    一半的点还往 0 靠近一些：``tanh`` 一类在 float32 里先饱和，饱和之后没有误差可量。
    """
    data = np.random.default_rng(seed)

    shrunk = data.uniform(0.5, 1) if seed % 2 else 1.0

    def moved(node: Node) -> Node:
        if isinstance(node, Step) or node.values.dtype.kind != "f":
            return node
        values = shrunk * node.values * (1 + data.uniform(-NEARBY, NEARBY, node.values.shape))
        return dataclasses.replace(node, values=values.astype(np.float32).astype(np.float64))

    return dataclasses.replace(program, nodes=tuple(moved(node) for node in program.nodes))


def _spread(program: Program, theirs: Outcome, name: str, error: float) -> float:
    """叶子挪动一个 ulp，或每一步都带上噪声，torch 自己的结果散开多少；多跑几遍，直到解释得了 ``error``。"""
    unit = SINGLE if any(seen.dtype == "float32" for seen in theirs.seen.values()) else 0.0
    base, widest = theirs.seen[name].values, 0.0
    for i in range(JITTERED_RUNS):
        for one in (
            run(torch, program, None, np.random.default_rng(i), unit),
            run_with_noise(program, np.random.default_rng(i)),
        ):
            if name in one.seen and one.seen[name].values.shape == base.shape:
                apart = _distance(one.seen[name].values, base)
                widest = max(widest, apart if np.isfinite(apart) or np.isinf(error) else 0.0)
        if error <= SPREAD * widest:
            break
    return widest


def _is_undefined_twice(program: Program, a: Array, b: Array, bound: float) -> bool:
    """二阶导在 torch 里是 NaN、这里是有限的数，其余的数都在容差之内。"""
    if program.backward != "second" or UNDEFINED_TWICE.isdisjoint(step.target for step in program.steps):
        return False
    lost = np.isnan(a)
    return bool(lost.any() and np.isfinite(b[lost]).all()) and _distance(a[~lost], b[~lost]) <= bound


def _only_signs_of_zero(m: Any, program: Program) -> bool:
    """两边都把每一步的 -0 换成 +0，还有没有不同。"""
    theirs, ours = (_without_signs(one, program) for one in (torch, m))
    if theirs.failed_at or ours.failed_at:
        return False
    bounds = _Bounds(program, theirs)
    both = [name for name in theirs.seen if name in ours.seen]
    return all(
        _distance(theirs.seen[name].values, ours.seen[name].values) <= bounds.of(name, theirs.seen[name])
        for name in both
    )


def _without_signs(m: Any, program: Program) -> Outcome:
    def made(node: Node, values: dict[int, Any]) -> Any:
        found = leaf_tensor(m, node, {}) if isinstance(node, Leaf) else perform(m, node, values)
        for one in found if isinstance(found, tuple) else (found,):
            if hasattr(one, "requires_grad") and one.dtype.is_floating_point and not _is_spread(one):
                one.data.add_(0.0)
        return found

    return observed(m, program, made)


def _is_spread(value: Any) -> bool:
    return any(size > 1 and not step for size, step in zip(value.shape, value.stride(), strict=True))
