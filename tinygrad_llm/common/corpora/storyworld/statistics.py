"""统计：一批数据有多少不同的句子、多大的词表、多丰富的 n-gram，n-gram 模型要用多少比特，标签均不均衡。

流入：数据项；流出：名字到数字。``data storyworld KIND --stats`` 打印它。
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from tinygrad_llm.common.corpora.storyworld.items import (
    Answerable,
    Dialogue,
    Item,
    Labelled,
    Policy,
    Preference,
    Story,
)
from tinygrad_llm.common.ngram import fit_byte_ngram

__all__ = ["balance", "content", "diversity", "unpredictability"]

_WORD = re.compile(r"[A-Za-z]+(?:'[a-z]+)?|[\u4e00-\u9fff]|\d+")
_SENTENCE = re.compile(r"[^.!?。！？\n]+[.!?。！？]*[\"”]?")


def content(item: Item) -> str:
    """一项里供人读的全部文字。"""
    if isinstance(item, (Story, Labelled)):
        return item.text
    if isinstance(item, Preference):
        return f"{item.prompt}\n{item.chosen}\n{item.rejected}"
    if isinstance(item, Dialogue):
        return "\n".join(text for _, text in item.turns)
    if isinstance(item, Policy):
        return f"{item.system}\n{item.prompt}\n{item.answer}"
    return f"{item.prompt}\n{item.answer}" if isinstance(item, Answerable) else ""


def diversity(texts: Sequence[str]) -> dict[str, float]:
    """文字有多丰富。

    Args:
        texts: 一篇篇的文字。

    Returns:
        ``texts``、``distinct texts``、``characters``、``bytes``、``sentences``、``distinct sentences``、
        ``vocabulary``（英文的词与中文的字）、``distinct symbols``（不同的 Unicode 字符）、
        ``distinct 2-grams`` 到 ``distinct 4-grams``（不同的占全部的比例）。
    """
    words = [_WORD.findall(text) for text in texts]
    sentences = [sentence.strip() for text in texts for sentence in _SENTENCE.findall(text) if sentence.strip()]
    found: dict[str, float] = {
        "texts": len(texts),
        "distinct texts": len(set(texts)),
        "characters": sum(map(len, texts)),
        "bytes": sum(len(text.encode()) for text in texts),
        "sentences": len(sentences),
        "distinct sentences": len(set(sentences)),
        "vocabulary": len({word for text in words for word in text}),
        "distinct symbols": len(set("".join(texts))),
    }
    for n in (2, 3, 4):
        grams = [tuple(text[i : i + n]) for text in words for i in range(len(text) - n + 1)]
        found[f"distinct {n}-grams"] = len(set(grams)) / max(len(grams), 1)
    return found


def unpredictability(train: Sequence[str], held_out: Sequence[str], order: int = 5) -> float:
    """字节 n-gram 模型在留出文字上的 bits-per-byte：神经网络要赢过的那把尺子。

    Args:
        train: 拟合用的文字。
        held_out: 留出的文字。
        order: 阶数。

    Returns:
        比特每字节。
    """
    model = fit_byte_ngram("\n\n".join(train).encode(), order)
    return model.bits_per_byte("\n\n".join(held_out).encode())


def balance(items: Sequence[Item]) -> dict[str, Counter[str]]:
    """各种类别的个数：标签、题型、正确选项、差在哪里、该不该拒绝。"""
    found: dict[str, Counter[str]] = {}
    for item in items:
        for name in ("plot", "task", "level", "label", "answer_index", "reason", "refuse", "style"):
            if hasattr(item, name):
                found.setdefault(name, Counter())[str(getattr(item, name))] += 1
    return found
