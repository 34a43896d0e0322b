"""情节（一）：丢与寻、送与借、换与藏——围着一件东西转的八种故事。

流入：选好主角 A、同伴 B、东西 x、地点 p 的场景；流出：讲完的场景。
每种情节只写「发生了什么」，「怎么说」在各语言的说法表里。下一个文件：``plots_more.py``。
"""

from __future__ import annotations

from tinygrad_llm.common.corpora.storyworld.scene import Scene
from tinygrad_llm.common.corpora.storyworld.world import noun_phrase

__all__ = [
    "closing",
    "expert",
    "friend",
    "gift",
    "letter",
    "lost",
    "mend",
    "moved",
    "opening",
    "own",
    "pal",
    "quarrel",
    "swap",
    "treasure",
]


def opening(s: Scene) -> None:
    """开头：主角是谁，附一两件关于主角的事实。"""
    s.say("intro.child", "A")
    if s.brief:
        return
    s.fact("A")
    s.detail("fact.family", "A", part=1, whole=3, **_kin(s))


def friend(s: Scene) -> None:
    """同伴此刻走进故事：兄弟姐妹、同镇的朋友，或外镇来的客人。"""
    s.say("friend." + _tie(s), "B")
    _maybe_fact(s, "B")


def pal(s: Scene) -> None:
    """同伴从一开始就在主角身边。"""
    s.say("pal." + _tie(s), "B")
    _maybe_fact(s, "B")


def expert(s: Scene, role: str = "C") -> None:
    """大人出场，说明职业与所在的镇。"""
    s.say("expert.near" if s.people[role].town == s.people["A"].town else "expert.far", role)
    _maybe_fact(s, role)


def closing(s: Scene, tone: str) -> None:
    """收尾：一句余韵。"""
    s.detail(f"close.{tone}", "A", part=2, whole=3)


def own(s: Scene, who: str = "A") -> None:
    """某人有那件东西，并且喜欢它。"""
    s.hold("x", who)
    s.say("own", who)
    s.detail("use.play" if s.things["x"].plays else "use.keep", who)


def lost(s: Scene) -> None:
    """丢了东西，在最后去过的地方找到。"""
    opening(s)
    own(s)
    s.paragraph()
    s.go("A", "p", "go.day")
    s.note("p")
    s.detail("interlude", part=1, whole=3)
    s.hideout("k", outdoors=True)
    s.hold("x", "k")
    s.say("lost.put")
    s.other_place("q")
    s.go("A", "q", "go.then")
    s.detail("lost.busy")
    s.say("lost.notice")
    s.feel("A", "sad", "lost")
    s.paragraph()
    friend(s)
    s.say("lost.tell")
    if s.draws.chance(1, 2):
        s.hideout("l", outdoors=True)
        s.say("lost.search")
    s.say("lost.idea")
    s.go_together("p", "go.back")
    finder = s.draws.pick("AB")
    s.say("lost.found", finder)
    if finder == "B":
        s.say("lost.handed")
    s.hold("x", "A")
    s.feel("A", "happy", "found")
    closing(s, "lesson.careful")
    s.ask("who", s.people[finder].name, (s.people["A"].name, s.people["B"].name), name="found")
    s.ask("where", s.slots["ink"], [h[0] for h in s.words.hideouts], name="hidden")


def gift(s: Scene) -> None:
    """攒钱买生日礼物，藏好，送出。"""
    opening(s)
    pal(s)
    coins = s.draws.between(5, 12)
    price = s.draws.between(2, coins - 1)
    s.say("gift.plan", coins=s.amount(coins, *_coin(s)))
    s.paragraph()
    s.go("A", "p", "go.day")
    s.note("p")
    s.detail("interlude", part=1, whole=3)
    s.grown_up("C", "m")
    expert(s)
    s.hold("x", "C")
    s.say("gift.buy", price=s.amount(price, *_coin(s)))
    s.give("C", "A", "x")
    s.detail("gift.left", left=s.amount(coins - price, *_coin(s)))
    s.paragraph()
    s.hideout("k", outdoors=False)
    s.hold("x", "k")
    s.say("gift.hide")
    s.hold("x", "A")
    s.say("gift.give")
    s.give("A", "B", "x")
    s.feel("B", "happy", "birthday")
    s.detail("use.play" if s.things["x"].plays else "use.keep", "B")
    closing(s, "friends")
    s.where.clear()
    s.ask_count(coins - price, *_coin(s), name="left", who="A")
    s.ask("who", s.people["C"].name, [p.name for p in s.people.values()], name="sold")
    s.ask("where", s.slots["ink"], [h[0] for h in s.words.hideouts], name="hid", who="A")
    s.ask_first("ev.buy", "ev.hide")


