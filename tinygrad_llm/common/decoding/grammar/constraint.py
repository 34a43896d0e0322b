"""``Constraint`` 的实现：语法与词表合在一起，每一步给出掩码。

流入：语法与分词器；流出：``TokenConstraint``，可由许多序列共用。三种写法见 ``regex.py``、``schema.py`` 与
``ebnf.py``。

不会走进死路：一个 token 写完之后的格局，必须单凭词表里的单字节 token 就走得到头，否则这个 token 不许写。
于是任何时候都或者可以结束，或者还有 token 可写。
"""

from __future__ import annotations

import json
from collections.abc import Hashable
from functools import lru_cache
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from tinygrad_llm.common.decoding.grammar.ebnf import parse_grammar
from tinygrad_llm.common.decoding.grammar.machine import Machine, compile_rules
from tinygrad_llm.common.decoding.grammar.recogniser import DEAD, Recogniser
from tinygrad_llm.common.decoding.grammar.regex import parse_regex
from tinygrad_llm.common.decoding.grammar.schema import schema_rules
from tinygrad_llm.common.decoding.grammar.trie import Trie, build_trie, text_tokens, walked
from tinygrad_llm.common.errors import UserError
from tinygrad_llm.common.tokenizers.interface import TextTokenizer

__all__ = ["TokenConstraint", "grammar_constraint", "regex_constraint", "schema_constraint"]


@lru_cache(maxsize=4)
def _trie_of(tokenizer: Any) -> Trie:
    return build_trie(text_tokens(tokenizer), tokenizer.vocab_size)


class TokenConstraint:
    """语法约束；算过的掩码都留着，每个压成一位一个 token。

    Args:
        machine: 编译好的语法。
        tokenizer: 分词器。

    Raises:
        UserError: 语法一个字也不匹配，或词表拼不出任何一个合语法的文本。
    """

    def __init__(self, machine: Machine, tokenizer: TextTokenizer) -> None:
        self._trie, self._tokenizer = _trie_of(cast(Hashable, tokenizer)), tokenizer
        self._recogniser = Recogniser(machine, self._trie.spellable)
        self._masks: dict[int, NDArray[np.uint8]] = {}
        if not self._recogniser.safe[self._recogniser.start]:
            raise UserError(
                "nothing can satisfy this constraint, or the vocabulary cannot spell it",
                fix="check for recursion without an end, empty classes and bounds that exclude each other",
            )

    @property
    def masks(self) -> int:
        """留着几个掩码。"""
        return len(self._masks)

    def start(self) -> Hashable:
        """一个字也没写时的状态。"""
        return self._recogniser.start

    def mask(self, state: Hashable) -> NDArray[np.bool_]:
        """``(V,)``：可以接在这个状态之后的 token。"""
        id = cast(int, state)
        if id not in self._masks:
            found = walked(self._trie, self._recogniser.table_for, lambda: self._recogniser.safe, id)
            self._masks[id] = np.packbits(found)
        return np.unpackbits(self._masks[id], count=self._trie.size).view(np.bool_)

    def advance(self, state: Hashable, token: int) -> Hashable:
        """写下 ``token`` 之后的状态。

        Raises:
            UserError: 这个 token 不合语法。
        """
        id = cast(int, state)
        for byte in self._tokenizer.token_bytes(token):
            id = self._recogniser.step(id, byte)
        if id == DEAD:
            raise UserError(f"token {token} does not fit the constraint", fix="choose a token that mask() allows")
        return id

    def is_final(self, state: Hashable) -> bool:
        """可以就此结束吗。"""
        return self._recogniser.is_final(cast(int, state))

    def matches(self, text: str | bytes) -> bool:
        """整段文字合不合语法。"""
        id = self._recogniser.start
        for byte in text.encode() if isinstance(text, str) else text:
            id = self._recogniser.step(id, byte)
        return self._recogniser.is_final(id)


def regex_constraint(pattern: str, tokenizer: TextTokenizer) -> TokenConstraint:
    """整段文字匹配一段正则；同样的约束只编译一次，掩码也就共用。

    Raises:
        UserError: 正则写法不对，或什么也不匹配。
    """
    return _compiled("regex", pattern, cast(Hashable, tokenizer))


def schema_constraint(schema: Any, tokenizer: TextTokenizer) -> TokenConstraint:
    """整段文字是合 ``schema``（``json.loads`` 的结果）的 JSON；同样的约束只编译一次。

    Raises:
        UserError: schema 写法不对、用了不认识的关键字，或没有值合它。
    """
    return _compiled("schema", json.dumps(schema), cast(Hashable, tokenizer))


def grammar_constraint(source: str, tokenizer: TextTokenizer) -> TokenConstraint:
    """整段文字合一份语法，见 ``ebnf.py``；同样的约束只编译一次。

    Raises:
        UserError: 语法写法不对，或什么也不匹配。
    """
    return _compiled("grammar", source, cast(Hashable, tokenizer))


@lru_cache(maxsize=32)
def _compiled(kind: str, source: str, tokenizer: Any) -> TokenConstraint:
    if kind == "regex":
        rules = {"root": parse_regex(source)}
    elif kind == "schema":
        rules = schema_rules(json.loads(source))
    else:
        rules = parse_grammar(source)
    return TokenConstraint(compile_rules(rules), tokenizer)
