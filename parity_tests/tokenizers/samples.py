"""分词器测试共用的样例：各种文字混排，以及容易切错、编错的片段。"""

from __future__ import annotations

from functools import cache

from hypothesis import strategies as st

from tinygrad_llm.common.tokenizers import Tokenizer, train_bpe

SAMPLE = (
    "the cat sat on the mat, and the other cat's hat is there; we'll see 123 or 1234.\n"
    "    return self.value  # 缩进\n\n\t分词器把文本切成词，分词器再合并字节。😀😀 naïve café e\u0301e\u0301 x² ½\r\n"
) * 3
TRICKY = [
    *[
        "中文分词",
        "😀",
        "👩‍👩‍👧",
        "e\u0301",
        "\u0301",
        "²",
        "½",
        "Ⅷ",
        "٣",
        "१",
        "ß",
        "ﬁ",
        "\x00",
        "\x1c",
        "\x1f",
        "\x7f",
    ],
    *["\x85", "\xa0", "\u2028", "\u3000", "\u200b", "\ufeff", "\ufffd", " ", "  ", " " * 7, "\n", "\r\n", "\t", " \n "],
    *["'s", "'ll", "'", "123", "the", " the", "!", "<|endoftext|>", "\U0010ffff", "\ue000", "\u0378"],
]
TEXTS = st.text() | st.lists(st.sampled_from(TRICKY) | st.text(max_size=3), max_size=30).map("".join)


@cache
def small() -> Tokenizer:
    """在多种文字混排的样例上训练的小分词器。"""
    return train_bpe(SAMPLE, 360)


_SUFFIX = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
ORIGINAL_PATTERNS = {
    "gpt2": r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    "gpt4": r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+"
    r"|\s++\Z|\s*[\r\n]|\s+(?!\S)|\s",
    "o200k": rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+{_SUFFIX}?|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*{_SUFFIX}?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    "llama3": _SUFFIX + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    "qwen2": _SUFFIX + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    "smollm": r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?=\p{N})|\s+(?!\S)|\s+",
}
"""各种切法带 ``\\p`` 的原文：由第三方的 ``regex`` 与 tiktoken 执行，用来对照。"""
