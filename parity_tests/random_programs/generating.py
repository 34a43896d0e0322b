"""由（种子，序号）写出一个随机程序：同样的两个数，总是同样的程序。

流入：种子与序号；流出：``Program``。下一站：``judging.py``。
"""

from __future__ import annotations

import dataclasses
import random

import torch

from parity_tests.random_programs import proposals_layout, proposals_values
from parity_tests.random_programs.building import Builder, Family, FinishedError, RejectedError
from parity_tests.random_programs.program import Program, Step
from parity_tests.random_programs.running import run

FAMILIES = (*proposals_values.FAMILIES, *proposals_layout.FAMILIES)
SHORTEST, LONGEST = 10, 60


def generate(seed: int, index: int) -> Program:
    """第 ``index`` 个程序。

    Args:
        seed: 种子。
        index: 序号。

    Returns:
        10 到 60 步的程序；末尾一步被 torch 拒绝的，可以更短。
    """
    rng = random.Random(f"{seed}/{index}")
    low = 0.3 if rng.random() < 0.15 else 0.0
    keep_refused = 0.3 if rng.random() < 0.1 else 0.0
    backward = rng.choices(("loss", "outputs", "twice", "second"), (5, 2, 1, 2))[0]
    length = rng.randint(SHORTEST, 20 if backward == "second" else LONGEST)
    builder = Builder(rng, low, keep_refused, inplace=rng.choice((0.0, 0.1, 0.25)))
    for _ in range(rng.randint(2, 4)):
        builder.leaf(_shape(rng), requires_grad=True)
    try:
        while _steps(builder) < length:
            _grow(builder)
        return _finished(builder, backward)
    except FinishedError:
        return builder.program([], backward)


def _steps(builder: Builder) -> int:
    return sum(hasattr(node, "target") for node in builder.nodes)


def _shape(rng: random.Random) -> list[int]:
    """0 到 4 维；偶尔有空的一维。"""
    shape = [rng.choice((1, 2, 3, 4)) for _ in range(rng.choices(range(5), (1, 3, 5, 4, 1))[0])]
    if shape and rng.random() < 0.02:
        shape[rng.randrange(len(shape))] = 0
    return shape


def _grow(builder: Builder) -> None:
    """加上一个提议；提议中途被拒，已经加上的几步留着，不影响对错。"""
    rng = builder.rng
    family: Family = proposals_layout.WRITES
    if rng.random() >= builder.inplace:
        family = rng.choices(FAMILIES, [one.weight for one in FAMILIES])[0]
    builder.no_grad = rng.random() < 0.03
    try:
        rng.choice(family.proposals)(builder)
    except RejectedError:
        pass
    finally:
        builder.no_grad = False


def _is_unstable_twice(step: Step) -> bool:
    """二阶导没有可信的标准：``logcumsumexp`` 在 torch 里要取梯度的对数，梯度为 0 便是 NaN；

    ``gelu`` 的 tanh 近似里 ``1 - tanh²`` 在 float32 里先饱和成 0，量不出舍入误差。
    """
    return step.target == ".logcumsumexp" or ("approximate", "tanh") in step.kwargs


def _finished(builder: Builder, backward: str) -> Program:
    """选几个输出，各配一个乘数；没有人用的变量多半也在其中。"""
    rng = builder.rng
    builder.settle()
    live = [id for id in builder.pool if builder.values[id].requires_grad and not builder.values[id].is_leaf]
    if not live:
        builder.step("*", builder.pick(lambda value: value.requires_grad), 2.0)
        live = builder.pool[-1:]
    last = live[-3:]
    chosen = sorted({*rng.sample(live, min(len(live), rng.randint(1, 4))), *last})
    outputs = []
    for id in chosen:
        value = builder.values[id]
        dtype = str(value.dtype).split(".")[-1]
        outputs.append((id, builder.leaf(tuple(value.shape), requires_grad=False, dtype=dtype).id))
    program = builder.program(outputs, backward)
    if backward == "second" and any(_is_unstable_twice(step) for step in program.steps):
        return dataclasses.replace(program, backward="loss")
    if backward == "second" and "not implemented" in str(run(torch, program).error):
        return dataclasses.replace(program, backward="loss")  # torch 没有这个二阶导
    return program
