"""带标签的文字：主题、情感、垃圾信息；各标签的数目严格均衡。

流入：``label_words.py`` 的说法；流出：``Labelled``。下一个文件：``preferences.py``。
"""

from __future__ import annotations

from functools import cache

from tinygrad_llm.common.corpora.storyworld.choices import balanced
from tinygrad_llm.common.corpora.storyworld.draws import Draws, split_of
from tinygrad_llm.common.corpora.storyworld.grammar import Phrasebook, expand
from tinygrad_llm.common.corpora.storyworld.items import Labelled
from tinygrad_llm.common.corpora.storyworld.label_words import BEASTS, DAYS, PHRASES
from tinygrad_llm.common.corpora.storyworld.lexicon import lexicon, number_word

__all__ = ["LABEL_TASKS", "labels_of", "make_labelled"]

LABEL_TASKS = ("topic", "sentiment", "spam")
"""三个分类任务。"""


def labels_of(lang: str, task: str) -> tuple[str, ...]:
    """一个任务的全部标签，次序固定。"""
    return tuple(name.partition(".")[2] for name in _book(lang).patterns if name.startswith(f"{task}."))


def make_labelled(seed: int, lang: str, split: str, index: int, *, name: str, task: str) -> Labelled:
    """第 ``index`` 段带标签的文字。

    内容的键是文字里填进去的全部人名、地名、物名：同样的一组名字，无论配哪个句式，都在同一个划分里。

    Args:
        seed: 种子。
        lang: 语言。
        split: 划分。
        index: 序号。
        name: 数据项的名字。
        task: ``LABEL_TASKS`` 之一。

    Returns:
        带标签的文字，一句或两句。
    """
    labels = labels_of(lang, task)
    stream = f"labelled/{lang}/{task}"
    label_id = balanced(seed, stream, split, index, len(labels))
    draws = Draws(seed, stream, split, index)
    patterns = _book(lang).patterns[f"{task}.{labels[label_id]}"]
    while True:
        slots = _Used(_slots(draws, lang))
        chosen = draws.sample(patterns, 2 if task == "topic" else 1)
        text = (" " if lang == "en" else "").join(expand(pattern, slots, draws) for pattern in chosen)
        if split_of(f"{lang}/label/{task}/{'/'.join(sorted(slots.used))}") == split:
            return Labelled(name, lang, split, task, text, labels[label_id], label_id, labels)


class _Used(dict[str, str]):
    """记得哪些值被填进了句子的字典。"""

    def __init__(self, values: dict[str, str]) -> None:
        super().__init__(values)
        self.used: set[str] = set()

    def __getitem__(self, key: str) -> str:
        value = super().__getitem__(key)
        self.used.add(value)
        return value


def _slots(draws: Draws, lang: str) -> dict[str, str]:
    words = lexicon(lang)
    name, friend = draws.sample(words.girls + words.boys, 2)
    town, town2 = draws.sample(words.towns, 2)
    pet, pet2 = draws.sample(BEASTS[lang].split(), 2)
    return {
        "name": name,
        "friend": friend,
        "town": town,
        "town2": town2,
        "pet": pet,
        "pet2": pet2,
        "food": draws.pick(words.foods),
        "thing": draws.pick(words.things).noun,
        "day": draws.pick(DAYS[lang].split()),
        "number": number_word(lang, draws.between(11, 99)),
    }


@cache
def _book(lang: str) -> Phrasebook:
    return Phrasebook(PHRASES[lang])
