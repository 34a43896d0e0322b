"""小图的开销：追踪几个数的时候，时间花在引擎上而不在算术上。与 torch 逐轮交替计时，打印中位数与比值。

``python -m benchmarks.overhead``；两边都只用一个线程。界限：向量 MLP 不超过 torch 的 0.6 倍，标量 MLP 不超过 0.8 倍。
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

import tinygrad_llm as tg

ROUNDS, LAYERS, WIDTH = 60, 8, 32
BOUNDS = {"vector": 0.6, "scalar": 0.8}


def vector_mlp(m: Any, shape: tuple[int, ...], weight_first: bool) -> Callable[[], None]:
    """八层、每层三个算子（乘、加、tanh）的 MLP，前向加反向。

    Args:
        m: 引擎。
        shape: 输入的形状，``(32,)`` 或 ``(1, 32)``。
        weight_first: 写成 ``W @ h`` 而不是 ``h @ W``。

    Returns:
        跑一步的函数。
    """
    rng = np.random.default_rng(0)
    weights = [_leaf(m, rng.standard_normal((WIDTH, WIDTH)) / 6) for _ in range(LAYERS)]
    biases = [_leaf(m, rng.standard_normal(WIDTH)) for _ in range(LAYERS)]
    x = m.tensor(rng.standard_normal(shape).astype(np.float32))

    def step() -> None:
        for p in (*weights, *biases):
            p.grad = None
        h = x
        for w, b in zip(weights, biases, strict=True):
            h = ((w @ h if weight_first else h @ w) + b).tanh()
        h.sum().backward()

    return step


def scalar_mlp(m: Any) -> Callable[[], None]:
    """2-16-16-1 的 MLP，每个数都是一个 0 维张量，前向加反向。"""
    rng = np.random.default_rng(0)
    sizes = (2, 16, 16, 1)
    layers = [
        [[_leaf(m, rng.standard_normal()) for _ in range(wide + 1)] for _ in range(out)]
        for wide, out in itertools.pairwise(sizes)
    ]
    inputs = [m.tensor(1.5), m.tensor(-0.5)]

    def step() -> None:
        values = inputs
        for depth, layer in enumerate(layers):
            sums = []
            for *weights, total in layer:
                for w, v in zip(weights, values, strict=True):
                    w.grad = None
                    total = total + w * v
                sums.append(total if depth == len(layers) - 1 else total.tanh())
            values = sums
        values[0].backward()

    return step


def _leaf(m: Any, value: Any) -> Any:
    return m.tensor(np.asarray(value, np.float32), requires_grad=True)


def compare(make: Callable[[Any], Callable[[], None]], repeats: int) -> tuple[float, float, float]:
    """两个引擎交替计时。

    Returns:
        （本引擎每步微秒，torch 每步微秒，比值的中位数）。
    """
    ours, theirs = make(tg), make(torch)
    times = [(_timed(ours, repeats), _timed(theirs, repeats)) for _ in range(ROUNDS)][5:]
    mine, other = zip(*times, strict=True)
    return statistics.median(mine), statistics.median(other), statistics.median(a / b for a, b in times)


def _timed(step: Callable[[], None], repeats: int) -> float:
    started = time.perf_counter()
    for _ in range(repeats):
        step()
    return (time.perf_counter() - started) / repeats * 1e6


def main() -> None:
    """跑完四种小图，打印一张表。"""
    torch.set_num_threads(1)
    cases: dict[str, tuple[str, Callable[[Any], Callable[[], None]], int]] = {
        "h @ W, h (1, 32)": ("vector", lambda m: vector_mlp(m, (1, WIDTH), False), 30),
        "h @ W, h (32,)": ("vector", lambda m: vector_mlp(m, (WIDTH,), False), 30),
        "W @ h, h (32,)": ("vector", lambda m: vector_mlp(m, (WIDTH,), True), 30),
        "scalars 2-16-16-1": ("scalar", scalar_mlp, 3),
    }
    print(f"{'graph':<20}{'tinygrad_llm':>14}{'torch':>12}{'ratio':>8}{'bound':>8}")
    for name, (kind, make, repeats) in cases.items():
        mine, other, ratio = compare(make, repeats)
        print(f"{name:<20}{mine:>11.0f} us{other:>9.0f} us{ratio:>8.2f}{BOUNDS[kind]:>8.1f}")


if __name__ == "__main__":
    main()
