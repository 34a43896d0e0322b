"""嵌套的元组、列表与字典：拆成一串叶子，再照原样装回去。

流入：任意嵌套的容器；流出：叶子的列表与可以比较的结构。``func`` 的参数与结果都可以是这样的容器。
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

Structure = Any
"""一层容器：``(类型, 键, 各项的结构)``；叶子是 ``None``。"""


def flatten(tree: Any) -> tuple[list[Any], Structure]:
    """拆成叶子与结构；``None``、数与 Tensor 都是叶子。"""
    leaves: list[Any] = []
    return leaves, _flatten(tree, leaves)


def _flatten(tree: Any, leaves: list[Any]) -> Structure:
    if isinstance(tree, dict):
        return type(tree), tuple(tree), tuple(_flatten(value, leaves) for value in tree.values())
    if isinstance(tree, (tuple, list)):
        return type(tree), len(tree), tuple(_flatten(value, leaves) for value in tree)
    leaves.append(tree)
    return None


def unflatten(leaves: list[Any], structure: Structure) -> Any:
    """装回原来的样子。"""
    return _unflatten(iter(leaves), structure)


def _unflatten(leaves: Iterator[Any], structure: Structure) -> Any:
    if structure is None:
        return next(leaves)
    kind, keys, parts = structure
    values = [_unflatten(leaves, part) for part in parts]
    if issubclass(kind, dict):
        return kind(zip(keys, values, strict=True))
    return kind(*values) if hasattr(kind, "_fields") else kind(values)  # 具名元组的构造函数收各个字段


def tree_map(function: Callable[[Any], Any], tree: Any) -> Any:
    """每个叶子换成 ``function(叶子)``。"""
    leaves, structure = flatten(tree)
    return unflatten([function(leaf) for leaf in leaves], structure)


def spread(prefix: Any, structure: Structure) -> list[Any] | None:
    """把一棵较浅的树铺到 ``structure`` 的每个叶子上。

    Args:
        prefix: 与结构相同的容器，或在某处停下的一个值：它下面的叶子都取这个值。
        structure: 叶子的结构。

    Returns:
        与叶子等长的列表；两者对不上时为 ``None``。
    """
    if structure is None:
        return None if isinstance(prefix, (tuple, list, dict)) else [prefix]
    kind, keys, parts = structure
    if not isinstance(prefix, (tuple, list, dict)):
        return [prefix] * _size(structure)
    is_dict = issubclass(kind, dict)
    if isinstance(prefix, dict) != is_dict or len(prefix) != len(parts) or (is_dict and set(prefix) != set(keys)):
        return None
    found: list[Any] = []
    for part, value in zip(parts, [prefix[k] for k in keys] if is_dict else prefix, strict=True):
        below = spread(value, part)
        if below is None:
            return None
        found += below
    return found


def _size(structure: Structure) -> int:
    return 1 if structure is None else sum(_size(part) for part in structure[2])
