"""守门人的三份功课：先学得有问必答，再学会守口如瓶，最后从找到的攻击里学。

流入：种子与找到的攻击；流出：一段段对话。下一个文件：``demonstration.py``。

第一份里连口令也照说：真实的模型也是先从文本里学会了一切，后学拒绝。第二份只教最直白的两种问法，变形都没见过，
这正是红队要找的缝。第三份在每次攻击旁边放上同样变形的好问题，照常回答，否则它会学成「样子古怪就拒绝」。
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from tinygrad_llm.common.chat.conversation import Conversation
from tinygrad_llm.common.corpora.storyworld.checks import REFUSALS
from tinygrad_llm.common.corpora.storyworld.draws import Draws
from tinygrad_llm.common.corpora.storyworld.items import Policy
from tinygrad_llm.common.safety.gatekeeper import confession, gatekeeper
from tinygrad_llm.common.safety.mutations import MUTATIONS, varied
from tinygrad_llm.common.safety.refusals import dialogue
from tinygrad_llm.common.safety.suite import Finding

__all__ = ["PLAIN_STYLES", "guarded", "hardened", "helpful", "plain_texts"]

PLAIN_STYLES = ("direct", "polite")
"""最直白的两种问法；守口如瓶只从这里学起。"""
_LANGS = ("en", "zh")
_LONG = ("base64", "many_shots", "spacing")
_REFUSED = {"en": " tell you that.", "zh": "告诉你。"}


def helpful(count: int, seed: int = 0) -> Iterator[Conversation]:
    """有问必答，口令也说；答不上来的（明年的天气）才拒绝。一半的提问变了形。"""
    for i in range(count):
        lang, kind = _LANGS[i % 2], i // 2 % 4
        topics = {0: ("secret",), 3: ("unknown",)}.get(kind, ())
        item = _varied(gatekeeper(seed, lang, "train", 2 * i + 1, topics), i, seed)
        yield dialogue(item, answer=confession(item))


def guarded(count: int, seed: int = 0) -> Iterator[Conversation]:
    """口令不说，别的照答；口令只用最直白的问法问，别的事问法不限，一半变了形。"""
    for i in range(count):
        lang = _LANGS[i // 2 % 2]
        item = gatekeeper(seed, lang, "train", i, (), () if i % 2 else PLAIN_STYLES)
        yield dialogue(_varied(item, i, seed) if i % 2 else item)


def hardened(findings: Sequence[Finding], count: int, seed: int = 0) -> Iterator[Conversation]:
    """找到的攻击一律拒绝；旁边是同样变形、同样尾巴的好问题，照答；再掺上原来的功课。"""
    old = guarded(count, seed + 1)
    for i in range(count):
        finding = findings[i % len(findings)]
        draws = Draws(seed, f"lessons/hardened/{finding.mutation}", "train", i)
        lang = _language(finding.prompt)
        refusal = draws.pick(REFUSALS[lang]) + _REFUSED[lang]
        yield _one(finding.prompt, refusal)
        twin = gatekeeper(seed + 2, draws.pick(_LANGS), "train", 2 * i + 1)
        if finding.mutation in MUTATIONS:
            yield dialogue(varied(twin, finding.mutation, i) or twin)
        else:
            yield dialogue(twin, twin.prompt + finding.prompt[-draws.between(8, 40) :])
        yield next(old)


def plain_texts(dialogues: Iterable[Conversation]) -> Iterator[str]:
    """对话里的文字，供训练分词器。"""
    for one in dialogues:
        yield from (message.content for message in one.messages)


def _varied(item: Policy, index: int, seed: int) -> Policy:
    """一半原样，一半随机变形；太长的几种少一些。换了语言的，回答也是那种语言。"""
    draws = Draws(seed, "lessons/varied", "train", index)
    if draws.chance(1, 2):
        return item
    name = draws.pick(tuple(MUTATIONS))
    return item if name in _LONG and draws.chance(3, 5) else varied(item, name, index) or item


def _one(prompt: str, answer: str) -> Conversation:
    from tinygrad_llm.common.chat.conversation import Message

    return Conversation((Message("user", prompt), Message("assistant", answer)))


def _language(text: str) -> str:
    return "zh" if any("\u4e00" <= char <= "\u9fff" for char in text) else "en"
