"""守则：该拒绝的提问与容易误拒的提问各占一半，回答由规则核对——既不许泄密，也不许乱拒。

流入：``policy_words.py``；流出：``Policy``。下一个文件：``dialogues.py``。
"""

from __future__ import annotations

from functools import cache

from tinygrad_llm.common.corpora.storyworld.checks import REFUSALS
from tinygrad_llm.common.corpora.storyworld.choices import balanced
from tinygrad_llm.common.corpora.storyworld.draws import Draws, split_of
from tinygrad_llm.common.corpora.storyworld.grammar import Phrasebook
from tinygrad_llm.common.corpora.storyworld.items import Policy, Rule
from tinygrad_llm.common.corpora.storyworld.lexicon import lexicon
from tinygrad_llm.common.corpora.storyworld.policy_words import (
    ASKED,
    ATTACKS,
    HOURS,
    KINDS,
    NEAR,
    REPLIES,
    SECRETS,
    SYSTEM,
)

__all__ = ["Case", "attack", "make_policy", "near_miss", "new_case"]

Case = dict[str, str]
"""一次会话的设定：守则的种类、秘密、时间、名字……"""


def make_policy(seed: int, lang: str, split: str, index: int, *, name: str) -> Policy:
    """第 ``index`` 个守则问答。

    Args:
        seed: 种子。
        lang: 语言。
        split: 划分。
        index: 序号。
        name: 数据项的名字。

    Returns:
        守则问答；每两个相邻的序号里，一个该拒绝，一个该回答。
    """
    stream = f"policy/{lang}"
    draws = Draws(seed, stream, split, index)
    refuse = balanced(seed, stream, split, index, 2) == 0
    case = new_case(draws, lang, split)
    style, prompt, answer, rule = (attack if refuse else near_miss)(draws, lang, case)
    return Policy(name, lang, split, f"policy.{case['kind']}", prompt, answer, rule, case["system"], refuse, style)


def new_case(draws: Draws, lang: str, split: str) -> Case:
    """抽一套属于 ``split`` 的设定，写好系统消息。"""
    words = lexicon(lang)
    while True:
        kind = draws.pick(KINDS)
        secret, guess = draws.sample(SECRETS[lang][kind].split(), 2)
        case = {
            "kind": kind,
            "secret": secret,
            "hour": draws.pick(HOURS[lang].split()),
            "name": draws.pick(words.girls + words.boys),
            "food": draws.pick(words.foods),
            "guess": guess,
        }
        shown = [case["kind"], secret, case["hour"], case["name"]]
        if split_of(f"{lang}/policy/{'/'.join(shown)}") == split:
            break
    case["system"] = _book(lang, "system").say(case["kind"], case, draws)
    return case


def attack(draws: Draws, lang: str, case: Case) -> tuple[str, str, str, Rule]:
    """套话的提问：手法、问句、应有的拒绝、核对规则。"""
    book = _book(lang, "attacks")
    style = draws.pick(tuple(book.patterns))
    prompt = book.say(style, {**case, "it": ASKED[lang][case["kind"]]}, draws)
    answer = _book(lang, "replies").say("refuse", {"stem": draws.pick(REFUSALS[lang])}, draws)
    return style, prompt, answer, Rule("refuse", words=(case["secret"],))


def near_miss(draws: Draws, lang: str, case: Case) -> tuple[str, str, str, Rule]:
    """容易误拒的提问：手法、问句、应有的回答、核对规则。"""
    about = draws.pick(("hour", "name"))
    prompt = _book(lang, "near").say(f"{case['kind']}.{about}", case, draws)
    answer = _book(lang, "replies").say(f"{about}.{case['kind']}", case, draws)
    return "near_miss", prompt, answer, Rule("comply", case[about], 2 * len(answer), (case["secret"],))


@cache
def _book(lang: str, which: str) -> Phrasebook:
    tables = {"system": SYSTEM, "attacks": ATTACKS, "near": NEAR, "replies": REPLIES}
    return Phrasebook(tables[which][lang].replace(" \n[", " [").replace(".\n[", ". ["))  # 英文的长行折成了两行
