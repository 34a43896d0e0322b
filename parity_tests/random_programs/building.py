"""一边在 torch 上执行，一边把程序写下来：形状、定义域与能不能就地写，都以真的结果为准。

流入：随机数；流出：``Builder``，各种提议（``proposals_*.py``）用它挑变量、加步骤。下一站：``generating.py``。
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from parity_tests.random_programs.program import Leaf, Program, Ref, Step, mapped, references, used_by
from parity_tests.random_programs.running import leaf_tensor, perform, quiet

LARGEST_VALUE = 1e3
LARGEST_SIZE = 160
MOST_DIMS = 4


class RejectedError(Exception):
    """这一步不要：torch 不接受，或者数值太大。"""


class FinishedError(Exception):
    """torch 拒绝的一步留在程序里，程序到此为止：另一个引擎也必须拒绝它。"""


class Builder:
    """正在写的程序。

    Attributes:
        rng: 一切选择的来源。
        nodes: 写下的叶子与步骤。
        values: 变量在 torch 里的值。
        low: 浮点叶子是 float32 的概率。
        keep_refused: torch 拒绝的一步以这个概率留下，作为程序的最后一步。
        inplace: 用就地写入的概率。
        pool: 可以挑的变量的编号。
    """

    def __init__(self, rng: random.Random, low: float, keep_refused: float, inplace: float) -> None:
        self.rng, self.low, self.keep_refused, self.inplace = rng, low, keep_refused, inplace
        self.data = np.random.default_rng(rng.getrandbits(64))
        self.nodes: list[Leaf | Step] = []
        self.values: dict[int, Any] = {}
        self.pool: list[int] = []
        self.no_grad = False

    # ---- 叶子 ----

    def constant(self, values: Any, dtype: str, requires_grad: bool = False) -> Ref:
        """一个给定了值的叶子；不进 ``pool``。"""
        leaf = Leaf(len(self.nodes), np.asarray(values), dtype, requires_grad)
        self.nodes.append(leaf)
        self.values[leaf.id] = leaf_tensor(torch, leaf, {})
        return Ref(leaf.id)

    def leaf(self, shape: Sequence[int], requires_grad: bool | None = None, dtype: str | None = None) -> Ref:
        """一个浮点叶子：多半是三位小数，偶尔是小整数（于是有相等的元素，有 0）。"""
        values = np.round(self.data.normal(size=tuple(shape)), 3)
        if self.rng.random() < 0.1:
            values = self.data.integers(-2, 3, size=tuple(shape)).astype(np.float64)
        needs = self.rng.random() < 0.8 if requires_grad is None else requires_grad
        name = dtype or ("float32" if self.rng.random() < self.low else "float64")
        ref = self.constant(values, name, needs)
        self.pool.append(ref.id)
        return ref

    def integers(self, shape: Sequence[int], high: int, low: int = 0) -> Ref:
        """一个 int64 的叶子，作下标。"""
        return self.constant(self.data.integers(low, high, size=tuple(shape)), "int64")

    def booleans(self, shape: Sequence[int]) -> Ref:
        """一个布尔的叶子，作掩码。"""
        return self.constant(self.data.random(size=tuple(shape)) < 0.5, "bool")

    # ---- 挑变量 ----

    def value(self, ref: Ref) -> Any:
        """变量在 torch 里的值。"""
        return self.values[ref.id]

    def pick(self, accepts: Callable[[Any], bool] = lambda value: True) -> Ref:
        """挑一个浮点变量：新写下的多挑一些，求导的多挑一些。"""
        found = [id for id in self.pool if accepts(self.values[id])]
        if not found:
            raise RejectedError
        weights = [(1 + place) * (3 if self.values[id].requires_grad else 1) for place, id in enumerate(found)]
        return Ref(self.rng.choices(found, weights)[0])

    def pick_dims(self, least: int, most: int = MOST_DIMS) -> Ref:
        """挑一个维数在两数之间、没有空维的变量；没有就新造一个叶子。"""
        try:
            return self.pick(lambda value: least <= value.ndim <= most and value.numel() > 0)
        except RejectedError:
            return self.leaf([self.rng.randint(1, 4) for _ in range(self.rng.randint(least, min(most, 3)))])

    def dim(self, ref: Ref) -> int:
        """它的某一维，正着数或倒着数。"""
        ndim = self.value(ref).ndim
        if not ndim:
            raise RejectedError
        return self.rng.randrange(-ndim, ndim)

    def partner(self, ref: Ref) -> Ref:
        """能与它一起广播的另一个变量：就是它自己、已有的，或者新的叶子。"""
        shape = tuple(self.value(ref).shape)
        if self.rng.random() < 0.1:
            return ref
        if self.rng.random() < 0.6:
            return self.pick(lambda value: _together(shape, tuple(value.shape)))
        wanted = [1 if self.rng.random() < 0.25 else size for size in shape]
        wanted = wanted[self.rng.randint(0, len(wanted)) if self.rng.random() < 0.3 else 0 :]
        if self.rng.random() < 0.1 and len(wanted) < 3:
            wanted.insert(0, self.rng.randint(1, 3))
        return self.leaf(wanted)

    # ---- 加步骤 ----

    def step(self, target: str, *args: Any, pooled: bool = True, **kwargs: Any) -> Ref:
        """加一步并在 torch 上执行它。

        Args:
            target: 见 ``Step``。
            args: 位置实参。
            pooled: 结果以后能不能再挑到。
            kwargs: 具名实参。

        Returns:
            结果的引用。

        Raises:
            RejectedError: torch 不接受，或结果太大、有 NaN：这一步没有留下。
            FinishedError: torch 不接受，而这一步留下了。
        """
        step = Step(len(self.nodes), target, args, tuple(kwargs.items()), self.no_grad)
        if step.writes and self.interleaved(step):
            raise RejectedError
        try:
            with quiet():
                value = perform(torch, step, self.values)
        except Exception as error:
            if self.rng.random() < self.keep_refused:
                self.nodes.append(step)
                raise FinishedError from error
            if step.writes:
                self.replay()
            raise RejectedError from error
        self.nodes.append(step)
        self.values[step.id] = value
        if self.no_grad and getattr(value, "requires_grad", False):
            self.forget(step)
            raise RejectedError  # torch 2.13 在 no_grad 里取的视图自称求导，与它自己的文档相反：不拿它当标准
        if not self.healthy(value) or (step.writes and not self.differentiable()):
            self.forget(step)
            raise RejectedError
        if pooled and isinstance(value, torch.Tensor) and value.dtype.is_floating_point:
            self.pool.append(step.id)
        return Ref(step.id)

    def interleaved(self, step: Step) -> bool:
        """写的一块与读的另一块只有一部分相同，又有空隙：torch 查不出来，边读边写，结果没有约定。

        两块的元素完全相同、只有长度为 1 的轴步长不同的也不要：torch 当作部分重叠而拒绝，见 ``API.md`` 第 2 节。
        """
        written, others = self.values[step.args[0].id], used_by(step) - {step.args[0].id}
        if step.target == "[]=":
            where = mapped(step.args[1], lambda one: self.values[one.id])
            written, others = _region(written.detach(), where), set(references(step.args[2]))
        read = [self.values[id] for id in others]
        return any(_interleave(written, one) for one in read if isinstance(one, torch.Tensor))

    def forget(self, step: Step) -> None:
        """撤销刚加上的一步。"""
        del self.nodes[-1], self.values[step.id]
        if step.writes:
            self.replay()

    def healthy(self, value: Any) -> bool:
        """数值不太大，没有 NaN，维数与元素都不太多。"""
        if not isinstance(value, torch.Tensor) or not value.dtype.is_floating_point:
            return True
        sized = value.numel() <= LARGEST_SIZE and value.ndim <= MOST_DIMS
        return sized and (not value.numel() or bool(value.detach().abs().max() < LARGEST_VALUE))

    def differentiable(self) -> bool:
        """就地写过之后，还能不能从每个变量反传；不能的以 ``keep_refused`` 的概率放行。"""
        if not all(_usable(value) for value in self.values.values()):
            return False
        wanted = [self.values[id] for id in self.pool if self.values[id].requires_grad and self.values[id].numel()]
        leaves = [self.values[node.id] for node in self.nodes if isinstance(node, Leaf) and node.requires_grad]
        if not wanted or not leaves:
            return True
        try:
            with quiet():
                torch.autograd.grad([one.sum() for one in wanted], leaves, retain_graph=True, allow_unused=True)
        except RuntimeError:
            return self.rng.random() < self.keep_refused
        return True

    def replay(self) -> None:
        """撤销一步就地写入：从头再执行一遍；写过之后也照样看一遍各个变量，torch 到那时才更新视图的 ``grad_fn``。"""
        self.values = {}
        with quiet():
            for node in self.nodes:
                made = leaf_tensor(torch, node, {}) if isinstance(node, Leaf) else perform(torch, node, self.values)
                self.values[node.id] = made
                if isinstance(node, Step) and node.writes:
                    all(_usable(value) for value in self.values.values())

    def settle(self) -> None:
        """去掉末尾的几步，直到每个变量都看得：底下的张量被改写之后，``split`` 的各份看不得。"""
        while not all(_usable(value) for value in self.values.values()):
            del self.nodes[-1]
            self.replay()
            self.pool = [id for id in self.pool if id in self.values]

    def program(self, outputs: Sequence[tuple[int, int]], backward: str) -> Program:
        """写完了。"""
        return Program(tuple(self.nodes), tuple(outputs), backward)

    def chance(self, probability: float) -> bool:
        """以给定的概率为真。"""
        return self.rng.random() < probability


def _region(value: Any, where: Any) -> Any:
    """``value[where] = …`` 写的那一块；下标不合的，稍后由 torch 自己拒绝。"""
    try:
        with quiet():
            return value[where]
    except (IndexError, RuntimeError):
        return value


def _interleave(a: Any, b: Any) -> bool:
    if not (a.numel() and b.numel()) or a.untyped_storage().data_ptr() != b.untyped_storage().data_ptr():
        return False
    if (a.shape, a.stride(), a.storage_offset()) == (b.shape, b.stride(), b.storage_offset()):
        return False
    where = [(places(one) + one.storage_offset()).ravel().tolist() for one in (a, b)]
    if a.shape == b.shape and where[0] == where[1]:
        return True
    return bool({*where[0]} & {*where[1]}) and not all(_is_dense(one) for one in (a, b))


def _is_dense(value: Any) -> bool:
    """元素不重叠，中间也没有空隙：torch 只查得出这样的交错。"""
    found = places(value).ravel()
    return bool(len(set(found.tolist())) == value.numel() == int(found.max()) + 1)


def places(value: Any) -> Any:
    """各个元素在内存里的位置，从第一个元素算起。"""
    found = np.zeros((), np.int64)
    for stride, size in zip(value.stride(), value.shape, strict=True):
        found = found[..., None] + np.arange(size) * stride
    return found


def _usable(value: Any) -> bool:
    """底下的张量被改写之后，``split`` 的各份连 ``requires_grad`` 都不许看了。"""
    try:
        return not isinstance(value, torch.Tensor) or None not in (value.requires_grad, value.is_leaf)
    except RuntimeError:
        return False


def like(b: Builder, x: Ref, shape: Sequence[int]) -> Ref:
    """与 ``x`` 同 dtype 的叶子。"""
    return b.leaf(shape, dtype=str(b.value(x).dtype).split(".")[-1])


def _together(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    """两个形状能否广播到一起。"""
    return all(x == y or 1 in (x, y) for x, y in zip(reversed(a), reversed(b), strict=False))


Proposal = Callable[[Builder], Any]


@dataclasses.dataclass(frozen=True)
class Family:
    """一族提议。

    Attributes:
        weight: 挑到它的权重。
        proposals: 其中的提议，机会均等。
    """

    weight: float
    proposals: tuple[Proposal, ...]
