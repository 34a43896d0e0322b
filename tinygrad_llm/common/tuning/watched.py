"""忘了多少：出发点自己的预训练与中段训练数据，训练之前量一次，之后每次评估再量。

流入：出发点的记录；流出：名字到验证集的 token，写进日志的 ``val_loss_名字``。下一个文件：``sft.py``。
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from tinygrad_llm.common.batches import Ids, encode_corpus
from tinygrad_llm.common.batches.index import INDEX
from tinygrad_llm.common.batches.sources import open_sources, validation_tokens
from tinygrad_llm.common.errors import UserError
from tinygrad_llm.common.lineage import text_stages
from tinygrad_llm.common.tokenizers import Tokenizer
from tinygrad_llm.common.train_config import TrainConfig

__all__ = ["NONE", "watched_sets"]

NONE = "none"
"""``--watch`` 取它时不量。"""


class Watching(Protocol):
    """量遗忘要用的几项设置。"""

    @property
    def watch(self) -> str:
        """点名的数据。"""

    @property
    def watch_tokens(self) -> int:
        """每份至多看几个 token。"""

    @property
    def val_fraction(self) -> float:
        """文本末尾留作验证的份额。"""


def watched_sets(
    settings: Watching, source: Mapping[str, Any], tokenizer: Tokenizer
) -> tuple[dict[str, Ids], list[str]]:
    """要量遗忘的各份数据。

    Args:
        settings: 设置；``watch`` 点了名的一份也不能少，没有点名就取出发点的。
        source: 出发点的记录。
        tokenizer: 分词器。

    Returns:
        名字到 token；没有量成的各一句说明。

    Raises:
        UserError: 点名的数据写错了。
        DataError: 点名的数据打不开。
    """
    if settings.watch == NONE:
        return {}, []
    if settings.watch:
        named = [_named(part) for part in settings.watch.split(",")]
        share = TrainConfig.val_fraction
        return {name: _tokens(path, share, tokenizer, settings.watch_tokens) for name, path in named}, []
    found: dict[str, Ids] = {}
    notes = []
    for name, before in text_stages(source):
        text = str(before.get("data") or before.get("corpus") or "")
        try:
            share = float(before.get("val_fraction", settings.val_fraction))
            found[name] = _tokens(text, share, tokenizer, settings.watch_tokens)
        except UserError as error:
            notes.append(f"forgetting on the {name} data is not measured: {error.problem}")
    if not found and not notes:
        notes.append("forgetting is not measured: the source names no training data, see --watch")
    return found, notes


def _named(part: str) -> tuple[str, str]:
    name, equals, path = part.strip().partition("=")
    if not (equals and path and name.isidentifier()):
        raise UserError(f"cannot read {part.strip()[:60]!r}", where="--watch", fix="write NAME=PATH,NAME=PATH, or none")
    return name, path


def _tokens(text: str, val_fraction: float, tokenizer: Tokenizer, most: int) -> Ids:
    """一份数据的验证集的开头。

    Raises:
        UserError: 打不开，或是用另一个分词器做的。
    """
    first = text.split(",")[0].rpartition("=")[0] or text.split(",")[0]
    if not (Path(first.strip()) / INDEX).is_file():
        from tinygrad_llm.common.corpora import load_corpus, split_text  # 用到才导入，``--help`` 因此立即可答

        _, validation = split_text(load_corpus(text).text, val_fraction)
        return np.asarray(encode_corpus(validation, tokenizer))[:most]
    opened = open_sources(text)
    if opened[0].store.tokenizer.digest != tokenizer.digest:
        raise UserError("it was sharded with another tokenizer", where=text, fix="shard it with the model's tokenizer")
    tokens = validation_tokens(opened)
    return tokens.read(0, min(most, tokens.size))
