"""判一个回答对不对：一字不差、抹平了写法、数相等、合正则、故事世界的规则。

流入：题与回答；流出：对不对。下一个文件：``answering.py``。
"""

from __future__ import annotations

import re
import unicodedata
from fractions import Fraction

from tinygrad_llm.common.corpora.storyworld import check
from tinygrad_llm.common.corpora.storyworld.items import Answerable, Rule
from tinygrad_llm.common.evaluation.items import Item

__all__ = ["is_right", "last_number", "normalised"]

_NUMBER = re.compile(r"(?:(?<!\w)[-+])?(?:\d[\d,]*\.?\d*|\.\d+)(?:[eE][-+]?\d{1,3})?(?:\s*/\s*\d+)?%?")
_ARTICLES = re.compile(r"\b(?:a|an|the)\b")


def is_right(item: Item, answer: str) -> bool:
    """判一个回答；有几个可接受的答案时，合其中一个就对。

    ``exact`` 只去掉首尾的空白；``text`` 比 ``normalised`` 之后的；``contains`` 是 ``normalised`` 之后含有它，
    英文的词要完整；``number`` 比回答里的最后一个数；``regex`` 要求回答里有一处合它。

    Args:
        item: 自由作答的题。
        answer: 回答。
    """
    answer = answer.strip()
    if item.rule == "storyworld":
        rule = dict(item.check or {})
        rule["words"] = tuple(rule.get("words", ()))
        return check(Answerable(item.id, "", "", "", "", item.answers[0], Rule(**rule)), answer).ok
    return any(_matches(item.rule, answer, wanted) for wanted in item.answers)


def _matches(rule: str, answer: str, wanted: str) -> bool:
    if rule == "exact":
        return answer == wanted.strip()
    if rule == "text":
        return normalised(answer) == normalised(wanted)
    if rule == "contains":
        whole_word = rf"(?<![a-z0-9]){re.escape(normalised(wanted))}(?![a-z0-9])"
        return re.search(whole_word, normalised(answer)) is not None
    if rule == "regex":
        return re.search(wanted, answer) is not None
    found = last_number(answer)
    return found is not None and found == last_number(wanted)


def normalised(text: str) -> str:
    """抹平写法：全半角与大小写、标点、英文冠词、空白；答案只有标点时原样返回。"""
    folded = unicodedata.normalize("NFKC", text).casefold()
    words = "".join(" " if unicodedata.category(char)[0] in "PS" else char for char in folded)
    found = " ".join(_ARTICLES.sub(" ", words).split())
    return found or " ".join(words.split()) or folded.strip()


def last_number(text: str) -> Fraction | None:
    """最后一个数：认得千位的逗号、小数、科学记数、分数与百分号；没有则为 ``None``。"""
    found = _NUMBER.findall(unicodedata.normalize("NFKC", text).replace("−", "-"))
    for word in reversed(found):
        top, _, bottom = word.rstrip("%").replace(",", "").partition("/")
        try:
            value = Fraction(top) / (Fraction(bottom) if bottom else 1)
        except (ValueError, ZeroDivisionError):
            continue
        return value / 100 if word.endswith("%") else value
    return None
