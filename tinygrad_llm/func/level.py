"""一层变换：把输入换成新的 Tensor，让里面的求导与外面的图互不相扰。

流入：用户的参数；流出：新的输入、它们的梯度。变换可以一层套一层，套在 ``no_grad`` 里也照常。

外面的图是否还要经过这里，看两件事：输入自己是否在外面的图上，函数是否捕获了外面的叶子。都没有，就不必为外面记图。
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygrad_llm.autograd import engine
from tinygrad_llm.autograd.mode import enable_grad, is_grad_enabled
from tinygrad_llm.func.trees import flatten, tree_map
from tinygrad_llm.tensor import Tensor


class Level:
    """一层变换。

    Attributes:
        outside: 外面是否在记图。
        is_tracked: 结果是否还连着外面的图。
        inputs: 换上的新输入。
    """

    def __init__(self) -> None:
        self.outside = is_grad_enabled()
        self.is_tracked = False
        self.inputs: list[Tensor] = []

    def enter(self, tree: Any) -> Any:
        """换成新的输入，结构不变。

        Raises:
            ValueError: 里面有不是 Tensor 的。
        """
        return tree_map(self._fresh, tree)

    def _fresh(self, x: Any) -> Tensor:
        if not isinstance(x, Tensor):
            raise ValueError(f"Thing passed to transform API must be Tensor, got {type(x)}")
        if self.outside and x.requires_grad:
            self.is_tracked = True
            with enable_grad():
                new: Tensor = x.view(x.array.shape)
        else:
            new = x.detach().requires_grad_()
        self.inputs.append(new)
        return new

    def enter_some(self, args: tuple[Any, ...], argnums: int | tuple[int, ...]) -> tuple[tuple[Any, ...], Any]:
        """只换 ``argnums`` 指的那几个位置参数。

        Returns:
            ``(换过之后的全部参数, 换上的那几个)``。

        Raises:
            RuntimeError: ``argnums`` 不合用。
        """
        places = _places(argnums, len(args))
        changed = list(args)
        for place in places:
            changed[place] = self.enter(args[place])
        chosen = tuple(changed[place] for place in places)
        return tuple(changed), chosen if isinstance(argnums, tuple) else chosen[0]

    def look_at(self, outputs: Any) -> None:
        """前向做完：看函数是否捕获了外面的叶子。"""
        if self.outside and not self.is_tracked:
            roots = [y.refreshed() for y in flatten(outputs)[0] if isinstance(y, Tensor)]
            self.is_tracked = _reach_others(roots, {id(x) for x in self.inputs})

    def gradients(
        self, outputs: Sequence[Tensor], vectors: Sequence[Any], targets: Sequence[Tensor], **options: Any
    ) -> list[Tensor]:
        """``autograd.grad``，但不可导的输出略过，无关的输入得 0。"""
        pairs = [(y, v) for y, v in zip(outputs, vectors, strict=True) if y.requires_grad]
        if not pairs:
            return [zeros_like(t) for t in targets]
        ys, vs = zip(*pairs, strict=True)
        return list(engine.grad(ys, targets, vs, materialize_grads=True, **options))

    def leave(self, tree: Any) -> Any:
        """交给外面的结果：不连着外面的图，就不留历史。"""
        return tree if self.is_tracked else tree_map(lambda v: v.detach() if isinstance(v, Tensor) else v, tree)


def _places(argnums: Any, count: int) -> tuple[int, ...]:
    given = argnums if isinstance(argnums, tuple) else (argnums,)
    if not all(isinstance(n, int) for n in given):
        raise RuntimeError(f"argnums must be int or Tuple[int, ...], got: {type(argnums)}")
    if not given:
        raise RuntimeError("argnums must be non-empty")
    if len(set(given)) != len(given):
        raise RuntimeError(f"argnums elements must be unique, got {given}")
    for n in given:
        if not -count <= n < count:
            raise RuntimeError(f"Got argnum={n}, but only {count} positional inputs")
    return tuple(n % count for n in given)


def _reach_others(roots: Sequence[Tensor], own: set[int]) -> bool:
    """沿图往回走，是否走得到 ``own`` 之外的叶子。"""
    stack: list[Any] = [root.node or root for root in roots if root.needs_grad]
    seen = set(own)
    while stack:
        edge = stack.pop()
        if id(edge) in seen:
            continue
        if not edge.is_node:
            return True
        seen.add(id(edge))
        stack += [e for e in edge.edges if e is not None]
    return False


def zeros_like(x: Tensor) -> Tensor:
    """形状与 dtype 同 ``x`` 的 0，不在图上。"""
    return Tensor.wrap(np.zeros_like(x.array))


def only_tensors(tree: Any, where: str) -> list[Tensor]:
    """叶子都得是 Tensor。

    Raises:
        RuntimeError: 有一个不是。
    """
    leaves = flatten(tree)[0]
    for leaf in leaves:
        if not isinstance(leaf, Tensor):
            raise RuntimeError(f"{where}, got unsupported type {type(leaf)}")
    return leaves


def split_aux(result: Any, has_aux: bool, where: str) -> tuple[Any, Any]:
    """``has_aux`` 时，函数返回 ``(输出, 附带的东西)``。

    Raises:
        RuntimeError: 不是两项的元组，或附带的东西里有不是 Tensor 的。
    """
    if not has_aux:
        return result, None
    if not (isinstance(result, tuple) and len(result) == 2):
        raise RuntimeError(f"{where}: output of function f should be a tuple: (output, aux) if has_aux is True")
    only_tensors(result[1], "Expected tensors")
    return result
