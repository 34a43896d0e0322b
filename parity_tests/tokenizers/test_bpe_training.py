"""BPE 的训练：与朴素实现、与 HF ``tokenizers`` 逐个合并相同。"""

from __future__ import annotations

import random
import time
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import models, pre_tokenizers, trainers

from parity_tests.tokenizers.samples import SAMPLE, TRICKY, small
from tinygrad_llm.common.corpora import load_corpus
from tinygrad_llm.common.errors import UserError
from tinygrad_llm.common.tokenizers import Tokenizer, train_bpe
from tinygrad_llm.common.tokenizers.merges import Pair, count_chunks, learn_merges
from tinygrad_llm.common.tokenizers.split import PATTERNS, pretokenize

VISIBLE = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
GPT2_ORDER = {byte: place for place, byte in enumerate([*VISIBLE, *sorted({*range(256)} - {*VISIBLE})])}
"""次数相同时字节的先后：GPT-2 词表里的次序。"""
SEPARATOR = "\ue000"


@pytest.fixture
def tokenizer() -> Tokenizer:
    """同一个小分词器，供普通测试使用。"""
    return small()


def merged_everywhere(ids: list[int], pair: Pair, new_id: int) -> list[int]:
    """从左到右把每个不重叠的 ``pair`` 换成 ``new_id``。"""
    merged: list[int] = []
    for id in ids:
        merged.append(id)
        if tuple(merged[-2:]) == pair:
            merged[-2:] = [new_id]
    return merged


def naive_merges(text: str, wanted: int, pattern: str = "gpt2") -> list[Pair]:
    """照定义写出的训练：每一轮把全文重数一遍。"""
    words = [list(chunk.encode()) for chunk in pretokenize(text, pattern)]
    merges: list[Pair] = []
    while len(merges) < wanted:
        counts = Counter(pair for word in words for pair in pairwise(word))
        if not counts:
            break
        best = min(counts, key=lambda pair: (-counts[pair], [GPT2_ORDER.get(id, id) for id in pair]))
        words = [merged_everywhere(word, best, 256 + len(merges)) for word in words]
        merges.append(best)
    return merges


