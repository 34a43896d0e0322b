"""情节（三）：播种、节日、帮忙——镇上日子里的三种故事。

流入：选好主角 A、同伴 B、东西 x、地点 p 的场景；流出：讲完的场景。
下一个文件：``stories.py``（怎样按序号选情节、选角色）。
"""

from __future__ import annotations

from tinygrad_llm.common.corpora.storyworld.plots import closing, opening, pal
from tinygrad_llm.common.corpora.storyworld.scene import Scene

__all__ = ["festival", "helping", "sowing"]


def sowing(s: Scene) -> None:
    """种下种子，等了许多天，终于发芽。"""
    opening(s)
    elder = s.elder("M")
    seed = ("seed", "seeds") if s.world.lang == "en" else ("种子", "颗")
    day = ("day", "days") if s.world.lang == "en" else ("", "天")
    seeds, days = s.draws.between(3, 12), s.draws.between(4, 12)
    s.say(f"sowing.get.{elder.role}", "M", seeds=s.amount(seeds, *seed))
    pal(s)
    s.paragraph()
    s.go_together("p", "go.pair.day")
    s.note("p")
    s.say("sowing.plant", seeds=s.amount(seeds, *seed))
    s.hold("x", "A")
    s.say("sowing.mark")
    s.say("sowing.wait")
    s.feel("B", "sad", "nothing")
    s.say("sowing.patience", "M")
    s.paragraph()
    s.say("sowing.sprout", days=s.amount(days, *day))
    s.feel("A", "happy", "green")
    s.say("sowing.fetch")
    closing(s, "home")
    s.where.clear()
    s.ask_count(seeds, *seed, "seeds", "A")
    s.ask_count(days, *day, "days")
    s.ask("who", elder.name, [p.name for p in s.people.values()], name="seeds.from")


def festival(s: Scene) -> None:
    """过节时在人群里走散，靠一件举高的东西找回来。"""
    opening(s)
    pal(s)
    name, deed, treat = s.draws.pick(s.words.festivals)
    s.slots |= {"fest": name, "deed": deed, "treat": treat}
    s.say("festival.day")
    s.hold("x", "A")
    s.say("festival.bring")
    s.paragraph()
    s.go_together("p", "go.pair")
    s.note("p")
    s.say("festival.do")
    s.detail("festival.treat")
    s.say("festival.crowd")
    s.feel("B", "worried", "crowd")
    s.paragraph()
    s.say("festival.wave")
    s.feel("B", "relieved", "wave")
    s.detail("festival.late")
    closing(s, "friends")
    s.ask("what", name, [other[0] for other in s.words.festivals], name="festival")
    s.ask("what", s.slots["x"], [t.noun for t in s.draws.sample(s.words.things, 6)], "A", "held")


def helping(s: Scene) -> None:
    """帮一位老人搬东西，得到一件谢礼。"""
    opening(s)
    pal(s)
    s.paragraph()
    s.neighbour("M")
    s.say("helping.meet", "M")
    s.detail("helping.think")
    s.say("helping.offer", "M")
    s.go_together("p", "helping.walk")
    s.note("p")
    s.detail("interlude", part=1, whole=3)
    s.say("helping.arrive", "M")
    s.feel("M", "thankful", "helped")
    s.paragraph()
    taker = s.draws.pick("AB")
    s.hold("x", "M")
    s.give("M", taker, "x")
    s.say("helping.gift", taker)
    s.feel(taker, "happy", "thanked")
    closing(s, "friends")
    s.where.clear()
    s.ask("who", s.people["M"].name, [p.name for p in s.people.values()], name="needed")
    s.ask_first("ev.carry", "ev.gift")
