"""把语法编译成下推自动机：每条规则是一小张状态图，边上或是一个字节，或是「先走完另一条规则再回来」。

流入：规则名到 ``Expr``；流出：``Machine``。下一个文件：``recogniser.py``。

没有递归的语法（正则、多数 JSON schema）也走同一条路：调用的层数有限，它就是有限自动机。左递归（一条规则一个字还没读
就又调用自己）会无穷地压栈，一律拒绝；写成重复总是可以的。
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tinygrad_llm.common.decoding.grammar.expressions import Alt, Chars, Expr, Ref, Repeat, Seq, Text
from tinygrad_llm.common.decoding.grammar.utf8 import ByteRanges, utf8_ranges
from tinygrad_llm.common.errors import UserError

__all__ = ["MAX_STATES", "Machine", "State", "compile_rules"]

MAX_STATES = 100_000
"""语法再大就拒绝：多半是重复的次数写多了几个零。"""
_OUTLINE = 4  # 重复超过这么多次的复杂片段单独成一条规则，状态只写一份


@dataclass
class State:
    """一个状态。

    Attributes:
        edges: ``(哪些字节, 去哪个状态)``；字节的集合写成 256 位的整数。
        calls: ``(规则的起点, 走完后回到哪个状态)``。
        is_final: 所在的规则可以到此为止。
    """

    edges: list[tuple[int, int]] = field(default_factory=list)
    calls: list[tuple[int, int]] = field(default_factory=list)
    is_final: bool = False

    @property
    def is_end(self) -> bool:
        """规则到此为止，再没有别的。"""
        return self.is_final and not self.edges and not self.calls


@dataclass(frozen=True)
class Machine:
    """编译好的语法。

    Attributes:
        states: 全部状态。
        start: 起点。
    """

    states: list[State]
    start: int

    def finishable(self, spellable: int) -> list[bool]:
        """各状态能否只用 ``spellable`` 里的字节走到自己规则的终点。

        Args:
            spellable: 字节的集合；词表里单独成一个 token 的那些。

        Returns:
            逐个状态。
        """
        can = [state.is_final for state in self.states]
        is_changing = True
        while is_changing:  # 图大致由前向后，所以从后往前看，几遍就定
            is_changing = False
            for i in range(len(self.states) - 1, -1, -1):
                state = self.states[i]
                if not can[i] and (
                    any(mask & spellable and can[target] for mask, target in state.edges)
                    or any(can[start] and can[back] for start, back in state.calls)
                ):
                    can[i] = is_changing = True
        return can


def compile_rules(rules: Mapping[str, Expr], root: str = "root") -> Machine:
    """编译。

    Args:
        rules: 规则名到它的内容。
        root: 从哪条规则开始。

    Returns:
        自动机。

    Raises:
        UserError: 引用了没有的规则、左递归，或状态太多。
    """
    builder = _Builder(dict(rules))
    builder.start_of(root)
    while builder.waiting:
        builder.build(builder.waiting.pop())
    builder.close_epsilons()
    builder.refuse_left_recursion()
    return Machine(builder.states, builder.starts[root])


class _Builder:
    """Thompson 的构造法：每个节点是一段有入口与出口的图，空边最后消去。"""

    def __init__(self, rules: dict[str, Expr]) -> None:
        self.rules = rules
        self.states: list[State] = []
        self.epsilons: list[list[int]] = []
        self.starts: dict[str, int] = {}
        self.waiting: list[str] = []
        self.outlined: dict[Expr, str] = {}

    def state(self) -> int:
        if len(self.states) >= MAX_STATES:
            raise UserError(f"the grammar needs more than {MAX_STATES:,} states", fix="lower its repetition counts")
        self.states.append(State())
        self.epsilons.append([])
        return len(self.states) - 1

    def start_of(self, name: str) -> int:
        """规则的起点；头一次提到的规则记下待建。"""
        if name not in self.starts:
            if name not in self.rules:
                raise UserError(f"the grammar has no rule {name!r}", fix=f"it has: {', '.join(list(self.rules)[:20])}")
            self.starts[name] = self.state()
            self.waiting.append(name)
        return self.starts[name]

    def build(self, name: str) -> None:
        end = self.state()
        self.states[end].is_final = True
        self.add(self.rules[name], self.starts[name], end)

    def add(self, expr: Expr, start: int, end: int) -> None:
        """在 ``start`` 与 ``end`` 之间铺上 ``expr``。"""
        if isinstance(expr, Text):
            self.chain([((byte, byte),) for byte in expr.value.encode("utf-8", "replace")], start, end)
        elif isinstance(expr, Chars):
            self.add_chars(expr, start, end)
        elif isinstance(expr, Seq):
            for part in expr.parts[:-1]:
                middle = self.state()
                self.add(part, start, middle)
                start = middle
            self.add(expr.parts[-1] if expr.parts else Text(""), start, end)
        elif isinstance(expr, Alt):
            for part in expr.parts:
                self.add(part, start, end)
        elif isinstance(expr, Ref):
            self.states[start].calls.append((self.start_of(expr.name), end))
        else:
            self.add_repeat(expr, start, end)

    def chain(self, steps: list[tuple[tuple[int, int], ...]], start: int, end: int) -> None:
        """一串字节，每个取自几个区间。"""
        if not steps:
            self.epsilons[start].append(end)
        for i, ranges in enumerate(steps):
            target = end if i == len(steps) - 1 else self.state()
            self.states[start].edges.append((_mask(ranges), target))
            start = target

    def add_chars(self, expr: Chars, start: int, end: int) -> None:
        """一个字符：UTF-8 的各种写法，后半截相同的共用状态。"""
        tails: dict[ByteRanges, int] = {(): end}

        def tail(rest: ByteRanges) -> int:
            if rest not in tails:
                tails[rest] = self.state()
                self.states[tails[rest]].edges.append((_mask(rest[:1]), tail(rest[1:])))
            return tails[rest]

        heads: dict[int, int] = {}
        for low, high in expr.ranges:
            for ranges in utf8_ranges(low, high):
                target = tail(ranges[1:])
                heads[target] = heads.get(target, 0) | _mask(ranges[:1])
        self.states[start].edges += [(mask, target) for target, mask in heads.items()]

    def add_repeat(self, expr: Repeat, start: int, end: int) -> None:
        part, count = expr.part, expr.low if expr.high is None else expr.high
        if count > _OUTLINE and not isinstance(part, Ref | Text):
            part = self.outline(part)
        for _ in range(expr.low):
            middle = self.state()
            self.add(part, start, middle)
            start = middle
        if expr.high is None:
            loop = self.state()
            self.epsilons[start].append(loop)
            self.add(part, loop, loop)
            start = loop
        else:
            for _ in range(expr.low, expr.high):
                middle = self.state()
                self.epsilons[start].append(end)
                self.add(part, start, middle)
                start = middle
        self.epsilons[start].append(end)

    def outline(self, part: Expr) -> Ref:
        """单独成一条规则。"""
        if part not in self.outlined:
            self.outlined[part] = f"repeated {len(self.outlined) + 1}"
            self.rules[self.outlined[part]] = part
        return Ref(self.outlined[part])

    def close_epsilons(self) -> None:
        """消去空边：每个状态得到它沿空边到得了的各状态的全部边。"""
        original = [(list(state.edges), list(state.calls), state.is_final) for state in self.states]
        for i, state in enumerate(self.states):
            if not self.epsilons[i]:
                continue
            seen, waiting = {i}, [i]
            while waiting:
                for target in self.epsilons[waiting.pop()]:
                    if target not in seen:
                        seen.add(target)
                        waiting.append(target)
            seen.discard(i)
            for j in sorted(seen):
                edges, calls, is_final = original[j]
                state.edges += edges
                state.calls += calls
                state.is_final |= is_final

    def refuse_left_recursion(self) -> None:
        """一个字不读就能又调用到自己的规则。"""
        names = {start: name for name, start in self.starts.items()}
        nullable = self.nullable()
        first: dict[int, set[int]] = {}
        for start in names:
            called, seen, waiting = set(), {start}, [start]
            while waiting:
                for inner, back in self.states[waiting.pop()].calls:
                    called.add(inner)
                    if nullable[inner] and back not in seen:
                        seen.add(back)
                        waiting.append(back)
            first[start] = called
        for start, name in names.items():
            seen, waiting = set(), list(first[start])
            while waiting:
                inner = waiting.pop()
                if inner == start:
                    raise UserError(
                        f"rule {name!r} can call itself before it has read anything (left recursion)",
                        fix="write it as a repetition: a ::= b (op b)*",
                    )
                if inner not in seen:
                    seen.add(inner)
                    waiting += first[inner]

    def nullable(self) -> list[bool]:
        """各状态能否一个字不读就走到自己规则的终点。"""
        return Machine(self.states, 0).finishable(0)


def _mask(ranges: tuple[tuple[int, int], ...]) -> int:
    return sum((1 << (high + 1)) - (1 << low) for low, high in ranges)
