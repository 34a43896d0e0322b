"""几个进程合训的五步，与一个进程的相同：损失、范数、评估、拼起来的参数与优化器状态；累积与裁剪都开着。"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch.distributed as dist

from parity_tests.distributed.processes import (
    GPT2,
    LLAMA,
    LR,
    SETTINGS,
    STEPS,
    Case,
    alone,
    batch,
    together,
    walk,
    walked,
)
from tinygrad_llm.common.config import GPTConfig
from tinygrad_llm.common.torch_config import Parallel, TorchConfig
from torch_llm.parallel.engine import ParallelEngine
from torch_llm.parallel.ranks import TorchRanks

KINDS: tuple[Parallel, ...] = ("ddp", "fsdp", "tp")
BOUND = 1e-6


def _cases(models: tuple[GPTConfig, ...], kinds: tuple[Parallel, ...], **changes: Any) -> list[Case]:
    chosen = replace(SETTINGS, **changes)
    return [
        (model, replace(chosen, parallel=kind, tp=2 if kind == "fsdp+tp" else None))
        for kind in kinds
        for model in models
    ]


def _compare(cases: list[Case], found: list[Any], bound: float = BOUND) -> None:
    for (config, settings), (path, nats, (weights, states, updates)) in zip(cases, found, strict=True):
        engine, what = alone(config, settings), f"{settings.parallel} {config.mlp}"
        np.testing.assert_allclose(path, walk(engine, range(STEPS)), rtol=0, atol=bound, err_msg=what)
        assert nats == pytest.approx(engine.evaluate(*batch(config, settings, STEPS)), rel=bound), what
        expected, expected_states, expected_updates = engine.export()
        assert (updates, list(weights), list(states)) == (expected_updates, list(expected), list(expected_states))
        for name, array in {**expected, **expected_states}.items():
            np.testing.assert_allclose({**weights, **states}[name], array, rtol=0, atol=bound, err_msg=f"{what} {name}")


def test_two_processes_walk_another_path() -> None:
    """两个进程的数据并行、切开存放、张量并行，哪一种与一个进程相差超过 1e-6。"""
    cases = [*_cases((LLAMA,), KINDS), *_cases((GPT2,), ("tp",), recompute=True)]
    _compare(cases, together(2, cases, walked))


@pytest.mark.full
def test_four_processes_walk_another_path() -> None:
    """四个进程的各种切法，与两两切矩阵、两份数据的网格，哪一种与一个进程相差超过 1e-6；切得出空块的也在内。"""
    wide = replace(LLAMA, n_kv_head=4, hidden=24)
    cases = [*_cases((GPT2, LLAMA), ("ddp", "fsdp", "fsdp+tp")), *_cases((GPT2, wide), ("tp",))]
    cases += _cases((LLAMA,), ("fsdp+tp",), accumulate=1, recompute=True)
    cases += _cases((replace(GPT2, context=2, vocab_size=3),), ("fsdp",))
    _compare(cases, together(4, cases, walked))


@pytest.mark.full
def test_float32_walks_another_path() -> None:
    """float32 也相差超过 1e-6；AdamW 把近 0 的梯度放大到 ±1 乘学习率，参数的界因此按学习率算。"""
    cases = _cases((GPT2, LLAMA), KINDS, dtype="float32", lr=LR)
    found = together(2, cases, walked)
    for (config, settings), (path, _, _) in zip(cases, found, strict=True):
        np.testing.assert_allclose(path, walk(alone(config, settings), range(STEPS)), rtol=0, atol=BOUND)


@pytest.mark.full
def test_bfloat16_walks_far_away() -> None:
    """bfloat16：各层的参数以低精度拼起来，与一个进程的 autocast 差出了 8 位的舍入。"""
    cases = _cases((GPT2, replace(LLAMA, qk_norm=False)), KINDS, dtype="float32", precision="bfloat16")
    found = together(2, cases, walked)
    for (config, settings), (path, _, _) in zip(cases, found, strict=True):
        np.testing.assert_allclose(
            path, walk(alone(config, settings), range(STEPS)), rtol=2**-7, err_msg=settings.parallel
        )


def poisoned(ranks: TorchRanks, config: GPTConfig, settings: TorchConfig) -> Any:
    """第二步里只有末一个进程的损失成了无穷；返回各进程的 ``(更新了没有, 放大的倍数)`` 与参数有没有动。"""
    engine = ParallelEngine(config, settings, ranks)
    plain, last = engine._loss, ranks.layout.rank == ranks.layout.world - 1
    seen: list[Any] = []
    kept = {}
    for step in range(3):
        if step == 1:
            kept = {name: p.detach().clone() for name, p in engine.trained.items()}
            engine._loss = lambda *batch: (plain(*batch)[0] * (float("inf") if last else 1.0), {})  # type: ignore[method-assign]
        seen.append(_updated(engine, ranks, step))
        if step == 1:
            engine._loss = plain  # type: ignore[method-assign]
            seen.append(all(bool((p == kept[name]).all()) for name, p in engine.trained.items()))
    found: list[Any] = [None] * ranks.layout.world
    dist.all_gather_object(found, seen)
    return found


def _updated(engine: ParallelEngine, ranks: TorchRanks, step: int) -> tuple[bool, float]:
    x, y = batch(engine.config, engine.settings, step)
    rows = len(x) // ranks.parts
    mine = slice(ranks.part * rows, (ranks.part + 1) * rows)
    return engine.train_step(step, (x[mine], y[mine]), LR).updated, engine.scaler.get_scale()


@pytest.mark.full
def test_infinity_in_one_process_stops_only_that_one() -> None:
    """一个进程的梯度成了无穷，别的进程却照样更新，或放大损失的倍数从此各不相同。"""
    cases = _cases((GPT2,), KINDS, dtype="float32", precision="float16", recompute=True)
    for found in together(2, cases, poisoned):
        scale = found[0][0][1]
        assert found[0] == found[1]
        assert found[0] == [(True, scale), (False, scale / 2), True, (True, scale / 2)]
