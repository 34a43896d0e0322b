"""金丝雀：往训练文本里埋几句带随机号码的话，各重复 1、2、4……遍；训练之后，看模型背下了哪些。

流入：种子；流出：要埋的句子，与训练之后每句的暴露度。做法与名词出自 Carlini 等（2019）。
下一个文件：``memorisation.py``（暴露度怎样算）。

同样格式的号码有 ``|R|`` 个，埋进去的只是其中随机的一个。没有背下，它在全部号码里的名次就是随机的；背下了，就排在最前。
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tinygrad_llm.common.errors import DataError, OutOfDiskError, UserError
from tinygrad_llm.common.files import write_atomically
from tinygrad_llm.common.initial import philox

__all__ = ["Canary", "load_canaries", "make_canaries", "planted", "save_canaries"]

_SYMBOLS = "0123456789"
_WHO = ("Orla", "Piet", "Quinn", "Rhea", "Soren", "Tilda", "Ulf", "Vera", "Wim", "Xenia", "Yrsa", "Zeno")
_WHAT = ("locker", "safe", "gate", "cellar", "garden shed", "post box", "bicycle lock", "attic")


@dataclass(frozen=True)
class Canary:
    """一句金丝雀。

    Attributes:
        prefix: 号码之前的文字，各句都不同。
        secret: 埋下的号码。
        suffix: 号码之后的文字。
        repetitions: 埋几遍；0 是对照，从不埋。
    """

    prefix: str
    secret: str
    suffix: str
    repetitions: int

    @property
    def text(self) -> str:
        """整句话。"""
        return self.prefix + self.secret + self.suffix

    @property
    def space(self) -> int:
        """同样格式的号码有几个。"""
        return int(len(_SYMBOLS) ** len(self.secret))

    def candidate(self, number: int) -> str:
        """第几个号码，写成与秘密一样长的文字。"""
        return f"{number:0{len(self.secret)}d}"


def make_canaries(repetitions: Sequence[int], each: int, digits: int, seed: int) -> list[Canary]:
    """抽出号码，写成句子。

    Args:
        repetitions: 埋几遍，如 ``(0, 1, 2, 4, 8)``。
        each: 每种遍数几句。
        digits: 号码几位。
        seed: 种子。

    Raises:
        UserError: 句式不够用，或数目不合理。
    """
    phrases = [(who, what) for what in _WHAT for who in _WHO]
    count = len(repetitions) * each
    if not 0 < count <= len(phrases) or not 1 <= digits <= 12 or min(repetitions, default=0) < 0:
        raise UserError(
            f"cannot make {each} canaries of {digits} digits for each of {len(repetitions)} repetition counts",
            fix=f"use at most {len(phrases)} in all, 1 to 12 digits, and repetitions of 0 or more",
        )
    draw = philox(seed, "canaries")
    order = draw.permutation(len(phrases))[:count]
    found = []
    for place, times in zip(order, (times for times in repetitions for _ in range(each)), strict=True):
        who, what = phrases[int(place)]
        secret = "".join(_SYMBOLS[int(digit)] for digit in draw.integers(0, len(_SYMBOLS), digits))
        found.append(Canary(f"The code of the {what} of {who} is ", secret, ".", times))
    return found


def planted(documents: Iterable[str], canaries: Sequence[Canary], seed: int) -> list[str]:
    """把每句埋进去若干遍，位置随机；文档本身一字不改，每一遍自成一篇。

    Args:
        documents: 原来的文档。
        canaries: 金丝雀。
        seed: 位置的种子。
    """
    texts = list(documents)
    copies = [canary.text for canary in canaries for _ in range(canary.repetitions)]
    draw = philox(seed, "planting")
    places = draw.integers(0, len(texts) + 1, len(copies))
    order = draw.permutation(len(copies))
    slots: dict[int, list[str]] = {}
    for i in order:
        slots.setdefault(int(places[i]), []).append(copies[i])
    return list(_merged(texts, slots))


def _merged(texts: list[str], slots: dict[int, list[str]]) -> Iterator[str]:
    for i, text in enumerate(texts):
        yield from slots.get(i, ())
        yield text
    yield from slots.get(len(texts), ())


def save_canaries(path: Path, canaries: Sequence[Canary]) -> None:
    """写成 JSON。

    Raises:
        OutOfDiskError: 写不进去。
    """
    record = {"format": 1, "canaries": [asdict(canary) for canary in canaries]}
    try:
        write_atomically(path, (json.dumps(record, ensure_ascii=False, indent=1) + "\n").encode())
    except OSError as error:
        raise OutOfDiskError(f"cannot write the canaries: {error.strerror}", where=str(path)) from error


def load_canaries(path: Path) -> list[Canary]:
    """读 ``save_canaries`` 写下的文件。

    Raises:
        DataError: 读不了，或不合格式。
    """
    try:
        listed = json.loads(path.read_text(encoding="utf-8"))["canaries"]
        found = [_parsed(values) for values in listed]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(
            "not a file of canaries", where=str(path), fix="use the file that `canary plant` wrote"
        ) from error
    if not found:
        raise DataError("the file holds no canary", where=str(path), fix="use the file that `canary plant` wrote")
    return found


def _parsed(values: Any) -> Canary:
    prefix, secret, suffix, times = (values[name] for name in ("prefix", "secret", "suffix", "repetitions"))
    is_text = all(isinstance(text, str) for text in (prefix, secret, suffix))
    if not is_text or type(times) is not int or times < 0 or not prefix or not 1 <= len(secret) <= 12:
        raise ValueError("malformed canary")
    if not (secret.isascii() and secret.isdigit()):
        raise ValueError("malformed canary")
    return Canary(prefix, secret, suffix, times)
