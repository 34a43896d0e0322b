"""文本从哪里来：语料、文件、分片，或一个运行自己的训练与验证文本。

流入：``--data`` 与 ``--train-data`` 里的一个名字；流出：一份份文本。下一个文件：``command.py``。

分片里存的是 id；这里还原成文字，再由受测的模型自己的分词器编码，于是分词器不同的模型也量得了同一份分片。
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from tinygrad_llm.common.batches.index import INDEX
from tinygrad_llm.common.batches.store import Split, open_store
from tinygrad_llm.common.chat.loading import load_records
from tinygrad_llm.common.cleaning.decontaminate import strings_of
from tinygrad_llm.common.corpora import documents, load_corpus, split_text
from tinygrad_llm.common.corpora.faults import Faults
from tinygrad_llm.common.errors import DataError
from tinygrad_llm.common.lineage import text_stages
from tinygrad_llm.common.tokenizers import Tokenizer
from tinygrad_llm.common.tuning.lessons import STORY, STORY_COUNT

__all__ = ["own_texts", "texts_of"]

_WHOLE = 1 << 62


def texts_of(source: str, field: str = "", limit: int | None = None, split: str = "val") -> Iterator[str]:
    """一份数据里的文本。

    Args:
        source: 分片文件夹，或 ``corpora.documents`` 认得的语料名与路径；一个文本文件是一份文档。
        field: 记录里正文的字段。
        limit: 至多几份。
        split: 分片取哪个集合；没有这个就取另一个。

    Yields:
        各份文本。

    Raises:
        UserError: 既不是语料名，也不像路径。
        DataError: 缺失、为空或坏了。
    """
    if (Path(source) / INDEX).is_file():
        store = open_store(Path(source))
        chosen = store.splits.get(split) or next(iter(store.splits.values()))
        found = _shard_texts(chosen, store.tokenizer)
    else:
        faults = Faults(offers_skip=False)
        found = (one.text for one in documents(source, on_error=faults, field=field, piece_bytes=_WHOLE))
    yield from islice(found, limit)


def own_texts(state: Mapping[str, Any], where: str, split: str, limit: int | None = None) -> Iterator[str]:
    """一个运行自己的训练或验证文本，由检查点里的设置找到。

    由指令、偏好或奖励学来的运行，``data`` 是题目而不是文本：验证文本取自来历里最近的一次预训练或中段训练；
    训练文本是来历里各次的文本，再加上题目本身。

    Args:
        state: 检查点的状态。
        where: 运行，用于报错。
        split: ``train`` 或 ``val``。
        limit: 至多几份。

    Yields:
        各份文本。

    Raises:
        DataError: 它没有记下用了什么数据，或数据已不在。
    """
    settings, source = state.get("settings"), state.get("source")
    stages: list[Mapping[str, Any]] = [settings] if isinstance(settings, dict) else []
    if state.get("method"):
        if split == "train" and stages:
            yield from _task_texts(str(stages[0].get("data") or ""))
        stages = [found for _, found in text_stages(source if isinstance(source, dict) else {})]
    if not stages or not (stages[0].get("data") or stages[0].get("corpus")):
        raise DataError(
            "this run does not say what text it was trained on",
            where=where,
            fix="name a text with --data or --train-data",
        )
    for one in stages if split == "train" else stages[:1]:
        yield from _stage_texts(one, split, limit)


def _stage_texts(settings: Mapping[str, Any], split: str, limit: int | None) -> Iterator[str]:
    """一次预训练或中段训练的文本。"""
    if data := settings.get("data"):
        for part in str(data).split(","):
            name = part.strip()
            folder = name if (Path(name) / INDEX).is_file() else name.rpartition("=")[0] or name
            yield from texts_of(folder, limit=limit, split=split)
        return
    both = split_text(load_corpus(settings["corpus"]).text, settings.get("val_fraction", 0.1))
    yield both[split == "val"]


def _task_texts(data: str) -> Iterator[str]:
    """题目里的全部文字，一条记录一份。"""
    for part in filter(None, map(str.strip, data.split(","))):
        if (kind := STORY.fullmatch(part)) is not None:
            from tinygrad_llm.common.corpora import storyworld  # 用到才导入，``--help`` 因此立即可答

            items = getattr(storyworld, kind[1])(split="train").take(int(kind[2] or STORY_COUNT))
            yield from ("\n".join(strings_of(item.to_json())) for item in items)
        elif Path(part).is_file():
            records = load_records(Path(part), lambda record, _: record, Faults(offers_skip=False))
            yield from ("\n".join(strings_of(record)) for record in records)
        else:
            raise DataError("its task data is not there any more", where=part, fix="name a text with --train-data")


def _shard_texts(split: Split, tokenizer: Tokenizer) -> Iterator[str]:
    """各份文档的文字，不含开头的特殊 token。"""
    for start, length in zip(split.starts.tolist(), split.lengths.tolist(), strict=True):
        text = tokenizer.decode(split.tokens.read(start + 1, start + length).tolist())
        if text:
            yield text
