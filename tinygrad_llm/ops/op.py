"""算子的声明：一个纯 NumPy 的前向，加上一张求导表。

流入：NumPy 数组与属性；流出：``Op`` 对象，登记在 ``REGISTRY`` 里，供 ``autograd.py`` 记图与反传。
一句话读懂整个引擎：**VJP 的形参名，就是反向时要留下的东西。** 下一站：``elementwise.py``。
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterable, Sequence
from operator import itemgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

REGISTRY: dict[str, Op] = {}
"""全部算子，名字到 ``Op``；测试据此要求「每个算子都有一行对照」。"""

_RESERVED = ("g", "y", "shapes", "needs", "into")


Rule = tuple[int, Callable[..., Any], int, tuple[int, ...]]
"""求导表的一行：（对第几个输入求导，VJP，``g`` 之外要几样，它们是 ``Plan.sources`` 的第几项）。"""


Rebuild = tuple[Callable[..., Any], tuple[int, ...]]
"""怎样重算输出：（函数，它要的是 ``Plan.sources`` 的第几项）。"""


class Plan:
    """给定「哪些输入需要梯度」后，前向要留下什么、反向要跑哪几行。

    Attributes:
        sources: 要留下的东西的名字，按留下的次序。
        pick: 从「候选」``[*输入, y, shapes, needs, into, *属性, *keeps]`` 里取出要留下的。
        wants_more: 候选里用得着 ``y`` 之后的几项。
        holds: 留下的东西里有没有数组：有，反传之后才谈得上释放。
        watched: 留下的东西里，第几项是输入或输出：它们在反传之前不许被就地改写。
        rules: 反向要执行的行。
        is_joint: 只有一行，一次算出全部梯度。
        is_region: 见 ``Op``。
        is_simple: 可以走引擎里最短的路：各行各算一份梯度，不合写。
        needs: 各输入是否需要梯度。
        rebuild: 怎样由留下的东西重算 ``y``；不能重算则为 ``None``。
    """

    __slots__ = (
        "holds",
        "is_joint",
        "is_region",
        "is_simple",
        "needs",
        "pick",
        "rebuild",
        "rules",
        "sources",
        "wants_more",
        "watched",
    )

    def __init__(
        self,
        op: Op,
        needs: tuple[bool, ...],
        sources: tuple[str, ...],
        rules: tuple[Rule, ...],
        rebuild: Rebuild | None = None,
    ) -> None:
        self.needs, self.sources, self.rules = needs, sources, rules
        inputs = op.inputs * len(needs) if op.variadic else op.inputs
        pool = (*inputs, "y", "shapes", "needs", "into", *op.attrs, *op.keeps)
        places = [pool.index(name) for name in sources]
        self.pick = _picker(places)
        self.wants_more = max(places, default=0) > len(inputs)
        self.holds = any(place <= len(inputs) for place in places) or any(name in op.keeps for name in sources)
        self.watched = tuple(slot for slot, place in enumerate(places) if place <= len(inputs))
        self.is_joint = op.joint is not None
        self.is_region = op.is_region
        self.is_simple = not (self.is_joint or op.is_region)
        self.rebuild = rebuild


def _picker(places: Sequence[int]) -> Callable[[Sequence[Any]], Sequence[Any]]:
    """从候选里按位置取出一串；``itemgetter`` 取两项以上才给元组，所以只有一项时取两遍。"""
    if not places:
        return lambda pool: ()
    return itemgetter(*places) if len(places) > 1 else itemgetter(*places, *places)


def _added(sources: list[str], names: Iterable[str]) -> tuple[int, ...]:
    """还没有的名字添到 ``sources`` 末尾；返回它们各是第几项。"""
    wants = list(names)
    sources += [name for name in wants if name not in sources]
    return tuple(sources.index(name) for name in wants)


def _flags(wanted: int) -> tuple[bool, ...]:
    """各位是否为 1；最高位是哨兵，不算。"""
    return tuple(bool(wanted >> i & 1) for i in range(wanted.bit_length() - 1))


def conjugate(value: Any) -> Any:
    """复数的数组、Tensor 与 Python 数取共轭；别的（实数、下标、形状）原样返回。"""
    if isinstance(value, np.ndarray):
        return np.conjugate(value) if value.dtype.kind == "c" else value
    return value.conj() if hasattr(value, "__tinygrad_op__") else value.conjugate() if type(value) is complex else value


def _conjugating(rule: Rule) -> Rule:
    """实数的一行求导表 → 复数的：留下的值先取共轭。

    torch 约定复数的梯度是 ``g · conj(f'(x))``。求导表写的是 ``g · f'(x)``，``f'`` 由系数为实数的运算写成，所以
    ``conj(f'(x)) = f'(conj(x))``：同一行公式，代入共轭就是。只用到 ``g`` 的行（相加、换形状、求和）什么也不必改。
    """
    index, vjp, count, slots = rule
    return (index, lambda g, *saved: vjp(g, *[conjugate(value) for value in saved]), count, slots) if count else rule


class Op:
    """一个算子：前向、公式、求导表。

    用数组调用就只做前向；参数里有 Tensor（即实现了 ``__tinygrad_op__`` 的对象）时交给对方记图。
    因此求导表里写的同一行，既能在数组上快跑，也能在 Tensor 上建图求二阶导。

    Attributes:
        name: 算子名，与前向函数同名。
        formula: 前向公式，供追踪与文档显示。
        doc: 前向函数的说明。
        forward: 纯 NumPy 前向；声明了 ``keeps`` 时返回 ``(y, *keeps)``。
        inputs: 位置参数名，即可能求导的输入；可变参数的算子为 ``("*名字",)``。
        defaults: 属性（仅关键字参数）的默认值。
        vjps: 输入名到 VJP。
        joint: 一次算出全部梯度的 VJP，返回与输入等长的元组。
        keeps: 前向顺手留下的中间量的名字。
        composed: 由普通算子写成的同一个函数：融合算子的对照，也是二阶导的来路。
        plain: 只要 ``y`` 的前向：不记图时用它，省去为反向准备的东西。
        rebuild: 由反向要留的东西重算 ``y``；见 ``lean_plan``。
        is_view: 输出与第一个输入共享内存。
        is_region: 输出是输入的一块区域，由属性 ``key`` 指明：几块的梯度合写进一个数组，不必各自补零再相加。
        wirtinger: 求导表已经照复数的约定写好，不必再取共轭（见 ``_conjugating``）。
        plans: 「谁需要梯度」到执行方式的缓存；复数的执行方式记在相反数之下。
    """

    __slots__ = (
        "attrs", "composed", "defaults", "doc", "formula", "forward", "inputs", "is_region", "is_view", "joint",
        "keeps", "name", "plain", "plans", "rebuild", "variadic", "vjps", "wirtinger",
    )  # fmt: skip

    def __init__(
        self,
        forward: Callable[..., Any],
        formula: str,
        vjps: dict[str, Callable[..., Any]],
        joint: Callable[..., Any] | None,
        keeps: tuple[str, ...],
        composed: Callable[..., Any] | None,
        plain: Callable[..., Any] | None,
        rebuild: Callable[..., Any] | None,
        is_view: bool,
        is_region: bool,
        wirtinger: bool,
    ) -> None:
        self.name, self.formula, self.forward = forward.__name__, formula, forward
        self.doc = forward.__doc__
        self.vjps, self.joint, self.keeps = vjps, joint, keeps
        self.composed, self.plain, self.rebuild, self.wirtinger = composed, plain, rebuild, wirtinger
        self.is_view, self.is_region = is_view, is_region
        parameters = inspect.signature(forward).parameters.values()
        self.variadic = any(p.kind is p.VAR_POSITIONAL for p in parameters)
        self.inputs = tuple(p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.VAR_POSITIONAL))
        keywords = [p for p in parameters if p.kind is p.KEYWORD_ONLY]
        self.attrs = tuple(p.name for p in keywords)
        self.defaults = {p.name: p.default for p in keywords if p.default is not p.empty}
        self.plans: dict[Any, Plan | None] = {}
        self._check()

    def __call__(self, *args: Any, **attrs: Any) -> Any:
        """执行前向；参数里有 Tensor 时由它记图。"""
        for arg in args:
            if type(arg) is not np.ndarray and hasattr(arg, "__tinygrad_op__"):
                return arg.__tinygrad_op__(self, args, attrs)
        if self.plain is not None:
            return self.plain(*args, **{**self.defaults, **attrs})
        result = self.forward(*args, **attrs)
        return result[0] if self.keeps else result

    def __repr__(self) -> str:
        return f"<Op {self.name}: {self.formula}>"

    def plan(self, wanted: int | tuple[bool, ...]) -> Plan | None:
        """查出（并缓存）一种求导需求对应的执行方式。

        Args:
            wanted: 各位置参数是否来自需要梯度的 Tensor；引擎用位表示：
                第 i 位为 1 即第 i 个需要，最高位是哨兵，标出个数。

        Returns:
            执行方式；没有任何可求导的输入需要梯度时为 ``None``。
        """
        try:
            return self.plans[wanted]
        except KeyError:
            flags = wanted if isinstance(wanted, tuple) else _flags(wanted)
            plan = self.plans[wanted] = self._make_plan(flags)
            return plan

    def lean_plan(self, wanted: int) -> Plan | None:
        """同 ``plan``，但不为二阶导留下融合算子的输入，另记下怎样重算 ``y``；见 ``mode.first_order``。"""
        key = ("lean", wanted)
        if key not in self.plans:
            self.plans[key] = self._make_plan(_flags(wanted), lean=True)
        return self.plans[key]

    def complex_plan(self, wanted: int) -> Plan | None:
        """同 ``plan``，用于输出是复数的时候；``wanted`` 只用位表示。"""
        if -wanted not in self.plans:
            plan = self.plan(wanted)
            if plan is not None and not self.wirtinger:
                plan = copy.copy(plan)
                plan.rules = tuple([_conjugating(rule) for rule in plan.rules])
            self.plans[-wanted] = plan
        return self.plans[-wanted]

    def _make_plan(self, wanted: tuple[bool, ...], lean: bool = False) -> Plan | None:
        names = self.inputs * len(wanted) if self.variadic else self.inputs
        needs = tuple(w and n in self.vjps for w, n in zip(wanted, names, strict=False))
        if not any(needs):
            return None
        if self.joint is not None:
            active = [(-1, self.joint)]
        else:
            active = [(i, self.vjps[n]) for i, (n, need) in enumerate(zip(names, needs, strict=True)) if need]
        sources: list[str] = list(self.inputs) if self.composed is not None and not lean else []
        rules = []
        for index, vjp in active:
            slots = _added(sources, list(inspect.signature(vjp).parameters)[1:])
            rules.append((index, vjp, len(slots), slots))
        rebuild = None
        if self.rebuild is not None and lean:
            rebuild = self.rebuild, _added(sources, inspect.signature(self.rebuild).parameters)
        return Plan(self, needs, tuple(sources), tuple(rules), rebuild)

    def _check(self) -> None:
        """声明时就核对名字：求导表里写错一个字，``import`` 时即报错。"""
        if self.name in REGISTRY:
            raise TypeError(f"op {self.name!r} is declared twice")
        unknown = set(self.vjps) - set(self.inputs)
        if unknown:
            raise TypeError(f"op {self.name!r}: derivative given for {sorted(unknown)}, inputs are {self.inputs}")
        inputs = () if self.variadic else self.inputs
        known = {*inputs, *self.attrs, *self.keeps, *_RESERVED}
        if len(known) != len(inputs) + len(self.attrs) + len(self.keeps) + len(_RESERVED):
            raise TypeError(f"op {self.name!r}: input, attribute, kept and reserved names {_RESERVED} must differ")
        for vjp in (self.joint,) if self.joint else self.vjps.values():
            names = list(inspect.signature(vjp).parameters)
            if names[:1] != ["g"]:
                raise TypeError(f"op {self.name!r}: a derivative takes g first, got {names}")
            allowed = known - (set() if self.joint else {"needs"})
            if not set(names) <= allowed:
                wrong = sorted(set(names) - allowed)
                raise TypeError(f"op {self.name!r}: derivative names {wrong}, known: {sorted(allowed)}")
        rebuilds = set(inspect.signature(self.rebuild).parameters) if self.rebuild is not None else set()
        if not rebuilds <= known - {"y", "needs", "into"}:
            raise TypeError(f"op {self.name!r}: rebuild takes {sorted(rebuilds)}, known: {sorted(known)}")


def op(
    formula: str,
    *,
    keeps: str = "",
    joint: Callable[..., Any] | None = None,
    wrt: str = "",
    composed: Callable[..., Any] | None = None,
    plain: Callable[..., Any] | None = None,
    rebuild: Callable[..., Any] | None = None,
    is_view: bool = False,
    is_region: bool = False,
    wirtinger: bool = False,
    **vjps: Callable[..., Any],
) -> Callable[[Callable[..., Any]], Op]:
    """把一个纯 NumPy 前向声明成算子。

    Args:
        formula: 前向公式。
        keeps: 前向额外返回、留给反向的中间量名，以空格分隔。
        joint: 一次算出全部梯度的 VJP，返回与输入等长的元组（不需要的位置为 ``None``）；各份梯度不共享内存。
        wrt: 与 ``joint`` 同用：可求导的输入名，以空格分隔。
        composed: 由普通算子写成的同一个函数。
        plain: 只要 ``y`` 的前向，参数与前向相同；不记图时用它。
        rebuild: 由反向要留的东西重算 ``y``，逐位相同；形参名的规矩同 VJP，只是没有 ``g``。
        is_view: 输出与第一个输入共享内存。
        is_region: 输出是输入的一块区域，由属性 ``key`` 指明。
        wirtinger: 求导表已经照复数的约定写好：``g`` 乘的是导数的共轭。
        **vjps: 输入名到 VJP。VJP 的第一个形参是 ``g``（输出的梯度），其余形参可以是输入名、``y``（输出）、
            属性名、``keeps`` 里的名字、``shapes``（各输入的形状）、``into``（``into(i)`` 是第 i 个输入的梯度
            该直接放进的地方，没有则为 ``None``，见 ``linear``）；``joint`` 还可以要 ``needs``（各输入是否需要梯度）。

    Returns:
        装饰器。

    Raises:
        TypeError: 求导表里出现未知的名字，或同名算子已经声明过。
    """
    if joint is not None:
        vjps = dict.fromkeys(wrt.split(), joint)

    def declare(forward: Callable[..., Any]) -> Op:
        names = tuple(keeps.split())
        declared = Op(forward, formula, vjps, joint, names, composed, plain, rebuild, is_view, is_region, wirtinger)
        REGISTRY[declared.name] = declared
        return declared

    return declare
