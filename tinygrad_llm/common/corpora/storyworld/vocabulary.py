"""词汇：故事世界的说法表与词表里出现过的全部英文单词、汉字，是一个封闭的集合。

流入：各张表；流出：集合。``checks.py`` 用它认出「不是词的词」。
"""

from __future__ import annotations

import re
from functools import cache
from types import ModuleType

from tinygrad_llm.common.corpora.storyworld import (
    label_words,
    phrases_en,
    phrases_en_plots,
    phrases_zh,
    phrases_zh_plots,
    policy_words,
    task_words,
    words_en,
    words_zh,
)

__all__ = ["vocabulary"]

_MODULES: dict[str, tuple[ModuleType, ...]] = {
    "en": (words_en, phrases_en, phrases_en_plots, label_words, policy_words, task_words),
    "zh": (words_zh, phrases_zh, phrases_zh_plots, label_words, policy_words, task_words),
}
_UNIT = {"en": re.compile("[A-Za-z]+"), "zh": re.compile("[\u4e00-\u9fff]")}


@cache
def vocabulary(lang: str) -> frozenset[str]:
    """一种语言的全部单词（英文，区分大小写）或汉字（中文）；不含拼写题里的假词。"""
    texts = [
        text for module in _MODULES[lang] for name in module.__all__ for text in _texts(getattr(module, name), lang)
    ]
    plain = (re.sub(r"\{[^{}]*\}|^@.*$", " ", text, flags=re.MULTILINE) for text in texts)  # 槽与说法的名字不算
    return frozenset(word for text in plain for word in _UNIT[lang].findall(text))


def _texts(value: object, lang: str) -> list[str]:
    """一个常量里的全部文字；按语言分的字典只取这种语言。"""
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        chosen = [value[lang]] if lang in value else list(value.values())
        return [text for entry in chosen for text in _texts(entry, lang)]
    return []
