"""一个有效目标也没有的微批：加进来与不加，一步训练的结果相同；两个引擎都是。"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tinygrad_llm.common.batches import IGNORE_INDEX
from tinygrad_llm.common.config import GPTConfig
from tinygrad_llm.common.torch_config import TorchConfig
from tinygrad_llm.common.train_config import TrainConfig
from tinygrad_llm.train import NumpyEngine
from torch_llm.loop import TorchEngine

MODEL = GPTConfig(vocab_size=40, context=12, n_layer=2, n_head=2, n_embd=16)
SETTINGS = TrainConfig(dtype="float64", workers=1, eps=1e-3, grad_clip=0.5)


def trained(name: str, batches: list[tuple[Any, Any]], accumulate: int) -> tuple[list[float], dict[str, Any]]:
    """走完几批；返回损失与梯度范数，以及训练后的参数与状态。"""
    settings = replace(SETTINGS, batch_size=len(batches[0][0]), accumulate=accumulate)
    with ExitStack() as stack:
        if name == "numpy":
            engine: Any = NumpyEngine(MODEL, settings)
            stack.callback(engine.close)
        else:
            engine = TorchEngine(MODEL, TorchConfig.of(settings, "cpu"))
        found = [engine.train_step(step, (x, y), 1e-2) for step, (x, y) in enumerate(batches)]
        weights, states, _ = engine.export()
        arrays = {key: np.array(array) for key, array in {**weights, **states}.items()}
    assert all(one.updated for one in found)
    return [number for one in found for number in (one.loss, one.grad_norm)], arrays


@pytest.mark.parametrize("at", [0, 1, 2])
@pytest.mark.parametrize("name", ["numpy", "torch"])
def test_fully_masked_micro_batch_changes_the_step(name: str, at: int) -> None:
    """三个微批，第 ``at`` 个全被遮住，另两个的掩码参差不齐：与只有那两个微批的训练相同。"""
    rng = np.random.default_rng(at)
    batches, without = [], []
    for _ in range(3):
        x, y = rng.integers(MODEL.vocab_size, size=(2, 6, MODEL.context))
        y[rng.random(y.shape) < rng.random((6, 1))] = IGNORE_INDEX
        y[2 * at : 2 * at + 2] = IGNORE_INDEX
        others = [row for row in range(6) if row // 2 != at]
        batches.append((x, y))
        without.append((x[others], y[others]))
    found, arrays = trained(name, batches, 3)
    expected, others_arrays = trained(name, without, 2)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    for key, array in others_arrays.items():
        np.testing.assert_allclose(arrays[key], array, rtol=0, atol=1e-12, err_msg=key)
