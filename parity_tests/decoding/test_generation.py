"""一个序列：停止串、UTF-8、长度、对数概率与熵，与照定义的朴素算法逐例一致。"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parity_tests.decoding.words import BYTES, END, WordTokenizer
from tinygrad_llm.common.decoding.generation import Generation
from tinygrad_llm.common.decoding.request import Request, Sampling
from tinygrad_llm.common.decoding.text import TextStream
from tinygrad_llm.common.errors import UserError

TOKENIZER = WordTokenizer([*BYTES, "中文".encode(), "中".encode()[:2], b"ab", b"stop", b"op now", b" s", "é!".encode()])
STOP_ID = TOKENIZER.special(END)


def forced(request: Request, tokens: list[int], context: int | None = None) -> tuple[Generation, list[Any]]:
    """逼着它写出 ``tokens``。"""
    generation, steps = Generation(request, TOKENIZER, context), []
    for token in tokens:
        if generation.finish:
            break
        logits = np.zeros(TOKENIZER.vocab_size)
        logits[token] = 50
        steps.append(generation.advance(logits))
    return generation, steps


@given(
    tokens=st.lists(
        st.integers(0, STOP_ID - 1) | st.integers(256, STOP_ID - 1) | st.sampled_from(b"stop nw"), max_size=12
    ),
    stop=st.lists(st.sampled_from(["stop", "p n", "中", "é!", "ab", "\ufffd"]), max_size=2),
)
def test_shown_text_differs_from_cutting_the_whole_text(tokens: list[int], stop: list[str]) -> None:
    """一段段放出的文字接起来，与「整个解码再在最早的停止串处切断」不同；或放出过后来才知道不该放的字。"""
    stream = TextStream(TOKENIZER, stop)
    pieces, count = [], 0
    for token in tokens:
        pieces.append(stream.push(token))
        count += 1
        if stream.is_stopped:
            break
    pieces.append(stream.finish())
    whole = b"".join(TOKENIZER.token_bytes(token) for token in tokens[:count]).decode("utf-8", "replace")
    places = [whole.find(one) for one in stop if one in whole]
    assert "".join(pieces) == (whole[: min(places)] if places else whole)
    assert stream.is_stopped or not places or "\ufffd" in stop  # 末尾凑不齐的字节要到结束才成为 U+FFFD


def test_half_a_character_is_shown() -> None:
    """半个汉字先显示成了 U+FFFD。"""
    _, steps = forced(Request((1,), 9), [257, 0xAD, 257, 0x41])
    assert [step.text for step in steps] == ["", "中", "", "\ufffdA"]


def test_a_special_token_is_shown() -> None:
    """特殊 token 的名字显示成了文字；用文字拼出同样的名字则照常显示。"""
    _, steps = forced(Request((1,), 9), [0x41, STOP_ID, *END.encode()])
    assert "".join(step.text for step in steps) == "A" + END[:7]


@pytest.mark.parametrize(
    ("request_", "tokens", "finish", "text"),
    [
        (Request((1,), 3), [65, 66, 67, 68], "length", "ABC"),
        (Request((1,), 9, stop_ids=frozenset({STOP_ID})), [65, STOP_ID, 66], "stop", "A"),
        (Request((1,), 9, stop=("stop",)), [65, 259, 66], "stop", "A"),
        (Request((1,), 9, stop=("stop now",)), [65, 115, 116, 260, 66], "stop", "A"),
        (Request((1,), 4, stop=("stop now",)), [65, 115, 116, 111], "length", "Asto"),
    ],
)
def test_it_stops_elsewhere(request_: Request, tokens: list[int], finish: str, text: str) -> None:
    """停在别处，或停下时漏了压住的字。"""
    generation, steps = forced(request_, tokens)
    assert (generation.finish, generation.text, generation.pending) == (finish, text, ())
    assert text == "".join(step.text for step in steps)
    assert [step.finish for step in steps[:-1]] == [""] * (len(steps) - 1)


def test_it_runs_past_the_context() -> None:
    """开头加上写出的超过了上下文；开头就装不下的当场报错，说出能有多长。"""
    generation, steps = forced(Request((1, 2, 3), 99), [65] * 20, context=8)
    assert (generation.finish, len(steps)) == ("length", 5)
    with pytest.raises(UserError, match="contexts of 3") as caught:
        Generation(Request((1, 2, 3)), TOKENIZER, 3)
    assert "at most 2" in caught.value.fix


def test_cancelling_loses_held_text() -> None:
    """取消时，压住的字没有放出来。"""
    generation, steps = forced(Request((1,), 9, stop=("stop",)), [65, 115, 116])
    assert [step.text for step in steps] == ["A", "", ""]
    last = generation.cancel()
    assert (last.text, last.finish, last.token, generation.pending) == ("st", "cancelled", -1, ())


@given(seed=st.integers(0, 1000), count=st.integers(0, 20))
def test_log_probabilities_are_of_another_distribution(seed: int, count: int) -> None:
    """对数概率、候选与熵，不是模型自己的分布的（不受温度、惩罚与约束影响）。"""
    logits = np.random.default_rng(seed).normal(size=TOKENIZER.vocab_size).astype(np.float32) * 4
    sampling = Sampling(0.5, top_k=3, frequency_penalty=5, seed=seed, logit_bias={1: -math.inf, 2: 3.0})
    step = Generation(Request((1, 2), logprobs=count, sampling=sampling), TOKENIZER).advance(logits)
    weights = [math.exp(float(x)) for x in logits]
    p = [weight / math.fsum(weights) for weight in weights]
    best = sorted(range(len(p)), key=lambda i: (-p[i], i))[:count]
    assert [id for id, _ in step.top] == best
    assert [logp for _, logp in step.top] == pytest.approx([math.log(p[i]) for i in best], abs=1e-9)
    assert step.logprob == pytest.approx(math.log(p[step.token]), abs=1e-9)
    assert step.entropy == pytest.approx(-math.fsum(x * math.log(x) for x in p), abs=1e-9)


def test_a_row_beyond_the_vocabulary_is_chosen() -> None:
    """模型的输出比词表多几行（凑整），选中了多出的一行。"""
    logits = np.zeros(TOKENIZER.vocab_size + 7)
    logits[-1] = 99
    assert Generation(Request((1,), sampling=Sampling(0.0)), TOKENIZER).advance(logits).token == 0


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"prompt": ()}, "the prompt is empty"),
        ({"prompt": (-1,)}, "must not be negative"),
        ({"max_tokens": 0}, "max_tokens must be at least 1"),
        ({"stop": ("a", "")}, "must not be empty"),
        ({"logprobs": 21}, "from 0 to 20"),
    ],
)
def test_a_wrong_request_is_accepted(wrong: dict[str, Any], said: str) -> None:
    """越界的要求没有报错；几处一起错时，一次说完。"""
    with pytest.raises(UserError, match=said):
        Request(**{"prompt": (1,), **wrong})
    with pytest.raises(UserError, match=r"empty.*max_tokens"):
        Request((), 0)


def test_banning_everything_goes_unnoticed() -> None:
    """全部 token 都被禁用，没有说清原因。"""
    ban = dict.fromkeys(range(TOKENIZER.vocab_size), -math.inf)
    with pytest.raises(UserError, match="no token is left"):
        Generation(Request((1,), sampling=Sampling(logit_bias=ban)), TOKENIZER).advance(np.zeros(TOKENIZER.vocab_size))