def mend(s: Scene) -> None:
    """借来的东西弄坏了，请人修好，认错。"""
    opening(s)
    own(s)
    pal(s)
    s.paragraph()
    s.say("mend.borrow")
    s.give("A", "B", "x")
    s.go("B", "p", "mend.go")
    s.note("p")
    s.say("mend.break")
    s.feel("B", "ashamed", "broke")
    s.paragraph()
    s.grown_up("C", "m")
    s.say("mend.doubt")
    expert(s)
    s.give("B", "C", "x")
    s.say("mend.fix")
    s.give("C", "B", "x")
    s.paragraph()
    s.say("mend.confess")
    s.give("B", "A", "x")
    s.feel("A", "thankful", "truth")
    closing(s, "friends")
    s.where.clear()
    s.ask("who", s.people["C"].name, [p.name for p in s.people.values()], name="mended")
    s.ask("who", s.people["B"].name, [p.name for p in s.people.values()], name="broke")
    s.ask_first("ev.break", "ev.mend")


def quarrel(s: Scene) -> None:
    """两个人都想要，吵了一架，轮流玩。"""
    opening(s)
    pal(s)
    s.paragraph()
    s.go_together("p", "go.pair.day")
    s.note("p")
    s.say("quarrel.see")
    s.feel("A", "angry", "both")
    s.detail("quarrel.shout")
    s.paragraph()
    s.grown_up("C")
    expert(s)
    s.say("quarrel.advice")
    turns = s.draws.pick(("AB", "BA"))
    first, last = turns[0], turns[1]
    s.hold("x", first)
    s.say("quarrel.first", first)
    s.give(first, last, "x")
    s.say("quarrel.second", last)
    s.feel("B", "happy", "turns")
    closing(s, "friends")
    s.where.clear()
    names = [p.name for p in s.people.values()]
    s.ask("who", s.people[first].name, names, name="turn")
    s.ask("who", s.people["C"].name, names, name="advice")


def swap(s: Scene) -> None:
    """换来换去：三个人的两次交换。"""
    opening(s)
    own(s)
    s.paragraph()
    pal(s)
    s.other_thing("y")
    s.hold("y", "B")
    s.go_together("p", "go.pair.day")
    s.note("p")
    s.say("swap.offer")
    s.give("A", "B", "x")
    s.give("B", "A", "y")
    s.say("swap.done")
    names = [p.name for p in s.people.values()]
    if s.draws.chance(2, 3):
        s.paragraph()
        s.other_child("D")
        s.other_thing("z")
        s.hold("z", "D")
        s.say("swap.third")
        giver = s.draws.pick("AB")
        item = "y" if giver == "A" else "x"
        s.give(giver, "D", item)
        s.give("D", giver, "z")
        s.say("swap.again", giver, item=s.slots[item], theitem=s.slots["the" + item])
        names.append(s.people["D"].name)
    s.feel("A", "happy", "fair")
    closing(s, "friends")
    s.ask("who", s.people["A"].name, names, name="owned")


def moved(s: Scene) -> None:
    """放在一处，被挪到另一处：主角会先去哪里找？"""
    opening(s)
    own(s)
    pal(s)
    s.paragraph()
    s.hideout("k", outdoors=False)
    s.hold("x", "k")
    s.say("moved.put")
    s.go("A", "p", "go.then")
    s.note("p")
    s.hideout("l", outdoors=False)
    s.hold("x", "l")
    s.say("moved.shift")
    s.paragraph()
    s.where.pop("A")
    s.say("moved.return")
    s.feel("A", "surprised", "empty")
    ending = s.draws.pick(("told", "open"))
    s.say(f"moved.{ending}")
    if ending == "told":
        s.hold("x", "A")
        s.feel("A", "relieved", "joke")
        closing(s, "friends")
    hideouts = [s.slots["inl"], *(h[0] for h in s.words.hideouts)]
    s.ask("where", s.slots["ink"], hideouts, name="looked", who="A")
    s.ask("where", s.slots["inl"], [s.slots["ink"], *hideouts], name="really", who="B")
    s.ask_first("ev.put", "ev.shift")


