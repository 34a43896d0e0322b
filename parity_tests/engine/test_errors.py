"""写错的代码：两个引擎都报错，异常属于同一类。

一行一种错误。``except RuntimeError`` 接得住 torch 的，就必须接得住我们的。
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import tinygrad_llm as tg
from parity_tests.engine.twins import same_error, table


def _leaf(m: Any) -> Any:
    return m.ones(2, 2, requires_grad=True)


MISTAKES: dict[str, Callable[[Any], Any]] = {
    # 形状
    "shapes that do not broadcast": lambda m: m.ones(2) + m.ones(3),
    "comparison that does not broadcast": lambda m: m.ones(2) == m.ones(3),
    "matmul of unequal inner sizes": lambda m: m.ones(2, 3) @ m.ones(2, 3),
    "matmul of a scalar": lambda m: m.ones(2) @ m.tensor(1.0),
    "matmul of batches that do not broadcast": lambda m: m.ones(2, 3, 3) @ m.ones(4, 3, 3),
    "reshape to another size": lambda m: m.ones(2, 2).reshape(3),
    "two unknown sizes": lambda m: m.ones(4).reshape(-1, -1),
    "ambiguous unknown size": lambda m: m.ones(0).reshape(-1, 0),
    "view of a transpose": lambda m: m.ones(2, 3).t().view(6),
    "permute with a repeated axis": lambda m: m.ones(2, 2).permute(0, 0),
    "permute with too few axes": lambda m: m.ones(2, 2).permute(0),
    "t of three axes": lambda m: m.ones(2, 2, 2).t(),
    "expand to fewer axes": lambda m: m.ones(2, 2).expand(2),
    "expand a longer axis": lambda m: m.ones(2).expand(3),
    "expand a new axis by -1": lambda m: m.ones(2).expand(-1, 2),
    "repeat with too few counts": lambda m: m.ones(2, 2).repeat(2),
    "cat of unequal sizes": lambda m: m.cat([m.ones(2, 2), m.ones(3, 3)]),
    "cat of nothing": lambda m: m.cat([]),
    "stack of unequal sizes": lambda m: m.stack([m.ones(2), m.ones(3)]),
    "stack of nothing": lambda m: m.stack([]),
    "split by sizes that do not add up": lambda m: m.ones(4).split([1, 2]),
    "split by negative sizes": lambda m: m.ones(3).split([5, -2]),
    "split by zero": lambda m: m.ones(3).split(0),
    "no chunks": lambda m: m.ones(3).chunk(0),
    "narrow beyond the end": lambda m: m.ones(4).narrow(0, 2, 5),
    "narrow from beyond the end": lambda m: m.ones(4).narrow(0, 7, 1),
    "tril of a vector": lambda m: m.ones(3).tril(),
    "unflatten to another size": lambda m: m.ones(4).unflatten(0, (3, 2)),
    # 轴
    "axis out of range": lambda m: m.ones(2).sum(1),
    "negative axis out of range": lambda m: m.ones(2).softmax(-2),
    "one axis twice": lambda m: m.ones(2, 2).sum((0, 0)),
    "one axis twice, once negative": lambda m: m.ones(2, 2).mean((1, -1)),
    "squeeze out of range": lambda m: m.ones(2).squeeze(3),
    "unsqueeze out of range": lambda m: m.ones(2).unsqueeze(3),
    "transpose out of range": lambda m: m.ones(2).transpose(0, 1),
    "size out of range": lambda m: m.ones(2).size(1),
    "flip out of range": lambda m: m.ones(2).flip(1),
    "cat out of range": lambda m: m.cat([m.ones(2)], 1),
    # 空与标量
    "max of nothing": lambda m: m.ones(0).max(),
    "max of nothing along an axis": lambda m: m.ones(0, 2).max(0),
    "amax of nothing along an axis": lambda m: m.ones(0, 2).amax(0),
    "argmax of nothing": lambda m: m.ones(0).argmax(),
    "item of two": lambda m: m.ones(2).item(),
    "truth of two": lambda m: bool(m.ones(2)),
    "len of a scalar": lambda m: len(m.tensor(1)),
    "iterate a scalar": lambda m: list(m.tensor(1)),
    "float as an index": lambda m: [1, 2][m.tensor(1.0)],
    "topk of too many": lambda m: m.ones(2).topk(3),
    # 下标
    "index out of range": lambda m: m.ones(3)[3],
    "index array out of range": lambda m: m.ones(3)[m.tensor([0, 5])],
    "too many indices": lambda m: m.ones(3)[0, 0],
    "mask of the wrong shape": lambda m: m.ones(2, 3)[m.tensor([True, False, True])],
    "float index": lambda m: m.ones(3)[m.tensor([1.0])],
    "index arrays that do not broadcast": lambda m: m.ones(3, 3)[m.tensor([0, 1]), m.tensor([0, 1, 2])],
    "write of the wrong shape": lambda m: m.zeros(2).__setitem__(slice(None), m.ones(3)),
    "gather with too few axes": lambda m: m.ones(3, 4).gather(0, m.tensor([0])),
    "gather out of range": lambda m: m.ones(3).gather(0, m.tensor([3])),
    "gather negative": lambda m: m.ones(3).gather(0, m.tensor([-1])),
    "index_select negative": lambda m: m.ones(3).index_select(0, m.tensor([-1])),
    "index_select by a matrix": lambda m: m.ones(3).index_select(0, m.tensor([[0]])),
    # dtype
    "mean of integers": lambda m: m.arange(3).mean(),
    "softmax of integers": lambda m: m.arange(3).softmax(0),
    "matmul of two dtypes": lambda m: m.ones(2, 2) @ m.ones(2, 2, dtype=m.float64),
    "difference of booleans": lambda m: m.tensor([True]) - m.tensor([True]),
    "negative of booleans": lambda m: -m.tensor([True]),
    "inverse of floats": lambda m: ~m.ones(1),
    "masked_fill by integers": lambda m: m.ones(2).masked_fill(m.tensor([1, 0]), 0.0),
    "where by integers": lambda m: m.where(m.tensor([1, 0]), 1.0, 2.0),
    "float result into integers": lambda m: m.ones(2, dtype=m.int64).add_(1.5),
    "integer division in place": lambda m: m.ones(2, dtype=m.int64).__itruediv__(2),
    "in-place result of another shape": lambda m: m.ones(2).add_(m.ones(3, 2)),
    "integer division by zero": lambda m: m.arange(3) // 0,
    "integer remainder by zero": lambda m: m.arange(3) % m.tensor([1, 0, 1]),
    "integers to a negative power": lambda m: m.arange(3) ** -1,
    "add a string": lambda m: m.ones(1) + "a",
    "multiply by None": lambda m: m.ones(1) * None,
    "matmul by a number": lambda m: m.ones(1) @ 2,
    "ragged list": lambda m: m.tensor([[1], [2, 3]]),
    "string": lambda m: m.tensor("a"),
    "clamp without bounds": lambda m: m.ones(1).clamp(),
    # 梯度
    "backward without a graph": lambda m: m.ones(1).backward(),
    "backward from a matrix": lambda m: (_leaf(m) * 2).backward(),
    "backward with a gradient of another shape": lambda m: (_leaf(m) * 2).backward(m.ones(3)),
    "integers that require gradients": lambda m: m.arange(3).requires_grad_(),
    "integer tensor that requires gradients": lambda m: m.tensor([1], requires_grad=True),
    "interior that must not require gradients": lambda m: (_leaf(m) * 2).requires_grad_(False),
    "numpy of a leaf": lambda m: _leaf(m).numpy(),
    "hook without gradients": lambda m: m.ones(1).register_hook(print),
    "retain_grad without gradients": lambda m: m.ones(1).retain_grad(),
    "post hook on an interior": lambda m: (_leaf(m) * 2).register_post_accumulate_grad_hook(print),
    "grad of a constant": lambda m: m.autograd.grad(_leaf(m).sum(), m.ones(1), allow_unused=True),
    "grad of an unused leaf": lambda m: m.autograd.grad(_leaf(m).sum(), _leaf(m)),
    "deepcopy of an interior": lambda m: __import__("copy").deepcopy(_leaf(m) * 2),
    "leaf in place": lambda m: _leaf(m).mul_(2),
    "view of a leaf in place": lambda m: _leaf(m)[0].mul_(2),
    # 随机
    "empty interval": lambda m: m.randint(3, 3, (2,)),
    "negative probability": lambda m: m.multinomial(m.tensor([-1.0, 2.0]), 1),
    "NaN probability": lambda m: m.multinomial(m.tensor([float("nan"), 2.0]), 1),
    "no probability": lambda m: m.multinomial(m.zeros(2), 1),
    "too many samples": lambda m: m.multinomial(m.ones(2), 3),
}  # fmt: skip


@pytest.mark.parametrize("mistake", table(MISTAKES))
def test_the_same_mistake_raises_the_same_kind_of_error(mistake: Callable[[Any], Any]) -> None:
    """写错的代码在我们这里不报错（给出错误的数），或报了 torch 不会报的那一类。"""
    same_error(mistake)


MESSAGES: dict[str, tuple[Callable[[Any], Any], str]] = {
    "both shapes of a broadcast": (lambda m: m.ones(2, 5) + m.ones(3), r"add: shapes \(2, 5\), \(3,\)"),
    "both shapes of a product": (lambda m: m.ones(2, 5) @ m.ones(3, 4), r"\(2, 5\) and \(3, 4\)"),
    "the shape and the index": (lambda m: m.ones(3)[7], r"index 7 .*shape \(3,\)"),
    "the graph and the cure": (lambda m: _backward_twice(m), r"retain_graph=True"),
    "both dtypes": (lambda m: m.ones(1, 1) @ m.ones(1, 1).double(), r"float32 and .*float64"),
    "which node saved it": (lambda m: _write_saved(m), r"Backward0 saved a tensor of shape \(.*\), and it was written"),
}  # fmt: skip


def _backward_twice(m: Any) -> None:
    y = (_leaf(m) ** 2).sum()
    y.backward()
    y.backward()


def _write_saved(m: Any) -> None:
    x = _leaf(m) * 1
    y = (x * x).sum()
    x.add_(1)
    y.backward()


@pytest.mark.parametrize("name", sorted(MESSAGES))
def test_messages_name_what_is_wrong(name: str) -> None:
    """错误消息没有点名两边的形状、类型或补救办法。"""
    mistake, pattern = MESSAGES[name]
    with pytest.raises((RuntimeError, IndexError), match=pattern):
        mistake(tg)
