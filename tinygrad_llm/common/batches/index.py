"""分片文件夹的索引：有哪些文件、各有多大、摘要是什么、token 怎样理解。

```text
DIR/
├── tokenizer.json         分词器
├── train-00000.bin …      token，小端 uint16 或 uint32；除最后一片外都恰有 shard_tokens 个
├── train.documents.bin    每篇文档从第几个 token 开始，小端 uint64
├── val-00000.bin …        验证集，同样的写法
└── index.json             最后写成；有了它，文件夹才算数
```

各片首尾相接是一长串：每篇文档以 ``eot`` 开头，末尾再有一个 ``eot``，于是任何 token 的目标都是它的下一个。
流入：``index.json``；流出：核对过的 ``Index``，或指名文件的 ``DataError``。下一个文件：``writer.py``。
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NoReturn

from tinygrad_llm.common.errors import DataError
from tinygrad_llm.common.files import write_atomically

__all__ = [
    "DTYPES",
    "INDEX",
    "TOKENIZER",
    "FileEntry",
    "Index",
    "SplitEntry",
    "dtype_for",
    "read_index",
    "refuse",
    "write_index",
]

INDEX, TOKENIZER = "index.json", "tokenizer.json"
FORMAT, VERSION = "tinygrad_llm.tokens", 1
DTYPES = {"uint16": 2, "uint32": 4}
MAX_INDEX_BYTES = 64 << 20
_NAMES = ("train", "val")


@dataclass(frozen=True)
class FileEntry:
    """一个文件。

    Attributes:
        size: 字节数。
        sha256: 全部字节的摘要。
    """

    size: int
    sha256: str


@dataclass(frozen=True)
class SplitEntry:
    """训练集或验证集。

    Attributes:
        documents: 文档数。
        tokens: token 数，含每篇开头的与末尾的 ``eot``。
        text_bytes: 原文的 UTF-8 字节数。
        shards: 分片数。
    """

    documents: int
    tokens: int
    text_bytes: int
    shards: int


@dataclass(frozen=True)
class Index:
    """索引。

    Attributes:
        tokenizer: 分词器的摘要。
        vocab_size: 词表大小；每个 id 都小于它。
        eot: 每篇文档开头的 id。
        dtype: ``"uint16"`` 或 ``"uint32"``。
        shard_tokens: 一片有多少 token。
        splits: ``"train"``，或许还有 ``"val"``。
        files: 文件名到大小与摘要。
        source: 语料的名字或路径。
    """

    tokenizer: str
    vocab_size: int
    eot: int
    dtype: str
    shard_tokens: int
    splits: dict[str, SplitEntry]
    files: dict[str, FileEntry]
    source: str

    @property
    def checksum(self) -> str:
        """全部内容的摘要，与文件里写的相同。"""
        return _checksum(_content(self))

    @property
    def data_digest(self) -> str:
        """数据的摘要：两个文件夹的 token、切分与分词器全同，它才相同；与语料原来在哪里无关。"""
        return _checksum({**_content(self), "source": ""})


def shard_name(split: str, number: int) -> str:
    """第几个分片的文件名。"""
    return f"{split}-{number:05d}.bin"


def documents_name(split: str) -> str:
    """文档起点的文件名。"""
    return f"{split}.documents.bin"


def dtype_for(vocab_size: int) -> str:
    """装得下词表的类型。"""
    return "uint16" if vocab_size <= 1 << 16 else "uint32"


def write_index(folder: Path, index: Index) -> None:
    """写成 ``index.json``，原子地；其余文件须都已落盘。"""
    content = _content(index)
    data = json.dumps({**content, "checksum": _checksum(content)}, indent=1, sort_keys=True, ensure_ascii=False)
    write_atomically(folder / INDEX, (data + "\n").encode())


def read_index(folder: Path) -> Index:
    """读入索引并检查它自身：摘要、版本、类型、范围、彼此是否说得通。

    Args:
        folder: 分片文件夹。

    Returns:
        索引；列出的文件还没有看过。

    Raises:
        DataError: 不是分片文件夹，没写完，或索引坏了。
    """
    path = folder / INDEX
    if not path.is_file():
        what = "no such folder" if not folder.exists() else f"not a finished folder of token shards: no {INDEX}"
        raise DataError(what, where=str(folder), fix="make one with: python -m torch_llm data shard SOURCE --out DIR")
    try:
        with path.open("rb") as file:
            data = file.read(MAX_INDEX_BYTES + 1)
        content = json.loads(data) if len(data) <= MAX_INDEX_BYTES else None
    except OSError as error:
        refuse(path, f"cannot be read: {error.strerror}")
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        refuse(path, "is damaged: not a JSON object")
    if content.get("format") != FORMAT or content.get("version") != VERSION:
        refuse(path, f"has an unknown format; this program reads {FORMAT!r} version {VERSION}")
    if content.pop("checksum", None) != _checksum(content):
        refuse(path, "is damaged: it does not match its own checksum")
    try:
        index = _parsed(content)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        refuse(path, f"is damaged: {str(error)[:80] or type(error).__name__}")
    return index


def refuse(path: Path, problem: str) -> NoReturn:
    """报告一个坏文件。

    Args:
        path: 坏在哪个文件。
        problem: 接在 ``token shard file`` 之后的半句英文。

    Raises:
        DataError: 总是。
    """
    raise DataError(f"token shard file {problem}", where=str(path), fix="copy the folder again, or make it anew")


def _content(index: Index) -> dict[str, Any]:
    return {"format": FORMAT, "version": VERSION, **asdict(index)}


def _checksum(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _parsed(content: Mapping[str, Any]) -> Index:
    """由字典还原；说不通的地方抛 ``ValueError`` 一类，由调用者改写。"""
    splits = {name: SplitEntry(**_numbers(entry)) for name, entry in content["splits"].items()}
    files = {name: FileEntry(_natural(e["size"]), str(e["sha256"])) for name, e in content["files"].items()}
    index = Index(
        tokenizer=str(content["tokenizer"]),
        vocab_size=_natural(content["vocab_size"]),
        eot=_natural(content["eot"]),
        dtype=content["dtype"],
        shard_tokens=_natural(content["shard_tokens"]),
        splits=splits,
        files=files,
        source=str(content["source"]),
    )
    if index.dtype not in DTYPES or index.eot >= index.vocab_size or index.vocab_size > 1 << 8 * DTYPES[index.dtype]:
        raise ValueError("dtype, eot and vocab_size do not fit together")
    if "train" not in splits or not splits.keys() <= set(_NAMES) or index.shard_tokens < 1:
        raise ValueError("it lists no train split, or unknown ones")
    expected = {TOKENIZER: files[TOKENIZER].size}
    for name, entry in splits.items():
        expected |= _expected_sizes(index, name, entry)
    if expected != {name: entry.size for name, entry in files.items()}:
        raise ValueError("the files it lists do not fit its counts")
    return index


def _expected_sizes(index: Index, name: str, entry: SplitEntry) -> dict[str, int]:
    """一个集合的各文件应有多大。"""
    full = index.shard_tokens
    if entry.documents < 1 or entry.tokens < 2 * entry.documents or entry.shards != -(-entry.tokens // full):
        raise ValueError(f"the counts of {name} do not fit together")
    tokens = [min(full, entry.tokens - i * full) for i in range(entry.shards)]
    sizes = {shard_name(name, i): n * DTYPES[index.dtype] for i, n in enumerate(tokens)}
    return {**sizes, documents_name(name): 8 * entry.documents}


def _numbers(entry: Mapping[str, Any]) -> dict[str, int]:
    return {name: _natural(value) for name, value in entry.items()}


def _natural(value: object) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"expected a natural number, got {value!r:.40}")
    return value
