"""沿时间展开：把一步的函数用到一批长短不一的序列上。

流入：按时刻排紧的输入（第 0 时刻的全部样本，接着第 1 时刻仍未结束的样本……）、各时刻的样本数与初始状态；
流出：同样排紧的输出与各样本最后的状态。样本由长到短排列，所以每一时刻用到的总是状态的前几行。
"""

from __future__ import annotations

from typing import Any

from tinygrad_llm.joining import cat
from tinygrad_llm.nn.recurrent_cells import State, Step
from tinygrad_llm.tensor import Tensor


def moments(x: Tensor, sizes: list[int]) -> list[Tensor]:
    """按时刻拆开。一半一半地拆：逐个取下标，反传时每一时刻都要写一遍整段；对半拆每一层只写两遍。"""
    if len(sizes) <= 1:
        return [x]
    middle = len(sizes) // 2
    edge = sum(sizes[:middle])
    return moments(x[:edge], sizes[:middle]) + moments(x[edge:], sizes[middle:])


def sweep(
    step: Step, projected: Tensor, sizes: list[int], state: State, weights: tuple[Any, ...]
) -> tuple[Tensor, State]:
    """从头走到尾；一个样本结束时，它的状态就留在原处。

    Args:
        step: 一步的函数。
        projected: ``(总长, 门数·H)``，输入的投影。
        sizes: 各时刻的样本数，不增。
        state: 各样本的初始状态。
        weights: 交给 ``step`` 的权重。

    Returns:
        ``(总长, H)`` 的输出与最后的状态。
    """
    outputs, finished = [], []
    for part, size in zip(moments(projected, sizes), sizes, strict=True):
        if size < len(state[0]):
            finished.append(tuple(s[size:] for s in state))
            state = tuple(s[:size] for s in state)
        state = step(part, state, weights)
        outputs.append(state[0])
    if finished:
        state = tuple(cat(list(parts)) for parts in zip(state, *reversed(finished), strict=True))
    return cat(outputs), state


def sweep_back(
    step: Step, projected: Tensor, sizes: list[int], state: State, weights: tuple[Any, ...]
) -> tuple[Tensor, State]:
    """从尾走到头；样本在自己的最后一刻才加入，从它的初始状态起步。参数同 ``sweep``。"""
    first, outputs = state, []
    state = tuple(s[: sizes[-1]] for s in first)
    for part, size in zip(reversed(moments(projected, sizes)), reversed(sizes), strict=True):
        rows = len(state[0])
        if size > rows:
            state = tuple(cat([s, start[rows:size]]) for s, start in zip(state, first, strict=True))
        state = step(part, state, weights)
        outputs.append(state[0])
    return cat(outputs[::-1]), state
