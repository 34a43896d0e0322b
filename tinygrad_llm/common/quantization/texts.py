"""校准与评估用的 token：从语料各处均匀地取，两者互不相交。

流入：语料名与分词器；流出：``(B, T)`` 的下标。
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tinygrad_llm.common.errors import DataError
from tinygrad_llm.common.tokenizers import Tokenizer

__all__ = ["token_windows"]

CALIBRATION_SHARE = 0.8
"""语料开头的这一份用来校准，其余的用来评估。"""
CHARACTERS = 16
"""一个窗口先取每个 token 这么多个字符来编码：足够装满窗口。"""


def token_windows(
    tokenizer: Tokenizer, corpus: str, tokens: int, length: int, *, is_calibration: bool
) -> NDArray[np.int64]:
    """均匀地取若干窗 token；同样的参数总得到同样的窗。

    Args:
        tokenizer: 分词器。
        corpus: 语料名，或文件、文件夹的路径。
        tokens: 总共大约几个 token，至少取一窗。
        length: 一窗几个 token。
        is_calibration: 取自校准的一份，还是评估的一份。

    Returns:
        ``(B, T)``。

    Raises:
        DataError: 文本太短。
    """
    from tinygrad_llm.common.corpora import load_corpus  # 用到才导入，``--help`` 因此立即可答

    text = load_corpus(corpus).text
    cut = int(len(text) * CALIBRATION_SHARE)
    text = text[:cut] if is_calibration else text[cut:]
    count = max(1, tokens // length)
    starts = [i * len(text) // count for i in range(count)]
    found = [tokenizer.encode(text[start : start + length * CHARACTERS])[:length] for start in starts]
    whole = [ids for ids in found if len(ids) == length]
    if not whole:
        part = "calibration" if is_calibration else "evaluation"
        raise DataError(
            f"the {part} part of the text holds fewer than {length} tokens", where=corpus, fix="give a longer text"
        )
    return np.array(whole, np.int64)
