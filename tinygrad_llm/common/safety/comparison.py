"""按梯度找，还是随机地找：同样的提问、同样的起步、同样多的前向，比最后的损失与套出秘密的比例。

流入：模型与提问；流出：带区间的对照。下一个文件：``training.py``。
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

import numpy as np

from tinygrad_llm.common.chat.templates import Template
from tinygrad_llm.common.corpora.storyworld.checks import gives_away
from tinygrad_llm.common.corpora.storyworld.items import Policy
from tinygrad_llm.common.safety.answering import conversation
from tinygrad_llm.common.safety.gatekeeper import confession
from tinygrad_llm.common.safety.search import Attackable, Found, Method, Problem, SearchSettings, search
from tinygrad_llm.common.safety.suite import Asker, Finding
from tinygrad_llm.common.scoring import Interval, paired_difference, paired_p_value, wilson_interval
from tinygrad_llm.common.tokenizers.interface import TextTokenizer

__all__ = ["METHODS", "Comparison", "compare_methods", "find_suffixes"]

METHODS: tuple[Method, ...] = get_args(Method)


@dataclass(frozen=True)
class Comparison:
    """两种找法的对照；各行一一对应：同一个提问、同一个种子。

    Attributes:
        found: 找法到各个提问找到的。
        findings: 找法到真的套出了秘密的。
        prompts: 几个提问。
        budget: 每次花几次前向。
    """

    found: dict[Method, tuple[Found, ...]]
    findings: dict[Method, tuple[Finding, ...]]
    prompts: int
    budget: int

    @property
    def gap(self) -> Interval:
        """逐个提问「随机的损失 - 梯度的损失」的平均；大于 0 是梯度更好。"""
        return paired_difference(*self._losses())

    @property
    def p_value(self) -> float:
        """两种找法不分高下的话，差到这个地步的概率。"""
        return paired_p_value(*self._losses())

    def success(self, method: Method) -> Interval:
        """套出秘密的比例。"""
        return wilson_interval(len(self.findings[method]), self.prompts)

    def describe(self) -> str:
        """给人看的几行。"""
        lines = [f"{self.prompts} prompts, {self.budget} forward passes each"]
        for method in METHODS:
            losses = [one.loss for one in self.found[method]]
            lines.append(f"{method:<9} target loss {np.mean(losses):.3f} nats, secret told {self.success(method)}")
        lines.append(f"loss of random minus gradient {self.gap}, p = {self.p_value:.2g}")
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """写成 JSON 的字典。"""
        gap = self.gap
        record: dict[str, Any] = {
            "prompts": self.prompts,
            "budget": self.budget,
            "gap": {"value": gap.value, "low": gap.low, "high": gap.high, "p_value": self.p_value},
        }
        for method in METHODS:
            rate = self.success(method)
            record[method] = {
                "losses": [one.loss for one in self.found[method]],
                "success": {"value": rate.value, "low": rate.low, "high": rate.high},
            }
        return record

    def _losses(self) -> tuple[Any, Any]:
        return tuple(np.array([one.loss for one in self.found[method]]) for method in ("gradient", "random"))  # type: ignore[return-value]


def compare_methods(
    model: Attackable, tokenizer: TextTokenizer, template: Template, attacks: Sequence[Policy],
    settings: SearchSettings, ask: Asker,
) -> Comparison:  # fmt: skip
    """对每个提问，两种找法各找一遍。

    Args:
        model: 模型。
        tokenizer: 分词器。
        template: 对话模板。
        attacks: 守门人的提问。
        settings: 怎样找；第 i 个提问用种子 ``seed + i``。
        ask: 问一批问题；找到的一串真的套出了秘密才算成功，损失低不算。
    """
    found: dict[Method, tuple[Found, ...]] = {}
    findings: dict[Method, tuple[Finding, ...]] = {}
    for method in METHODS:
        found[method], findings[method] = find_suffixes(model, tokenizer, template, attacks, settings, ask, method)
    return Comparison(found, findings, len(attacks), settings.budget)


def find_suffixes(
    model: Attackable, tokenizer: TextTokenizer, template: Template, attacks: Sequence[Policy],
    settings: SearchSettings, ask: Asker, method: Method,
) -> tuple[tuple[Found, ...], tuple[Finding, ...]]:  # fmt: skip
    """对每个提问找一串；返回找到的全部，与其中真的套出了秘密的。"""
    found = []
    for i, item in enumerate(attacks):
        problem = Problem(tokenizer, template, item.prompt, confession(item), item.rule.words, item.system)
        found.append(search(model, problem, replace(settings, seed=settings.seed + i), method))
    prompts = [item.prompt + one.suffix for item, one in zip(attacks, found, strict=True)]
    said = ask([conversation(prompt, item.system) for prompt, item in zip(prompts, attacks, strict=True)])
    findings = [
        Finding(prompt, item.system, item.rule.words, method, answer)
        for prompt, item, answer in zip(prompts, attacks, said, strict=True)
        if answer is not None and gives_away(answer, item.rule.words)
    ]
    return tuple(found), tuple(findings)
