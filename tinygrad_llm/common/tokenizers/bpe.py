"""字节级 BPE：用学好的合并编码、解码。

流入：任意文本；流出：token id（自己训练的：0–255 是字节，其后是合并，最后是特殊 token；别处来的词表见 ``layout.py``）。
用户文本永远不会变成特殊 token：``encode`` 只产生普通 id，特殊 id 只能由 ``Tokenizer.special`` 取得。
下一个文件：``saved.py``（存成 JSON 再读回来），``fast.py``（同样的 id，编码更快）。
"""

from __future__ import annotations

import hashlib
import json
import os
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from operator import add
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tinygrad_llm.common.errors import UserError
from tinygrad_llm.common.tokenizers.fast import is_risky, tiktoken_encoding
from tinygrad_llm.common.tokenizers.interface import outside, well_formed
from tinygrad_llm.common.tokenizers.layout import MISSING, ODD_PAIR, Layout, plain_layout
from tinygrad_llm.common.tokenizers.merges import Pair
from tinygrad_llm.common.tokenizers.split import pieces, pretokenize
from tinygrad_llm.common.tokenizers.symbols import chars_of, numbers_of, symbol_of

if TYPE_CHECKING:
    import tiktoken

__all__ = ["END_OF_TEXT", "Tokenizer", "merge_word", "new_rows", "specials_problem"]

END_OF_TEXT = "<|endoftext|>"
_LAST = "\U0010ffff"  # 排在一切符号之后：这一对没有合并
_LONG = 200  # 更长的块改用逐个合并过一遍的办法


def merge_word(word: str, merged: Mapping[str, str]) -> str:
    """编码的核心：反复合并最早学到的一对里最靠左的一处，直到没有可合并的。

    Args:
        word: 一个块的符号串，开始时一个字节一个符号。
        merged: 一对 → 合并成的符号；越早学到的符号码位越小。

    Returns:
        合并之后的符号串。
    """
    symbols = list(word)
    candidates = [merged.get(pair, _LAST) for pair in map(add, word, word[1:])]  # 第 i 项：合并 i 与 i + 1 得到什么
    while candidates:
        first = min(candidates)
        if first == _LAST:
            break
        place = candidates.index(first)
        symbols[place : place + 2] = [first]
        del candidates[place]
        if place > 0:
            candidates[place - 1] = merged.get(symbols[place - 1] + first, _LAST)
        if place < len(candidates):
            candidates[place] = merged.get(first + symbols[place + 1], _LAST)
    return "".join(symbols)


