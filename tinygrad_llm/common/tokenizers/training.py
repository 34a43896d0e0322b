"""训练一个字节级 BPE 分词器：检查要求，学出合并，拼成 ``Tokenizer``。

流入：文本与词表大小；流出：``Tokenizer``。合并怎样学出来见 ``merges.py``，怎样用来编码见 ``bpe.py``。
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from tinygrad_llm.common.errors import UserError
from tinygrad_llm.common.tokenizers.bpe import END_OF_TEXT, Tokenizer, specials_problem
from tinygrad_llm.common.tokenizers.merges import learn_merges
from tinygrad_llm.common.tokenizers.split import check_pattern

__all__ = ["train_bpe"]


def train_bpe(
    texts: str | Iterable[str],
    vocab_size: int,
    specials: Sequence[str] = (END_OF_TEXT,),
    pattern: str = "gpt2",
    progress: Callable[[int, int], None] | None = None,
) -> Tokenizer:
    """在文本上训练字节级 BPE。

    算法见 ``merges.learn_merges``；同样的文本总是得到同样的分词器。

    Args:
        texts: 训练文本，或逐个给出文本的迭代器（内存因此只与不同的词有多少有关）。
        vocab_size: 词表大小 = 256 个字节 + 合并数 + 特殊 token 数。
        specials: 特殊 token 的名字，排在词表最后。
        pattern: 切法的名字，见 ``split.PATTERNS``。
        progress: 每学出一个合并就调用一次，参数是（已学出几个，要学几个）。

    Returns:
        训练好的分词器。

    Raises:
        UserError: 词表大小容不下字节与特殊 token，文本不足以产生这么多合并，或不认得这个切法。
    """
    check_pattern(pattern)
    if problem := specials_problem(specials):
        raise UserError(problem, where="specials", fix="give each special token its own non-empty name")
    wanted = vocab_size - 256 - len(specials)
    if wanted < 0:
        raise UserError(
            f"vocab_size {vocab_size} has no room for 256 bytes and {len(specials)} special tokens",
            fix=f"use vocab_size >= {256 + len(specials)}",
        )
    merges = learn_merges(texts, wanted, pattern, progress)
    if len(merges) < wanted:
        largest = 256 + len(merges) + len(specials)
        raise UserError(
            f"the text yields only {len(merges)} merges, vocab_size {vocab_size} needs {wanted}",
            fix=f"use vocab_size <= {largest}, or more text",
        )
    return Tokenizer(merges, specials, pattern)
