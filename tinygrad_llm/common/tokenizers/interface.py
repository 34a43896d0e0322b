"""分词器的共同接口：几种分词器各自实现，对话与各种视图只依赖这里。

流入：任何分词器；流出：它至少有哪些方法。读完 ``words.py`` 到 ``unigram.py`` 就见过了全部实现。
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

from tinygrad_llm.common.errors import UserError

__all__ = ["TextTokenizer", "TokenIdError", "outside", "well_formed"]


class TextTokenizer(Protocol):
    """文本与 id 互译，并说得出每个 id 是什么。"""

    @property
    def vocab_size(self) -> int:
        """词表大小；id 取自 [0, vocab_size)。"""

    def encode(self, text: str) -> list[int]:
        """文本 → id；文本里写着特殊 token 的名字，也只当作普通的字。"""

    def decode(self, ids: Iterable[int]) -> str:
        """Id → 文本。"""

    def special(self, name: str) -> int:
        """特殊 token 的 id；没有这个名字时报 ``UserError``。"""

    @property
    def specials(self) -> Sequence[str]:
        """特殊 token 的名字。"""

    def token_bytes(self, id: int) -> bytes:
        """一个 token 的字节；特殊 token 是它的名字。"""

    def save(self, path: Path) -> None:
        """写成 JSON。"""


def well_formed(text: str) -> str:
    r"""把落单的代理项换成 U+FFFD（JSON 里的 ``"\ud800"`` 就会带来一个），其余原样返回。"""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


class TokenIdError(UserError, ValueError):
    """id 不在词表内。"""


def outside(id: int, size: int) -> TokenIdError:
    """Id 越界的错误；由调用者抛出。"""
    return TokenIdError(
        f"token id {id} is outside the vocabulary of {size}",
        fix="decode with the tokenizer that the model was trained with",
    )
