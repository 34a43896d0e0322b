"""Beam search：够宽时就是穷举；窄时不比贪心差；语法、停止与槽的复制不出错。"""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parity_tests.decoding.markov import MarkovSlots, random_table
from parity_tests.decoding.words import END, WordTokenizer
from tinygrad_llm.common.decoding.beam import beam_search
from tinygrad_llm.common.decoding.grammar.constraint import regex_constraint
from tinygrad_llm.common.decoding.request import Request
from tinygrad_llm.common.errors import UserError

TOKENIZER = WordTokenizer([b"a", b"b", b"c"])
STOP = frozenset({TOKENIZER.special(END)})
SIZE = TOKENIZER.vocab_size


def log_probabilities(decoder: MarkovSlots, ids: list[int]) -> np.ndarray:
    """照定义：每个 token 的对数概率。"""
    logits = decoder.after(ids)
    return logits - math.log(np.exp(logits).sum())


def every_text(decoder: MarkovSlots, prompt: list[int], length: int, penalty: float) -> dict[tuple[int, ...], float]:
    """全部写法与各自的得分：写到停止 token，或写满。"""
    found = {}
    for size in range(1, length + 1):
        for tokens in itertools.product(range(SIZE), repeat=size):
            stopped = [token in STOP for token in tokens]
            if any(stopped[:-1]) or (size < length and not stopped[-1]):
                continue
            logprob = sum(log_probabilities(decoder, [*prompt, *tokens[:i]])[token] for i, token in enumerate(tokens))
            found[tokens] = logprob / size**penalty
    return found


@given(seed=st.integers(0, 1000), penalty=st.sampled_from([0.0, 0.7, 1.0, 1.5, -0.5]))
def test_a_wide_beam_misses_the_best_text(seed: int, penalty: float) -> None:
    """宽到装得下全部半截时，前五名的得分与穷举不同。"""
    decoder = MarkovSlots(random_table(SIZE, seed), slots=SIZE**3)
    found = beam_search(decoder, Request((0, 1), 4, stop_ids=STOP), TOKENIZER, beams=SIZE**3, length_penalty=penalty)
    expected = every_text(decoder, [0, 1], 4, penalty)
    assert [one.score for one in found[:5]] == pytest.approx(sorted(expected.values(), reverse=True)[:5], abs=1e-12)
    for one in found[:5]:
        assert one.score == pytest.approx(expected[one.tokens], abs=1e-12)


@given(seed=st.integers(0, 1000), beams=st.integers(1, 6))
def test_a_narrow_beam_reports_scores_of_other_texts(seed: int, beams: int) -> None:
    """窄的 beam：每一条的得分须是那条文字自己的；缓存复制错了槽，得分就是别人的。"""
    decoder = MarkovSlots(random_table(SIZE, seed), slots=beams)
    found = beam_search(decoder, Request((2,), 5, stop_ids=STOP), TOKENIZER, beams=beams)
    expected = every_text(decoder, [2], 5, 1.0)
    assert 0 < len(found) <= beams
    for one in found:
        assert one.score == pytest.approx(expected[one.tokens], abs=1e-12)


@given(seed=st.integers(0, 1000))
def test_one_beam_is_not_greedy(seed: int) -> None:
    """没有停止 token 时，一条的 beam search 与逐个取最大不同。"""
    decoder = MarkovSlots(random_table(SIZE, seed))
    found, ids = beam_search(decoder, Request((2,), 6), TOKENIZER, beams=1), [2]
    for _ in range(6):
        ids.append(int(np.argmax(decoder.after(ids))))
    assert [one.tokens for one in found] == [tuple(ids[1:])]


@given(seed=st.integers(0, 1000))
def test_a_beam_breaks_the_constraint(seed: int) -> None:
    """约束下写出的不合正则，或不是合正则的里最好的。"""
    decoder = MarkovSlots(random_table(SIZE, seed), slots=64)
    constraint = regex_constraint("a(b|c){1,3}", TOKENIZER)
    request = Request((0,), 5, stop_ids=STOP, constraint=constraint)
    found = beam_search(decoder, request, TOKENIZER, beams=64, length_penalty=0.0)
    texts = ["a" + "".join(rest) for n in (1, 2, 3) for rest in itertools.product("bc", repeat=n)]
    assert {one.text for one in found} == set(texts)
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)


def test_a_stop_string_is_written() -> None:
    """停止串之后还有文字，或它自己被写了出来。"""
    decoder = MarkovSlots(random_table(SIZE, 3), slots=8)
    for one in beam_search(decoder, Request((0,), 6, stop=("bc", "ca")), TOKENIZER, beams=8):
        assert "bc" not in one.text
        assert "ca" not in one.text


def test_too_many_beams_are_accepted() -> None:
    """槽不够，或开头装不进上下文，却开始搜索。"""
    with pytest.raises(UserError, match="the decoder has 2"):
        beam_search(MarkovSlots(random_table(SIZE, 0), slots=2), Request((0,), 3), TOKENIZER, beams=3)
    with pytest.raises(UserError, match="contexts of 4"):
        beam_search(MarkovSlots(random_table(SIZE, 0), context=4), Request((0,) * 4, 3), TOKENIZER, beams=1)
