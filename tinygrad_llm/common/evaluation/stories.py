"""故事世界里的题：不必有文件，要多少有多少，考的是测试的划分，示例取自训练的划分。

流入：任务名，如 ``storyworld-choices-zh``；流出：``Task``。下一个文件：``prompts.py``。

==========================  ==========================================================
``storyworld-choices``      四选一：短文、世界的事实、算术
``storyworld-topic``        短文的主题；同样有 ``-sentiment`` 与 ``-spam``
``storyworld-questions``    短文与世界的问题，自由作答，一字不差才算对
``storyworld-instructions``  可以核对的指令
==========================  ==========================================================

名字之后可以写语言 ``-en`` 或 ``-zh``；不写则两种交替。
"""

from __future__ import annotations

from tinygrad_llm.common.corpora.storyworld import Choice, Labelled, choices, instructions, labelled, questions
from tinygrad_llm.common.corpora.storyworld.items import Answerable
from tinygrad_llm.common.evaluation.items import Item, Task, asked

__all__ = ["STORY_TASKS", "story_task"]

_MAKERS = {
    "choices": choices,
    "questions": questions,
    "instructions": instructions,
    "topic": labelled,
    "sentiment": labelled,
    "spam": labelled,
}
STORY_TASKS = tuple(f"storyworld-{name}{lang}" for name in _MAKERS for lang in ("", "-en", "-zh"))
POOL = 64
"""示例从训练划分的头这么多题里抽。"""


def story_task(name: str, limit: int) -> Task:
    """一项故事世界的任务。

    Args:
        name: ``STORY_TASKS`` 之一。
        limit: 几题。
    """
    _, kind, *rest = name.split("-")
    lang, topic = (rest or ["both"])[0], {"task": kind} if _MAKERS[kind] is labelled else {}
    found = [
        tuple(map(_item, _MAKERS[kind](0, lang, split, **topic).take(count)))  # type: ignore[operator]
        for split, count in (("test", limit), ("train", POOL))
    ]
    return Task(name, found[0], found[1])


def _item(made: Answerable | Labelled) -> Item:
    if isinstance(made, Labelled):
        ending = "类别：" if made.lang == "zh" else "Label:"
        return Item(
            made.id, "choice", f"{made.text}\n{ending}", made.labels, (made.label,), made.label_id, group=made.lang
        )
    if isinstance(made, Choice):
        user = "\n".join(part for part in (made.context, made.question) if part)
        prompt, right = asked(made.context, made.question), made.answer_index
        return Item(
            made.id,
            "choice",
            prompt,
            made.options,
            (made.options[right],),
            right,
            group=_kind(made),
            user=user,
        )
    check = made.to_json()["rule"]
    return Item(
        made.id, "answer", asked("", made.prompt), (), (made.answer,), 0, "storyworld", check, group=_kind(made),
        user=made.prompt,
    )  # fmt: skip


def _kind(made: Answerable) -> str:
    """题型里点号之前的一段：``story.who`` 归入 ``story``，各类的题才不至于太少。"""
    return made.task.partition(".")[0]
