"""问题：关于一段短文的，与关于这个世界的；答案都由状态算出，可以逐字核对。

流入：``stories.py`` 的场景、``facts.py`` 的事实；流出：``Question``。下一个文件：``instructions.py``。
"""

from __future__ import annotations

from tinygrad_llm.common.corpora.storyworld.draws import Draws
from tinygrad_llm.common.corpora.storyworld.facts import facts_of
from tinygrad_llm.common.corpora.storyworld.items import Question, Rule
from tinygrad_llm.common.corpora.storyworld.stories import tell
from tinygrad_llm.common.corpora.storyworld.world import world_of

__all__ = ["KINDS", "make_question"]

KINDS = ("story", "world")
"""关于短文的与关于世界的。"""

_STORY_SHARE = (7, 10)


def make_question(seed: int, lang: str, split: str, index: int, *, name: str, about: str | None = None) -> Question:
    """第 ``index`` 个问题。

    Args:
        seed: 种子。
        lang: 语言。
        split: 划分。
        index: 序号。
        name: 数据项的名字。
        about: ``story``、``world``，或不限。

    Returns:
        问题；关于世界的没有短文。
    """
    draws = Draws(seed, f"questions/{lang}/{about}", split, index)
    kind = about or ("story" if draws.chance(*_STORY_SHARE) else "world")
    if kind == "world":
        fact = draws.pick(facts_of(seed, lang)[split])
        context, task, question, answer = "", f"world.{fact.kind}", draws.pick(fact.questions), fact.answer
        wrong = tuple(dict.fromkeys(fact.wrong))
    else:
        scene = tell(world_of(seed, lang), draws, split, brief=True).scene
        asked = draws.pick(tuple(dict.fromkeys(ask.kind for ask in scene.asks)))  # 先选种类，各种问题才均衡
        ask = draws.pick([ask for ask in scene.asks if ask.kind == asked])
        context, task, question, answer = scene.text(), f"story.{ask.kind}", ask.question, ask.answer
        wrong = tuple(dict.fromkeys(ask.wrong))
    prompt = f"{context}\n{question}" if context else question
    return Question(name, lang, split, task, prompt, answer, Rule("exact", answer), context, question, wrong)
