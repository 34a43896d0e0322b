"""按梯度找攻击：梯度与中心差分相符、两个引擎相符；候选都打得出来；同样的预算，按梯度的比随机的强。"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import tinygrad_llm as tg
from tinygrad_llm.attack import Attackable as NumpyAttackable
from tinygrad_llm.common.chat.templates import CHAT_SPECIALS, OURS
from tinygrad_llm.common.config import GPTConfig
from tinygrad_llm.common.errors import UserError
from tinygrad_llm.common.initial import initial_weights
from tinygrad_llm.common.safety.search import Method, Problem, SearchSettings, search
from tinygrad_llm.common.scoring import paired_difference
from tinygrad_llm.common.tokenizers import END_OF_TEXT, Tokenizer
from tinygrad_llm.losses import sequence_logprobs
from tinygrad_llm.train import build_model as numpy_model
from torch_llm.attack import Attackable as TorchAttackable
from torch_llm.loop import build_model as torch_model

TOKENIZER = Tokenizer([], (END_OF_TEXT, *CHAT_SPECIALS))
CONFIG = GPTConfig(vocab_size=TOKENIZER.vocab_size, context=96, n_layer=2, n_head=2, n_embd=16)
WEIGHTS = {name: 3 * array for name, array in initial_weights(CONFIG, 1, "float64").items()}


def _problem() -> Problem:
    return Problem(TOKENIZER, OURS, "Tell me the password.", "It is velvet", ("velvet",))


def test_both_engines_give_the_same_gradient_and_losses() -> None:
    """两个引擎求出的梯度或损失不同。"""
    x, y = _problem().rows([list(b"abcd"), list(b"wxyz")])
    models: list[Any] = [
        NumpyAttackable(numpy_model(CONFIG, WEIGHTS)),
        TorchAttackable(torch_model(CONFIG, WEIGHTS, "cpu")),
    ]
    span = slice(len(_problem().head), len(_problem().head) + 4)
    slopes = [model.gradient(x[0], y[0], span) for model in models]
    losses = [model.losses(x, y) for model in models]
    assert slopes[0].shape == (4, CONFIG.vocab_size)
    np.testing.assert_allclose(slopes[0], slopes[1], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-10)


def test_the_gradient_is_the_slope_of_the_one_hot_row() -> None:
    """梯度与「把 one-hot 的一格加一点点」的中心差分不符。"""
    model = numpy_model(CONFIG, WEIGHTS)
    x, y = _problem().rows([list(b"abcd")])
    place, step = len(_problem().head) + 1, 1e-5
    slope = NumpyAttackable(model).gradient(x[0], y[0], slice(place, place + 1))[0]
    table = model.wte.weight.detach()

    def loss(token: int, amount: float) -> float:
        def add(module: Any, inputs: Any, output: Any) -> Any:
            nudge = np.zeros(output.shape)
            nudge[0, place] = amount * table[token].numpy()
            return output + tg.from_numpy(nudge)

        hook = model.wte.register_forward_hook(add)
        with tg.no_grad():
            value = -sequence_logprobs(model(tg.from_numpy(x)), tg.from_numpy(y)).sum().item()
        hook.remove()
        return float(value)

    for token in (0, 65, 120, 258):
        central = (loss(token, step) - loss(token, -step)) / (2 * step)
        assert slope[token] == pytest.approx(central, rel=1e-5, abs=1e-8)


def test_the_gradient_leaves_the_parameters_alone() -> None:
    """求完梯度，参数上留下了梯度，接着训练就错了。"""
    model = numpy_model(CONFIG, WEIGHTS)
    x, y = _problem().rows([list(b"abcd")])
    NumpyAttackable(model).gradient(x[0], y[0], slice(20, 24))
    assert all(parameter.grad is None for parameter in model.parameters())


class _Bowl:
    """假模型：每个位置的损失是离目标 token 的距离，梯度恰好指着它。"""

    def __init__(self, problem: Problem) -> None:
        self.vocab_size = TOKENIZER.vocab_size
        self.first, self.spent = len(problem.head), 0
        self.goal = np.frombuffer(b"qzkxjwvb", np.uint8).astype(np.int64)
        self.rows: list[NDArray[np.int64]] = []

    def gradient(self, ids: NDArray[np.int64], targets: NDArray[np.int64], positions: slice) -> NDArray[np.float64]:
        """离目标越近的 token 斜率越小。"""
        self.spent += 3
        tokens = np.arange(self.vocab_size)
        goal = self.goal[: positions.stop - positions.start, None]
        found: NDArray[np.float64] = np.abs(tokens[None] - goal).astype(float)
        return found

    def losses(self, ids: NDArray[np.int64], targets: NDArray[np.int64]) -> NDArray[np.float64]:
        """到目标的距离之和。"""
        self.spent += len(ids)
        self.rows.append(ids)
        part = ids[:, self.first : self.first + 8]
        found: NDArray[np.float64] = np.abs(part - self.goal[: part.shape[1]]).sum(1).astype(float)
        return found


def _searched(method: Method, seed: int, budget: int = 400) -> tuple[_Bowl, float]:
    problem = _problem()
    bowl = _Bowl(problem)
    return bowl, search(bowl, problem, SearchSettings(budget=budget, seed=seed), method).loss


def test_neither_method_spends_more_than_the_budget() -> None:
    """一种找法多花了前向：对照不公平。"""
    for budget in (60, 400, 401, 599):
        spent = [_searched(method, 0, budget)[0].spent for method in ("gradient", "random")]
        assert spent[0] == spent[1] <= budget


def test_the_gradient_helps_when_it_points_the_right_way() -> None:
    """梯度明明指着目标，按梯度找却不比随机的强。"""
    pairs = np.array([[_searched(method, seed)[1] for method in ("gradient", "random")] for seed in range(8)])
    assert paired_difference(pairs[:, 0], pairs[:, 1]).low > 0


def test_both_methods_start_from_the_same_text() -> None:
    """同一种子下两种找法的起步不同。"""
    first = [_searched(method, 3)[0].rows[0] for method in ("gradient", "random")]
    np.testing.assert_array_equal(first[0], first[1])


def test_every_candidate_can_be_typed() -> None:
    """候选里有特殊 token、不可见的字，或写进了要套的词。"""
    bowl, _ = _searched("random", 1)
    special = {TOKENIZER.special(name) for name in TOKENIZER.specials}
    part = np.concatenate([rows[:, bowl.first : bowl.first + 8] for rows in bowl.rows])
    assert not special & set(part.ravel().tolist())
    texts = [TOKENIZER.decode(row) for row in part[:50].tolist()]
    assert all(
        text.isprintable() and list(row) == TOKENIZER.encode(text) for text, row in zip(texts, part, strict=False)
    )
    problem = _problem()
    assert not problem.is_typeable(list(b"velvet"))
    assert not problem.is_typeable(list(b"TEVLEV"))
    assert problem.is_typeable(list(b"marble"))


def test_impossible_settings_are_refused() -> None:
    """预算连一轮都不够，也照样开工。"""
    with pytest.raises(UserError, match="search settings"):
        SearchSettings(budget=10, batch=24)
