"""词形：一个人、一件东西、一处地方在句子里的各种写法，填进说法的槽。

流入：``world.py`` 与 ``lexicon.py`` 里的实体、它在故事里的角色字母；流出：槽名到文字。
槽名的写法：角色字母加词形，如 ``{A}`` 是名字，``{Ahe}`` 是代词，``{thex}`` 是「那件东西 x」。下一个文件：``scene.py``。
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from tinygrad_llm.common.corpora.storyworld.lexicon import Place, Thing, lexicon, number_word, with_article
from tinygrad_llm.common.corpora.storyworld.world import Person, noun_phrase, pet_noun

__all__ = ["hideout_forms", "person_forms", "place_forms", "thing_forms"]


@lru_cache(maxsize=4096)
def person_forms(lang: str, person: Person, role: str) -> Mapping[str, str]:
    """一个人以某个角色出场时的全部词形。"""
    words = lexicon(lang)
    forms = dict(zip(("he", "his", "him"), words.pronouns[not person.female], strict=True))
    forms |= {form.capitalize(): text.capitalize() for form, text in forms.items()}
    stage = 0 if person.role == "child" else 2 if person.role.startswith("grand") else 1
    forms |= {
        "": person.name,
        "town": person.town,
        "kind": words.folk[stage][not person.female],
        "age": number_word(lang, person.age),
        "job": person.job,
        "ajob": noun_phrase(lang, person.job) if person.job else "",
        "skill": person.skill,
        "food": person.food,
        "colour": person.colour,
        "pet": person.pet,
        "petnoun": pet_noun(person.pet) if person.pet else "",
        "hobby": person.hobby,
        "trait": person.trait,
        "atrait": with_article(person.trait),
    }
    return {role + form: text for form, text in forms.items()}


@lru_cache(maxsize=4096)
def thing_forms(lang: str, thing: Thing, look: str, role: str) -> Mapping[str, str]:
    """一件东西的词形：``{x}`` 名词，``{rx}`` 带形容词，``{ax}`` 一件，``{thex}`` 有定，``{usex}`` 用法。"""
    if lang == "en":
        full = f"{look} {thing.noun}"
        return {
            role: thing.noun,
            "r" + role: full,
            "a" + role: with_article(full),
            "the" + role: f"the {thing.noun}",
            "use" + role: thing.use,
            "used" + role: thing.used,
        }
    return {
        role: thing.noun,
        "r" + role: look + thing.noun,
        "a" + role: f"一{thing.measure}{look}{thing.noun}",
        "the" + role: thing.noun,  # 中文的有定不必说「那个」
        "use" + role: thing.use,
        "used" + role: thing.used,
    }


@lru_cache(maxsize=1024)
def place_forms(lang: str, place: Place, role: str) -> Mapping[str, str]:
    """一处地方的词形：``{p}`` 名词，``{atp}`` 在那里。"""
    return {role: f"the {place.noun}" if lang == "en" else place.noun, "at" + role: place.at}


@lru_cache(maxsize=1024)
def hideout_forms(hideout: tuple[str, str, str], role: str) -> Mapping[str, str]:
    """藏东西处的词形：``{ink}`` 在里面，``{ink_again}`` 再次提到（英语换成 the），``{k}`` 名词。"""
    known = hideout[0].replace(" an ", " the ").replace(" a ", " the ")
    return {"in" + role: hideout[0], f"in{role}_again": known, role: hideout[1]}
