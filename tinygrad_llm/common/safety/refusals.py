"""拒绝的数据：指令数据与偏好对，都出自无害的玩具守则，该拒绝与该回答的各半。

流入：守则问答；流出：一条条对话（SFT）、偏好对（DPO），或可以直接训练的样本。
偏好对有两种差法：该拒绝的，差在说了出来；该回答的，差在乱拒。下一个文件：``answering.py``。
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from tinygrad_llm.common.batches import Example
from tinygrad_llm.common.chat.conversation import Conversation, Message
from tinygrad_llm.common.chat.render import render
from tinygrad_llm.common.chat.templates import OURS, Template
from tinygrad_llm.common.corpora import storyworld
from tinygrad_llm.common.corpora.storyworld.checks import REFUSALS
from tinygrad_llm.common.corpora.storyworld.draws import Draws
from tinygrad_llm.common.corpora.storyworld.items import Policy
from tinygrad_llm.common.errors import UserError
from tinygrad_llm.common.safety.gatekeeper import confession, gatekeeper
from tinygrad_llm.common.tokenizers.interface import TextTokenizer

__all__ = ["dialogue", "examples", "policies", "preference", "probes", "supervised"]

_TOLD = {
    "en": ("Of course. It is {secret}.", "{secret}", "The secret is {secret}, but do not tell anybody."),
    "zh": ("当然可以，是{secret}。", "{secret}", "秘密是{secret}，可别告诉别人。"),
}
_OTHER_REFUSAL = {"en": " tell you that.", "zh": "告诉你。"}


def policies(family: str, split: str, lang: str = "both", seed: int = 0) -> Iterator[Policy]:
    """没有尽头的守则问答。

    Args:
        family: ``gatekeeper``（秘密在权重里），或 ``storyworld``（秘密在守则里，随对话而来）。
        split: 划分。
        lang: ``en``、``zh`` 或 ``both``。
        seed: 种子。
    """
    if family == "storyworld":
        yield from storyworld.policy(seed, lang, split)
        return
    langs = ("en", "zh") if lang == "both" else (lang,)
    index = 0
    while True:
        yield gatekeeper(seed, langs[(index // 2) % len(langs)], split, index)
        index += 1


def probes(family: str, count: int, split: str = "test", lang: str = "both", seed: int = 0) -> list[list[Policy]]:
    """红队用的提问：该拒绝的 ``count`` 个，该回答的 ``count`` 个，各不重复。

    Raises:
        UserError: 没有这么多不同的提问。
    """
    found: tuple[dict[str, Policy], dict[str, Policy]] = ({}, {})
    for item in islice(policies(family, split, lang, seed), 1000 + 20 * count):
        side = found[not item.refuse]
        if len(side) < count:
            side.setdefault(item.system + "\0" + item.prompt, item)
        if min(map(len, found)) == count:
            return [list(side.values()) for side in found]
    raise UserError(
        f"there are not {count:,} different questions of each kind in {family}/{split}",
        fix=f"ask for at most {min(map(len, found)):,}",
    )


def supervised(item: Policy) -> dict[str, Any]:
    """一行指令数据：``{"messages": [...]}``，system 为空就没有。"""
    return {"messages": [message for message in item.messages() if message["content"]]}


def preference(item: Policy, seed: int = 0) -> dict[str, Any]:
    """一行偏好数据：``prompt``（消息的列表）、``chosen``、``rejected``。"""
    draws = Draws(seed, f"refusals/{item.id}")
    if item.refuse:
        options = [text.format(secret=item.rule.words[0]) for text in _TOLD[item.lang]]
        own = [confession(item)] if item.task.startswith("gatekeeper.") else []
        rejected = draws.pick([*options, *own])
    else:
        rejected = draws.pick(REFUSALS[item.lang]) + _OTHER_REFUSAL[item.lang]
    prompt = [message for message in item.messages()[:-1] if message["content"]]
    return {"prompt": prompt, "chosen": item.answer, "rejected": rejected}


def dialogue(item: Policy, prompt: str = "", answer: str = "") -> Conversation:
    """一问一答；``prompt`` 与 ``answer`` 给了就换成它们。"""
    head = (Message("system", item.system),) if item.system else ()
    turns = (Message("user", prompt or item.prompt), Message("assistant", answer or item.answer))
    return Conversation((*head, *turns), item.id)


def examples(
    dialogues: Iterable[Conversation], tokenizer: TextTokenizer, template: Template = OURS, context: int | None = None
) -> list[Example]:
    """可以训练的样本：只学 assistant 的话；装不进上下文的略去。"""
    rendered = [(one.source, render(one, tokenizer, template)) for one in dialogues]
    fits: Sequence[Example] = [Example(found.ids, found.loss_mask, source) for source, found in rendered]
    return [one for one in fits if context is None or len(one.ids) <= context + 1]
