"""找一串 token，接在提问后面，模型就说出它不该说的话：按梯度找，与随机地找，花同样多的前向。

流入：一个能求梯度、能逐行算损失的模型（``Attackable``）与要套出的话；流出：找到的 token 与损失随花费的曲线。
下一个文件：``training.py``（拿找到的攻击来训练）。

按梯度找是 GCG（Zou 等，2023）的样子：词表上的梯度只是一阶的近似，用它挑出每个位置上最有希望的 k 个 token，从中抽一批
只换一处的候选，逐个精确地算损失，留最好的。随机地找只差一处：候选从整个词表里抽。一次梯度按三次前向计费（反传约为前向的
两倍），随机的一边把这三次也花在候选上，所以同一预算之下两边的差别全在「往哪儿找」。

候选都是人打得出来的：只用普通的 token，而且整句话解码再编码，还是同样的 id；也不许把要套的词写进去，那不算套出来。
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from tinygrad_llm.common.batches import IGNORE_INDEX
from tinygrad_llm.common.chat.render import render_prompt
from tinygrad_llm.common.chat.templates import Template
from tinygrad_llm.common.errors import UserError
from tinygrad_llm.common.initial import philox
from tinygrad_llm.common.safety.answering import conversation
from tinygrad_llm.common.tokenizers.interface import TextTokenizer

__all__ = ["Attackable", "Found", "Method", "Problem", "SearchSettings", "search"]

Ids = NDArray[np.int64]
Method = Literal["gradient", "random"]
GRADIENT_COST = 3
"""一次梯度相当于几次前向。"""


class Attackable(Protocol):
    """可以按梯度攻击的模型；两个引擎各有一份，见 ``attack.py``。

    Attributes:
        vocab_size: 词表大小 V。
    """

    vocab_size: int

    def gradient(self, ids: Ids, targets: Ids, positions: slice) -> NDArray[np.float64]:
        """``(n, V)``：把这些位置的 token 换成 v，目标的损失大约变多少。"""

    def losses(self, ids: Ids, targets: Ids) -> NDArray[np.float64]:
        """各行的目标的损失 ``(B,)``，纳特。"""


@dataclass(frozen=True)
class SearchSettings:
    """怎样找。

    Attributes:
        length: 接几个 token。
        budget: 至多花几次前向（一次梯度算三次）。
        batch: 一轮精确地算几个候选。
        top_k: 每个位置上只考虑梯度最有希望的几个。
        seed: 种子；同一种子下两种找法从同样的一串起步。
    """

    length: int = 8
    budget: int = 600
    batch: int = 24
    top_k: int = 24
    seed: int = 0

    def __post_init__(self) -> None:
        smallest = min(self.length, self.batch, self.top_k)
        if smallest < 1 or self.budget < self.batch + GRADIENT_COST:
            raise UserError(
                f"search settings out of range: {self}", fix="use positive numbers, and a budget above one batch"
            )


@dataclass(frozen=True)
class Found:
    """找到的一串。

    Attributes:
        suffix: 接在提问后面的文字。
        loss: 目标的损失，纳特。
        costs: 花到多少次前向时有了进展。
        losses: 那时的损失，与 ``costs`` 等长。
    """

    suffix: str
    loss: float
    costs: tuple[int, ...]
    losses: tuple[float, ...]


class Problem:
    """在哪句话后面接，要套出什么。

    Args:
        tokenizer: 分词器。
        template: 对话模板。
        prompt: 提问。
        target: 要模型开口就说的话。
        forbidden: 不许出现在接的文字里的词。
        system: 守则。
    """

    def __init__(
        self, tokenizer: TextTokenizer, template: Template, prompt: str, target: str, forbidden: Sequence[str] = (),
        system: str = "",
    ) -> None:  # fmt: skip
        self.tokenizer, self.prompt = tokenizer, prompt
        self._forbidden = [word.casefold() for word in forbidden]
        rendered = render_prompt(conversation(prompt, system), tokenizer, template)
        texts = [segment for segment in rendered.segments if segment.text.endswith(prompt) and not segment.is_special]
        self._asked = tokenizer.encode(texts[-1].text)
        self._text = texts[-1].text
        self.head, self.tail = rendered.ids[: texts[-1].stop], rendered.ids[texts[-1].stop :]
        self.target = tokenizer.encode(target)
        self.allowed = self._allowed()

    def rows(self, suffixes: Sequence[Sequence[int]]) -> tuple[Ids, Ids]:
        """各候选的输入与目标 ``(B, T)``；只有目标处计损失。"""
        whole = np.array([[*self.head, *one, *self.tail, *self.target] for one in suffixes], np.int64)
        y = np.full_like(whole, IGNORE_INDEX)
        y[:, -len(self.target) - 1 : -1] = whole[:, -len(self.target) :]
        return whole[:, :-1], y[:, :-1]

    def is_typeable(self, suffix: Sequence[int]) -> bool:
        """解码再编码还是这些 id，而且没有写进不许写的词。"""
        text = self.tokenizer.decode(suffix)
        is_same = self.tokenizer.encode(self._text + text) == [*self._asked, *suffix]
        letters = "".join(filter(str.isalnum, text.casefold()))
        return is_same and not any(word in letters or word[::-1] in letters for word in self._forbidden)

    def _allowed(self) -> Ids:
        """可以接的 token：普通的、解得出文字的；特殊 token 打不出来。"""
        special = {self.tokenizer.special(name) for name in self.tokenizer.specials}
        kept = []
        for id in range(self.tokenizer.vocab_size):
            text = "" if id in special else self.tokenizer.decode([id])
            if text.strip() and text.isprintable() and "\ufffd" not in text:
                kept.append(id)
        return np.array(kept, np.int64)


def search(model: Attackable, problem: Problem, settings: SearchSettings, method: Method) -> Found:
    """在预算之内找损失最小的一串。

    Args:
        model: 模型。
        problem: 在哪里接，套什么。
        settings: 怎样找。
        method: ``gradient`` 按梯度，``random`` 随机。

    Returns:
        最好的一串；预算花完为止。
    """
    draw = philox(settings.seed, "token search")
    best = _start(problem, settings.length, draw)
    loss = float(model.losses(*problem.rows([best]))[0])
    spent, costs, losses = 1, [1], [loss]
    width = settings.batch + (GRADIENT_COST if method == "random" else 0)
    while spent + settings.batch + GRADIENT_COST <= settings.budget:
        choices = _promising(model, problem, best, settings.top_k) if method == "gradient" else None
        candidates = _candidates(problem, best, choices, width, draw)
        values = model.losses(*problem.rows(candidates))
        spent += settings.batch + GRADIENT_COST
        place = int(values.argmin())
        if values[place] < loss:
            best, loss = candidates[place], float(values[place])
            costs.append(spent)
            losses.append(loss)
    return Found(problem.tokenizer.decode(best), loss, tuple(costs), tuple(losses))


def _start(problem: Problem, length: int, draw: np.random.Generator) -> list[int]:
    """随机的、打得出来的一串：一个一个地接上去。"""
    suffix: list[int] = []
    for _ in range(length):
        suffix = _first_typeable(problem, partial(_longer, suffix, problem.allowed, draw))
    return suffix


def _longer(suffix: list[int], allowed: Ids, draw: np.random.Generator) -> list[int]:
    return [*suffix, int(draw.choice(allowed))]


def _promising(model: Attackable, problem: Problem, suffix: list[int], top_k: int) -> NDArray[np.int64]:
    """每个位置上梯度最小（损失降得最多）的 k 个可用的 token ``(n, k)``。"""
    x, y = problem.rows([suffix])
    first = len(problem.head)
    slope = model.gradient(x[0], y[0], slice(first, first + len(suffix)))[:, problem.allowed]
    order = np.argsort(slope, axis=1, kind="stable")[:, :top_k]
    found: NDArray[np.int64] = problem.allowed[order]
    return found


def _candidates(
    problem: Problem, suffix: list[int], choices: NDArray[np.int64] | None, count: int, draw: np.random.Generator
) -> list[list[int]]:
    """只换一处的候选，``count`` 个。"""

    def change() -> list[int]:
        place = int(draw.integers(len(suffix)))
        pool = problem.allowed if choices is None else choices[place]
        return [*suffix[:place], int(draw.choice(pool)), *suffix[place + 1 :]]

    return [_first_typeable(problem, change, otherwise=suffix) for _ in range(count)]


def _first_typeable(
    problem: Problem, make: Callable[[], list[int]], otherwise: list[int] | None = None, tries: int = 200
) -> list[int]:
    """第一个打得出来的；试了许多次都没有，就用原来的，没有原来的就报错。"""
    for _ in range(tries):
        found = make()
        if problem.is_typeable(found):
            return found
    if otherwise is None:
        raise UserError("no text of this tokenizer can be appended to the prompt", fix="ask something else")
    return otherwise
