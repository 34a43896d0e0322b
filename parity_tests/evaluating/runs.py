"""评测的测试共用的小模型：随机权重的运行文件夹，与照表打分的假模型。

流入：配置；流出：运行文件夹，或 ``Candidate``。
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinygrad_llm.common.batches import IGNORE_INDEX
from tinygrad_llm.common.checkpoint import Checkpoint, save_checkpoint
from tinygrad_llm.common.config import preset
from tinygrad_llm.common.evaluation.likelihood import Candidate
from tinygrad_llm.common.initial import initial_weights
from tinygrad_llm.common.tokenizers import Tokenizer, train_bpe

VOCABULARY = 300
TEXT = "The cat sat on the mat. Mia found a red ball near the river, and Tom gave it back. 小雨在菜园里。\n"


@cache
def small_tokenizer() -> Tokenizer:
    """三百个 token 的分词器。"""
    return train_bpe(TEXT * 4, VOCABULARY)


def make_run(folder: Path, seed: int = 0, *, scale: float = 8.0, dtype: str = "float32", **changes: Any) -> Path:
    """写下一个运行；权重放大几倍，各 token 的概率才有高下。"""
    config = preset("toy", vocab_size=VOCABULARY, context=48, n_layer=2, n_embd=32, n_head=2, **changes)
    weights = initial_weights(config, seed, dtype)
    weights = {name: (array * scale if array.ndim > 1 else array).astype(dtype) for name, array in weights.items()}
    source = {"settings": {"corpus": "python-docs", "seed": seed, "run": folder.name}}
    state = {"model": config.to_dict(), "tokenizer": small_tokenizer().digest, **source}
    save_checkpoint(folder, Checkpoint(7, weights, {}, state))
    small_tokenizer().save(folder / "tokenizer.json")
    return folder


class Table:
    """照表打分的假模型：下一个 token 的对数概率由 ``rule(前文, token)`` 决定。

    Args:
        rule: 前文与 token 到对数概率。
        context: 上下文。
    """

    def __init__(self, rule: Callable[[list[int], int], float], context: int = 512) -> None:
        self.rule, self.context = rule, context

    def logprobs(
        self, x: NDArray[np.int64], y: NDArray[np.int64], *, is_packed: bool = False
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """见 ``Likelihood``。"""
        found = np.zeros(y.shape)
        for line, at in np.argwhere(y != IGNORE_INDEX).tolist():
            found[line, at] = self.rule(x[line, : at + 1].tolist(), int(y[line, at]))
        return found, np.zeros(y.shape, np.bool_)


def fake(rule: Callable[[list[int], int], float], tokenizer: Tokenizer | None = None) -> Candidate:
    """照表打分的受测模型；不会写。"""

    def no_slots(count: int) -> Any:
        raise AssertionError("this model only scores")

    return Candidate(
        Path("fake"), Table(rule), no_slots, tokenizer or small_tokenizer(), {}, {"engine": "fake", "dtype": "float64"}
    )
