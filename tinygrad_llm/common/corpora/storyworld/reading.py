"""读物：把故事接成预训练的文本，或一篇篇的文档，长短由读者定。

流入：``stories``；流出：字符串，或 ``Document`` 的流。下一个文件：``command.py``。
"""

from __future__ import annotations

from collections.abc import Iterator

from tinygrad_llm.common.corpora.document import Document
from tinygrad_llm.common.corpora.storyworld import stories
from tinygrad_llm.common.corpora.storyworld.lazy import BOTH
from tinygrad_llm.common.errors import UserError

__all__ = ["DEFAULT_CHARACTERS", "documents", "text"]

DEFAULT_CHARACTERS = 4_000_000
"""不指明长短时，大约多少个字符：两个核上几分钟的训练用得完。"""


def documents(
    seed: int = 0, lang: str = BOTH, characters: int = DEFAULT_CHARACTERS, split: str = "train"
) -> Iterator[Document]:
    """一篇故事一份文档，直到总长不少于 ``characters`` 个字符。

    Args:
        seed: 种子。
        lang: ``en``、``zh`` 或 ``both``。
        characters: 至少多少个字符。
        split: ``train``、``val`` 或 ``test``。

    Yields:
        文档；``source`` 是 ``storyworld-en#序号``，``meta`` 里有 ``plot`` 与 ``lang``。

    Raises:
        UserError: 参数不对。
    """
    if characters < 1:
        raise UserError(f"characters must be at least 1, got {characters}", where="storyworld", fix="try 1000000")
    corpus = "storyworld" if lang == BOTH else f"storyworld-{lang}"
    size = 0
    for index, story in enumerate(stories(seed, lang, split)):
        yield Document(story.text, f"{corpus}#{index}", {"plot": story.plot, "lang": story.lang})
        size += len(story.text)
        if size >= characters:
            return


def text(seed: int = 0, lang: str = BOTH, characters: int = DEFAULT_CHARACTERS, split: str = "train") -> str:
    """一段预训练文本：整篇整篇的故事，篇间空一行，以换行结尾。

    Args:
        seed: 种子。
        lang: ``en``、``zh`` 或 ``both``。
        characters: 至少多少个字符（空行不计）。
        split: 划分。

    Returns:
        文本。

    Raises:
        UserError: 参数不对。
    """
    return "\n\n".join(document.text for document in documents(seed, lang, characters, split)) + "\n"
