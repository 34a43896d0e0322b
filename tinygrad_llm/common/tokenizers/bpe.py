"""分词器：用学好的合并编码、解码，并存成 JSON。

流入：任意文本；流出：token id（0–255 是字节，其后是合并，最后是特殊 token）。
用户文本永远不会变成特殊 token：``encode`` 只产生普通 id，特殊 id 只能由 ``Tokenizer.special`` 取得。
下一个文件：``../batches/windows.py``（id 怎样切成批次）。
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tinygrad_llm.common.errors import DataError, UserError
from tinygrad_llm.common.tokenizers.merges import SPACE, Pair, learn_merges, merge_pair, pretokenize, split_pattern

if TYPE_CHECKING:
    import tiktoken

END_OF_TEXT = "<|endoftext|>"
FORMAT, VERSION, PATTERN_NAME = "tinygrad_llm.tokenizer", 1, "gpt2"
_MAX_TOTAL_BYTES = 4 << 20  # 全部 token 的字节数之和：防止文件用连环合并造出天文长度的 token
_LONG_SPACE = re.compile(f"[{SPACE}]{{64,}}")


class TokenIdError(UserError, ValueError):
    """id 不在词表内。"""


def train_bpe(text: str, vocab_size: int, specials: Sequence[str] = (END_OF_TEXT,)) -> Tokenizer:
    """在文本上训练字节级 BPE。

    算法见 ``merges.learn_merges``；同样的文本总是得到同样的分词器。

    Args:
        text: 训练文本。
        vocab_size: 词表大小 = 256 个字节 + 合并数 + 特殊 token 数。
        specials: 特殊 token 的名字，排在词表最后。

    Returns:
        训练好的分词器。

    Raises:
        UserError: 词表大小容不下字节与特殊 token，或文本不足以产生这么多合并。
    """
    if problem := _specials_problem(specials):
        raise UserError(problem, where="specials", fix="give each special token its own non-empty name")
    wanted = vocab_size - 256 - len(specials)
    if wanted < 0:
        raise UserError(
            f"vocab_size {vocab_size} has no room for 256 bytes and {len(specials)} special tokens",
            fix=f"use vocab_size >= {256 + len(specials)}",
        )
    merges = learn_merges(_well_formed(text), wanted)
    if len(merges) < wanted:
        largest = 256 + len(merges) + len(specials)
        raise UserError(
            f"the text yields only {len(merges)} merges, vocab_size {vocab_size} needs {wanted}",
            fix=f"use vocab_size <= {largest}, or more text",
        )
    return Tokenizer(merges, specials)


class Tokenizer:
    """训练好的字节级 BPE；不可变，按内容比较。

    Attributes:
        merges: 第 i 项是 id 256 + i 的左右两半。
        specials: 特殊 token 的名字，id 从 256 + len(merges) 起。
        vocab_size: 词表大小。
    """

    def __init__(self, merges: Sequence[Pair], specials: Sequence[str] = (END_OF_TEXT,)) -> None:
        self.merges: tuple[Pair, ...] = tuple(merges)
        self.specials: tuple[str, ...] = tuple(specials)
        self.vocab_size: int = 256 + len(self.merges) + len(self.specials)
        self._merged_id = {pair: 256 + i for i, pair in enumerate(self.merges)}
        self._bytes = [bytes([value]) for value in range(256)]
        for left, right in self.merges:
            self._bytes.append(self._bytes[left] + self._bytes[right])
        self._bytes.extend(name.encode() for name in self.specials)

    def encode(self, text: str) -> list[int]:
        """文本 → id；装有 tiktoken 时由它执行，否则走 ``encode_readable``，两者结果相同。

        落单的代理项（不是合法的 Unicode 文本）先换成 U+FFFD。
        """
        if self._tiktoken is None:
            return self.encode_readable(text)
        text = _well_formed(text)
        # 超长的空白会使 tiktoken 的正则引擎栈溢出。空白后面若还有字，它的最后一个空白归下一块，此处正是块的边界
        cuts = [run.end() - 1 for run in _LONG_SPACE.finditer(text) if run.end() < len(text)]
        ids: list[int] = []
        for start, stop in pairwise([0, *cuts, len(text)]):
            ids.extend(self._tiktoken.encode_ordinary(text[start:stop]))
        return ids

    def encode_readable(self, text: str) -> list[int]:
        """编码的定义：切块，再在每块里按训练的次序合并。"""
        return self._encode_chunks(pretokenize(_well_formed(text)), "strict")

    def encode_bytes(self, data: bytes) -> list[int]:
        """任意字节 → id，``decode_bytes`` 逐字节还原；不是 UTF-8 的字节按标点一类切块。"""
        return self._encode_chunks(pretokenize(data.decode("utf-8", "surrogateescape")), "surrogateescape")

    def _encode_chunks(self, chunks: Iterable[str], errors: str) -> list[int]:
        known: dict[str, list[int]] = {}  # 同一个词反复出现，只合并一次
        ids: list[int] = []
        for chunk in chunks:
            if chunk not in known:
                known[chunk] = self._merge_all(list(chunk.encode("utf-8", errors)))
            ids.extend(known[chunk])
        return ids

    def _merge_all(self, ids: list[int]) -> list[int]:
        """反复合并眼下最早学到的一对，直到没有可合并的。"""
        while len(ids) > 1:
            candidates = {self._merged_id[pair]: pair for pair in set(pairwise(ids)) if pair in self._merged_id}
            if not candidates:
                break
            first = min(candidates)
            ids = merge_pair(ids, candidates[first], first)
        return ids

    @cached_property
    def _tiktoken(self) -> tiktoken.Encoding | None:
        """同样的合并与切块交给 tiktoken；没有安装时为 None。"""
        try:
            import tiktoken
        except ImportError:
            return None
        ranks = {token: i for i, token in enumerate(self._bytes[: 256 + len(self.merges)])}
        # 占有式的末尾空白：不回溯，一百万个空白也不溢出；它与 split_pattern() 的选择相同
        pattern = rf"[{SPACE}]++\z|{split_pattern()}"
        return tiktoken.Encoding("ours", pat_str=pattern, mergeable_ranks=ranks, special_tokens={})

    def decode(self, ids: Iterable[int]) -> str:
        """Id → 文本；不完整的 UTF-8 序列显示为 U+FFFD。"""
        return self.decode_bytes(ids).decode("utf-8", "replace")

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        """Id → 字节；特殊 token 还原成它的名字。"""
        return b"".join(map(self.token_bytes, ids))

    def token_bytes(self, id: int) -> bytes:
        """一个 token 的字节。

        Raises:
            TokenIdError: id 不在 [0, vocab_size) 内。
        """
        if not 0 <= id < self.vocab_size:
            raise TokenIdError(
                f"token id {id} is outside the vocabulary of {self.vocab_size}",
                fix="decode with the tokenizer that the model was trained with",
            )
        return self._bytes[id]

    @cached_property
    def byte_lengths(self) -> npt.NDArray[np.int64]:
        """每个 id 的字节数，形状 (vocab_size,)，特殊 token 为 0；用来把每 token 的损失换成每字节的比特数。"""
        lengths = np.array([len(token) for token in self._bytes], dtype=np.int64)
        lengths[256 + len(self.merges) :] = 0
        lengths.flags.writeable = False
        return lengths

    def special(self, name: str) -> int:
        """特殊 token 的 id。

        Raises:
            UserError: 词表里没有这个名字。
        """
        if name not in self.specials:
            raise UserError(f"the tokenizer has no special token {name!r}", fix=f"it has: {', '.join(self.specials)}")
        return 256 + len(self.merges) + self.specials.index(name)

    @property
    def eot(self) -> int:
        """文本结束符的 id。"""
        return self.special(END_OF_TEXT)

    def to_json(self) -> dict[str, Any]:
        """可写成 JSON 的字典；``from_json`` 还原。"""
        return {
            "format": FORMAT,
            "version": VERSION,
            "pattern": PATTERN_NAME,
            "merges": [list(pair) for pair in self.merges],
            "specials": list(self.specials),
        }

    @classmethod
    def from_json(cls, data: object, where: str = "tokenizer") -> Tokenizer:
        """从字典还原，并检查每一处。

        Raises:
            DataError: 内容不合法，``where`` 指明来处。
        """
        problem = _json_problem(data)
        if isinstance(data, dict) and not problem:
            tokenizer = cls([(left, right) for left, right in data["merges"]], data["specials"])
            problem = tokenizer._merges_problem()
            if not problem:
                return tokenizer
        raise DataError(problem, where=where, fix="restore the file, or train the tokenizer again")

    def _merges_problem(self) -> str:
        """每个合并出的 token 都应由自己的字节编码而来；否则 tiktoken 与可读路径会分道扬镳。"""
        for id, pair in enumerate(self.merges, start=256):
            if self._merge_all(list(self._bytes[id])) != [id]:
                return f"merge {id - 256} {list(pair)} duplicates another token or can never be reached"
        return ""

    @cached_property
    def digest(self) -> str:
        """规范 JSON 的 SHA-256；检查点用它确认分词器没有换过。"""
        canonical = json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()

    def save(self, path: Path) -> None:
        """原子地写成 JSON：先写临时文件并落盘，再改名，中途断电也不会留下半个文件。

        Raises:
            DataError: 写不了。
        """
        temporary = path.with_name(f"{path.name}.tmp-{os.getpid()}")
        try:
            with temporary.open("w", encoding="utf-8") as file:
                json.dump(self.to_json(), file)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except OSError as error:
            with suppress(OSError):
                temporary.unlink()
            raise DataError(
                f"cannot write the tokenizer: {error.strerror}", where=str(path), fix="check the folder"
            ) from error

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tokenizer) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)


def load_tokenizer(path: Path) -> Tokenizer:
    """读入 ``Tokenizer.save`` 写下的文件。

    Raises:
        DataError: 文件缺失、不是 JSON 或内容不合法。
    """
    try:
        data = json.loads(path.read_bytes())
    except OSError as error:
        raise DataError(
            f"cannot read the tokenizer: {error.strerror}", where=str(path), fix="check the path"
        ) from error
    except (ValueError, RecursionError) as error:  # 后者：嵌套极深的 JSON
        raise DataError("the tokenizer file is not JSON", where=str(path), fix="train the tokenizer again") from error
    return Tokenizer.from_json(data, where=str(path))


def _well_formed(text: str) -> str:
    r"""把落单的代理项换成 U+FFFD（JSON 里的 ``"\ud800"`` 就会带来一个），其余原样返回。"""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _specials_problem(specials: Sequence[object]) -> str:
    names = [name for name in specials if isinstance(name, str) and name and name == _well_formed(name)]
    if len(set(names)) != len(specials):
        return "special tokens must be distinct non-empty strings"
    return ""


def _json_problem(data: object) -> str:
    """第一处不合法的地方；空串表示形状与取值都对。"""
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        return f"not a tokenizer file (expected format {FORMAT!r})"
    if data.get("version") != VERSION or data.get("pattern") != PATTERN_NAME:
        return f"unknown version or pattern (expected {VERSION} and {PATTERN_NAME!r})"
    merges, specials = data.get("merges"), data.get("specials")
    if not isinstance(merges, list) or not isinstance(specials, list):
        return "merges and specials must be lists"
    lengths = [1] * 256
    for i, pair in enumerate(merges):
        known = isinstance(pair, list) and len(pair) == 2 and all(type(id) is int and 0 <= id < 256 + i for id in pair)
        if not known:
            return f"merge {i} is not a pair of ids below {256 + i}"
        lengths.append(lengths[pair[0]] + lengths[pair[1]])
        if lengths[-1] > _MAX_TOTAL_BYTES:
            return f"merge {i} builds a token of {lengths[-1]} bytes"
    if sum(lengths) > _MAX_TOTAL_BYTES:
        return f"the tokens have {sum(lengths)} bytes in all, the limit is {_MAX_TOTAL_BYTES}"
    return _specials_problem(specials)
