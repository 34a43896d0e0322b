"""评估：与怎样分批无关，最好的一次记得住，没有进步数得对。"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from tinygrad_llm.common.batches import IGNORE_INDEX
from tinygrad_llm.common.config import GPTConfig
from tinygrad_llm.common.errors import CheckpointError
from tinygrad_llm.common.evaluation.validation import evaluate
from tinygrad_llm.common.standing import Standing
from tinygrad_llm.common.torch_config import TorchConfig
from tinygrad_llm.common.train_config import TrainConfig
from tinygrad_llm.train import NumpyEngine
from torch_llm.loop import TorchEngine

MODEL = GPTConfig(vocab_size=40, context=12, n_layer=2, n_head=2, n_embd=16)
IDS = np.random.default_rng(0).integers(40, size=12 * 37 + 5)
LENGTHS = np.arange(40) % 4
TO = {"float64": 1e-12, "float32": 1e-7}
"""float32 里各批的矩阵乘法按形状选不同的分块，每个 logit 差一个末位；平均之后不到 1e-7。"""


def engine(name: str, dtype: Any) -> Any:
    """一个新造的引擎。"""
    if name == "numpy":
        return NumpyEngine(MODEL, TrainConfig(dtype=dtype, workers=1))
    return TorchEngine(MODEL, TorchConfig(dtype=dtype, device="cpu"))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", ["numpy", "torch"])
def test_rows_per_batch_change_the_bits_per_byte(name: str, dtype: str) -> None:
    """每批 1、3、8、100 行，末批参差不齐：bits/byte 与困惑度相同。"""
    one = engine(name, dtype)
    found = [evaluate(one, IDS, MODEL.context, LENGTHS, rows=rows) for rows in (1, 3, 8, 100)]
    for figures in found:
        assert figures is not None
        assert found[0] is not None
        assert figures.tokens == IDS.size - 1
        assert figures.bits_per_byte == pytest.approx(found[0].bits_per_byte, rel=TO[dtype])
        assert figures.perplexity == pytest.approx(math.exp(figures.loss), rel=1e-15)  # 两个 exp 可以差一个末位


def test_figures_differ_from_the_definition() -> None:
    """一个一个 token 地用 torch 的 log_softmax 算：平均负对数似然，除以字节数与 ln 2。"""
    one = engine("torch", "float64")
    figures = evaluate(one, IDS, MODEL.context, LENGTHS)
    nats = []
    for start in range(0, IDS.size - 1, MODEL.context):
        piece = torch.from_numpy(IDS[start : start + MODEL.context + 1])
        logits = one.model(piece[None, :-1])[0]
        nats += (-logits.log_softmax(-1)[range(len(piece) - 1), piece[1:]]).tolist()
    assert figures is not None
    assert figures.loss == pytest.approx(np.mean(nats), rel=1e-12)
    assert figures.bits_per_byte == pytest.approx(sum(nats) / math.log(2) / LENGTHS[IDS[1:]].sum(), rel=1e-12)


class Constant:
    """每个 token 的损失都是同一个数的引擎。"""

    def __init__(self, loss: float) -> None:
        self.loss, self.calls = loss, 0

    def evaluate(self, x: Any, y: Any) -> float:
        """数一数，乘一乘。"""
        self.calls += 1
        return self.loss * int((y != IGNORE_INDEX).sum())


def test_huge_loss_overflows() -> None:
    """发散了的模型：困惑度是无穷，没有警告也没有异常。"""
    figures = evaluate(Constant(1e4), IDS, 12, LENGTHS)
    assert figures is not None
    assert figures.perplexity == math.inf


def test_evaluation_cannot_be_abandoned() -> None:
    """半途喊停：没有结果，余下的批次不算。"""
    one = Constant(1.0)
    assert evaluate(one, IDS, 12, LENGTHS, rows=1, is_stopped=lambda: one.calls == 3) is None
    assert one.calls == 3


def test_best_evaluation_is_forgotten() -> None:
    """更低的才是最好的；持平、更高、NaN 都算没有进步。"""
    standing = Standing()
    for step, loss in [(10, 3.0), (20, 2.0), (30, 2.0), (40, math.nan), (50, 2.5)]:
        standing = standing.after(step, loss)
    assert standing == Standing(20, 2.0, 3)
    assert [standing.is_exhausted(patience) for patience in (0, 3, 4)] == [False, True, False]
    assert standing.after(60, 1.9) == Standing(60, 1.9)
    assert Standing.of_state({"standing": standing.to_state()}) == standing
    assert Standing.of_state({}) == Standing()


@pytest.mark.parametrize(
    "kept", [{"other": 1}, {"best_step": 1}, {"best_step": 1, "best_loss": 1}, {"stale": True}, {"stale": 1.0}]
)
def test_nonsense_in_the_checkpoint_crashes(kept: dict[str, Any]) -> None:
    """状态不合法时报 CheckpointError。"""
    with pytest.raises(CheckpointError):
        Standing.of_state({"standing": kept})