class Tokenizer:
    """训练好的字节级 BPE；不可变，按内容比较。

    Attributes:
        merges: 第 i 项是 256 + i 号符号的左右两半（自己训练的分词器里，符号的号码就是 id）。
        specials: 特殊 token 的名字，按 id 排列。
        pattern: 切法的名字，见 ``split.PATTERNS``。
        normalization: 编码之前的 Unicode 规范化（``"NFC"`` 等），空串表示原样。
        layout: 符号与特殊 token 的 id。
        vocab_size: 词表大小：最大的 id 加一。
        missing: 词表里没有的字节。编码时跳过它们，与 HF ``tokenizers`` 相同；自己训练的分词器一个也不缺。
    """

    def __init__(
        self,
        merges: Sequence[Pair],
        specials: Sequence[str] = (END_OF_TEXT,),
        pattern: str = "gpt2",
        normalization: str = "",
        layout: Layout | None = None,
    ) -> None:
        self.merges: tuple[Pair, ...] = tuple(merges)
        self.specials: tuple[str, ...] = tuple(specials)
        self.pattern, self.normalization = pattern, normalization
        self.is_plain = layout is None
        self.layout: Layout = layout or plain_layout(len(self.merges), len(self.specials))
        self.vocab_size: int = self.layout.vocab_size
        self.missing = bytes(byte for byte in range(256) if self.layout.symbol_ids[byte] == MISSING)
        self.symbols: list[bytes] = [bytes([value]) for value in range(256)]
        for number, (left, right) in enumerate(self.merges, start=256):
            odd = self.layout.odd.get(number)
            self.symbols.append(self.symbols[left] + self.symbols[right] if odd is None else odd)
        self._special_id = dict(zip(self.specials, self.layout.special_ids, strict=True))
        self._bytes: list[bytes | None] = [None] * self.vocab_size  # 按 id
        for token, id in [*zip(self.symbols, self.layout.symbol_ids, strict=True), *self._named_tokens()]:
            if id != MISSING:
                self._bytes[id] = token

    def _named_tokens(self) -> Iterator[tuple[bytes, int]]:
        yield from ((name.encode(), id) for name, id in self._special_id.items())
        yield from ((token, id) for id, token in self.layout.unused.items())

    # ---- 编码 ----

    def encode(self, text: str) -> list[int]:
        """文本 → id；装有 tiktoken 时由它执行，否则走 ``encode_readable``，两者结果相同。

        落单的代理项（不是合法的 Unicode 文本）先换成 U+FFFD。
        """
        if self.normalization:
            text = unicodedata.normalize(self.normalization, well_formed(text))  # type: ignore[arg-type]
        ids: list[int] = []
        for piece in pieces(text):
            ids.extend(self._encode_piece(piece))
        return ids

    def _encode_piece(self, piece: str) -> list[int]:
        fast = self._tiktoken
        if fast is None or is_risky(piece) or self.dropped(piece):
            return self._encode_chunks(pretokenize(well_formed(piece), self.pattern), "strict")
        numbers: list[int] = fast.encode_ordinary(piece)
        if self.is_plain:
            return numbers
        ids: list[int] = self._symbol_ids[numbers].tolist() if numbers else []
        return ids

    def encode_to_numpy(self, text: str) -> npt.NDArray[np.unsignedinteger[Any]]:
        """同 ``encode``，结果是装得下词表的最窄的无符号整数数组；很长的文本逐段编码，省去一整列 Python 整数。"""
        dtype = np.min_scalar_type(self.vocab_size - 1)
        if self.normalization:
            text = unicodedata.normalize(self.normalization, well_formed(text))  # type: ignore[arg-type]
        return np.concatenate([np.array(self._encode_piece(piece), dtype) for piece in pieces(text)])

    def encode_batch(self, texts: Sequence[str], threads: int | None = None) -> list[list[int]]:
        """逐篇编码，几个线程同时做；tiktoken 编码时不占解释器的锁，所以线程真的同时算。

        Args:
            texts: 若干篇文本。
            threads: 线程数；缺省与核数相同。
        """
        count = min(threads or os.cpu_count() or 1, len(texts))
        if count < 2 or self._tiktoken is None:
            return [self.encode(text) for text in texts]
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(count) as pool:
            return list(pool.map(self.encode, texts))

    def encode_readable(self, text: str) -> list[int]:
        """编码的定义：切块，再在每块里按训练的次序合并。"""
        text = well_formed(text)
        if self.normalization:
            text = unicodedata.normalize(self.normalization, text)  # type: ignore[arg-type]
        return self._encode_chunks(pretokenize(text, self.pattern), "strict")

    def encode_bytes(self, data: bytes) -> list[int]:
        """任意字节 → id，``decode_bytes`` 逐字节还原；不是 UTF-8 的字节按标点一类切块，也不做规范化。"""
        return self._encode_chunks(
            pretokenize(data.decode("utf-8", "surrogateescape"), self.pattern), "surrogateescape"
        )

    def _encode_chunks(self, chunks: Iterable[str], errors: str) -> list[int]:
        known: dict[str, list[int]] = {}  # 同一个词反复出现，只合并一次
        ids: list[int] = []
        for chunk in chunks:
            if chunk not in known:
                symbols = self._merge_all(chunk.encode("utf-8", errors))
                known[chunk] = [self.layout.symbol_ids[number] for number in numbers_of(symbols)]
            ids.extend(known[chunk])
        return ids

    def _merge_all(self, chunk: bytes) -> str:
        """一个块 → 符号串。"""
        if self.missing:
            chunk = chunk.translate(None, self.missing)
        if whole := self._odd_symbols.get(chunk):
            return whole
        word = chars_of(chunk)
        if len(word) > _LONG:
            return self._merge_long(word)
        return merge_word(word, self._merged_symbol)

    def _merge_long(self, word: str) -> str:
        """很长的块：按学到的先后把每个合并过一遍，与逐处合并结果相同，因为新的一对总比造出它的合并更晚学到。"""
        present = set(word)
        for pair, symbol in self._merged_symbol.items():
            if pair[0] in present and pair[1] in present and pair in word:
                word = word.replace(pair, symbol)
                present.add(symbol)
        return word

    @cached_property
    def _merged_symbol(self) -> dict[str, str]:
        """一对 → 合并成的符号，按学到的先后排列。"""
        merged = {symbol_of(left) + symbol_of(right): symbol_of(256 + i) for i, (left, right) in enumerate(self.merges)
                  if (left, right) != ODD_PAIR}  # fmt: skip
        if not self.layout.odd:
            return merged
        number_of = {token: number for number, token in enumerate(self.symbols)}
        for number, token in self.layout.odd.items():
            for cut in range(1, len(token)):
                left, right = number_of.get(token[:cut]), number_of.get(token[cut:])
                if left is not None and right is not None:
                    merged[symbol_of(left) + symbol_of(right)] = symbol_of(number)
        return dict(sorted(merged.items(), key=lambda item: max(*item[0], item[1])))  # 两半都有了才能合并

    @cached_property
    def _odd_symbols(self) -> dict[bytes, str]:
        return {token: symbol_of(number) for number, token in self.layout.odd.items()}

    @cached_property
    def _symbol_ids(self) -> npt.NDArray[np.int64]:
        return np.array(self.layout.symbol_ids, dtype=np.int64)

    @cached_property
    def _tiktoken(self) -> tiktoken.Encoding | None:
        return tiktoken_encoding(self.symbols, self.pattern)

    def dropped(self, text: str) -> int:
        """文本里有几个字节是词表没有的，编码时会跳过。"""
        if not self.missing:
            return 0
        data = text.encode("utf-8", "replace")
        return len(data) - len(data.translate(None, self.missing))

    # ---- 解码 ----

    def decode(self, ids: Iterable[int]) -> str:
        """Id → 文本；不完整的 UTF-8 序列显示为 U+FFFD。"""
        return self.decode_bytes(ids).decode("utf-8", "replace")

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        """Id → 字节；特殊 token 还原成它的名字。"""
        return b"".join(map(self.token_bytes, ids))

    def token_bytes(self, id: int) -> bytes:
        """一个 token 的字节。

        Raises:
            TokenIdError: id 不在 [0, vocab_size) 内，或是词表里空着的一个。
        """
        token = self._bytes[id] if 0 <= id < self.vocab_size else None
        if token is None:
            raise outside(id, self.vocab_size)
        return token

    @cached_property
    def byte_lengths(self) -> npt.NDArray[np.int64]:
        """每个 id 的字节数，形状 (vocab_size,)，特殊 token 为 0；用来把每 token 的损失换成每字节的比特数。"""
        lengths = np.array([len(token or b"") for token in self._bytes], dtype=np.int64)
        lengths[list(self.layout.special_ids)] = 0
        lengths.flags.writeable = False
        return lengths

    # ---- 特殊 token ----

    def special(self, name: str) -> int:
        """特殊 token 的 id。

        Raises:
            UserError: 词表里没有这个名字。
        """
        if name not in self._special_id:
            raise UserError(f"the tokenizer has no special token {name!r}", fix=f"it has: {', '.join(self.specials)}")
        return self._special_id[name]

    @property
    def eot(self) -> int:
        """文本结束符的 id。"""
        return self.special(END_OF_TEXT)

    def with_specials(self, names: Sequence[str]) -> Tokenizer:
        """添上几个特殊 token：原有的 id 都不变，新的从 ``vocab_size`` 排起。

        模型的词嵌入与输出层也要添上同样多的行，见 ``new_rows``。

        Raises:
            UserError: 名字为空、重复，或词表里已有。
        """
        if problem := specials_problem([*self.specials, *names]):
            raise UserError(problem, where=", ".join(map(repr, names)), fix="add only names that are not there yet")
        added = range(self.vocab_size, self.vocab_size + len(names))
        old = self.layout
        grown = Layout(old.symbol_ids, (*old.special_ids, *added), old.odd, old.unused)
        layout = None if self.is_plain else grown
        return Tokenizer(self.merges, [*self.specials, *names], self.pattern, self.normalization, layout)

    # ---- 存取与比较 ----

    def to_json(self) -> dict[str, Any]:
        """可写成 JSON 的字典，见 ``saved.py``。"""
        from tinygrad_llm.common.tokenizers.saved import to_json

        return to_json(self)

    @cached_property
    def digest(self) -> str:
        """规范 JSON 的 SHA-256；检查点用它确认分词器没有换过。"""
        canonical = json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()

    def save(self, path: Path) -> None:
        """原子地写成 JSON，见 ``saved.save_tokenizer``。"""
        from tinygrad_llm.common.tokenizers.saved import save_tokenizer

        save_tokenizer(self, path)

    def unreachable(self) -> int | None:
        """第一个不能由自己的字节编码而来的符号；没有就是 ``None``。

        每个合并出的 token 都应由自己的字节编码而来：这样「按对」与「按拼成的字节」（tiktoken 的办法）才处处相同。
        """
        for number in range(256, len(self.symbols)):
            if self._merge_all(self.symbols[number]) != symbol_of(number):
                return number
        return None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tokenizer) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)


