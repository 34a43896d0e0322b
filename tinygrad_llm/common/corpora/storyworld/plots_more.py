"""情节（二）：跑腿、下雨、救助、壮胆、学艺、怪声、赛跑、串门——围着一件事转的八种故事。

流入：选好主角 A、同伴 B、东西 x、地点 p 的场景；流出：讲完的场景。
下一个文件：``plots_town.py``。
"""

from __future__ import annotations

from tinygrad_llm.common.corpora.storyworld.lexicon import with_article
from tinygrad_llm.common.corpora.storyworld.plots import closing, expert, friend, opening, own, pal
from tinygrad_llm.common.corpora.storyworld.scene import Scene
from tinygrad_llm.common.corpora.storyworld.world import noun_phrase

__all__ = ["errand", "fear", "learn", "noise", "portrait", "race", "rain", "rescue", "visit"]


def errand(s: Scene) -> None:
    """替父母买东西，路上分给别人一些，回家说明白。"""
    opening(s)
    s.parent("M")
    one, many = s.draws.pick(s.words.goodies)
    bought, given = s.draws.between(4, 12), s.draws.between(1, 3)
    goods = many if s.world.lang == "en" else one
    s.say(f"errand.ask.{s.people['M'].role}", "M", goods=s.amount(bought, one, many))
    s.paragraph()
    s.go("A", "p", "go.day")
    s.note("p")
    s.detail("interlude", part=1, whole=3)
    s.say("errand.buy", goods=s.amount(bought, one, many))
    s.hold("x", "B")
    s.say("errand.meet", plain=goods)
    s.say("errand.share", some=s.amount(given, one, many))
    if s.draws.chance(1, 2):
        s.give("B", "A", "x")
        s.say("errand.thanks")
    s.paragraph()
    s.say("errand.home", "M", left=s.amount(bought - given, one, many), plain=goods)
    s.feel("M", "proud", "shared")
    closing(s, "home")
    s.where.clear()
    s.ask_count(bought, one, many, "bought", "A", plain=goods)
    s.ask_count(given, one, many, "gave.count", "A", plain=goods)
    s.ask_count(bought - given, one, many, "home", "A", plain=goods)


def rain(s: Scene) -> None:
    """出去玩遇上雨，躲到一处，有人招待。"""
    opening(s)
    pal(s)
    s.hold("x", "A")
    s.say("rain.plan", food=s.people["A"].food)
    s.paragraph()
    s.go_together("p", "go.pair.day")
    s.note("p")
    s.detail("use.play" if s.things["x"].plays else "use.keep", "A")
    s.say("rain.start")
    s.feel("B", "worried", "wet")
    s.paragraph()
    s.other_place("q", roofed=True)
    s.go_together("q", "go.run")
    s.grown_up("C")
    s.stay("C", "q")
    s.say("rain.door", "C")
    s.say("rain.warm", "C")
    s.feel("A", "thankful", "shelter")
    closing(s, "weather")
    s.ask("who", s.people["C"].name, [p.name for p in s.people.values()], name="helped")
    s.ask_first("ev.rain", "ev.soup")


def rescue(s: Scene) -> None:
    """救一只小动物，送回主人那里。"""
    opening(s)
    own(s)
    s.paragraph()
    s.go("A", "p", "go.day")
    s.note("p")
    s.detail("interlude", part=1, whole=3)
    animal = s.draws.pick(s.words.animals)
    forms = {"n": animal, "an": with_article(animal) if s.world.lang == "en" else f"一只{animal}"}
    s.say("rescue.hear", **forms)
    s.feel("A", "worried", "animal", **forms)
    friend(s)
    s.stay("B", "p")
    s.say("rescue.free", **forms)
    s.paragraph()
    s.grown_up("C", "h")
    expert(s)
    s.say("rescue.heal", **forms)
    s.grown_up("D")
    s.say("rescue.owner", "D", **forms)
    s.feel("D", "happy", "animal.back", **forms)
    closing(s, "home")
    s.where.clear()
    names = [p.name for p in s.people.values()]
    s.ask("who", s.people["D"].name, names, name="owner", **forms)
    s.ask("who", s.people["C"].name, names, name="healed", **forms)


def fear(s: Scene) -> None:
    """怕一件事，在朋友的鼓励下做到了。"""
    opening(s)
    what, deed, spot = s.draws.pick(s.words.fears)
    forms = {"fear": what, "deed": deed, "spot": spot}
    s.say("fear.is", **forms)
    s.detail("fear.secret")
    s.paragraph()
    s.go("A", "p", "go.day")
    s.note("p")
    s.detail("interlude", part=1, whole=3)
    friend(s)
    s.stay("B", "p")
    s.say("fear.talk", **forms)
    s.hold("x", "B")
    s.say("fear.charm", **forms)
    s.give("B", "A", "x")
    s.paragraph()
    s.where.clear()
    s.say("fear.try", **forms)
    s.say("fear.done", **forms)
    s.feel("A", "proud", "brave", **forms)
    closing(s, "brave")
    s.ask("what", what, [f[0] for f in s.words.fears], "A", "afraid")
    s.ask("who", s.people["B"].name, [p.name for p in s.people.values()], name="gave")


