"""偏好对：同一个提示，一个好回答，一个差回答；差法有四种，数目均衡。

流入：``instructions.py`` 与 ``questions.py``；流出：``Preference``。好回答都通过核对，差回答都通不过。
下一个文件：``policy.py``。
"""

from __future__ import annotations

from tinygrad_llm.common.corpora.storyworld.checks import check_answer
from tinygrad_llm.common.corpora.storyworld.choices import balanced
from tinygrad_llm.common.corpora.storyworld.draws import Draws
from tinygrad_llm.common.corpora.storyworld.instructions import ask
from tinygrad_llm.common.corpora.storyworld.items import Instruction, Preference, Question
from tinygrad_llm.common.corpora.storyworld.questions import make_question
from tinygrad_llm.common.corpora.storyworld.tasks import TASKS

__all__ = ["REASONS", "make_preference", "wrong_answer"]

REASONS = ("wrong", "rude", "off_format", "too_long")
"""差回答差在哪里：答错、无礼、格式不对、啰嗦。"""

_SPOILED = {
    "en": {
        "rude": (
            "What a silly question. {answer}",
            "Everybody knows that. {answer}, obviously.",
            "Why do you bother me with this? {answer}",
            "{answer}. Even a goat could have told you.",
        ),
        "off_format": (
            "The answer is: {answer}",
            "** {answer} **",
            "Answer -> {answer} !!!",
            "I think it might be {answer}?",
        ),
        "too_long": (
            "That is a very good question. Let me think about it for a while. There are many ways to look at it. "
            "After much thought I would say: {answer}",
            "Well, first of all, thank you for asking. I looked at it from all sides, and then once more from the "
            "beginning. In the end I came to this: {answer}. I hope that this helps. If not, just ask again.",
            "{answer}. Let me explain how I found it. I read the question twice. Then I thought. Then I read it again. "
            "Then I was sure. And that is why I wrote it down.",
        ),
    },
    "zh": {
        "rude": (
            "这么简单也要问？{answer}",
            "你自己不会想吗？{answer}",
            "真烦人。{answer}，行了吧。",
            "{answer}。连山羊都知道。",
        ),
        "off_format": ("答案是：{answer}", "** {answer} **", "→ {answer} ！！！", "我猜可能是{answer}吧？"),
        "too_long": (
            "这个问题问得真好。让我好好想一想。这件事可以从很多方面来看。想了很久以后，我觉得应该是：{answer}",
            "首先谢谢你的提问。我从头到尾想了一遍，又从尾到头想了一遍，最后得出的结果是：{answer}。"
            "希望能帮到你，要是还不明白，请再问我。",
            "{answer}。我来说说是怎么想出来的。我先把题目读了两遍，然后想了想，又读了一遍，这才放心写下来。",
        ),
    },
}


def make_preference(
    seed: int, lang: str, split: str, index: int, *, name: str, tasks: tuple[str, ...] = ()
) -> Preference:
    """第 ``index`` 对偏好。

    Args:
        seed: 种子。
        lang: 语言。
        split: 划分。
        index: 序号。
        name: 数据项的名字。
        tasks: 只出这些题型的指令；空表示各种指令与问题。

    Returns:
        偏好对。
    """
    stream = f"preferences/{lang}"
    draws = Draws(seed, stream, split, index)
    reason = REASONS[balanced(seed, stream, split, index, len(REASONS))]
    item: Instruction | Question
    if tasks or draws.chance(3, 5):
        known = tuple(task for task in TASKS[lang] if not tasks or task in tasks)
        item = ask(draws, lang, split, draws.pick(known), draws.between(1, 2), "")
    else:
        item = make_question(seed, lang, split, draws.below(2**62), name="")
    if reason == "wrong":
        rejected = wrong_answer(draws, item)
    else:
        rejected = draws.pick(_SPOILED[lang][reason]).format(answer=item.answer)
    return Preference(name, lang, split, item.prompt, item.answer, rejected, reason)


def wrong_answer(draws: Draws, item: Instruction | Question) -> str:
    """一个像样却通不过核对的回答。"""
    if isinstance(item, Question) and item.wrong:
        return draws.pick(item.wrong)
    if item.answer.isdigit() and item.answer.isascii():
        value = int(item.answer) + draws.pick((-2, -1, 1, 2, 10))
        return str(abs(value)) if str(abs(value)) != item.answer else str(value + 1)
    for _ in range(8):
        spoiled = _spoil(draws, item.answer)
        if not check_answer(item, spoiled).ok:
            return spoiled
    return item.answer + item.answer[-1]


def _spoil(draws: Draws, answer: str) -> str:
    """换掉、删掉或颠倒一处。"""
    separator = next((mark for mark in ("\n", ", ", "，", " ") if mark in answer), "")
    parts = answer.split(separator) if separator else list(answer)
    i, j = draws.below(len(parts)), draws.below(len(parts))
    how = draws.below(3)
    if how == 0:
        parts[i], parts[j] = parts[j], parts[i]
    elif how == 1 and len(parts) > 1:
        del parts[i]
    else:
        parts.insert(i, parts[j])
    return separator.join(parts)
