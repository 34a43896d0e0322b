"""故事世界的语料名：``storyworld``、``storyworld-en``、``storyworld-zh``，可以写明长短与种子。

流入：如 ``storyworld-zh:20M:7``（两千万字符，种子 7）；流出：``Document`` 的流。下一个文件：``storyworld/reading.py``。
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from tinygrad_llm.common.corpora.document import Document
from tinygrad_llm.common.errors import UserError

__all__ = ["STORY_NAMES", "is_story_name", "story_documents"]

STORY_NAMES = {"storyworld": "both", "storyworld-en": "en", "storyworld-zh": "zh"}
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9}
_MAX_DIGITS = 12


def is_story_name(source: str) -> bool:
    """是否故事世界的名字，冒号之后写得对不对另说。"""
    return source.partition(":")[0] in STORY_NAMES


def story_documents(source: str) -> Iterator[Document]:
    """生成故事，一篇一份文档，直到够长；次次相同，各机器相同。

    Args:
        source: ``NAME[:CHARACTERS[:SEED]]``；字符数可以带 ``K``、``M``、``G``，不写则用故事世界的默认值。

    Yields:
        各篇，取自训练的划分。

    Raises:
        UserError: 字符数或种子写得不对。
    """
    from tinygrad_llm.common.corpora.storyworld import reading

    name, _, rest = source.partition(":")
    size, _, seed = rest.partition(":")
    sized = re.fullmatch(rf"(\d{{1,{_MAX_DIGITS}}})([KMG]?)", size.upper()) if size else None
    has_bad_seed = bool(seed) and not (seed.isascii() and seed.isdecimal() and len(seed) <= _MAX_DIGITS)
    if (size and (sized is None or not int(sized[1]))) or has_bad_seed or source.endswith(":"):
        fix = f"write NAME[:CHARACTERS[:SEED]], e.g. {name}:20M or {name}:20M:7"
        raise UserError(f"not a size or a seed: {rest[:40]!r}", where=source[:80], fix=fix)
    characters = int(sized[1]) * _UNITS[sized[2]] if sized else reading.DEFAULT_CHARACTERS
    return reading.documents(int(seed or 0), STORY_NAMES[name], characters)
