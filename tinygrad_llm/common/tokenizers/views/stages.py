"""五种分词器并排：同一份文本上训练，切同一句话，看每一种多了什么、少了什么。

流入：训练文本、一句话与词表大小；流出：``Stage`` 的序列，写在终端上。对应的阅读次序见 ``tokenizers`` 包的说明。
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tinygrad_llm.common.errors import UserError
from tinygrad_llm.common.tokenizers.characters import train_characters
from tinygrad_llm.common.tokenizers.interface import TextTokenizer
from tinygrad_llm.common.tokenizers.training import train_bpe
from tinygrad_llm.common.tokenizers.unigram import train_unigram
from tinygrad_llm.common.tokenizers.views.compression import Compression, compression_of
from tinygrad_llm.common.tokenizers.wordpiece import train_wordpiece
from tinygrad_llm.common.tokenizers.words import train_words

__all__ = ["STAGES", "Stage", "train_stages"]

STAGES: dict[str, tuple[str, Callable[[str, int], TextTokenizer]]] = {
    "words": ("one id per word; unseen words are <|unk|>", train_words),
    "characters": ("one id per character; only unseen characters are lost", lambda text, _: train_characters(text)),
    "bpe": ("bytes, merged by frequency; nothing is ever lost", train_bpe),
    "wordpiece": ("pieces chosen by likelihood, longest match first", train_wordpiece),
    "unigram": ("pieces with probabilities, the best of all splits", train_unigram),
}


@dataclass(frozen=True)
class Stage:
    """一种分词器与它切出的结果。

    Attributes:
        name: ``STAGES`` 的键。
        idea: 一句话的特点。
        tokenizer: 训练好的分词器。
        compression: 在这句话上的表现。
        is_lossless: 解码是否还原这句话。
    """

    name: str
    idea: str
    tokenizer: TextTokenizer
    compression: Compression
    is_lossless: bool


def train_stages(text: str, vocab_size: int, sample: str) -> Iterator[Stage]:
    """依次训练，训练好一种就给出一种。

    Args:
        text: 训练文本。
        vocab_size: 词表大小；按字符分的不受它限制，按词分的至多这么多。
        sample: 用来比较的一句话，须能切出 token。

    Yields:
        各个阶段，由易到难。

    Raises:
        UserError: 词表大小对某一种来说不可行；消息说明哪一种。
    """
    for name, (idea, train) in STAGES.items():
        try:
            tokenizer = train(text, vocab_size)
        except UserError as error:
            raise UserError(f"{name}: {error.problem}", where=error.where, fix=error.fix) from error
        is_lossless = tokenizer.decode(tokenizer.encode(sample)) == sample
        yield Stage(name, idea, tokenizer, compression_of(tokenizer, sample), is_lossless)
