"""几条对话装进一行：损失与一条一行相同，谁也看不见别人，续训与换引擎照旧。"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import tinygrad_llm as tg
from parity_tests.tuning.running import assert_resumes_exactly, tune
from parity_tests.whole_runs.commands import ENGINES, Place, furthest
from tinygrad_llm.common.batches import Example, Examples
from tinygrad_llm.common.batches.packed import Isolated
from tinygrad_llm.common.batches.supervised import padded_rows
from tinygrad_llm.common.config import GPTConfig
from tinygrad_llm.common.initial import initial_weights
from tinygrad_llm.train import build_model as numpy_model
from torch_llm.loop import build_model as torch_model

CLOSE = {"float64": 1e-12, "float32": 1e-6}
"""相对差：相加的次序不同。"""
PARITY = 1e-10
SHAPES: dict[str, dict[str, Any]] = {
    "learned": {},
    "rope": {"position": "rope", "norm": "rmsnorm", "mlp": "swiglu", "n_kv_head": 1, "bias": False},
    "window": {"window": 5},
}
MODELS: dict[str, tuple[Any, Any]] = {"numpy": (numpy_model, tg.from_numpy), "torch": (torch_model, torch.from_numpy)}


def drawn_examples(context: int) -> Examples:
    """长短不一的样本，前一半不学。"""
    draw = np.random.default_rng(3)
    lengths = draw.integers(2, context + 1, 23)
    return Examples(
        (Example(draw.integers(0, 29, n).tolist(), [i >= n // 2 for i in range(n)]) for n in lengths),
        vocab_size=29,
        context=context,
    )


@pytest.mark.parametrize("dtype", CLOSE)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("engine", ENGINES)
def test_packed_loss_is_not_the_unpacked_loss(engine: str, shape: str, dtype: str) -> None:
    """装进一行之后，同样的对话的损失变了：看见了别人，位置没有重新数起，或丢了、多了一个 token。"""
    config = GPTConfig(vocab_size=29, context=24, n_layer=2, n_head=2, n_embd=16, **SHAPES[shape])
    build, tensor = MODELS[engine]
    weights = initial_weights(config, 1, dtype)  # 刚抽出来的权重几乎不看别处，放大了注意力才要紧
    model = build(config, {name: array * (8 if array.ndim > 1 else 1) for name, array in weights.items()})
    examples = drawn_examples(24)
    packed = examples.packed(pad=0)
    assert packed.size < examples.size
    rows = Isolated(packed, batch_size=packed.size, seed=0).batch(0)
    together = model.loss(*map(tensor, rows)).item()
    order = np.arange(examples.size)
    alone = model.loss(*map(tensor, padded_rows(examples, order, 24, 0))).item()
    assert together == pytest.approx(alone, rel=CLOSE[dtype])
    careless = model.loss(*map(tensor, rows[:2])).item()
    assert abs(careless / alone - 1) > 1e-3  # 不分段就不同：这个测试看得出来


def test_ranks_do_not_share_the_packed_rows() -> None:
    """几个进程的行合起来不是一个进程的。"""
    rows = Isolated(drawn_examples(24).packed(pad=0), batch_size=4, seed=1)
    for whole, *parts in zip(rows.batch(2), rows.batch(2, 0, 2), rows.batch(2, 1, 2), strict=True):
        assert np.array_equal(whole, np.concatenate(parts))


@pytest.mark.parametrize("engine", ENGINES)
def test_resumed_packed_tuning_differs(based: Place, engine: str) -> None:
    """装行的微调停下再续完，与从未停过的不是逐位相同；没有说装得多满；或批次与不装行的一样。"""
    flags = {"packing": "bos", "save_every": 2, "dropout": 0.1, "batch_size": 2}
    done = assert_resumes_exactly(based, engine, **flags)
    assert "% full" in done.err


def test_engines_tune_packed_rows_differently(based: Place) -> None:
    """装行的微调，两个引擎的结果不同；连同 LoRA 也一样。"""
    for flags in ({}, {"lora_rank": 2}):
        for engine in ENGINES:
            done = tune(based, engine, f"{engine}{len(flags)}", packing="bos", batch_size=2, **flags)
            assert done.code == 0, done.err
        assert furthest(based.tensors(f"numpy{len(flags)}"), based.tensors(f"torch{len(flags)}")) < PARITY


def test_conversations_are_cut_to_fill_rows(based: Place) -> None:
    """``--packing split`` 会切开对话，没有被拒绝。"""
    done = tune(based, "torch", "x", packing="split")
    assert done.code == 2
    assert "cut conversations" in done.err
