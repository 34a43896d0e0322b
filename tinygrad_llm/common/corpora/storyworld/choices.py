"""选择题：四个选项里一个对，正确选项的位置每四题恰好各出现一次。

流入：``questions.py`` 与 ``instructions.py``；流出：``Choice``。下一个文件：``labelled.py``。
"""

from __future__ import annotations

from tinygrad_llm.common.corpora.storyworld.draws import Draws
from tinygrad_llm.common.corpora.storyworld.facts import facts_of
from tinygrad_llm.common.corpora.storyworld.instructions import ask
from tinygrad_llm.common.corpora.storyworld.items import Choice, Rule
from tinygrad_llm.common.corpora.storyworld.stories import tell
from tinygrad_llm.common.corpora.storyworld.world import world_of

__all__ = ["balanced", "make_choice"]

_LETTERS = "ABCD"
_ANSWER = {"en": "Answer:", "zh": "答案："}
_ARITHMETIC = ("add", "subtract", "multiply")


def balanced(seed: int, stream: str, split: str, index: int, n: int) -> int:
    """0 到 n - 1 之一；每 ``n`` 个相邻的序号里，每个值恰好出现一次。"""
    return Draws(seed, f"{stream}/balance", split, index // n).shuffled(range(n))[index % n]


def make_choice(seed: int, lang: str, split: str, index: int, *, name: str) -> Choice:
    """第 ``index`` 道选择题。

    Args:
        seed: 种子。
        lang: 语言。
        split: 划分。
        index: 序号。
        name: 数据项的名字。

    Returns:
        选择题；``prompt`` 以「答案：」结尾，接一个字母。
    """
    stream = f"choices/{lang}"
    draws = Draws(seed, stream, split, index)
    task, context, question, answer, wrong = draws.pick((_story, _story, _world, _arithmetic))(draws, seed, lang, split)
    options = draws.sample([entry for entry in dict.fromkeys(wrong) if entry != answer], len(_LETTERS) - 1)
    at = balanced(seed, stream, split, index, len(_LETTERS))
    options.insert(at, answer)
    lines = [f"{letter}. {option}" for letter, option in zip(_LETTERS, options, strict=True)]
    prompt = "\n".join([*([context] if context else []), question, *lines, _ANSWER[lang]])
    letter = _LETTERS[at]
    return Choice(name, lang, split, task, prompt, letter, Rule("exact", letter), context, question, tuple(options), at)


_Parts = tuple[str, str, str, str, tuple[str, ...]]
"""题型、短文、问句、答案、错误答案。"""


def _story(draws: Draws, seed: int, lang: str, split: str) -> _Parts:
    """短文里的问题；人名不够，就拿世界里的别人来凑。"""
    world = world_of(seed, lang)
    scene = tell(world, draws, split, brief=True).scene
    asks = [a for a in scene.asks if a.kind in ("who", "holder") or len(set(a.wrong)) >= len(_LETTERS) - 1]
    asked = draws.pick(asks)
    wrong = asked.wrong
    if asked.kind in ("who", "holder"):
        wrong += tuple(person.name for person in draws.sample(world.people, len(_LETTERS)))[
            : len(_LETTERS) - len(wrong)
        ]
        wrong += tuple(person.name for person in world.children)
        wrong = tuple(dict.fromkeys(entry for entry in wrong if entry != asked.answer))[: len(_LETTERS) - 1]
    return f"story.{asked.kind}", scene.text(), asked.question, asked.answer, wrong


def _world(draws: Draws, seed: int, lang: str, split: str) -> _Parts:
    """世界的事实。"""
    fact = draws.pick([fact for fact in facts_of(seed, lang)[split] if len(set(fact.wrong)) >= len(_LETTERS) - 1])
    return f"world.{fact.kind}", "", draws.pick(fact.questions), fact.answer, fact.wrong


def _arithmetic(draws: Draws, seed: int, lang: str, split: str) -> _Parts:
    """算术；错误答案是邻近的数。"""
    item = ask(draws, lang, split, draws.pick(_ARITHMETIC), draws.between(1, 2), "")
    value = int(item.answer)
    near = tuple(str(value + step) for step in (-3, -2, -1, 1, 2, 3, 10) if value + step >= 0)
    return item.task, "", item.prompt, item.answer, near
