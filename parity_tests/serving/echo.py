"""不是模型：把用户的话一个字节一个字节地说回去。服务器的测试要知道该写出什么，还要能让它慢、让它坏。

流入：喂进各槽的 id；流出：下一个字节的 logits。
"""

from __future__ import annotations

import itertools
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinygrad_llm.common.chat.templates import TEMPLATES
from tinygrad_llm.common.serving.config import ServeConfig
from tinygrad_llm.common.serving.served import Opened
from tinygrad_llm.common.tokenizers import Tokenizer

TOKENIZER = Tokenizer([], [*TEMPLATES["ours"].specials, "<|endoftext|>"])
_USER, _END, _ASSISTANT = (TOKENIZER.special(name) for name in ("<|user|>", "<|end|>", "<|assistant|>"))


class EchoSlots:
    """``BatchDecoder``：把最后一句 user 的话说回去，说完了写 ``<|end|>``；没有角色的开头则反复地说。

    Args:
        slots: 几个槽。
        context: 每个槽的上限。
        delay_s: 每一步睡多久。

    Attributes:
        steps: 走过几步。
        is_broken: 下一步就出错。
        sharpness: 该说的那个字节比别的大多少。
        gate: 开着（``set``）；关上时每一步都停在门口。
    """

    def __init__(self, slots: int = 4, context: int = 512, delay_s: float = 0.0) -> None:
        self.slots, self.context, self.delay_s = slots, context, delay_s
        self.steps, self.is_broken, self.sharpness = 0, False, 50.0
        self.gate = threading.Event()
        self.gate.set()
        self._held: list[list[int]] = [[] for _ in range(slots)]

    def feed(self, rows: Any) -> NDArray[Any]:
        """各行下一个的 logits。"""
        if self.is_broken:
            self.is_broken = False
            raise RuntimeError("broken on purpose")
        self.steps += 1
        time.sleep(self.delay_s)
        self.gate.wait()
        logits = np.zeros((len(rows), TOKENIZER.vocab_size), np.float32)
        for row, (slot, ids) in zip(logits, rows, strict=True):
            self._held[slot] += [int(id) for id in ids]
            assert len(self._held[slot]) <= self.context
            row[_said_next(self._held[slot])] = self.sharpness
        return logits

    def feed_all(self, rows: Any) -> list[NDArray[Any]]:
        """用不到。"""
        raise NotImplementedError

    def features(self, rows: Any) -> list[NDArray[Any]]:
        """每个 id 的独热。"""
        if self.is_broken:
            self.is_broken = False
            raise RuntimeError("broken on purpose")
        for slot, ids in rows:
            self._held[slot] += [int(id) for id in ids]
        return [np.eye(TOKENIZER.vocab_size, dtype=np.float32)[ids] for _, ids in rows]

    def length(self, slot: int) -> int:
        """槽里有几个。"""
        return len(self._held[slot])

    def truncate(self, slot: int, length: int) -> None:
        """只留前几个。"""
        del self._held[slot][length:]

    def share(self, source: int, target: int, length: int) -> None:
        """复制前几个。"""
        self._held[target] = self._held[source][:length]


def _said_next(held: list[int]) -> int:
    if _ASSISTANT not in held:
        return held[len(held) // 2]
    opening = len(held) - 1 - held[::-1].index(_ASSISTANT)
    asked = itertools.takewhile(lambda id: id != _USER, reversed(held[: opening - 1]))
    said = [*reversed(list(asked)), _END]
    return said[min(len(held) - opening - 1, len(said) - 1)]


def opened(decoder: EchoSlots) -> Opened:
    """登记得了的模型。"""
    return Opened(TOKENIZER, decoder, EchoSlots(1, decoder.context), "echo", 0, TOKENIZER.vocab_size, "ours")


class Opener:
    """``OpenModel``：每个名字一个 ``EchoSlots``，都留着供测试拨弄。"""

    def __init__(self, delay_s: float = 0.0, context: int = 512) -> None:
        self.delay_s, self.context = delay_s, context
        self.decoders: list[EchoSlots] = []

    def __call__(self, folder: Path, config: ServeConfig) -> Opened:
        """打开。"""
        self.decoders.append(EchoSlots(config.slots, self.context, self.delay_s))
        return opened(self.decoders[-1])
