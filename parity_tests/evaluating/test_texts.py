"""困惑度与每字节的比特：批大小、打包、引擎都不影响；等于照定义逐 token 算的。

流入：随机权重的运行；流出：差。
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from parity_tests.evaluating.runs import TEXT, fake, make_run, small_tokenizer
from tinygrad_llm import evaluate as numpy_side
from tinygrad_llm.common.errors import UserError
from tinygrad_llm.common.evaluation.likelihood import Candidate
from tinygrad_llm.common.evaluation.texts import BLOCK, TextScore, score_texts, windows_of
from torch_llm import evaluate as torch_side
from torch_llm.loading import load_model

TEXTS = [TEXT * 3, "Tom.", "A red ball! " * 9, "小雨在菜园里。" * 20, "x", TEXT]
KINDS: dict[str, dict[str, Any]] = {
    "learned": {},
    "rope": {"position": "rope", "norm": "rmsnorm", "mlp": "swiglu", "bias": False},
    "window": {"window": 16},
}
SIDES = {"torch": torch_side.open_candidate, "numpy": numpy_side.open_candidate}


def measure(candidate: Candidate, **how: Any) -> TextScore:
    """量一遍。"""
    return score_texts("t", TEXTS, candidate.tokenizer, candidate.likelihood, **how)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("side", SIDES)
def test_batch_size_and_packing_change_the_figures(tmp_path: Path, side: str, kind: str) -> None:
    """批大小或打包改变了困惑度或每字节的比特（1e-9，float64）。"""
    candidate = SIDES[side](make_run(tmp_path / "run", **KINDS[kind]))
    reference = measure(candidate, batch_size=1)
    assert candidate.facts["dtype"] == "float64"
    for how in ({"batch_size": 3}, {"batch_size": 64}, {"batch_size": 5, "is_packed": True}):
        found = measure(candidate, **how)
        assert (found.tokens, found.n_bytes) == (reference.tokens, reference.n_bytes)
        assert found.perplexity == pytest.approx(reference.perplexity, rel=1e-9)
        assert found.bits_per_byte == pytest.approx(reference.bits_per_byte, rel=1e-9)
        np.testing.assert_allclose(found.block_nats, reference.block_nats, rtol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_engines_disagree_on_the_figures(tmp_path: Path, kind: str) -> None:
    """同一个运行，两个引擎量出来的不同（1e-9，float64）。"""
    run = make_run(tmp_path / "run", **KINDS[kind])
    ours, theirs = (measure(side(run), stride=7) for side in SIDES.values())
    assert ours.bits_per_byte == pytest.approx(theirs.bits_per_byte, rel=1e-9)
    np.testing.assert_allclose(ours.block_nats, theirs.block_nats, rtol=1e-9)


def test_figures_differ_from_the_definition(tmp_path: Path) -> None:
    """与「逐 token 取 logits、softmax、取负对数相加」不同；字节数不是原文的字节数。"""
    run = make_run(tmp_path / "run")
    model, tokenizer = load_model(run, "cpu").model.double(), small_tokenizer()
    nats = tokens = 0.0
    for text in TEXTS:
        ids = [tokenizer.eot, *tokenizer.encode(text)]
        done, context, stride = 1, model.config.context, 24
        while done < len(ids):  # ids[done:stop] 由至多 context 个前文预测
            stop = min(len(ids), done + (context if done == 1 else stride))
            first = max(0, stop - 1 - context)
            with torch.no_grad():
                logp = model(torch.tensor([ids[first : stop - 1]]))[0].log_softmax(-1)
            nats -= sum(logp[i - 1 - first, ids[i]].item() for i in range(done, stop))
            done = stop
        tokens += len(ids) - 1
    found = measure(torch_side.open_candidate(run), stride=24)
    n_bytes = sum(len(text.encode()) for text in TEXTS)
    assert (found.tokens, found.n_bytes) == (tokens, n_bytes)
    assert found.perplexity == pytest.approx(math.exp(nats / tokens), rel=1e-9)
    assert found.bits_per_byte == pytest.approx(nats / math.log(2) / n_bytes, rel=1e-9)


@pytest.mark.parametrize(
    ("length", "context", "stride"), [(1, 4, 2), (4, 4, 2), (5, 4, 4), (23, 4, 1), (23, 8, 3), (9, 8, 8)]
)
def test_a_token_is_predicted_twice_or_never(length: int, context: int, stride: int) -> None:
    """滑动窗口漏掉或重复预测了某个 token，窗口超出上下文，或前文少于 ``context - stride`` 个。"""
    ids = np.arange(1, length + 1)
    seen: list[int] = []
    for number, (row, (first, stop)) in enumerate(windows_of(ids, 0, context, stride)):
        wanted = row.y[row.y >= 0].tolist()
        assert wanted == ids[first:stop].tolist()
        assert row.x.size <= context
        assert (row.x[1:] == row.x[:-1] + 1).all()
        if number:
            assert row.x.size - len(wanted) >= min(context - stride, first)
        seen += wanted
    assert seen == ids.tolist()


def test_uniform_model_is_off_the_closed_form() -> None:
    """每个 token 一样可能的模型，困惑度不是词表大小。"""
    size = small_tokenizer().vocab_size
    candidate = fake(lambda _, __: -math.log(size))
    found = measure(candidate)
    assert found.perplexity == pytest.approx(size, rel=1e-12)
    assert found.bits_per_byte == pytest.approx(found.tokens * math.log2(size) / found.n_bytes, rel=1e-12)
    assert found.perplexity_interval.low == pytest.approx(size, rel=1e-9)


def test_blocks_lose_bytes_or_nats() -> None:
    """区间所用的小块合起来不是全文，或一块远大于定好的大小。"""
    candidate = fake(lambda context, token: -0.1 * (token % 7) - 0.01 * len(context))
    found = score_texts("t", [TEXT * 60, TEXT], candidate.tokenizer, candidate.likelihood)
    assert found.block_bytes.sum() == found.n_bytes
    assert found.block_nats.sum() == pytest.approx(found.nats, rel=1e-12)
    assert found.block_bytes.max() < BLOCK + 64
    assert len(found.block_bytes) == -(-len((TEXT * 60).encode()) // BLOCK) + 1
    interval = found.bits_interval
    assert interval.low <= found.bits_per_byte <= interval.high


def test_impossible_stride_is_accepted() -> None:
    """步幅大于上下文会漏掉 token，却没有报错。"""
    candidate = fake(lambda _, __: -1.0)
    with pytest.raises(UserError, match="stride"):
        measure(candidate, stride=candidate.likelihood.context + 1)
