"""偏好的方法：损失与手算的相同，两个引擎相同，与怎样切微批无关。

流入：小模型与随机的批次；流出：损失、数字、梯度与权重的差。
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from tinygrad_llm.common.config import GPTConfig
from tinygrad_llm.common.engine import Batch
from tinygrad_llm.common.torch_config import TorchConfig
from tinygrad_llm.objectives_preferences import PreferenceMethod as NumpyPreference
from tinygrad_llm.objectives_preferences import RewardMethod as NumpyReward
from tinygrad_llm.tuning import MethodEngine
from torch_llm.loop import TorchEngine
from torch_llm.objectives_preferences import PreferenceMethod, RewardMethod, token_logprobs

CONFIG = GPTConfig(vocab_size=13, context=8, n_layer=2, n_head=2, n_embd=8)
LOSSES = ("dpo", "ipo", "kto", "orpo")
BETA = 0.3


def settings(**changed: Any) -> TorchConfig:
    """float64 的设置，在 CPU 上。"""
    return TorchConfig(**{"dtype": "float64", "batch_size": 4, "device": "cpu", "workers": 1, "seed": 2, **changed})


def batch(step: int = 0) -> Batch:
    """四对回答：提示与填充处不计，长短不一；参考的对数概率是随机的。"""
    draw = np.random.default_rng(step)
    x, y = draw.integers(0, 13, (2, 4, 2, 8))
    y[:, :, :2] = -100
    y[0, 0, 6:] = y[2, 1, 4:] = -100
    return x, y, draw.uniform(-3, -1, (4, 2, 8)), np.array([True, False, False, True])


def engines(kind: str, **changed: Any) -> list[Any]:
    """NumPy 的与 torch 的引擎。"""
    if kind == "reward":
        pair: tuple[Any, Any] = NumpyReward(0.5), RewardMethod(0.5)
    else:
        pair = NumpyPreference(kind, BETA), PreferenceMethod(kind, BETA)
    chosen = settings(**changed)
    return [made(CONFIG, chosen, method=one) for made, one in zip((MethodEngine, TorchEngine), pair, strict=True)]


def given(kind: str, step: int) -> Batch:
    """这种方法的批次。"""
    x, y, reference, desirable = batch(step)
    return (x, np.array([[5, 7], [7, 7], [6, 3], [2, 7]])) if kind == "reward" else (x, y, reference, desirable)


@pytest.mark.parametrize("kind", [*LOSSES, "reward"])
def test_the_two_engines_learn_preferences_differently(kind: str) -> None:
    """同样的批次走四步，两个引擎的损失、数字或权重有差别。"""
    pair = engines(kind)
    for step in range(4):
        ours, theirs = (engine.train_step(step, given(kind, step), 1e-2) for engine in pair)
        assert ours.loss == pytest.approx(theirs.loss, rel=1e-11)
        assert ours.grad_norm == pytest.approx(theirs.grad_norm, rel=1e-10)
        assert ours.figures == pytest.approx(dict(theirs.figures), rel=1e-9, abs=1e-12)
    weights, others = (engine.export()[0] for engine in pair)
    assert weights.keys() == others.keys()
    assert all(np.allclose(weights[name], others[name], atol=1e-10) for name in weights)


@pytest.mark.parametrize("kind", ["dpo", "ipo", "orpo", "reward"])
def test_cutting_the_batch_changes_the_step(kind: str) -> None:
    """切成两个微批，损失、梯度与数字应当不变（KTO 的基线取自整个批次，不许切）。"""
    for whole, halves in zip(engines(kind), engines(kind, accumulate=2), strict=True):
        one, two = (engine.train_step(0, given(kind, 0), 1e-2) for engine in (whole, halves))
        assert one.loss == pytest.approx(two.loss, rel=1e-12)
        assert one.grad_norm == pytest.approx(two.grad_norm, rel=1e-12)
        assert one.figures == pytest.approx(dict(two.figures), rel=1e-11)


def _logprobs(engine: Any, x: Any, y: Any) -> Any:
    """由整个 softmax 手算的、每个目标的对数概率，不计处为 0；形状 (B, 2, T)。"""
    import torch

    with torch.no_grad():
        logits = engine.model(torch.from_numpy(x.reshape(-1, x.shape[-1]))).numpy()
    logits -= logits.max(-1, keepdims=True)
    table = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    rows, columns = np.indices(table.shape[:2])
    targets = y.reshape(table.shape[:2])
    return np.where(targets >= 0, table[rows, columns, np.maximum(targets, 0)], 0).reshape(x.shape)


@pytest.mark.parametrize("kind", LOSSES)
def test_the_loss_of_a_batch_differs_from_the_formula(kind: str) -> None:
    """整个批次的损失与逐对手算的不同。"""
    engine = engines(kind)[1]
    x, y, reference, desirable = batch()
    found, counts = _logprobs(engine, x, y), (y >= 0).sum(-1)
    base = np.where(y >= 0, reference, 0).sum(-1)
    total, losses = found.sum(-1), []
    baseline = max(0.0, float(np.mean(total[:, 1] - base[:, 1])))
    for row in range(4):
        gaps = total[row] - base[row]
        if kind == "dpo":
            losses.append(math.log1p(math.exp(-BETA * (gaps[0] - gaps[1]))))
        elif kind == "ipo":
            mean = gaps / counts[row]
            losses.append((mean[0] - mean[1] - 1 / (2 * BETA)) ** 2)
        elif kind == "kto":
            sign = 1 if desirable[row] else -1
            losses.append(1 - 1 / (1 + math.exp(-sign * BETA * (gaps[0] - baseline))))
        else:
            mean = total[row] / counts[row]
            odds = mean - np.log(1 - np.exp(mean))
            losses.append(-mean[0] + BETA * math.log1p(math.exp(-(odds[0] - odds[1]))))
    examined = engine.examine((x, y, reference, desirable))
    assert examined.loss == pytest.approx(sum(losses), rel=1e-12)
    if kind != "orpo":  # 它没有参考模型
        drift = np.where(y >= 0, found - reference, 0)[:, 0] ** 2 / 2
        assert examined.figures["kl"] == pytest.approx((drift.sum(-1) / counts[:, 0]).sum(), rel=1e-12)


def test_dpo_does_not_start_at_ln_2() -> None:
    """参考就是自己时，每一对的损失恰为 ln 2，差与 KL 的估计为 0；奖励模型的头为 0，也是 ln 2。"""
    import torch

    for engine in engines("dpo"):
        x, y, _, desirable = batch()
        torch_engine = engines("dpo")[1]
        rows = token_logprobs(torch_engine.model, *map(torch.from_numpy, (x.reshape(8, 8), y.reshape(8, 8))))
        found = engine.examine((x, y, rows.detach().numpy().reshape(x.shape), desirable))
        assert found.loss / 4 == pytest.approx(math.log(2), abs=1e-12)
        assert found.figures["kl"] == pytest.approx(0, abs=1e-12)
        assert found.figures["margin"] == pytest.approx(0, abs=1e-12)
    for method in (NumpyReward(), RewardMethod()):
        made: Any = MethodEngine if isinstance(method, NumpyReward) else TorchEngine
        found = made(CONFIG, settings(), method=method).examine(given("reward", 0))
        assert found.loss / 4 == pytest.approx(math.log(2), abs=1e-12)


def test_kto_learns_from_the_mismatched_answers() -> None:
    """配错的回答只用来估计基线：换掉它而基线仍是 0，梯度应当不变。"""
    for engine in engines("kto"):
        x, y, reference, desirable = batch()
        reference[:, 1] = 0  # 参考给配错的回答概率 1，基线于是截到 0
        first = engine.train_step(0, (x, y, reference, desirable), 0.0)
        other = x.copy()
        other[:, 1] = (other[:, 1] + 1) % 13
        second = engine.train_step(0, (other, y, reference, desirable), 0.0)
        assert first.figures["baseline"] == second.figures["baseline"] == 0
        assert first.grad_norm == pytest.approx(second.grad_norm, rel=1e-12)


def test_orpo_breaks_on_a_certain_answer() -> None:
    """模型对回答已有十足把握时，ORPO 的损失与梯度仍是有限的。"""
    for engine in engines("orpo"):
        x, y, reference, desirable = batch()
        y[y >= 0] = 3
        for step in range(60):
            result = engine.train_step(step, (x, y, reference, desirable), 0.1)
        assert math.isfinite(result.loss)
        assert math.isfinite(result.grad_norm)
        assert result.figures["nll"] < 1e-2
