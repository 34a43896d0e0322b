"""故事：第 i 项是（种子，语言，划分，i）的纯函数；情节、主角、同伴、东西、地点的组合决定它属于哪个划分。

流入：世界；流出：``Story`` 与据它提出的问题。下一个文件：``questions.py``。
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

from tinygrad_llm.common.corpora.storyworld import (
    phrases_en,
    phrases_en_plots,
    phrases_zh,
    phrases_zh_plots,
    plots,
    plots_more,
    plots_town,
)
from tinygrad_llm.common.corpora.storyworld.draws import Draws, split_of
from tinygrad_llm.common.corpora.storyworld.grammar import Phrasebook
from tinygrad_llm.common.corpora.storyworld.lexicon import Place, Thing
from tinygrad_llm.common.corpora.storyworld.scene import Scene
from tinygrad_llm.common.corpora.storyworld.world import World

__all__ = ["PLOTS", "phrasebook", "tell"]

PLOTS: dict[str, Callable[[Scene], None]] = {
    "lost": plots.lost,
    "gift": plots.gift,
    "mend": plots.mend,
    "quarrel": plots.quarrel,
    "swap": plots.swap,
    "moved": plots.moved,
    "letter": plots.letter,
    "treasure": plots.treasure,
    "errand": plots_more.errand,
    "rain": plots_more.rain,
    "rescue": plots_more.rescue,
    "fear": plots_more.fear,
    "learn": plots_more.learn,
    "noise": plots_more.noise,
    "race": plots_more.race,
    "portrait": plots_more.portrait,
    "visit": plots_more.visit,
    "sowing": plots_town.sowing,
    "festival": plots_town.festival,
    "helping": plots_town.helping,
}
"""情节的名字到讲法。"""

_NAMES = tuple(PLOTS)
_SAME_TOWN = (3, 4)  # 四次里有三次，同伴也住在主角的镇上


class Told(NamedTuple):
    """讲完的故事。

    Attributes:
        plot: 情节。
        key: 决定划分的内容。
        scene: 场景，含文字与问题。
    """

    plot: str
    key: str
    scene: Scene


@cache
def phrasebook(lang: str) -> Phrasebook:
    """一种语言的故事说法表。"""
    if lang == "en":
        return Phrasebook(phrases_en.COMMON, phrases_en_plots.PLOTS)
    return Phrasebook(phrases_zh.COMMON, phrases_zh_plots.PLOTS)


def tell(world: World, draws: Draws, split: str, *, brief: bool = False) -> Told:
    """讲一个属于 ``split`` 的故事。

    选定情节，再反复抽「主角、同伴、东西、地点」，直到这个组合按内容落在 ``split`` 里；组合不同，文字必不同。

    Args:
        world: 世界。
        draws: 抽签筒。
        split: 划分。
        brief: 略去描写的短文，供出题用。

    Returns:
        讲完的故事。
    """
    children = world.children
    plot = draws.pick(_NAMES)
    while True:
        hero = draws.pick(children)
        near = [child for child in children if child.town == hero.town and child.name != hero.name]
        far = [child for child in children if child.town != hero.town]
        other = draws.pick(near if near and draws.chance(*_SAME_TOWN) else far)
        thing, place = draws.pick(world.lexicon.things), draws.pick(world.lexicon.places)
        key = f"story/{world.lang}/{plot}/{hero.name}/{other.name}/{thing.noun}/{place.noun}"
        if _fits(plot, thing, place) and split_of(key) == split:
            break
    scene = Scene(world, phrasebook(world.lang), draws, brief=brief)
    scene.cast("A", hero)
    scene.cast("B", other)
    scene.prop("x", thing, draws.pick(thing.looks))
    scene.stage("p", place)
    PLOTS[plot](scene)
    scene.ask_state()
    return Told(plot, key, scene)


def _fits(plot: str, thing: Thing, place: Place) -> bool:
    """情节与东西、地点是否相称：修的得会坏，藏的得小巧，淋雨、过节得在露天，买东西得在有铺子的地方。"""
    if plot == "mend" and not thing.breaks:
        return False
    if plot in ("lost", "gift", "moved", "treasure") and thing.bulky:
        return False
    if plot in ("rain", "festival") and place.roofed:
        return False
    return place.shop or plot not in ("gift", "errand", "visit")
