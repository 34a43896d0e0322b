"""惩罚与截断：与照定义写的、与 ``transformers`` 的处理器一致；频率符合截断后的分布。"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_llm.common.decoding.penalties import Repetitions
from tinygrad_llm.common.decoding.request import Sampling
from tinygrad_llm.common.decoding.sampling import choose, kept, uniform_at
from tinygrad_llm.common.errors import UserError

LOGITS = st.lists(st.floats(-20, 20), min_size=2, max_size=30)


@given(
    logits=LOGITS,
    prompt=st.lists(st.integers(0, 35), max_size=6),
    written=st.lists(st.integers(0, 35), max_size=8),
    repetition=st.floats(0.5, 3),
    presence=st.floats(-2, 2),
    frequency=st.floats(-2, 2),
)
def test_penalties_leave_their_definition(
    logits: list[float], prompt: list[int], written: list[int], repetition: float, presence: float, frequency: float
) -> None:
    """逐个 token 照定义算的分数与之不同；词表之外的 id 不该有影响。"""
    sampling = Sampling(repetition_penalty=repetition, presence_penalty=presence, frequency_penalty=frequency)
    seen, scores = Repetitions(prompt), np.array(logits)
    for token in written:
        seen.add(token)
    seen.penalise(scores, sampling)
    for i, score in enumerate(logits):
        expected = score
        if i in prompt or i in written:
            expected = score / repetition if score > 0 else score * repetition
        if i in written:
            expected -= presence + frequency * written.count(i)
        assert scores[i] == pytest.approx(expected, abs=1e-12)


@given(logits=LOGITS, data=st.data(), penalty=st.floats(0.6, 2))
def test_the_repetition_penalty_differs_from_transformers(logits: list[float], data: Any, penalty: float) -> None:
    """重复惩罚与 ``RepetitionPenaltyLogitsProcessor`` 不同。"""
    torch = pytest.importorskip("torch")
    from transformers import RepetitionPenaltyLogitsProcessor

    ids = data.draw(st.lists(st.integers(0, len(logits) - 1), min_size=1, max_size=9))
    scores = np.array(logits)
    Repetitions(ids).penalise(scores, Sampling(repetition_penalty=penalty))
    row = torch.tensor([logits], dtype=torch.float64)
    expected = RepetitionPenaltyLogitsProcessor(penalty)(torch.tensor([ids]), row)
    np.testing.assert_allclose(scores, expected[0].numpy(), rtol=1e-12)


@given(
    logits=st.lists(st.floats(-8, 8), min_size=2, max_size=30, unique_by=lambda x: round(x, 3)),
    temperature=st.floats(0.2, 3),
    top_k=st.none() | st.integers(1, 10),
    top_p=st.none() | st.floats(0.05, 0.99),
    min_p=st.none() | st.floats(0.01, 0.9),
)
def test_truncation_differs_from_transformers(
    logits: list[float], temperature: float, top_k: int | None, top_p: float | None, min_p: float | None
) -> None:
    """温度、top-k、top-p、min-p 之后的分布，与 ``transformers`` 同样次序的处理器不同（门槛落在舍入之内的例子除外）。"""
    torch = pytest.importorskip("torch")
    import transformers as hf

    ids, weights = kept(np.array(logits), Sampling(temperature, top_k, top_p, min_p))
    row = torch.tensor([logits], dtype=torch.float64)
    warpers: list[Any] = [hf.TemperatureLogitsWarper(temperature)]
    warpers += [hf.TopKLogitsWarper(top_k)] if top_k else []
    warpers += [hf.TopPLogitsWarper(top_p)] if top_p else []
    warpers += [hf.MinPLogitsWarper(min_p)] if min_p else []
    for warper in warpers:
        row = warper(torch.tensor([[0]]), row)
    expected = torch.softmax(row, -1)[0].numpy()
    if top_p and _is_close_call(logits, temperature, top_k, top_p):
        return
    found = np.zeros(len(logits))
    found[ids] = weights / weights.sum()
    np.testing.assert_allclose(found, expected, atol=1e-9)


def _is_close_call(logits: list[float], temperature: float, top_k: int | None, top_p: float) -> bool:
    """累计概率与 top-p 的门槛几乎相等：留不留取决于舍入。"""
    weights = sorted((math.exp(x / temperature) for x in logits), reverse=True)[:top_k]
    return bool(np.min(np.abs(np.cumsum(weights) / sum(weights) - top_p)) < 1e-6)


@pytest.mark.parametrize(
    "sampling",
    [Sampling(1.0, min_p=0.2), Sampling(1.3, top_k=4), Sampling(0.7, top_p=0.8), Sampling(0.9, 6, 0.95, 0.05)],
    ids=["min-p", "top-k", "top-p", "all"],
)
def test_frequencies_leave_the_truncated_distribution(sampling: Sampling) -> None:
    """四千次抽样的卡方统计量超过 0.1% 分位点，或抽中了截掉的 token。"""
    logits = np.array([0.0, 1.0, 2.0, -1.0, 0.5, 0.4, 1.5, -2.0])
    quantiles = {1: 10.8, 2: 13.8, 3: 16.3, 4: 18.5, 5: 20.5, 6: 22.5, 7: 24.3}
    draws = 4000
    observed = np.bincount([choose(logits, sampling, uniform_at(3, n)) for n in range(draws)], minlength=8)
    ids, weights = kept(logits, sampling)
    assert observed.sum() == observed[ids].sum()
    expected = weights / weights.sum() * draws
    assert float(((observed[ids] - expected) ** 2 / expected).sum()) < quantiles[len(ids) - 1]


@pytest.mark.parametrize(
    "wrong",
    [
        {"min_p": -0.1},
        {"min_p": 1.1},
        {"repetition_penalty": 0.0},
        {"presence_penalty": math.inf},
        {"frequency_penalty": math.nan},
        {"seed": -1},
        {"seed": 2**64},
        {"logit_bias": {1: math.nan}},
        {"logit_bias": {-1: 0.0}},
    ],
)
def test_wrong_settings_are_accepted(wrong: dict[str, Any]) -> None:
    """越界的设置没有报错，或没有说出名字。"""
    with pytest.raises(UserError, match=next(iter(wrong))):
        Sampling(**wrong)
