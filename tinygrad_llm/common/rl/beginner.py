"""初学者：用几十秒的监督训练造一个「会一点」的小模型，演示与测试由它出发。

流入：一种题目与步数；流出：``Session``，跑完就是一个普通的运行。真正的出发点由预训练与指令微调得来。
下一个文件：``hacking.py``。
"""

from __future__ import annotations

from collections.abc import Sequence

from tinygrad_llm.common.batches import encode_corpus
from tinygrad_llm.common.batches.supervised import Example, Examples, Padded
from tinygrad_llm.common.chat import CHAT_SPECIALS, Conversation, Message, render
from tinygrad_llm.common.rl.problems import open_problems
from tinygrad_llm.common.rl.rewards import Problem
from tinygrad_llm.common.session import Session, check_folder
from tinygrad_llm.common.tokenizers import Tokenizer, train_bpe
from tinygrad_llm.common.tokenizers.bpe import END_OF_TEXT
from tinygrad_llm.common.train_config import TrainConfig

__all__ = ["prepare_beginner"]

VOCAB = 280
"""256 个字节、几个特殊 token，再加十几个合并：题目再单调也凑得出。"""


def prepare_beginner(settings: TrainConfig, task: str, *, level: int, lang: str = "en", problems: int = 512) -> Session:
    """备齐一次监督训练：有限的几道题，反复学。

    Args:
        settings: 训练设置；模型的大小与步数在其中，``vocab_size`` 由这里定。
        task: 题目，见 ``problems.py``。
        level: 难度。
        lang: 语言。
        problems: 几道题；题少，它就只会一点。

    Returns:
        ``Session``。
    """
    check_folder(settings)
    train, held_out = open_problems(task, lang=lang, level=level)
    lessons, others = train.head(problems), held_out.head(64)
    text = "\n".join(f"{one.prompt}\n{one.answer}" for one in lessons)
    tokenizer = train_bpe(text, VOCAB, specials=(END_OF_TEXT, *CHAT_SPECIALS))
    model = settings.model(tokenizer.vocab_size)
    examples = Examples(_rendered(lessons, tokenizer), vocab_size=tokenizer.vocab_size, context=model.context)
    stream = Padded(examples, batch_size=settings.batch_size, seed=settings.seed, pad=tokenizer.eot)
    validation = encode_corpus("\n".join(f"{one.prompt}\n{one.answer}" for one in others), tokenizer)
    return Session(
        settings, model, tokenizer, stream, validation, text, "", None, int(examples.lengths.sum()),
        method={"name": "beginner", "task": task},
    )  # fmt: skip


def _rendered(problems: Sequence[Problem], tokenizer: Tokenizer) -> list[Example]:
    """一问一答，只学回答。"""
    found = []
    for one in problems:
        told = render(Conversation((Message("user", one.prompt), Message("assistant", one.answer))), tokenizer)
        found.append(Example(told.ids, told.loss_mask, one.source))
    return found