def letter(s: Scene) -> None:
    """带着东西去另一座镇，交给该收的人。"""
    opening(s)
    s.grown_up("C")
    expert(s)
    s.hold("x", "C")
    away = [p for p in s.world.people if p.job and p.town != s.people["A"].town and p.name != s.people["C"].name]
    s.cast("D", s.draws.pick(away))
    s.say("letter.task")
    s.give("C", "A", "x")
    s.paragraph()
    pal(s)
    s.go_together("p", "letter.road")
    s.note("p")
    s.detail("interlude", part=1, whole=3)
    s.say("letter.trouble")
    town = next(town for town in s.world.towns if town.name == s.people["D"].town)
    s.say("letter.arrive", land=town.land, landmark=town.landmark, alandmark=noun_phrase(s.world.lang, town.landmark))
    s.paragraph()
    s.give("A", "D", "x")
    s.say("letter.deliver")
    s.other_thing("y")
    s.hold("y", "D")
    s.give("D", "A", "y")
    s.say("letter.thanks")
    s.feel("A", "proud", "delivered")
    closing(s, "home")
    s.where.clear()
    names = [p.name for p in s.people.values()]
    s.ask("who", s.people["C"].name, names, name="sent")
    s.ask("where", s.people["D"].town, [town.name for town in s.world.towns], name="town", who="D")


def treasure(s: Scene) -> None:
    """照着线索一处处找，最后找到宝物。"""
    opening(s)
    pal(s)
    s.other_place("q")
    s.say("treasure.note")
    s.paragraph()
    s.go_together("q", "go.pair")
    s.note("q")
    s.detail("interlude", part=1, whole=3)
    s.say("treasure.clue")
    s.go_together("p", "go.pair")
    s.note("p")
    s.hideout("k", outdoors=True)
    s.hold("x", "k")
    s.say("treasure.found")
    s.hold("x", "A")
    s.feel("B", "surprised", "treasure")
    s.paragraph()
    keeper = s.draws.pick("AB")
    if keeper == "B":
        s.give("A", "B", "x")
    s.say("treasure.keep", keeper)
    closing(s, "friends")
    s.where.clear()
    s.ask("where", s.slots["ink"], [h[0] for h in s.words.hideouts], name="hidden")
    s.ask_first("ev.place.q", "ev.place.p")


def _tie(s: Scene) -> str:
    """同伴与主角的关系：sib（兄弟姐妹）、near（同镇）或 far（外镇）。"""
    hero, other = s.people["A"], s.people["B"]
    if hero.family == other.family:
        kind = ("elder." if other.age > hero.age else "younger.") + ("sister" if other.female else "brother")
        s.slots["sib"] = s.book.say(kind, {}, s.draws)
        return "sib"
    return "near" if hero.town == other.town else "far"


def _maybe_fact(s: Scene, role: str) -> None:
    """三次里有一次，顺带说一件关于他的事实。"""
    if not s.brief and s.draws.chance(1, 3):
        s.fact(role)


def _coin(s: Scene) -> tuple[str, str]:
    return ("coin", "coins") if s.world.lang == "en" else ("铜板", "个")


def _kin(s: Scene) -> dict[str, str]:
    """主角父母与老人的名字，供家庭事实使用。"""
    family = s.world.family_of(s.people["A"])
    elder = (family.get("grandmother") or family["grandfather"])[0]
    role = s.book.say(f"kin.{elder.role}", {}, s.draws)
    mum, dad = family["mother"][0], family["father"][0]
    jobs = {"mumjob": mum.job, "dadjob": dad.job}
    jobs |= {"mumajob": noun_phrase(s.world.lang, mum.job), "dadajob": noun_phrase(s.world.lang, dad.job)}
    return {"mum": mum.name, "dad": dad.name, "elder": elder.name, "kin": role, **jobs}
