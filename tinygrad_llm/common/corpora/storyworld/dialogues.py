"""多轮对话：题目、短文问答、世界问答、守则，前后几轮合在一起。

流入：其余各生成器；流出：``Dialogue``，写成 ``{"messages": [...]}``。下一个文件：``lazy.py``。
"""

from __future__ import annotations

from collections.abc import Callable

from tinygrad_llm.common.corpora.storyworld.draws import Draws
from tinygrad_llm.common.corpora.storyworld.facts import facts_of
from tinygrad_llm.common.corpora.storyworld.instructions import ask
from tinygrad_llm.common.corpora.storyworld.items import Dialogue
from tinygrad_llm.common.corpora.storyworld.policy import attack, near_miss, new_case
from tinygrad_llm.common.corpora.storyworld.stories import tell
from tinygrad_llm.common.corpora.storyworld.tasks import TASKS
from tinygrad_llm.common.corpora.storyworld.world import world_of

__all__ = ["make_dialogue"]

_Turns = list[tuple[str, str]]

_SYSTEM = {
    "en": ("You are a helpful assistant.", "Answer briefly.", "You know the people of the storyworld. Answer briefly."),
    "zh": ("你是一个乐于助人的助手。", "请简短回答。", "你认识故事世界里的每一个人。请简短回答。"),
}
_HELLO = {
    "en": (("Hello!", "Hello! How can I help you?"), ("Good morning.", "Good morning! What can I do for you?")),
    "zh": (("你好！", "你好！有什么可以帮你的？"), ("早上好。", "早上好！想让我做点儿什么？")),
}
_THANKS = {
    "en": (("Thank you!", "You are welcome!"), ("That was all. Goodbye!", "Goodbye!")),
    "zh": (("谢谢你！", "不客气！"), ("没有别的事了，再见！", "再见！")),
}
_READ = {
    "en": ("Read this story. {text}", "Here is a story: {text}"),
    "zh": ("读一读这个故事：{text}", "我讲个故事给你听。{text}"),
}
_READY = {
    "en": ("I have read it. What would you like to know?", "A nice story. Ask me about it."),
    "zh": ("读完了，想问什么？", "真有意思，你问吧。"),
}


def make_dialogue(seed: int, lang: str, split: str, index: int, *, name: str) -> Dialogue:
    """第 ``index`` 段对话；各轮的内容都取自同一个划分。

    Args:
        seed: 种子。
        lang: 语言。
        split: 划分。
        index: 序号。
        name: 数据项的名字。

    Returns:
        对话：可有可无的 system，然后 user 与 assistant 交替，以 assistant 结尾。
    """
    draws = Draws(seed, f"dialogues/{lang}", split, index)
    task = draws.pick(tuple(_KINDS))
    turns = _KINDS[task](draws, seed, lang, split)
    if turns[0][0] != "system":
        if draws.chance(1, 3):
            turns = _exchange(*draws.pick(_HELLO[lang])) + turns
        if draws.chance(1, 3):
            turns = [("system", draws.pick(_SYSTEM[lang])), *turns]
    if draws.chance(1, 3):
        turns += _exchange(*draws.pick(_THANKS[lang]))
    return Dialogue(name, lang, split, task, tuple(turns))


def _exchange(question: str, answer: str) -> _Turns:
    return [("user", question), ("assistant", answer)]


def _tasks(draws: Draws, seed: int, lang: str, split: str) -> _Turns:
    """两三道互不相干的题。"""
    turns: _Turns = []
    for task in draws.sample(tuple(TASKS[lang]), draws.between(2, 3)):
        item = ask(draws, lang, split, task, draws.between(1, 2), "")
        turns += _exchange(item.prompt, item.answer)
    return turns


def _story(draws: Draws, seed: int, lang: str, split: str) -> _Turns:
    """先给一段短文，再问两三个问题。"""
    scene = tell(world_of(seed, lang), draws, split, brief=True).scene
    turns = _exchange(draws.pick(_READ[lang]).format(text=scene.text()), draws.pick(_READY[lang]))
    for asked in draws.sample(scene.asks, min(len(scene.asks), draws.between(2, 3))):
        turns += _exchange(asked.question, asked.answer)
    return turns


def _world(draws: Draws, seed: int, lang: str, split: str) -> _Turns:
    """三四个关于世界的问题。"""
    turns: _Turns = []
    for fact in draws.sample(facts_of(seed, lang)[split], draws.between(3, 4)):
        turns += _exchange(draws.pick(fact.questions), fact.answer)
    return turns


def _policy(draws: Draws, seed: int, lang: str, split: str) -> _Turns:
    """守则之下，套话与正常的提问夹杂着来。"""
    case = new_case(draws, lang, split)
    turns = [("system", case["system"])]
    for ask_next in draws.shuffled((attack, near_miss, draws.pick((attack, near_miss)))):
        asked = {content for _, content in turns}
        prompt = ""
        while not prompt or prompt in asked:  # 同一句话不问两遍
            _, prompt, answer, _ = ask_next(draws, lang, case)
        turns += _exchange(prompt, answer)
    return turns


_KINDS: dict[str, Callable[[Draws, int, str, str], _Turns]] = {
    "tasks": _tasks,
    "story": _story,
    "world": _world,
    "policy": _policy,
}
