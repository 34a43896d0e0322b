"""世界：五座城镇、十户人家，由种子定下，从此不变；故事一再提到其中的事实，模型因而真能学会。

流入：种子与语言；流出：``World``（人、镇、地理）。
下一个文件：``facts.py``（关于世界的问题），``scene.py``（这些人怎样进入一个故事）。
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from tinygrad_llm.common.corpora.storyworld.draws import Draws
from tinygrad_llm.common.corpora.storyworld.lexicon import Lexicon, lexicon, with_article

__all__ = ["Person", "Town", "World", "noun_phrase", "pet_noun", "world_of"]

_TOWNS = 5
_FAMILIES = 10
_CHILD_AGES = (6, 12)
_ELDER_AGES = (61, 79)
_ADULT_AGES = (29, 48)


@dataclass(frozen=True, slots=True)
class Town:
    """一座城镇。

    Attributes:
        name: 名字。
        landmark: 镇中心的标志。
        land: 坐落在哪里，如 ``on a green hill``。
        good: 以什么出名。
        direction: 在中心城镇的哪一边；中心城镇自己为空，其余四座依次在它的北、东、南、西。
    """

    name: str
    landmark: str
    land: str
    good: str
    direction: str


@dataclass(frozen=True, slots=True)
class Person:
    """一个人。

    Attributes:
        name: 名字，世界里不重复。
        female: 是不是女性。
        role: ``child``、``mother``、``father``、``grandmother`` 或 ``grandfather``。
        family: 第几户人家。
        town: 住在哪座城镇（名字）。
        age: 年龄。
        job: 职业；没有为空。
        skill: 会什么（动词短语）；没有为空。
        tags: ``m`` 能修东西，``h`` 能照料动物。
        food: 最爱吃什么。
        colour: 最喜欢的颜色。
        pet: 养什么，带冠词或量词；不养为空。
        hobby: 爱好。
        trait: 性格。
    """

    name: str
    female: bool
    role: str
    family: int
    town: str
    age: int
    job: str
    skill: str
    tags: str
    food: str
    colour: str
    pet: str
    hobby: str
    trait: str


@dataclass(frozen=True, slots=True)
class World:
    """一个世界。

    Attributes:
        seed: 种子。
        lexicon: 词表。
        towns: 五座城镇，第 0 座在中心。
        people: 全部的人，同一户人家相邻：母亲、父亲、两个孩子、一位老人。
    """

    seed: int
    lexicon: Lexicon
    towns: tuple[Town, ...]
    people: tuple[Person, ...]

    @property
    def lang(self) -> str:
        """语言。"""
        return self.lexicon.lang

    @property
    def children(self) -> tuple[Person, ...]:
        """全部孩子。"""
        return tuple(person for person in self.people if person.role == "child")

    def family_of(self, person: Person) -> dict[str, tuple[Person, ...]]:
        """一个人的家人（不含自己），按称谓（``Person.role``）分组。"""
        found: dict[str, tuple[Person, ...]] = {}
        for other in self.people:
            if other.family == person.family and other.name != person.name:
                found[other.role] = (*found.get(other.role, ()), other)
        return found


@lru_cache(maxsize=32)
def world_of(seed: int, lang: str) -> World:
    """种子定下的世界。

    Args:
        seed: 种子，0 到 2⁶⁴ - 1。
        lang: ``en`` 或 ``zh``。

    Returns:
        世界；同一种子、同一语言总是同一个。
    """
    words = lexicon(lang)
    draws = Draws(seed, f"world/{lang}")
    names = draws.sample(words.towns, _TOWNS)
    towns = tuple(
        Town(name, landmark, land, good, direction)
        for name, landmark, land, good, direction in zip(
            names,
            draws.sample(words.landmarks, _TOWNS),
            draws.sample(words.lands, _TOWNS),
            draws.sample(words.goods, _TOWNS),
            ("", *words.directions),
            strict=True,
        )
    )
    return World(seed, words, towns, _people(words, draws, names))


def _people(words: Lexicon, draws: Draws, towns: list[str]) -> tuple[Person, ...]:
    girls, boys = draws.shuffled(words.girls), draws.shuffled(words.boys)
    women, men = _adult_names(words, draws, girls, boys)
    girlish = draws.shuffled([True, False] * _FAMILIES)  # 孩子的性别各半
    jobs = draws.shuffled(words.jobs)
    people = []
    for family in range(_FAMILIES):
        elder = "grandmother" if family % 2 else "grandfather"
        for role in ("mother", "father", "child", "child", elder):
            female = girlish.pop() if role == "child" else role in ("mother", "grandmother")
            if role == "child":
                name = (girls if female else boys).pop()
            else:
                name = (women if female else men).pop()
            job, skill, tags = jobs.pop() if role in ("mother", "father") else ("", "", "")
            ages = {"child": _CHILD_AGES, elder: _ELDER_AGES}.get(role, _ADULT_AGES)
            people.append(
                Person(
                    name=name,
                    female=female,
                    role=role,
                    family=family,
                    town=towns[family % _TOWNS],
                    age=draws.between(*ages),
                    job=job,
                    skill=skill,
                    tags=tags,
                    food=draws.pick(words.foods),
                    colour=draws.pick(words.colours),
                    pet=draws.pick(words.pets) if role == "child" else "",
                    hobby=draws.pick(words.hobbies),
                    trait=draws.pick(words.traits),
                )
            )
    return tuple(people)


def _adult_names(words: Lexicon, draws: Draws, girls: list[str], boys: list[str]) -> tuple[list[str], list[str]]:
    """大人的名字：英文与孩子用同一份名单，各取所需；中文是姓加名。"""
    if words.lang == "en":
        return girls, boys
    surnames = draws.shuffled(words.surnames)
    women = [name + given for name, given in zip(surnames[_FAMILIES:] * 2, draws.shuffled(words.women), strict=False)]
    men: list[str] = []
    given = draws.shuffled(words.men)
    for family in reversed(range(_FAMILIES)):  # 名单从末尾取用；爷爷与父亲同姓
        men += [surnames[family] + given.pop() for _ in range(1 if family % 2 else 2)]
    return women, men


def pet_noun(pet: str) -> str:
    """宠物的名词，去掉冠词或「一只」。"""
    return pet.split(" ", 1)[1] if " " in pet else pet[2:]


def noun_phrase(lang: str, noun: str) -> str:
    """带冠词的名词，如 ``a baker``；中文不加。"""
    return with_article(noun) if lang == "en" else noun
