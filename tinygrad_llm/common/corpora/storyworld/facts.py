"""世界的事实：某人住在哪、以什么为业……每件事实连同它的反问（谁是面点师）只属于一个划分。

流入：``World``；流出：按划分分好的事实，各带几种问法。预训练的故事一再提到全部事实，
指令数据只问训练划分的那些，于是测试问的正是「读到过、但没被问过」的事。下一个文件：``questions.py``。
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from tinygrad_llm.common.corpora.storyworld.draws import SPLITS, split_of
from tinygrad_llm.common.corpora.storyworld.forms import person_forms
from tinygrad_llm.common.corpora.storyworld.world import Person, World, world_of

__all__ = ["Fact", "facts_of"]

_ASKS = {
    "en": {
        "town": ("Where does {W} live?", "In which town does {W} live?"),
        "age": ("How old is {W}?",),
        "job": ("What is {W}'s job?", "What does {W} work as?"),
        "worker": ("Who is the {Wjob}?", "Who works as {Wajob}?"),
        "food": ("What does {W} like to eat most?", "What is {W}'s favourite food?"),
        "colour": ("What is {W}'s favourite colour?", "Which colour does {W} like best?"),
        "pet": ("What animal does {W} have?", "What kind of pet does {W} have?"),
        "hobby": ("What does {W} like doing?", "What does {W} enjoy?"),
        "mother": ("Who is {W}'s mother?",),
        "father": ("Who is {W}'s father?",),
        "grandmother": ("Who is {W}'s grandmother?",),
        "grandfather": ("Who is {W}'s grandfather?",),
        "landmark": ("What stands in the middle of {town}?",),
        "landmark_town": ("Which town has the {landmark}?", "In which town does the {landmark} stand?"),
        "good": ("What is {town} famous for?",),
        "good_town": ("Which town is famous for its {good}?",),
        "direction": ("Which town lies {direction} of {centre}?",),
        "land": ("Where does {town} lie?",),
    },
    "zh": {
        "town": ("{W}住在哪里？", "{W}家在哪里？"),
        "age": ("{W}今年几岁？",),
        "job": ("{W}是做什么的？", "{W}的职业是什么？"),
        "worker": ("谁是{Wjob}？", "哪一位是{Wjob}？"),
        "food": ("{W}最爱吃什么？",),
        "colour": ("{W}最喜欢什么颜色？",),
        "pet": ("{W}家里养着什么？", "{W}养了什么小动物？"),
        "hobby": ("{W}平时喜欢做什么？", "{W}有什么爱好？"),
        "mother": ("{W}的妈妈是谁？", "{W}的妈妈叫什么？"),
        "father": ("{W}的爸爸是谁？", "{W}的爸爸叫什么？"),
        "grandmother": ("{W}的奶奶是谁？",),
        "grandfather": ("{W}的爷爷是谁？",),
        "landmark": ("{town}的镇中心有什么？",),
        "landmark_town": ("哪个地方有{landmark}？",),
        "good": ("{town}有什么特产？", "{town}以什么闻名？"),
        "good_town": ("哪个地方出产{good}？",),
        "direction": ("{centre}的{direction}是什么地方？",),
        "land": ("{town}在什么样的地方？",),
    },
}


@dataclass(frozen=True, slots=True)
class Fact:
    """一件事实的一种问法。

    Attributes:
        kind: 种类，如 ``job``。
        key: 决定划分的内容；同一件事实正问、反问的 ``key`` 相同。
        questions: 几种问句，意思相同。
        answer: 答案。
        wrong: 同类的其他答案。
    """

    kind: str
    key: str
    questions: tuple[str, ...]
    answer: str
    wrong: tuple[str, ...]


@lru_cache(maxsize=32)
def facts_of(seed: int, lang: str) -> Mapping[str, tuple[Fact, ...]]:
    """世界的全部事实，按划分分好。

    Args:
        seed: 世界的种子。
        lang: 语言。

    Returns:
        划分到事实。
    """
    world = world_of(seed, lang)
    facts = [fact for person in world.people for fact in _person_facts(world, person)] + _town_facts(world)
    return {split: tuple(fact for fact in facts if split_of(fact.key) == split) for split in SPLITS}


def _person_facts(world: World, person: Person) -> list[Fact]:
    words, lang = world.lexicon, world.lang
    forms = person_forms(lang, person, "W")
    facts = []

    def add(kind: str, answer: str, others: list[str], about: str = "") -> None:
        questions = tuple(text.format_map(forms) for text in _ASKS[lang][kind])
        key = f"fact/{lang}/{person.name}/{about or kind}"
        facts.append(Fact(kind, key, questions, answer, tuple(o for o in others if o != answer)))

    years = "{}" if lang == "en" else "{}岁"
    ages = [years.format(person_forms(lang, other, "W")["Wage"]) for other in world.people]
    add("town", person.town, [town.name for town in world.towns])
    add("age", years.format(forms["Wage"]), ages)
    add("food", person.food, list(words.foods))
    add("colour", person.colour, list(words.colours))
    add("hobby", person.hobby, list(words.hobbies))
    if person.pet:
        add("pet", person.pet, list(words.pets))
    if person.job:
        add("job", person.job, [job[0] for job in words.jobs])
        add("worker", person.name, [other.name for other in world.people if other.job], about="job")
    if person.role == "child":
        for role, kin in world.family_of(person).items():
            if role != "child":
                add(role, kin[0].name, [other.name for other in world.people if other.role == role])
    return facts


def _town_facts(world: World) -> list[Fact]:
    lang, centre = world.lang, world.towns[0].name
    names = [town.name for town in world.towns]
    facts = []
    for town in world.towns:
        forms = {
            "town": town.name,
            "landmark": town.landmark,
            "good": town.good,
            "land": town.land,
            "direction": town.direction,
            "centre": centre,
        }
        pairs = [
            ("landmark", town.landmark, [t.landmark for t in world.towns], "landmark"),
            ("landmark_town", town.name, names, "landmark"),
            ("good", town.good, [t.good for t in world.towns], "good"),
            ("good_town", town.name, names, "good"),
            ("land", town.land, [t.land for t in world.towns], "land"),
        ]
        if town.direction:
            pairs.append(("direction", town.name, names, "direction"))
        for kind, answer, others, about in pairs:
            questions = tuple(text.format_map(forms) for text in _ASKS[lang][kind])
            key = f"fact/{lang}/{town.name}/{about}"
            facts.append(Fact(kind, key, questions, answer, tuple(o for o in others if o != answer)))
    return facts
