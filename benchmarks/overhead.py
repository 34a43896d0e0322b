"""小图的开销：追踪几个数的时候，时间花在引擎上而不在算术上。

流入：轮数；流出：每步的微秒数与 torch 的比值。两边在同一个进程里逐轮交替，都只用一个线程。
界限：向量 MLP 不超过 torch 的 0.6 倍，标量 MLP 不超过 0.8 倍。
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks import report
from benchmarks.options import Output, too_small

SKIPPED, LAYERS, WIDTH = 5, 8, 32
BOUNDS = {"vector": 0.6, "scalar": 0.8}


@dataclass(frozen=True)
class OverheadOptions(Output):
    """小图的测速。"""

    rounds: int | None = None
    """量几轮；缺省 60，``--quick`` 时 25。"""

    def problems(self) -> list[str]:
        """各项设置里不对的地方。"""
        return [*super().problems(), *too_small(self, {"rounds": 1})]


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


def compare(make: Callable[[Any], Callable[[], None]], repeats: int, rounds: int) -> dict[str, float]:
    """两个引擎交替计时。

    Args:
        make: 引擎到跑一步的函数。
        repeats: 每一轮连走几步。
        rounds: 几轮；另加开头不算的几轮。

    Returns:
        ``numpy_us``、``torch_us``（每步微秒的中位数）与 ``ratio``（逐轮比值的中位数）。
    """
    import torch

    import tinygrad_llm

    torch.set_num_threads(1)
    ours, theirs = make(tinygrad_llm), make(torch)
    times = [(_timed(ours, repeats), _timed(theirs, repeats)) for _ in range(rounds + SKIPPED)][SKIPPED:]
    mine, other = zip(*times, strict=True)
    ratio = statistics.median(a / b for a, b in times)
    return {"numpy_us": statistics.median(mine), "torch_us": statistics.median(other), "ratio": ratio}


def _timed(step: Callable[[], None], repeats: int) -> float:
    started = time.perf_counter()
    for _ in range(repeats):
        step()
    return (time.perf_counter() - started) / repeats * 1e6


def measure(options: OverheadOptions) -> dict[str, dict[str, float]]:
    """四种小图。"""
    cases: dict[str, tuple[str, Callable[[Any], Callable[[], None]], int]] = {
        "h @ W, h (1, 32)": ("vector", lambda m: vector_mlp(m, (1, WIDTH), False), 30),
        "h @ W, h (32,)": ("vector", lambda m: vector_mlp(m, (WIDTH,), False), 30),
        "W @ h, h (32,)": ("vector", lambda m: vector_mlp(m, (WIDTH,), True), 30),
        "scalars 2-16-16-1": ("scalar", scalar_mlp, 3),
    }
    rounds = options.rounds or (25 if options.quick else 60)
    return {
        name: {**compare(make, repeats, rounds), "bound": BOUNDS[kind]} for name, (kind, make, repeats) in cases.items()
    }


def text(result: dict[str, dict[str, float]]) -> str:
    """一张表。"""
    rows = [
        [
            name,
            f"{one['numpy_us']:.0f} us",
            f"{one['torch_us']:.0f} us",
            report.times(one["ratio"]),
            f"{one['bound']:.1f}",
        ]
        for name, one in result.items()
    ]
    return report.table(["graph", "numpy", "torch", "x torch", "bound"], rows)


def main(options: OverheadOptions) -> None:
    """``python -m benchmarks overhead``。"""
    result = measure(options)
    print(text(result))
    report.publish(report.document("overhead", options, result), options)
