"""量化了的模型一次一个 token 的快路：与成批的那条路同一回事；大矩阵的内核是准的整数算术。

流入：随机的模型与随机的文字；流出：两条路的 logits 之差。
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from parity_tests.contract.cases import configs, weights
from parity_tests.decoding_batch.decoders import relative
from parity_tests.decoding_batch.test_slots import LLAMA
from tinygrad_llm.common.config import GPTConfig
from tinygrad_llm.common.quantization import Packed, Scheme, dequantize, quantize
from tinygrad_llm.common.quantization.storage import quantize_tensors
from torch_llm.decoding import one_integer
from torch_llm.decoding.one_integer import OneInteger
from torch_llm.decoding.slots import TorchSlots
from torch_llm.quantization import kernels
from torch_llm.quantization import weight as weight_module
from torch_llm.quantization.kernels import Arena, Planes, has_exact_bytes
from torch_llm.quantization.model import assembled
from torch_llm.quantization.weight import PackedWeight

SEEDS = st.integers(0, 10_000)
EXACT = 1e-5
"""激活不舍入时，两条路只差 float32 的舍入；单位同 ``test_slots.py``。"""


def exact_kernel(weight: PackedWeight, keep: Any = None) -> Any:
    """还原成 float32 再乘：没有舍入的内核。"""
    whole = weight.to(torch.float32)
    return lambda x: x.float() @ whole.T


def both_ways(config: GPTConfig, scheme: Scheme, seed: int) -> tuple[Any, Any]:
    """同一个开头，之后一个一个地喂：快路的 logits，与还原成浮点数、没有快路的。"""
    rng = np.random.default_rng(seed)
    packed = quantize_tensors(config, weights(config, "float32"), lambda name: scheme)
    fast = TorchSlots(assembled(config, packed), 2)
    slow = TorchSlots(assembled(config, packed, compute="exact"), 2)
    assert isinstance(fast._one, OneInteger)
    assert slow._one is None
    ids = rng.integers(0, config.vocab_size, config.context)
    cut = int(rng.integers(1, config.context))
    found = []
    for decoder in (fast, slow):
        rows = [decoder.feed([(1, ids[:cut])])[0]]
        rows += [decoder.feed([(1, ids[i : i + 1])])[0] for i in range(cut, len(ids))]
        found.append(np.array(rows))
    return found[0], found[1]


@given(config=configs(), seed=SEEDS, scheme=st.sampled_from([Scheme("int8"), Scheme("int4", 32)]))
def test_the_fast_path_computes_something_else(config: GPTConfig, seed: int, scheme: Scheme) -> None:
    """没有舍入的内核下，快路与没有快路时的 logits 相差超过 1e-5。"""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(one_integer, "LOW", torch.float32)
        patch.setattr(weight_module, "make_kernel", exact_kernel)
        patch.setattr(weight_module, "LOW", torch.float32)
        fast, slow = both_ways(config, scheme, seed)
    assert relative(fast, slow) <= EXACT


@pytest.mark.parametrize("scheme", [Scheme("int8"), Scheme("int4", 32)])
def test_rounded_activations_move_the_logits_too_far(scheme: Scheme) -> None:
    """激活舍入成 bfloat16，logits 的误差超过 2 %，或一点不差（根本没有走快的内核）。"""
    fast, slow = both_ways(LLAMA, scheme, 0)
    assert 0 < relative(fast, slow) < 0.02


@given(seed=SEEDS, rows=st.integers(1, 5), size=st.sampled_from([0.0, 1e-35, 1e-3, 1.0, 1e6]))
def test_large_int8_matrices_are_multiplied_inexactly(seed: int, rows: int, size: float) -> None:
    """两个平面的内核：误差超过激活的 16 位舍入。"""
    if not has_exact_bytes():
        pytest.skip("this processor has no exact 8-bit products")
    rng = np.random.default_rng(seed)
    packed = quantize(rng.standard_normal((24, 96)).astype(np.float32), Scheme("int8"))
    x = (rng.standard_normal((rows, 96)) * size).astype(np.float32)
    weight = PackedWeight(packed)
    found = Planes(weight.codes, weight.scale)(torch.from_numpy(x)).numpy()
    whole = dequantize(packed).astype(np.float64)
    step = np.maximum(np.abs(x).max(1, keepdims=True), kernels.LEAST) / kernels.LARGEST
    bound = step / 2 * np.abs(whole).sum(1) + 1e-6 * (np.abs(x) @ np.abs(whole.T)) + 1e-6 * step
    assert (np.abs(found - x @ whole.T) <= 1.01 * bound).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_broken_activation_is_hidden_by_the_kernel(bad: float) -> None:
    """激活里有 NaN 或无穷，两个平面的内核却给出有限的数。"""
    if not has_exact_bytes():
        pytest.skip("this processor has no exact 8-bit products")
    weight = PackedWeight(quantize(np.ones((16, 32), np.float32), Scheme("int8")))
    x = torch.ones(2, 32)
    x[1, 3] = bad
    found = Planes(weight.codes, weight.scale)(x)
    assert found[0].isfinite().all()
    assert not found[1].isfinite().any()


def test_moving_into_the_arena_changes_the_weights() -> None:
    """搬进大块内存之后，数变了、没有对齐，或盖住了别的矩阵。"""
    rng, arena = np.random.default_rng(0), Arena()
    packed: list[Packed] = [
        quantize(rng.standard_normal((out, 40)).astype(np.float32), Scheme("int8")) for out in (3, 17, 900_000)
    ]
    held = [PackedWeight(one) for one in packed]
    for weight in held:
        weight.settle(arena)
    assert [torch.equal(w.codes, torch.from_numpy(p.codes)) for w, p in zip(held, packed, strict=True)] == [True] * 3
    assert [w.codes.data_ptr() % kernels.ALIGNMENT for w in held] == [0, 0, 0]
    assert np.array_equal(dequantize(held[1].packed), dequantize(packed[1]))
