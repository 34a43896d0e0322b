"""挑哪些变异体来跑：先保证每个目标都有，再一轮一轮往下添。

流入：``targets.FAMILIES``；流出：``Mutant`` 的列表，只由种子决定。下一站：``command.py``。
"""

from __future__ import annotations

import collections
import random
from collections.abc import Iterable, Sequence

from parity_tests.mutants.mutations import mutations
from parity_tests.mutants.runner import Mutant
from parity_tests.mutants.targets import FAMILIES, Target


def everything(names: Sequence[str] = ()) -> list[Mutant]:
    """全部变异体；``names`` 是算子、优化器或家族的名字，不给就是全部。"""
    wanted = set(names)
    found: list[Mutant] = []
    for family, targets in FAMILIES.items():
        for target in targets():
            if not wanted or wanted & {family, target.name, *target.owners}:
                found += of(target)
    return found


def of(target: Target) -> list[Mutant]:
    """一个目标的全部变异体，次序固定。"""
    counts: collections.Counter[tuple[str, str, str]] = collections.Counter()
    found = []
    for mutation in mutations(target.node, target.saves):
        key = (mutation.kind, mutation.before, mutation.after)
        counts[key] += 1
        found.append(Mutant(target, mutation, counts[key]))
    return found


def sample(mutants: Iterable[Mutant], count: int, seed: int) -> list[Mutant]:
    """取 ``count`` 个：每个目标轮流出一个，一轮完了再来一轮；``count`` 为 0 时全取。"""
    by_target: dict[str, list[Mutant]] = {}
    for mutant in mutants:
        by_target.setdefault(mutant.target.name, []).append(mutant)
    draw = random.Random(seed)
    ranked = []
    for group in by_target.values():
        shuffled = draw.sample(group, len(group))
        ranked += [(turn, draw.random(), mutant) for turn, mutant in enumerate(shuffled)]
    ranked.sort(key=lambda one: one[:2])
    return [mutant for _, _, mutant in ranked[: count or None]]
