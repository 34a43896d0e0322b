"""Unigram：切法等于 HF ``tokenizers`` 与穷举，EM 的似然只增不减，采样的频率等于穷举的概率。"""

from __future__ import annotations

import math
import random
from collections import Counter, defaultdict
from collections.abc import Iterator
from functools import cache
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer as HFTokenizer
from tokenizers import models

from tinygrad_llm.common.errors import UserError
from tinygrad_llm.common.tokenizers.lattice import best_path, expected_counts, sampled_path
from tinygrad_llm.common.tokenizers.split import pretokenize
from tinygrad_llm.common.tokenizers.unigram import UnigramTokenizer, em_step, seed_pieces, train_unigram

SAMPLE = "the cat sat on the mat; the other cat's hat is there. 猫坐在垫子上，另一只猫也坐在垫子上。\n"


@cache
def _trained() -> UnigramTokenizer:
    return train_unigram(SAMPLE * 5, 256 + 80 + 1)


def _scores(seed: int, letters: str = "abc") -> dict[str, float]:
    """全部单字，加上一些随机的片段，概率随机。"""
    rng = random.Random(seed)
    longer = ("".join(rng.choices(letters, k=rng.randint(2, 4))) for _ in range(rng.randint(0, 15)))
    return {piece: -rng.uniform(0.5, 9.0) for piece in sorted({*letters, *longer})}


def _splits(text: str, scores: dict[str, float]) -> Iterator[list[str]]:
    """穷举：一个字符串的全部切法。"""
    if not text:
        yield []
    for cut in range(1, len(text) + 1):
        if text[:cut] in scores:
            yield from ([text[:cut], *rest] for rest in _splits(text[cut:], scores))


def _total(pieces: list[str], scores: dict[str, float]) -> float:
    return math.fsum(scores[piece] for piece in pieces)


# ---- Viterbi ----


@given(st.integers(0, 10**6), st.text("abc", max_size=9))
def test_viterbi_equals_trying_every_split(seed: int, text: str) -> None:
    """概率最大的切法不是穷举里最大的。"""
    scores = _scores(seed)
    pieces, score = best_path(text, scores, 4, -100.0)
    assert "".join(pieces) == text
    best = max(_total(split, scores) for split in _splits(text, scores))
    assert _total(pieces, scores) == pytest.approx(best, abs=1e-12)
    assert score == pytest.approx(best, abs=1e-12)


@given(st.integers(0, 10**6), st.text("abc 好z😀é", max_size=25), st.booleans())
def test_encoding_equals_hf_tokenizers(seed: int, text: str, has_ties: bool) -> None:
    """同样的片段与概率，切法、平局的取舍、不认识的罚分或字节回退与 HF 的不同。"""
    rng = random.Random(seed)
    scores = _scores(seed, letters="abc 好")
    for letter in rng.sample("abc 好", rng.randint(0, 3)):  # 有的单字只出现在更长的片段里
        del scores[letter]
    if has_ties:
        scores = {piece: float(round(score)) for piece, score in scores.items()}
    ours = UnigramTokenizer(scores)
    bytes_first = [(f"<0x{byte:02X}>", 0.0) for byte in range(256)]  # 概率只影响「不认识」的罚分，取 0 便不影响
    vocab = [*bytes_first, *ours.scores.items(), ("<unk>", 0.0)]
    theirs = HFTokenizer(models.Unigram(vocab, unk_id=len(vocab) - 1, byte_fallback=True))
    for chunk in pretokenize(text):
        assert ours.encode(chunk) == theirs.encode(chunk).ids, chunk


def test_unknown_characters_cost_more_than_two_poor_pieces() -> None:
    """不认识的字符不再受罚：明明拼得出的词也拆成了字节。"""
    tokenizer = UnigramTokenizer({"ab": -6.0, "ac": -6.0, "bac": -1.0, "c": -10.0})
    assert tokenizer.decode_bytes(tokenizer.encode("abac")[:1]) == b"ab"
    assert len(tokenizer.encode("abac")) == 2


def test_ties_go_to_the_longer_last_piece() -> None:
    """平局的取舍变了：同一个词表前后切得不同。"""
    assert best_path("aaa", {"a": -1.0, "aa": -2.0}, 2, -100.0)[0] == ["a", "aa"]


@given(st.text(max_size=40))
def test_any_text_round_trips(text: str) -> None:
    """没见过的字符拆成字节后还原不了。"""
    assert _trained().decode(_trained().encode(text)) == text
    assert _trained().decode(_trained().sample(text, 0.3, seed=1)) == text


# ---- EM ----


@given(st.integers(0, 10**6), st.text("abc", min_size=1, max_size=8))
def test_expected_counts_equal_enumeration(seed: int, text: str) -> None:
    """前向—后向的期望次数或似然，与穷举全部切法相加的不同。"""
    scores = _scores(seed)
    counts = dict.fromkeys(scores, 0.0)
    likelihood = expected_counts(text, scores, 4, counts, times=3)
    splits = list(_splits(text, scores))
    weights = [math.exp(_total(split, scores)) for split in splits]
    assert likelihood == pytest.approx(math.log(math.fsum(weights)), abs=1e-10)
    expected: defaultdict[str, float] = defaultdict(float)
    for split, weight in zip(splits, weights, strict=True):
        for piece in split:
            expected[piece] += 3 * weight / math.fsum(weights)
    assert counts == pytest.approx({piece: expected[piece] for piece in scores}, abs=1e-9)