def new_rows(old: Tokenizer, new: Tokenizer) -> range:
    """换用添过 token 的分词器时，模型的词嵌入与输出层要新添的行；其余各行原样保留。

    新的行通常取原有各行的均值：损失从「没见过这个 token」的水平起步，而不是从一个随机的方向起步。

    Args:
        old: 模型原来的分词器。
        new: ``old.with_specials(...)`` 或读入的同一份词表的扩充。

    Returns:
        新添的行号，即新 token 的 id。

    Raises:
        UserError: 有一个原有的 token 变了，权重因此不能沿用。
    """
    for id in range(old.vocab_size):
        before, after = old._bytes[id], new._bytes[id] if id < new.vocab_size else None
        if before != after and before is not None:
            raise UserError(
                f"token {id} was {before!r} and is now {after!r}: the model's rows would no longer fit",
                fix="add tokens with Tokenizer.with_specials, which keeps every id",
            )
    return range(old.vocab_size, new.vocab_size)


def specials_problem(specials: Sequence[object]) -> str:
    """特殊 token 的名字有什么不对；空串表示没有。"""
    names = [name for name in specials if isinstance(name, str) and name and name == well_formed(name)]
    if len(set(names)) != len(specials):
        return "special tokens must be distinct non-empty strings"
    return ""
