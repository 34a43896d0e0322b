"""量准头：埋下重复、个人信息与考题，看找到多少；测试与 ``benchmarks/cleaning.py`` 用同一把尺子。"""

from __future__ import annotations

import random
import re

import numpy as np

from parity_tests.cleaning.planted import plant
from tinygrad_llm.common.cleaning.config import PII_KINDS, DecontaminateConfig, NearConfig
from tinygrad_llm.common.cleaning.decontaminate import find_leak, index_items
from tinygrad_llm.common.cleaning.dedup import near_keepers
from tinygrad_llm.common.cleaning.minhash import band_keys
from tinygrad_llm.common.cleaning.pii import PLACEHOLDERS, scrub
from tinygrad_llm.common.cleaning.words import shingles

__all__ = [
    "changed",
    "essay",
    "grams",
    "keepers_of",
    "leaks_found",
    "near_duplicates",
    "personal_data",
    "sentence",
    "similarity",
]

NEAR = NearConfig()


def grams(text: str, n: int = NEAR.shingle) -> set[tuple[str, ...]]:
    """逐词写成的 shingle 集合。"""
    words = text.split()
    return {tuple(words[at : at + n]) for at in range(len(words) - n + 1)} or ({tuple(words)} if words else set())


def similarity(a: str, b: str) -> float:
    """Jaccard 相似度的定义。"""
    first, second = grams(a), grams(b)
    return len(first & second) / max(len(first | second), 1)


def essay(rng: random.Random, count: int) -> str:
    """几个随机的词。"""
    return " ".join(f"w{rng.randrange(3000)}" for _ in range(count))


def changed(rng: random.Random, text: str, low: float, high: float) -> str:
    """改几个词，使相似度落进 [low, high]：改得越多越不像，二分要改几个。"""
    while True:
        words = text.split()
        places = rng.sample(range(len(words)), len(words))
        few, many = 0, len(words)
        while few < many:
            count = (few + many) // 2
            chosen = set(places[:count])
            other = " ".join(f"{word}x" if place in chosen else word for place, word in enumerate(words))
            found = similarity(text, other)
            if low <= found <= high:
                return other
            few, many = (count + 1, many) if found > high else (few, count)


def keepers_of(texts: list[str], config: NearConfig = NEAR) -> list[int]:
    """对几段文字查重，得到各由谁代表。"""
    sets = [shingles(text, config.shingle) for text in texts]
    keys = np.array([band_keys(one, config) for one in sets], np.uint64)
    sizes = np.array([one.size for one in sets])
    found = near_keepers(iter(keys.T), sizes, np.arange(len(texts)), lambda index: sets[index], config.threshold)
    return [int(index) for index in found]


def near_duplicates(pairs: int) -> tuple[float, float]:
    """埋下相似度刚过 0.8 的对，夹着刚不到 0.8 的；返回召回与精确。"""
    rng = random.Random(11)
    texts: list[str] = []
    for _ in range(pairs):
        first, second = essay(rng, rng.randint(120, 500)), essay(rng, rng.randint(120, 500))
        texts += [first, changed(rng, first, 0.8, 0.84), second, changed(rng, second, 0.65, 0.79)]
    truth = {(at, at + 1) for at in range(0, len(texts), 4)}
    found = {(keeper, index) for index, keeper in enumerate(keepers_of(texts)) if keeper != index}
    return len(found & truth) / len(truth), len(found & truth) / max(len(found), 1)


def personal_data(kind: str, count: int, *, shows_missed: bool = False) -> float:
    """一种个人信息，在中英文的句子里埋下若干处；找到、且句子的其余部分没有动的比例。"""
    rng = random.Random(7)
    found = 0
    for _ in range(count):
        value, text = plant(rng, kind)
        is_found = scrub(text, PII_KINDS)[0] == text.replace(value, PLACEHOLDERS[kind])
        found += is_found
        if shows_missed and not is_found:
            print("missed:", value, "→", scrub(text, PII_KINDS)[0])
    return found / count


def sentence(rng: random.Random, count: int) -> str:
    """几个随机的英文词。"""
    return " ".join("".join(rng.choice("abcdefghijklmnop") for _ in range(rng.randint(2, 7))) for _ in range(count))


def leaks_found(count: int) -> tuple[float, float]:
    """中英文的考题，改过大小写、空白、标点与全半角，埋在长文里；返回找到的比例，与没有考题的文档被去掉的比例。"""
    rng = random.Random(5)
    config = DecontaminateConfig()
    least = config.min_words
    items = [
        sentence(rng, rng.randint(least, 40)) if rng.random() < 0.6 else _chinese(rng, rng.randint(least, 60))
        for _ in range(count)
    ]
    leaks = index_items(iter(items), config)
    found = sum(
        bool(find_leak(f"{sentence(rng, 200)}. {_edited(rng, one)} {_chinese(rng, 50)}", leaks)) for one in items
    )
    wrong = sum(bool(find_leak(sentence(rng, 300) + _chinese(rng, 300), leaks)) for _ in range(count))
    return found / count, wrong / count


def _chinese(rng: random.Random, count: int) -> str:
    return "".join(chr(rng.randint(0x4E00, 0x9F00)) for _ in range(count))


def _edited(rng: random.Random, item: str) -> str:
    """小改动：大小写、空白、标点、全角，或不改。"""
    edits = (
        str.upper,
        str.title,
        lambda text: re.sub(r" ", "\n   ", text),
        lambda text: re.sub(r" ", ", ", text),
        lambda text: f"“{text.replace(' ', chr(0x3000))}”？！",
        lambda text: "".join(chr(ord(char) + 0xFEE0) if "!" < char <= "~" else char for char in text),
        lambda text: " ".join(text) if text > "一" else text.replace(" ", " - "),
        lambda text: text,
    )
    return rng.choice(edits)(item)
