"""词表的形状：两种语言的词表读成同一种结构，情节与题目才能只写一遍。

流入：``words_en.py`` 与 ``words_zh.py`` 里的多行字符串；流出：``Lexicon``。
下一个文件：``world.py``（由种子从词表里挑出一个世界）。
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from types import ModuleType

from tinygrad_llm.common.corpora.storyworld import words_en, words_zh
from tinygrad_llm.common.corpora.storyworld.grammar import rows
from tinygrad_llm.common.errors import UserError

__all__ = ["LANGUAGES", "Lexicon", "Place", "Thing", "count_words", "lexicon", "number_word", "with_article"]

LANGUAGES = ("en", "zh")


@dataclass(frozen=True, slots=True)
class Thing:
    """一种物件。

    Attributes:
        noun: 名词。
        measure: 中文的量词；英文为空。
        use: 用法，英文是动词原形加 ``it``，中文是动宾短语。
        used: 用法的过去式；中文与 ``use`` 相同。
        looks: 可以配的形容词。
        breaks: 会不会坏。
        plays: 能不能拿来玩。
        bulky: 个头大，藏不进抽屉。
    """

    noun: str
    measure: str
    use: str
    used: str
    looks: tuple[str, ...]
    breaks: bool
    plays: bool
    bulky: bool


@dataclass(frozen=True, slots=True)
class Place:
    """镇上的一处地方。

    Attributes:
        noun: 名词。
        at: 「在那里」的说法：英文如 ``at the mill``，中文如「磨坊里」。
        notes: 到了那里看见什么，每句都是完整的句子，英文不含大写与句号。
        roofed: 有门有顶，可以躲雨。
        shop: 可以买到东西。
    """

    noun: str
    at: str
    notes: tuple[str, ...]
    roofed: bool
    shop: bool


@dataclass(frozen=True, slots=True)
class Lexicon:
    """一种语言的全部词表；各字段的意思见词表里的注释。"""

    lang: str
    girls: tuple[str, ...]
    boys: tuple[str, ...]
    surnames: tuple[str, ...]
    women: tuple[str, ...]
    men: tuple[str, ...]
    towns: tuple[str, ...]
    landmarks: tuple[str, ...]
    lands: tuple[str, ...]
    goods: tuple[str, ...]
    jobs: tuple[tuple[str, str, str], ...]
    foods: tuple[str, ...]
    goodies: tuple[tuple[str, str], ...]
    colours: tuple[str, ...]
    pets: tuple[str, ...]
    hobbies: tuple[str, ...]
    traits: tuple[str, ...]
    things: tuple[Thing, ...]
    places: tuple[Place, ...]
    hideouts: tuple[tuple[str, str, str], ...]
    animals: tuple[str, ...]
    fears: tuple[tuple[str, str, str], ...]
    noises: tuple[tuple[str, str, str], ...]
    festivals: tuple[tuple[str, str, str], ...]
    numbers: tuple[str, ...]
    tens: tuple[str, ...]
    directions: tuple[str, ...]
    pronouns: tuple[tuple[str, str, str], ...]
    folk: tuple[tuple[str, str], ...]


@cache
def lexicon(lang: str) -> Lexicon:
    """一种语言的词表。

    Raises:
        UserError: 没有这种语言。
    """
    if lang not in LANGUAGES:
        raise UserError(f"unknown language {lang!r}", where="lang", fix=f"use one of {', '.join(LANGUAGES)}")
    words = words_en if lang == "en" else words_zh
    return Lexicon(
        lang=lang,
        girls=_words(words, "GIRLS"),
        boys=_words(words, "BOYS"),
        surnames=_words(words, "SURNAMES"),
        women=_words(words, "WOMEN") or _words(words, "GIRLS"),
        men=_words(words, "MEN") or _words(words, "BOYS"),
        towns=_words(words, "TOWNS"),
        landmarks=_lines(words, "LANDMARKS"),
        lands=_lines(words, "LANDS"),
        goods=_lines(words, "GOODS"),
        jobs=tuple((job, skill, tags) for job, skill, tags in rows(words.JOBS)),
        foods=_lines(words, "FOODS"),
        goodies=tuple((one, many) for one, many in rows(words.GOODIES)),
        colours=_words(words, "COLOURS"),
        pets=tuple(_pet(row, lang) for row in rows(words.PETS)),
        hobbies=_lines(words, "HOBBIES"),
        traits=_words(words, "TRAITS"),
        things=tuple(_thing(row, lang) for row in rows(words.THINGS)),
        places=tuple(_place(row, lang) for row in rows(words.PLACES)),
        hideouts=tuple((phrase, noun, tags) for phrase, noun, tags in rows(words.HIDEOUTS)),
        animals=_words(words, "ANIMALS"),
        fears=tuple((fear, deed, spot) for fear, deed, spot in rows(words.FEARS)),
        noises=tuple((noise, who, deed) for noise, who, deed in rows(words.NOISES)),
        festivals=tuple((name, deed, treat) for name, deed, treat in rows(words.FESTIVALS)),
        numbers=_words(words, "NUMBERS"),
        tens=_words(words, "TENS"),
        directions=_words(words, "DIRECTIONS"),
        pronouns=tuple((he, his, him) for he, his, him in rows(words.PRONOUNS)),
        folk=tuple((female, male) for female, male in rows(words.FOLK)),
    )


def with_article(noun: str) -> str:
    """英文名词前加不定冠词；表里没有 hour、uniform 一类的例外。"""
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"


def number_word(lang: str, number: int) -> str:
    """0 到 99 的数写成文字：``forty-two``、「四十二」。"""
    words = lexicon(lang)
    if number < len(words.numbers):
        return words.numbers[number]
    tens, ones = divmod(number, 10)
    hyphen = "-" if lang == "en" else ""
    return words.tens[tens - 1] + (hyphen + words.numbers[ones] if ones else "")


def count_words(lang: str, count: int, one: str, many: str) -> str:
    """数量加名词：英文 ``three apples``、``one apple``；中文 ``many`` 是量词，如「两个苹果」。"""
    if lang == "en":
        return f"{number_word(lang, count)} {one if count == 1 else many}"
    return f"{'两' if count == 2 else number_word(lang, count)}{many}{one}"


def _words(words: ModuleType, name: str) -> tuple[str, ...]:
    return tuple(getattr(words, name, "").split())


def _lines(words: ModuleType, name: str) -> tuple[str, ...]:
    return tuple(row[0] for row in rows(getattr(words, name)))


def _pet(row: list[str], lang: str) -> str:
    return with_article(row[0]) if lang == "en" else f"一{row[1]}{row[0]}"


def _thing(row: list[str], lang: str) -> Thing:
    noun, second, third, looks, flags = row
    measure, use = ("", second) if lang == "en" else (second, third)
    return Thing(noun, measure, use, third, tuple(looks.split()), "b" in flags, "p" in flags, "g" in flags)


def _place(row: list[str], lang: str) -> Place:
    noun, where, notes, flags = row
    at = f"{where} the {noun}" if lang == "en" else noun + where
    sights = tuple(note.strip() for note in notes.replace("；", ";").split(";"))
    return Place(noun, at, sights, "d" in flags, "s" in flags)