def learn(s: Scene) -> None:
    """向大人学一门手艺，失败几次，终于学会。"""
    opening(s)
    s.grown_up("C")
    s.say("learn.wish", "C")
    s.paragraph()
    s.go("A", "p", "go.day")
    s.note("p")
    s.detail("interlude", part=1, whole=3)
    expert(s)
    s.stay("C", "p")
    s.say("learn.first", "C")
    tries = s.draws.between(2, 6)
    times = ("time", "times") if s.world.lang == "en" else ("", "次")
    s.say("learn.fail", "C", tries=s.amount(tries, *times))
    s.feel("A", "sad", "failed")
    friend(s)
    s.say("learn.cheer", "C")
    s.paragraph()
    s.say("learn.success", "C")
    s.hold("x", "C")
    s.give("C", "A", "x")
    s.say("learn.prize", "C")
    s.feel("A", "proud", "learned", Cskill=s.people["C"].skill)
    closing(s, "brave")
    s.where.clear()
    s.ask_count(tries, *times, name="tries", who="A")
    s.ask("who", s.people["C"].name, [p.name for p in s.people.values()], name="taught", who="A")
    s.ask("what", s.people["C"].skill, [job[1] for job in s.words.jobs], "A", "learned")


def noise(s: Scene) -> None:
    """夜里的怪声，原来是一场虚惊。"""
    opening(s)
    sound, source, doing = s.draws.pick(s.words.noises)
    forms = {"sound": sound, "source": source, "doing": doing}
    pal(s)
    s.say("noise.night")
    s.say("noise.hear", **forms)
    s.feel("B", "worried", "noise", **forms)
    s.say("noise.guess")
    s.paragraph()
    s.hold("x", "A")
    s.say("noise.take")
    s.go_together("p", "noise.creep")
    s.say("noise.look", **forms)
    s.say("noise.truth", **forms)
    s.feel("A", "relieved", "source", **forms)
    closing(s, "night")
    s.ask("what", source, [n[1] for n in s.words.noises], name="made")
    s.ask("what", s.slots["x"], [t.noun for t in s.draws.sample(s.words.things, 6)], "A", "took")


def race(s: Scene) -> None:
    """赛跑：名次与缘由。"""
    opening(s)
    pal(s)
    s.other_child("D")
    s.say("race.plan")
    s.other_place("q")
    s.paragraph()
    s.go_together("q", "race.go")
    s.say("race.start")
    s.note("p")
    order = s.draws.shuffled("ABD")
    s.say("race.lead", order[1])
    s.detail("race.slip", order[2])
    s.say("race.end", order[0], **{f"o{i}": s.people[role].name for i, role in enumerate(order)})
    for role in "ABD":
        s.stay(role, "p")
    s.paragraph()
    s.hold("x", order[0])
    s.say("race.prize", order[0])
    s.feel(order[0], "proud", "won")
    s.detail("race.shake", order[2])
    closing(s, "friends")
    names = [p.name for p in s.people.values()]
    s.ask("who", s.people[order[0]].name, names, name="won")
    s.ask("who", s.people[order[2]].name, names, name="last")


def portrait(s: Scene) -> None:
    """一幅小像：主角与家人的几件事实，末尾一件小事。"""
    s.say("intro.child", "A")
    for _ in range(4):
        s.fact("A")
    family = s.world.family_of(s.people["A"])
    s.paragraph()
    for role in s.draws.sample(("mother", "father"), 2):
        s.cast("P", family[role][0])
        s.say(f"portrait.{role}", "P")
        s.fact("P")
    elder = s.elder("P")
    s.detail(f"portrait.{elder.role}", "P", part=2, whole=3)
    s.people.pop("P")
    s.paragraph()
    pal(s)
    s.hold("x", "A")
    s.go_together("p", "go.pair.day")
    s.say("portrait.play")
    s.feel("A", "happy", "together")


def visit(s: Scene) -> None:
    """去另一座镇做客：地理与特产，带回一件东西。"""
    opening(s)
    home = s.people["A"].town
    index = s.draws.pick([i for i, town in enumerate(s.world.towns) if town.name != home])
    town, centre = s.world.towns[index], s.world.towns[0]
    forms = {"town": town.name, "land": town.land, "good": town.good, "centre": centre.name}
    forms |= {"landmark": town.landmark, "alandmark": noun_phrase(s.world.lang, town.landmark)}
    pal(s)
    s.say("visit.plan", **forms)
    if index:
        s.say("visit.map", direction=town.direction, **forms)
    s.paragraph()
    s.say("visit.arrive", **forms)
    s.say("visit.good", **forms)
    s.go_together("p", "go.pair")
    s.note("p")
    s.say("visit.buy")
    s.hold("x", "A")
    s.detail("use.play" if s.things["x"].plays else "use.keep", "A")
    s.paragraph()
    s.say("visit.home", **forms)
    s.feel("A", "happy", "visit", **forms)
    closing(s, "home")
    s.where.clear()
    towns = [other.name for other in s.world.towns]
    s.ask("where", town.name, towns, name="visited", who="A")
