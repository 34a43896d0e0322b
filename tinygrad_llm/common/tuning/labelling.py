"""``classify-apply``：用练好的分类器给文字贴标签。

流入：``classify`` 练成的运行，与文字（命令行、文本文件一行一段、JSONL，或标准输入）；流出：一行一段，标签与概率。
怎样读一段文字记在检查点里，与训练时相同。引擎只管算，见两边的 ``tune.py`` 与 ``tuning.py``。
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tinygrad_llm.common.chat.loading import load_records
from tinygrad_llm.common.checkpoint import load_checkpoint
from tinygrad_llm.common.config import GPTConfig
from tinygrad_llm.common.corpora.faults import BadInput, Faults
from tinygrad_llm.common.corpora.opening import BROKEN_STREAM, explain, open_bytes
from tinygrad_llm.common.corpora.text_files import decoded
from tinygrad_llm.common.engine import Batch
from tinygrad_llm.common.errors import CheckpointError, UserError
from tinygrad_llm.common.scoring.intervals import wilson_interval
from tinygrad_llm.common.tokenizers import Tokenizer
from tinygrad_llm.common.tuning.classification import ROWS, fitted
from tinygrad_llm.common.tuning.classify_settings import STDIN, ApplyConfig
from tinygrad_llm.common.tuning.labelled_data import LabelledText, label_of, text_of
from tinygrad_llm.common.tuning.labelled_rows import LabelledRows, Reading

__all__ = ["Head", "Opened", "label_texts", "load_head"]

SHOWN = 100
"""文字至多印出几个字符。"""


@dataclass(frozen=True)
class Head:
    """练好的头，与它怎样读文字。

    Attributes:
        labels: 全部类别。
        reading: 怎样读。
        max_tokens: 训练时一段文字至多几个 token；``None`` 表示只受上下文所限。
        weight: 头的权重 ``(K, C)``。
        bias: 头的偏置 ``(K,)``。
    """

    labels: tuple[str, ...]
    reading: Reading
    max_tokens: int | None
    weight: NDArray[Any]
    bias: NDArray[Any]


class Opened(NamedTuple):
    """打开了的分类器。

    Attributes:
        config: 模型配置。
        tokenizer: 分词器。
        predict: 一批行的对数概率 ``(B, K)``。
    """

    config: GPTConfig
    tokenizer: Tokenizer
    predict: Callable[[Batch], Any]


def load_head(folder: Path) -> Head:
    """读出练好的头；模型的其余部分由引擎照常去读。

    Args:
        folder: 运行文件夹，或其中的某个检查点文件夹。

    Raises:
        CheckpointError: 没有这次运行，或检查点坏了。
        UserError: 它不是分类器。
    """
    if not folder.exists():
        raise CheckpointError("no such run", where=str(folder), fix="check --run, or train one with classify")
    checkpoint = load_checkpoint(folder, weights_only=True)
    method = checkpoint.state.get("method") or {}
    if method.get("name") != "classify":
        raise UserError(
            "this run is not a classifier", where=str(folder), fix="train one: classify --from RUN --data FILE.jsonl"
        )
    weight, bias = checkpoint.model["classifier.weight"], checkpoint.model["classifier.bias"]
    return Head(tuple(method["labels"]), Reading.of(method), method.get("max_tokens"), weight, bias)


def label_texts(config: ApplyConfig, head: Head, opened: Opened) -> None:
    """逐段贴标签，印到标准输出；略过了什么、正确率，印到标准错误。

    Args:
        config: 设置。
        head: ``load_head`` 的结果。
        opened: 打开了的分类器。

    Raises:
        UserError: 没有这个文件。
        DataError: 有坏的一行，而设置不许略过。
    """
    faults = Faults(config.on_error)
    texts = _texts(config, head, faults)
    limits = (head.max_tokens, head.reading.pad_to, opened.config.context)
    most, live = min(filter(None, limits)), not config.text and config.data in ("", STDIN)
    group = 1 if live or head.reading.depends_on_neighbours else ROWS
    right = known = 0
    while chosen := list(islice(texts, group)):
        rows = [(one, fitted(opened.tokenizer, one, most, config.overflow, faults)) for one in chosen]
        kept = [(one, row) for one, row in rows if row is not None]
        if not kept:
            continue
        scores = np.exp(_scores(head, opened, [row for _, row in kept]))
        for (one, _), shares in zip(kept, scores, strict=True):
            print(_line(one, head.labels, shares.tolist(), config.format), flush=live)
            known += bool(one.label)
            right += bool(one.label) and one.label == head.labels[int(shares.argmax())]
    if skipped := faults.summary():
        print(skipped, file=sys.stderr)
    if known:
        found = wilson_interval(right, known)
        print(f"accuracy: {found.value:.1%} [{found.low:.1%}, {found.high:.1%}] (n = {known})", file=sys.stderr)


def _scores(head: Head, opened: Opened, rows: Sequence[NDArray[np.int64]]) -> NDArray[np.float64]:
    data = LabelledRows(
        rows,
        [0] * len(rows),
        batch_size=len(rows),
        seed=0,
        pad=opened.tokenizer.eot,
        reading=head.reading,
        window=opened.config.window,
    )
    found: NDArray[np.float64] = opened.predict(data.take(np.arange(len(rows)))).astype(np.float64)
    return found


def _line(one: LabelledText, labels: Sequence[str], shares: Sequence[float], form: str) -> str:
    best = max(range(len(labels)), key=shares.__getitem__)
    if form == "jsonl":
        given = {"given": one.label} if one.label else {}
        told = {"text": one.text, "label": labels[best], "probability": round(shares[best], 6), **given}
        told["probabilities"] = {name: round(share, 6) for name, share in zip(labels, shares, strict=True)}
        return json.dumps(told, ensure_ascii=False)
    shown = " ".join(one.text.split())
    shown = shown if len(shown) <= SHOWN else shown[: SHOWN - 1] + "…"
    return f"{labels[best]:<{max(map(len, labels))}}  {shares[best]:6.1%}  {shown}"


# ---- 文字从哪里来；没有标签的，标签为空 ----


def _texts(config: ApplyConfig, head: Head, faults: Faults) -> Iterator[LabelledText]:
    if config.text:
        for number, text in enumerate(config.text, start=1):
            if text.strip():
                yield LabelledText(text, "", f"--text {number}")
            else:
                faults.report("the text is empty", f"--text {number}", "fill it in", reason="empty text")
    elif config.data in ("", STDIN):
        yield from _lines(sys.stdin.buffer, Path("standard input"), faults)
    else:
        path = Path(config.data)
        if not path.is_file():
            raise UserError("no such data file", where=config.data, fix="give a .jsonl or .txt file, or -")
        if {".jsonl", ".json"} & set(path.suffixes):
            yield from load_records(path, partial(_record, labels=head.labels), faults)
        else:
            yield from _file_lines(path, faults)


def _record(record: object, source: str, *, labels: Sequence[str]) -> LabelledText:
    text = text_of(record)
    label = label_of(record["label"], labels) if isinstance(record, dict) and "label" in record else ""
    return LabelledText(text, label, source)


def _file_lines(path: Path, faults: Faults) -> Iterator[LabelledText]:
    try:
        with open_bytes(path) as stream:
            yield from _lines(stream, path, faults)
    except BROKEN_STREAM as error:
        faults.take(explain(error), path)


def _lines(stream: BinaryIO, path: Path, faults: Faults) -> Iterator[LabelledText]:
    """一行一段；空行略去。"""
    for number, line in enumerate(stream, start=1):
        try:
            text = decoded(line, int(number > 1)).rstrip("\r\n")
        except BadInput as bad:
            faults.take(bad, path, number)
            continue
        if text.strip():
            yield LabelledText(text, "", f"{path}:{number}")
