"""猜语言：为测试而写的句子，夹着代码与网址，太短，以及源代码。"""

import inspect
import textwrap

import pytest

from parity_tests.cleaning.sentences import SENTENCES
from tinygrad_llm.common.cleaning.language import LANGUAGES, UNKNOWN, guess_language

MIN_ACCURACY = 0.95
CASES = [(language, text) for language, texts in SENTENCES.items() for text in texts]


def test_a_sentence_is_taken_for_another_language() -> None:
    """单独一句话，一百句里至多认错五句；打印认错的。"""
    wrong = [(language, guess_language(text), text) for language, text in CASES if guess_language(text) != language]
    print(f"accuracy {1 - len(wrong) / len(CASES):.3f} on {len(CASES)} sentences in {len(SENTENCES)} languages", wrong)
    assert len(wrong) <= (1 - MIN_ACCURACY) * len(CASES)


@pytest.mark.parametrize("language", SENTENCES)
def test_a_paragraph_is_taken_for_another_language(language: str) -> None:
    """几句连成一段，每种语言都不许认错。"""
    assert guess_language("\n".join(SENTENCES[language])) == language
    assert language in LANGUAGES


def test_code_and_links_turn_chinese_into_english() -> None:
    """中文教程里夹着代码与网址，仍是中文。"""
    assert (
        guess_language("先运行 pip install numpy，再打开 https://example.com/docs/start 看说明，然后照着做。") == "zh"
    )


def test_source_code_is_not_english() -> None:
    """源代码按其中的英文词算作英语。"""
    assert guess_language(inspect.getsource(textwrap)) == "en"


@pytest.mark.parametrize("text", ["", "1 + 1 = 2", "ok", "!!! ??? ...", "xqzt wvvk brrp zzt"])
def test_text_without_words_gets_a_language(text: str) -> None:
    """没有字母、太短或没有一个虚词，就是认不出。"""
    assert guess_language(text) == UNKNOWN