def hf_merges(text: str, wanted: int) -> list[tuple[bytes, bytes]]:
    """HF ``tokenizers`` 在同样的块上学到的合并；块之间垫一个不出现的字符，由它切开。"""
    trained = tokenizers.Tokenizer(models.BPE())
    split = pre_tokenizers.Split(SEPARATOR, "removed")
    trained.pre_tokenizer = pre_tokenizers.Sequence(
        [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=256 + wanted, min_frequency=0, initial_alphabet=alphabet, show_progress=False
    )
    trained.train_from_iterator([SEPARATOR.join(pretokenize(text))], trainer)
    return [(_raw(left), _raw(right)) for left, right in _json_merges(trained.to_str())]


def _json_merges(text: str) -> list[list[str]]:
    import json

    return [one.split(" ") if isinstance(one, str) else one for one in json.loads(text)["model"]["merges"]]


def _raw(token: str) -> bytes:
    hidden = [byte for byte in range(256) if byte not in VISIBLE]
    return bytes(ord(char) if ord(char) < 256 else hidden[ord(char) - 256] for char in token)


def our_bytes(merges: list[Pair]) -> list[tuple[bytes, bytes]]:
    """合并的左右两半的字节。"""
    found = Tokenizer(merges, [])
    return [(found.token_bytes(left), found.token_bytes(right)) for left, right in merges]


def corpora(count: int) -> Iterator[str]:
    """随机的小语料：字母表有大有小，并列与自身重叠随处可见。"""
    rng = random.Random(7)
    alphabets = ["ab", "ab ", "aab 1\n", "abcdef éà", "中文分词 ，", "".join(TRICKY[:-1])]
    for index in range(count):
        alphabet = alphabets[index % len(alphabets)]
        yield "".join(rng.choices(alphabet, k=rng.randint(0, 150))) + rng.choice(["", "aaaaaaa", SAMPLE[:80]])


def check_corpora(count: int) -> None:
    """每份语料上三个训练器逐个合并相同。"""
    for index, text in enumerate(corpora(count)):
        merges = learn_merges(text, 60)
        assert merges == naive_merges(text, 60), text
        if index % 3 == 0:
            assert our_bytes(merges) == hf_merges(text, len(merges)), text


def test_merges_equal_a_naive_trainers_and_hf_tokenizers() -> None:
    """合并的次序逐个相同，包括次数相同与自身重叠（aaa）的情形。"""
    check_corpora(60)


@pytest.mark.full
def test_merges_on_500_random_corpora() -> None:
    """同上，500 份语料。"""
    check_corpora(500)


def test_merges_of_real_text_equal_hf_tokenizers() -> None:
    """真实文本上的八百个合并，含大量并列。"""
    text = load_corpus("python-docs").text[:60_000].replace(SEPARATOR, "")
    merges = learn_merges(text, 800)
    assert our_bytes(merges) == hf_merges(text, 800)


@given(
    st.text("ab ", max_size=60) | st.text("abcé中 \n1", max_size=60), st.integers(0, 40), st.sampled_from([*PATTERNS])
)
def test_the_incremental_trainer_equals_the_naive_one(text: str, wanted: int, pattern: str) -> None:
    """每一种切法上都相同。"""
    assert learn_merges(text, wanted, pattern) == naive_merges(text, wanted, pattern)


def test_texts_may_come_one_by_one() -> None:
    """逐篇给出与各篇分别计数相同；合并不跨篇。"""
    assert learn_merges(iter(["ab", "ab", "b", "a"]), 5) == [(97, 98)]
    parts = [SAMPLE, "另一篇。", SAMPLE[:50]]
    assert count_chunks(iter(parts)) == sum((Counter(pretokenize(part)) for part in parts), Counter())


def test_memory_depends_on_the_words_not_on_the_length() -> None:
    """一百多万字符逐篇给出，训练所占的内存只有几篇那么多。"""
    once = SAMPLE * 80
    tracemalloc.start()
    learn_merges((once for _ in range(20)), 20)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 60 * len(once)


def test_progress_counts_every_merge() -> None:
    """每学出一个合并报一次。"""
    calls: list[tuple[int, int]] = []
    learn_merges("abab", 9, progress=lambda done, wanted: calls.append((done, wanted)))
    assert calls == [(1, 9), (2, 9)]


def test_a_tiny_example_worked_out_by_hand() -> None:
    """``abab`` 三次、``ab`` 一次：先合并 (a, b)，再合并 (ab, ab)。"""
    assert learn_merges("abab1abab1abab1ab", 9) == [(97, 98), (256, 256)]


def test_vocab_size_counts_bytes_merges_and_specials(tokenizer: Tokenizer) -> None:
    """特殊 token 排在最后，每个 id 都有字节。"""
    assert (tokenizer.vocab_size, len(tokenizer.merges)) == (360, 103)
    assert tokenizer.eot == tokenizer.special("<|endoftext|>") == 359
    assert tokenizer.token_bytes(359) == b"<|endoftext|>"
    two = train_bpe(SAMPLE, 300, ["<|user|>", "<|endoftext|>"])
    assert (two.special("<|user|>"), two.eot) == (298, 299)
    assert train_bpe("", 256, []).encode("é") == [0xC3, 0xA9]


def test_too_large_a_vocabulary_names_the_largest_possible() -> None:
    """报错里的上限恰好可行，再多一个就不行。"""
    with pytest.raises(UserError, match="yields only 2 merges") as caught:
        train_bpe("abab", 1000)
    assert caught.value.exit_code == 2
    assert "vocab_size <= 259" in caught.value.fix
    assert train_bpe("abab", 259).vocab_size == 259


@pytest.mark.parametrize("arguments", [(256, ["<|endoftext|>"]), (300, ["x", "x"]), (300, [""]), (300, ["\ud800"])])
def test_impossible_requests_are_refused(arguments: tuple[int, list[str]]) -> None:
    """词表容不下字节，或特殊 token 的名字重复、为空、不合法。"""
    with pytest.raises(UserError) as caught:
        train_bpe(SAMPLE, *arguments)
    assert caught.value.exit_code == 2


def test_training_on_the_default_corpus_is_fast() -> None:
    """python-docs 训练到 1,024 不超过 2 秒。"""
    text = load_corpus("python-docs").text
    started_at = time.process_time()
    train_bpe(text, 1024)
    assert time.process_time() - started_at < 2
