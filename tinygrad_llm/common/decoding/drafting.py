"""``--draft``：谁来抢先猜；一个小的运行，或在已有的文字里找。

流入：设置、分词器、打开运行的函数；流出：按抽样方式造一个猜测者的函数。猜测怎样核对，见 ``speculative.py``。
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tinygrad_llm.common.decoding.request import Sampling
from tinygrad_llm.common.decoding.settings import NGRAM, TextConfig
from tinygrad_llm.common.decoding.slots import BatchDecoder
from tinygrad_llm.common.decoding.speculative import Draft, ModelDraft, NgramDraft, Tally
from tinygrad_llm.common.errors import UserError
from tinygrad_llm.common.tokenizers.interface import TextTokenizer

__all__ = ["NewDraft", "OpenDraft", "described", "drafter"]

OpenDraft = Callable[[Path], tuple[TextTokenizer, BatchDecoder]]
"""打开一个运行文件夹：它的分词器，与只有一个槽的解码器。"""
NewDraft = Callable[[Sampling], Draft]
"""给一种抽样方式造猜测者。"""


def drafter(config: TextConfig, tokenizer: TextTokenizer, open_draft: OpenDraft) -> NewDraft | None:
    """按 ``--draft`` 造猜测者；没有要就是 ``None``。

    Args:
        config: 设置。
        tokenizer: 大模型的分词器。
        open_draft: 打开猜测者的运行。

    Raises:
        UserError: 两个模型的词表不同。
    """
    if not config.draft:
        return None
    if config.draft == NGRAM:
        return lambda sampling: NgramDraft()
    theirs, decoder = open_draft(config.draft_folder)
    if theirs != tokenizer:
        raise UserError(
            "the draft was trained with another tokenizer",
            where=config.draft,
            fix=f"use --draft {NGRAM}, or another run",
        )
    return lambda sampling: ModelDraft(decoder, sampling, tokenizer.vocab_size)


def described(tally: Tally) -> str:
    """猜得怎样，一句话。"""
    share = tally.accepted / tally.proposed if tally.proposed else 0.0
    rate = tally.written / tally.passes if tally.passes else 0.0
    return f"draft: {share:.0%} of {tally.proposed} guesses were right, {rate:.2f} tokens per pass of the model"
