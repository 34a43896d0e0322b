"""题型：每个函数出一道题，返回内容的键、问法里的词、答案与核对规则；语言不同，题目也按那种语言的习惯出。

流入：抽签筒、语言、难度（1 到 3）；流出：``Draft``。下一个文件：``instructions.py``（选题型，按内容分划分）。
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

from tinygrad_llm.common.corpora.storyworld.draws import Draws
from tinygrad_llm.common.corpora.storyworld.grammar import rows
from tinygrad_llm.common.corpora.storyworld.items import Rule
from tinygrad_llm.common.corpora.storyworld.lexicon import lexicon, number_word, with_article
from tinygrad_llm.common.corpora.storyworld.task_words import ANTONYMS, CLAUSES, GROUPS, PLURALS, SYLLABLES

__all__ = ["TASKS", "Draft", "pairs"]

_COMMA = {"en": ", ", "zh": "，"}


class Draft(NamedTuple):
    """一道题的草稿。

    Attributes:
        key: 决定划分的内容，不含问法。
        slots: 问法里要填的词。
        answer: 标准答案。
        rule: 核对规则；空表示与答案一字不差。
        prompt: 用哪一组问法；空表示与题型同名。
    """

    key: str
    slots: dict[str, str]
    answer: str
    rule: Rule | None = None
    prompt: str = ""


@cache
def pairs(table: str) -> tuple[tuple[str, str], ...]:
    """把 ``big small | hot cold`` 读成一对对词。"""
    return tuple((one, two) for row in rows(table) for one, two in (cell.split() for cell in row))


@cache
def _syllables(lang: str) -> tuple[str, ...]:
    return tuple(SYLLABLES[lang].split())


@cache
def _groups(lang: str) -> tuple[tuple[str, tuple[str, ...]], ...]:
    return tuple((name, tuple(members.split())) for name, members in rows(GROUPS[lang]))


@cache
def _clauses(lang: str) -> tuple[str, ...]:
    return tuple(cell for row in rows(CLAUSES[lang]) for cell in row)


def _text(draws: Draws, lang: str, level: int) -> str:
    """一串字：英文是拼得出来的假词，长 4、6、8 个字母；中文是 3、5、7 个常用字。"""
    count = level + 1 if lang == "en" else 2 * level + 1
    return "".join(draws.pick(_syllables(lang)) for _ in range(count))


def _reverse(draws: Draws, lang: str, level: int) -> Draft:
    if level == 1:
        letters = draws.sample("abcdefghijklmnopqrstuvwxyz" if lang == "en" else _syllables(lang), 3)
        text = " ".join(letters)
        return Draft(f"spell/{text}", {"text": text}, " ".join(reversed(letters)), prompt="reverse.1")
    text = _text(draws, lang, level - 1)
    return Draft(f"spell/{text}", {"text": text}, text[::-1])


def _first(draws: Draws, lang: str, level: int) -> Draft:
    text = _text(draws, lang, level)
    return Draft(f"spell/{text}", {"text": text}, text[0])


def _last(draws: Draws, lang: str, level: int) -> Draft:
    text = _text(draws, lang, level)
    return Draft(f"spell/{text}", {"text": text}, text[-1])


def _length(draws: Draws, lang: str, level: int) -> Draft:
    count = draws.between(1, level + 1) if lang == "en" else draws.between(2, 2 + 2 * level)
    text = "".join(draws.pick(_syllables(lang)) for _ in range(count))
    extra = draws.pick("bdgklmnprst") if lang == "en" and draws.chance(1, 2) else ""
    return Draft(f"spell/{text}{extra}", {"text": text + extra}, str(len(text + extra)))


def _letter(draws: Draws, lang: str, level: int) -> Draft:
    few = draws.sample(_syllables(lang), level + 1)
    text = "".join(draws.pick(few) for _ in range(level + 2))
    letter = draws.pick(text)
    return Draft(f"spell/{text}", {"text": text, "letter": letter}, str(text.count(letter)))


def _antonym(draws: Draws, lang: str, level: int) -> Draft:
    chosen = [pair[:: draws.pick((1, -1))] for pair in draws.sample(pairs(ANTONYMS[lang]), level + 1)]
    if any(pair == ("light", "heavy") for pair in chosen):  # light 有两个反义词，只从 heavy 这一边问
        chosen = [("heavy", "light") if pair == ("light", "heavy") else pair for pair in chosen]
    text = _COMMA[lang].join(pair[0] for pair in chosen)
    return Draft(
        f"antonym/{sorted(sorted(pair) for pair in chosen)}",
        {"text": text},
        _COMMA[lang].join(pair[1] for pair in chosen),
    )


def _plural(draws: Draws, lang: str, level: int) -> Draft:
    """英文写复数，中文填量词。"""
    if lang == "en":
        chosen = draws.sample(pairs(PLURALS), level + 1)
        text = ", ".join(pair[0] for pair in chosen)
        return Draft(f"plural/{sorted(chosen)}", {"text": text}, ", ".join(pair[1] for pair in chosen))
    things = draws.sample(lexicon(lang).things, level + 1)
    text = "，".join(f"一（）{thing.noun}" for thing in things)
    return Draft(
        f"plural/{sorted(thing.noun for thing in things)}", {"text": text}, "，".join(thing.measure for thing in things)
    )


def _sum(draws: Draws, lang: str, level: int) -> Draft:
    high = (9, 20, 99)[level - 1]
    a, b = draws.between(0, high), draws.between(0, high)
    return Draft(f"add/{min(a, b)}/{max(a, b)}", _arithmetic(draws, lang, a, b), str(a + b))


def _difference(draws: Draws, lang: str, level: int) -> Draft:
    high = (10, 20, 99)[level - 1]
    a, b = draws.between(0, high), draws.between(0, high)
    a, b = max(a, b), min(a, b)
    return Draft(f"subtract/{a}/{b}", _arithmetic(draws, lang, a, b), str(a - b))


def _product(draws: Draws, lang: str, level: int) -> Draft:
    high = (5, 9, 19)[level - 1]
    a, b = draws.between(1, high), draws.between(1, 9)
    return Draft(f"multiply/{min(a, b)}/{max(a, b)}", {"a": str(a), "b": str(b)}, str(a * b))


def _arithmetic(draws: Draws, lang: str, a: int, b: int) -> dict[str, str]:
    words = lexicon(lang)
    one, many = draws.pick([goods for goods in words.goodies if lang == "en" or goods[1] == "个"])
    name = draws.pick(words.girls + words.boys)
    return {"a": str(a), "b": str(b), "goods": many if lang == "en" else one, "name": name}


def _larger(draws: Draws, lang: str, level: int) -> Draft:
    a, b = draws.sample(range((10, 100, 1000)[level - 1]), 2) if level < 3 else _two(draws)
    return Draft(f"larger/{min(a, b)}/{max(a, b)}", {"a": str(a), "b": str(b)}, str(max(a, b)))


def _two(draws: Draws) -> tuple[int, int]:
    """两个不同的三位数。"""
    a, step = draws.below(900), 1 + draws.below(899)
    return 100 + a, 100 + (a + step) % 900


def _sort(draws: Draws, lang: str, level: int) -> Draft:
    numbers = draws.sample(range((10, 50, 100)[level - 1]), (3, 3, 5)[level - 1])
    text, answer = (_COMMA[lang].join(map(str, order)) for order in (numbers, sorted(numbers)))
    return Draft(f"sort/{answer}", {"text": text}, answer)


def _alphabet(draws: Draws, lang: str, level: int) -> Draft:
    words = sorted(thing.noun for thing in lexicon(lang).things)
    chosen = draws.sample(words, level + 1)
    return Draft(f"alphabet/{sorted(chosen)}", {"text": ", ".join(chosen)}, ", ".join(sorted(chosen)))


def _next(draws: Draws, lang: str, level: int) -> Draft:
    start, step = draws.between(0, (9, 30, 60)[level - 1]), draws.between(1, (2, 5, 9)[level - 1])
    text = _COMMA[lang].join(str(start + i * step) for i in range(3))
    return Draft(f"next/{start}/{step}", {"text": text}, str(start + 3 * step))


def _words(draws: Draws, lang: str, level: int) -> Draft:
    """恰好 n 个词（字）的一句话：答案有无数种，只核对规则。"""
    lexis = lexicon(lang)
    noun = draws.pick([*(thing.noun for thing in lexis.things), *(lexis.animals if lang == "zh" else ())])
    longest = level + 1 if lang == "en" else level + 2
    fits = [clause for clause in _clauses(lang) if len(clause.split() if lang == "en" else clause) <= longest]
    clause = draws.pick(fits)
    if lang == "en":
        sentence = f"{draws.pick(('The', 'This', 'That'))} {noun} {clause}."
        count = len(sentence.split())
    else:
        sentence, count = f"{noun}{clause}。", len(noun + clause)
    shown = number_word(lang, count)
    return Draft(f"words/{count}/{noun}", {"n": shown, "noun": noun}, sentence, Rule("words", noun, count))


def _bullets(draws: Draws, lang: str, level: int) -> Draft:
    group, members = draws.pick(_groups(lang))
    chosen = draws.sample(members, level + 2)
    banned = chosen.pop()
    allowed = tuple(member for member in members if member != banned)
    answer = "\n".join(f"- {member}" for member in chosen)
    shown = "两" if lang == "zh" and len(chosen) == 2 else number_word(lang, len(chosen))
    slots = {"n": shown, "group": group, "except": banned}
    return Draft(f"bullets/{group}/{len(chosen)}/{banned}", slots, answer, Rule("bullets", "", len(chosen), allowed))


def _phrase(draws: Draws, lang: str, level: int) -> str:
    """一个短语：两三个词，难度高时更长。"""
    thing, place = draws.pick(lexicon(lang).things), draws.pick(lexicon(lang).places)
    noun = f"{draws.pick(thing.looks)} {thing.noun}" if lang == "en" else draws.pick(thing.looks) + thing.noun
    name = draws.pick(lexicon(lang).girls + lexicon(lang).boys)
    if lang == "en":
        return (noun, f"{with_article(noun)} {place.at}", f"{name} saw {with_article(noun)} {place.at}")[level - 1]
    return (noun, f"{place.at}有{noun}", f"{name}在{place.at}看见了{noun}")[level - 1]


def _upper(draws: Draws, lang: str, level: int) -> Draft:
    text = _phrase(draws, lang, level)
    return Draft(f"upper/{text}", {"text": text}, text.upper())


def _wrap(draws: Draws, lang: str, level: int) -> Draft:
    text = _phrase(draws, lang, level)
    return Draft(f"wrap/{text}", {"text": text}, f"【{text}】")


def _copy(draws: Draws, lang: str, level: int) -> Draft:
    text = _phrase(draws, lang, level)
    return Draft(f"copy/{text}", {"text": text}, text)


def _numeral(draws: Draws, lang: str, level: int) -> Draft:
    number = draws.between(0, (20, 60, 99)[level - 1])
    return Draft(f"numeral/{number}", {"a": str(number)}, number_word(lang, number))


def _digits(draws: Draws, lang: str, level: int) -> Draft:
    number = draws.between(0, (20, 60, 99)[level - 1])
    return Draft(f"numeral/{number}", {"a": number_word(lang, number)}, str(number))


def _json_task(draws: Draws, lang: str, level: int) -> Draft:
    words = lexicon(lang)
    name, town = draws.pick(words.girls + words.boys), draws.pick(words.towns)
    age, colour = draws.between(6, 12), draws.pick(words.colours)
    if lang == "en":
        entries = [("name", name), ("age", age), ("town", town), ("colour", colour)]
        parts = [f"{name} is {age} years old.", f"{name} lives in {town}.", f"The favourite colour is {colour}."]
        facts, keys = " ".join(parts[:level]), ", ".join(key for key, _ in entries[: level + 1])
    else:
        entries = [("姓名", name), ("年龄", age), ("住处", town), ("颜色", colour)]
        facts = "，".join([f"{name}今年{age}岁", f"住在{town}", f"最喜欢{colour}"][:level]) + "。"
        keys = "、".join(key for key, _ in entries[: level + 1])
    answer = json.dumps(dict(entries[: level + 1]), ensure_ascii=False)
    return Draft(f"json/{answer}", {"facts": facts, "keys": keys}, answer, Rule("json", answer))


_SHARED: dict[str, Callable[[Draws, str, int], Draft]] = {
    "reverse": _reverse,
    "first": _first,
    "last": _last,
    "length": _length,
    "letter": _letter,
    "antonym": _antonym,
    "plural": _plural,
    "add": _sum,
    "subtract": _difference,
    "multiply": _product,
    "larger": _larger,
    "sort": _sort,
    "next": _next,
    "words": _words,
    "bullets": _bullets,
    "copy": _copy,
    "numeral": _numeral,
    "digits": _digits,
    "json": _json_task,
}

TASKS = {"en": {**_SHARED, "alphabet": _alphabet, "upper": _upper}, "zh": {**_SHARED, "wrap": _wrap}}
"""各语言的题型；大写与按字母排序只有英文有，加括号只有中文有，``plural`` 在中文里是填量词。"""
