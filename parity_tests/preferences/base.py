"""微调测试共用的出发点：一个小得不用训练的运行，分词器带着对话的特殊 token。

流入：文件夹；流出：可以 ``--from`` 的运行。
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from tinygrad_llm.common.chat import CHAT_SPECIALS
from tinygrad_llm.common.checkpoint import Checkpoint, save_checkpoint
from tinygrad_llm.common.config import GPTConfig
from tinygrad_llm.common.corpora import storyworld
from tinygrad_llm.common.initial import initial_weights
from tinygrad_llm.common.tokenizers import Tokenizer, train_bpe
from tinygrad_llm.common.tokenizers.bpe import END_OF_TEXT

CONTEXT = 64


@cache
def tokenizer() -> Tokenizer:
    """在几十条英文指令上训练的分词器。"""
    items = storyworld.preferences(lang="en").take(60)
    text = "\n".join(f"{item.prompt} {item.chosen} {item.rejected}" for item in items)
    return train_bpe(text, 400, specials=(END_OF_TEXT, *CHAT_SPECIALS))


def make_base(folder: Path, dtype: str = "float64", seed: int = 0, width: int = 16) -> Path:
    """写下一个运行：权重是初值，没有训练过。

    Args:
        folder: 运行文件夹。
        dtype: 权重的类型。
        seed: 权重的种子。
        width: 模型的宽度。
    """
    words = tokenizer()
    config = GPTConfig(vocab_size=words.vocab_size, context=CONTEXT, n_layer=2, n_head=2, n_embd=width)
    weights = initial_weights(config, seed, dtype)
    state = {"model": config.to_dict(), "tokenizer": words.digest, "settings": {}}
    save_checkpoint(folder, Checkpoint(0, weights, {}, state))
    words.save(folder / "tokenizer.json")
    return folder
