"""故事世界：由种子生成的小小世界，中文与英文各一个；故事、问题、指令、标签、偏好、选择题、守则、对话都从它来。

流入：种子、语言、划分；流出：惰性序列，第 i 项是纯函数，不联网，要多少有多少。
读的次序：``draws.py``（随机数与划分）→ ``world.py`` → ``scene.py`` → ``plots.py`` → ``stories.py`` → 其余各种数据。
"""

from __future__ import annotations

from functools import partial

from tinygrad_llm.common.corpora.storyworld.checks import check_answer as check
from tinygrad_llm.common.corpora.storyworld.checks import is_refusal
from tinygrad_llm.common.corpora.storyworld.choices import make_choice
from tinygrad_llm.common.corpora.storyworld.dialogues import make_dialogue
from tinygrad_llm.common.corpora.storyworld.draws import SPLITS, Draws
from tinygrad_llm.common.corpora.storyworld.instructions import make_instruction
from tinygrad_llm.common.corpora.storyworld.items import (
    Choice,
    Dialogue,
    Instruction,
    Item,
    Labelled,
    Policy,
    Preference,
    Question,
    Rule,
    Story,
    Verdict,
)
from tinygrad_llm.common.corpora.storyworld.labelled import LABEL_TASKS, labels_of, make_labelled
from tinygrad_llm.common.corpora.storyworld.lazy import BOTH, Lazy
from tinygrad_llm.common.corpora.storyworld.lexicon import LANGUAGES
from tinygrad_llm.common.corpora.storyworld.policy import make_policy
from tinygrad_llm.common.corpora.storyworld.preferences import REASONS, make_preference
from tinygrad_llm.common.corpora.storyworld.questions import KINDS, make_question
from tinygrad_llm.common.corpora.storyworld.stories import PLOTS, tell
from tinygrad_llm.common.corpora.storyworld.tasks import TASKS
from tinygrad_llm.common.corpora.storyworld.world import world_of
from tinygrad_llm.common.errors import UserError

__all__ = [
    "BOTH",
    "KINDS",
    "LABEL_TASKS",
    "LANGUAGES",
    "PLOTS",
    "REASONS",
    "SPLITS",
    "TASKS",
    "VERSION",
    "Choice",
    "Dialogue",
    "Instruction",
    "Item",
    "Labelled",
    "Lazy",
    "Policy",
    "Preference",
    "Question",
    "Rule",
    "Story",
    "Verdict",
    "check",
    "choices",
    "dialogues",
    "instructions",
    "is_refusal",
    "labelled",
    "labels_of",
    "policy",
    "preferences",
    "questions",
    "stories",
]

VERSION = 2
"""数据的版本：任何一项变了，就要加一，并重新钉住测试里的摘要。"""


def stories(seed: int = 0, lang: str = BOTH, split: str = "train") -> Lazy[Story]:
    """预训练用的故事。"""
    return Lazy("stories", _story, seed, lang, split)


def questions(seed: int = 0, lang: str = BOTH, split: str = "train", *, about: str | None = None) -> Lazy[Question]:
    """有标准答案的问题；``about`` 取 ``story``（关于短文）或 ``world``（关于世界），缺省两者都有。

    Raises:
        UserError: ``about`` 不认识。
    """
    _one_of("about", about, KINDS)
    return Lazy("questions", partial(_question, about=about), seed, lang, split)


def instructions(
    seed: int = 0, lang: str = BOTH, split: str = "train", *, tasks: tuple[str, ...] = (), level: int | None = None
) -> Lazy[Instruction]:
    """可以核对的指令；``tasks`` 只出某些题型（见 ``TASKS``），``level`` 只出某一级（1 到 3）。

    Raises:
        UserError: 题型或难度不认识。
    """
    known = {task for one in (LANGUAGES if lang not in LANGUAGES else (lang,)) for task in TASKS[one]}
    for task in tasks:
        _one_of("tasks", task, tuple(sorted(known)))
    _one_of("level", level, (1, 2, 3))
    return Lazy("instructions", partial(_instruction, tasks=tuple(tasks), level=level), seed, lang, split)


