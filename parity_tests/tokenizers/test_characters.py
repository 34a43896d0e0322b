"""按字符：见过的字符逐字还原，没见过的是 ``<|unk|>``。"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tinygrad_llm.common.tokenizers.characters import train_characters
from tinygrad_llm.common.tokenizers.vocabulary import UNKNOWN


@given(st.text())
def test_the_training_text_itself_round_trips(text: str) -> None:
    """训练过的文本编码再解码，变了样。"""
    tokenizer = train_characters(text)
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert len(tokenizer.encode(text)) == len(text)


def test_ids_follow_code_points_and_unseen_characters_are_unknown() -> None:
    """Id 没有按码位排列，或没见过的字符悄悄丢了。"""
    tokenizer = train_characters("banana\n好")
    assert tokenizer.encode("\nabn好") == [0, 1, 2, 3, 4]
    assert tokenizer.decode(tokenizer.encode("a!a")) == f"a{UNKNOWN}a"
