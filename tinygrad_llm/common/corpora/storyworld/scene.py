"""场景：故事里的状态——谁在哪、谁拿着什么、谁为什么高兴——与说出的话一同前进。

流入：世界、抽签筒、说法表；流出：一段段文字，与可以据状态核对的问题（``Ask``）。
情节只通过这里的方法改变状态，所以文字与状态不会各说各话。下一个文件：``plots.py``。
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from tinygrad_llm.common.corpora.storyworld.draws import Draws
from tinygrad_llm.common.corpora.storyworld.forms import hideout_forms, person_forms, place_forms, thing_forms
from tinygrad_llm.common.corpora.storyworld.grammar import Phrasebook
from tinygrad_llm.common.corpora.storyworld.lexicon import Lexicon, Place, Thing, count_words
from tinygrad_llm.common.corpora.storyworld.world import Person, World

__all__ = ["Ask", "Scene"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Ask:
    """一个有唯一答案的问题。

    Attributes:
        kind: 问题的种类，如 ``holder``、``where``、``why``、``count``、``first``。
        question: 问句。
        answer: 答案，与故事里的写法一致。
        wrong: 看上去合理的错误答案，供选择题与偏好对使用。
    """

    kind: str
    question: str
    answer: str
    wrong: tuple[str, ...]


class Scene:
    """一个正在讲的故事。

    Args:
        world: 世界。
        book: 这种语言的说法表。
        draws: 抽签筒。
        brief: 只讲要紧的事，略去描写；用作题目的短文。
    """

    def __init__(self, world: World, book: Phrasebook, draws: Draws, *, brief: bool = False) -> None:
        self.world, self.book, self.draws, self.brief = world, book, draws, brief
        self.words: Lexicon = world.lexicon
        self.slots: dict[str, str] = {}
        self.people: dict[str, Person] = {}
        self.things: dict[str, Thing] = {}
        self.places: dict[str, Place] = {}
        self.where: dict[str, str] = {}  # 人的角色 → 地点的角色
        self.holder: dict[str, str] = {}  # 物的角色 → 人或藏处的角色
        self.asks: list[Ask] = []
        self._sentences: list[list[str]] = [[]]
        self._told: set[tuple[str, str]] = set()  # 说过的（人名，属性）

    # ---- 选角 ----

    def cast(self, role: str, person: Person) -> Person:
        """让一个人担任一个角色。"""
        self.people[role] = person
        self.slots.update(person_forms(self.world.lang, person, role))
        return person

    def prop(self, role: str, thing: Thing, look: str) -> None:
        """让一件东西担任一个角色。"""
        self.things[role] = thing
        self.slots.update(thing_forms(self.world.lang, thing, look, role))

    def stage(self, role: str, place: Place) -> None:
        """让一处地方担任一个角色。"""
        self.places[role] = place
        self.slots.update(place_forms(self.world.lang, place, role))

    def other_place(self, role: str, *, roofed: bool = False) -> None:
        """再选一处没用过的地方；``roofed`` 要求能躲雨。"""
        used = {place.noun for place in self.places.values()}
        free = [place for place in self.words.places if place.noun not in used and place.roofed >= roofed]
        self.stage(role, self.draws.pick(free))

    def other_thing(self, role: str) -> None:
        """再选一件没用过的东西。"""
        used = {thing.noun for thing in self.things.values()}
        thing = self.draws.pick([thing for thing in self.words.things if thing.noun not in used])
        self.prop(role, thing, self.draws.pick(thing.looks))

    def other_child(self, role: str) -> Person:
        """再选一个没出场的孩子，先在主角的镇上找。"""
        used = {person.name for person in self.people.values()}
        free = [person for person in self.world.children if person.name not in used]
        near = [person for person in free if person.town == self.people["A"].town]
        return self.cast(role, self.draws.pick(near or free))

    def grown_up(self, role: str, tag: str = "") -> Person:
        """选一个有职业的大人；``tag`` 要求他会修东西（m）或会照料动物（h）。本镇没有，就从外镇请。"""
        used = {person.name for person in self.people.values()}
        families = {self.people[hero].family for hero in "AB"}  # 自家大人另有出场的办法
        able = [p for p in self.world.people if p.job and tag in p.tags and p.family not in families]
        able = [p for p in able if p.name not in used]
        near = [person for person in able if person.town == self.people["A"].town]
        return self.cast(role, self.draws.pick(near or able))

    def parent(self, role: str) -> Person:
        """主角的父亲或母亲。"""
        family = self.world.family_of(self.people["A"])
        return self.cast(role, self.draws.pick([*family["mother"], *family["father"]]))

    def elder(self, role: str) -> Person:
        """主角家的老人。"""
        family = self.world.family_of(self.people["A"])
        return self.cast(role, (family.get("grandmother") or family["grandfather"])[0])

    def neighbour(self, role: str) -> Person:
        """主角镇上别家的老人。"""
        families = {self.people[hero].family for hero in "AB"}
        old = [p for p in self.world.people if p.role.startswith("grand") and p.family not in families]
        near = [person for person in old if person.town == self.people["A"].town]
        return self.cast(role, self.draws.pick(near or old))

    def hideout(self, role: str, *, outdoors: bool) -> None:
        """选一个没用过的藏处。"""
        used = set(self.slots.values())
        free = [h for h in self.words.hideouts if h[0] not in used and (h[2] == "o" or not outdoors)]
        self.slots.update(hideout_forms(self.draws.pick(free), role))

    # ---- 说话 ----

    def say(self, name: str, who: str = "", **slots: str) -> None:
        """说一句（或几句）；``who`` 是角色字母，在说法里写作 ``{W}``。"""
        self._sentences[-1].append(self.sentence(name, who, **slots))

    def fact(self, who: str) -> None:
        """说一件关于某人的事实；文中已经提到的不再说。"""
        person, told = self.people[who], self.text()
        facts = {
            "food": person.food,
            "colour": person.colour,
            "pet": person.pet,
            "hobby": person.hobby,
            "trait": person.trait,
            "age": "",
        }
        if self.slots[f"{who}age"] in told:
            del facts["age"]
        new = [name for name, value in facts.items() if name == "age" or (value and value not in told)]
        name = self.draws.pick([name for name in new if (person.name, name) not in self._told])
        self._told.add((person.name, name))
        self.say(f"fact.{'child' if person.role == 'child' else 'adult'}.{name}", who)

    def detail(self, name: str, who: str = "", *, part: int = 1, whole: int = 2, **slots: str) -> None:
        """可有可无的描写：以 part / whole 的概率说出来；短文里从不说。"""
        if not self.brief and self.draws.chance(part, whole):
            self.say(name, who, **slots)

    def phrase(self, name: str, who: str = "", **slots: str) -> str:
        """展开一种说法；不改大小写，供嵌进别的句子。"""
        if who:
            slots |= person_forms(self.world.lang, self.people[who], "W")
        return self.book.say(name, {**self.slots, **slots}, self.draws)

    def sentence(self, name: str, who: str = "", **slots: str) -> str:
        """展开一种说法，句首大写。"""
        text = self.phrase(name, who, **slots)
        return text[0].upper() + text[1:]

    def paragraph(self) -> None:
        """另起一段。"""
        if not self.brief and self._sentences[-1]:
            self._sentences.append([])

    def text(self) -> str:
        """到现在为止的全文；段落之间一个换行。"""
        space = " " if self.world.lang == "en" else ""
        return "\n".join(space.join(part) for part in self._sentences if part)

    # ---- 状态 ----

    def go(self, who: str, place: str, name: str = "go") -> None:
        """走到一处。"""
        self.where[who] = place
        forms = place_forms(self.world.lang, self.places[place], "v")
        self.say(name, who, **forms)

    def go_together(self, place: str, name: str = "go.pair") -> None:
        """主角与同伴一起走到一处。"""
        self.where["B"] = place
        self.go("A", place, name)

    def stay(self, who: str, place: str) -> None:
        """本来就在一处，不必说。"""
        self.where[who] = place

    def note(self, place: str) -> None:
        """描写一处地方（短文里略去）。"""
        if self.brief or self.draws.chance(1, 3):
            return
        note = self.draws.pick(self.places[place].notes)
        self.say("note", note=note, Note=note[0].upper() + note[1:])

    def hold(self, thing: str, who: str) -> None:
        """东西到了某人手里，或到了某个藏处。"""
        self.holder[thing] = who

    def give(self, giver: str, taker: str, thing: str) -> None:
        """交给另一个人。

        Raises:
            RuntimeError: 给的人手里没有它——情节写错了。
        """
        if self.holder.get(thing) != giver:
            raise RuntimeError(f"{giver} does not hold {thing}, {self.holder.get(thing)} does")
        self.holder[thing] = taker

    def feel(self, who: str, mood: str, cause: str, **slots: str) -> None:
        """某人因某事有某种心情；问「为什么」时，答案就是这件事。"""
        reason = self.phrase(f"cause.{cause}", who, **slots)
        feeling = self.book.say(f"mood.{mood}", self.slots, self.draws)
        vivid = not self.brief and self.draws.chance(1, 2)
        forms = {"cause": reason, "Cause": reason[0].upper() + reason[1:], "mood": feeling}
        self.say(f"feel.{mood}" if vivid else "feel", who, **forms)
        question = self.sentence("ask.why", who, mood=feeling)
        self.asks.append(Ask("why", question, self.book.say("because", {"cause": reason}, self.draws), ()))

    # ---- 问题 ----

    def ask(
        self, kind: str, answer: str, wrong: Sequence[str] = (), who: str = "", name: str = "", **slots: str
    ) -> None:
        """记下一个问题；``name`` 缺省为种类。"""
        question = self.sentence(f"ask.{name or kind}", who, **slots)
        self.asks.append(Ask(kind, question, answer, tuple(w for w in wrong if w != answer)))

    def ask_state(self) -> None:
        """故事讲完，就最后的状态提问：东西在谁手里、在哪，人在哪。"""
        names = tuple(person.name for person in self.people.values())
        for thing, holder in self.holder.items():
            forms = {"the": self.slots["the" + thing], "thing": self.slots[thing]}
            if holder in self.people:
                self.ask("holder", self.people[holder].name, names, **forms)
            else:
                wrong = tuple(h[0] for h in self.words.hideouts)
                self.ask("where", self.slots["in" + holder], wrong, name="thing", **forms)
        for who, place in self.where.items():
            wrong = tuple(place.at for place in self.words.places)
            self.ask("where", self.places[place].at, wrong, who, name="person")

    def ask_count(self, count: int, one: str, many: str, name: str, who: str = "", **slots: str) -> None:
        """问数目；错误答案是邻近的数。"""
        near = [count + d for d in (-2, -1, 1, 2, 3) if 0 <= count + d <= 20]
        self.ask("count", self.amount(count, one, many), [self.amount(n, one, many) for n in near], who, name, **slots)

    def amount(self, count: int, one: str, many: str) -> str:
        """数量加名词。"""
        return count_words(self.world.lang, count, one, many)

    def ask_first(self, earlier: str, later: str) -> None:
        """问两件事哪件在先；两件事是说法的名字，问句里的次序由抽签决定。"""
        first, second = self.phrase(earlier), self.phrase(later)
        one, two = (first, second) if self.draws.chance(1, 2) else (second, first)
        self.ask("first", first, (second,), one=one, two=two)