def labelled(seed: int = 0, lang: str = BOTH, split: str = "train", *, task: str = "topic") -> Lazy[Labelled]:
    """带标签的文字；``task`` 是 ``topic``、``sentiment`` 或 ``spam``。

    Raises:
        UserError: 任务不认识。
    """
    _one_of("task", task, LABEL_TASKS)
    return Lazy("labelled", partial(_labelled, task=task), seed, lang, split)


def preferences(
    seed: int = 0, lang: str = BOTH, split: str = "train", *, tasks: tuple[str, ...] = ()
) -> Lazy[Preference]:
    """偏好对；``tasks`` 只出某些题型的指令（见 ``TASKS``），每种语言都要有其中的一种。

    Raises:
        UserError: 题型不认识，或有一种语言没有这些题型。
    """
    languages = (lang,) if lang in LANGUAGES else LANGUAGES
    for task in tasks:
        _one_of("tasks", task, tuple(sorted({known for one in languages for known in TASKS[one]})))
    for one in languages:
        if tasks and not set(tasks) & set(TASKS[one]):
            raise UserError(
                f"{one} has none of these tasks", where="storyworld", fix="choose one language, or another task"
            )
    return Lazy("preferences", partial(_preference, tasks=tuple(tasks)), seed, lang, split)


def choices(seed: int = 0, lang: str = BOTH, split: str = "train") -> Lazy[Choice]:
    """四选一的选择题。"""
    return Lazy("choices", _choice, seed, lang, split)


def policy(seed: int = 0, lang: str = BOTH, split: str = "train") -> Lazy[Policy]:
    """守则问答：一半该拒绝，一半该回答。"""
    return Lazy("policy", _policy, seed, lang, split)


def dialogues(seed: int = 0, lang: str = BOTH, split: str = "train") -> Lazy[Dialogue]:
    """多轮对话。"""
    return Lazy("dialogues", _dialogue, seed, lang, split)


def _name(kind: str, seed: int, lang: str, split: str, index: int) -> str:
    return f"storyworld-{VERSION}/{kind}/{lang}/{split}/{seed}/{index}"


def _story(seed: int, lang: str, split: str, index: int) -> Story:
    draws = Draws(seed, f"stories/{lang}", split, index)
    told = tell(world_of(seed, lang), draws, split)
    return Story(_name("stories", seed, lang, split, index), lang, split, told.plot, told.scene.text())


def _question(seed: int, lang: str, split: str, index: int, *, about: str | None) -> Question:
    return make_question(seed, lang, split, index, name=_name("questions", seed, lang, split, index), about=about)


def _instruction(
    seed: int, lang: str, split: str, index: int, *, tasks: tuple[str, ...], level: int | None
) -> Instruction:
    name = _name("instructions", seed, lang, split, index)
    return make_instruction(seed, lang, split, index, name=name, tasks=tasks, level=level)


def _labelled(seed: int, lang: str, split: str, index: int, *, task: str) -> Labelled:
    return make_labelled(seed, lang, split, index, name=_name(f"labelled.{task}", seed, lang, split, index), task=task)


def _preference(seed: int, lang: str, split: str, index: int, *, tasks: tuple[str, ...]) -> Preference:
    name = _name("preferences", seed, lang, split, index)
    return make_preference(seed, lang, split, index, name=name, tasks=tasks)


def _choice(seed: int, lang: str, split: str, index: int) -> Choice:
    return make_choice(seed, lang, split, index, name=_name("choices", seed, lang, split, index))


def _policy(seed: int, lang: str, split: str, index: int) -> Policy:
    return make_policy(seed, lang, split, index, name=_name("policy", seed, lang, split, index))


def _dialogue(seed: int, lang: str, split: str, index: int) -> Dialogue:
    return make_dialogue(seed, lang, split, index, name=_name("dialogues", seed, lang, split, index))


def _one_of(what: str, value: object, known: tuple[object, ...]) -> None:
    if value is not None and value not in known:
        raise UserError(f"unknown {what} {value!r}", where="storyworld", fix=f"use one of {', '.join(map(str, known))}")
