"""指令：拼写、反义词、算术、排序、格式、抄写……都能由规则核对，难度分三级。

流入：``tasks.py`` 的草稿；流出：``Instruction``。下一个文件：``choices.py``。
"""

from __future__ import annotations

from functools import cache

from tinygrad_llm.common.corpora.storyworld.draws import Draws, split_of
from tinygrad_llm.common.corpora.storyworld.grammar import Phrasebook
from tinygrad_llm.common.corpora.storyworld.items import Instruction, Rule
from tinygrad_llm.common.corpora.storyworld.task_words import PROMPTS
from tinygrad_llm.common.corpora.storyworld.tasks import TASKS, Draft

__all__ = ["ask", "make_instruction"]


def make_instruction(
    seed: int,
    lang: str,
    split: str,
    index: int,
    *,
    name: str,
    tasks: tuple[str, ...] = (),
    level: int | None = None,
) -> Instruction:
    """第 ``index`` 条指令。

    Args:
        seed: 种子。
        lang: 语言。
        split: 划分。
        index: 序号。
        name: 数据项的名字。
        tasks: 只出这些题型；这种语言没有的略去；空表示全部。
        level: 只出这一级；空表示三级均匀。

    Returns:
        指令。
    """
    chosen = tuple(task for task in (tasks or TASKS[lang]) if task in TASKS[lang])
    draws = Draws(seed, f"instructions/{lang}/{'+'.join(tasks)}/{level}", split, index)
    return ask(draws, lang, split, draws.pick(chosen), level or draws.between(1, 3), name)


def ask(draws: Draws, lang: str, split: str, task: str, level: int, name: str) -> Instruction:
    """出一道题：反复打草稿，直到内容属于 ``split``；键里不写语言，「3 + 4 =」在两种语言里是同一道题。"""
    while True:
        draft: Draft = TASKS[lang][task](draws, lang, level)
        if split_of(draft.key) == split:
            break
    prompt = _prompts(lang).say(draft.prompt or task, draft.slots, draws)
    return Instruction(name, lang, split, task, prompt, draft.answer, draft.rule or Rule("exact", draft.answer), level)


@cache
def _prompts(lang: str) -> Phrasebook:
    return Phrasebook(PROMPTS[lang])
