"""词表：一列单位（词、字、子词）与 id 的对应，以及它的 JSON 文件。

流入：互不相同的单位与特殊 token 的名字；流出：单位 ↔ id；单位从 0 起编号，特殊 token 排在最后。
下一个文件：``words.py``（文本怎样切成单位）。
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from tinygrad_llm.common.errors import DataError, UserError
from tinygrad_llm.common.tokenizers.bpe import END_OF_TEXT
from tinygrad_llm.common.tokenizers.interface import outside, well_formed
from tinygrad_llm.common.tokenizers.saved import read_json, write_text

__all__ = ["UNKNOWN", "UnitTokenizer", "Vocabulary", "read_vocabulary"]

UNKNOWN = "<|unk|>"
VERSION = 1


class Vocabulary:
    """单位与特殊 token 的词表；不可变。

    Attributes:
        units: 第 i 个单位的 id 是 i。
        specials: 特殊 token 的名字，id 从 ``len(units)`` 起；与单位分开查，所以单位可以碰巧与它同名。

    Raises:
        UserError: 有空的、重复的或不是合法 Unicode 的单位或名字。
    """

    def __init__(self, units: Sequence[str], specials: Sequence[str]) -> None:
        self.units, self.specials = tuple(units), tuple(specials)
        for what, names in (("units", self.units), ("special tokens", self.specials)):
            if len({name for name in names if name and name == well_formed(name)}) != len(names):
                raise UserError(f"the {what} must be distinct non-empty strings", fix="drop the doubles")
        self._ids = {unit: id for id, unit in enumerate(self.units)}
        self._special_ids = {name: len(self.units) + i for i, name in enumerate(self.specials)}

    def __len__(self) -> int:
        return len(self.units) + len(self.specials)

    def __contains__(self, unit: str) -> bool:
        return unit in self._ids

    def find(self, unit: str) -> int | None:
        """单位的 id；词表里没有则为 None。"""
        return self._ids.get(unit)

    def special(self, name: str) -> int:
        """特殊 token 的 id。

        Raises:
            UserError: 词表里没有这个名字。
        """
        if name not in self._special_ids:
            raise UserError(f"the tokenizer has no special token {name!r}", fix=f"it has: {', '.join(self.specials)}")
        return self._special_ids[name]

    def text(self, id: int) -> str:
        """Id 对应的单位，或特殊 token 的名字。

        Raises:
            TokenIdError: id 不在 [0, len(self)) 内。
        """
        if not 0 <= id < len(self):
            raise outside(id, len(self))
        return self.units[id] if id < len(self.units) else self.specials[id - len(self.units)]

    def save(self, path: Path, kind: str, **more: Any) -> None:
        """原子地写成 JSON。

        Args:
            path: 目标文件。
            kind: 分词器的种类，写进 ``format`` 一栏。
            more: 这一种分词器另有的栏目。

        Raises:
            DataError: 写不了。
        """
        head = {"format": f"tinygrad_llm.{kind}", "version": VERSION}
        data = {**head, "units": self.units, "specials": self.specials, **more}
        write_text(path, json.dumps(data, ensure_ascii=False))


class UnitTokenizer:
    """一个单位一个 id 的分词器；怎样切、怎样拼回去由子类说。

    Attributes:
        vocabulary: 词表。
    """

    specials: tuple[str, ...] = (UNKNOWN, END_OF_TEXT)
    kind: ClassVar[str]

    def __init__(self, units: Sequence[str]) -> None:
        self.vocabulary = Vocabulary(units, self.specials)
        self._unknown = self.special(UNKNOWN)

    @property
    def vocab_size(self) -> int:
        """词表大小，含特殊 token。"""
        return len(self.vocabulary)

    def token_bytes(self, id: int) -> bytes:
        """一个 token 的字节；特殊 token 是它的名字。

        Raises:
            TokenIdError: id 不在 [0, vocab_size) 内。
        """
        return self.vocabulary.text(id).encode()

    def special(self, name: str) -> int:
        """特殊 token 的 id。

        Raises:
            UserError: 没有这个名字。
        """
        return self.vocabulary.special(name)

    def save(self, path: Path) -> None:
        """写成 JSON；``load_words``、``load_characters``、``load_wordpiece`` 各读回自己的一种。"""
        self.vocabulary.save(path, self.kind)


def read_vocabulary(path: Path, kind: str) -> tuple[Vocabulary, dict[str, Any]]:
    """读入 ``Vocabulary.save`` 写下的文件。

    Args:
        path: 文件。
        kind: 应有的种类。

    Returns:
        词表与文件里的全部栏目。

    Raises:
        DataError: 文件缺失、不是 JSON、不是这一种，或单位不合法。
    """
    data = read_json(path)
    problem = ""
    if not isinstance(data, dict) or data.get("format") != f"tinygrad_llm.{kind}" or data.get("version") != VERSION:
        problem = f"not a tokenizer file of format 'tinygrad_llm.{kind}', version {VERSION}"
    elif not (_are_texts(data.get("units")) and _are_texts(data.get("specials"))):
        problem = "units and specials must be lists of strings"
    if not problem:
        try:
            return Vocabulary(data["units"], data["specials"]), data
        except UserError as error:
            problem = error.problem
    raise DataError(problem, where=str(path), fix="restore the file, or train the tokenizer again")


def _are_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)