@given(st.integers(0, 10**6))
def test_likelihood_never_decreases(seed: int) -> None:
    """一轮 EM 之后文本的似然反而小了：E 步或 M 步错了。"""
    rng = random.Random(seed)
    words = ("".join(rng.choices("abcde", k=rng.randint(1, 10))) for _ in range(20))
    chunks = {word: rng.randint(1, 9) for word in words}
    scores = seed_pieces(chunks, 40)
    likelihoods = []
    for _ in range(12):
        scores, counts, likelihood = em_step(scores, chunks)
        likelihoods.append(likelihood)
        assert math.fsum(math.exp(score) for score in scores.values()) == pytest.approx(1, abs=1e-12)
        assert all(count >= 0 for count in counts.values())
    rounding = 1e-13 * abs(likelihoods[0])
    assert all(after >= before - rounding for before, after in pairwise(likelihoods))
    assert likelihoods[-1] > likelihoods[0] or len(set(likelihoods)) == 1


# ---- 训练 ----


def test_training_finds_the_words_and_keeps_every_character() -> None:
    """训练没有学到反复出现的词，或删掉了单个字符，或词表大小不对。"""
    tokenizer = _trained()
    assert tokenizer.vocab_size == 256 + 80 + 1
    assert set(SAMPLE) <= set(tokenizer.scores)
    assert len(tokenizer.encode(" the")) == 1
    assert len(tokenizer.encode(SAMPLE)) < 0.5 * len(SAMPLE)
    assert list(tokenizer.scores.values()) == sorted(tokenizer.scores.values(), reverse=True)


def test_training_is_deterministic() -> None:
    """同样的文本学出了不同的片段。"""
    assert train_unigram(SAMPLE * 5, 256 + 80 + 1).scores == _trained().scores


@pytest.mark.parametrize(("size", "advice"), [(260, ">="), (5000, "<=")])
def test_an_impossible_vocabulary_size_names_a_possible_one(size: int, advice: str) -> None:
    """词表太小或太大时，没有说可行的界限，或照着做仍不行。"""
    with pytest.raises(UserError) as caught:
        train_unigram(SAMPLE * 2, size)
    assert f"vocab_size {advice} " in caught.value.fix
    possible = int(caught.value.fix.split("=")[1].split(",")[0])
    assert train_unigram(SAMPLE * 2, possible).vocab_size == possible


def test_long_runs_train_and_encode_without_underflow() -> None:
    """很长的一块使概率下溢成零，或递归过深。"""
    tokenizer = train_unigram(("=" * 3000 + "\n" + "word ") * 3, 256 + 20 + 1)
    assert tokenizer.decode(tokenizer.encode("=" * 100_000)) == "=" * 100_000


# ---- 采样 ----


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_samples_follow_the_exact_distribution(alpha: float) -> None:
    """抽到各种切法的频率与穷举算出的概率不符（卡方检验，临界值取 99.99% 分位的上界）。"""
    scores, text, draws = {"a": -1.0, "b": -2.0, "ab": -2.5, "ba": -3.5, "aba": -4.0}, "ababa", 4000
    rng = random.Random(7)
    found = Counter(tuple(sampled_path(text, scores, 3, -100.0, alpha, rng)) for _ in range(draws))
    splits = [tuple(split) for split in _splits(text, scores)]
    weights = [math.exp(alpha * _total(list(split), scores)) for split in splits]
    expected = {split: draws * weight / sum(weights) for split, weight in zip(splits, weights, strict=True)}
    assert set(found) <= set(expected)
    chi_square = sum((found[split] - mean) ** 2 / mean for split, mean in expected.items())
    freedom = len(splits) - 1
    assert chi_square < freedom + 4 * math.sqrt(2 * freedom) + 10


def test_samples_repeat_with_the_seed_and_sharpen_to_the_best_split() -> None:
    """种子不管用，或 alpha 很大时抽不到最好的切法。"""
    text = "the other cat's hat"
    assert _trained().sample(text, 0.1, seed=3) == _trained().sample(text, 0.1, seed=3)
    assert len({tuple(_trained().sample(text, 0.1, seed=seed)) for seed in range(20)}) > 5
    assert _trained().sample(text, 1e6, seed=0) == _trained().encode(text)


@pytest.mark.parametrize("score", [math.nan, -math.inf, 0.5])
def test_scores_that_are_not_log_probabilities_are_refused(score: float) -> None:
    """不是对数概率的数被收下，编码会悄悄出错。"""
    with pytest.raises(UserError, match="finite log-probability"):
        UnigramTokenizer({"a": -1.0, "b": score})
