"""嵌套容器（列表、元组、字典……）拆成一串叶子，再原样装回去；名字同 ``torch.utils._pytree``。

流入：任意嵌套的容器；流出：叶子的列表与记着形状的 ``TreeSpec``。不认识的对象都是叶子，``None`` 也是。
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

PyTree = Any


class NodeDef(NamedTuple):
    """一种容器怎样拆、怎样装。

    Attributes:
        flatten_fn: 容器 → （孩子的列表，装回去要用的东西）。
        unflatten_fn: （孩子，装回去要用的东西）→ 容器。
    """

    flatten_fn: Callable[[Any], tuple[list[Any], Any]]
    unflatten_fn: Callable[[Iterable[Any], Any], Any]


class TreeSpec:
    """一棵树的形状。

    Attributes:
        type: 容器的类型；叶子是 ``None``。
        context: 装回去要用的东西，如字典的键。
        num_leaves: 叶子数。
    """

    def __init__(self, type: Any, context: Any, children: list[TreeSpec]) -> None:
        self.type, self.context, self._children = type, context, children
        self.num_leaves: int = 1 if type is None else sum(child.num_leaves for child in children)

    def is_leaf(self) -> bool:
        """是不是一片叶子。"""
        return self.type is None

    def children(self) -> list[TreeSpec]:
        """各个孩子的形状。"""
        return list(self._children)

    def unflatten(self, leaves: Iterable[Any]) -> PyTree:
        """把叶子装回容器。

        Raises:
            ValueError: 叶子数不对。
        """
        leaves = list(leaves)
        if len(leaves) != self.num_leaves:
            raise ValueError(f"unflatten: got {len(leaves)} leaves, the spec refers to {self.num_leaves}")
        return self._built(iter(leaves))

    def _built(self, leaves: Any) -> PyTree:
        if self.type is None:
            return next(leaves)
        return SUPPORTED_NODES[self.type].unflatten_fn([child._built(leaves) for child in self._children], self.context)

    def flatten_up_to(self, tree: PyTree) -> list[Any]:
        """把另一棵树按这个形状拆开；这里的叶子在那边可以是一整棵子树。

        Raises:
            ValueError: 形状不同。
        """
        if self.type is None:
            return [tree]
        if _kind(tree) is not self.type:
            raise ValueError(f"tree: expected {self.type.__name__}, got {type(tree).__name__}")
        below, context = SUPPORTED_NODES[self.type].flatten_fn(tree)
        if isinstance(tree, dict) and set(context) == set(self.context):  # 键相同，次序不论
            below, context = [tree[key] for key in self.context], self.context
        if len(below) != len(self._children) or context != self.context:
            raise ValueError(f"tree: {self.type.__name__} with {context} does not match {self.context}")
        return [leaf for child, part in zip(self._children, below, strict=True) for leaf in child.flatten_up_to(part)]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, TreeSpec):
            return NotImplemented
        mine, theirs = (self.type, self.context, self._children), (other.type, other.context, other._children)
        return mine == theirs

    def __hash__(self) -> int:
        return hash((self.type, self.num_leaves))

    def __repr__(self) -> str:
        if self.type is None:
            return "*"
        return f"TreeSpec({self.type.__name__}, {self.context}, {self._children})"


SUPPORTED_NODES: dict[Any, NodeDef] = {
    tuple: NodeDef(lambda x: (list(x), None), lambda values, _: tuple(values)),
    list: NodeDef(lambda x: (list(x), None), lambda values, _: list(values)),
    dict: NodeDef(lambda x: (list(x.values()), list(x)), lambda values, keys: dict(zip(keys, values, strict=True))),
    OrderedDict: NodeDef(
        lambda x: (list(x.values()), list(x)), lambda values, keys: OrderedDict(zip(keys, values, strict=True))
    ),
    defaultdict: NodeDef(
        lambda x: (list(x.values()), [x.default_factory, list(x)]),
        lambda values, context: defaultdict(context[0], zip(context[1], values, strict=True)),
    ),
    deque: NodeDef(lambda x: (list(x), x.maxlen), lambda values, longest: deque(values, maxlen=longest)),
}
"""认得的容器。"""


def register_pytree_node(
    cls: type,
    flatten_fn: Callable[[Any], tuple[list[Any], Any]],
    unflatten_fn: Callable[[Iterable[Any], Any], Any],
    **_: Any,
) -> None:
    """教会它一种新容器。

    Raises:
        ValueError: 已经登记过。
    """
    if cls in SUPPORTED_NODES:
        raise ValueError(f"{cls} is already registered as pytree node.")
    SUPPORTED_NODES[cls] = NodeDef(flatten_fn, unflatten_fn)


def _is_namedtuple(tree: Any) -> bool:
    return isinstance(tree, tuple) and hasattr(tree, "_fields") and type(tree).__bases__ == (tuple,)


def _kind(tree: Any) -> Any:
    """容器的类型；叶子是 ``None``。具名元组第一次遇到时登记。"""
    kind = type(tree)
    if kind not in SUPPORTED_NODES and _is_namedtuple(tree):
        SUPPORTED_NODES[kind] = NodeDef(lambda x: (list(x), kind), lambda values, made: made(*values))
    return kind if kind in SUPPORTED_NODES else None


def tree_flatten(tree: PyTree, is_leaf: Callable[[Any], bool] | None = None) -> tuple[list[Any], TreeSpec]:
    """拆成叶子的列表与形状。

    Args:
        tree: 任意嵌套的容器。
        is_leaf: 它说是叶子的，就不再拆。
    """
    kind = None if is_leaf is not None and is_leaf(tree) else _kind(tree)
    if kind is None:
        return [tree], TreeSpec(None, None, [])
    below, context = SUPPORTED_NODES[kind].flatten_fn(tree)
    parts = [tree_flatten(child, is_leaf) for child in below]
    return [leaf for leaves, _ in parts for leaf in leaves], TreeSpec(kind, context, [spec for _, spec in parts])


def tree_unflatten(leaves: Iterable[Any], treespec: TreeSpec) -> PyTree:
    """``tree_flatten`` 的逆。

    Raises:
        TypeError: ``treespec`` 不是 ``TreeSpec``。
    """
    if not isinstance(treespec, TreeSpec):
        raise TypeError(f"tree_unflatten: expected a TreeSpec, got {type(treespec).__name__}")
    return treespec.unflatten(leaves)


def tree_leaves(tree: PyTree, is_leaf: Callable[[Any], bool] | None = None) -> list[Any]:
    """全部叶子。"""
    return tree_flatten(tree, is_leaf)[0]


tree_iter = tree_leaves


def tree_structure(tree: PyTree, is_leaf: Callable[[Any], bool] | None = None) -> TreeSpec:
    """形状。"""
    return tree_flatten(tree, is_leaf)[1]


def tree_map(
    func: Callable[..., Any], tree: PyTree, *rests: PyTree, is_leaf: Callable[[Any], bool] | None = None
) -> PyTree:
    """对每片叶子（以及别的树上同一位置的东西）做 ``func``，装回原来的形状。"""
    leaves, spec = tree_flatten(tree, is_leaf)
    columns = [leaves, *(spec.flatten_up_to(rest) for rest in rests)]
    return spec.unflatten(func(*row) for row in zip(*columns, strict=True))


def tree_map_(
    func: Callable[..., Any], tree: PyTree, *rests: PyTree, is_leaf: Callable[[Any], bool] | None = None
) -> PyTree:
    """只要 ``func`` 的副作用；返回 ``tree`` 自己。"""
    tree_map(func, tree, *rests, is_leaf=is_leaf)
    return tree


def tree_map_only(
    type_or_types_or_pred: Any,
    func: Callable[[Any], Any],
    tree: PyTree,
    is_leaf: Callable[[Any], bool] | None = None,
) -> PyTree:
    """只改某些类型（或满足某个条件）的叶子。"""
    wanted = type_or_types_or_pred
    if isinstance(wanted, (type, tuple)):
        return tree_map(lambda leaf: func(leaf) if isinstance(leaf, wanted) else leaf, tree, is_leaf=is_leaf)
    return tree_map(lambda leaf: func(leaf) if wanted(leaf) else leaf, tree, is_leaf=is_leaf)


def tree_all(pred: Callable[[Any], bool], tree: PyTree, is_leaf: Callable[[Any], bool] | None = None) -> bool:
    """每片叶子都满足 ``pred``。"""
    return all(map(pred, tree_leaves(tree, is_leaf)))


def tree_any(pred: Callable[[Any], bool], tree: PyTree, is_leaf: Callable[[Any], bool] | None = None) -> bool:
    """有叶子满足 ``pred``。"""
    return any(map(pred, tree_leaves(tree, is_leaf)))
