"""``utils._pytree``：嵌套容器拆开再装回，与 torch 相同。"""

from __future__ import annotations

from collections import OrderedDict, defaultdict, deque, namedtuple
from collections.abc import Callable
from typing import Any

import pytest
import torch.utils._pytree as theirs

import tinygrad_llm.utils._pytree as ours
from parity_tests.engine.twins import outcome

Pair = namedtuple("Pair", "left right")
TREE: Any = {
    "b": [1, (2, None)], "a": OrderedDict(z=3, y=[4]), "c": deque([5, 6], maxlen=3), "d": Pair(7, {"k": 8}),
    "e": defaultdict(list, k=9), "f": {10, 11} and 12, "g": [],
}  # fmt: skip

PROGRAMS: dict[str, Callable[[Any], Any]] = {
    "leaves": lambda m: m.tree_leaves(TREE),
    "round trip": lambda m: m.tree_unflatten(*m.tree_flatten(TREE)),
    "count": lambda m: m.tree_flatten(TREE)[1].num_leaves,
    "map": lambda m: m.tree_map(lambda x: (x, 1), TREE),
    "keeps kinds": lambda m: repr(m.tree_map(lambda x: x, TREE)),
    "two trees": lambda m: m.tree_map(lambda a, b: [a, b], {"x": 1, "y": [2]}, {"y": [4], "x": 3}),
    "subtree beside a leaf": lambda m: m.tree_map(lambda a, b: (a, b), [1, 2], [[3], {"k": 4}]),
    "is_leaf": lambda m: m.tree_map(len, {"x": [1, 2], "y": [3]}, is_leaf=lambda x: isinstance(x, list)),
    "only ints": lambda m: m.tree_map_only(int, lambda x: -x, [1, "a", (2.0, 3)]),
    "only a predicate": lambda m: m.tree_map_only(lambda x: x == "a", str.upper, [1, "a"]),
    "all and any": lambda m: [m.tree_all(bool, TREE), m.tree_any(lambda x: x == 12, TREE)],
    "same shape": lambda m: m.tree_structure([1, {"a": 2}]) == m.tree_structure([3, {"a": 4}]),
    "other shape": lambda m: m.tree_structure([1, {"a": 2}]) == m.tree_structure([3, {"b": 4}]),
    "leaves missing": lambda m: m.tree_unflatten([1], m.tree_structure([1, 2])),
    "no spec": lambda m: m.tree_unflatten([1], [1]),
    "kinds differ": lambda m: m.tree_map(lambda a, b: a, [1], (1,)),
    "lengths differ": lambda m: m.tree_map(lambda a, b: a, [1, 2], [1]),
    "keys differ": lambda m: m.tree_map(lambda a, b: a, {"x": 1}, {"y": 1}),
}


@pytest.mark.parametrize("name", sorted(PROGRAMS))
def test_pytree_is_torchs(name: str) -> None:
    """叶子的次序、装回的类型或报错与 torch 不同：按位置配对的代码会配错。"""
    assert outcome(ours, PROGRAMS[name]) == outcome(theirs, PROGRAMS[name])


@pytest.mark.parametrize("m", [ours, theirs], ids=["ours", "torch"])
def test_a_new_kind_can_be_registered(m: Any) -> None:
    """自己的容器登记之后仍被当作叶子，或者登记两次没有报错。"""

    class Box:
        def __init__(self, inside: Any) -> None:
            self.inside = inside

    m.register_pytree_node(Box, lambda box: ([box.inside], None), lambda items, _: Box(*items))
    assert m.tree_map(lambda x: x + 1, [Box(1)])[0].inside == 2
    with pytest.raises(ValueError, match="already registered"):
        m.register_pytree_node(Box, lambda box: ([box.inside], None), lambda items, _: Box(*items))
