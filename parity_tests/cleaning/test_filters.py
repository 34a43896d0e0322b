"""过滤：每条规则在边界的两边各有一例；神谕是逐字逐词数的。"""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_llm.common.cleaning.config import LanguageConfig, LengthConfig, RepetitionConfig, SymbolsConfig
from tinygrad_llm.common.cleaning.filters import (
    language_reason,
    length_reason,
    repeated_ngram_share,
    repetition_reason,
    symbols_reason,
)
from tinygrad_llm.common.cleaning.words import find_words, ngrams
from tinygrad_llm.common.corpora import documents

WORDS = ["ab", "cd", "ef", "gh", "ij", "kl", "mn", "op"]


def test_length_counts_wrongly() -> None:
    """字符数的两个边界；汉字算两个。"""
    config = LengthConfig(min_chars=10, max_chars=20)
    assert length_reason("x" * 9, config) == "too short"
    assert length_reason("x" * 10, config) == ""
    assert length_reason("x" * 21, config) == "too long"
    assert length_reason("汉" * 5, config) == ""
    assert length_reason("汉" * 4, config) == "too short"


def test_symbols_count_wrongly() -> None:
    """符号、数字与极长的词各占多少，空白不算。"""
    config = SymbolsConfig(max_symbols=0.5, max_digits=0.5, max_long_words=0.5)
    assert symbols_reason("ab --", config) == ""
    assert symbols_reason("ab ---", config) == "mostly symbols"
    assert symbols_reason("ab 123", config) == "mostly digits"
    assert symbols_reason("x" * 101, config) == "mostly endless words"
    assert symbols_reason("x" * 100, config) == ""
    assert symbols_reason("数学：∑ ∫ 你好。", SymbolsConfig()) == ""


def test_repetition_is_missed_or_invented() -> None:
    """重复的行、段落、词组与一个词；不重复的文章放行。"""
    config = RepetitionConfig()
    rng = random.Random(3)
    essay = " ".join(f"{rng.choice('abcdefgh')}{number}" for number in range(400))
    assert repetition_reason(essay, config) == ""
    assert repetition_reason("the same long line again\n" * 20, config) == "repeated lines"
    assert repetition_reason("short para.\n\n" * 20, config) == "repeated paragraphs"
    assert repetition_reason("buy now " * 40, config) == "one word over and over"
    assert repetition_reason("ab cd ef gh ij kl mn op qr st uv " * 20, config) == "repeated phrases"
    assert repetition_reason("哈" * 60, config) == "one word over and over"


@given(st.lists(st.sampled_from(WORDS), max_size=60), st.integers(1, 5))
def test_repeated_phrases_are_counted_wrongly(words: list[str], n: int) -> None:
    """与逐个词组数的一样：第二次及以后的词组盖住的词。"""
    seen, covered = set(), set()
    for start in range(len(words) - n + 1):
        gram = tuple(words[start : start + n])
        if gram in seen:
            covered |= set(range(start, start + n))
        seen.add(gram)
    expected = len(covered) / len(words) if len(words) >= n else 0.0
    assert repeated_ngram_share(find_words(" ".join(words)).hashes, n) == expected


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=80))
def test_words_of_one_text_differ_from_themselves(text: str) -> None:
    """词只由文字决定：前面添一句、换大小写，同一个词的散列不变；不同的词不同。"""
    alone = find_words(text).hashes.tolist()
    after = find_words(f"before, {text}").hashes.tolist()
    assert after[1:] == alone
    both = find_words(f"{text} ab ba").hashes.tolist()
    assert both[:-2] == alone
    assert both[-2] != both[-1]


def test_words_are_cut_in_the_wrong_places() -> None:
    """西文按字母与数字，汉字与假名每字一个；大小写、全半角、标点、空白都不影响。"""
    assert find_words("Hello, wORLD!").hashes.tolist() == find_words("hello world").hashes.tolist()
    assert find_words("你好，世界").hashes.tolist() == find_words("你 好\n世-界").hashes.tolist()
    assert find_words("\uff21\uff22\uff23\uff11").hashes.tolist() == find_words("abc1").hashes.tolist()
    assert find_words("中a文 bc1").lengths.tolist() == [1, 1, 1, 3]
    assert find_words("a_b c's").lengths.tolist() == [1, 1, 1, 1]
    assert ngrams(find_words("a b c").hashes, 2).size == 2
    assert len({*ngrams(find_words("a b c b a").hashes, 2).tolist()}) == 4


def test_language_filter_keeps_the_wrong_ones() -> None:
    """只留要的语言；认不出的按设置。"""
    config = LanguageConfig(keep=("zh",), keep_unknown=False)
    assert language_reason("今天天气很好，我们去公园散步。", config) == ""
    assert language_reason("The weather is fine and we walk in the park.", config) == "language en"
    assert language_reason("123", config) == "language und"
    assert language_reason("123", LanguageConfig(keep=("zh",))) == ""
    assert language_reason("Bonjour, il fait beau.", LanguageConfig()) == ""


@pytest.mark.parametrize("name", ["python-docs", pytest.param("python-source", marks=pytest.mark.full)])
def test_default_thresholds_remove_good_text(name: str) -> None:
    """文档与源代码都是好文字：默认的阈值一份也不该去掉（太短的除外）。"""
    lost = [
        (document.source, reason)
        for document in documents(name)
        if (
            reason := symbols_reason(document.text, SymbolsConfig())
            or repetition_reason(document.text, RepetitionConfig())
        )
    ]
    assert lost == []
