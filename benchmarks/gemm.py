"""屋顶线：把一步训练里的矩阵乘法单独做一遍，别的都不做。

流入：模型配置与批大小；流出：NumPy 与 torch 各要多久。NumPy 照引擎的办法，把批次分给几个单线程的进程；torch 用它自己
的线程。一步训练不会比它更快；慢出来的倍数就是其余一切的代价。
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import report
from benchmarks.compare import compare
from benchmarks.options import Options, unknown
from benchmarks.processes import System
from benchmarks.sizes import SIZES, sized
from tinygrad_llm.common import work
from tinygrad_llm.common.config import PRESETS, GPTConfig

Array = NDArray[np.float32]


@dataclass(frozen=True)
class GemmOptions(Options):
    """只做矩阵乘法的测速。"""

    sizes: tuple[str, ...] = ("T", "S", "M")
    """规模：T、S、M，或模型预设名。"""

    def problems(self) -> list[str]:
        """各项设置里不对的地方。"""
        return [*super().problems(), *unknown("sizes", self.sizes, (*SIZES, *PRESETS))]


# ---- 子进程 ----


@contextmanager
def job(settings: dict[str, Any]) -> Iterator[Callable[[int], dict[str, Any]]]:
    """一步里的全部矩阵乘法；几个进程分一批时，各做自己那几条序列。"""
    model, batch = GPTConfig.from_dict(settings["model"]), settings["batch"]
    part = len(np.array_split(range(batch), settings["parts"])[settings["part"]])
    run = (_torch if settings["library"] == "torch" else _numpy)(model, part)

    def once(index: int) -> dict[str, Any]:
        run()
        return {}

    yield once


class _Arrays:
    """同样形状的激活共用一块内存，不同的角色（输入、输出、梯度）各用各的。"""

    def __init__(self) -> None:
        self.kept: dict[tuple[Any, ...], Array] = {}

    def __call__(self, role: str, *shape: int) -> Array:
        key = (role, *shape)
        if key not in self.kept:
            self.kept[key] = np.random.default_rng(len(self.kept)).random(shape, np.float32)
        return self.kept[key]


def operands(model: GPTConfig, batch: int) -> Iterator[tuple[Array, Array, Array]]:
    """按一步里的次序给出（左，右，结果）：先全部前向，再倒着全部反向；权重每层各有一份，激活按形状共用。"""
    arrays = _Arrays()
    layers = list(enumerate(work.dense_products(model, batch)))
    blocks = work.attention_products(model, batch) * model.n_layer
    for i, (rows, inner, outer) in layers:
        yield arrays("x", rows, inner), arrays(f"w{i}", outer, inner).T, arrays("y", rows, outer)
    yield from itertools.chain.from_iterable(_attention_forward(arrays, block) for block in blocks)
    for i, (rows, inner, outer) in reversed(layers):
        grad = arrays("g", rows, outer)
        yield grad, arrays(f"w{i}", outer, inner), arrays("dx", rows, inner)
        yield grad.T, arrays("x", rows, inner), arrays(f"dw{i}", outer, inner)
    yield from itertools.chain.from_iterable(_attention_backward(arrays, block) for block in blocks)


def _attention_forward(arrays: _Arrays, block: work.CausalBlock) -> Iterator[tuple[Array, Array, Array]]:
    heads, queries, keys, size = block
    q, k, v = arrays("q", heads, queries, size), arrays("k", heads, keys, size), arrays("v", heads, keys, size)
    scores = arrays("s", heads, queries, keys)
    yield q, k.swapaxes(1, 2), scores
    yield scores, v, arrays("o", heads, queries, size)


def _attention_backward(arrays: _Arrays, block: work.CausalBlock) -> Iterator[tuple[Array, Array, Array]]:
    heads, queries, keys, size = block
    q, k, v = arrays("q", heads, queries, size), arrays("k", heads, keys, size), arrays("v", heads, keys, size)
    scores, ds = arrays("s", heads, queries, keys), arrays("ds", heads, queries, keys)
    grad = arrays("do", heads, queries, size)
    yield scores.swapaxes(1, 2), grad, arrays("dv", heads, keys, size)
    yield grad, v.swapaxes(1, 2), ds
    yield ds, k, arrays("dq", heads, queries, size)
    yield ds.swapaxes(1, 2), q, arrays("dk", heads, keys, size)


def _numpy(model: GPTConfig, batch: int) -> Callable[[], None]:
    triples = list(operands(model, batch))

    def run() -> None:
        for left, right, out in triples:
            np.matmul(left, right, out=out)

    return run


def _torch(model: GPTConfig, batch: int) -> Callable[[], None]:
    import torch

    triples = [tuple(map(torch.from_numpy, triple)) for triple in operands(model, batch)]

    def run() -> None:
        for left, right, out in triples:
            torch.matmul(left, right, out=out)

    return run


# ---- 主进程 ----


def systems(model: GPTConfig, batch: int, options: Options) -> list[System]:
    """NumPy 分给几个单线程的进程，torch 一个进程。"""
    parts = min(options.core_count, batch)
    settings = {"model": model.to_dict(), "batch": batch, "cores": options.cores}
    return [
        System("numpy", "gemm", {**settings, "library": "numpy", "threads": 1 if parts > 1 else None}, processes=parts),
        System("torch", "gemm", {**settings, "library": "torch"}),
    ]


def measure_size(size: str, model: GPTConfig, batch: int, options: Options) -> dict[str, Any]:
    """一种规模上两个库各要多久。"""
    dense, attention = work.dense_flops(model, batch), work.attention_flops(model, batch)
    found = compare(systems(model, batch, options), options.plan, "torch", warmup=options.warmup)
    for one in found["systems"].values():
        one["gflops_per_s"] = (dense + attention) / one["median_s"] / 1e9
    return {"size": size, "dense_flops": dense, "attention_flops": attention, **found}


def line(found: dict[str, Any]) -> str:
    """屋顶线写成一行。"""
    parts = [
        f"{name}{'*' * one['noisy']} {report.milliseconds(one['median_s'])} ({one['gflops_per_s']:.0f} GFLOP/s)"
        for name, one in found["systems"].items()
    ]
    return "matrix products alone: " + ", ".join(parts)


def measure(options: GemmOptions) -> list[dict[str, Any]]:
    """各种规模依次来。"""
    return [measure_size(size, *sized(size), options) for size in options.sizes]


def text(results: Sequence[dict[str, Any]]) -> str:
    """一张表。"""
    head = ["size, library", "dense GFLOP", "attention GFLOP", "median", "GFLOP/s", "x torch", "turns"]
    rows = [_row(one, name) for one in results for name in one["systems"]]
    return report.table(head, rows)


def _row(one: dict[str, Any], name: str) -> list[str]:
    found = one["systems"][name]
    return [
        f"{one['size']} {name}{'*' * found['noisy']}",
        f"{one['dense_flops'] / 1e9:.4g}",
        f"{one['attention_flops'] / 1e9:.3g}",
        report.milliseconds(found["median_s"]),
        f"{found['gflops_per_s']:.0f}",
        report.times(found["ratio"], noisy=found["noisy"]),
        report.turns(found),
    ]


def main(options: GemmOptions) -> None:
    """``python -m benchmarks gemm``。"""
    results = measure(options)
    print(f"{text(results)}\n\n{report.CAVEATS}")
    report.publish(report.document("gemm", options, results), options)
